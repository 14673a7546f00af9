"""From a model folder to a bundle: exact maps, parity as a gate, nothing of the host in the file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from scans import save
from small_run import SIDE, SmallRun
from sonoforge.export.bundle import classifier
from sonoforge.export.bundle.classifier import network_of
from sonoforge.export.formats.onnx_graph import OPSET, BundleGraph, run_torch
from sonoforge.export.verbs.export import ExportConfig, main
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.runtime.images.preprocessing import IMAGENET, Preprocessing
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.training.classifier.model_folder import load_model
from sonoforge.training.classifier.trained_on import find_seen
from sonoforge.training.data.cache import open_cache
from sonoforge.training.data.datasets import read_dataset
from sonoforge.training.phantom.dataset import generate_phantom_set
from traces import traces_of_this_machine


@pytest.fixture(scope="module")
def bundle(small_run: SmallRun) -> Path:
    return Path(small_run.result["bundle"])


@pytest.fixture(scope="module")
def network(small_run: SmallRun) -> BundleGraph:
    """The network that the bundle was made of."""
    members, saved, _ = load_model(small_run.folder / "model")
    return network_of(members, saved)


@pytest.fixture(scope="module")
def seen(bundle: Path) -> Preprocessing:
    """What the network sees of an image: another size than the shipped one's."""
    found = open_bundle(bundle).manifest.preprocessing
    assert found == Preprocessing(size=SIDE) and found.size != IMAGENET.size
    return found


def test_the_reader_accepts_the_bundle_and_answers_as_torch_does(
    network: BundleGraph, bundle: Path, seen: Preprocessing
) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (3, SIDE, SIDE, 3)).astype(np.uint8)
    expected, answers = run_torch(network, seen.normalise(pixels)), Classifier(bundle).predict(pixels)
    assert np.abs(answers["probabilities"] - expected["probabilities"]).max() < 1e-5
    assert np.abs(answers["logits"] - expected["logits"]).max() < 1e-4


def test_the_bundle_recognises_the_images_that_it_was_trained_on(
    small_run: SmallRun, bundle: Path, tmp_path: Path
) -> None:
    own, other = read_dataset(next(small_run.cache.glob("phantom-*"))), next(iter(generate_phantom_set(1, 99)))
    save(tmp_path / "set" / "a" / "scan.png", np.asarray(Image.open(own.root / own.items[7].path))[:, ::-1])
    save(tmp_path / "set" / "b" / "scan.png", other.pixels)
    found = find_seen(open_bundle(bundle), open_cache(read_dataset(tmp_path / "set"), 64, tmp_path))
    assert [one.image for one in found] == [0] and "mirrored" in found[0].why


def test_the_file_holds_no_trace_of_the_machine_that_made_it(bundle: Path, seen: Preprocessing) -> None:
    data = open_bundle(bundle).read("model.onnx")
    model = onnx.load_model_from_string(data)
    assert traces_of_this_machine(data) == []
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == OPSET
    assert not any(node.op_type == "BatchNormalization" for node in model.graph.node)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(properties["sonoforge.preprocessing"]) == seen.to_dict()
    assert "not a medical device" in properties["sonoforge.use"]
    manifest = open_bundle(bundle).manifest.raw  # with its bill of materials
    packages = {entry["name"]: entry for entry in manifest["provenance"]["packages"]}
    assert packages["onnx"]["version"] == onnx.__version__
    assert packages["onnx"]["purl"] == f"pkg:pypi/onnx@{onnx.__version__}"
    assert "BSD-3-Clause" in packages["torch"]["licence"]
    assert manifest["parity"]["formats"]["onnx"]["count"] == 120  # 60 images, and a variant of each


def test_a_file_that_answers_otherwise_fails_the_gate_and_leaves_no_bundle(
    small_run: SmallRun, network: BundleGraph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = onnx.load_model(small_run.folder / "bundle" / "model.onnx")  # which this model was exported to
    biases = [one for one in model.graph.initializer if one.name.startswith("linears.") and list(one.dims) == [3]]
    assert len(biases) == len(network.linears)  # of each member
    for bias in biases:
        values = onnx.numpy_helper.to_array(bias) + np.float32(2e-4)  # which changes no probability
        bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    monkeypatch.setattr(classifier, "to_onnx", lambda *_: model.SerializeToString())
    with pytest.raises(GateError, match=r"model\.onnx: a logit differs by 0\.0002"):
        main(ExportConfig(run=str(small_run.folder), out=str(tmp_path / "bundle")))
    assert not (tmp_path / "bundle").exists()


def test_a_folder_that_is_no_bundle_is_not_overwritten(small_run: SmallRun, tmp_path: Path) -> None:
    with pytest.raises(SonoforgeError, match=r"no model\.json"):
        main(ExportConfig(run=str(tmp_path)))
    (tmp_path / "thesis.docx").write_text("years of work")
    with pytest.raises(SonoforgeError, match="is not a bundle"):
        main(ExportConfig(run=str(small_run.folder), out=str(tmp_path)))
    assert (tmp_path / "thesis.docx").read_text() == "years of work"
