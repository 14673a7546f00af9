"""GA-GAN's codes and networks against what the paper says of them, and against sums written out by hand."""

from __future__ import annotations

import contextlib
import re

import pytest
import torch
from torch import nn
from torch.nn.functional import avg_pool2d, max_pool2d

from gan_pairs import count_weights
from sonoforge.models.ga_gan import PUBLISHED, Cell, Cells, Code, Discriminator, Generator, parse, resolve
from sonoforge.models.layers import draw_weights as initialise

# Codes.


def test_the_paper_s_fixed_discriminator_is_read_as_the_paper_explains_it() -> None:
    code = parse("{4, 235-66-7, [4]}", "discriminator")
    assert code == Code(4, ((2, 3, 5), (6, 6), (7,)), (4,)) == PUBLISHED["discriminator"]["fixed"]
    assert str(code) == "{4, 235-66-7, [4]}"
    assert parse(" {4,235 - 66-7,[ 4 ]} ", "discriminator") == code
    assert str(parse("{3, 12-6, []}", "generator")) == str(parse("{3, 12-6}", "generator")) == "{3, 12-6}"
    assert parse("{3, 12-6, [3, 1]}", "generator").attention == (1, 3)


@pytest.mark.parametrize(
    ("text", "network", "message"),
    [
        ("4, 235-66-7", "discriminator", "is not a code such as {4, 235-66-7, [4]}"),
        ("{4 235-66-7}", "discriminator", "is not a code"),
        ("{4, 235-66-7", "discriminator", "is not a code"),
        ("{4, 235-66-7, 4}", "discriminator", "is not a code"),
        ("{4, 235-66-7, [4]} {", "discriminator", "is not a code"),
        ("{6, 12-6}", "generator", "has 6 nodes, not 3 to 5"),
        ("{3, 3}", "generator", "needs groups of 2-1 edges"),
        ("{4, 235-66-7}", "generator", "has operation 7; those of a generator are 1 (convolution 1x1)"),
        ("{3, 1x-6}", "generator", "is not a code"),
        ("{3, 1\u0662-6}", "generator", "is not a code"),  # a digit, but not of ASCII
        ("{4, 235-66}", "discriminator", "needs groups of 3-2-1 edges"),
        ("{4, 235-666-7}", "discriminator", "needs groups of 3-2-1 edges"),
        ("{3, 12-6, [2, 0]}", "generator", "is not a code"),
        ("{3, 12-6, [2, ]}", "generator", "is not a code"),
        ("{3, 12-6, [2, 2]}", "generator", "has self-attention twice"),
        ("107590", "generator", "is not a code"),  # the paper's example of a mutated code
        ("", "generator", "is not a code"),
    ],
)
def test_a_bad_code_is_refused_in_one_line(text: str, network: str, message: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(f"{text!r}") + ".*" + re.escape(message)) as error:
        parse(text, network)
    assert "\n" not in str(error.value)


def test_a_code_with_any_one_character_changed_is_another_code_or_refused() -> None:
    text, printable = "{4, 235-66-7, [1, 4]}", "{}[],- 0123456789x\n"
    changed = {text[:place] + new + text[place + 1 :] for place in range(len(text)) for new in ("", *printable)}
    changed |= {text[:place] + new + text[place:] for place in range(len(text) + 1) for new in printable}
    read = []
    for other in changed:
        with contextlib.suppress(ValueError):
            read.append(parse(other, "discriminator"))
    assert all(parse(str(code), "discriminator") == code for code in read)
    assert 40 < len(read) < len(changed) / 2


def test_attention_of_a_named_code_stays_at_maps_of_its_side() -> None:
    sides = {"generator": lambda cell, size: 4 * 2 ** (cell - 1), "discriminator": lambda cell, size: size >> cell - 1}
    for network, side in sides.items():
        for name, named in PUBLISHED[network].items():
            wanted = {side(cell, 64) for cell in named.attention}
            for size, cells in ((32, 3), (64, 4), (128, 5), (256, 6)):
                found = resolve(name, network, size)
                there = {side(cell, size) for cell in range(1, cells + 1)}
                assert {side(cell, size) for cell in found.attention} == wanted & there
                assert found.edges == named.edges


# Cells.


def test_a_cell_sums_its_edges_and_adds_its_input() -> None:
    """L11 = L8 + L10 + L9 of table 1: what came in, what attention adds to the sum of the edges, and that sum."""
    torch.manual_seed(0)
    cell = Cell(parse("{4, 268-57-1}", "discriminator"), "discriminator", 3, attends=True).eval()
    nn.init.constant_(cell.attention.strength, 0.7)
    maps = torch.randn(2, 3, 6, 6)
    edges = dict(cell.edges)
    assert list(edges) == [
        *("1-2-convolution-3x3", "1-3-skip", "1-4-average-pool-3x3"),
        *("2-4-max-pool-3x3", "3-4-convolution-1x1"),
    ]
    second = edges["1-2-convolution-3x3"](maps)
    third = maps  # a skip; nothing comes along the zero edge from the second node
    average = avg_pool2d(maps, 3, 1, 1, count_include_pad=False)
    last = average + max_pool2d(second, 3, 1, 1) + edges["3-4-convolution-1x1"](third)
    attended = cell.attention(last) - last
    assert float(attended.abs().max()) > 1e-3
    torch.testing.assert_close(cell(maps), maps + attended + last)


def test_a_cell_of_zeros_hands_its_input_on() -> None:
    cell = Cell(parse("{3, 55-5}", "generator"), "generator", 3, attends=False)
    maps = torch.randn(2, 3, 4, 4)
    assert torch.equal(cell(maps), maps) and not list(cell.parameters())


@pytest.mark.parametrize(
    ("digit", "weights"), [(1, 16 * 16), (2, 9 * 16 * 16), (3, 25 * 16 * 16), (4, 9 * 16 + 16 + 16 * 16)]
)
def test_convolutions_have_the_weights_of_their_kernel(digit: int, weights: int) -> None:
    """Beside a bias a channel, and scale and shift of the batch normalisation."""
    cell = Cell(parse(f"{{3, {digit}5-5}}", "generator"), "generator", 16, attends=False)
    assert count_weights(cell) == weights + 16 + 2 * 16


# Networks.


def test_spectral_normalisation_is_everywhere() -> None:
    """After some passes no convolution, transposed convolution or linear layer has a singular value above one."""
    networks: list[nn.Module] = [Generator(32, 3, 8, 4, 2), Discriminator(32, 3, 4, "projection", 2, Cells("fixed"))]
    for network in networks:
        initialise(network, torch.Generator().manual_seed(0))
        layers = [
            module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear | nn.ConvTranspose2d)
        ]
        for layer in layers:
            weight = layer.weight.detach().transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else layer.weight
            assert float(torch.linalg.matrix_norm(weight.detach().flatten(1), 2)) == pytest.approx(1, abs=0.02)
    transposed = [module for module in networks[0].modules() if isinstance(module, nn.ConvTranspose2d)]
    assert len(transposed) == 1


def test_attention_after_a_cell_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\{3, 12-6, \[4\]\} has self-attention after cell 4"):
        Generator(32, 1, 8, cells=Cells("{3, 12-6, [4]}"))
    with pytest.raises(ValueError, match=r"^discriminator_cell: 'fixd' .* or the name fixed or found$"):
        Discriminator(32, 1, cells=Cells("fixd"))
