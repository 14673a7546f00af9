"""The figure of paths through the latent space: step sizes along them, and the distribution of path lengths."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from numpy.typing import NDArray

from sonoforge.runtime.images.synthetic import png_text
from sonoforge.training.gan.latent_space.path_length import PathLength, SquaredDistance
from sonoforge.training.gan.latent_space.sheets import NOTE, PROGRAM

# Okabe, Ito, "Color Universal Design", 2008: distinguishable with all common kinds of colour vision.
_COLOURS = {"z": "#0072b2", "w": "#c25100"}
_DASHES = {"z": "-", "w": "--"}
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "text.parse_math": False,
}


def draw_paths(
    lengths: Sequence[PathLength], steps: Mapping[str, NDArray[np.float64]], distance: SquaredDistance
) -> Figure:
    """Draw the distance between neighbours along paths, and the distribution of path lengths."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        for space, sizes in steps.items():
            positions = (np.arange(sizes.shape[1]) + 0.5) / sizes.shape[1]
            left.fill_between(positions, sizes.min(0), sizes.max(0), color=_COLOURS[space], alpha=0.15, linewidth=0)
            label = f"{space}: mean, lowest and highest of {len(sizes)} paths"
            left.plot(positions, sizes.mean(0), _DASHES[space], color=_COLOURS[space], linewidth=1.5, label=label)
        left.set(xlabel="position on the path", ylabel=f"{distance.root_name}\nof neighbours", ylim=(0, None))
        left.set(xlim=(0, 1))
        left.set_title("Step by step: level is even", loc="left", fontsize=9.5)
        left.legend(loc="best", fontsize=8)
        positive = np.concatenate([length.values[length.values > 0] for length in lengths])
        if len(positive) and positive.max() > positive.min():
            bins = list(np.geomspace(positive.min(), positive.max(), 21))
            for length in lengths:
                label = f"{length.space}: mean {length.mean:.3g} (standard error {length.standard_error:.1g})"
                style = {"linestyle": _DASHES[length.space], "color": _COLOURS[length.space], "linewidth": 1.5}
                right.hist(length.values, bins=bins, histtype="step", label=label, **style)
            right.set_xscale("log")
            right.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            right.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            right.xaxis.set_minor_formatter(NullFormatter())
            right.legend(loc="upper left", fontsize=8)
            right.set_ylim(top=right.get_ylim()[1] * 1.3)
        right.set(xlabel=distance.figure, ylabel="pairs of latents")
        right.set_title(f"{distance.figure}, {lengths[0].samples} pairs: lower is smoother", loc="left", fontsize=9.5)
        figure.suptitle(f"Paths between {NOTE[0].lower()}{NOTE[1:]}", fontsize=9)
    return figure


def figure_png(figure: Figure, origin: Mapping[str, Any]) -> bytes:
    """Encode a figure as PNG with its origin as text."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=150, pil_kwargs={"pnginfo": png_text(origin, PROGRAM)})
    return stream.getvalue()
