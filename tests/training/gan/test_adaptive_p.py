"""The adaptive probability of ADA, by hand-computed steps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sonoforge.training.gan.augmentations import ada


def _state(**values: float) -> dict[str, Tensor]:
    return {name: torch.tensor(values.get(name, start)) for name, start in ada.START.items()}


def test_p_moves_towards_the_target_by_hand_computed_steps() -> None:
    state = _state()
    strengths = []
    # r_t: 1, 0.75, 0.5, 1, 0, 0: up, up, down, up, down, down (and no lower than 0).
    for scores in (
        [2.0, 0.1, 3.0, 1.0],
        [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, -9.0],
        [0.5, 0.5, 0.5, -0.5],
        [1.0],
        [1.0, -1.0],
        [5.0, -0.1],
    ):
        state = ada.observe(state, torch.tensor(scores))
        state = ada.adapt(state, 50_000)
        strengths.append(float(state["strength"]))
    assert strengths == pytest.approx([0.1, 0.2, 0.1, 0.2, 0.1, 0.0], abs=1e-6)
    state = ada.adapt(ada.observe(state, torch.tensor([-1.0])), 50_000)
    assert float(state["strength"]) == 0.0


def test_several_batches_count_together() -> None:
    state = _state(strength=0.5)
    # One batch alone would lower p (r_t 0), the four together raise it (r_t 0.75).
    for scores in ([1.0, -1.0], [1.0, 1.0], [1.0, 1.0], [1.0, 1.0]):
        state = ada.observe(state, torch.tensor(scores))
        assert float(state["strength"]) == 0.5
    state = ada.adapt(state, 4 * 2)
    assert float(state["strength"]) == pytest.approx(0.5 + 8 / 500_000, abs=1e-7)
    assert (float(state["signs"]), float(state["scores"])) == (0.0, 0.0)


def test_p_stays_where_there_is_no_signal() -> None:
    for strength in (0.0, 0.3, 1.0):
        state = _state(strength=strength)
        assert float(ada.adapt(state, 50_000)["strength"]) == float(state["strength"])
    # Seen once, then silent: it moves once.
    state = ada.adapt(ada.observe(_state(), torch.ones(4)), 50_000)
    for _ in range(3):
        state = ada.adapt(state, 50_000)
    assert float(state["strength"]) == pytest.approx(0.1)


def test_p_rises_from_zero_to_one_in_500_000_images_and_no_further() -> None:
    state, batch = _state(), 2500
    moves = 500_000 // (batch * ada.INTERVAL)
    for _ in range(moves - 1):
        state = ada.adapt(ada.observe(state, torch.ones(2)), batch * ada.INTERVAL)
    assert float(state["strength"]) == pytest.approx(1 - 1 / moves, abs=1e-5)
    for _ in range(3):
        state = ada.adapt(ada.observe(state, torch.ones(2)), batch * ada.INTERVAL)
    assert float(state["strength"]) == 1.0


def test_the_adaptive_state_is_scalar_floats_without_a_graph() -> None:
    scores = torch.ones(3, requires_grad=True)
    state = ada.adapt(ada.observe(_state(), scores * 2), 4)
    assert state.keys() == ada.START.keys()
    assert all(value.shape == () and value.dtype == torch.float32 for value in state.values())
    assert not any(value.requires_grad for value in state.values())
