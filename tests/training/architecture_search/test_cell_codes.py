"""Random codes, their mutations and neighbours: always valid, and every code can be reached from every other."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from sonoforge.models.ga_gan import NODES, OPERATIONS, Cells, Code, Discriminator, Generator, attention_cells, parse
from sonoforge.models.layers import draw_weights as initialise
from sonoforge.training.architecture_search.cells import Space, mutate, random_code, space_of

SPACES = [space_of(network, side) for network in ("generator", "discriminator") for side in (32, 64)]
MANY = 10_000


def size(space: Space) -> int:
    """Number of different codes, counted by their elements."""
    edges = [nodes * (nodes - 1) // 2 for nodes in range(NODES[0], NODES[1] + 1)]
    return int(sum(len(space.operations) ** count for count in edges) * 2 ** len(space.attention))


def neighbours(code: Code, space: Space) -> Iterator[Code]:
    """All codes in which one element is another; where a node is new, with each choice of its edges."""
    if code.nodes > NODES[0]:
        yield Code(code.nodes - 1, tuple(group[:-1] for group in code.edges[:-1]), code.attention)
    if code.nodes < NODES[1]:
        for new in itertools.product(space.operations, repeat=code.nodes):
            edges = tuple((*group, digit) for group, digit in zip((*code.edges, ()), new, strict=True))
            yield Code(code.nodes + 1, edges, code.attention)
    for node, group in enumerate(code.edges):
        for place, other in itertools.product(range(len(group)), space.operations):
            if other != group[place]:
                changed = (*group[:place], other, *group[place + 1 :])
                yield Code(code.nodes, (*code.edges[:node], changed, *code.edges[node + 1 :]), code.attention)
    for cell in space.attention:
        yield Code(code.nodes, code.edges, tuple(sorted({cell} ^ set(code.attention))))


def assert_valid(code: Code, space: Space) -> None:
    assert NODES[0] <= code.nodes <= NODES[1]
    assert [len(group) for group in code.edges] == list(range(code.nodes - 1, 0, -1))
    assert {digit for group in code.edges for digit in group} <= set(OPERATIONS[space.network])
    assert set(code.attention) <= set(space.attention) and list(code.attention) == sorted(set(code.attention))


def test_ten_thousand_codes_survive_printing_and_mutation() -> None:
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
    drawn = {code for code in (random_code(space, rng) for _ in range(30_000)) if code.nodes == 3}
    assert len(drawn) == 6**3 * 2
    assert size(space) == (6**3 + 6**6 + 6**10) * 2
    assert size(space_of("discriminator", 64)) == (8**3 + 8**6 + 8**10) * 2**4


def test_each_element_changes_at_its_rate() -> None:
    space, rate = space_of("discriminator", 64), 0.05
    code, rng = parse("{4, 235-66-7, [4]}", "discriminator"), np.random.default_rng(0)
    mutants = [mutate(code, space, rate, rng) for _ in range(MANY)]
    nodes = [mutant.nodes for mutant in mutants]
    assert np.mean([count != 4 for count in nodes]) == pytest.approx(rate, abs=0.01)
    assert np.mean([count == 3 for count in nodes]) == pytest.approx(rate / 2, abs=0.01)
    same = [mutant for mutant in mutants if mutant.nodes == 4]
    for node, group in enumerate(code.edges):
        for place, digit in enumerate(group):
            changed = [mutant.edges[node][place] for mutant in same if mutant.edges[node][place] != digit]
            assert len(changed) / len(same) == pytest.approx(rate, abs=0.01)
            assert set(changed) == set(OPERATIONS["discriminator"]) - {digit}
    for cell in space.attention:
        flipped = np.mean([(cell in mutant.attention) != (cell in code.attention) for mutant in mutants])
        assert flipped == pytest.approx(rate, abs=0.01)
    assert mutate(code, space, 0.0, rng) == code


def test_a_new_node_is_the_last_and_a_lost_one_was() -> None:
    space, rng = space_of("generator", 32), np.random.default_rng(1)
    code = parse("{4, 123-45-6, [2]}", "generator")
    for mutant in (mutate(code, space, 0.1, rng) for _ in range(2000)):
        if mutant.nodes == code.nodes or mutant.attention != code.attention:
            continue
        shared = min(mutant.nodes, code.nodes) - 1
        pairs = [
            (new, old) for node in range(shared) for new, old in zip(mutant.edges[node], code.edges[node], strict=False)
        ]
        assert sum(new != old for new, old in pairs) <= 4, "but for mutations of the edges themselves"
    shrunk = [own for own in neighbours(code, space) if own.nodes == 3]
    assert shrunk == [parse("{3, 12-4, [2]}", "generator")]
    grown = {own for own in neighbours(code, space) if own.nodes == 5}
    assert len(grown) == 6**4
    assert parse("{5, 1231-452-63-4, [2]}", "generator") in grown


def steps(code: Code, goal: Code) -> list[Code]:
    """The codes from one to another, one element at a time: nodes go or come, then edges, then attention."""
    path = [code]
    while path[-1].nodes > goal.nodes:
        last = path[-1]
        path.append(Code(last.nodes - 1, tuple(group[:-1] for group in last.edges[:-1]), last.attention))
    while path[-1].nodes < goal.nodes:
        last = path[-1]
        edges = [(*group, 1) for group in (*last.edges, ())]
        path.append(Code(last.nodes + 1, tuple(edges), last.attention))
    for node, place in ((node, place) for node, group in enumerate(goal.edges) for place in range(len(group))):
        changed = [list(group) for group in path[-1].edges]
        changed[node][place] = goal.edges[node][place]
        path.append(Code(goal.nodes, tuple(map(tuple, changed)), path[-1].attention))
    for cell in set(path[-1].attention) ^ set(goal.attention):
        path.append(Code(goal.nodes, goal.edges, tuple(sorted(set(path[-1].attention) ^ {cell}))))
    return [path[0], *(new for old, new in itertools.pairwise(path) if new != old)]


@pytest.mark.parametrize("space", SPACES[::3], ids=lambda space: space.network)
def test_every_code_is_reached_from_every_other(space: Space) -> None:
    """Of any two codes there is a path of neighbours: of whatever nodes, edges and attention they are."""
    rng = np.random.default_rng(2)
    lengths = set()
    for _ in range(60):
        start, goal = random_code(space, rng), random_code(space, rng)
        path = steps(start, goal)
        assert path[-1] == goal
        for old, new in itertools.pairwise(path):
            assert new in neighbours(old, space)  # which is asked no longer than until it is found
            assert_valid(new, space)
        lengths.add(len(path) - 1)
    # The most elements of a path: two nodes, ten edges, and each self-attention.
    assert max(lengths) <= 2 + 10 + len(space.attention)


def test_all_codes_of_a_small_space_are_found_from_any_of_them_and_neighbours_are_mutual() -> None:
    """All 3-node codes, counted; of each neighbour the code is a neighbour too, with as many nodes and with more."""
    space = Space("generator", (1,))
    start = parse("{3, 55-5, [1]}", "generator")
    found, front = {start}, [start]
    while front:
        around = {own for code in front for own in neighbours(code, space) if own.nodes == 3}
        front = list(around - found)
        found |= around
    assert len(found) == 6**3 * 2
    for other in neighbours(start, space):
        assert_valid(other, space)
        assert other != start and start in neighbours(other, space)


@pytest.mark.parametrize("space", SPACES[::3], ids=lambda space: space.network)
def test_what_is_a_neighbour_a_mutation_may_be(space: Space) -> None:
    rng = np.random.default_rng(2)
    code = Code(3, ((1, 2), (3,)))
    changed = {own for own in neighbours(code, space) if own.nodes == 3}
    assert changed <= {mutate(code, space, 0.2, rng) for _ in range(6000)}


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
