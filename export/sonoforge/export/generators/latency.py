"""How long a generator takes on the device that it is meant for: measured through its exported file."""

from __future__ import annotations

import time
from pathlib import Path

from sonoforge.export.generators.graph import generator_inputs, generator_onnx, load_contiguous
from sonoforge.runtime.inference.onnx_session import load_session
from sonoforge.training.gan.checkpoint import describe

RUNS = 20


def generator_latency(checkpoint: Path) -> float:
    """Return the milliseconds that ONNX Runtime takes to draw one image on one thread of this machine.

    The least of `RUNS` runs, which what else the machine is doing changes least.

    Args:
        checkpoint: Its folder.

    Raises:
        SonoforgeError: It cannot be read.
        GateError: It cannot be exported.
    """
    generator = load_contiguous(checkpoint)
    content = generator_onnx(generator, describe(checkpoint))
    session = load_session(content, str(checkpoint))
    inputs = {name: value.numpy() for name, value in generator_inputs(generator, 1, 1.0, seed=0).items()}
    session.run(None, inputs)  # warms up
    seconds = []
    for _ in range(RUNS):
        started = time.perf_counter()
        session.run(None, inputs)
        seconds.append(time.perf_counter() - started)
    return 1000 * min(seconds)
