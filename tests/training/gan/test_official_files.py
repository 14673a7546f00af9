"""Files in the structure of the official StyleGAN networks, of other sizes than the published ones.

The files are written here, by the official names; the mapping is computed again from the authors' formula.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sonoforge.models.stylegan import official, stylegan2, stylegan3
from sonoforge.models.stylegan.generator import StyledSettings
from sonoforge.models.stylegan.layers import initialise
from sonoforge.models.stylegan.stylegan2 import Discriminator, ResidualSettings
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.gan.start_from import read_starting_weights

LATENT, STYLE = 24, 20


@pytest.fixture(autouse=True)
def _visible_logs() -> None:
    logging.getLogger("sonoforge").propagate = True


def _drawn(network: nn.Module) -> Any:
    """Weights away from the initial values, and the mapping's as the published multiplier has them."""
    chance = torch.Generator().manual_seed(3)
    initialise(network, chance)
    for name, values in network.named_parameters():
        if name.endswith(("bias", "noise_strength")):
            values.data += 0.2 * torch.randn(values.shape, generator=chance) * (100 if "mapping.layers" in name else 1)
    return network.eval()


def _named(network: nn.Module, names: list[tuple[str, str]]) -> dict[str, Tensor]:
    """Give a network's tensors their official names, by patterns of ours; each must have one."""
    named = {}
    for name, value in network.state_dict().items():
        found = [re.sub(ours, theirs, name) for ours, theirs in names if re.fullmatch(ours + ".*", name)]
        assert len(found) == 1, (name, found)
        named[found[0]] = value.clone()
    return named


MAPPING = [
    (r"mapping\.layers\.", "mapping.fc"),
    (r"mapping\.embedding\.", "mapping.embed."),
    (r"mapping\.average", "mapping.w_avg"),
]


def _stylegan2(base: int, most: int, classes: int = 0) -> tuple[nn.Module, dict[str, Tensor]]:
    settings = StyledSettings(32, 1, LATENT, classes, STYLE, mapping_layers=3, channel_base=base, channel_max=most)
    generator = _drawn(stylegan2.Generator(settings))
    places = [
        (f"layers.{2 * level - (part == 0)}", f"b{4 << level}.conv{part}") for level in range(4) for part in (0, 1)
    ]
    places += [(f"to_image.{level}", f"b{4 << level}.torgb") for level in range(4)]
    names = [
        *MAPPING,
        (r"synthesis\.constant", "synthesis.b4.const"),
        *((rf"synthesis\.{re.escape(ours)}\.", f"synthesis.{theirs}.") for ours, theirs in places if "-1" not in ours),
    ]
    named = _named(generator, names)
    return generator, {re.sub(r"\.noise$", ".noise_const", name): value for name, value in named.items()}


def _discriminator(base: int, most: int, classes: int = 0) -> tuple[nn.Module, dict[str, Tensor]]:
    conditioning = "projection" if classes else "none"
    network = _drawn(
        Discriminator(
            ResidualSettings(32, 1, classes, conditioning, channel_base=base, channel_max=most, mapping_layers=2)
        )
    )
    names = [
        *MAPPING,
        (r"from_image\.", "b32.fromrgb."),
        (r"last_conv\.", "b4.conv."),
        (r"last_linear\.", "b4.fc."),
        (r"score\.", "b4.out."),
    ]
    for block in range(3):
        for ours, theirs in (("first", "conv0"), ("second", "conv1"), ("skip", "skip")):
            names.append((rf"blocks\.{block}\.{ours}\.", f"b{32 >> block}.{theirs}."))
    return network, _named(network, names)


def _stylegan3(
    config: str = "t", base: int = 700, most: int = 25, margin: int = stylegan3.MARGIN
) -> tuple[Any, dict[str, Tensor]]:
    settings = stylegan3.GeneratorSettings(32, 1, LATENT, style_size=STYLE, config=config, layers=5)
    grids = stylegan3.plan_grids(32, 1, 5, base, most, margin)
    generator = _drawn(stylegan3.Generator(settings, grids))
    names = [
        *MAPPING,
        (r"synthesis\.input\.frequencies", "synthesis.input.freqs"),
        (r"synthesis\.input\.placement\.", "synthesis.input.affine."),
        (r"synthesis\.input\.(?=weight|transform|phases)", "synthesis.input."),
    ]
    for index, grid in enumerate(grids[1:]):
        names.append((rf"synthesis\.layers\.{index}\.", f"synthesis.L{index}_{grid.side}_{grid.channels}."))
    state = {re.sub(r"\.magnitude$", ".magnitude_ema", name): value for name, value in _named(generator, names).items()}
    for index, layer in enumerate(generator.synthesis.layers):
        if not layer.to_image:
            place = f"synthesis.L{index}_{grids[index + 1].side}_{grids[index + 1].channels}."
            state |= {place + "up_filter": layer.up_taps, place + "down_filter": layer.down_taps}
    return generator, state


def _file(folder: Path, **states: dict[str, Tensor]) -> Path:
    path = folder / "official.npz"
    np.savez(path, **{f"{key}/{name}": value.numpy() for key, state in states.items() for name, value in state.items()})
    return path


def _images(generator: nn.Module, labels: Tensor | None = None) -> Tensor:
    with torch.no_grad():
        images: Tensor = generator(torch.randn(3, LATENT, generator=torch.Generator().manual_seed(1)), labels)
    return images


def _same(found: dict[str, Tensor] | Any, network: nn.Module) -> bool:
    own = network.state_dict()
    return found.keys() == own.keys() and all(torch.equal(value, own[name]) for name, value in found.items())


@pytest.mark.parametrize(
    ("base", "most"),
    [(512, 32), (500, 64), (333, 21), (600, 600), (130, 7), (64 * 32, 3)],
)
def test_any_base_and_any_largest_width_are_read(base: int, most: int, tmp_path: Path) -> None:
    generator, made = _stylegan2(base, most)
    discriminator, judged = _discriminator(base, most, classes=2)
    widths = [made[f"synthesis.b{side}.conv1.weight"].shape[0] for side in (4, 8, 16, 32)]
    assert widths == [min(base // side, most) for side in (4, 8, 16, 32)]  # the authors' rule
    start = read_starting_weights(_file(tmp_path, G=made, D=judged))
    assert _same(start.generator, generator)
    assert _same(start.discriminator, discriminator)
    torch.testing.assert_close(_images(official.generator_from_official(made)), _images(generator), atol=0, rtol=0)


@pytest.mark.parametrize("config", ["t", "r"])
@pytest.mark.parametrize(("base", "most", "margin"), [(700, 25, 10), (1000, 33, 10), (512, 16, 6), (999, 999, 12)])
def test_any_stylegan3_of_other_widths_and_margins_is_read(
    config: str, base: int, most: int, margin: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    generator, made = _stylegan3(config, base, most, margin)
    with caplog.at_level(logging.INFO):
        start = read_starting_weights(_file(tmp_path, G=made))
    assert _same(start.generator, generator)
    assert (f"its margin_size is {margin}, not 10" in caplog.text) == (margin != 10)
    torch.testing.assert_close(_images(official.generator_from_official(made)), _images(generator), atol=0, rtol=0)


@pytest.mark.parametrize("rate", [0.02, 0.1, 1.0, 0.003])
def test_another_learning_rate_multiplier_is_refused(rate: float, tmp_path: Path) -> None:
    made = {"G": _stylegan2(512, 32)[1], "D": _discriminator(512, 32, classes=2)[1]}
    for part, state in made.items():
        theirs = {key: own * (0.01 / rate) if key.startswith("mapping.fc") else own for key, own in state.items()}
        with pytest.raises(SonoforgeError, match=r"published lr_multiplier of 0.01; multiply these weights"):
            read_starting_weights(_file(tmp_path, **{part: theirs}))


def _without(state: dict[str, Tensor], pattern: str) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if not re.search(pattern, name)}


def _sides(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {re.sub(r"\.L2_\d+_", ".L2_53_", name): value for name, value in state.items()}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (
            _stylegan2(512, 32)[1] | {"synthesis.b8.conv1.weight": torch.zeros(32, 32, 5, 5)},
            "size mismatch for synthesis.layers.2.weight",
        ),
        (
            _stylegan2(512, 32)[1] | {"synthesis.b8.skip.weight": torch.zeros(32, 32, 1, 1)},
            "Unexpected.*b8.skip",
        ),
        (_without(_stylegan2(512, 32)[1], "noise_const"), "Missing.*synthesis.layers.0.noise"),
        (
            _stylegan2(512, 32)[1] | {"synthesis.b16.conv1.weight": torch.zeros(9, 9, 3, 3)},
            "size mismatch for synthesis.layers.4",
        ),
        (
            _stylegan2(512, 32)[1] | {"mapping.fc1.weight": 100 * torch.randn(30, STYLE)},
            "size mismatch for mapping.layers.1.weight",
        ),
        (_sides(_stylegan3()[1]), "layer L2 has a side of 53"),
    ],
)
def test_what_is_of_another_structure_is_refused_plainly(
    state: dict[str, Tensor], message: str, tmp_path: Path
) -> None:
    with pytest.raises(SonoforgeError, match=message) as error:
        read_starting_weights(_file(tmp_path, G=state))
    assert "\n" not in str(error.value)


def test_a_discriminator_with_more_deviation_maps_is_refused_plainly() -> None:
    _, judged = _discriminator(512, 32)
    with pytest.raises(ValueError, match=r"size mismatch for last_conv\.weight.*32, 36, 3, 3"):
        official.discriminator_from_official(judged | {"b4.conv.weight": torch.zeros(32, 36, 3, 3)})


def test_grids_of_another_margin_keep_the_image_s_side() -> None:
    generator, _ = _stylegan3(margin=6)
    assert _images(generator).shape == (3, 1, 32, 32)
    wide = dataclasses.replace(stylegan3.plan_grids(32, 1, 5, 700, 25)[0])
    assert wide.side - stylegan3.plan_grids(32, 1, 5, 700, 25, 6)[0].side == 8
