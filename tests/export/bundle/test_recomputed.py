"""A run's card vouches for what its answers and weights give again; files edited against each other are refused."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from once import made_once
from program import succeed, words
from small_run import CLASSIFIER, SmallRun
from sonoforge.export.bundle import recomputed
from sonoforge.export.bundle.classifier import network_of
from sonoforge.export.bundle.gate import GateImages, JudgedModel, find_images
from sonoforge.export.formats.onnx_graph import run_torch
from sonoforge.runtime.atomic import plain
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.classifier.model_folder import SIGNATURES, load_model, read_origins
from sonoforge.training.crossval.final_model import held_out_figures
from sonoforge.training.run_folder import read_config

TRAIN = words("--data phantom --set phantom.images=60 --set train.holdout=0.34 --device cpu")


class Kept(NamedTuple):
    """A run, the images of its data set, and what its weights say of them."""

    folder: Path
    images: GateImages
    logits: NDArray[np.float32]


def _with_images(folder: Path) -> Kept:
    members, record, _ = load_model(folder / "model")
    judged = JudgedModel(record.classes, record.training, None, record.preprocessing)
    images = find_images("", folder, read_config(folder), judged)
    return Kept(
        folder,
        images,
        run_torch(network_of(members, record), record.preprocessing.normalise(images.pixels))["logits"],
    )


@pytest.fixture(scope="module")
def whole(small_run: SmallRun) -> Kept:
    """A cross-validated run with a final model."""
    return _with_images(small_run.folder)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """A run of ``train``, which held 20 of 60 images out."""

    def train(out: Path) -> None:
        succeed("train", *TRAIN, *CLASSIFIER, "--out", out / "runs", "--set", f"cache.folder={out / 'cache'}")

    return _with_images(next((made_once(tmp_path_factory, "small-train", train) / "runs").iterdir()))


@pytest.fixture
def copied(whole: Kept, tmp_path: Path) -> Kept:
    return _copy(whole, tmp_path)


def _copy(kept: Kept, folder: Path) -> Kept:
    # Whoever edits a table leaves its record out, which would tell.
    left = shutil.ignore_patterns("gan", "bundle", "samples", "report*", "checkpoint.pt", "predictions.record.json")
    return kept._replace(folder=Path(shutil.copytree(kept.folder, folder / "run", ignore=left)))


def again(kept: Kept, *, at_hand: bool = True) -> dict[str, Any]:
    """Compute a run's figures again, with or without its images."""
    _, record, _ = load_model(kept.folder / "model")
    signatures = (kept.folder / "model" / SIGNATURES).read_bytes()
    origins = read_origins("signatures", signatures, record.classes, record.training["collections"])
    images = kept.images if at_hand else kept.images._replace(hashes=())
    return recomputed.recompute(kept.folder, record, origins, images, kept.logits)


def refusal(kept: Kept, **how: bool) -> str:
    with pytest.raises(SonoforgeError) as raised:
        again(kept, **how)
    (line,) = str(raised.value).splitlines()
    return line


def edit(path: Path, change: Callable[[Any], object]) -> None:
    """Change a JSON file in place."""
    values = json.loads(path.read_text(encoding="utf-8"))
    change(values)
    path.write_text(json.dumps(values), encoding="utf-8")


def put(place: str, value: object) -> Callable[[Any], None]:
    """Return a change of the value at a dotted place."""

    def change(values: Any) -> None:
        *way, last = place.split(".")
        for step in way:
            values = values[int(step) if step.isdecimal() else step]
        values[int(last) if last.isdecimal() else last] = value

    return change


def test_an_honest_run_is_computed_again(whole: Kept, trained: Kept) -> None:
    for kept, at_hand, counted in (
        (whole, True, (60, 0, 60)),
        (trained, True, (20, 20, 40)),
        (trained, False, (20, 0, 0)),
    ):
        found = again(kept, at_hand=at_hand)
        assert tuple(found[name] for name in ("tested", "answered", "trained")) == counted


OF_MODEL = {
    **dict.fromkeys(("accuracy", "balanced_accuracy", "macro_f1", "macro_auc", "sensitivity.benign"), ".value"),
    **dict.fromkeys(("specificity.malignant", "one_against_rest.benign.auc"), ".low"),
}
PLACES = {f"evaluation.{name}{end}": 0.978 for name, end in OF_MODEL.items()} | {
    "evaluation.train_accuracy": 0.999,
    "evaluation.guessing.better": True,
    "evaluation.near_duplicates": 7,
    "evaluation.seed_accuracy.0": 0.978,
    "evaluation.ece_calibrated": 0.001,
    "evaluation.confusion.0.0": 10,
    "evaluation.by_source": [{"kind": "collection", "name": "BUS-BRA"}],
    "evaluation.protocol": "leave-one-collection-out",
    "temperature": 0.5,
    "conformal.thresholds.benign": 0.9,
    "conformal.measured_coverage.benign": 0.9,
    "decision.default.benign": 0.1,
    "decision.questions.0.points.0.sensitivity": 0.99,
    "trust.threshold": 1e6,
    "trust.checks.policy.least_probability": 0.1,
    "training.weights": "torchvision MobileNet_V2_Weights.IMAGENET1K_V1",
    "training.settings.epochs": 99,
    "training.fingerprint": "0" * 64,
    "training.images.0": "0" * 16,
    "training.class_counts.benign": 5,
}


@pytest.mark.parametrize("place", PLACES)
def test_a_record_that_states_another_figure_is_refused(whole: Kept, trained: Kept, place: str, tmp_path: Path) -> None:
    kept = _copy(trained if place.startswith("training") else whole, tmp_path)
    edit(kept.folder / "model" / "model.json", put(place, PLACES[place]))
    line = refusal(kept)
    assert str(kept.folder) in line and "restore" in line


def test_a_summary_that_states_another_figure_is_refused(whole: Kept, trained: Kept, tmp_path: Path) -> None:
    for number, (own, place) in enumerate(
        (
            (whole, "arms.real.accuracy.value"),
            (whole, "split.test_images_with_near_duplicate_in_training.0"),
            (trained, "evaluation.macro_auc.value"),
            (trained, "trust.distances.0"),
        )
    ):
        kept = _copy(own, tmp_path / str(number))
        edit(kept.folder / "results.json", put(place, 40))
        assert "40" in refusal(kept) or "model.json" in refusal(kept)


def all_right(kept: Kept, collection: str = "") -> None:
    """Make every answer of a cross-validated run right, in its table and in its folds."""
    path = kept.folder / "predictions.csv"
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    for row in rows:
        classes = [name[2:] for name in row if name.startswith("p_")]
        row.update({f"p_{name}": repr(0.98 if name == row["label"] else 0.01) for name in classes})
        if collection:
            row["collection"] = collection
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0]])
        writer.writeheader()
        writer.writerows(rows)
    given = {(row["arm"], row["file"]): [float(row[f"p_{name}"]) for name in classes] for row in rows}
    for fold in (kept.folder / "folds").glob("*.json"):
        edit(
            fold, lambda own: own.update(probabilities=[given[own["arm"], file] for file in own["files"]], accuracy=1.0)
        )


def tell_alike(kept: Kept) -> None:
    """State in the record and in the summary what the edited answers give."""
    _, record, _ = load_model(kept.folder / "model")
    own = recomputed.cross_validated(kept.folder, "real", 0, 0)
    added = [*record.training["added"].values()]
    found = plain(held_out_figures(own, record.classes, added, record.training["settings"]["class_weights"]))
    evaluation = {**record.evaluation, **found.pop("evaluation")}
    trust = {**record.trust, "checks": {**record.trust["checks"], "policy": found.pop("trust")["policy"]}}
    told = replace(record, **found, evaluation=evaluation, trust=trust)
    (kept.folder / "model" / "model.json").write_text(json.dumps(plain(asdict(told))), encoding="utf-8")
    edit(kept.folder / "results.json", lambda values: values["arms"]["real"].update(evaluation))


def test_answers_and_folds_edited_alike_contradict_the_record(copied: Kept) -> None:
    all_right(copied)
    assert "by the run's answers" in refusal(copied)


def test_answers_that_no_weights_can_give_again_are_as_stated_on_the_first_screen(
    whole: Kept, copied: Kept, tmp_path: Path
) -> None:
    """Whoever edits every file alike is told from an honest run by nothing but who says so."""
    all_right(copied)
    tell_alike(copied)
    assert again(copied) == again(whole)
    bundle = succeed("export", copied.folder, "--out", tmp_path / "bundle").json["bundle"]
    card = (Path(bundle) / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "Figures as stated by run." in card.split("\n## ")[0] and "Accuracy 100.0%" in card
    assert open_bundle(bundle).manifest.raw["evaluation"]["checked"]["answered"] == 0


def test_an_invented_collection_is_refused(copied: Kept) -> None:
    all_right(copied, "BUS-BRA")
    tell_alike(copied)
    assert "of BUS-BRA, but" in refusal(copied)


def test_folds_from_other_weights_or_settings_are_refused(copied: Kept) -> None:
    fold = copied.folder / "folds" / "real-seed0-fold01.json"
    for place, value in (
        ("made_from.weights", "sha256 41afa3376ee77e67"),
        ("made_from.settings.classifier.epochs", 40),
    ):
        kept = fold.read_text(encoding="utf-8")
        edit(fold, put(place, value))
        assert f"{fold}: {place.removesuffix('.settings.classifier.epochs')}" in refusal(copied)
        fold.write_text(kept, encoding="utf-8")


def test_labels_edited_everywhere_contradict_the_folders_of_the_images(trained: Kept, tmp_path: Path) -> None:
    kept = _copy(trained, tmp_path)
    plan = json.loads((kept.folder / "splits.json").read_text(encoding="utf-8"))
    first = plan["fold_of"].index(0)
    plan["labels"][first] = (plan["labels"][first] + 1) % 3
    digest = recomputed.read_plan(_written(kept.folder / "splits.json", plan)).digest
    edit(kept.folder / "final" / "made_from.json", put("plan", digest))
    assert "labels" in refusal(kept)
    table = kept.folder / "held-out.csv"
    rows = list(csv.DictReader(io.StringIO(table.read_text(encoding="utf-8"))))
    next(row for row in rows if row["file"] == plan["files"][first])["label"] = ("normal", "benign", "malignant")[
        plan["labels"][first]
    ]
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0]])
        writer.writeheader()
        writer.writerows(rows)
    assert "model.json" in refusal(kept)  # and its figures are those of the true labels


def _written(path: Path, values: Any) -> Path:
    path.write_text(json.dumps(values), encoding="utf-8")
    return path


def test_weights_that_give_other_answers_are_refused(trained: Kept) -> None:
    other = trained._replace(logits=trained.logits + np.float32([2, 0, 0]))
    assert "by the weights" in refusal(other)
    moved = trained._replace(logits=trained.logits + np.float32([1e-3, 0, 0]))  # as another device rounds
    assert again(moved)["answered"] == 20
    again(other, at_hand=False)  # as stated


def test_images_that_lie_in_another_class_are_refused(whole: Kept) -> None:
    assert whole.images.labels is not None
    moved = whole._replace(images=whole.images._replace(labels=(whole.images.labels + 1) % 3))
    assert "where it lies" in refusal(moved)


def test_a_run_without_answers_is_as_stated(trained: Kept, tmp_path: Path) -> None:
    kept = _copy(trained, tmp_path)
    (kept.folder / "held-out.csv").unlink()
    assert "tested" not in again(kept)
    bundle = succeed("export", kept.folder, "--out", tmp_path / "bundle").json["bundle"]
    head = (Path(bundle) / "MODEL_CARD.md").read_text(encoding="utf-8").split("\n## ")[0]
    assert "Figures as stated by run." in head and "keeps no answers" in head
    copy = succeed("export", bundle, "--data", "phantom", "--out", tmp_path / "copy").json["bundle"]
    head = (Path(copy) / "MODEL_CARD.md").read_text(encoding="utf-8").split("\n## ")[0]
    assert "Figures as stated by the bundle" in head and head.count("Figures") == 1
