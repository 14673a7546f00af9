"""The perceptual term: its closed form on a network that does nothing, and its gradients on one that sees."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from sonoforge.training.evaluation.features import Features, open_features
from sonoforge.training.gan.losses import perceptual_loss


def _stub() -> Features:
    """Maps: the normalised image, and two of its channels doubled."""
    double = nn.Conv2d(3, 2, 1, bias=False).requires_grad_(False)
    double.weight.copy_(torch.tensor([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]])[:, :, None, None])
    return Features("stub", {"same": 0, "doubled": 1}, nn.Sequential(nn.Identity(), double).eval())


def _images(count: int, channels: int, size: int = 64, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_equal_batches_have_no_loss() -> None:
    images = _images(3, 3)
    assert float(perceptual_loss(_stub(), images, images.clone(), 3)) == 0.0


@pytest.mark.parametrize("shift", [0.1, 0.2, -0.4])
def test_loss_of_a_shift_is_its_closed_form(shift: float) -> None:
    """A shift by d is one of d / (2 std) in each normalised channel; each layer is taken relative to the real maps."""
    real = _images(2, 3)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    shown = ((real + 1) / 2 - mean[:, None, None]) / std[:, None, None]
    same = float((shift / (2 * std)).square().mean() / shown.square().mean())
    # The factor 2 of the second layer falls out.
    doubled = float((shift / (2 * std[:2])).square().mean() / shown[:, :2].square().mean())
    assert float(perceptual_loss(_stub(), real + shift, real, 3)) == pytest.approx((same + doubled) / 2, rel=1e-4)


def test_one_different_pair_counts_by_its_share_of_the_batch() -> None:
    real = _images(1, 1).repeat(4, 1, 1, 1)
    fake = real.clone()
    fake[2] += 0.3
    alone = float(perceptual_loss(_stub(), fake[2:3], real[2:3], 1))
    assert float(perceptual_loss(_stub(), fake, real, 1)) == pytest.approx(alone / 4, rel=1e-5)


def test_pairs_are_made_by_position() -> None:
    fake, real = _images(3, 1), _images(3, 1, seed=1)
    order = torch.tensor([2, 0, 1])
    expected = float(perceptual_loss(_stub(), fake, real, 1))
    assert float(perceptual_loss(_stub(), fake[order], real[order], 1)) == pytest.approx(expected, rel=1e-5)
    assert float(perceptual_loss(_stub(), real[order], real, 1)) > 0
    assert float(perceptual_loss(_stub(), real[order], real[order], 1)) == 0


@pytest.mark.parametrize("image_channels", [1, 3])
def test_masks_are_not_shown(image_channels: int) -> None:
    fake, real = _images(2, image_channels + 1), _images(2, image_channels + 1, seed=1)
    expected = perceptual_loss(_stub(), fake, real, image_channels)
    fake[:, -1], real[:, -1] = 1.0, -1.0
    assert torch.equal(perceptual_loss(_stub(), fake, real, image_channels), expected)


def test_batches_that_are_not_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match=r"found \(2, 1, 64, 64\) and \(3, 1, 64, 64\)"):
        perceptual_loss(_stub(), _images(2, 1), _images(3, 1), 1)


def test_gradient_and_second_derivative_are_those_of_a_square() -> None:
    """For one channel seen as three, loss = c * mean (fake - real)^2; c from the closed form of a shift by 1."""
    real = _images(2, 1)
    fake = _images(2, 1, seed=1).requires_grad_()
    constant = float(perceptual_loss(_stub(), real + 1, real, 1))
    (slope,) = torch.autograd.grad(perceptual_loss(_stub(), fake, real, 1), fake, create_graph=True)
    assert torch.allclose(slope, 2 * constant * (fake - real) / fake.numel(), rtol=1e-3, atol=1e-8)
    (curvature,) = torch.autograd.grad(slope.sum(), fake)
    assert torch.allclose(curvature, torch.full_like(curvature, 2 * constant / fake.numel()), rtol=1e-3)


def test_a_step_down_the_gradient_brings_generated_images_nearer_to_real_ones(shared: Path) -> None:
    path = shared / "weights" / "squeezenet1_1_imagenet_fp16.safetensors"
    if not path.is_file():
        pytest.skip(f"no weights at {path}: this test needs them")
    features = open_features(str(path))
    real, fake = _images(2, 1, 32).requires_grad_(), _images(2, 1, 32, seed=1).requires_grad_()
    loss = perceptual_loss(features, fake, real, 1)
    loss.backward()
    loss = loss.detach()
    assert real.grad is None
    assert fake.grad is not None
    step = fake.detach() - 0.01 * float(loss) / float(fake.grad.square().sum()) * fake.grad
    # To first order the loss falls by 1 %.
    after = float(perceptual_loss(features, step, real, 1))
    assert after == pytest.approx(0.99 * float(loss), rel=2e-3)
