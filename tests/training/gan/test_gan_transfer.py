"""A training that starts from the weights of another one, of other sizes or classes, and frozen blocks."""

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
from lightning_fabric import Fabric
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gan_trainings import draw_discs, write_pictures
from program import succeed, words
from sonoforge.models import projected
from sonoforge.models.layers import draw_weights as initialise
from sonoforge.models.projected import Discriminator, DiscriminatorSettings
from sonoforge.models.projected import initialise as initialise_discriminator
from sonoforge.models.spade import MapSettings as GeneratorSettings
from sonoforge.models.stylegan.generator import StyledSettings
from sonoforge.models.stylegan.layers import upsample
from sonoforge.models.stylegan.official import discriminator_from_official, generator_from_official
from sonoforge.models.stylegan.stylegan2 import Generator
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.evaluation.features import open_features
from sonoforge.training.gan.engine import train_gan
from sonoforge.training.gan.networks import Samples, build_networks, generator_options, outline_networks
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.settings import compose
from sonoforge.training.gan.start_from import StartingWeights, read_starting_weights
from sonoforge.training.gan.state import build_state
from sonoforge.training.gan.training import Pretrained, prepare
from sonoforge.training.gan.training_set import make_training_set
from sonoforge.training.gan.transfer import check_transfer, for_classes, freeze, transfer_weights
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


def _networks(recipe: str, size: int, channels: int = 1, width: int = 8, seed: int = 0) -> tuple[Any, Any]:
    """Both networks of a tiny recipe with their weights and, so that nothing agrees by chance, no biases of 0."""
    composed = compose(GanSettings(recipe=recipe, width=width))
    networks = build_networks(composed, generator_options(composed, Samples(size, channels, 0, 0), 4), seed)
    chance = torch.Generator().manual_seed(seed)
    for network in networks:
        for parameter in network.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=chance)
    return networks


def _start(recipe: str, networks: tuple[Any, Any]) -> StartingWeights:
    return StartingWeights(
        "start", (compose(GanSettings(recipe=recipe)).architecture,), *(own.state_dict() for own in networks)
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


def test_224_pixels_take_the_levels_of_128(caplog: pytest.LogCaptureFixture) -> None:
    theirs, own = _networks("stylegan2", 128), _networks("stylegan2", 224, seed=1)
    with caplog.at_level(logging.INFO):
        transfer_weights(_start("stylegan2", theirs), *own)
    assert "new (synthesis.constant)" in caplog.text
    assert "new (last_linear)" in caplog.text
    assert torch.equal(own[1].blocks[0].first.weight, theirs[1].blocks[0].first.weight)


@pytest.mark.parametrize("recipe", ["stylegan1", "stylegan2", "stylegan3-t"])
@pytest.mark.parametrize(("before", "now"), [(3, 1), (1, 3)])
def test_grey_stays_grey_with_other_channels(
    recipe: str, before: int, now: int, caplog: pytest.LogCaptureFixture
) -> None:
    theirs, own = _networks(recipe, 32, before), _networks(recipe, 32, now, seed=1)
    with caplog.at_level(logging.INFO):
        transfer_weights(_start(recipe, theirs), *own)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 2
    assert f"its images have {before} channels and these {now}" in warnings[0]
    latents = torch.randn(4, theirs[0].latent_size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        left, right = theirs[0].eval()(latents), own[0].eval()(latents)
        if before == 3:
            left = (left * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
        torch.testing.assert_close(right, left.expand_as(right), atol=1e-5, rtol=1e-4)
        grey = torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
        scores = [network(grey.expand(-1, count, -1, -1))[0] for network, count in ((theirs[1], before), (own[1], now))]
    torch.testing.assert_close(scores[1], scores[0], atol=1e-5, rtol=1e-4)


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
    transfer_weights(StartingWeights("start", ("stylegan2",), theirs.state_dict(), {}), *own)
    assert torch.equal(own[0].mapping.layers[0].weight, before)
    assert not own[0].mapping.average.any()
    assert torch.equal(own[0].synthesis.constant, theirs.synthesis.constant)


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
@pytest.mark.parametrize("name", ["stylegan2_uncond", "stylegan3_t"])
def test_official_networks_are_read_from_files_of_tensors(shared: Path, tmp_path: Path, suffix: str, name: str) -> None:
    golden = shared / "golden" / f"{name}.npz"
    path = golden
    if suffix == "safetensors":
        path = tmp_path / "official.safetensors"
        with np.load(golden) as arrays:
            tensors = {key: torch.from_numpy(np.array(arrays[key])) for key in arrays.files if key[1] == "/"}
        # A published file has the averaged generator alone, and dots.
        save_file({re.sub("^G/", "G_ema.", key).replace("D/", "D."): value for key, value in tensors.items()}, path)
    start = read_starting_weights(path)
    assert re.fullmatch(rf"{path.name} \(sha256 [0-9a-f]{{16}}\)", start.name)
    assert start.architectures == (name.partition("_")[0],)
    with np.load(golden) as arrays:
        state = {key[2:]: torch.from_numpy(np.array(arrays[key])) for key in arrays.files if key.startswith("D/")}
    expected = discriminator_from_official(state).state_dict()
    assert start.discriminator.keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in start.discriminator.items())


def test_a_training_from_official_weights_begins_with_their_images(shared: Path, tmp_path: Path) -> None:
    golden = shared / "golden" / "stylegan2_uncond.npz"
    start = read_starting_weights(golden)
    with np.load(golden) as arrays:
        state = {key[2:]: torch.from_numpy(np.array(arrays[key])) for key in arrays.files if key.startswith("G/")}
        expected = torch.from_numpy(arrays["out/img"])
        latents = torch.from_numpy(arrays["in/z"])
    recipe = compose(dataclasses.replace(SETTINGS, width=None))
    recipe = dataclasses.replace(
        recipe,
        generator={"channel_base": 512, "channel_max": 32, "style_size": 32, "mapping_layers": 2},
        discriminator={"channel_base": 512, "channel_max": 32},
    )
    options = generator_options(dataclasses.replace(recipe, latent_size=32), Samples(32, 1, 0, 0), 4)
    networks = build_networks(recipe, options, 0)
    transfer_weights(start, *networks)
    with torch.no_grad():
        assert (networks[0].eval()(latents) - expected).abs().max() < 1e-4
    assert _equal(networks[0], generator_from_official(state))


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
    settings = dataclasses.replace(SETTINGS, seed=1, steps=4, freeze_discriminator=1, regularisers="r1=1:2")
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


@pytest.mark.parametrize(
    ("name", "tensors", "message"),
    [
        ("network.pkl", None, "pickles"),
        ("absent.npz", None, "cannot be read as .npz"),
        ("damaged.npz", b"PK", "cannot be read as .npz"),
        ("damaged.safetensors", b"no", "cannot be read as .safetensors"),
        ("other.npz", {"weight": np.zeros(2)}, r"no tensors named G/\.\.\., G_ema/\.\.\. or D/"),
        ("other.npz", {"G/weight": np.zeros(2)}, "official state"),
        ("objects.npz", {"G/weight": np.array([{}])}, "cannot be read as .npz .*allow_pickle"),
    ],
)
def test_what_cannot_be_started_from_is_refused_in_one_line(
    tmp_path: Path, name: str, tensors: Any, message: str
) -> None:
    path = tmp_path / name
    if isinstance(tensors, bytes):
        path.write_bytes(tensors)
    elif tensors is not None:
        np.savez(path, **tensors)
    with pytest.raises(SonoforgeError, match=message) as error:
        read_starting_weights(path)
    assert "\n" not in str(error.value)


def _check(start: StartingWeights | None, recipe: str, frozen: int = 0) -> None:
    composed = compose(GanSettings(recipe=recipe, width=8))
    outline = outline_networks(composed, generator_options(composed, Samples(32, 1, 0, 0), 4))
    check_transfer(start, frozen, composed.architecture, outline)


def test_another_architecture_and_other_widths_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(SonoforgeError, match="start holds stylegan2 networks, expected stylegan3"):
        _check(_start("stylegan2", _networks("stylegan2", 32)), "stylegan3-t")
    wide = Generator(StyledSettings(32, 1, 64, style_size=48, channel_base=512, channel_max=32))
    with pytest.raises(SonoforgeError, match=r"found no weight .* see width"):
        _check(StartingWeights("start", ("stylegan2",), wide.state_dict(), {}), "stylegan2")
    images = make_training_set(_images(), None, ("malignant",), 32, "1")
    with pytest.raises(SonoforgeError, match="found no weight"):
        start = StartingWeights("start", ("stylegan2",), wide.state_dict(), {})
        prepare(SETTINGS, images, "cpu", Pretrained(start_from=start))


def test_blocks_that_cannot_be_frozen_are_refused() -> None:
    with pytest.raises(SonoforgeError, match=r"freeze_discriminator: found a recipe whose discriminator has no"):
        _check(None, "dcgan", frozen=1)
    with pytest.raises(SonoforgeError, match=r"freeze_discriminator: found 4"):
        _check(None, "stylegan2", frozen=4)
    _check(None, "stylegan2", frozen=3)
    _check(None, "dcgan")


@pytest.mark.parametrize("recipe", STYLED)
def test_frozen_blocks_are_those_nearest_the_image(recipe: str) -> None:
    _, discriminator = _networks(recipe, 32)
    freeze(discriminator, 2)
    frozen = {name for name, parameter in discriminator.named_parameters() if not parameter.requires_grad}
    if recipe == "stylegan1":  # counted from 8x8
        expected = ("blocks.2.", "blocks.1.", "from_image.2.", "from_image.1.")
    else:
        expected = ("blocks.0.", "blocks.1.", "from_image.")
    assert frozen == {name for name, _ in discriminator.named_parameters() if name.startswith(expected)}


@pytest.mark.parametrize(("before", "told"), [(32, False), (16, True)])
def test_frozen_layers_that_are_new_are_told(before: int, told: bool, caplog: pytest.LogCaptureFixture) -> None:
    own = _networks("stylegan2", 32)
    freeze(own[1], 1)
    transfer_weights(_start("stylegan2", _networks("stylegan2", before)), *own)
    assert ("some frozen layers are new" in caplog.text) == told


def test_frozen_blocks_of_a_light_generator_stay_and_the_others_learn(
    tmp_path: Path, squeezenet_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Adapted from a run of its own kind: all is taken, the discriminator's fixed mixing among it."""
    caplog.set_level(logging.INFO)
    features = open_features(str(squeezenet_file))
    settings = dataclasses.replace(
        SETTINGS,
        recipe="projected",
        preset="small-data",
        width=4,
        steps=2,
        image_size=32,
        features=features.name,
        conditioning="none",
    )
    images = make_training_set(draw_discs(), None, ("malignant",), 32)
    train_gan(prepare(settings, images, "cpu", Pretrained(features)), tmp_path / "first")
    start = read_starting_weights(tmp_path / "first")
    adapting = dataclasses.replace(settings, seed=1, freeze_generator=2)
    pretrained = Pretrained(features, start_from=start)
    checkpoint = train_gan(prepare(adapting, images, "cpu", pretrained), tmp_path / "second")
    assert caplog.text.count(" 0 new") == 2 and "frozen layers are new" not in caplog.text
    after = load_file(checkpoint / "generator.safetensors")
    weights = [name for name in after if name.endswith(("original", "bias")) or name.endswith("norm.weight")]
    same = {name for name in weights if torch.equal(after[name], start.generator[name])}
    assert same == {name for name in weights if name.startswith(("first.", "blocks.0."))} and len(same) < len(weights)
    mixing = [name for name in start.discriminator if name.startswith("across")]
    discriminator = load_file(checkpoint / "discriminator.safetensors")
    assert mixing and all(torch.equal(discriminator[name], start.discriminator[name]) for name in mixing)
    for changes, reason in (({"freeze_generator": 9}, "at most 4"), ({"recipe": "dcgan"}, "expected projected")):
        refused = dataclasses.replace(adapting, **{"preset": "paper", **changes})
        with pytest.raises(SonoforgeError, match=f"freeze_generator: found .* {reason}"):
            prepare(refused, images, "cpu", Pretrained(features))


@pytest.mark.parametrize("recipe", ["stylegan1", "stylegan2"])
def test_frozen_blocks_stay_and_the_others_learn_under_r1(
    recipe: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = dataclasses.replace(
        SETTINGS, recipe=recipe, freeze_discriminator=2, steps=3, regularisers="r1=10:2", image_size=16
    )
    _, before = build_networks(
        compose(settings), generator_options(compose(settings), Samples(16, 1, 0, 0), 4), settings.seed
    )
    checkpoint = _train(settings, tmp_path)
    assert "frozen at their random initial weights" in caplog.text
    after = load_file(checkpoint / "discriminator.safetensors")
    freeze(before, 2)
    for name, parameter in before.named_parameters():
        assert torch.equal(after[name], parameter) == (not parameter.requires_grad), name
    learning = [parameter for parameter in before.parameters() if parameter.requires_grad]
    state = load_file(checkpoint / "discriminator_optimiser.safetensors")
    assert {int(name.split(".")[0]) for name in state} == set(range(len(learning)))


def test_the_penalty_of_a_frozen_discriminator_is_that_of_a_free_one(tmp_path: Path) -> None:
    """The gradient with respect to the image still passes the frozen blocks."""
    rows = []
    for frozen in (0, 3):
        settings = dataclasses.replace(SETTINGS, freeze_discriminator=frozen, steps=1, regularisers="r1=10")
        _train(settings, tmp_path / str(frozen))
        rows.append(json.loads((tmp_path / str(frozen) / "stats.jsonl").read_text()))
    assert rows[0]["r1"] == rows[1]["r1"] > 0
    assert rows[0]["discriminator_gradient"] > rows[1]["discriminator_gradient"] > 0


def test_the_averaged_generator_starts_as_the_generator() -> None:
    start = _start("stylegan3-t", _networks("stylegan3-t", 32))
    images = make_training_set(_images(), None, ("malignant",), 32, "1")
    settings = dataclasses.replace(SETTINGS, recipe="stylegan3-t")
    training = prepare(settings, images, "cpu", Pretrained(start_from=start))
    state = build_state(Fabric(accelerator="cpu", devices=1), training)
    for network in (state.generator, state.average):
        own = network.state_dict()
        assert all(torch.equal(own[name], value) for name, value in start.generator.items())


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


def test_a_training_starts_from_one_of_other_classes(tmp_path: Path, squeezenet_file: Path) -> None:
    options: list[Any] = ["--recipe", "projected", "--preset", "small-data", "--set", f"gan.features={squeezenet_file}"]
    options += words("--conditioning projection --image-size 32 --set gan.batch=4 --steps 2 --set gan.width=4")
    options += [
        "--set",
        f"gan.latent_size={CLASS_LATENT}",
        "--set",
        "gan.metrics=none",
        "--device",
        "cpu",
        "--out",
        tmp_path / "runs",
    ]
    (tmp_path / "pictures").mkdir()
    pictures = write_pictures(tmp_path / "pictures", 12)
    first = succeed("gan", "train", "--data", pictures, *options).json["run"]
    (pictures / "benign").rename(pictures / "cyst")
    said = succeed("gan", "train", "--data", pictures, *options, "--set", f"gan.start_from={first}").err
    assert "classes that go on with their weights: malignant; that start with the mean of all: cyst" in said
    assert said.count("parameters taken from") == 2 and said.count(", 0 new") == 2
