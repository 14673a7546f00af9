"""GA-GAN as Berezsky and Liashchynskyi 2024 print it: tables 1 to 4, row by row, against the networks themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_pairs import count_weights, on_meta
from golden import printed
from sonoforge.models.ga_gan import PUBLISHED, Discriminator, Generator
from sonoforge.models.layers import SelfAttention

TABLES = printed("ga-gan")
STRUCTURE = {"generator": "1", "discriminator": "3"}
CELL = {"generator": "2, cell", "discriminator": "4, cell"}
LATENT, CLASSES = 128, 4
SKIP, ZERO, SEPARABLE, AVERAGE, CONVOLUTIONS = 6, 5, 4, 8, {1: 1, 3: 2, 5: 3}  # digits; of convolutions by kernel


class Row(NamedTuple):
    label: str  # such as L11, which table 1 has twice
    what: str
    kernels: list[int]
    channels: int  # of the input, where they are printed
    shape: tuple[int, ...]  # height, width, channels


def rows(table: str) -> Iterator[Row]:
    for name, columns in TABLES[table].items():
        label, what = name.split(": ", 1)
        params = columns.get("params", "")
        channels = re.search(r"Input channels = (\d+)", params)
        shape = tuple(int(side) for side in re.findall(r"\d+", columns.get("output shape", "")))
        kernels = [int(kernel) for kernel in re.findall(r"Kernel = (\d)", params)]
        yield Row(label, what, kernels, int(channels[1]) if channels else 0, shape)


def edges(network: str) -> dict[tuple[int, int], int]:
    """The digit of each edge that the table of the cell prints; L0 is the first node."""
    found: dict[tuple[int, int], int] = {}
    for row in list(rows(CELL[network]))[1:]:
        node, given = int(row.label[1]), []
        for summand in row.what.split(" + "):
            source = re.search(r"L(\d)", summand)
            if re.fullmatch(r"L\d", summand):
                digit = SKIP
            elif "AvgPool" in summand:
                digit = AVERAGE
            else:
                digit = SEPARABLE if len(row.kernels) == 2 else CONVOLUTIONS[row.kernels[0]]
            given.append((int(source[1]) if source else None, digit))
        for source_node, digit in given:
            taken = {other for other, _ in given}
            # An input that is not printed: the first node whose edge to this one has no other operation.
            own = min(set(range(node)) - taken) if source_node is None else source_node
            assert (own, node) not in found
            found[own, node] = digit
    return found


def cell_weights(network: str, width: int) -> int:
    """Weights and biases of the printed layers, and scale and shift of each batch normalisation."""
    convolutions = {digit: kernel**2 * width**2 + width for kernel, digit in CONVOLUTIONS.items()}
    weights = {**convolutions, SEPARABLE: 9 * width + width + width**2 + width}
    return sum(weights[digit] + 2 * width for digit in edges(network).values() if digit in weights)


def expected_weights(network: str, row: Row, before: tuple[int, ...]) -> int:
    """Of a row's layer, whose input has the shape of the row before."""
    inputs, outputs = before[-1], row.shape[-1]
    if "CELL" in row.what:
        return cell_weights(network, outputs)
    if row.what == "Self Attention":  # not printed: Zhang et al. 2019, queries and keys of an eighth, values of a half
        return 2 * (outputs * outputs // 8) + 2 * (outputs * outputs // 2) + 1
    if row.what == "Upsample":  # table 2: what the gate halves has twice as many channels; scale and shift of a class
        return 9 * inputs * 2 * outputs + 2 * outputs + 2 * CLASSES * 2 * outputs
    if row.what == "Downsample":  # table 4: C x 2 after the first convolution, of four pixels each before the second
        assert TABLES["4, downsample"]["L2: Convolution"]["output shape"].endswith("(Cx2)")
        assert outputs == 2 * inputs
        return 9 * inputs * outputs + outputs + 4 * outputs * outputs + outputs
    if row.what.startswith("Linear"):
        return inputs + 1
    if row.what.startswith("Sum(Multiply"):
        return CLASSES * 1024
    return row.kernels[0] ** 2 * inputs * outputs + outputs


def layers(network: str, own: nn.Module) -> Iterator[tuple[Row, nn.Module]]:
    """Each row that is a layer or a sum, with the module that is, or ends with, it."""
    parts: dict[str, Iterator[nn.Module]] = {"CELL": iter(own.cells)}
    if network == "generator":
        parts |= {"Transposed Conv": iter([own.first]), "Upsample": iter(own.ups), "Convolution": iter(own.last)}
    else:
        parts |= {"Conv +": iter([own.first]), "Downsample": iter(own.downs)}
        parts |= {"Linear": iter([own.head.score]), "Sum(Multiply": iter([own.head.class_rows])}
    cell = own
    for row in rows(STRUCTURE[network]):
        kind = next((name for name in parts if row.what.startswith(name)), None)
        if kind == "CELL":
            cell = next(parts[kind])
            assert cell.nodes == int(TABLES[STRUCTURE[network]][f"{row.label}: {row.what}"]["params"][-1])
            yield row, cell.edges
        elif row.what == "Self Attention":
            yield row, cell.attention
        elif kind:
            yield row, next(parts[kind])
        elif re.fullmatch(r"L\d+( \+ L\d+)+", row.what) and len(row.shape) == 3:
            yield row, cell
    assert all(next(part, None) is None for part in parts.values()), "the network has no layer that is not printed"


def build(network: str, width: int) -> nn.Module:
    if network == "generator":
        return Generator(64, 3, LATENT, CLASSES, width)
    return Discriminator(64, 3, CLASSES, "projection", width)


def run(network: str, own: nn.Module, device: str) -> None:
    """One pass of two samples with their classes."""
    labels = torch.zeros(2, dtype=torch.int64, device=device)
    shape = (2, LATENT) if network == "generator" else (2, 3, 64, 64)
    with torch.no_grad():
        own(torch.randn(shape, device=device), labels)


@pytest.mark.parametrize("network", STRUCTURE)
def test_the_found_code_is_the_cell_of_its_table(network: str) -> None:
    found = edges(network)
    nodes = 1 + max(node for _, node in found)
    groups = ["".join(str(found.get((node, later), ZERO)) for later in range(node + 1, nodes)) for node in range(nodes)]
    code = PUBLISHED[network]["found"]
    assert (code.nodes, code.edges) == (nodes, tuple(tuple(map(int, group)) for group in groups[:-1]))
    attended = [row.what for row in rows(STRUCTURE[network]) if "CELL" in row.what or row.what == "Self Attention"]
    cells = [
        sum("CELL" in other for other in attended[:place]) for place, what in enumerate(attended) if "CELL" not in what
    ]
    assert code.attention == tuple(cells)


@pytest.mark.parametrize(("network", "millions"), [("generator", 102), ("discriminator", 15)])
def test_layers_have_the_printed_shapes_and_channels_and_the_weights_that_follow(network: str, millions: int) -> None:
    own = on_meta(lambda: build(network, 64))
    shapes: dict[nn.Module, tuple[int, ...]] = {}

    def note(module: nn.Module, inputs: object, output: Tensor) -> None:
        if isinstance(output, Tensor):
            shapes[module] = (*output.shape[2:], output.shape[1])

    for module in own.modules():
        module.register_forward_hook(note)
    run(network, own, "meta")
    first = next(rows(STRUCTURE[network])).shape
    before, total = first, 0
    for row, layer in layers(network, own):
        if row.shape != (1, 1) and layer in shapes:
            assert shapes[layer] == row.shape, row
        if row.what == "Self Attention":
            assert isinstance(layer, SelfAttention)
            # Table 3 prints 64 for L8, whose map it prints with 128.
            assert row.channels == (64 if (network, row.label) == ("discriminator", "L8") else row.shape[-1])
        if " + L" not in row.what:
            expected = expected_weights(network, row, before)
            assert count_weights(layer) == expected, row
            total += expected
        before = row.shape if row.shape != (1, 1) else before
    assert count_weights(own) == total and round(total / 1e6) == millions


def test_up_and_down_sampling_are_those_of_tables_2_and_4() -> None:
    """Layer by layer as printed: kernels, paddings, classes, the mode, and the dimension that the gate halves."""
    torch.manual_seed(0)
    up, down = build("generator", 2).ups[1].eval(), build("discriminator", 2).downs[0].eval()
    printed_layers = {table: {row.what: row for row in rows(table)} for table in ("2, upsample", "4, downsample")}
    assert list(printed_layers["2, upsample"]) == [
        *("Input", "Upsample", "Convolution", "Conditional Batch Norm", "Gated Linear Unit (GLU)")
    ]
    params = {name.split(": ")[1]: columns.get("params", "") for name, columns in TABLES["2, upsample"].items()}
    (scale, mode), (kernel, stride, padding) = (
        re.findall(r"= (\w+)", params[name]) for name in ("Upsample", "Convolution")
    )
    maps = torch.randn(2, up.convolution.in_channels, 3, 3)
    condition = torch.eye(CLASSES)[[1, 3]]
    with torch.no_grad():
        larger = F.interpolate(maps, scale_factor=float(scale), mode=mode)
        weight = up.convolution.weight
        assert weight.shape[2:] == (int(kernel),) * 2
        wide = F.conv2d(larger, weight, up.convolution.bias, int(stride), int(padding))
        norm, gain, shift = up.norm.norm, up.norm.scale(condition), up.norm.shift(condition)
        assert (up.norm.scale.in_features, int(params["Conditional Batch Norm"][-1])) == (CLASSES, CLASSES)
        plain = F.batch_norm(wide, norm.running_mean, norm.running_var, eps=norm.eps)
        told = plain * (1 + gain[:, :, None, None]) + shift[:, :, None, None]
        gated = F.glu(told, int(params["Gated Linear Unit (GLU)"].split(" = ")[1]))
        torch.testing.assert_close(up(maps, condition), gated)

    names = ["Input", "Convolution", "Pixel Rearrange -> Convolution", "Exponential Linear Unit (ELU)"]
    assert list(printed_layers["4, downsample"]) == names
    first, second = down.convolutions
    maps = torch.randn(2, first.in_channels, 4, 4)
    with torch.no_grad():
        found = maps
        for own, name in ((first, names[1]), (second, names[2])):
            label = printed_layers["4, downsample"][name].label
            text = TABLES["4, downsample"][f"{label}: {name}"]["params"]
            kernel, stride, padding = re.findall(r"= (\w+)", text)
            assert own.weight.shape[2:] == (int(kernel),) * 2
            found = F.pixel_unshuffle(found, 2) if "Rearrange" in name else found
            found = F.conv2d(found, own.weight, own.bias, int(stride), int(padding))
        torch.testing.assert_close(down(maps), F.elu(found))
