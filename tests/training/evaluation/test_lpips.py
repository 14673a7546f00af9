"""LPIPS against torchmetrics, its published formula written again, and what distances must obey."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from scipy import ndimage

from scans import draw_scan
from sonoforge.models.mobilenetv2 import import_torchvision
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.data.pixels import to_tensor, to_unit
from sonoforge.training.evaluation import lpips as module
from sonoforge.training.evaluation.lpips import VARIANTS, Lpips, distance_matrix, embed, open_lpips

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def random_lpips(squeezenet_file: Path) -> Lpips:
    """A backbone with random weights under the heads that torchmetrics carries: runs everywhere."""
    return open_lpips(str(squeezenet_file))


@pytest.fixture(scope="module")
def weights(shared: Path) -> Path:
    path = shared / "weights" / "squeezenet1_1_imagenet_fp16.safetensors"
    if not path.is_file():
        pytest.skip(f"no weights at {path}: this test needs them")
    return path


@pytest.fixture(scope="module")
def real_lpips(weights: Path) -> Lpips:
    return open_lpips(str(weights))


def _torchmetrics(backbone: Path, name: str = "squeeze") -> Any:
    """torchmetrics' own module and heads, around the weights of this file; without the network."""
    import_torchvision()
    from torchmetrics.functional.image.lpips import _LPIPS

    net = _LPIPS(pretrained=True, net=name, pnet_rand=True)
    state = {name: value.float() for name, value in load_file(backbone).items()}
    parts = net.net.slices if name == "squeeze" else [getattr(net.net, f"slice{i}") for i in range(1, 6)]
    for part in parts:
        for index, layer in part.named_children():
            prefix = f"features.{index}."
            own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
            layer.load_state_dict(own)
    return net.eval()


def _scans(count: int, side: int, channels: int = 1, seed: int = 0) -> Pixels:
    layers = [np.stack([draw_scan(seed + i + 50 * c, side) for i in range(count)]) for c in range(channels)]
    return np.stack(layers, axis=-1)


def _colours(images: Pixels) -> torch.Tensor:
    """(N, 3, S, S) in [-1, 1], as torchmetrics wants them."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().expand(-1, 3, -1, -1) / 127.5 - 1


def distance(lpips: Lpips, first: Any, second: Any) -> Any:
    """LPIPS of each pair of images, (P,) float64."""
    one, other = (own if isinstance(own, torch.Tensor) else to_unit(to_tensor(own)) for own in (first, second))
    return (embed(lpips, one) - embed(lpips, other)).square().sum(1).double().cpu().numpy()


@pytest.mark.parametrize(("side", "channels"), [(64, 1), (64, 3), (97, 3), (128, 1)])
@pytest.mark.parametrize("which", ["random", "real"])
def test_agrees_with_torchmetrics(which: str, side: int, channels: int, request: pytest.FixtureRequest) -> None:
    ours: Lpips = request.getfixturevalue(f"{which}_lpips")
    backbone: Any = request.getfixturevalue("squeezenet_file" if which == "random" else "weights")
    first, second = _scans(5, side, channels), _scans(5, side, channels, seed=20)
    with torch.inference_mode():
        net = _torchmetrics(backbone)
        expected = net(_colours(first), _colours(second)).flatten()
    assert distance(ours, first, second) == pytest.approx(expected.numpy(), rel=1e-4, abs=1e-6)
    assert float(expected.min()) > 1e-3


@pytest.mark.parametrize("network", ["alexnet", pytest.param("vgg16", marks=pytest.mark.slow)])
def test_other_networks_agree_with_torchmetrics_and_are_called_by_their_names(network: str, tmp_path: Path) -> None:
    """The file's tensors tell the network; its heads are its own."""
    path = _random_network(network, tmp_path)
    ours = open_lpips(str(path))
    assert ours.network == network
    assert ours.name.startswith(f"LPIPS 0.1 {network} (sha256 ")
    first, second = _scans(4, 64), _scans(4, 64, seed=20)
    with torch.inference_mode():
        expected = _torchmetrics(path, VARIANTS[network].lpips_heads)(_colours(first), _colours(second)).flatten()
    assert distance(ours, first, second) == pytest.approx(expected.numpy(), rel=1e-4, abs=1e-6)
    assert float(expected.min()) > 1e-3


def _random_network(network: str, folder: Path) -> Path:
    """Random weights in torchvision's names and shapes, of a size that keeps the maps alive."""
    with torch.device("meta"):
        layers = getattr(import_torchvision().models, network)(weights=None).features
    chance = torch.Generator().manual_seed(0)
    state = {
        f"features.{name}": torch.randn(value.shape, generator=chance) * (2 / max(1, value[0].numel())) ** 0.5
        for name, value in layers.state_dict().items()
    }
    save_file(state, folder / f"{network}.safetensors")
    return folder / f"{network}.safetensors"


def test_is_the_value_that_torchmetrics_documents(real_lpips: Lpips) -> None:
    """Its example: two batches of uniform noise; 0.1008 with the published weights."""
    generator = torch.Generator().manual_seed(123)
    first, second = (torch.rand(10, 3, 100, 100, generator=generator) * 2 - 1 for _ in range(2))
    assert distance(real_lpips, first, second).mean() == pytest.approx(0.1008, abs=5e-4)


def test_equal_images_have_no_distance_and_the_order_does_not_matter(random_lpips: Lpips) -> None:
    first, second = _scans(3, 64), _scans(3, 64, seed=5)
    assert distance(random_lpips, first, first) == pytest.approx(0, abs=1e-9)
    assert distance(random_lpips, first, second) == pytest.approx(distance(random_lpips, second, first))
    assert distance(random_lpips, first, np.repeat(first, 3, axis=3)) == pytest.approx(0, abs=1e-6)
    assert distance(random_lpips, first, second) == pytest.approx(
        distance(random_lpips, _colours(first)[:, :1], _colours(second)[:, :1]), rel=1e-5
    )


def test_more_blur_and_more_noise_are_farther(real_lpips: Lpips) -> None:
    images = _scans(4, 64)
    blurred = [ndimage.gaussian_filter(images.astype(float), (0, s, s, 0)).astype(np.uint8) for s in (0.7, 1.5, 3, 6)]
    noise = np.random.default_rng(0).normal(size=images.shape)
    noisy = [np.clip(images + strength * noise, 0, 255).astype(np.uint8) for strength in (4, 10, 25, 60)]
    for series in (blurred, noisy):
        found = np.stack([distance(real_lpips, images, worse) for worse in series])
        assert (np.diff(found, axis=0) > 0).all()
        assert (found[0] > 0).all()


def test_matrix_is_that_of_the_pairs(random_lpips: Lpips, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", 3)  # several blocks, the last one not full
    images = _scans(7, 64)
    images[4] = images[2]
    table = np.stack([distance(random_lpips, np.repeat(image[None], 7, axis=0), images) for image in images])
    found = distance_matrix(random_lpips, images)
    assert found.dtype == np.float32
    assert found == pytest.approx(table, abs=1e-5)
    assert found[2, 4] == pytest.approx(0, abs=1e-5)
    assert not np.diag(found).any()


def test_the_name_tells_the_weights_and_the_heads_are_the_published_ones(real_lpips: Lpips, shared: Path) -> None:
    assert real_lpips.name.startswith("LPIPS 0.1 squeezenet1_1 (sha256 e81902952f0f6937), heads (sha256 ")
    published = load_file(shared / "weights" / "lpips_squeeze_v0.1_lin.safetensors")
    for layer, root in enumerate(real_lpips.roots):
        assert torch.equal(root, published[f"lin{layer}.model.1.weight"].flatten().float().sqrt())


def test_other_weights_are_refused(squeezenet_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mobile = tmp_path / "mobile.safetensors"
    save_file(import_torchvision().models.mobilenet_v2(weights=None).state_dict(), mobile)
    with pytest.raises(SonoforgeError, match=r"mobile.safetensors: .*mobilenet_v2"):
        open_lpips(str(mobile))
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SonoforgeError, match="LPIPS: no heads"):
        open_lpips(str(squeezenet_file))
