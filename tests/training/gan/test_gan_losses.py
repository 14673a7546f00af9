"""The adversarial losses: against closed forms, by hand, and as something that learns."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy

from corners import corners
from sonoforge.training.devices import open_fabric
from sonoforge.training.gan.augmentations import AUGMENTATIONS
from sonoforge.training.gan.losses import LOSSES, class_loss
from sonoforge.training.gan.optimisers import OptimiserSettings, build_optimiser, update_average
from sonoforge.training.gan.recipes import RECIPES, Strength
from sonoforge.training.gan.regularisers import REGULARISERS
from sonoforge.training.gan.state import TrainingState
from sonoforge.training.gan.updates import TrainingBatch, update_discriminator, update_generator

REAL, FAKE = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([-3.0, 0.0, 1.5])


def test_cross_entropy_is_that_of_the_probabilities() -> None:
    expected = binary_cross_entropy(REAL.sigmoid(), torch.ones(3)) + binary_cross_entropy(
        FAKE.sigmoid(), torch.zeros(3)
    )
    for name in ("bce", "bce-minimax", "boundary-seeking"):
        assert LOSSES[name].discriminator(REAL, FAKE, {}) == pytest.approx(float(expected), abs=1e-6)
    probability = FAKE.sigmoid()
    assert LOSSES["bce"].generator(FAKE, {}) == pytest.approx(float(-probability.log().mean()), abs=1e-6)
    assert LOSSES["bce-minimax"].generator(FAKE, {}) == pytest.approx(float((1 - probability).log().mean()), abs=1e-6)
    seeking = 0.5 * (probability.log() - (1 - probability).log()).square().mean()
    assert LOSSES["boundary-seeking"].generator(FAKE, {}) == pytest.approx(float(seeking), abs=1e-5)


def test_large_scores_do_not_overflow() -> None:
    far = torch.tensor([1e4, -1e4])
    for name in ("bce", "bce-minimax"):
        assert LOSSES[name].discriminator(far, far, {}).isfinite()
        assert LOSSES[name].generator(far, {}).isfinite()


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


# Each loss learns.


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
    "bce-minimax": Toy("bce-minimax", {}),
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
    fabric = open_fabric("cpu")
    recipe = dataclasses.replace(RECIPES["dcgan"], loss=toy.loss, regularisers=toy.regularisers)
    optimisers = [
        fabric.setup_optimizers(build_optimiser(toy.optimiser, network.parameters(), 1, fused=True))
        for network in (generator, discriminator)
    ]
    state = {"loss": LOSSES[toy.loss].start, **{name: REGULARISERS[name].start for name in toy.regularisers}}
    numbers = {part: {key: torch.tensor(value) for key, value in values.items()} for part, values in state.items()}
    return TrainingState(
        fabric, recipe, LOSSES[toy.loss], AUGMENTATIONS["none"].apply, None, generator, discriminator,
        copy.deepcopy(generator), *optimisers, (generator, discriminator), numbers,
        image_channels=shape[0], accumulate=1, seed=0,
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
            batch = TrainingBatch(number, toy.target(64, 10 + number), latent, None, mix)
            fakes, scalars = update_discriminator(state, batch, keep=turn == 1)
        update_generator(state, batch, fakes, step)
        update_average(state.average, state.generator, 0.95)
        if state.loss.update is not None:
            real, fake = scalars["real_score"], scalars["fake_score"]
            state.carried["loss"] = state.loss.update(real, fake, state.carried["loss"])
    with torch.no_grad():
        after = energy_distance(state.average(latents), target)
    print(f"{toy.loss}: {before:.3f} -> {after:.3f}")
    assert after < 0.5 * before
