"""LiteRT files (``.tflite``), formerly TensorFlow Lite: float32, for Android and small boards.

A file takes one image at a time, like ExecuTorch's.  Running one needs only ``ai-edge-litert``, not torch.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.errors import GateError, not_installed, refusing

if TYPE_CHECKING:
    from sonoforge.export.formats.source import Source
    from sonoforge.runtime.inference.runners import Answer


def missing() -> str:
    """Return what to install before a file can be run; empty if nothing is missing."""
    return not_installed("", "ai_edge_litert")


def write_litert(source: Source) -> bytes:
    """Write a classifier in float32, from one image (1, 3, S, S) to the four outputs."""
    import litert_torch  # noqa: PLC0415 - optional, and slow

    from sonoforge.export.formats.onnx_graph import quiet  # noqa: PLC0415 - needs torch, which running a file does not

    with quiet(), contextlib.redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory(prefix="sonoforge-") as folder:
        target = Path(folder) / "model.tflite"
        # the compiler's passes raise whatever they meet
        with refusing("litert: cannot convert this network", "use the format onnx", kinds=Exception, kind=GateError):
            litert_torch.convert(source.graph, source.example(1)).export(str(target))
        return target.read_bytes()


def open_file(path: Path, threads: int = 1) -> Answer:
    """Load a file, which takes one row at a time, or raise a `SonoforgeError`."""
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415 - optional

    with refusing(f"{path}: LiteRT cannot load it", "write it again", kinds=(ValueError, RuntimeError)):
        interpreter = Interpreter(str(path), num_threads=threads)
        interpreter.allocate_tensors()
    (place,) = interpreter.get_input_details()
    outputs = interpreter.get_output_details()

    def answer(inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        (images,) = inputs
        answers: list[list[NDArray[Any]]] = []
        for row in range(len(images)):
            interpreter.set_tensor(place["index"], np.ascontiguousarray(images[row : row + 1]))
            interpreter.invoke()
            answers.append([interpreter.get_tensor(output["index"]) for output in outputs])
        return [np.concatenate(values) for values in zip(*answers, strict=True)]

    return answer
