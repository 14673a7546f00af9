"""What other runs of the same recipe measured stands in the card, and what other recipes did does not."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from program import refused, succeed
from small_run import SmallRun
from sonoforge.export.bundle import classifier, evidence
from sonoforge.export.bundle import gate as images
from sonoforge.export.bundle.classifier_card import classifier_card
from sonoforge.export.bundle.evidence import with_evidence
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.classifier.model_folder import ModelRecord, load_model

ONE = {"value": 0.5, "low": 0.25, "high": 0.75}
SOURCE = {
    "kind": "collection", "name": "Rio", "images": {"normal": 0, "benign": 7, "malignant": 5}, "groups": 9,
    "accuracy": ONE, "auc": {"malignant against benign": ONE | {"value": 0.875}}, "sensitivity_at": {}, "ece": ONE,
    "coverage": ONE,
}  # fmt: skip


@pytest.fixture
def record(small_run: SmallRun) -> ModelRecord:
    return load_model(small_run.folder / "model")[1]


@pytest.fixture
def as_summarised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a run's figures from its summary, so that a test need not train what only a card is made of."""
    monkeypatch.setattr(evidence, "_recomputed", lambda _folder, results, arm: results["arms"][arm])


def write(folder: Path, results: dict[str, Any]) -> Path:
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def left_out(record: ModelRecord, **settings: object) -> dict[str, Any]:
    figures = {"by_source": [SOURCE, {**SOURCE, "kind": "device", "name": "A"}], "seeds": {"seeds": [3]}}
    return {
        "protocol": "leave-one-collection-out", "weights": record.training["weights"],
        "classifier": {**record.training["settings"], "test_curves": True, **settings}, "arms": {"real": figures},
    }  # fmt: skip


@pytest.mark.usefixtures("as_summarised")
def test_the_card_has_the_tables_of_the_runs(record: ModelRecord, tmp_path: Path) -> None:
    found = with_evidence(record, [write(tmp_path / "a", left_out(record))])
    card = classifier_card(found)
    assert "trained on the other collections alone (seed 3)" in card
    assert "| collection | images | accuracy | AUC malignant against benign | ECE | coverage of the sets |" in card
    assert "| Rio | 7 benign, 5 malignant | 50.0% [25.0%, 75.0%] | 0.875 [0.250, 0.750] |" in card
    assert "was not recorded" not in card.split("## Other scanners")[1].split("## ")[0]
    assert found.elsewhere["left_out"]["collections"] == [SOURCE]
    assert record.elsewhere == {}


@pytest.mark.usefixtures("as_summarised")
def test_the_card_says_where_those_networks_were_not_distilled(record: ModelRecord, tmp_path: Path) -> None:
    settings = {**record.training["settings"], "teachers": 2}
    own = dataclasses.replace(record, training={**record.training, "settings": settings})
    sealed = {**left_out(own, teachers=0), "protocol": "sealed"}
    runs = (sealed, left_out(own, teachers=3))
    card = classifier_card(with_evidence(own, [write(tmp_path / str(i), results) for i, results in enumerate(runs)]))
    assert "Networks of the same recipe, but not distilled, in sealed folds (seed 3)" in card
    assert "answered by networks of the same recipe, but distilled from 3, trained on the other" in card


@pytest.mark.usefixtures("as_summarised")
def test_runs_of_another_recipe_or_kind_are_refused(record: ModelRecord, tmp_path: Path) -> None:
    other = dataclasses.replace(record, training={**record.training, "arm": "gan"})
    for number, (own, results, message) in enumerate(
        (
            (record, left_out(record, epochs=99), "epochs is 99, but 2"),
            (record, {**left_out(record), "weights": "none"}, "weights is 'none'"),
            (other, left_out(record), "arms real, not the bundle's, gan"),
            (record, {"collections": []}, "no sealed folds"),
            (record, {"protocol": "thesis"}, "no sealed folds"),
        )
    ):
        with pytest.raises(SonoforgeError, match=message):
            with_evidence(own, [write(tmp_path / str(number), results)])
    with pytest.raises(SonoforgeError, match=r"no results\.json"):
        with_evidence(record, [tmp_path])


def test_a_runs_figures_are_its_answers_whatever_its_summary_says(
    record: ModelRecord, small_run: SmallRun, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(small_run.folder, run, ignore=shutil.ignore_patterns("gan", "bundle", "model", "samples"))
    (run / "predictions.record.json").unlink()  # which would tell any edit
    written = (run / "results.json").read_text(encoding="utf-8")
    results = json.loads(written)
    assert with_evidence(record, [run]).elsewhere["sealed"] == {"seed": 0, "collections": []}

    def refusal(name: str, text: str) -> str:
        kept = (run / name).read_text(encoding="utf-8")
        (run / name).write_text(text, encoding="utf-8")
        with pytest.raises(SonoforgeError) as raised:
            with_evidence(record, [run])
        (run / name).write_text(kept, encoding="utf-8")
        return str(raised.value)

    other = {**results, "protocol": "leave-one-collection-out"}
    assert "leave-one-collection-out in results.json" in refusal("results.json", json.dumps(other))
    first, _, rest = (run / "predictions.csv").read_text(encoding="utf-8").partition("\n")
    row, _, rest = rest.partition("\n")
    swapped = ",".join([*row.split(",")[:-3], *row.split(",")[:-4:-1]])
    assert "the probabilities are not those of" in refusal("predictions.csv", "\n".join([first, swapped, rest]))
    alone = write(tmp_path / "alone", {**results, "arms": {"real": {**results["arms"]["real"], "accuracy": ONE}}})
    with pytest.raises(SonoforgeError, match=r"predictions\.csv: .*predictions\.csv of crossval"):
        with_evidence(record, [alone])
    shutil.copy(run / "predictions.csv", alone)
    with pytest.raises(SonoforgeError, match="no split plan"):
        with_evidence(record, [alone])


@pytest.mark.slow
@pytest.mark.usefixtures("as_summarised")
def test_a_bundle_gets_the_same_card_as_its_run_when_the_evidence_comes_later(
    record: ModelRecord, small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "PHANTOMS", 30)
    monkeypatch.setattr(images, "FEWEST", 20)
    bundle = small_run.folder / "bundle"
    # The network is traced to the same file each time, which other tests show.
    monkeypatch.setattr(classifier, "to_onnx", lambda *_: (bundle / "model.onnx").read_bytes())

    def export(source: Path, name: str, *runs: Path) -> tuple[str, dict[str, Any]]:
        evidence = [word for run in runs for word in ("--evidence", run)]
        succeed("export", source, *evidence, "--data", "phantom", "--out", tmp_path / name)
        manifest = json.loads((tmp_path / name / "manifest.json").read_text())
        card = (tmp_path / name / "MODEL_CARD.md").read_text(encoding="utf-8")
        # What rounding comes to is measured anew by each export, and is not the same to the last digit.
        return re.sub(r"\d\.\de-\d\d", "rounding", card), manifest["evaluation"]

    results = {"a": left_out(record), "b": {**left_out(record), "protocol": "sealed"}}
    runs = [write(tmp_path / name, values) for name, values in results.items()]
    at_once = export(small_run.folder, "at-once", *runs)
    export(bundle, "first", *runs[:1])
    assert export(tmp_path / "first", "later", *runs[1:]) == at_once
    assert "in sealed folds (seed 3)" in at_once[0]
    assert "trained on the other collections alone (seed 3)" in at_once[0]
    assert "no results.json" in refused("export", bundle, "--evidence", tmp_path, "--out", tmp_path / "none")
    assert not (tmp_path / "none").exists()
