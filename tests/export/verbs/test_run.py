"""The main job end to end on a tiny phantom: files, bundle, report, and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from program import sonoforge
from sonoforge.export.verbs import run
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.training.verbs import crossval

SMALL = ["--images", "60", "--folds", "2", "--weights", "none", "--frozen-blocks", "17", "--epochs", "1"]
SMALL += ["--members", "1", "--gan-size", "16", "--gan-steps", "4", "--gan-batch", "4", "--device", "cpu"]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict:
    out = tmp_path_factory.mktemp("out")
    done = sonoforge("run", *SMALL, "--out", str(out / "runs"), "--cache", str(out / "cache"), "--json")
    assert done.code == 0, done.err
    assert "next: sonoforge classify" in done.err
    return dict(done.json)


def test_the_run_folder_describes_itself(result: dict) -> None:
    folder = Path(result["run"])
    expected = {"config.yaml", "environment.json", "log.txt", "splits.json", "predictions.csv", "audit.json"}
    expected |= {"results.json", "report.html", "folds", "gan", "samples", "model", "bundle"}
    assert expected <= {path.name for path in folder.iterdir()}
    environment = json.loads((folder / "environment.json").read_text())["runs"][0]
    assert {"python", "versions", "device", "seed", "data_fingerprint"} <= set(environment)
    assert sum(result["seconds"].values()) > 0


def test_the_bundle_answers_and_carries_the_sealed_figures(result: dict) -> None:
    manifest = json.loads((Path(result["bundle"]) / "manifest.json").read_text())
    assert manifest["evaluation"]["protocol"] == "sealed"
    assert manifest["evaluation"]["confusion"] == result["arms"]["real"]["confusion"]
    assert manifest["parity"]["labels_equal"] == manifest["parity"]["count"] > 0
    image = next(Path(result["run"]).glob("samples/real-*.png"))
    answer = Classifier(result["bundle"]).classify(image)
    assert answer["ok"] and set(answer["probabilities"]) == {"normal", "benign", "malignant"}


def test_the_report_shows_the_figures_of_the_run(result: dict) -> None:
    page = Path(result["report"]).read_text(encoding="utf-8")
    assert "not a medical device" in page.lower()
    accuracy = result["arms"]["gan"]["accuracy"]["value"]
    assert f"{100 * accuracy:.1f}" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_a_final_arm_that_was_not_evaluated_is_refused() -> None:
    with pytest.raises(SonoforgeError, match="--final-arm"):
        run.check_final_arm(run.Config(arms=("real",), final_arm="gan"))


def test_the_demonstration_needs_no_network_and_real_data_gets_the_full_protocol() -> None:
    demonstration = crossval.resolve_defaults(run.Config())
    assert (demonstration.folds, demonstration.weights) == (5, "shipped")
    real = crossval.resolve_defaults(run.Config(data="BUSI"))
    assert (real.folds, real.weights, real.epochs, real.gan_steps) == (10, "imagenet", None, None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--data", "no/such/folder"], "no/such/folder"),
        (["run", "--fold", "3"], "did you mean --folds"),
        (["run", "--folds", "1"], "expected at least 2"),
        (["run", "--budget", "papper"], "did you mean paper"),
        (["train", "--arm", "gans"], "did you mean gan"),
        (["export", "nowhere"], "no such run folder"),
        (["gan", "trian"], "did you mean train"),
        (["crossval", "--device", "tpu", "--images", "30", "--weights", "none"], "expected auto, cpu, cuda"),
    ],
)
def test_wrong_input_gives_one_line_and_exit_code_2(arguments: list[str], message: str, tmp_path: Path) -> None:
    extra = [] if arguments[0] in ("export", "gan") else ["--out", str(tmp_path), "--cache", str(tmp_path / "cache")]
    done = sonoforge(*arguments, *extra)
    assert done.code == 2
    errors = [line for line in done.err.splitlines() if "error" in line]
    assert len(errors) == 1 and message in errors[0], done.err
    assert "Traceback" not in done.err


def test_one_classifier_can_be_trained_exported_and_used(tmp_path: Path) -> None:
    small = ["--images", "60", "--weights", "none", "--frozen-blocks", "17", "--epochs", "1", "--holdout", "0.3"]
    done = sonoforge("train", *small, "--out", str(tmp_path), "--cache", str(tmp_path / "cache"), "--json")
    assert done.code == 0, done.err
    folder = done.json["run"]
    done = sonoforge("export", folder)
    assert done.code == 0, done.err
    assert sonoforge("verify", f"{folder}/bundle").code == 0
