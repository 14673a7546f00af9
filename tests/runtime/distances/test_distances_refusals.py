"""Sets between which a distance is not defined are refused in one line that names what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from feature_rows import rows
from sonoforge.runtime.distances.fid_kid import frechet_distance, kernel_distance, subset_kernel_distance
from sonoforge.runtime.distances.halves import draw_halves, summarise
from sonoforge.runtime.distances.neighbours import density_coverage, precision_recall
from sonoforge.runtime.distances.sliced import laplacian_swd, sliced_wasserstein
from sonoforge.runtime.distances.spectrum import ring_levels
from sonoforge.runtime.errors import SonoforgeError

GOOD = rows(8, 3, 0)
SCANS = np.zeros((2, 32, 32, 1), np.uint8)


def halves(groups: Any, fakes: int) -> list[Any]:
    return list(draw_halves(groups, fakes, 1))


FEATURES: list[tuple[Callable[..., object], int]] = [  # with the fewest images they take
    (frechet_distance, 2),
    (kernel_distance, 3),
    (sliced_wasserstein, 1),
    (precision_recall, 4),
    (density_coverage, 6),
]


@pytest.mark.parametrize(("metric", "fewest"), FEATURES)
def test_features_of_too_few_images_or_without_numbers(metric: Callable[..., object], fewest: int) -> None:
    metric(GOOD[:fewest], GOOD)
    with pytest.raises(SonoforgeError, match=rf": .*{fewest - 1} "):
        metric(GOOD[: fewest - 1], GOOD)
    with pytest.raises(SonoforgeError, match=r"real images.* 0|0 real images"):
        metric(GOOD, GOOD[:0])
    for name, pair in (("generated", (GOOD * np.nan, GOOD)), ("real", (GOOD, np.where(GOOD > 0, np.inf, GOOD)))):
        with pytest.raises(SonoforgeError, match=rf"features of {name} images are not finite"):
            metric(*pair)
    with pytest.raises(ValueError, match=r"\(8, 3\) and \(8, 2\)"):
        metric(GOOD, GOOD[:, :2])


@pytest.mark.parametrize(
    ("use", "error", "message"),
    [
        (partial(precision_recall, GOOD, GOOD, 0), ValueError, "0 neighbours"),
        (partial(density_coverage, GOOD, GOOD, 8), SonoforgeError, "8 neighbours"),
        (partial(sliced_wasserstein, GOOD, GOOD, projections=0), ValueError, "0 projections"),
        (partial(subset_kernel_distance, GOOD, GOOD[:6], 10, 7), SonoforgeError, "10 subsets of 7 .* 2 to 6"),
        (partial(subset_kernel_distance, GOOD, GOOD, 1, 5), SonoforgeError, "1 subsets of 5"),
        (partial(halves, np.arange(3), 60), SonoforgeError, "3 real images in 3 groups and 60 generated"),
        (partial(halves, np.arange(60), 3), SonoforgeError, "60 real images in 60 groups and 3 generated"),
        (partial(halves, np.zeros(60, int), 60), SonoforgeError, "60 real images in 1 groups"),
        (partial(halves, np.arange(0), 9), SonoforgeError, "0 real images in 0 groups"),
        (partial(summarise, 0.0, [0.1, 0.2], [0.1]), ValueError, "2 matched values for 1 floors"),
        (partial(summarise, 0.0, [], []), ValueError, "0 matched values"),
        (partial(laplacian_swd, SCANS[:, :15, :15], SCANS[:, :15, :15]), SonoforgeError, "side 15"),
        (partial(laplacian_swd, SCANS[:0], SCANS), SonoforgeError, "no generated images"),
        (partial(laplacian_swd, SCANS, SCANS[:, :, :31]), ValueError, r"real .* uint8 \(2, 32, 31, 1\)"),
        (partial(laplacian_swd, SCANS.astype(float), SCANS), ValueError, "generated images are float64"),
        (partial(laplacian_swd, SCANS, np.repeat(SCANS, 3, axis=3)), ValueError, "channels"),
        (partial(ring_levels, SCANS[:0]), SonoforgeError, "0 images"),
        (partial(ring_levels, SCANS[:, :8, :8]), SonoforgeError, "side 8"),
        (partial(ring_levels, SCANS[:, :16]), ValueError, "uint8"),
    ],
)
def test_other_sets_and_settings(use: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        use()
