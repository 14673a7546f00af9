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
from sonoforge.training.classifier.model_folder import SIGNATURES, ModelRecord, Origin, load_model, read_origins

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
    """Take a run's table from its summary, so that a test need not train what only a card is made of."""

    def read(folder: Path, *_: object) -> tuple[str, int, dict[str, Any]]:
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        kind = "sealed" if results["protocol"] == "sealed" else "left_out"
        rows = [row for row in results["arms"]["real"]["by_source"] if row["kind"] == "collection"]
        return kind, results["classifier"]["teachers"], {"by": folder.name, "seed": 3, "collections": rows}

    monkeypatch.setattr(evidence, "_by_collection", read)


@pytest.fixture
def origins(small_run: SmallRun, record: ModelRecord) -> list[Origin]:
    data = (small_run.folder / "model" / SIGNATURES).read_bytes()
    return read_origins("signatures", data, record.classes, record.training["collections"])


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
    found = with_evidence(record, [write(tmp_path / "a", left_out(record))], [])
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
    card = classifier_card(
        with_evidence(own, [write(tmp_path / str(i), results) for i, results in enumerate(runs)], [])
    )
    assert "Networks of the same recipe, but not distilled, in sealed folds (seed 3)" in card
    assert "answered by networks of the same recipe, but distilled from 3, trained on the other" in card


def test_runs_of_another_recipe_or_kind_are_refused(
    record: ModelRecord, origins: list[Origin], small_run: SmallRun, tmp_path: Path
) -> None:
    settings, weights = {**record.training["settings"], "epochs": 99}, "torchvision MobileNet_V2_Weights.IMAGENET1K_V1"
    for changes, message in (
        ({"settings": settings}, "epochs is 2, but 99 by the model"),
        ({"weights": weights}, "made_from.weights is '', but 'torchvision"),
        ({"arm": "nothing"}, "of the bundle's arm, nothing"),
    ):
        other = dataclasses.replace(record, training={**record.training, **changes})
        with pytest.raises(SonoforgeError, match=message):
            with_evidence(other, [small_run.folder], origins)
    taught = dataclasses.replace(
        record, training={**record.training, "settings": {**settings, "epochs": 2, "teachers": 3}}
    )
    assert with_evidence(taught, [small_run.folder], origins).elsewhere["teachers"] == {"sealed": 0}
    with pytest.raises(SonoforgeError, match=r"no results\.json"):
        with_evidence(record, [tmp_path], [])


def test_a_runs_figures_are_its_answers_whatever_its_summary_says(
    record: ModelRecord, origins: list[Origin], small_run: SmallRun, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(small_run.folder, run, ignore=shutil.ignore_patterns("gan", "bundle", "model", "samples"))
    (run / "predictions.record.json").unlink()  # which would tell any edit
    written = (run / "results.json").read_text(encoding="utf-8")
    results = json.loads(written)
    sealed = {"by": "run", "seed": 0, "collections": []}
    assert with_evidence(record, [run], origins).elsewhere["sealed"] == sealed

    def refusal(name: str, text: str) -> str:
        kept = (run / name).read_text(encoding="utf-8")
        (run / name).write_text(text, encoding="utf-8")
        with pytest.raises(SonoforgeError) as raised:
            with_evidence(record, [run], origins)
        (run / name).write_text(kept, encoding="utf-8")
        return str(raised.value)

    first, _, rest = (run / "predictions.csv").read_text(encoding="utf-8").partition("\n")
    row, _, rest = rest.partition("\n")
    swapped = ",".join([*row.split(",")[:-3], *row.split(",")[:-4:-1]])
    assert "the probabilities are not those of" in refusal("predictions.csv", "\n".join([first, swapped, rest]))
    fold = run / "folds" / "real-seed0-fold01.json"
    other = json.loads(fold.read_text(encoding="utf-8"))
    other["made_from"]["weights"] = "sha256 41afa3376ee77e67"
    assert f"{fold}: made_from.weights" in refusal(f"folds/{fold.name}", json.dumps(other))
    alone = write(tmp_path / "alone", {**results, "arms": {"real": {**results["arms"]["real"], "accuracy": ONE}}})
    with pytest.raises(SonoforgeError, match=r"predictions\.csv: .*predictions\.csv of crossval"):
        with_evidence(record, [alone], origins)
    shutil.copy(run / "predictions.csv", alone)
    with pytest.raises(SonoforgeError, match="no split plan"):
        with_evidence(record, [alone], origins)


def test_collections_are_those_of_the_images(
    record: ModelRecord, origins: list[Origin], small_run: SmallRun, tmp_path: Path
) -> None:
    """A column for the collection is easily invented; which images a bundle was trained on is in its signatures."""
    run = Path(
        shutil.copytree(small_run.folder, tmp_path / "run", ignore=shutil.ignore_patterns("gan", "*.record.json"))
    )
    head, *rows = (run / "predictions.csv").read_text(encoding="utf-8").splitlines()
    (run / "predictions.csv").write_text("\n".join([f"{head},collection", *(f"{row},Rio" for row in rows)]))
    with pytest.raises(SonoforgeError, match="of Rio, but"):
        with_evidence(record, [run], origins)
    elsewhere = [(digest[::-1], name, "Cairo") for digest, name, _ in origins]  # a bundle of other images
    (own,) = with_evidence(record, [run], elsewhere).elsewhere["sealed"]["collections"]
    assert own["name"] == "Rio"
    card = classifier_card(with_evidence(record, [run], elsewhere))
    assert "Rio" in card
    with pytest.raises(SonoforgeError, match="of Rio, but not so in the model's"):
        with_evidence(record, [run], [*elsewhere, ("0" * 16, "benign", "Rio")])
    other = {digest: {"normal": "benign"}.get(name, "normal") for digest, name, _ in origins}
    with pytest.raises(SonoforgeError, match="of Rio, but not so in the model's"):
        with_evidence(record, [run], [(digest, name, "Rio") for digest, name in other.items()])


@pytest.mark.parametrize("given", [{}, {"arms": {"real": {"auc": 0.991}}}, {"arms": {"real": None}}])
def test_results_of_another_verb_are_refused_in_one_line(
    record: ModelRecord, given: dict[str, Any], tmp_path: Path
) -> None:
    """As if ``validate`` had written its results under the name of a protocol."""
    robust = {"protocol": "sealed", "collections": [{"name": "BUS-BRA", "robustness": {"auc": 0.991}}], **given}
    with pytest.raises(SonoforgeError, match=r"predictions\.csv: .*predictions\.csv of crossval"):
        with_evidence(record, [write(tmp_path / "run", robust)], [])


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

    def export(source: Path, name: str, runs: list[Path], cited: list[Path]) -> tuple[str, dict[str, Any]]:
        evidence = [word for run in runs for word in ("--evidence", run)]
        succeed("export", source, *evidence, "--data", "phantom", "--out", tmp_path / name)
        manifest = json.loads((tmp_path / name / "manifest.json").read_text())
        card = (tmp_path / name / "MODEL_CARD.md").read_text(encoding="utf-8")
        assert manifest["evaluation"].pop("checked")["cited"] == [run.name for run in cited]
        card = re.sub(r"\*\*Figures as stated by .*\n", "", card)  # the run, or the bundle
        # What rounding comes to is measured anew by each export, and is not the same to the last digit.
        return re.sub(r"\d\.\de-\d\d", "rounding", card), manifest["evaluation"]

    results = {"a": left_out(record), "b": {**left_out(record), "protocol": "sealed"}}
    runs = [write(tmp_path / name, values) for name, values in results.items()]
    at_once = export(small_run.folder, "at-once", runs, runs)
    export(bundle, "first", runs[:1], runs[:1])
    assert export(tmp_path / "first", "later", runs[1:], runs) == at_once
    assert "in sealed folds (seed 3)" in at_once[0]
    assert "trained on the other collections alone (seed 3)" in at_once[0]
    assert "no results.json" in refused("export", bundle, "--evidence", tmp_path, "--out", tmp_path / "none")
    assert not (tmp_path / "none").exists()
