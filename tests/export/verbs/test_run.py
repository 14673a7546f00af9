"""The main job end to end on a tiny phantom: files, bundle, report, and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from program import sonoforge, succeed, words
from small_run import CLASSIFIER, SMALL, SmallRun
from sonoforge.runtime.inference.classifier import Classifier


def test_the_run_folder_describes_itself(small_run: SmallRun) -> None:
    expected = {"config.yaml", "environment.json", "log.txt", "splits.json", "predictions.csv", "audit.json"}
    expected |= {"results.json", "report.html", "folds", "gan", "samples", "model", "bundle"}
    assert expected <= {path.name for path in small_run.folder.iterdir()}
    environment = json.loads((small_run.folder / "environment.json").read_text())["runs"][0]
    assert {"python", "versions", "device", "seed", "data_fingerprint"} <= set(environment)
    assert sum(small_run.result["seconds"].values()) > 0
    assert "macro-AUC" in small_run.log
    # It learnt nothing, which is said, and nobody is sent on to use it.
    assert "guessing" in small_run.log and "next: sonoforge classify" not in small_run.log


def test_the_bundle_answers_and_carries_the_sealed_figures(small_run: SmallRun) -> None:
    manifest = json.loads((Path(small_run.result["bundle"]) / "manifest.json").read_text())
    assert manifest["evaluation"]["protocol"] == "sealed"
    assert manifest["evaluation"]["confusion"] == small_run.result["arms"]["real"]["confusion"]
    assert manifest["parity"]["formats"]["onnx"] == small_run.result["parity"]
    assert small_run.result["parity"]["labels_equal"] == small_run.result["parity"]["count"] >= 60
    image = next(small_run.folder.glob("samples/real-*.png"))
    answer = Classifier(small_run.result["bundle"]).classify(image)
    assert set(answer.probabilities) == {"normal", "benign", "malignant"}


def test_the_report_shows_the_figures_of_the_run(small_run: SmallRun) -> None:
    page = Path(small_run.result["report"]).read_text(encoding="utf-8")
    assert "not a medical device" in page.lower()
    accuracy = small_run.result["arms"]["gan"]["accuracy"]["value"]
    assert f"{100 * accuracy:.1f}" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_every_figure_comes_again_from_the_predictions_byte_for_byte(small_run: SmallRun, tmp_path: Path) -> None:
    alone = tmp_path / "predictions.csv"
    alone.write_bytes((small_run.folder / "predictions.csv").read_bytes())
    printed = sonoforge("crossval", "--from", small_run.folder / "predictions.csv").out
    assert "malignant against the rest" in printed and max(map(len, printed.splitlines())) <= 80
    for figures in small_run.result["arms"].values():
        area = figures["macro_auc"]
        assert f"{area['value']:.3f} [{area['low']:.3f}, {area['high']:.3f}]" in small_run.log
    found = sonoforge("crossval", "--from", alone, "--json").json
    kept = json.loads((small_run.folder / "results.json").read_text(encoding="utf-8"))
    for arm, figures in found["arms"].items():
        assert json.dumps(figures) == json.dumps({key: kept["arms"][arm][key] for key in figures})
    for key in ("classes", "comparisons", "never_right"):
        assert json.dumps(found[key]) == json.dumps(kept[key])


def test_a_finished_run_is_not_repeated(small_run: SmallRun) -> None:
    before = (small_run.folder / "results.json").stat().st_mtime_ns
    places = ("--out", small_run.folder.parent, "--set", f"cache.folder={small_run.cache}")
    done = sonoforge("run", *SMALL, "--jobs", "1", *places, "--resume", "--json")
    assert done.code == 0 and "already finished" in done.err
    assert done.json == small_run.result
    assert (small_run.folder / "results.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("run --data no/such/folder", "no/such/folder"),
        ("run --arms real --final-arm gan", "--final-arm: 'gan'"),
        ("run --fold 3", "did you mean --folds"),
        ("run --folds 1", "--folds: 1 does not suit --protocol sealed"),
        ("run --budget ful", "did you mean full"),
        ("train --arm gans", "did you mean gan"),
        ("export nowhere", "no such run folder"),
        ("gan trian", "did you mean train"),
        (
            "crossval --device tpu --set phantom.images=30 --set classifier.weights=none",
            "--device: must be auto, cpu, cuda or cuda:N, not 'tpu'",
        ),
    ],
)
def test_wrong_input_gives_one_line_and_exit_code_2(arguments: str, message: str, tmp_path: Path) -> None:
    places = ("--out", tmp_path, "--set", f"cache.folder={tmp_path / 'cache'}")
    done = sonoforge(*arguments.split(), *(() if arguments.startswith(("export", "gan")) else places))
    assert done.code == 2 and "Traceback" not in done.err
    (line,) = [line for line in done.err.splitlines() if "error" in line]
    assert message in line


@pytest.mark.slow
def test_one_classifier_can_be_trained_exported_and_used(small_run: SmallRun, tmp_path: Path) -> None:
    small = words("--budget full --set classifier.epochs=1 --set classifier.ensemble_size=1 --set phantom.images=60")
    small += words("--set train.holdout=0.3 --device cpu --out")
    folder = succeed("train", *CLASSIFIER, *small, tmp_path, "--set", f"cache.folder={small_run.cache}").json["run"]
    done = sonoforge("export", folder)
    assert done.code == 0 and f"next: sonoforge classify IMAGES --bundle {folder}" in done.err, done.err
    assert sonoforge("verify", f"{folder}/bundle").code == 0
