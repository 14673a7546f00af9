"""Devices, threads and memory of a training."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from sonoforge.training.devices import measured_memory
from sonoforge.training.progress import in_threads

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
    if first["gib"] is None:
        pytest.skip("this system does not let a process reset its peak")
    assert nothing["gib"] is not None
    assert first["gib"] < 0.1, "200 MB were freed in place of 400 MB that were there"
    with measured_memory(CPU) as second:
        np.ones(25_000_000).sum()
    assert second["gib"] == pytest.approx(0.2e9 / 2**30, rel=0.1)
    assert nothing["gib"] < 0.02


FREED = """
import torch
from sonoforge.training import devices

def resident():
    return devices.memory("RssAnon") / 1e6

devices.keep_freed_memory()
devices.SPARE = 350_000_000
for count in (10, 40):
    parts = [torch.ones(2_500_000) for _ in range(count)]
    del parts[:-1]  # the last one keeps the heap from shrinking
    before = resident()
    devices.return_spare_memory()
    print(before - resident())
    del parts
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone says what its heap holds")
def test_much_freed_memory_is_returned_and_little_is_kept() -> None:
    # A process of its own, as how memory is freed is a matter of the whole process.
    done = subprocess.run([sys.executable, "-c", FREED], capture_output=True, text=True, check=True)
    kept, returned = map(float, done.stdout.split())
    assert kept == pytest.approx(0, abs=5)
    assert returned > 380


def test_answers_come_in_the_order_of_the_items_whoever_ends_first() -> None:
    last = threading.Event()

    def square(number: int) -> int:
        if number == 0:
            assert last.wait(60)  # the first item ends after the last one has begun
        if number == 3:
            last.set()
        return number**2

    assert in_threads(square, range(4), workers=2) == [0, 1, 4, 9]
    assert in_threads(square, []) == []


def test_an_error_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda number: 1 // number, [1, 0, 2])
