"""StyleGAN2 against the official implementation's recorded numbers, and slow second implementations."""

from __future__ import annotations

import itertools
import json
import math
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from scipy.signal import convolve2d, correlate2d
from torch import Tensor, nn
from torch.nn.functional import softplus

import stylegan_reference as reference
from places import CHECKOUT, SHARED
from sonoforge.models.stylegan.discriminator import Discriminator, ResidualSettings, append_minibatch_std
from sonoforge.models.stylegan.generator import StyledSettings
from sonoforge.models.stylegan.layers import EqualisedConv2d
from sonoforge.models.stylegan.mapping import MappingNetwork, mix_styles
from sonoforge.models.stylegan.official import (
    discriminator_from_official,
    discriminator_state,
    generator_from_official,
    generator_state,
)
from sonoforge.models.stylegan.stylegan2 import Generator, SynthesisLayer, initialise
from sonoforge.training.gan.objectives.batch import Batch
from sonoforge.training.gan.objectives.regularisers import REGULARISERS, path_length
from sonoforge.training.gan.optimisers import OptimiserSettings, build_optimiser

GOLDEN = SHARED / "golden"
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"{GOLDEN} is missing")
FAMILY = ["stylegan2_cond", "stylegan2_uncond", "stylegan3_t", "stylegan3_r"]


def _golden(name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    about = json.loads((GOLDEN / f"{name}.json").read_text())
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        return about, {key: torch.from_numpy(np.asarray(arrays[key])) for key in arrays}


@needs_golden
@pytest.mark.parametrize("name", FAMILY)
def test_the_mapping_equals_the_official_one(name: str) -> None:
    about, record = _golden(name)
    options = about["G_kwargs"]
    mapping = MappingNetwork(
        options["z_dim"],
        options["c_dim"],
        options["w_dim"],
        about["num_ws"],
        layers=options["mapping_kwargs"]["num_layers"],
    )
    state = {"average": record["G/mapping.w_avg"]}
    for part in ("weight", "bias"):
        for index in range(len(mapping.layers)):
            state[f"layers.{index}.{part}"] = record[f"G/mapping.fc{index}.{part}"]
        if options["c_dim"]:
            state[f"embedding.{part}"] = record[f"G/mapping.embed.{part}"]
    mapping.load_state_dict(state)
    labels = record["in/c"]
    with torch.no_grad():
        for key, truncation in (("ws", ()), ("ws_psi07", (0.7,)), ("ws_psi05_cutoff3", (0.5, 3))):
            torch.testing.assert_close(
                mapping(record["in/z"], labels, *truncation), record[f"out/{key}"], atol=1e-5, rtol=0
            )
        if options["c_dim"]:
            torch.testing.assert_close(mapping(record["in/z"], labels.argmax(1)), record["out/ws"], atol=1e-5, rtol=0)
        mapping(record["in/z_ema"], record["in/c_ema"], update_average=True)
    torch.testing.assert_close(mapping.average, record["out/ema/mapping.w_avg"], atol=1e-5, rtol=0)


def _part(record: dict[str, Tensor], network: str) -> dict[str, Tensor]:
    return {key[2:]: value for key, value in record.items() if key.startswith(f"{network}/")}


def _close(found: Tensor, expected: Tensor, atol: float = 1e-4, rtol: float = 0) -> None:
    torch.testing.assert_close(found, expected, atol=atol, rtol=rtol)


@needs_golden
@pytest.mark.parametrize("name", FAMILY[:2])
def test_images_equal_the_official_ones(name: str) -> None:
    _, record = _golden(name)
    generator = generator_from_official(_part(record, "G"))
    z, c = record["in/z"], record["in/c"]
    with torch.no_grad():
        _close(generator(z, c), record["out/img"])
        _close(generator(z, c, truncation_psi=0.7), record["out/img_psi07"])
        few = len(record["out/img_nonoise"])
        _close(generator.synthesis(record["out/ws"][:few], noise="none"), record["out/img_nonoise"])
        cutoff = int(record["out/mix_cutoff"])
        mixed = torch.cat([record["out/ws"][:, :cutoff], record["out/ws"].flip(0)[:, cutoff:]], 1)
        few = len(record["out/img_mix"])
        _close(generator.synthesis(mixed[:few]), record["out/img_mix"])


@needs_golden
@pytest.mark.parametrize("name", FAMILY)
def test_scores_equal_the_official_ones(name: str) -> None:
    _, record = _golden(name)
    discriminator = discriminator_from_official(_part(record, "D"))
    c = record["in/c"]
    with torch.no_grad():
        for images, logits in (("img", "logits"), ("img_psi07", "logits_psi07")):
            score, class_logits = discriminator(record[f"out/{images}"], c)
            _close(score, record[f"out/{logits}"][:, 0])
            assert class_logits is None
        if "out/logits_img_shifted_c" in record:
            score, _ = discriminator(record["out/img"], c.argmax(1).roll(1))
            _close(score, record["out/logits_img_shifted_c"][:, 0])


class Training:
    """The official training phases on the recorded inputs, each ending in the mean loss of the batch."""

    def __init__(self, name: str) -> None:
        self.about, self.record = _golden(name)
        self.generator = generator_from_official(_part(self.record, "G")).train()
        self.discriminator = discriminator_from_official(_part(self.record, "D")).train()
        self.path_length = torch.tensor(float(self.about["pl_mean_init"]))
        self.values: dict[str, Tensor] = {}

    def _made(self, phase: str) -> tuple[Tensor, Tensor]:
        return self.record[f"in/gen_z_{phase}"], self.record[f"in/gen_c_{phase}"]

    def _real(self) -> Tensor:
        return self.record["in/real_img_u8"].float() / 127.5 - 1

    def gmain(self) -> Tensor:
        latents, labels = self._made("Gmain")
        score, _ = self.discriminator(self.generator(latents, labels), labels)
        self.values |= {"Gmain/scores/fake": score, "Gmain/G/loss": softplus(-score)}
        return softplus(-score).mean()

    def greg(self) -> Tensor:
        latents, labels = (values[: len(self.record["in/pl_noise"])] for values in self._made("Greg"))
        styles = self.generator.mapping(latents, labels)
        images = self.generator.synthesis(styles)
        lengths = path_length.path_lengths(images, styles, self.record["in/pl_noise"].float())
        average = self.path_length.lerp(lengths.mean(), 1 - path_length.DECAY)
        penalties = (lengths - average).square()
        self.path_length = average.detach()
        weight = REGULARISERS["path-length"].weight
        self.values |= {"Greg/pl_penalty": penalties, "Greg/G/reg": penalties * weight, "Greg/pl_mean_after": average}
        return penalties.mean() * weight

    def dmain(self, *, update_average: bool = False) -> Tensor:
        latents, labels = self._made("Dmain")
        with torch.no_grad():
            fakes = self.generator(latents, labels, update_average=update_average)
        fake, _ = self.discriminator(fakes, labels)
        real, _ = self.discriminator(self._real(), self.record["in/real_c"])
        loss = softplus(fake) + softplus(-real)
        self.values |= {"Dmain/scores/fake": fake, "Dmain/scores/real": real, "Dmain/D/loss": loss}
        return loss.mean()

    def dreg(self) -> Tensor:
        real = self._real()
        batch = Batch(real, real, real, self.record["in/real_c"], real, real.shape[1], torch.Generator())
        penalty = REGULARISERS["r1"].penalty
        assert penalty is not None
        reg = penalty(self.discriminator, batch, {}) * self.about["loss_kwargs"]["r1_gamma"]
        self.values |= {"Dreg/D/reg": reg}
        return reg

    def gradients(self, phase: str) -> dict[str, Tensor]:
        """Of the parameters of the network that this phase trains, those that have one."""
        network = self.generator if phase.startswith("G") else self.discriminator
        names, parameters = zip(*network.named_parameters(), strict=True)
        found = torch.autograd.grad(getattr(self, phase.lower())(), parameters, allow_unused=True)
        return {name: values for name, values in zip(names, found, strict=True) if values is not None}


# Phases of nets whose generator is not StyleGAN2 need the discriminator alone.
TRAINED = [
    *itertools.product(FAMILY[:2], ("Gmain", "Greg", "Dmain", "Dreg")),
    *itertools.product(FAMILY[2:], ("Dreg",)),
]


def _training(name: str, monkeypatch: pytest.MonkeyPatch) -> Training:
    if name not in FAMILY[:2]:
        monkeypatch.setitem(globals(), "generator_from_official", lambda state: nn.Identity())
    return Training(name)


@needs_golden
@pytest.mark.parametrize(("name", "phase"), TRAINED)
def test_losses_and_penalties_equal_the_official_ones(name: str, phase: str, monkeypatch: pytest.MonkeyPatch) -> None:
    training = _training(name, monkeypatch)
    getattr(training, phase.lower())()
    assert training.values
    for key, value in training.values.items():
        expected = training.record[f"out/train/{key}"]
        if value.ndim == 0 and expected.ndim == 1:  # a penalty here is a mean over the batch
            expected = expected.mean()
        exact = "scores" in key or key.endswith("loss")
        _close(value.detach(), expected.reshape(value.shape), *((1e-4, 0) if exact else (1e-5, 1e-3)))


def _statistics(values: Tensor) -> Tensor:
    flat = values.detach().double().flatten()
    wave = torch.cos(torch.arange(1, len(flat) + 1, dtype=torch.float64))
    return torch.stack([flat.sum(), flat.norm(), flat @ wave])


@needs_golden
@pytest.mark.parametrize(("name", "phase"), TRAINED)
def test_gradients_equal_the_official_ones(name: str, phase: str, monkeypatch: pytest.MonkeyPatch) -> None:
    training = _training(name, monkeypatch)
    prefix = f"out/gradstat/{phase}/"
    stored = {key.removeprefix(prefix): value for key, value in training.record.items() if key.startswith(prefix)}
    rename = generator_state if phase.startswith("G") else discriminator_state
    expected = rename(stored)
    found = training.gradients(phase)
    assert expected.keys() <= found.keys()
    for key, values in found.items():
        statistics = expected.get(key, torch.zeros(3, dtype=torch.float64))
        assert float((_statistics(values) - statistics).abs().max()) <= 1e-2 * float(statistics[1]) + 1e-6, key


def _train_file(network: str, kind: str) -> dict[str, Tensor]:
    with np.load(GOLDEN / f"stylegan2_uncond_train_{network}.npz") as arrays:
        stored = {key.removeprefix(f"{kind}/"): arrays[key] for key in arrays if key.startswith(f"{kind}/")}
    return {key: torch.from_numpy(np.asarray(value)) for key, value in stored.items()}


@needs_golden
@pytest.mark.parametrize("phase", ["Gmain", "Greg", "Dmain", "Dreg"])
def test_every_entry_of_the_gradients_equals_the_official_one(phase: str) -> None:
    rename = generator_state if phase.startswith("G") else discriminator_state
    expected = rename(_train_file(phase[0], f"grad/{phase}"))
    found = Training("stylegan2_uncond").gradients(phase)
    assert expected.keys() <= found.keys()
    for key, values in expected.items():
        assert float((found[key] - values).norm()) <= 5e-3 * float(values.norm()) + 1e-6, key


@needs_golden
def test_one_full_iteration_ends_in_the_official_state() -> None:
    training = Training("stylegan2_uncond")
    settings = training.about["onestep"]
    networks = {"G": training.generator, "D": training.discriminator}
    optimisers = {}
    for key, network in networks.items():
        own, interval = settings[f"{key}_opt"], settings[f"{key}_reg_interval"]
        adam = OptimiserSettings("adam", own["lr"], tuple(own["betas"]))
        optimisers[key] = build_optimiser(adam, network.parameters(), interval, fused=True)
    for key, phase, loss, gain in (
        ("G", "Gmain/G/loss", training.gmain, 1),
        ("G", "Greg/G/reg", training.greg, settings["G_reg_interval"]),
        ("D", "Dmain/D/loss", lambda: training.dmain(update_average=True), 1),
        ("D", "Dreg/D/reg", training.dreg, settings["D_reg_interval"]),
    ):
        optimisers[key].zero_grad()
        (loss() * gain).backward()
        optimisers[key].step()
        value, expected = training.values[phase].detach(), training.record[f"out/onestep/{phase}"]
        expected = expected.mean() if value.ndim == 0 else expected.reshape(value.shape)
        _close(value, expected, 1e-4, 1e-3)
    for key, rename in (("G", generator_state), ("D", discriminator_state)):
        state = networks[key].state_dict()
        expected = rename(_train_file(key, f"onestep/{key}"))
        apart = [(state[name] - values).abs().flatten() for name, values in expected.items()]
        assert float((torch.cat(apart) < 1e-4).double().mean()) >= 0.99
        assert float(torch.cat(apart).max()) <= 4 * settings[f"{key}_opt"]["lr"] + 1e-5
        if key == "G":
            _close(state["mapping.average"], expected["mapping.average"], 1e-5)


# What follows needs no recorded numbers.

CLASSES = 3


def _pair(
    size: int = 32, channels: int = 3, classes: int = CLASSES, seed: int = 0, most: int = 16
) -> tuple[Generator, Discriminator]:
    """Small networks, away from the initial values at which noise and biases do nothing."""
    generator = Generator(
        StyledSettings(
            size, channels, 8, classes, style_size=12, mapping_layers=2, channel_base=8 * size, channel_max=most
        )
    )
    conditioning = "projection" if classes else "none"
    discriminator = Discriminator(
        ResidualSettings(
            size, channels, classes, conditioning, channel_base=8 * size, channel_max=most, mapping_layers=2
        )
    )
    chance = torch.Generator().manual_seed(seed)
    for network in (generator, discriminator):
        initialise(network, chance)
        for name, values in network.named_parameters():
            if name.endswith(("bias", "noise_strength")):
                values.data += 0.3 * torch.randn(values.shape, generator=chance) / (100 if "mapping" in name else 1)
    return generator, discriminator


def _chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _latents(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 8, generator=_chance(seed))


def _labels(count: int) -> Tensor:
    return torch.arange(count) % CLASSES


@pytest.mark.parametrize("up", [False, True])
def test_a_layer_equals_convolutions_with_each_image_s_own_weights(up: bool) -> None:
    chance = _chance(1)
    layer = SynthesisLayer(5, 4, 6, 12 if up else 6, up=up)
    layer.noise_strength.data.fill_(0.7)
    layer.bias.data.normal_(generator=chance)
    maps, style = torch.randn(3, 5, 6, 6, generator=chance), torch.randn(3, 6, generator=chance)
    with torch.no_grad():
        found = layer(maps, style)
    taps = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 16
    for image in range(3):
        scales = (layer.affine.weight @ style[image] / math.sqrt(6) + layer.affine.bias).detach()
        for output in range(4):
            own = (layer.weight[output] * scales[:, None, None]).detach().double().numpy()
            own /= np.sqrt((own**2).sum() + 1e-8)
            total = np.zeros((12, 12) if up else (6, 6))
            for source in range(5):
                values = maps[image, source].double().numpy()
                if up:
                    spread = np.zeros((11, 11))
                    spread[::2, ::2] = values
                    total += convolve2d(np.pad(convolve2d(spread, own[source]), 1), taps, mode="valid")
                else:
                    total += correlate2d(np.pad(values, 1), own[source], mode="valid")
            total += 0.7 * layer.noise.double().numpy() + float(layer.bias[output].detach())
            expected = np.maximum(total, 0.2 * total) * math.sqrt(2)
            np.testing.assert_allclose(found[image, output], expected, atol=1e-4)


@pytest.mark.parametrize("size", [16, 32, 56])
@pytest.mark.parametrize("classes", [0, CLASSES])
def test_networks_and_their_gradients_equal_the_plain_ones(size: int, classes: int) -> None:
    generator, discriminator = _pair(size, classes=classes)
    latents, labels = _latents(6), _labels(6) if classes else None
    images, plain = generator(latents, labels), reference.generate(generator, latents, labels)
    _close(images, plain, 1e-4, 1e-4)
    scores, plain_scores = discriminator(images, labels)[0], reference.judge(discriminator, images, labels)
    _close(scores, plain_scores, 1e-4, 1e-4)
    parameters = [*generator.parameters(), *discriminator.parameters()]
    found = torch.autograd.grad(scores.sum(), parameters, allow_unused=True)
    plain_path = reference.judge(discriminator, plain, labels).sum()
    expected = torch.autograd.grad(plain_path, parameters, allow_unused=True)
    for one, other in zip(found, expected, strict=True):
        assert one is not None and other is not None
        assert float((one - other).norm()) <= 5e-3 * float(other.norm()) + 1e-5


@pytest.mark.parametrize("strength", [1.0, 1e4])
def test_demodulation_gives_unit_expected_variance(strength: float) -> None:
    layer = SynthesisLayer(64, 64, 16, 32, up=False)
    initialise(layer, _chance(2))
    layer.weight.data.mul_(strength)
    layer.affine.weight.data.mul_(strength)
    maps, style = torch.randn(8, 64, 32, 32, generator=_chance(3)), torch.randn(8, 16, generator=_chance(4))
    with torch.no_grad():
        found = layer(maps, style, "none")[..., 1:-1, 1:-1] / math.sqrt(2)
    before = torch.where(found > 0, found, found / 0.2)
    variances = before.var((2, 3))
    assert abs(float(variances.mean()) - 1) < 0.01
    assert float(variances.max()) < 1.4 and float(variances.min()) > 0.7


@pytest.mark.parametrize(("count", "group"), [(4, 4), (8, 4), (6, 4), (5, 2), (2, 4), (1, 4)])
def test_minibatch_deviation_is_that_of_every_group(count: int, group: int) -> None:
    maps = torch.randn(count, 3, 4, 4, generator=_chance(5))
    _close(append_minibatch_std(maps, group), reference.append_minibatch_std(maps, group), 1e-6)


@torch.no_grad()
def test_images_and_scores_depend_on_the_label() -> None:
    generator, discriminator = _pair()
    latents = _latents(1).repeat(CLASSES, 1)
    images = generator(latents, _labels(CLASSES))
    for one, other in itertools.combinations(images, 2):
        assert float((one - other).abs().mean()) > 0.01
    same = images[:1].repeat(CLASSES, 1, 1, 1)
    scores = discriminator(same, _labels(CLASSES))[0]
    assert len({round(float(score), 4) for score in scores}) == CLASSES
    between = torch.full((1, CLASSES), 1 / CLASSES)
    assert float((generator(latents[:1], between) - images[:1]).abs().mean()) > 0.01
    with pytest.raises(ValueError, match="labels: found None"):
        generator(latents)


# Maps at 4x4, 8x8, ... (Karras 2020, configuration F; the ADA paper's for 256x256), and the parameters that the
# official implementation reports of both networks, with two layers in the mapping.
PUBLISHED = {
    1024: (32768, [512, 512, 512, 512, 512, 256, 128, 64, 32], 28_794_124, 29_012_513),
    256: (16384, [512, 512, 512, 512, 256, 128, 64], 23_191_522, 24_001_089),
}


@pytest.mark.parametrize("size", PUBLISHED)
def test_published_sizes_have_the_published_maps_and_parameters(size: int) -> None:
    base, maps, *parameters = PUBLISHED[size]
    with torch.device("meta"):
        generator = Generator(StyledSettings(size, 3, 512, mapping_layers=2, channel_base=base))
        discriminator = Discriminator(ResidualSettings(size, 3, channel_base=base))
    assert [layer.weight.shape[1] for layer in generator.synthesis.to_image] == maps
    assert [block.first.weight.shape[0] for block in discriminator.blocks] == maps[:0:-1]
    assert [_count(network) for network in (generator, discriminator)] == parameters


def _count(network: nn.Module) -> int:
    return sum(values.numel() for values in network.parameters())


@pytest.mark.parametrize("size", [16, 32, 64, 128, 224, 256, 512, 1024])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_size_gives_images_and_scores_of_its_shape(size: int, channels: int) -> None:
    with torch.device("meta"):
        generator = Generator(StyledSettings(size, channels, 8, style_size=12, channel_base=4 * size, channel_max=8))
        discriminator = Discriminator(ResidualSettings(size, channels, channel_base=4 * size, channel_max=8))
        images = generator(torch.empty(2, 8))
        score, class_logits = discriminator(images)
    assert images.shape == (2, channels, size, size)
    assert score.shape == (2,)
    assert class_logits is None


@pytest.mark.parametrize("size", [4, 48, 100, 2048])
@pytest.mark.parametrize(
    "network",
    [lambda size: Generator(StyledSettings(size, 1, 8)), lambda size: Discriminator(ResidualSettings(size, 1))],
)
def test_another_size_is_refused(size: int, network: Callable[[int], nn.Module]) -> None:
    with pytest.raises(ValueError, match=f"image_size: found {size}"):
        network(size)


@torch.no_grad()
def test_random_noise_and_mixing_come_from_the_given_source_alone() -> None:
    generator, _ = _pair()
    latents, labels = _latents(4), _labels(4)
    before = torch.get_rng_state()
    once, again, other = (generator(latents, labels, chance=_chance(seed)) for seed in (1, 1, 2))
    plain = [generator(latents, labels) for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), before)
    _close(once, again, 0)
    _close(*plain, 0)
    for one, two in ((once, other), (once, plain[0])):
        assert float((one - two).abs().mean()) > 0.01
    styles = generator.mapping(latents, labels)
    silent = generator.synthesis(styles, "none")
    assert float((silent - plain[0]).abs().mean()) > 0.01
    with pytest.raises(ValueError, match="chance: found None"):
        generator.synthesis(styles, "random")
    with pytest.raises(ValueError, match="noise: found 'loud'"):
        generator.synthesis(styles, "loud")


def test_noise_is_independent_between_images_and_has_the_layer_s_strength() -> None:
    layer = SynthesisLayer(2, 3, 4, 64, up=False)
    layer.noise_strength.data.fill_(0.5)
    maps = torch.zeros(2, 2, 64, 64)
    with torch.no_grad():
        found = layer(maps, torch.zeros(2, 4), "random", _chance()) / math.sqrt(2)
    values = torch.where(found > 0, found, found / 0.2)
    assert torch.equal(values[:, 0], values[:, 1])  # one noise for all maps of an image
    assert abs(float(values[:, 0].std()) - 0.5) < 0.02
    assert abs(float(torch.corrcoef(values[:, 0].flatten(1))[0, 1])) < 0.06


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_mixing_gives_its_share_of_images_the_fine_styles_of_another_latent(share: float) -> None:
    mapping = MappingNetwork(8, 0, 12, 6, layers=1)
    styles = mapping(torch.randn(2000, 8, generator=_chance(6)))
    mixed = mix_styles(mapping, styles, None, share, _chance(7))
    changed = (mixed != styles).all(2)
    places = changed.sum(1)
    assert abs(float((places > 0).float().mean()) - share) < 0.04
    assert not changed[:, 0].any()  # the coarsest is always the first latent's
    assert bool((changed.int().diff(dim=1) >= 0).all())  # one change, to the end
    if share:
        shares = torch.bincount(places[places > 0], minlength=6)[1:] / (places > 0).sum()
        assert float((shares - 0.2).abs().max()) < 0.05
        # All fine styles of an image are of one other latent.
        late = mixed[places > 1]
        assert torch.equal(late[:, -1], late[:, -2])


def test_the_average_moves_towards_the_batch() -> None:
    mapping = MappingNetwork(8, 0, 12, 4, layers=2, average_decay=0.75)
    with torch.no_grad():
        styles = mapping(_latents(5), update_average=True)
    _close(mapping.average, 0.25 * styles[:, 0].mean(0), 1e-6)
    mapping(_latents(5, seed=1))
    _close(mapping.average, 0.25 * styles[:, 0].mean(0), 1e-6)
    _close(mapping(_latents(2), truncation_psi=0.0)[1], mapping.average.expand(4, 12), 0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_stays_finite_with_huge_styles_and_weights(dtype: torch.dtype) -> None:
    generator, discriminator = _pair(64, most=32)
    for layer in generator.synthesis.layers:
        layer.affine.weight.data.mul_(1e4)
        layer.weight.data.mul_(1e4)
    single = generator(_latents(2), _labels(2)).detach()
    with torch.autocast("cpu", dtype):
        images = generator(_latents(2), _labels(2))
        scores, _ = discriminator(images, _labels(2))
    assert images.dtype == scores.dtype == torch.float32
    parameters = [*generator.parameters(), *discriminator.parameters()]
    gradients = torch.autograd.grad(scores.sum(), parameters)
    for values in (images, scores, *gradients):
        assert bool(values.isfinite().all())
    # Correlated with single precision: finite for the right reason.
    assert float(torch.corrcoef(torch.stack([images.detach().flatten(), single.flatten()]))[0, 1]) > 0.99


def test_activations_are_cut_off() -> None:
    layer, convolution = SynthesisLayer(2, 2, 4, 8, up=False), EqualisedConv2d(2, 2, 3, gain=0.5)
    for module in (layer, convolution):
        assert module.bias is not None
        module.bias.data.copy_(torch.tensor([2000.0, -2000.0]))
    maps = torch.randn(1, 2, 8, 8, generator=_chance())
    with torch.no_grad():
        for found, limit in ((layer(maps, torch.zeros(1, 4)), 256.0), (convolution(maps), 128.0)):
            assert torch.equal(found[0, 0], torch.full((8, 8), limit))
            assert torch.equal(found[0, 1], torch.full((8, 8), -limit))


def test_equal_seeds_give_equal_networks() -> None:
    once, again, other = (_pair(seed=seed) for seed in (1, 1, 2))
    for index in range(2):
        states = [pair[index].state_dict() for pair in (once, again, other)]
        assert all(torch.equal(values, states[1][name]) for name, values in states[0].items())
        assert not all(torch.equal(values, states[2][name]) for name, values in states[0].items())
        assert not any("taps" in name for name in states[0])


def test_initial_weights_keep_the_variance_from_layer_to_layer() -> None:
    generator = Generator(StyledSettings(64, 3, 64, style_size=64, channel_base=4096, channel_max=64))
    discriminator = Discriminator(ResidualSettings(64, 3, channel_base=4096, channel_max=64))
    for seed, network in enumerate((generator, discriminator)):
        initialise(network, _chance(seed))
    with torch.no_grad():
        styles = generator.mapping(torch.randn(256, 64, generator=_chance(3)))
        assert 0.3 < float(styles.std()) < 3  # eight layers at a hundredth of the rate, each of unit gain
        images = generator.synthesis(styles[:8])
        assert 0.5 < float(images.std()) < 5
        scores, _ = discriminator(torch.randn(8, 3, 64, 64, generator=_chance(4)))
    assert 0.05 < float(scores.square().mean().sqrt()) < 5


def test_the_importer_refuses_what_it_cannot_reproduce() -> None:
    with pytest.raises(ValueError, match=r"found no 'synthesis\.b4\.const'"):
        generator_from_official({"synthesis.input.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"found no 'b4\.out\.weight'"):
        discriminator_from_official({})


@needs_golden
def test_the_importer_refuses_another_filter_and_missing_or_wrong_tensors() -> None:
    state = _part(_golden("stylegan2_uncond")[1], "G")
    with pytest.raises(ValueError, match="found another filter"):
        generator_from_official(state | {"synthesis.b8.resample_filter": torch.ones(4, 4) / 16})
    with pytest.raises(ValueError, match="Missing key"):
        generator_from_official({name: value for name, value in state.items() if name != "synthesis.b8.conv0.bias"})
    with pytest.raises(ValueError, match="size mismatch"):
        generator_from_official(state | {"synthesis.b8.conv0.bias": torch.zeros(5)})
    with pytest.raises(ValueError, match=r"found no 'mapping\.w_avg'"):
        generator_from_official({name: value for name, value in state.items() if name != "mapping.w_avg"})


@pytest.mark.slow
def test_a_training_step_takes_at_most_four_fifths_of_the_plain_one_s_time_and_no_more_memory() -> None:
    benchmark = CHECKOUT / "tests" / "benchmarks" / "bench_stylegan.py"
    found = {}
    for path in ("fast", "slow"):
        command = [sys.executable, str(benchmark), f"--path={path}", "--base=2048", "--most=64", "--batch=16"]
        found[path] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    seconds = {path: statistics.median(values["seconds"]) for path, values in found.items()}
    assert seconds["fast"] <= 0.8 * seconds["slow"]
    assert found["fast"]["mib"] <= found["slow"]["mib"]


@pytest.mark.filterwarnings("ignore:.*axis name:UserWarning")
def test_the_generator_exports_to_onnx_with_a_free_batch(tmp_path: Path) -> None:
    generator = _pair(16)[0].eval()
    path = tmp_path / "generator.onnx"
    batch = torch.export.Dim("batch")
    torch.onnx.export(
        generator,
        (_latents(3), _labels(3)),
        path,
        dynamo=True,
        verbose=False,
        dynamic_shapes={"latents": {0: batch}, "labels": {0: batch}},
    )
    session = onnxruntime.InferenceSession(path)
    for count in (1, 5):
        latents, labels = _latents(count, seed=count), _labels(count)
        names = [entry.name for entry in session.get_inputs()]
        (found,) = session.run(None, dict(zip(names, (latents.numpy(), labels.numpy()), strict=True)))
        with torch.no_grad():
            np.testing.assert_allclose(found, generator(latents, labels), atol=1e-4)
