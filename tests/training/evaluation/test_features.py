"""ImageNet networks: opened strictly, embedding as torchvision does."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from sonoforge.models.mobilenetv2 import import_torchvision
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.evaluation.features import MAPS_SIZE, Features, open_features


def _weights(shared: Path, network: str) -> Path:
    path = shared / "weights" / f"{network}_imagenet_fp16.safetensors"
    if not path.is_file():
        pytest.skip(f"no weights at {path}: this test needs them")
    return path


@pytest.fixture(scope="module")
def squeezenet(shared: Path) -> Features:
    return open_features(str(_weights(shared, "squeezenet1_1")))


def _torchvision(path: Path, network: str) -> Any:
    net = getattr(import_torchvision().models, network)(weights=None)
    net.load_state_dict({name: value.float() for name, value in load_file(path).items()}, strict=True)
    return net.eval()


def _unit_images(count: int, channels: int, size: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def _by_hand(images: torch.Tensor) -> torch.Tensor:
    """Normalise as the documentation of torchvision's weights says."""
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return ((images + 1) / 2 - mean[:, None, None]) / std[:, None, None]


# Feature networks.


def test_file_is_recognised_by_its_tensors_and_named_with_its_hash(shared: Path, squeezenet: Features) -> None:
    # The hash is the one that the weights' own documentation gives.
    assert squeezenet.name == "squeezenet1_1 (sha256 e81902952f0f6937)"
    assert open_features(str(_weights(shared, "mobilenet_v2"))).name == "mobilenet_v2 (sha256 41afa3376ee77e67)"


@pytest.mark.parametrize(
    ("network", "layers"),
    [
        ("squeezenet1_1", [1, 4, 7, 9, 10, 11, 12]),  # those of LPIPS
        ("mobilenet_v2", [1, 3, 6, 13, 17]),  # the last of each resolution but the final 1x1 convolution
    ],
)
def test_maps_are_those_of_torchvisions_network(shared: Path, network: str, layers: list[int]) -> None:
    path = _weights(shared, network)
    net, images = _torchvision(path, network), _unit_images(2, 3, 96)
    value, every = _by_hand(images), []
    with torch.no_grad():
        for layer in net.features:
            value = layer(value)
            every.append(value.clone())
        maps = open_features(str(path)).maps(images)
    expected = [every[index] for index in layers]
    assert len(maps) == len(expected)
    for found, wanted in zip(maps, expected, strict=True):
        assert torch.allclose(found, wanted, atol=1e-4 * float(wanted.abs().max()))


@pytest.mark.parametrize(
    ("network", "names", "shapes"),
    [
        ("vgg16", "relu1_2 relu2_2 relu3_3 relu4_3", [(64, 64), (128, 32), (256, 16), (512, 8)]),
        ("vgg19", "relu1_1 relu2_1 relu3_1 relu4_1 relu5_1", [(64, 64), (128, 32), (256, 16), (512, 8), (512, 4)]),
    ],
)
def test_vgg_is_tapped_where_its_layers_names_say(
    tmp_path: Path, network: str, names: str, shapes: list[tuple[int, int]]
) -> None:
    """From the features alone: whoever stores half a gigabyte need not store the classifier's nine tenths."""
    with torch.device("meta"):
        layers = getattr(import_torchvision().models, network)(weights=None).features
    path = tmp_path / "mine.safetensors"
    generator = torch.Generator().manual_seed(0)
    save_file(
        {f"features.{name}": torch.randn(value.shape, generator=generator).mul_(0.05).half()
         for name, value in layers.state_dict().items()},
        path,
    )  # fmt: skip
    features = open_features(str(path))
    assert features.name.startswith(f"{network} (sha256 ")
    block, convolution, known = 1, 0, {}
    for index, layer in enumerate(layers):
        if isinstance(layer, nn.MaxPool2d):
            block, convolution = block + 1, 0
        convolution += isinstance(layer, nn.Conv2d)
        if isinstance(layer, nn.ReLU):
            known[f"relu{block}_{convolution}"] = index
    assert dict(features.layers) == {name: known[name] for name in names.split()}
    maps = features.maps(_unit_images(1, 1, 64))
    assert [tuple(found.shape[1:]) for found in maps] == [(width, side, side) for width, side in shapes]
    assert features.embed(_unit_images(1, 1, 32)).shape == (1, 512)


def test_embedding_averages_what_is_too_fine_to_be_seen(squeezenet: Features) -> None:
    """Of stripes two pixels wide, at a quarter of their size, a filter that is not widened sees one colour only."""
    stripes = torch.tensor([-1.0, 1.0, 1.0, -1.0]).repeat(224).expand(1, 1, 896, -1)
    grey, white = torch.zeros(1, 1, 224, 224), torch.ones(1, 1, 224, 224)
    seen = squeezenet.embed(stripes)
    assert float((seen - squeezenet.embed(grey)).norm()) < 0.5 * float((seen - squeezenet.embed(white)).norm())


def test_small_images_are_enlarged_before_their_maps_vanish(squeezenet: Features) -> None:
    small, least = squeezenet.maps(_unit_images(1, 1, 32)), squeezenet.maps(_unit_images(1, 1, MAPS_SIZE))
    assert [found.shape for found in small] == [found.shape for found in least]
    flat = torch.full((1, 1, 32, 32), 0.3)
    expected = squeezenet.maps(torch.full((1, 1, MAPS_SIZE, MAPS_SIZE), 0.3))
    assert torch.allclose(squeezenet.maps(flat)[-1], expected[-1], atol=1e-4)


def test_gradients_reach_the_images_and_not_the_network(squeezenet: Features) -> None:
    images = _unit_images(1, 1, 48).requires_grad_()
    total = sum(found.square().mean() for found in squeezenet.maps(images)) + squeezenet.embed(images).square().mean()
    total.backward()
    assert images.grad is not None
    assert float((images.grad != 0).float().mean()) > 0.9
    assert all(parameter.grad is None for parameter in squeezenet.module.parameters())
    assert not squeezenet.module.training


# Refusals.


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features.99.weight": torch.zeros(3)}, r"nearest squeezenet1_1 \(1 tensors .*first features\.99\.weight"),
        ({"lin0.model.1.weight": torch.zeros(3)}, r"nearest squeezenet1_1 \(1 tensors .*first lin0\.model"),
        ({"features.0.weight": torch.zeros(96, 3, 7, 7)}, r"nearest squeezenet1_1 \(1 tensors .*features\.0\.weight"),
        ({"features.0.bias": None}, r"nearest squeezenet1_1 \(1 tensors .*first features\.0\.bias"),
        ({"features.0.bias": torch.zeros(64, dtype=torch.int64)}, r"1 tensors .*first features\.0\.bias"),
    ],
    ids=["unknown layer", "unknown part", "other shape", "missing", "integers"],
)
def test_a_network_that_is_not_whole_or_not_only_itself_is_refused(
    tmp_path: Path, change: dict[str, torch.Tensor | None], message: str
) -> None:
    state = {**import_torchvision().models.squeezenet1_1(weights=None).state_dict(), **change}
    path = tmp_path / "changed.safetensors"
    save_file({name: value for name, value in state.items() if value is not None}, path)
    with pytest.raises(SonoforgeError, match=r"changed\.safetensors: not a torchvision vgg16 or.*" + message) as error:
        open_features(str(path))
    assert "\n" not in str(error.value)


def test_a_download_is_named_with_its_hash_and_leaves_stdout_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = import_torchvision().models.squeezenet1_1(weights=None)

    def download(_: str, path: str, *__: object, **___: object) -> None:
        torch.save(source.state_dict(), path)

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    features = open_features("squeezenet1_1")
    (path,) = (tmp_path / "hub" / "checkpoints").iterdir()
    assert features.name == f"squeezenet1_1 (sha256 {hashlib.sha256(path.read_bytes()).hexdigest()[:16]})"
    assert torch.equal(features.module.state_dict()["0.weight"], source.state_dict()["features.0.weight"])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("w.pth", r"w\.pth: .*must be a \.safetensors file, not .* \(never unpickled\)"),
        ("w.safetensors", r"w\.safetensors: not a readable safetensors file"),
        ("resnet.safetensors", r"not a torchvision vgg16 or vgg19 or squeezenet1_1 or alexnet or mobilenet_v2; .*key"),
        ("vgg11", r"no such weights file; give vgg16, .* \(did you mean vgg1"),
        ("vgg16", r"vgg16-\w+\.pth could not be .*unreachable.*\); give --set gan.features=FILE"),
    ],
)
def test_other_files_and_failed_downloads_are_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("Network is unreachable\nand a second line")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    Path("w.pth").write_bytes(b"\x80\x04K\x01.")
    Path("w.safetensors").write_bytes(b"rubbish")
    if name.startswith("resnet"):
        save_file(import_torchvision().models.resnet18(weights=None).state_dict(), name)
    with pytest.raises(SonoforgeError, match=message) as error:
        open_features(name)
    assert "\n" not in str(error.value)
