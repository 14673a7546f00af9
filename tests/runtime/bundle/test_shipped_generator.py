"""The generator that is shipped: it verifies, draws each class, and its card says what it was judged by."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from program import succeed
from sonoforge.runtime.bundle.generation import GeneratorManifest
from sonoforge.runtime.bundle.reader import SHIPPED_GENERATOR, open_bundle

CLASSES = ("normal", "benign", "malignant")


def test_it_verifies_and_is_small_enough_to_ship() -> None:
    assert succeed("verify", SHIPPED_GENERATOR).json["ok"]
    assert sum(path.stat().st_size for path in SHIPPED_GENERATOR.iterdir()) <= 2_300_000


def test_one_command_draws_marked_images_of_each_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    target = Path(succeed("gan", "sample", "--bundle", "shipped", "--class", "all", "--count", "3").json["target"])
    assert target.is_relative_to(tmp_path), "not where the program is installed"
    seen = set()
    for name in CLASSES:
        files = sorted((target / name).glob("*.png"))
        assert len(files) == 3
        for file in files:
            with Image.open(file) as image:
                assert image.size == (64, 64) and image.mode == "L" and np.ptp(np.asarray(image)) > 40
                assert "synthetic" in json.dumps(image.info).lower()
                seen.add(image.tobytes())
    assert len(seen) == 9


def test_its_card_has_terms_figures_and_the_copy_test() -> None:
    manifest = open_bundle(SHIPPED_GENERATOR, GeneratorManifest).manifest
    card = (SHIPPED_GENERATOR / "MODEL_CARD.md").read_text(encoding="utf-8")
    training = manifest.raw["training"]
    assert manifest.classes == CLASSES
    assert {own["name"] for own in training["sources"]} == {"BUSI", "BUS-BRA", "BrEaST"}
    for own in training["sources"]:
        assert own["licence"] in card and own["citation"] in card
    measured = training["measured"]
    assert "held out" in card and measured["real_images"] > 400
    kid = next(row for row in measured["metrics"] if row["title"] == "KID")
    assert "squeezenet" not in kid["space"], "the network that its discriminator saw through"
    assert f"| KID | {kid['space']} | {kid['matched']:.3g} |" in card
    copies = measured["copies"]
    assert copies["copies"] <= 0.02 * copies["images"]
    assert min(copies["recall"].values()) >= 0.9
