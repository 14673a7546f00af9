"""Losses, perceptual term and regularisers against closed forms and finite differences; each loss learns."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy

from corners import corners
from sonoforge.training.evaluation.features import Features, open_features
from sonoforge.training.gan.augmentations import AUGMENTATIONS
from sonoforge.training.gan.engine import update_discriminator, update_generator
from sonoforge.training.gan.losses import LOSSES, class_loss, perceptual_loss
from sonoforge.training.gan.recipes import RECIPES, OptimiserSettings, Strength
from sonoforge.training.gan.regularisers import REGULARISERS, Batch, clip_weights, path_lengths
from sonoforge.training.gan.state import TrainingState, build_optimiser, update_average

REAL, FAKE = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([-3.0, 0.0, 1.5])


def test_cross_entropy_is_that_of_the_probabilities() -> None:
    expected = binary_cross_entropy(REAL.sigmoid(), torch.ones(3)) + binary_cross_entropy(
        FAKE.sigmoid(), torch.zeros(3)
    )
    for name in ("bce", "boundary-seeking"):
        assert LOSSES[name].discriminator(REAL, FAKE, {}) == pytest.approx(float(expected), abs=1e-6)
    probability = FAKE.sigmoid()
    assert LOSSES["bce"].generator(FAKE, {}) == pytest.approx(float(-probability.log().mean()), abs=1e-6)
    seeking = 0.5 * (probability.log() - (1 - probability).log()).square().mean()
    assert LOSSES["boundary-seeking"].generator(FAKE, {}) == pytest.approx(float(seeking), abs=1e-5)


def test_the_other_losses_by_hand() -> None:
    # Least squares: ((2-1)^2 + (-1-1)^2 + (.5-1)^2) / 6 + (9 + 0 + 2.25) / 6 and ((-4)^2 + 1 + .25) / 6.
    assert LOSSES["least-squares"].discriminator(REAL, FAKE, {}) == pytest.approx((5.25 + 11.25) / 6)
    assert LOSSES["least-squares"].generator(FAKE, {}) == pytest.approx((16 + 1 + 0.25) / 6)
    assert LOSSES["wasserstein"].discriminator(REAL, FAKE, {}) == pytest.approx(-0.5 - 0.5)
    assert LOSSES["wasserstein"].generator(FAKE, {}) == pytest.approx(0.5)
    # Hinge: (0 + 2 + .5) / 3 + (0 + 1 + 2.5) / 3.
    assert LOSSES["hinge"].discriminator(REAL, FAKE, {}) == pytest.approx(2.5 / 3 + 3.5 / 3)
    assert LOSSES["hinge"].generator(FAKE, {}) == pytest.approx(0.5)


def test_began_s_k_follows_a_hand_computed_sequence() -> None:
    began = LOSSES["began"]
    assert began.update is not None
    state = {name: torch.tensor(value) for name, value in began.start.items()}
    # (L(x), L(G(z))): gamma 0.5, lambda 0.001.
    steps = [((1.0, 0.2), 0.0003, 1.3), ((1.0, 0.2), 0.0006, 1.3), ((0.4, 0.9), 0.0, 1.1), ((0.8, 0.4), 0.0, 0.8)]
    for (real, fake), k, convergence in steps:
        state = began.update(torch.tensor(real), torch.tensor(fake), state)
        assert float(state["k"]) == pytest.approx(k, abs=1e-7)  # the third step would end at -0.0001
        assert float(state["convergence"]) == pytest.approx(convergence, abs=1e-6)
    full = {"k": torch.tensor(0.9999), "convergence": torch.tensor(0.0)}
    assert float(began.update(torch.tensor(2.0), torch.tensor(0.0), full)["k"]) == 1.0
    assert float(began.discriminator(REAL, FAKE, {"k": torch.tensor(0.25)})) == pytest.approx(0.5 + 0.25 * 0.5)


def test_the_class_loss_is_cross_entropy_and_nothing_without_labels() -> None:
    logits = torch.tensor([[math.log(3.0), 0.0]])
    assert float(class_loss(logits, torch.tensor([0]))) == pytest.approx(math.log(4 / 3))
    assert class_loss(None, torch.tensor([0])) == 0.0
    assert class_loss(logits, None) == 0.0


class _Generator(nn.Module):
    """Latents (N, 4) to images of any shape."""

    def __init__(self, shape: tuple[int, int, int], activation: type[nn.Module]) -> None:
        super().__init__()
        self.shape = shape
        hidden = (nn.Linear(4, 64), activation(), nn.Linear(64, 64), activation())
        self.layers = nn.Sequential(*hidden, nn.Linear(64, math.prod(shape)))

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        del labels
        return self.layers(latents).view(-1, *self.shape)


class _Discriminator(nn.Module):
    """Images to a score."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        slope = nn.LeakyReLU(0.2)
        self.layers = nn.Sequential(nn.Linear(math.prod(shape), 64), slope, nn.Linear(64, 64), slope, nn.Linear(64, 1))

    def forward(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, None]:
        del labels
        return self.layers(images.flatten(1))[:, 0], None


class _Autoencoder(nn.Module):
    """Images to the error of their reconstruction from two numbers."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        size = math.prod(shape)
        encoder, decoder = (nn.Linear(size, 64), nn.ELU(), nn.Linear(64, 2)), (nn.Linear(2, 64), nn.ELU())
        self.layers = nn.Sequential(*encoder, *decoder, nn.Linear(64, size))

    def forward(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, None]:
        del labels
        pixels = images.flatten(1)
        return (self.layers(pixels) - pixels).abs().mean(1), None


def _ring(count: int, seed: int) -> Tensor:
    """Eight Gaussians on a ring, as images of one pixel with two channels."""
    chance = torch.Generator().manual_seed(seed)
    angle = torch.randint(8, (count,), generator=chance) * math.pi / 4
    centres = torch.stack([angle.cos(), angle.sin()], 1)
    return (centres + 0.05 * torch.randn(count, 2, generator=chance))[:, :, None, None]


def _discs(count: int, seed: int) -> Tensor:
    """Red, green and blue discs of random radius, (count, 3, 8, 8)."""
    chance = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    radius = 1.5 + 2 * torch.rand(count, 1, 1, generator=chance)
    inside = (rows - 3.5).square() + (columns - 3.5).square() < radius.square()
    colours = torch.eye(3)[torch.randint(3, (count,), generator=chance)] * 1.6 - 0.8
    return torch.where(inside[:, None], colours[:, :, None, None], torch.tensor(-0.9))


def energy_distance(first: Tensor, second: Tensor) -> float:
    """Szekely and Rizzo 2013: 2 E|X - Y| - E|X - X'| - E|Y - Y'|, 0 for equal distributions."""
    x, y = first.flatten(1), second.flatten(1)
    return float(2 * torch.cdist(x, y).mean() - torch.pdist(x).mean() - torch.pdist(y).mean())


class Toy(NamedTuple):
    """A loss with what it needs to learn a toy distribution."""

    loss: str
    regularisers: dict[str, Strength]
    target: Callable[[int, int], Tensor] = _ring
    discriminator: Callable[[tuple[int, int, int]], nn.Module] = _Discriminator
    optimiser: OptimiserSettings = OptimiserSettings("adam", 0.003, (0.5, 0.9))
    steps: int = 120
    activation: type[nn.Module] = nn.ReLU


TOYS = {
    "bce": Toy("bce", {}),
    "least-squares": Toy("least-squares", {}),
    "wasserstein, clipped": Toy("wasserstein", {"weight-clipping": Strength(0.1)}),
    "wasserstein, penalised": Toy("wasserstein", {"gradient-penalty": Strength(0.1)}),
    "hinge": Toy("hinge", {}),
    "hinge, lazy r1": Toy("hinge", {"r1": Strength(0.1, 4)}),
    "boundary-seeking": Toy("boundary-seeking", {}),
    # An autoencoder has no use for points in a plane: images instead.
    "began": Toy("began", {}, _discs, _Autoencoder, OptimiserSettings("adam", 0.001, (0.9, 0.999)), 400, nn.ELU),
}


def _state(toy: Toy) -> TrainingState:
    torch.manual_seed(0)
    shape = tuple(toy.target(1, 0).shape[1:])
    generator, discriminator = _Generator(shape, toy.activation), toy.discriminator(shape)
    recipe = dataclasses.replace(RECIPES["dcgan"], loss=toy.loss, regularisers=toy.regularisers)
    optimisers = [build_optimiser(toy.optimiser, network.parameters(), 1) for network in (generator, discriminator)]
    state = {"loss": LOSSES[toy.loss].start, **{name: REGULARISERS[name].start for name in toy.regularisers}}
    numbers = {part: {key: torch.tensor(value) for key, value in values.items()} for part, values in state.items()}
    return TrainingState(
        torch.device("cpu"), recipe, LOSSES[toy.loss], AUGMENTATIONS["none"].apply, None, generator, discriminator,
        copy.deepcopy(generator), *optimisers, numbers, image_channels=shape[0], seed=0,
    )  # fmt: skip


@pytest.mark.parametrize(
    "name", corners(TOYS, "bce", "least-squares", "wasserstein, penalised", "hinge, lazy r1", "boundary-seeking")
)
def test_each_loss_halves_the_distance_to_the_target(name: str) -> None:
    toy = TOYS[name]
    state = _state(toy)
    target, latents = toy.target(1000, 1), torch.randn(1000, 4, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        before = energy_distance(state.generator(latents), target)
    chance = torch.Generator().manual_seed(3)
    for step in range(toy.steps):
        for turn in range(2):
            number = 2 * step + turn
            latent, mix = torch.randn(64, 4, generator=chance), torch.rand(64, 1, 1, 1, generator=chance)
            real = toy.target(64, 10 + number)
            batch = Batch(real, real, latent, None, mix, state.image_channels, torch.Generator(), number)
            fake, scalars = update_discriminator(state, batch, keep=turn == 1)
        update_generator(state, batch, fake, step)
        update_average(state.average, state.generator, 0.95)
        if state.loss.update is not None:
            scores = scalars["real_score"], scalars["fake_score"]
            state.carried["loss"] = state.loss.update(*scores, state.carried["loss"])
    with torch.no_grad():
        after = energy_distance(state.average(latents), target)
    print(f"{toy.loss}: {before:.3f} -> {after:.3f}")
    assert after < 0.5 * before


# The perceptual term.


def _stub_features() -> Features:
    """Maps: the normalised image, and two of its channels doubled."""
    double = nn.Conv2d(3, 2, 1, bias=False).requires_grad_(False)
    double.weight.copy_(torch.tensor([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]])[:, :, None, None])
    return Features("stub", {"same": 0, "doubled": 1}, nn.Sequential(nn.Identity(), double).eval())


def _random_images(count: int, channels: int, size: int = 64, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("shift", [0.1, 0.2, -0.4])
def test_loss_of_a_shift_is_its_closed_form(shift: float) -> None:
    """A shift by d is one of d / (2 std) in each normalised channel; each layer is taken relative to the real maps."""
    real = _random_images(2, 3)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    shown = ((real + 1) / 2 - mean[:, None, None]) / std[:, None, None]
    same = float((shift / (2 * std)).square().mean() / shown.square().mean())
    # The factor 2 of the second layer falls out.
    doubled = float((shift / (2 * std[:2])).square().mean() / shown[:, :2].square().mean())
    assert float(perceptual_loss(_stub_features(), real + shift, real, 3)) == pytest.approx(
        (same + doubled) / 2, rel=1e-4
    )


@pytest.mark.parametrize("image_channels", [1, 3])
def test_masks_are_not_shown(image_channels: int) -> None:
    fake, real = _random_images(2, image_channels + 1), _random_images(2, image_channels + 1, seed=1)
    expected = perceptual_loss(_stub_features(), fake, real, image_channels)
    fake[:, -1], real[:, -1] = 1.0, -1.0
    assert torch.equal(perceptual_loss(_stub_features(), fake, real, image_channels), expected)


def test_a_step_down_the_gradient_brings_generated_images_nearer_to_real_ones(shared: Path) -> None:
    path = shared / "weights" / "squeezenet1_1_imagenet_fp16.safetensors"
    if not path.is_file():
        pytest.skip(f"no weights at {path}: this test needs them")
    features = open_features(str(path))
    real, fake = _random_images(2, 1, 32).requires_grad_(), _random_images(2, 1, 32, seed=1).requires_grad_()
    loss = perceptual_loss(features, fake, real, 1)
    loss.backward()
    loss = loss.detach()
    assert real.grad is None
    assert fake.grad is not None
    step = fake.detach() - 0.01 * float(loss) / float(fake.grad.square().sum()) * fake.grad
    # To first order the loss falls by 1 %.
    after = float(perceptual_loss(features, step, real, 1))
    assert after == pytest.approx(0.99 * float(loss), rel=2e-3)


# Regularisers.


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


class _Coder(nn.Module):
    """Encodes images as they are, and decodes their maps too bright."""

    def __init__(self, brighter: float) -> None:
        super().__init__()
        self.brighter = nn.Parameter(torch.tensor(brighter))

    def encode(self, images: Tensor) -> Tensor:
        return images.clone()

    def decode(self, maps: Tensor) -> Tensor:
        return maps + self.brighter


@pytest.mark.parametrize(("brighter", "expected"), [(0.0, 0.05 * math.sqrt(2 / math.pi)), (0.5, 0.5), (-0.75, 0.75)])
def test_reconstruction_is_the_mean_of_a_folded_normal_and_reaches_the_decoder(
    brighter: float, expected: float
) -> None:
    """The difference is normal with mean b and deviation .05; of the image alone, whose mask is far from it."""
    maker = nn.Module()
    maker.autoencoder = _Coder(brighter)
    batch = _batch()
    masked = batch._replace(real=torch.cat([batch.real, 9 * torch.ones_like(batch.real)], 1))
    value = REGULARISERS["reconstruction"].penalty(maker, masked, {})  # type: ignore[misc]
    assert float(value.detach()) == pytest.approx(expected, abs=0.004)
    value.backward()
    assert float(maker.autoencoder.brighter.grad) == pytest.approx(float(np.sign(brighter)), abs=0.1)


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
