"""A bundle's network comes back from its ONNX file, whatever it is made of, or is refused in one line."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import nn

import bundle_factory as factory
from sonoforge.export.bundle.classifier import fill_bundle, network_of, read_network
from sonoforge.export.formats.onnx_graph import BundleGraph, run_torch
from sonoforge.models.mobilenetv2 import OutlineHead, mobilenet_v2
from sonoforge.runtime.bundle.classification import OUTPUTS
from sonoforge.runtime.bundle.onnx_graph import OPERATORS, operators
from sonoforge.runtime.bundle.reader import SHIPPED, open_bundle
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.preprocessing import IMAGENET, Preprocessing
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.training.classifier.model_folder import SIGNATURES, ModelArrays, ModelRecord
from sonoforge.training.classifier.network import answer, pixel_views

SHARED = 16  # blocks; few of their own, so that tracing two members takes little longer than one
SIDE = 96
SMALL = Preprocessing(size=SIDE)


def _noise(count: int, seed: int, side: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3)).astype(np.uint8)


def _onnxruntime(model: bytes, inputs: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return dict(zip(OUTPUTS, session.run(list(OUTPUTS), {"input": inputs}), strict=True))


def test_the_shipped_network_answers_as_its_onnx_file() -> None:
    bundle = open_bundle()
    graph = read_network(bundle)
    shown = bundle.manifest.preprocessing
    inputs = shown.normalise(np.concatenate([bundle.golden()["pixels"], _noise(2, 1, shown.size)]))
    found, expected = run_torch(graph, inputs), _onnxruntime(bundle.read("model.onnx"), inputs)
    assert np.abs(found["probabilities"] - expected["probabilities"]).max() < 4e-5
    assert np.abs(found["logits"] - expected["logits"]).max() < 4e-4
    assert np.abs(found["cam"] - expected["cam"]).max() < 2e-3
    assert not graph.training and not any(isinstance(module, nn.BatchNorm2d) for module in graph.modules())


@pytest.fixture(scope="module")
def pair() -> list[nn.Module]:
    """Two members whose batch norms are not the identity; the second differs from the first in every layer."""
    torch.manual_seed(0)
    first = mobilenet_v2(3).train()
    with torch.no_grad():
        first.features(torch.from_numpy(SMALL.normalise(_noise(3, 2, SIDE))))
        first.classifier[1].weight.normal_(0, 0.1)
        first.classifier[1].bias.normal_(0, 0.5)
        second = copy.deepcopy(first)
        for parameter in second.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return [first.eval(), second.eval()]


def _write(
    folder: Path,
    members: list[nn.Module],
    shared_blocks: int,
    mirror: bool = False,
    seen: Preprocessing = IMAGENET,
    look: int | None = None,
) -> Path:
    manifest = open_bundle().manifest
    rng = np.random.default_rng(1)
    record = ModelRecord(
        **{key: manifest.raw[key] for key in ("name", "version", "decision", "conformal", "quality")},
        training={**manifest.raw["training"], "frozen_blocks": shared_blocks, "mirror": mirror},
        evaluation=manifest.raw["evaluation"],
        classes=manifest.classes,
        temperature=1.7,
        trust={"median": 8.0, "threshold": 12.0, "checks": {**manifest.raw["trust"]["checks"], "foreign": 20.0}},
        intended_use="Tests.",
        crop=seen.crop,
        image_size=seen.size,
        look=look,
    )
    reference = {
        "trust_mean": rng.normal(size=1280).astype(np.float32),
        "trust_components": rng.normal(size=(1280, 8)).astype(np.float32),
        "trust_residual": np.array([0.5], np.float32),
        "neighbour_mean": np.zeros(1280, np.float32),
        "neighbour_axes": np.eye(1280, 4, dtype=np.float16),
        "neighbour_points": rng.normal(size=(20, 4)).astype(np.float16),
    }
    arrays = ModelArrays(reference, _noise(1, 3, seen.size), _noise(2, 4, seen.size))
    fill_bundle(network_of(members, record), record, arrays, {SIGNATURES: b"signatures"}, folder)
    return folder


@pytest.fixture(scope="module")
def joint(pair: list[nn.Module], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of both members, which share their first blocks and look at the mirror image, too."""
    return _write(tmp_path_factory.mktemp("joint") / "bundle", pair, SHARED, mirror=True, seen=SMALL)


@pytest.fixture(scope="module")
def looking(pair: list[nn.Module], tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    """A network that looks twice, and its bundle; it was trained on cropped images."""
    net = copy.deepcopy(pair[0])
    net.outline = OutlineHead().eval()
    with torch.no_grad():
        net.outline.cells.bias.fill_(2.0)
    seen = Preprocessing(size=128, crop="auto")
    return net, _write(tmp_path_factory.mktemp("looking") / "bundle", [net], 0, seen=seen, look=64)


def test_members_answer_together_on_both_views_and_the_maps_stay_exact(pair: list[nn.Module], joint: Path) -> None:
    first, second = pair[0], copy.deepcopy(pair[1])
    for index in range(SHARED):
        second.features[index] = first.features[index]  # type: ignore[union-attr, index, operator]
    inputs, model = SMALL.normalise(_noise(3, 5, SIDE)), open_bundle(joint).read("model.onnx")
    assert operators(model) <= OPERATORS
    mirrored = np.ascontiguousarray(inputs[..., ::-1])
    found = _onnxruntime(model, inputs)
    with torch.inference_mode():
        views = [net(torch.from_numpy(view)).numpy() for net in (first, second) for view in (inputs, mirrored)]
    assert np.abs(found["logits"] - np.mean(views, axis=0)).max() < 1e-4
    bias = np.mean([net.classifier[1].bias.detach().numpy() for net in (first, second)], axis=0)
    assert np.abs(found["cam"].mean(axis=(2, 3)) + bias - found["logits"]).max() < 1e-4
    turned = _onnxruntime(model, mirrored)
    assert np.abs(turned["logits"] - found["logits"]).max() < 1e-4
    assert np.abs(turned["cam"][..., ::-1] - found["cam"]).max() < 1e-3
    alone = _onnxruntime(model, inputs[1:2])
    assert np.abs(alone["embedding"] - found["embedding"][1:2]).max() < 1e-4


def test_members_that_share_their_first_blocks_are_trained_and_exported_alike(pair: list[nn.Module]) -> None:
    pixels = _noise(2, 6, SIDE)
    answers = answer(pair, (pixels,), SHARED, torch.device("cpu"))
    found = run_torch(BundleGraph(pair, 1.0, SHARED), SMALL.normalise(pixels))
    assert np.abs(answers.probabilities - found["probabilities"]).max() < 1e-4


def test_a_network_of_another_input_size_is_exported_at_it(looking: tuple[nn.Module, Path]) -> None:
    net, folder = looking
    bundle = open_bundle(folder)
    assert bundle.manifest.preprocessing.size == 128
    assert "128 x 128" in bundle.read("MODEL_CARD.md").decode()
    pixels, how = _noise(1, 7, 150)[0], bundle.manifest.preprocessing
    seen = how.normalise(how.resize(Image.fromarray(pixels)))[None]
    expected = run_torch(BundleGraph([net], 1.7, 0, look=64), seen)["probabilities"][0]
    answered = Classifier(bundle).classify(pixels).probabilities
    shares, assumed = bundle.manifest.default, bundle.manifest.reference
    here = expected * np.array([shares[name] / assumed[name] for name in bundle.classes])
    assert np.abs(np.array([answered[name] for name in bundle.classes]) - here / here.sum()).max() < 1e-4


def test_members_shared_blocks_and_mirror_come_back(pair: list[nn.Module], joint: Path) -> None:
    graph = read_network(open_bundle(joint))
    assert (len(graph.tails), len(graph.shared), graph.mirror) == (len(pair), SHARED, True)
    inputs = SMALL.normalise(_noise(3, 5, SIDE))
    found, expected = run_torch(graph, inputs), run_torch(BundleGraph(pair, 1.7, SHARED, True), inputs)
    for name in OUTPUTS:
        assert np.abs(found[name] - expected[name]).max() < 1e-5 * max(1, np.abs(expected[name]).max()), name


@pytest.mark.parametrize("mirror", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_network_that_looks_twice_answers_as_in_training_and_comes_back(
    looking: tuple[nn.Module, Path], tmp_path: Path, mirror: bool
) -> None:
    net, folder = looking
    if mirror:
        folder = _write(tmp_path / "bundle", [net], 0, mirror, Preprocessing(size=128), look=64)
    graph = BundleGraph([net], 1.7, 0, mirror, look=64).eval()
    inputs = IMAGENET.normalise(_noise(3, 8, 128))
    found, exact = _onnxruntime(open_bundle(folder).read("model.onnx"), inputs), run_torch(graph, inputs)
    for name in OUTPUTS:
        assert np.abs(found[name] - exact[name]).max() < 1e-4 * max(1, np.abs(exact[name]).max()), name
    assert found["cam"].shape[2:] == (4, 4)
    bias = net.classifier[1].bias.detach().numpy()  # type: ignore[union-attr, index]
    assert np.abs(found["cam"].mean(axis=(2, 3)) + bias - found["logits"]).max() < 1e-4
    views = pixel_views(_noise(3, 8, 128), mirror)
    said = answer([net], views, 0, torch.device("cpu"), look=64)
    assert np.abs(said.embeddings - found["embedding"]).max() < 1e-4 * np.abs(said.embeddings).max()
    again = read_network(open_bundle(folder))
    assert (again.look, again.mirror) == (64, mirror)
    back = run_torch(again, inputs)
    assert np.abs(back["logits"] - exact["logits"]).max() < 1e-4 * np.abs(exact["logits"]).max()


def _other_model(change: Callable[[onnx.ModelProto], object]) -> Callable[[Path], object]:
    def replace(folder: Path) -> None:
        model = onnx.load_model(folder / "model.onnx")
        change(model)
        factory.replace_file(folder, "model.onnx", model.SerializeToString())

    return replace


def _move_out(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="manifest.json")


def _cut(model: onnx.ModelProto) -> None:
    for node in [one for one in model.graph.node if one.op_type == "Conv" and "7.conv.2.weight" in one.input[1]]:
        model.graph.node.remove(node)


def _shift(model: onnx.ModelProto) -> None:
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == "linears.0.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.float32(0.01), bias.name))


# Changes to a copy of the shipped bundle whose manifest states the new size and hash, and words of the one line.
REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "not ONNX": (lambda folder: factory.replace_file(folder, "model.onnx", b"\xff" * 100), "not an ONNX file"),
    "another kind": (
        lambda folder: factory.replace_file(folder, "model.onnx", factory.model_bytes()),
        "'kernel', so it is not a MobileNetV2",
    ),
    "weights outside": (_other_model(_move_out), "model.onnx"),
    "a missing layer": (_other_model(_cut), r"Missing key.*not a MobileNetV2"),
    "other weights": (_other_model(_shift), "logits .* differ by 1.0e-02"),
    "another temperature": (
        lambda folder: factory.edit_manifest(folder, lambda manifest: manifest["calibration"].update(temperature=1.0)),
        "probabilities .* differ",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_the_export_of_its_golden_answers_is_refused(case: str, tmp_path: Path) -> None:
    change, words = REFUSED[case]
    folder = Path(shutil.copytree(SHIPPED, tmp_path / "bundle"))
    change(folder)
    with pytest.raises(SonoforgeError, match=words) as raised:
        read_network(open_bundle(folder))
    assert str(folder) in str(raised.value) and "\n" not in str(raised.value)
