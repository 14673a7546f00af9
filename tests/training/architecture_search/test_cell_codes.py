"""Random codes and their mutations: always valid, and every code can be reached from every other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sonoforge.models.ga_gan import NODES, OPERATIONS, Cells, Code, Discriminator, Generator, attention_cells, parse
from sonoforge.models.layers import draw_weights as initialise
from sonoforge.training.architecture_search.strategies import Space, mutate, random_code, space_of

SPACES = [space_of(network, side) for network in ("generator", "discriminator") for side in (32, 64)]
MANY = 4000


def size(space: Space) -> int:
    """Number of different codes, counted by their elements."""
    edges = [nodes * (nodes - 1) // 2 for nodes in range(NODES[0], NODES[1] + 1)]
    return int(sum(len(space.operations) ** count for count in edges) * 2 ** len(space.attention))


def assert_valid(code: Code, space: Space) -> None:
    assert NODES[0] <= code.nodes <= NODES[1]
    assert [len(group) for group in code.edges] == list(range(code.nodes - 1, 0, -1))
    assert {digit for group in code.edges for digit in group} <= set(OPERATIONS[space.network])
    assert set(code.attention) <= set(space.attention) and list(code.attention) == sorted(set(code.attention))


def test_thousands_of_codes_survive_printing_and_mutation() -> None:
    rng = np.random.default_rng(0)
    seen = set()
    for space in SPACES:
        for rate in np.geomspace(0.01, 1, MANY // len(SPACES)):
            code = random_code(space, rng)
            assert_valid(code, space)
            assert parse(str(code), space.network) == code and hash(parse(str(code), space.network)) == hash(code)
            mutant = mutate(code, space, float(rate), rng)
            assert_valid(mutant, space)
            seen.add(code)
    assert len(seen) > 0.9 * MANY


def test_of_each_kind_of_code_there_are_as_many_as_counted() -> None:
    """Codes of 3 nodes, all of them drawn, against the product of what each element may be."""
    space = Space("generator", (1,))
    rng = np.random.default_rng(0)
    drawn = {code for code in (random_code(space, rng) for _ in range(12_000)) if code.nodes == 3}
    assert len(drawn) == 6**3 * 2
    assert size(space) == (6**3 + 6**6 + 6**10) * 2
    assert size(space_of("discriminator", 64)) == (8**3 + 8**6 + 8**10) * 2**4


def test_each_element_changes_at_its_rate() -> None:
    space, rate = space_of("discriminator", 64), 0.05
    code, rng = parse("{4, 235-66-7, [4]}", "discriminator"), np.random.default_rng(0)
    mutants = [mutate(code, space, rate, rng) for _ in range(MANY)]
    nodes = [mutant.nodes for mutant in mutants]
    assert np.mean([count != 4 for count in nodes]) == pytest.approx(rate, abs=0.015)
    assert np.mean([count == 3 for count in nodes]) == pytest.approx(rate / 2, abs=0.01)
    same = [mutant for mutant in mutants if mutant.nodes == 4]
    for node, group in enumerate(code.edges):
        for place, digit in enumerate(group):
            changed = [mutant.edges[node][place] for mutant in same if mutant.edges[node][place] != digit]
            assert len(changed) / len(same) == pytest.approx(rate, abs=0.015)
            assert set(changed) == set(OPERATIONS["discriminator"]) - {digit}
    for cell in space.attention:
        flipped = np.mean([(cell in mutant.attention) != (cell in code.attention) for mutant in mutants])
        assert flipped == pytest.approx(rate, abs=0.015)
    assert mutate(code, space, 0.0, rng) == code


def test_a_new_node_is_the_last_and_a_lost_one_was() -> None:
    space, rng = space_of("generator", 32), np.random.default_rng(1)
    code = parse("{4, 123-45-6, [2]}", "generator")
    mutants = {mutate(code, space, 0.02, rng) for _ in range(8000)}
    assert {own.nodes for own in mutants} == {3, 4, 5}
    assert parse("{3, 12-4, [2]}", "generator") in mutants
    grown = {own for own in mutants if own.nodes == 5 and own.attention == code.attention}
    kept = [
        own
        for own in grown
        if [group[: len(old)] for group, old in zip(own.edges, code.edges, strict=False)] == list(code.edges)
    ]
    assert len(kept) > 0.6 * len(grown), "but for mutations of the edges themselves"


def test_from_any_code_mutations_reach_all_of_a_small_space() -> None:
    space, rng = Space("generator", (1,)), np.random.default_rng(2)
    code = parse("{3, 55-5, [1]}", "generator")
    found = set()
    for _ in range(12_000):
        code = mutate(code, space, 0.3, rng)
        code = code if code.nodes == 3 else random_code(space, rng)
        found.add(code)
    assert len({own for own in found if own.nodes == 3}) == 6**3 * 2


def assert_finite(network: str, code: Code) -> None:
    torch.manual_seed(0)
    latents = torch.randn(2, 4)
    own: torch.nn.Module
    if network == "generator":
        own = Generator(32, 1, 4, width=1, cells=Cells(str(code)))
        initialise(own, torch.Generator().manual_seed(1))
        value = own(latents)
        assert value.shape == (2, 1, 32, 32)
    else:
        own = Discriminator(32, 1, width=1, cells=Cells(str(code)))
        initialise(own, torch.Generator().manual_seed(1))
        value = own(torch.rand(2, 1, 32, 32))[0]
        assert value.shape == (2,)
    value.square().sum().backward()
    assert bool(value.isfinite().all()), code
    assert all(weight.grad is None or bool(weight.grad.isfinite().all()) for weight in own.parameters()), code


@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_random_codes_are_networks_of_the_right_shapes_at_every_size(network: str) -> None:
    rng = np.random.default_rng(4)
    for side, codes in ((32, 3), (64, 1), (128, 1), (256, 1)):
        for _ in range(codes):
            code = str(random_code(space_of(network, side), rng))
            with torch.device("meta"):
                if network == "generator":
                    own = Generator(side, 3, 4, width=8, cells=Cells(code))
                    assert own(torch.empty(2, 4)).shape == (2, 3, side, side)
                else:
                    judge = Discriminator(side, 3, width=8, cells=Cells(code))
                    assert judge(torch.empty(2, 3, side, side))[0].shape == (2,)


@pytest.mark.parametrize("network", ["generator", "discriminator"])
@pytest.mark.parametrize("count", [8, pytest.param(MANY // 2, marks=pytest.mark.slow)])
def test_random_codes_are_networks_with_finite_values_and_gradients(network: str, count: int) -> None:
    rng, space = np.random.default_rng(3), Space(network, attention_cells(network, 32))
    for _ in range(count):
        assert_finite(network, random_code(space, rng))
