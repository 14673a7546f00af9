"""Initial weights: always reported, never silently replaced, never leaked."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import bundle_factory as factory
from sonoforge.export.bundle.classifier import read_network
from sonoforge.export.formats.onnx_graph import run_torch
from sonoforge.models.backbones import library_network, load_plain
from sonoforge.models.mobilenetv2 import import_torchvision, mobilenet_v2
from sonoforge.runtime.bundle.reader import SHIPPED, open_bundle
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.classifier.backbone import Network
from sonoforge.training.classifier.initial_weights import (
    choose_weights,
    load_backbone,
    weights_digest,
)
from sonoforge.training.classifier.network import build_network
from sonoforge.training.classifier.settings import ClassifierOptions, ClassifierSettings
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.datasets import Dataset
from sonoforge.training.reports.conclusions import judge_weights

NO_IMAGES = ImageCache(
    dataset=Dataset("none", Path("none"), (), ()),
    size=224,
    images=np.empty((0, 224, 224, 3), np.uint8),
    hashes=(),
    pictures=(),
    sizes=np.empty((0, 2), np.int64),
    boxes=np.empty((0, 4), np.int64),
    modes=(),
    unreadable={},
)


def test_file_in_half_precision_is_widened_and_loaded(tmp_path: Path) -> None:
    source = mobilenet_v2(1000)
    path = tmp_path / "w.safetensors"
    save_file({k: v.half() if v.is_floating_point() else v for k, v in source.state_dict().items()}, path)
    backbone = load_backbone(str(path), NO_IMAGES)
    net = mobilenet_v2(3)
    load_plain(net, backbone.state)
    kernel = net.features[5].conv[0][0].weight
    assert kernel.dtype == torch.float32
    assert torch.equal(kernel, source.features[5].conv[0][0].weight.half().float())
    assert "w.safetensors" in backbone.source


def test_a_file_that_nobody_knows_is_said_to_be_of_unknown_origin(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(mobilenet_v2(3).state_dict(), path)
    verdict = judge_weights(load_backbone(str(path), NO_IMAGES).source)
    assert verdict is not None and verdict.headline == "These weights may have seen the test images"
    assert "w.safetensors (sha256 " in str(verdict)


def test_weights_of_imagenet_are_known_in_either_precision(shared: Path, tmp_path: Path) -> None:
    halves = load_file(shared / "weights" / "mobilenet_v2_imagenet_fp16.safetensors")
    for name, state in (
        ("half", halves),
        ("single", {k: v.float() if v.is_floating_point() else v for k, v in halves.items()}),
    ):
        path = tmp_path / f"{name}.safetensors"
        save_file({key: value.contiguous() for key, value in state.items()}, path)
        assert judge_weights(load_backbone(str(path), NO_IMAGES).source) is None
    first = next(key for key, value in halves.items() if key.startswith("features.") and value.is_floating_point())
    halves[first] = halves[first] + 0.01
    save_file(halves, tmp_path / "tuned.safetensors")
    assert judge_weights(load_backbone(str(tmp_path / "tuned.safetensors"), NO_IMAGES).source) is not None


def test_the_network_of_a_run_is_refused_as_a_file(tmp_path: Path) -> None:
    path = tmp_path / "run" / "model" / "model.safetensors"
    path.parent.mkdir(parents=True)
    save_file(mobilenet_v2(3).state_dict(), path)
    (path.parent / "model.json").write_text("{}")
    with pytest.raises(SonoforgeError, match=f"bundle.*sonoforge export {tmp_path / 'run'}"):
        load_backbone(str(path), NO_IMAGES)


def test_file_of_another_network_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"layer.weight": torch.zeros(3)}, path)
    with pytest.raises(SonoforgeError, match=r"other\.safetensors: not a torchvision MobileNetV2"):
        load_backbone(str(path), NO_IMAGES)


def test_a_file_of_another_network_has_its_own_names_and_starts_that_network_alone(tmp_path: Path) -> None:
    network, path = Network("resnet18", 64), tmp_path / "r.safetensors"
    source = library_network("resnet18", 7)
    # As in published files of early versions of torch.
    state = {key: value for key, value in source.state_dict().items() if not key.endswith("num_batches_tracked")}
    save_file(state, path)
    backbone = load_backbone(str(path), NO_IMAGES, network)
    assert backbone.digest == weights_digest(str(path), network) and backbone.digest.startswith("resnet18: sha256 ")
    net = build_network(3, backbone, 0, torch.device("cpu")).eval()
    images = torch.randn(2, 3, 64, 64)
    source.fc = nn.Identity()  # type: ignore[assignment]
    assert torch.allclose(net.features(images).mean((2, 3)), source.eval()(images), atol=1e-5)
    save_file(library_network("resnet34", 7).state_dict(), path)  # has all tensors of ResNet-18, and more
    with pytest.raises(SonoforgeError, match="not a resnet18"):
        load_backbone(str(path), NO_IMAGES, network)
    assert choose_weights(None, NO_IMAGES, network) == "imagenet"
    assert weights_digest("imagenet", network) != weights_digest("imagenet", Network("resnet34", 64))


@pytest.mark.parametrize(("name", "content"), [("w.safetensors", b"rubbish"), ("w.pth", b"\x80\x04K\x01.")])
def test_foreign_files_are_refused_and_never_unpickled(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SonoforgeError) as error:
        load_backbone(str(path), NO_IMAGES)
    assert name in str(error.value) and "\n" not in str(error.value)


def test_missing_network_names_both_ways_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    weights = import_torchvision().models.MobileNet_V2_Weights
    monkeypatch.setattr(type(weights.IMAGENET1K_V1), "get_state_dict", _offline)
    with pytest.raises(SonoforgeError, match=r"give --set classifier.weights=FILE.* or --set classifier.weights=none"):
        load_backbone("imagenet", NO_IMAGES)


def _offline(*_: object, **__: object) -> None:
    raise OSError("Network is unreachable")


def test_shipped_backbone_computes_what_the_bundle_does_in_one_look() -> None:
    shipped = read_network(open_bundle(None))
    shipped.look, shipped.outlines = None, nn.ModuleList()
    net = mobilenet_v2(3).eval()
    load_plain(net, load_backbone("shipped", NO_IMAGES).state)
    images = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        both = (images, images.flip(3)) if shipped.mirror else (images,)
        expected = torch.stack([net.features(views).mean((2, 3)) for views in both]).mean(0)
    assert np.abs(run_torch(shipped, images.numpy())["embedding"] - expected.numpy()).max() < 1e-3


def test_of_shipped_weights_the_last_layer_is_taken_for_the_same_classes_alone() -> None:
    own = replace(NO_IMAGES, dataset=replace(NO_IMAGES.dataset, classes=open_bundle(None).classes))
    net, fresh = mobilenet_v2(3), mobilenet_v2(3).classifier[1].weight
    load_plain(net, load_backbone("shipped", own).state)
    shipped = read_network(open_bundle(None))
    assert torch.equal(net.classifier[1].weight, shipped.linears[0].weight)
    assert not torch.equal(net.classifier[1].weight, fresh)
    other = load_backbone("shipped", NO_IMAGES)
    assert {key.partition(".")[0] for key in other.state} == {"features"}


def test_a_small_set_is_shown_until_there_are_enough_steps() -> None:
    quick = ClassifierSettings(epochs=5, batch=32)
    for count in (10, 25, 37, 100, 700):
        settings = quick.for_images(count)
        steps = max(1, count // min(32, count)) * settings.epochs
        assert steps >= quick.least_steps and (settings.epochs == 5 or steps - steps // settings.epochs < 60)
    assert quick.for_images(700).epochs == 5  # enough as they are
    assert (
        ClassifierOptions(budget="quick", epochs=2).settings().for_images(10).epochs == 2
    )  # what is asked for is done


def test_a_bundle_of_ones_own_gives_its_weights_and_an_ensembles_is_refused(tmp_path: Path) -> None:
    own = shutil.copytree(SHIPPED, tmp_path / "own")
    shipped, copied = load_backbone("shipped", NO_IMAGES), load_backbone(str(own), NO_IMAGES)
    assert copied.digest == shipped.digest == weights_digest(str(own))
    assert all(torch.equal(value, copied.state[key]) for key, value in shipped.state.items())
    assert judge_weights(copied.source) is None, "an unchanged copy is the bundle shipped"
    factory.edit_manifest(own, lambda manifest: manifest["training"].update(data="other scans"))
    foreign = load_backbone(str(own), NO_IMAGES)
    assert "trained on other scans as it states" in foreign.source and judge_weights(foreign.source)
    factory.edit_manifest(own, lambda manifest: manifest["files"].pop("batch-norm.npz"))
    with pytest.raises(SonoforgeError, match="ensemble"):
        load_backbone(str(own), NO_IMAGES)
