"""A training that starts from the weights of another one, of other sizes or classes."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from gan_trainings import options_of, write_pictures
from kept_memory import KeptMemory
from program import succeed, words
from sonoforge.models import flow, projected
from sonoforge.models.layers import draw_weights as initialise
from sonoforge.models.projected import Discriminator, DiscriminatorSettings
from sonoforge.models.projected import initialise as initialise_discriminator
from sonoforge.models.spade import MapSettings as GeneratorSettings
from sonoforge.models.stylegan.generator import StyledSettings
from sonoforge.models.stylegan.layers import upsample
from sonoforge.models.stylegan.stylegan2 import Generator
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.evaluation.features import Features
from sonoforge.training.gan.engine import train_gan
from sonoforge.training.gan.networks import FROZEN_BATCH, FrozenMaps, build_networks, outline_networks
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.settings import compose
from sonoforge.training.gan.start_from import (
    StartingWeights,
    check_transfer,
    for_classes,
    read_starting_weights,
    suited,
    transfer_weights,
)
from sonoforge.training.gan.training import Pretrained, prepare
from sonoforge.training.gan.training_set import make_training_set
from tiny_recipes import LATENT, STYLED, tiny_recipes

SETTINGS = GanSettings(recipe="stylegan2", width=8, image_size=32, steps=2, batch=4, tick_steps=1, augmentation="none")


@pytest.fixture(scope="module", autouse=True)
def _tiny_recipes() -> Iterator[None]:
    with tiny_recipes():
        yield


@pytest.fixture(autouse=True)
def _visible_logs() -> None:
    """The command line switches propagation off; caplog needs it."""
    logging.getLogger("sonoforge").propagate = True


def _images(size: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (8, size, size, 1), dtype=np.uint8)


def _train(settings: GanSettings, folder: Path, start: StartingWeights | None = None, **options: Any) -> Path:
    size = settings.image_size or 32
    images = make_training_set(_images(size), None, ("malignant",), size, "1")
    return train_gan(prepare(settings, images, "cpu", Pretrained(start_from=start)), folder, **options)


def _networks(recipe: str, size: int, width: int = 8, seed: int = 0) -> tuple[Any, Any]:
    """Both networks of a tiny recipe with their weights and, so that nothing agrees by chance, no biases of 0."""
    composed = compose(GanSettings(recipe=recipe, width=width))
    networks = build_networks(composed, options_of(composed, size), seed)
    chance = torch.Generator().manual_seed(seed)
    for network in networks:
        for parameter in network.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=chance)
    return networks


def _start(recipe: str, networks: tuple[Any, Any]) -> StartingWeights:
    return StartingWeights(
        "start", compose(GanSettings(recipe=recipe)).architecture, *(own.state_dict() for own in networks)
    )


def _equal(left: Any, right: Any) -> bool:
    return all(torch.equal(value, right.state_dict()[name]) for name, value in left.state_dict().items())


@pytest.mark.parametrize("recipe", STYLED)
def test_at_the_same_size_everything_is_taken(recipe: str, caplog: pytest.LogCaptureFixture) -> None:
    theirs, own = _networks(recipe, 32), _networks(recipe, 32, seed=1)
    assert not any(map(_equal, own, theirs))
    with caplog.at_level(logging.INFO):
        transfer_weights(_start(recipe, theirs), *own)
    assert all(map(_equal, own, theirs))
    counts = [sum(parameter.numel() for parameter in network.parameters()) for network in own]
    assert f"generator: {counts[0]} parameters taken from start, 0 new" in caplog.text
    assert f"discriminator: {counts[1]} parameters taken from start, 0 new" in caplog.text


@pytest.mark.parametrize(("before", "now"), [(32, 64), (64, 32)])
def test_a_generator_of_another_size_makes_the_same_image_where_levels_agree(before: int, now: int) -> None:
    """The levels that both have: the image that StyleGAN2 sums up to 32x32, and the maps of the discriminator."""
    theirs, own = _networks("stylegan2", before), _networks("stylegan2", now, seed=1)
    transfer_weights(_start("stylegan2", theirs), *own)
    small, large = (theirs, own) if before == 32 else (own, theirs)
    styles = torch.randn(2, 10, LATENT, generator=torch.Generator().manual_seed(0))
    large[0].synthesis.to_image[-1].requires_grad_(False).weight.zero_()  # without its last level
    large[0].synthesis.to_image[-1].bias.zero_()
    images = small[0].synthesis(styles[:, :8])
    torch.testing.assert_close(large[0].synthesis(styles), upsample(images, large[0].synthesis.taps))
    maps = torch.randn(2, 8, 32, 32, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(large[1].blocks[1](maps), small[1].blocks[0](maps))
    assert not torch.equal(large[1].blocks[0].first.weight, small[1].blocks[0].first.weight)


def test_bias_noise_and_magnitude_go_with_their_weight() -> None:
    """At 16 maps the layers' biases differ in shape; the noise, of the side alone, and its strength would agree."""
    theirs, own = _networks("stylegan2", 32, width=16), _networks("stylegan2", 32, seed=1)
    theirs[0].synthesis.to_image[0].bias.data.fill_(5.0)
    before = {name: value.clone() for name, value in own[0].state_dict().items()}
    transfer_weights(_start("stylegan2", theirs), *own)
    after = own[0].state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert not any(name.startswith("synthesis.") and "affine.bias" not in name for name in changed)


def test_a_mapping_network_of_another_depth_is_left_alone() -> None:
    theirs = Generator(StyledSettings(32, 1, 512, mapping_layers=2, channel_base=512, channel_max=8))
    own = _networks("stylegan2", 32)
    theirs.mapping.average.fill_(3.0)
    before = own[0].mapping.layers[0].weight.clone()
    transfer_weights(StartingWeights("start", "stylegan2", theirs.state_dict(), {}), *own)
    assert torch.equal(own[0].mapping.layers[0].weight, before)
    assert not own[0].mapping.average.any()
    assert torch.equal(own[0].synthesis.constant, theirs.synthesis.constant)


def test_a_training_goes_on_from_a_run_of_another_size_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = _train(SETTINGS, tmp_path / "first")
    start = read_starting_weights(tmp_path / "first")
    assert start.name.startswith("first/step-00000002 (sha256 ")
    assert read_starting_weights(first).name == start.name
    later = dataclasses.replace(SETTINGS, image_size=64, learning_rate=1e-12)
    with caplog.at_level(logging.INFO):
        checkpoint = _train(later, tmp_path / "later", start)
    assert re.search(r"generator: \d+ parameters taken from first/step-00000002 .*, \d+ new \(synthesis", caplog.text)
    # At a rate of nothing what was taken is still there, in the averaged generator, too.
    for stem in ("generator", "average"):
        before, after = load_file(first / "generator.safetensors"), load_file(checkpoint / f"{stem}.safetensors")
        shared_names = [name for name in before if name.startswith("synthesis.layers.6.weight")]
        assert shared_names
        for name in shared_names:
            torch.testing.assert_close(after[name], before[name], atol=1e-6, rtol=0)
    for record in (checkpoint / "checkpoint.json", tmp_path / "later" / "results.json"):
        assert json.loads(record.read_text())["settings"]["start_from"] == start.name


def test_a_resumed_training_knows_what_it_started_from(tmp_path: Path) -> None:
    _train(SETTINGS, tmp_path / "first")
    start = read_starting_weights(tmp_path / "first")
    settings = dataclasses.replace(SETTINGS, seed=1, steps=4, regularisers="r1=1:2")
    whole = _train(settings, tmp_path / "whole", start)
    steps = iter([False, True])
    _train(settings, tmp_path / "stopped", start, stop=lambda: next(steps))
    with pytest.raises(SonoforgeError, match="start_from was 'first/step-00000002"):
        _train(settings, tmp_path / "stopped", resume=True)
    resumed = _train(settings, tmp_path / "stopped", start, resume=True)
    for path in whole.glob("*.safetensors"):
        before, after = load_file(path), load_file(resumed / path.name)
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before), path.name


def _check(start: StartingWeights, recipe: str) -> None:
    composed = compose(GanSettings(recipe=recipe, width=8))
    outline = outline_networks(composed, options_of(composed, 32))
    check_transfer(start, composed.architecture, outline)


def test_another_architecture_and_other_widths_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(SonoforgeError, match="neither a run folder"):
        read_starting_weights(tmp_path / "network.pkl")
    with pytest.raises(SonoforgeError, match="start holds stylegan2 networks, not stylegan3"):
        _check(_start("stylegan2", _networks("stylegan2", 32)), "stylegan3-t")
    wide = Generator(StyledSettings(32, 1, 64, style_size=48, channel_base=512, channel_max=32))
    with pytest.raises(SonoforgeError, match=r"no weight agrees .* see width"):
        _check(StartingWeights("start", "stylegan2", wide.state_dict(), {}), "stylegan2")
    images = make_training_set(_images(), None, ("malignant",), 32, "1")
    with pytest.raises(SonoforgeError, match="no weight agrees"):
        start = StartingWeights("start", "stylegan2", wide.state_dict(), {})
        prepare(SETTINGS, images, "cpu", Pretrained(start_from=start))


# Classes.


NAMES = ("normal", "benign", "malignant")


CLASS_LATENT = 8


class _Frozen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(1, 4, 3, 4, 1), nn.Conv2d(4, 4, 3, 2, 1)])
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        fine = self.layers[0](images)
        return [fine, self.layers[1](fine)]


def _light(classes: int, seed: int = 0) -> projected.Generator:
    network = projected.Generator(GeneratorSettings(32, 1, CLASS_LATENT, classes, width=4))
    chance = torch.Generator().manual_seed(seed)
    initialise(network, chance)
    for name, value in network.named_buffers():
        if "running_mean" in name:
            value.normal_(generator=chance)
    return network.eval()


def _discriminator(classes: int, seed: int = 0) -> Discriminator:
    torch.manual_seed(7)
    network = Discriminator(DiscriminatorSettings(32, 1, 1, classes, "projection", width=4), _Frozen())
    initialise_discriminator(network, torch.Generator().manual_seed(seed))
    return network.eval()


@torch.no_grad()
def test_classes_in_another_order_draw_and_score_as_before() -> None:
    order = [2, 0, 1]
    ours = [NAMES[index] for index in order]
    latents = torch.randn(3, CLASS_LATENT, generator=torch.Generator().manual_seed(1))
    theirs, own = _light(3), _light(3, seed=1)
    before = theirs(latents, torch.tensor(order))
    assert (own(latents, torch.arange(3)) - before).abs().max() > 0.1
    own.load_state_dict(for_classes(theirs.state_dict(), NAMES, ours))
    torch.testing.assert_close(own(latents, torch.arange(3)), before, atol=5e-3, rtol=0)  # power iteration
    judge, again = _discriminator(3), _discriminator(3, seed=1)
    scores = judge(before, torch.tensor(order))[0]
    again.load_state_dict(for_classes(judge.state_dict(), NAMES, ours))
    torch.testing.assert_close(again(before, torch.arange(3))[0], scores, atol=1e-2, rtol=1e-2)


def test_other_classes_take_their_own_by_name_and_new_ones_the_mean() -> None:
    theirs = _light(3).state_dict()
    found = for_classes(theirs, NAMES, ["malignant", "cyst"])
    _light(2).load_state_dict(found)  # every shape fits
    name = "blocks.0.norm.scale.parametrizations.weight.original"
    torch.testing.assert_close(found[name], torch.stack([theirs[name][:, 2], theirs[name].mean(1)], 1))
    first = "first.0.parametrizations.weight.original"
    torch.testing.assert_close(found[first][:CLASS_LATENT], theirs[first][:CLASS_LATENT], rtol=0, atol=0)
    torch.testing.assert_close(found[first][CLASS_LATENT], theirs[first][CLASS_LATENT + 2], rtol=0, atol=0)
    for stem, dim in (("blocks.0.norm.scale", 0), ("first.0", 1)):
        own = f"{stem}.parametrizations.weight"
        matrix = found[f"{own}.original"].movedim(dim, 0).flatten(1)
        estimate = found[f"{own}.0._u"] @ matrix @ found[f"{own}.0._v"]
        assert float(estimate) == pytest.approx(float(torch.linalg.svdvals(matrix)[0]), rel=0.05)
    judged = for_classes(_discriminator(3).state_dict(), NAMES, ["benign"])
    assert judged["scales.0.class_rows.parametrizations.weight.original"].shape[0] == 1


def test_flow_matching_continues_with_its_classes_by_name() -> None:
    torch.manual_seed(0)
    theirs, own = (flow.Generator(8, 1, classes=count, width=8) for count in (3, 2))
    own.load_state_dict(for_classes(theirs.state_dict(), NAMES, [NAMES[2], "cyst"]))
    latents = torch.randn(1, 64)
    torch.testing.assert_close(own(latents, torch.tensor([0])), theirs(latents, torch.tensor([2])))
    assert own.embedding is not None and theirs.embedding is not None
    torch.testing.assert_close(own.embedding.weight[1], theirs.embedding.weight.mean(0))


def test_a_training_starts_from_one_of_other_classes(tmp_path: Path, squeezenet_file: Path) -> None:
    options: list[Any] = ["--recipe", "projected", "--preset", "small-data", "--set", f"gan.features={squeezenet_file}"]
    options += words("--conditioning projection --image-size 32 --set gan.batch=4 --steps 2 --set gan.width=4")
    options += words(f"--set gan.latent_size={CLASS_LATENT} --set gan.metrics=none --device cpu")
    options += ["--out", tmp_path / "runs"]
    (tmp_path / "pictures").mkdir()
    pictures = write_pictures(tmp_path / "pictures", 12)
    first = succeed("gan", "train", "--data", pictures, *options).json["run"]
    (pictures / "benign").rename(pictures / "cyst")
    said = succeed("gan", "train", "--data", pictures, *options, "--set", f"gan.start_from={first}").err
    assert "classes that go on with their weights: malignant; that start with the mean of all: cyst" in said
    assert said.count("parameters taken from") == 2 and said.count(", 0 new") == 2


# A flow that draws images, or images with masks, and has classes or not.


def _flow(side: int = 16, classes: int = 0, masks: int = 0, seed: int = 0, depth: int = 0) -> flow.Generator:
    network = flow.Generator(side, 1 + masks, classes, masks, width=8, depth=depth)
    chance = torch.Generator().manual_seed(seed)
    for weight in network.parameters():  # none is 0, unlike those of a new network
        nn.init.normal_(weight, 0, 0.1, generator=chance)
    return network.eval()


@pytest.mark.parametrize(
    ("only", "rows", "depth"), [("malignant", [2], 0), ("cyst", [0, 1, 2], 0), ("cyst", [0, 1, 2], 4)]
)
@torch.no_grad()
def test_a_flow_goes_on_with_one_class_and_without_masks_as_it_drew_before(
    only: str, rows: list[int], depth: int
) -> None:
    theirs, ours = _flow(64, 3, 1, depth=depth), _flow(64, seed=1, depth=depth)
    start = StartingWeights("there", "flow", theirs.state_dict(), {}, NAMES, 1)
    options = {"classes": 0, "channels": 1, "image_size": 64, "depth": depth}
    transfer_weights(suited(start, options, (), only), ours, flow.NoDiscriminator())
    assert theirs.embedding is not None
    theirs.embedding.weight.copy_(theirs.embedding.weight[rows].mean(0).expand(3, -1))
    images = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    times = torch.tensor([[0.2], [0.7]])
    # To the other network the masks are at time 0; in place of their noise is its mean.
    shown = torch.cat([images, torch.zeros_like(images)], 1), torch.cat([times, torch.zeros_like(times)], 1)
    before = theirs.velocity(theirs.encode(shown[0]), shown[1], torch.zeros(2, dtype=torch.int64))
    found = ours.velocity(ours.encode(images), times)
    torch.testing.assert_close(found, before[:, : found.shape[1]], rtol=1e-4, atol=1e-5)


def test_a_flow_takes_classes_by_name_and_new_ones_the_mean() -> None:
    theirs = _flow(classes=3)
    start = StartingWeights("there", "flow", theirs.state_dict(), {}, NAMES)
    found = suited(start, {"classes": 2, "channels": 1, "image_size": 16}, ("malignant", "cyst"), "").generator
    rows = theirs.state_dict()["embedding.weight"]
    torch.testing.assert_close(found["embedding.weight"], torch.stack([rows[2], rows.mean(0)]))


# A frozen feature network, which a CPU asks a few images at a time for their gradient.

MANY = 2 * FROZEN_BATCH + 3


@pytest.fixture
def features() -> Features:
    """Four scales, of double precision."""
    torch.manual_seed(0)
    layers = [nn.Sequential(nn.Conv2d(3, 3, 3, 2, 1), nn.BatchNorm2d(3), nn.ReLU6()) for _ in range(4)]
    module = nn.Sequential(*layers).double().eval().requires_grad_(False)
    return Features("stub", {f"layer{index}": index for index in range(4)}, module)


def _gradient(maps: list[Tensor], images: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(torch.stack([own.square().sum() for own in maps]).sum(), images)
    return gradient


def test_maps_and_gradients_are_those_of_the_whole_batch_at_once(features: Features) -> None:
    images = torch.randn(MANY, 1, 64, 64, dtype=torch.float64).requires_grad_()
    found, expected = FrozenMaps(features)(images), features.maps(images)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(_gradient(found, images), _gradient(expected, images))


def test_a_large_batch_keeps_what_a_few_images_do(features: Features) -> None:
    images = torch.randn(8 * FROZEN_BATCH, 1, 64, 64, dtype=torch.float64).requires_grad_()
    most = []
    for ask in (FrozenMaps(features), features.maps):
        with KeptMemory() as memory:
            _gradient(ask(images), images)
        most.append(memory.most)
    assert most[0] < 0.4 * most[1]
