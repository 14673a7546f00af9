"""Flow matching: the sampler against closed forms, and steps of training against ones computed by hand."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor

from gan_trainings import SETTINGS, draw_masked_discs
from sonoforge.models import flow
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.data.pixels import to_tensor
from sonoforge.training.gan import engine
from sonoforge.training.gan.state import TrainingState, build_state
from sonoforge.training.gan.training import Training, prepare
from sonoforge.training.gan.training_set import DeviceImages, draw_real

Field = Callable[[Tensor, Tensor], Tensor]
RATE, BETAS, N = 0.001, (0.9, 0.99), 4  # of the recipe's Adam; images in a batch


# When the sampler's twenty steps begin, and how long they are: equal ones, of which a is at a / (4 - 3 a).
BEGINS = [Fraction(step, 80 - 3 * step) for step in range(21)]
LENGTHS = [end - begin for begin, end in itertools.pairwise(BEGINS)]


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (lambda images, _: torch.full_like(images, 0.3), lambda first: first + 0.3),
        (
            lambda _, times: 2 * times[:, :1, None, None],
            lambda first: first + float(sum(2 * at * step for at, step in zip(BEGINS, LENGTHS, strict=False))),
        ),
        (lambda images, _: images, lambda first: first * float(math.prod(1 + step for step in LENGTHS))),
        (lambda images, _: -images, lambda first: first * float(math.prod(1 - step for step in LENGTHS))),
    ],
    ids=["straight", "linear in time", "growth", "decay"],
)
def test_the_sampler_follows_fields_of_known_solution(
    field: Field, expected: Callable[[Tensor], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exact solution of a straight field, and about exp(1) times the start for dx/dt = x."""
    made, calls = flow.Generator(8, 1).double(), []
    monkeypatch.setattr(made, "velocity", lambda images, times, _: calls.append(times) or field(images, times))
    first = torch.linspace(-0.3, -0.1, 128, dtype=torch.float64).view(2, 64)
    torch.testing.assert_close(made(first).flatten(1), expected(first).clamp(-1, 1), rtol=0, atol=1e-6)
    assert len(calls) == 20 and sum(LENGTHS) == 1
    assert math.prod(1 + step for step in LENGTHS) == pytest.approx(math.e, rel=0.05)


def make(structures: bool = True, depth: int = 0) -> tuple[Training, TrainingState, Any]:
    """Training of the recipe on discs of two classes, 16 x 16 pixels, perhaps with their masks."""
    images = draw_masked_discs(8, 32 if depth else 16)
    if not structures:
        images = dataclasses.replace(images, pixels=images.pixels[..., :1])
    settings = dataclasses.replace(SETTINGS, recipe="flow", image_size=32 if depth else 16, width=8, batch=N, steps=4)
    training = prepare(dataclasses.replace(settings, class_name="", masks=structures), images, "cpu")
    training = dataclasses.replace(training, options={**training.options, "depth": depth})
    state = build_state(training)
    return training, state, engine.prepare_data(state, training)


def chance_of(number: int) -> tuple[list[float], list[float]]:
    """Time of each image of a batch, and which third of the masks' treatment it is in."""
    chance = torch.Generator().manual_seed(derive_seed(SETTINGS.seed, "augmentation", number))
    times = torch.randn(N, 1, generator=chance).sigmoid()  # the U-Net sees a thousandfold of their rounding
    return times[:, 0].tolist(), torch.rand(N, 1, generator=chance)[:, 0].tolist()


def learned(number: int) -> int:
    """How many masks a batch learns."""
    return sum(part >= 2 / 3 for part in chance_of(number)[1])


def loss_by_hand(state: TrainingState, batch: Any, number: int, *, masks: bool) -> Tensor:
    """Squared error, image by image and channel by channel; masks weigh .1, those that are learned for all."""
    total: Any = 0.0
    times, parts = chance_of(number)
    for index in range(N):
        own = [times[index]]
        if masks:
            own.append(1.0 if parts[index] < 1 / 3 else 0.0 if parts[index] < 2 / 3 else times[index])
        real, noise = batch.real[index], batch.latents[index].view(-1, 16, 16)
        at = torch.stack([(1 - t) * noise[channel] + t * real[channel] for channel, t in enumerate(own)])
        own_times = torch.tensor([own], dtype=torch.float64)
        found: Any = state.generator.velocity(at[None], own_times, batch.labels[index : index + 1])  # type: ignore[operator]
        for channel in range(len(own)):
            error = ((found[0, channel] - (real[channel] - noise[channel])) ** 2).sum()
            if channel == 0:
                total = total + error
            elif parts[index] >= 2 / 3:
                total = total + 0.1 * error * 3
    return total / batch.real[:, 0].numel()


class _Adam:
    """Kingma and Ba 2015, algorithm 1."""

    def __init__(self, count: int) -> None:
        self.moments = [[torch.zeros(()), torch.zeros(())] for _ in range(count)]
        self.steps = 0

    def step(self, weights: list[Tensor], gradients: tuple[Tensor, ...]) -> None:
        self.steps += 1
        for weight, moments, gradient in zip(weights, self.moments, gradients, strict=True):
            for place, power in enumerate((gradient, gradient**2)):
                moments[place] = BETAS[place] * moments[place] + (1 - BETAS[place]) * power
            first, second = (own / (1 - beta**self.steps) for own, beta in zip(moments, BETAS, strict=True))
            with torch.no_grad():
                weight.sub_(RATE * first / (second.sqrt() + 1e-8))


@pytest.mark.parametrize("masks", [False, True], ids=["images", "with masks"])
def test_two_steps_by_hand(masks: bool) -> None:
    """With masks, of a batch that learns two of them, then of one that learns none."""
    wanted = [2, 0] if masks else [learned(0), learned(1)]
    numbers = [next(number for number in range(100) if learned(number) == count) for count in wanted]
    _, state, real = make(masks)
    _, twin, _ = make(masks)
    torch.manual_seed(0)
    noise = [0.02 * torch.randn_like(weight) for weight in state.generator.parameters()]
    for each in (state, twin):
        each.generator.double()  # Adam would enlarge the rounding of gradients that are 0, as of the keys' biases
        with torch.no_grad():
            for weight, own in zip(each.generator.parameters(), noise, strict=True):
                weight.add_(own)  # else the first step moves the last layer only
    weights, adam = list(twin.generator.parameters()), _Adam(len(noise))
    for number in numbers:
        batch = engine.draw_batch(state, real, number)
        batch = batch._replace(real=batch.real.double(), latents=batch.latents.double())
        loss = loss_by_hand(twin, batch, number, masks=masks)
        adam.step(weights, torch.autograd.grad(loss, weights))
        scalars = engine.update_velocity(state, batch)
        assert float(scalars["generator_loss"]) == pytest.approx(float(loss.detach()), rel=1e-4)
    pairs = list(zip(state.generator.parameters(), weights, noise, strict=True))
    apart = sum(float((ours - theirs).detach().square().sum()) for ours, theirs, _ in pairs)
    moved = len(numbers) * RATE * sum(weight.numel() for weight in weights) ** 0.5
    assert apart**0.5 < 1e-3 * moved
    assert all(bool(ours.isfinite().all()) for ours, _, _ in pairs)


class _Constant(torch.nn.Module):
    """A velocity that is one number, which is learned by heart; and no masks."""

    def __init__(self, shape: tuple[int, ...], value: float) -> None:
        super().__init__()
        self.value, self.shape, self.masks, self.parts = torch.nn.Parameter(torch.tensor(value)), shape, 0, [shape[0]]

    def velocity(self, maps: Tensor, times: Tensor, labels: Tensor | None) -> Tensor:
        return self.value.expand(maps.shape)


@pytest.mark.parametrize("guidance", [0.0, 1.0, 2.0])
def test_guidance_goes_beyond_what_is_learned_by_its_distance_from_the_earlier_average(guidance: float) -> None:
    """The best constant is the real images' mean m, as noise has mean 0; with guidance w it is (1 + w) m - w early."""
    training, state, real = make(False)
    mean = float(real.pixels.double().mean()) / 127.5 - 1
    state.recipe = dataclasses.replace(training.recipe, guidance=guidance, ema_half_life=0.0)
    state.generator, early = (_Constant(state.generator.shape, value) for value in (0.0, 0.4))  # type: ignore[arg-type]
    state.early = early if guidance else None
    state.generator_optimiser = torch.optim.SGD(state.generator.parameters(), 0.05)
    found = []
    for number in range(400):
        engine.update_velocity(state, engine.draw_batch(state, real, number))
        found.append(float(state.generator.value.detach()))
    assert sum(found[200:]) / 200 == pytest.approx((1 + guidance) * mean - guidance * 0.4, abs=0.02 * (1 + guidance))


def test_labels_change_weights_and_images() -> None:
    trained = []
    for flip in (False, True):
        training, state, real = make()
        for number in range(12):  # the last layers of network and blocks begin at 0, and the class acts through both
            batch = engine.draw_batch(state, real, number)
            assert batch.labels is not None
            engine.update_velocity(state, batch._replace(labels=1 - batch.labels if flip else batch.labels))
        trained.append(state.generator)
    assert training.conditional
    one, other = (network.down[1].last.weight for network in trained)  # type: ignore[index, union-attr]
    assert not torch.equal(one, other)
    latents = torch.randn(2, state.generator.latent_size)  # type: ignore[call-overload]
    drawn = [state.generator(latents, torch.full((2,), label)) for label in (0, 1)]
    assert float((drawn[0] - drawn[1]).detach().abs().max()) > 1e-4


@torch.no_grad()
def test_it_draws_into_the_masks_that_it_is_given() -> None:
    torch.manual_seed(0)
    made: Any = flow.Generator(16, 3, classes=2, masks=2, width=8)
    latents, labels = torch.randn(4, made.latent_size), torch.arange(4) % 2
    masks = torch.where(torch.rand(4, 2, 16, 16) < 0.5, -1.0, 1.0)
    drawn, changed = (made(latents, labels, own) for own in (masks, -masks))
    assert torch.equal(drawn[:, 1:], masks) and torch.equal(changed[:, 1:], -masks)
    assert float((drawn[:, :1] - changed[:, :1]).abs().max()) > 1e-3, "the image follows the mask"
    assert not torch.equal(made(latents, labels)[:, 1:], masks)


@pytest.mark.parametrize(("depth", "masks"), [(0, 0), (0, 2), (4, 0), (4, 2)])
@torch.no_grad()
def test_maps_are_decoded_to_what_was_encoded(depth: int, masks: int) -> None:
    """Squares of pixels and masks exactly; of an autoencoder's image there is only the shape."""
    torch.manual_seed(0)
    made = flow.Generator(32, 1 + masks, masks=masks, width=8, depth=depth)
    samples = torch.rand(3, 1 + masks, 32, 32) * 2 - 1
    maps = made.encode(samples)
    side = 8 if depth else 32
    assert maps.shape == (3, *made.shape) == (3, (depth or 1) + masks * (32 // side) ** 2, side, side)
    assert made.latent_size == maps[0].numel()
    again = made.decode(maps)
    assert torch.equal(again[:, 1:], samples[:, 1:])
    assert again.shape == samples.shape and (bool(depth) or torch.equal(again, samples))
    assert float(made(torch.randn(2, made.latent_size)).abs().max()) <= 1


def test_an_autoencoder_stays_as_it_is_while_the_flow_of_its_maps_learns() -> None:
    _, state, real = make(True, depth=4)
    before = {name: value.clone() for name, value in state.generator.state_dict().items()}
    for number in range(3):
        engine.update_velocity(state, engine.draw_batch(state, real, number))
    changed = {name for name, value in state.generator.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and not any(name.startswith("autoencoder.") for name in changed)


@torch.no_grad()
def test_maps_encoded_beforehand_are_drawn_as_the_images_would_be() -> None:
    training, state, real = make(True, depth=4)
    assert training.recipe.mirror and real.pixels.dtype == torch.float32
    pixels = to_tensor(training.images.pixels)
    shown = DeviceImages(pixels, training.images.labels, N, training.settings.seed, mirror=True)
    for number in range(5):  # more than an epoch of 8 images, each both ways
        (images, labels), (maps, own) = draw_real(shown, number), draw_real(real, number)
        torch.testing.assert_close(maps, state.generator.encode(images), rtol=1e-4, atol=1e-5)  # type: ignore[operator]
        assert torch.equal(labels, own)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 48}, "48 is not a multiple of 32"),
        ({"image_size": 12}, "12 is not a multiple of 8"),
        ({"image_size": 16, "width": 12}, "width: 12 is not a multiple of 8"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        flow.Generator(channels=1, **options)
    with pytest.raises(ValueError, match="labels: "):
        flow.Generator(8, 1, classes=2)(torch.zeros(1, 64))
