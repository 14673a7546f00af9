"""The classifier's network: folded batch normalisation, and where its second pass goes and what it shows there."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from golden import printed
from sonoforge.models.mobilenetv2 import (
    EMBEDDING,
    OutlineHead,
    enlarge_maps,
    folded_statistics,
    load_folded,
    mobilenet_v2,
    place_maps,
    resample,
    restore_batch_norm,
    run_twice,
    zoom_box,
)


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    """A network whose batch norms carry statistics and gains that are not the initial ones."""
    torch.manual_seed(0)
    net = mobilenet_v2(3)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.0, 0.3)
            module.running_mean.normal_(0.0, 0.2)
            module.running_var.uniform_(0.5, 2.0)
    return net.eval()


def _folded(net: nn.Module) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Fold each batch norm into its convolution by the textbook formula."""
    layers = [m for m in net.features.modules() if isinstance(m, (nn.Conv2d, nn.BatchNorm2d))]
    pairs = []
    for convolution, norm in zip(layers[::2], layers[1::2], strict=True):
        gain = norm.weight / (norm.running_var + norm.eps).sqrt()
        pairs.append((convolution.weight * gain[:, None, None, None], norm.bias - gain * norm.running_mean))
    return pairs


def test_has_the_blocks_and_width_that_it_documents(trained: nn.Module) -> None:
    assert len(trained.features) == 19  # stem, 17 inverted residuals, last 1x1 convolution
    assert trained.classifier[1].in_features == EMBEDDING
    assert sum(p.numel() for p in trained.features.parameters()) == 2_223_872  # Sandler et al. 2018, width 1.0


def test_blocks_are_those_of_the_thesiss_figure_3(trained: nn.Module) -> None:
    """Side and channels of the input, then expansion t, channels c, repeats n and stride s of each row."""
    blocks, side = iter(trained.features), 224
    rows = {name: columns for name, columns in printed("thesis")["figure 3"].items() if "t c n s" in columns}
    for row, columns in rows.items():
        height, _, channels = map(int, row.split(", ")[1].split(" x "))
        expansion, *numbers = columns["t c n s"].split()
        width, repeats, stride = map(int, numbers)
        assert height == side, row
        for repeat in range(repeats):
            convolutions = [module for module in next(blocks).modules() if isinstance(module, nn.Conv2d)]
            strides = [max(module.stride) for module in convolutions]
            kernels = [max(module.kernel_size) for module in convolutions]
            first, last = convolutions[0], convolutions[-1]
            assert (first.in_channels, last.out_channels) == (channels if not repeat else width, width), row
            if expansion != "-":
                assert convolutions[-2].groups == convolutions[-2].in_channels == int(expansion) * first.in_channels
                assert kernels == ([1] * (expansion != "1")) + [3, 1], row
            assert max(strides) == (stride if not repeat else 1), row
            side //= max(strides)
    assert next(blocks, None) is None


def test_folded_convolutions_compute_what_the_network_computed(trained: nn.Module) -> None:
    folded = mobilenet_v2(3).eval()
    load_folded(folded, _folded(trained))
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(folded.features(images), trained.features(images), atol=1e-4)


def test_load_folded_refuses_another_architecture(trained: nn.Module) -> None:
    with pytest.raises(ValueError, match="not 52"):
        load_folded(mobilenet_v2(3), _folded(trained)[:-1])


def test_restored_batch_norm_answers_and_trains_as_the_network_did(trained: nn.Module) -> None:
    own, images = copy.deepcopy(trained), torch.randn(8, 3, 64, 64)
    for module in own.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    own.train()
    with torch.no_grad():
        own.features(images)  # running statistics of a training
        net = mobilenet_v2(3)
        load_folded(net, _folded(own))
        restore_batch_norm(net, *folded_statistics(own))
        for mode, allowed in ((False, 1e-3), (True, 1e-2)):  # in training, what is added to each variance counts
            expected = own.train(mode).features(images)
            assert (net.train(mode).features(images) - expected).abs().max() < allowed * expected.max()


# The second pass.

EVERYTHING = [0.0, 0.0, 1.0, 1.0]


@pytest.mark.parametrize("window", [(0, 0, 1, 1), (0.2, 0.1, 0.75, 0.66), (0.5, 0.5, 0.85, 0.85), (0, 0.3, 0.4, 0.9)])
def test_a_window_is_what_pillow_cuts_out_and_resizes(window: tuple[float, ...]) -> None:
    picture = np.random.default_rng(0).random((97, 131), np.float32)
    found = resample(torch.from_numpy(picture)[None, None], torch.tensor([window], dtype=torch.float32), 40)[0, 0]
    box = (window[0] * 131, window[1] * 97, window[2] * 131, window[3] * 97)
    expected = np.asarray(Image.fromarray(picture).resize((40, 40), Image.Resampling.BILINEAR, box=box))
    assert np.abs(found.numpy() - expected).max() < 2e-5


def outline(rows: slice, columns: slice, inside: float = 8.0) -> torch.Tensor:
    cells = torch.full((1, 1, 10, 10), -8.0)
    cells[0, 0, rows, columns] = inside
    return cells


def test_the_window_is_one_and_a_half_times_the_lesion() -> None:
    window = zoom_box(outline(slice(2, 6), slice(4, 8)))
    assert window[0].tolist() == pytest.approx([0.3, 0.1, 0.9, 0.7], abs=2e-3)  # of 0.4, 0.2, 0.8, 0.6


def test_a_window_is_never_small_and_stays_in_the_image() -> None:
    window = zoom_box(outline(slice(0, 1), slice(9, 10)))[0].tolist()
    assert window == pytest.approx([0.65, 0.0, 1.0, 0.35], abs=1e-5)
    large = zoom_box(outline(slice(0, 10), slice(0, 9)))[0].tolist()
    assert large == pytest.approx(EVERYTHING, abs=1e-5)


def test_without_a_lesion_the_second_pass_is_of_everything_and_doubt_is_between() -> None:
    logit = float(np.log(0.3 / 0.7))
    spot = (slice(2, 6), slice(4, 8))
    assert zoom_box(torch.full((2, 1, 10, 10), -3.0)).tolist() == [EVERYTHING] * 2
    unsure, sure = zoom_box(outline(*spot, logit))[0], zoom_box(outline(*spot))[0]
    assert torch.allclose(unsure, (sure + torch.tensor(EVERYTHING)) / 2, atol=2e-3)


def test_maps_of_mirrored_windows_are_laid_over_an_image_where_they_belong() -> None:
    maps = torch.rand(3, 2, 5, 5, generator=torch.Generator().manual_seed(1))
    windows = torch.tensor([EVERYTHING, [0.2, 0.3, 0.6, 0.95], [0.1, 0.1, 0.45, 0.45]])
    placed = place_maps(maps.flip(3), windows, 10)
    assert torch.allclose(placed.mean((2, 3)), maps.mean((2, 3)), atol=1e-5)
    assert torch.allclose(placed[0], maps[0].repeat_interleave(2, 1).repeat_interleave(2, 2), atol=1e-5)
    assert (placed[1, :, :3] == 0).all() and (placed[1, :, 3:9, 2:6] > 0).all() and (placed[1, :, :, 6:] < 1e-5).all()


def test_enlarged_maps_are_interpolated_and_keep_their_means() -> None:
    maps = torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(2))
    large = enlarge_maps(maps, 10)
    assert torch.allclose(large, F.interpolate(maps, scale_factor=2, mode="bilinear"), atol=1e-6)
    assert torch.allclose(large.mean((2, 3)), maps.mean((2, 3)), atol=1e-6)


def test_both_looks_are_those_of_the_one_network() -> None:
    torch.manual_seed(0)
    net, head = mobilenet_v2(3).eval(), OutlineHead().eval()
    with torch.no_grad():
        head.cells.bias.fill_(3.0)  # sees lesion everywhere
        images = torch.randn(2, 3, 128, 128)
        passes = run_twice(net.features, head, images, 64)
        whole = net.features(resample(images, torch.tensor([EVERYTHING] * 2), 64))
        assert torch.allclose(passes.first, whole, atol=1e-5)
        again = net.features(resample(images, passes.window, 64).flip(3))  # its mirror image
        assert torch.allclose(passes.second, again, atol=1e-5)
        assert torch.allclose(passes.embedding, (whole.mean((2, 3)) + again.mean((2, 3))) / 2, atol=1e-6)
