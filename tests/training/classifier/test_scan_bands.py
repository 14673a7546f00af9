"""Bands of image quality from a training set's files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bundle_factory as factory
from sonoforge.runtime.images import quality_metrics, scan_metrics
from sonoforge.runtime.images.preprocessing import IMAGENET
from sonoforge.training.crossval.final_model import quality_reference, scan_bands
from sonoforge.training.data.cache import open_cache
from sonoforge.training.data.datasets import read_dataset


def test_the_bands_are_percentiles_of_the_files_own_pixels(tmp_path: Path) -> None:
    scans = [factory.scan(seed, 200, 150) for seed in range(12)]
    for number, levels in enumerate(scans):
        folder = tmp_path / "data" / ("even", "odd")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(levels).save(folder / f"{number}.png")
    cache = open_cache(read_dataset(tmp_path / "data"), folder=tmp_path / "cache")
    found = scan_bands(cache, np.arange(12), IMAGENET)
    assert found["count"] == 12
    assert list(found["bands"]) == list(quality_metrics.SCAN)
    levels = [np.asarray(Image.fromarray(pixels).convert("L")) for pixels in scans]
    for name, band in found["bands"].items():
        values = [scan_metrics.measure(one)[name] for one in levels]
        assert [band["low"], band["high"]] == pytest.approx(np.percentile(values, (5, 95)).tolist())


@pytest.mark.parametrize(("side", "least"), [(300, 2 / 3 * 64), (50, 50), (40, 40)])
def test_a_picture_has_few_pixels_below_what_the_network_reads_and_below_the_training_images(
    tmp_path: Path, side: int, least: float
) -> None:
    for number in range(4):
        folder = tmp_path / "data" / ("even", "odd")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(factory.scan(number, side + 20, side)).save(folder / f"{number}.png")
    cache = open_cache(read_dataset(tmp_path / "data"), 64, folder=tmp_path / "cache")
    assert quality_reference(cache, np.arange(4))[0]["resolution"]["low"] == pytest.approx(min(least, 2 / 3 * 64))
