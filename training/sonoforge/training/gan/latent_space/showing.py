"""Sheets, films and figures of generated images: each says on its face and in its text that they are synthetic."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from sonoforge.runtime.images.synthetic import NOTICE, png_text
from sonoforge.training.data.pixels import Pixels
from sonoforge.training.gan.latent_space.path_length import PathLength

PROGRAM = "sonoforge gan show"
FACE = "Synthetic images. Research use, not a medical device."
SMALLEST_CELL = 96  # pixels; smaller images are enlarged by a whole factor, pixel for pixel
FILM_SIDE = 256  # pixels; images of a film are enlarged up to it, or averaged down to it
FRAME_MS = 80
GAP = 2  # pixels between images
PADDING = 6  # around text
_FONT = ImageFont.load_default(13)
_LINE = 17  # pixels from line to line
# Okabe, Ito, "Color Universal Design", 2008: told apart by all common kinds of colour vision.
_COLOURS = {"z": "#0072b2", "w": "#c25100"}
_DASHES = {"z": "-", "w": "--"}


@dataclass(frozen=True)
class Sheet:
    """A picture of images in rows and columns, and where they are on it.

    Attributes:
        picture: Grey or in colour.
        left: Pixels before the first column.
        top: Pixels above the first row.
        cell: Side of each image in pixels.
        step: Pixels from one image to the next, along both axes.
        apart: Pixels more between the first and the second, along both axes.
    """

    picture: Image.Image
    left: int
    top: int
    cell: int
    step: int
    apart: int

    def describe(self) -> dict[str, int]:
        """Return size and layout for the record."""
        width, height = self.picture.size
        return {
            "width": width,
            "height": height,
            "left": self.left,
            "top": self.top,
            "cell": self.cell,
            "step": self.step,
            "apart": self.apart,
        }


def draw_sheet(
    rows: Sequence[Sequence[Pixels | None]],
    heads: Sequence[str] = (),
    names: Sequence[str] = (),
    caption: str = "",
    *,
    apart: int = 0,
    smallest: int = SMALLEST_CELL,
) -> Sheet:
    """Lay images out, with `FACE` below.

    Args:
        rows: Of images (S, S, C) uint8, C = 1 or 3; None for an empty place.
        heads: Above the columns.
        names: Before the rows.
        caption: Below, before `FACE`.
        apart: Pixels between the first and the second row and column, beside the usual ones.
        smallest: Side in pixels up to which images are enlarged at least.
    """
    some = next(image for row in rows for image in row if image is not None)
    side, channels = some.shape[0], some.shape[2]
    cell: int = side * max(1, math.ceil(smallest / side))
    step = cell + GAP
    left = max((math.ceil(_FONT.getlength(name)) + 2 * PADDING for name in names), default=0)
    top = _LINE + PADDING if heads else 0
    columns = max(map(len, rows))
    width = left + columns * step - GAP + (apart if columns > 1 else 0)
    lines = [line for text in (caption, FACE) for line in _wrap(text, width - 2 * PADDING)]
    bottom = top + len(rows) * step - GAP + (apart if len(rows) > 1 else 0)
    height = bottom + len(lines) * _LINE + 2 * PADDING
    picture = Image.new("L" if channels == 1 else "RGB", (width, height), "white")
    draw = ImageDraw.Draw(picture)

    def place(index: int) -> int:
        return index * step + (apart if index else 0)

    for row, images in enumerate(rows):
        for column, image in enumerate(images):
            if image is not None:
                pixels = np.ascontiguousarray(image[..., 0] if channels == 1 else image)
                enlarged = Image.fromarray(pixels).resize((cell, cell), Image.Resampling.NEAREST)
                picture.paste(enlarged, (left + place(column), top + place(row)))
    for column, head in enumerate(heads):
        draw.text((left + place(column) + cell / 2, top / 2), head, "black", _FONT, anchor="mm")
    for row, name in enumerate(names):
        draw.text((left - PADDING, top + place(row) + cell / 2), name, "black", _FONT, anchor="rm")
    for number, line in enumerate(lines):
        draw.text((PADDING, bottom + PADDING + number * _LINE), line, "black", _FONT)
    return Sheet(picture, left, top, cell, step, apart)


def _wrap(text: str, width: int) -> list[str]:
    """Break text into lines of at most so many pixels, where words allow it."""
    lines: list[str] = []
    for word in text.split():
        if lines and _FONT.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def sheet_png(sheet: Sheet, origin: Mapping[str, Any]) -> bytes:
    """Encode a sheet as PNG with its origin as text."""
    stream = io.BytesIO()
    sheet.picture.save(stream, "PNG", pnginfo=png_text(origin, PROGRAM))
    return stream.getvalue()


def film_gif(images: Pixels, origin: Mapping[str, Any]) -> tuple[bytes, tuple[int, int]]:
    """Encode a film that begins anew at its end.

    Pillow leaves out what repeats the frame before, and shows that one longer.

    Args:
        images: (N, S, S, C) uint8.
        origin: Kept in the file's comment, with `NOTICE`.

    Returns:
        A GIF: greys as they are, colours reduced to 256 in each frame; and its width and height.
    """
    smaller = max(1, images.shape[1] // FILM_SIDE)
    if smaller > 1:
        count, side, _, channels = images.shape
        blocks = images.reshape(count, side // smaller, smaller, side // smaller, smaller, channels)
        images = np.rint(blocks.mean((2, 4))).astype(np.uint8)
    frames = [draw_sheet([[image]], smallest=FILM_SIDE // 2 + 1).picture for image in images]
    stream = io.BytesIO()
    comment = json.dumps({"Description": NOTICE, "Software": PROGRAM, "Use": FACE, **origin})
    frames[0].save(
        stream,
        "GIF",
        save_all=True,
        append_images=frames[1:],
        duration=FRAME_MS,
        loop=0,
        comment=comment.encode(),
    )
    return stream.getvalue(), frames[0].size


def draw_paths(
    lengths: Sequence[PathLength], steps: Mapping[str, NDArray[np.float64]], distance: str, figure_name: str
) -> Figure:
    """Draw how far an image is from the next one along paths, and the distribution of path lengths.

    Args:
        lengths: One for each space.
        steps: By space (N, T - 1), from `path_length.step_sizes`.
        distance: Name of what the steps are measured in.
        figure_name: Name of the path length.
    """
    style: dict[Any, Any] = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    with mpl.rc_context({**style, "legend.frameon": False, "text.parse_math": False}):
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        for space, sizes in steps.items():
            places = (np.arange(sizes.shape[1]) + 0.5) / sizes.shape[1]
            left.fill_between(places, sizes.min(0), sizes.max(0), color=_COLOURS[space], alpha=0.15, linewidth=0)
            label = f"{space}: mean, lowest and highest of {len(sizes)} paths"
            left.plot(places, sizes.mean(0), _DASHES[space], color=_COLOURS[space], linewidth=1.5, label=label)
        left.set(xlabel="place on the path", ylabel=f"{distance}\nof neighbours", ylim=(0, None), xlim=(0, 1))
        left.set_title("Step by step: level is even", loc="left", fontsize=9.5)
        left.legend(loc="best", fontsize=8)
        everything = np.concatenate([length.values for length in lengths])
        positive = everything[everything > 0]
        if len(positive) and positive.max() > positive.min():
            bins = np.geomspace(positive.min(), positive.max(), 21)
            for length in lengths:
                said = f"{length.space}: mean {length.mean:.3g} (standard error {length.standard_error:.1g})"
                right.hist(
                    length.values,
                    bins=list(bins),
                    histtype="step",
                    linestyle=_DASHES[length.space],
                    color=_COLOURS[length.space],
                    linewidth=1.5,
                    label=said,
                )
            right.set_xscale("log")
            right.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            right.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            right.xaxis.set_minor_formatter(NullFormatter())
            right.legend(loc="upper left", fontsize=8)
            right.set_ylim(top=right.get_ylim()[1] * 1.3)
        right.set(xlabel=figure_name, ylabel="pairs of latents")
        right.set_title(f"{figure_name}, {lengths[0].samples} pairs: lower is smoother", loc="left", fontsize=9.5)
        figure.suptitle(f"Paths between {FACE[0].lower()}{FACE[1:]}", fontsize=9)
    return figure


def figure_png(figure: Figure, origin: Mapping[str, Any]) -> bytes:
    """Encode a figure as PNG with its origin as text."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=150, pil_kwargs={"pnginfo": png_text(origin, PROGRAM)})
    return stream.getvalue()
