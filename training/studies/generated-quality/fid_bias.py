"""Draw README's plot of FID's bias: one set of real images against itself, two disjoint halves of n images each.

    python training/studies/generated-quality/fid_bias.py .pictures/fid_bias.png --data phantom --images 1600

The halves are of one distribution, so a distance without bias is 0 on average at every n: KID is, FID is far from it.
Features: the bundle that is shipped with sonoforge.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sonoforge.runtime.atomic import write_bytes
from sonoforge.runtime.distances.fid_kid import frechet_distance, kernel_distance
from sonoforge.runtime.distances.halves import draw_halves
from sonoforge.training.data.cache import default_folder
from sonoforge.training.data.load import ImageSource, load_images
from sonoforge.training.evaluation.spaces import embed_cached, open_space
from sonoforge.training.reports.charts import LINE, SERIES, png_bytes, styled

REPEATS = 20


@styled
def draw_fid_bias(counts: Sequence[int], fid: NDArray[np.floating[Any]], kid: NDArray[np.floating[Any]]) -> Figure:
    """Draw FID and KID of one real set against itself by number of images: both should be 0, FID is not.

    Args:
        counts: Images in each of the two disjoint halves, ascending.
        fid: (len(counts), repeats).
        kid: (len(counts), repeats).
    """
    figure = Figure(figsize=(8.4, 3.3), layout="constrained")
    for axes, values, name, said in zip(
        figure.subplots(1, 2),
        (fid, kid),
        ("FID", "KID"),
        ("biased: falls with n", "unbiased: around 0"),
        strict=True,
    ):
        low, mean, high = np.percentile(values, 2.5, axis=1), values.mean(1), np.percentile(values, 97.5, axis=1)
        axes.axhline(0, color="#444", linewidth=1, linestyle=":")
        axes.fill_between(counts, low, high, color=LINE, linewidth=0, label=f"95 % of {values.shape[1]} draws")
        axes.plot(counts, mean, "o-", color=SERIES[0], markersize=4.5, linewidth=1.5, label="mean")
        axes.set_xscale("log", base=2)
        axes.set_xticks(list(counts), [str(count) for count in counts])
        axes.minorticks_off()
        axes.set_title(f"{name}, {said}", loc="left")
        axes.set_xlabel("images n in each half")
        axes.set_ylabel(f"{name} of real against real")
        axes.legend(loc="best")
    figure.suptitle("One real set against itself, two disjoint halves: the true distance is 0 (dotted)", fontsize=9.5)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--data", default="phantom")
    parser.add_argument("--images", type=int, default=1600)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cache = load_images(ImageSource((arguments.data,), arguments.images, 0, default_folder()))
    space = open_space("bundle")
    features = embed_cached(space, np.asarray(cache.images)).features
    counts = [n for n in (10, 20, 50, 100, 200, 400, 800) if 2 * n <= len(features)]
    rng = np.random.default_rng(0)
    values = []
    for count in counts:
        for _ in range(REPEATS):
            some = rng.choice(len(features), 2 * count, replace=False)
            first, second, _ = next(draw_halves(np.arange(2 * count), 2 * count, 1))
            pair = features[some[first]], features[some[second]]
            distances = frechet_distance(*pair), kernel_distance(*pair).value
            values.append(distances)
        fid, kid = np.array(values[-REPEATS:]).T
        print(
            f"n = {count:4d}: FID {fid.mean():8.3f} (sd {fid.std():.3f})   KID {kid.mean():9.5f} (sd {kid.std():.5f})"
        )
    table = np.array(values).reshape(len(counts), REPEATS, 2)
    figure = draw_fid_bias(counts, table[..., 0], table[..., 1])
    write_bytes(arguments.picture, png_bytes(figure, "FID and KID of one real set against itself"))


if __name__ == "__main__":
    main()
