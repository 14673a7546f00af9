"""Collections that were left out, as a user asks for them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from program import refused, succeed, words
from sonoforge.training.phantom.dataset import write_phantom_set

TRAVELLING = "--budget full --set classifier.heads=hierarchical"


@pytest.fixture(scope="module")
def collections(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Two collections of simulated scans, the second of lesions alone; not to be changed."""
    root = tmp_path_factory.mktemp("collections")
    for number, images in enumerate((12, 14)):  # two of the 14 are normal
        write_phantom_set(root / f"clinic{number}", images, number, 96)
    listed = [{"folder": "clinic0"}, {"folder": "clinic1", "classes": {"normal": None}}]
    (root / "collections.json").write_text(json.dumps({"collections": listed}))
    return ("--data", str(root / "collections.json"))


def test_each_collection_is_answered_by_a_network_that_learnt_hierarchy_crops_and_outlines_elsewhere(
    collections: tuple[str, ...], tmp_path: Path
) -> None:
    own = words("--set classifier.lesion_crops=0.7 --set classifier.outlines=0.5 --set classifier.balance=true")
    own += words("--set classifier.zoomed_second_pass=true --set classifier.augmentation=trivial --jobs 1")
    small = words("--set classifier.frozen_blocks=8 --set classifier.epochs=1 --set classifier.teachers=1")
    small += words("--set classifier.weights=shipped --set classifier.image_size=64")
    asked = ("--protocol", "leave-one-collection-out", "--arms", "real", *words(TRAVELLING), *own, *small)
    run = Path(succeed("crossval", *collections, *asked, "--out", tmp_path).json["run"])
    with (run / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["collection"], row["fold"]) for row in rows} == {("clinic0", "0"), ("clinic1", "1")}
    contents = dict(
        zip(*(json.loads((run / "splits.json").read_text())[key] for key in ("files", "hashes")), strict=True)
    )
    for fold in (0, 1):
        kept = json.loads((run / "folds" / f"real-seed0-fold{fold:02d}.json").read_text())
        tested = {contents[row["file"]] for row in rows if row["fold"] == str(fold)}
        assert len(tested) == 12 and not tested & set(kept["reads"]["classifier"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--budget full --set classifier.outlines=0.5", "--set classifier.outlines: requires hierarchical heads"),
        (
            "--budget full --set classifier.lesion_crops=0.5",
            "--set classifier.lesion_crops: requires hierarchical heads",
        ),
        (f"{TRAVELLING} --set classifier.zoomed_second_pass=true", "zoomed_second_pass: requires outlines"),
        (f"{TRAVELLING} --set classifier.outlines=0.5 --set classifier.frozen_blocks=15", "frozen blocks, not 15"),
    ],
)
def test_options_that_do_not_go_together_are_named(
    collections: tuple[str, ...], tmp_path: Path, options: str, message: str
) -> None:
    assert message in refused("crossval", *collections, *words(options), "--out", tmp_path)
