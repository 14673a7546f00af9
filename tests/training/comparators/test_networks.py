"""Features are what each network's last layer reads; weights come from files or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sonoforge.models.mobilenetv2 import import_torchvision
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.preprocessing import IMAGENET
from sonoforge.training.comparators.networks import extract_features, load_networks

CPU = torch.device("cpu")


def make(name: str) -> Any:
    return getattr(import_torchvision().models, name)(weights=None)


def write_random(folder: Path, name: str) -> Path:
    """Random weights under torchvision's names; returns their file."""
    torch.manual_seed(0)
    path = folder / f"{name}.safetensors"
    state = make(name).state_dict()
    save_file({key: value.half() if value.is_floating_point() else value for key, value in state.items()}, path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("weights")
    for name in ("squeezenet1_1", "mobilenet_v2"):
        write_random(made, name)
    return made


@pytest.mark.parametrize(("name", "length"), [("squeezenet1_1", 512), ("mobilenet_v2", 1280)])
def test_features_are_what_the_last_layer_reads(folder: Path, name: str, length: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3)).astype(np.uint8)
    weights = load_networks((name,), (str(folder),))[name]
    found = extract_features(name, (str(folder),), pixels, CPU)
    assert found.shape == (3, length)
    net = make(name)
    net.load_state_dict(weights.state)
    net.eval()
    last = net.classifier[1]
    read: list[torch.Tensor] = []
    last.register_forward_hook(lambda _module, inputs, _output: read.append(inputs[0]))
    with torch.no_grad():
        net(torch.from_numpy(IMAGENET.normalise(pixels)))
    expected = read[0] if read[0].ndim == 2 else read[0].mean((2, 3))
    assert np.allclose(found, expected.numpy(), atol=1e-5)


def test_weights_that_are_missing_are_all_named(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "nothing"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", _no_network)
    with pytest.raises(
        SonoforgeError, match=r"weights of alexnet, resnet50 are missing: give --set crossval\.comparator_weights"
    ):
        load_networks(("alexnet", "resnet50", "mobilenet_v2"), (str(folder),))


def _no_network(*_: object, **__: object) -> None:
    raise OSError("no network")


def test_weights_of_another_network_are_refused(folder: Path) -> None:
    wrong = f"mobilenet_v2={folder / 'squeezenet1_1.safetensors'}"
    with pytest.raises(SonoforgeError, match=r"squeezenet1_1.safetensors: not torchvision's mobilenet_v2"):
        load_networks(("mobilenet_v2",), (wrong,))
    with pytest.raises(SonoforgeError, match="resnet=x is neither NAME=FILE nor"):
        load_networks(("resnet50",), ("resnet=x",))


def test_two_files_of_one_network_are_no_choice(folder: Path, tmp_path: Path) -> None:
    for suffix in ("", "_other"):
        (tmp_path / f"mobilenet_v2{suffix}.safetensors").write_bytes((folder / "mobilenet_v2.safetensors").read_bytes())
    with pytest.raises(SonoforgeError, match="several files for mobilenet_v2"):
        load_networks(("mobilenet_v2",), (str(tmp_path),))
    one = f"mobilenet_v2={folder / 'mobilenet_v2.safetensors'}"
    assert load_networks(("mobilenet_v2",), (one,)) != {}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["alexnet", "resnet50", "vgg16", "vgg19"])
def test_the_large_networks_end_before_their_last_layer(name: str, tmp_path: Path) -> None:
    given = (f"{name}={write_random(tmp_path, name)}",)
    weights = load_networks((name,), given)[name]
    pixels = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3)).astype(np.uint8)
    found = extract_features(name, given, pixels, CPU)
    net = make(name)
    net.load_state_dict(weights.state)
    with torch.no_grad():
        expected = net.eval()(torch.from_numpy(IMAGENET.normalise(pixels)))
        last = net.fc if name == "resnet50" else net.classifier[-1]
        assert torch.allclose(last(torch.from_numpy(found)), expected, atol=1e-4)
