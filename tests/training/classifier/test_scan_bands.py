"""Bands of image quality from a training set's files, and into an older bundle."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bundle_factory as factory
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images import quality_table, scan_metrics
from sonoforge.training.classifier.scan_bands import add_scan_bands
from sonoforge.training.data.cache import open_cache
from sonoforge.training.data.datasets import read_dataset


def test_an_older_bundle_gets_the_bands_of_its_own_images_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SONOFORGE_CACHE", str(tmp_path / "cache"))
    scans = [factory.scan(seed, 200, 150) for seed in range(12)]
    for number, levels in enumerate(scans):
        folder = tmp_path / "data" / ("even", "odd")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(levels).save(folder / f"{number}.png")
    bundle = factory.write_bundle(tmp_path / "bundle")
    with pytest.raises(SonoforgeError, match="expected None, those that"):
        add_scan_bands(bundle, tmp_path / "data")

    fingerprint = open_cache(read_dataset(tmp_path / "data")).fingerprint
    factory.edit_manifest(bundle, lambda manifest: manifest["training"].update(fingerprint=fingerprint))
    before = json.loads((bundle / "manifest.json").read_text())
    add_scan_bands(bundle, tmp_path / "data")

    after = json.loads((bundle / "manifest.json").read_text())
    scan = after["quality"].pop("scan")
    assert after == before
    assert scan["count"] == 12
    assert list(scan["bands"]) == list(quality_table.SCAN)
    levels = [np.asarray(Image.fromarray(pixels).convert("L")) for pixels in scans]
    for name, band in scan["bands"].items():
        values = [scan_metrics.measure(one)[name] for one in levels]
        assert [band["low"], band["high"]] == pytest.approx(np.percentile(values, (5, 95)).tolist())
        assert open_bundle(bundle).manifest.scan_bands.limits[name] == (band["low"], band["high"])
