"""The regularisers: against independent computations, finite differences and sequences by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from sonoforge.training.gan.regularisers import (
    REGULARISERS,
    Batch,
    clip_weights,
    flip_and_shift,
    normalise_spectrally,
    path_lengths,
)

COUNT, SHAPE, LATENT = 4, (2, 8, 8), 6


class Critic(nn.Module):
    """A small smooth critic of images (N, 2, 8, 8)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(2, 5, 3), nn.Tanh(), nn.Flatten(), nn.Linear(5 * 36, 1))

    def forward(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, None]:
        del labels
        return self.layers(images)[:, 0], None


class Maker(nn.Module):
    """A small smooth generator."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(LATENT, 16), nn.Tanh(), nn.Linear(16, math.prod(SHAPE)))

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        del labels
        return self.layers(latents).view(-1, *SHAPE)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def _batch() -> Batch:
    real, fake = torch.randn(COUNT, *SHAPE), torch.randn(COUNT, *SHAPE)
    chance = torch.Generator().manual_seed(1)
    return Batch(real, fake, torch.randn(COUNT, LATENT), None, torch.rand(COUNT, 1, 1, 1), 2, chance)


def _double(network: nn.Module, batch: Batch) -> tuple[nn.Module, Batch]:
    """Double precision, for finite differences."""
    values = {"real": batch.real.double(), "fake": batch.fake.double(), "latents": batch.latents.double()}
    return network.double(), batch._replace(**values, mix=batch.mix.double())


def _numeric_gradient(critic: nn.Module, image: Tensor, step: float = 1e-5) -> Tensor:
    """Central differences of the critic's score of one image, pixel by pixel."""
    gradient = torch.zeros_like(image)
    with torch.no_grad():
        for index in range(image.numel()):
            shift = torch.zeros_like(image).view(-1)
            shift[index] = step
            ends = torch.stack([image + shift.view_as(image), image - shift.view_as(image)])
            scores, _ = critic(ends)
            gradient.view(-1)[index] = (scores[0] - scores[1]) / (2 * step)
    return gradient


def test_gradient_penalty_equals_finite_differences() -> None:
    critic, batch = _double(Critic(), _batch())
    between = batch.mix * batch.real + (1 - batch.mix) * batch.fake
    norms = torch.stack([_numeric_gradient(critic, image).norm() for image in between])
    value = REGULARISERS["gradient-penalty"].penalty(critic, batch, {})  # type: ignore[misc]
    assert float(value.detach()) == pytest.approx(float((norms - 1).square().mean()), abs=1e-5)
    value.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in list(critic.parameters())[:-1])


def test_r1_equals_finite_differences() -> None:
    critic, batch = _double(Critic(), _batch())
    squares = torch.stack([_numeric_gradient(critic, image).square().sum() for image in batch.real])
    value = REGULARISERS["r1"].penalty(critic, batch, {})  # type: ignore[misc]
    assert float(value.detach()) == pytest.approx(0.5 * float(squares.mean()), abs=1e-5)


def test_r1_of_a_linear_critic_is_half_its_squared_weight() -> None:
    class Linear(nn.Module):
        weight = nn.Parameter(torch.randn(SHAPE))

        def forward(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, None]:
            return (images * self.weight).sum((1, 2, 3)), None

    value = REGULARISERS["r1"].penalty(Linear(), _batch(), {})  # type: ignore[misc]
    assert float(value.detach()) == pytest.approx(0.5 * float(Linear.weight.detach().square().sum()), rel=1e-5)


def test_path_lengths_equal_those_of_the_whole_jacobian() -> None:
    maker, batch = _double(Maker(), _batch())
    latents = batch.latents[:, None].requires_grad_(True)
    noise = torch.randn(COUNT, *SHAPE, dtype=torch.float64)
    lengths = path_lengths(maker(latents[:, 0]), latents, noise)
    for index in range(COUNT):
        jacobian = torch.func.jacrev(lambda z: maker(z[None])[0].flatten())(batch.latents[index])
        expected = (jacobian.T @ noise[index].flatten()).norm() / 8
        assert float(lengths[index].detach()) == pytest.approx(float(expected.detach()), abs=1e-5)


def test_path_length_penalty_follows_its_moving_average() -> None:
    """Two calls by hand: the average starts at 0 and moves by a hundredth, before the penalty is taken."""
    maker, batch = Maker(), _batch()
    state = {"path_length": torch.tensor(0.0)}
    average = 0.0
    for _ in range(2):
        twin = torch.Generator()
        twin.set_state(batch.chance.get_state())
        latents = batch.latents[: COUNT // 2, None].clone().requires_grad_(True)
        images = maker(latents[:, 0])
        noise = torch.randn(images.shape, generator=twin)
        lengths = path_lengths(images, latents, noise).detach()
        average = 0.99 * average + 0.01 * float(lengths.mean())
        value = REGULARISERS["path-length"].penalty(maker, batch, state)  # type: ignore[misc]
        assert float(state["path_length"]) == pytest.approx(average, rel=1e-5)
        assert float(value.detach()) == pytest.approx(float((lengths - average).square().mean()), rel=1e-4)
    assert not state["path_length"].requires_grad


def test_a_generator_that_stretches_alike_everywhere_pays_no_path_length() -> None:
    class Scale(nn.Module):
        def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
            return 3 * latents.view(-1, 1, 2, 3)[..., :2]

    latents = torch.randn(5, 1, 6, requires_grad=True)
    lengths = path_lengths(Scale()(latents[:, 0]), latents, torch.ones(5, 1, 2, 2))
    # J^T y is 3 in four places; divided by the side 2.
    assert torch.allclose(lengths, torch.full((5,), 3.0))


def test_weight_clipping_follows_a_hand_computed_sequence() -> None:
    """Three steps of 0.004 up and down from 0.005 with the limit 0.01."""
    layer = nn.Linear(2, 1, bias=True)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.005, -0.005]]))
        layer.bias.fill_(0.5)
    expected = [(0.009, -0.009), (0.01, -0.01), (0.01, -0.01)]
    for up, down in expected:
        with torch.no_grad():
            layer.weight += torch.tensor([[0.004, -0.004]])
        clip_weights(layer, 0.01)
        assert torch.allclose(layer.weight, torch.tensor([[up, down]]))
        assert float(layer.bias) == pytest.approx(0.01)
    with torch.no_grad():
        layer.weight -= torch.tensor([[0.004, -0.004]])
    clip_weights(layer, 0.01)
    assert torch.allclose(layer.weight, torch.tensor([[0.006, -0.006]]))


def test_spectral_norm_gives_every_layer_the_largest_singular_value_1() -> None:
    critic = Critic()
    normalise_spectrally(critic)
    critic.train()
    for _ in range(200):  # the power iteration converges
        critic(torch.randn(2, *SHAPE))
    for layer in (critic.layers[0], critic.layers[3]):
        assert float(torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)) == pytest.approx(1, abs=1e-3)


def test_flips_and_shifts_only_move_pixels() -> None:
    images = torch.rand(64, 1, 32, 32)
    moved = flip_and_shift(images, torch.Generator().manual_seed(0))
    ways = torch.tensor(
        [
            any(
                torch.equal(moved[i, 0, 8:24, 8:24], source[0, 8 + down : 24 + down, 8 + across : 24 + across])
                for source in (images[i], images[i].flip(2))
                for down in range(-4, 5)
                for across in range(-4, 5)
            )
            for i in range(64)
        ]
    )
    assert ways.all()
    assert not torch.equal(moved, images)


def test_consistency_is_0_for_a_critic_that_sees_no_difference() -> None:
    class Mean(nn.Module):
        def forward(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, None]:
            return images.mean((1, 2, 3)), None

    even = _batch()._replace(real=torch.ones(COUNT, *SHAPE))
    penalty = REGULARISERS["consistency"].penalty
    assert penalty is not None
    assert float(penalty(Mean(), even, {})) == pytest.approx(0, abs=1e-12)
    batch = _batch()
    twin = torch.Generator()
    twin.set_state(batch.chance.get_state())
    critic = Critic()
    plain, moved = critic(batch.real)[0], critic(flip_and_shift(batch.real, twin))[0]
    assert float(penalty(critic, batch, {}).detach()) == pytest.approx(
        float((plain - moved).square().mean().detach()), rel=1e-5
    )
