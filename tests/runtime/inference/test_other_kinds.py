"""Checks that were measured on breast ultrasound are made on images of that kind alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

import bundle_factory as factory
from program import succeed


def test_a_bundle_of_other_images_looks_for_no_marks_and_tells_exact_copies_alone(tmp_path: Path) -> None:
    coarse = Image.fromarray(np.random.default_rng(0).uniform(40, 120, (12, 16)).astype(np.float32))
    scan = np.asarray(coarse.resize((400, 300), Image.Resampling.BICUBIC)).astype(np.uint8)
    scan[100, 140:155] = scan[93:108, 147] = 255  # a caliper
    brighter = np.clip(scan.astype(int) + 3, 0, 255).astype(np.uint8)  # seems to be the same picture
    for name, levels in (("a", scan), ("b", scan), ("c", brighter)):
        Image.fromarray(levels).save(tmp_path / f"{name}.png")
    found = {}
    for kind in ("breast ultrasound", "other"):
        folder = factory.write_bundle(tmp_path / kind)
        factory.edit_manifest(folder, lambda m, kind=kind: m["trust"]["checks"].update(kind=kind, foreign=1e6))
        found[kind] = succeed("classify", tmp_path / "*.png", "--bundle", folder).json["results"]
    ours, other = found["breast ultrasound"], found["other"]
    assert [bool(one["marks"]["counts"]) for one in ours] == [True] * 3
    assert [bool(one["marks"]["counts"]) for one in other] == [False] * 3
    assert ours[2]["seems_copy_of"] and not other[2]["seems_copy_of"]
    assert ours[1]["copy_of"] == other[1]["copy_of"] == str(tmp_path / "a.png")
    assert [one["probabilities"] for one in ours] == [one["probabilities"] for one in other]
