"""From a model folder to a bundle: exact maps, parity as a gate, nothing of the host in the file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from places import CHECKOUT
from sonoforge.export.formats.onnx_graph import OPSET, BundleGraph
from sonoforge.export.gate.parity import check, compare
from sonoforge.export.verbs.export import Config, main
from sonoforge.models.mobilenetv2 import mobilenet_v2
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.runtime.images.preprocessing import IMAGENET
from sonoforge.runtime.images.quality_metrics import METRICS
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.training.classifier.model_folder import ModelArrays, ModelRecord, load_model, save_model

CLASSES = ("normal", "benign", "malignant")


def record() -> ModelRecord:
    interval = {"value": 0.9, "low": 0.8, "high": 0.95}
    figures = dict.fromkeys(("accuracy", "macro_auc"), interval)
    return ModelRecord(
        name="test",
        version="1.0.0",
        classes=CLASSES,
        shared_blocks=0,
        mirror=False,
        temperature=1.7,
        conformal={
            "alpha": 0.1,
            "thresholds": dict.fromkeys(CLASSES, 0.1),
            "measured_coverage": dict.fromkeys(CLASSES, 0.91),
            "mean_set_size": 1.3,
        },
        trust={"median": 8.0, "threshold": 12.0},
        quality={name: {"low": 0.0, "high": 1e6} for name in METRICS},
        training={
            **{"data": "phantom", "count": 30, "class_counts": dict.fromkeys(CLASSES, 10), "groups": 12},
            **{"fingerprint": "ab" * 32, "arm": "real", "title": "real images", "budget": "quick", "epochs": 1},
            **{"frozen_blocks": 11, "members": 1, "weights": "none", "seed": 0, "images": ["0" * 16]},
        },
        evaluation={
            **figures,
            **{"sensitivity": dict.fromkeys(CLASSES, interval), "specificity": dict.fromkeys(CLASSES, interval)},
            **{"protocol": "sealed", "folds": 5, "budget": "quick", "train_accuracy": 0.97},
            **{"ece": 0.08, "ece_calibrated": 0.03, "brier": 0.2, "brier_calibrated": 0.18},
        },
        intended_use="Tests.",
    )


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (3, 224, 224, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, pixels: np.ndarray) -> Path:
    """A run folder with a model whose weights are random but whose batch norms are not the identity."""
    torch.manual_seed(0)
    net = mobilenet_v2(3)
    net.train()
    with torch.no_grad():
        net.features(torch.from_numpy(IMAGENET.normalise(pixels)))
        net.classifier[1].weight.normal_(0, 0.1)
        net.classifier[1].bias.normal_(0, 0.5)
    rng = np.random.default_rng(1)
    arrays = ModelArrays(
        *(rng.normal(size=1280).astype(np.float32), rng.normal(size=(1280, 8)).astype(np.float32)),
        *(np.array([0.5], np.float32), pixels, pixels[:2]),
    )
    folder = tmp_path_factory.mktemp("run")
    save_model(folder / "model", [net], record(), arrays)
    return folder


@pytest.fixture(scope="module")
def bundle(run: Path) -> Path:
    outcome = main(Config(run=str(run)))
    assert outcome.next_command.startswith("sonoforge verify")
    return Path(outcome.result["bundle"])


def test_the_reader_accepts_the_bundle_and_answers_as_torch_does(run: Path, bundle: Path, pixels: np.ndarray) -> None:
    (net,), saved, _ = load_model(run / "model")
    answers = Classifier(bundle).predict(pixels)
    with torch.inference_mode():
        logits = net(torch.from_numpy(IMAGENET.normalise(pixels)))
    assert np.abs(answers["logits"] - logits.numpy()).max() < 1e-4
    calibrated = torch.softmax(logits.double() / saved.temperature, dim=1).numpy()
    assert np.abs(answers["probabilities"] - calibrated).max() < 1e-5


def test_activation_map_is_exact(bundle: Path, run: Path, pixels: np.ndarray) -> None:
    """The mean of a class's map plus its bias is its logit."""
    (net,), _, _ = load_model(run / "model")
    answers = Classifier(bundle).predict(pixels)
    rebuilt = answers["cam"].mean(axis=(2, 3)) + net.classifier[1].bias.detach().numpy()
    assert np.abs(rebuilt - answers["logits"]).max() < 1e-4


def test_any_batch_size_gives_the_same_answers(bundle: Path, pixels: np.ndarray) -> None:
    session = onnxruntime.InferenceSession(open_bundle(bundle).read("model.onnx"))
    inputs = IMAGENET.normalise(np.repeat(pixels, 2, axis=0)[:5])
    together = session.run(["logits"], {"input": inputs})[0]
    alone = np.concatenate([session.run(["logits"], {"input": one[None]})[0] for one in inputs])
    assert np.abs(together - alone).max() < 1e-4


def test_the_file_holds_no_trace_of_the_machine_that_made_it(bundle: Path) -> None:
    data = open_bundle(bundle).read("model.onnx")
    for trace in (b"/home", b"site-packages", b".py", str(CHECKOUT).encode()):
        assert trace not in data
    model = onnx.load_model_from_string(data)
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == OPSET
    assert not any(node.op_type == "BatchNormalization" for node in model.graph.node)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(properties["sonoforge.preprocessing"]) == IMAGENET.to_dict()
    assert "not a medical device" in properties["sonoforge.use"]


def test_provenance_is_a_bill_of_materials(bundle: Path) -> None:
    manifest = open_bundle(bundle).manifest.raw
    packages = {entry["name"]: entry for entry in manifest["provenance"]["packages"]}
    assert packages["onnx"]["version"] == onnx.__version__
    assert packages["onnx"]["purl"] == f"pkg:pypi/onnx@{onnx.__version__}"
    assert "BSD-3-Clause" in packages["torch"]["licence"]
    assert manifest["parity"]["formats"]["onnx"]["count"] >= 100


def test_a_file_that_answers_otherwise_fails_the_gate(run: Path, bundle: Path, pixels: np.ndarray) -> None:
    (net,), saved, _ = load_model(run / "model")
    graph = BundleGraph([net], saved.temperature)
    model = onnx.load_model(bundle / "model.onnx")
    bias = next(t for t in model.graph.initializer if list(t.dims) == [3])
    changed = onnx.numpy_helper.to_array(bias) + np.float32(2e-4)
    bias.CopyFrom(onnx.numpy_helper.from_array(changed, bias.name))
    parity = compare(graph, model.SerializeToString(), pixels, IMAGENET, "noise")
    assert parity["max_abs"]["logits"] == pytest.approx(2e-4, rel=0.1)
    with pytest.raises(GateError, match="parity"):
        check(parity)


def test_a_folder_that_is_no_bundle_is_not_overwritten(run: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.docx").write_text("years of work")
    with pytest.raises(SonoforgeError, match="is not a bundle"):
        main(Config(run=str(run), out=str(tmp_path)))
    assert (tmp_path / "thesis.docx").read_text() == "years of work"


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SonoforgeError, match=r"no model\.json"):
        main(Config(run=str(tmp_path)))


def test_the_card_tells_the_recorded_figures(bundle: Path) -> None:
    card = (bundle / "MODEL_CARD.md").read_text()
    assert "90.0% [80.0%, 95.0%]" in card
    assert "not a medical device" in card
