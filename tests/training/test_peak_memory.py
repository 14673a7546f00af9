"""The peak of memory: what is allocated and freed inside counts, what was there before does not."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from sonoforge.training.devices import measured_memory

CPU = torch.device("cpu")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the pages of a process are counted so under Linux alone")
def test_a_freed_array_is_in_the_peak_and_an_older_one_is_not() -> None:
    before = np.ones(50_000_000)
    with measured_memory(CPU) as first:
        del before
        np.ones(25_000_000).sum()
    with measured_memory(CPU) as nothing:
        pass
    if first.gib is None:
        pytest.skip("this system does not let a process reset its peak")
    assert nothing.gib is not None
    assert first.gib < 0.1, "200 MB were freed in place of 400 MB that were there"
    with measured_memory(CPU) as second:
        np.ones(25_000_000).sum()
    assert second.gib == pytest.approx(0.2e9 / 2**30, rel=0.1)
    assert nothing.gib < 0.02
