"""The one table of what a classifier and a generator can be exported to.

Each writer is imported when it is first called: the names of the formats need no torch.
"""

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sonoforge.export.gate.tolerance import CLOSE, EXACT, HALF, INT8, RESIZED, Tolerance
from sonoforge.runtime.errors import SonoforgeError, did_you_mean

STEMS = {"classification": "model", "generation": "generator"}
"""How the names of model files begin, by task."""

Writer = Callable[[Any], bytes | dict[str, bytes]]
"""From a `Source`, or a `GeneratorSource`, to a file, or to several by name."""


@dataclass(frozen=True)
class Format:
    """One row."""

    suffix: str  # of its file's name; a writer may add a second file beside it
    precision: str  # of weights and arithmetic: ``fp32``, ``fp16`` or ``int8``
    runs_on: str  # where it runs, and by what
    tolerance: Tolerance  # how far a classifier's answers may be from the network's
    write: Writer
    generators: bool = False  # whether generators can have it, too
    packages: tuple[str, ...] = ()  # what must be installed to write it, by import name
    extra: str = "export"  # the extra that installs them; empty: they are installed by their own names
    batch: int = 8  # images at a time when a classifier's file is checked
    # Whether it takes uint8 images of any size, (1, height, width, channels), not normalised tensors.
    whole_images: bool = False

    @property
    def tasks(self) -> tuple[str, ...]:
        """Of the bundles that can have it."""
        return tuple(STEMS) if self.generators else ("classification",)

    def file(self, task: str) -> str:
        """Return the name of its file in a bundle of this task."""
        return STEMS[task] + self.suffix

    def missing(self) -> str:
        """Return what is not installed that it needs to be written, and how to install it; nothing if all is there."""
        absent = [package for package in self.packages if importlib.util.find_spec(package) is None]
        install = f"'sonoforge[{self.extra}]'" if self.extra else " ".join(absent)
        return f"{', '.join(absent)} is not installed; pip install {install}" if absent else ""


def choose(formats: Sequence[str], task: str, unsuitable: Callable[[str], str] = lambda name: "") -> list[str]:
    """Return rows of the table in its order, ``onnx`` always among them, by their names or ``all``.

    Raises:
        SonoforgeError: An unknown name, or one given by name that cannot be written, such as one for which
            ``unsuitable`` says why the network does not suit it.
    """
    known = [name for name, form in FORMATS.items() if task in form.tasks]
    for name in formats:
        if name not in (*known, "all"):
            hint = did_you_mean(name, known)
            raise SonoforgeError(f"formats: found {name!r}, expected all or any of {', '.join(known)}{hint}")
        if name != "all" and (reason := unsuitable(name) or FORMATS[name].missing()):
            raise SonoforgeError(f"formats: {name}: {reason}")
    return [name for name in known if name in formats or "all" in formats or name == "onnx"]


def _by(file: str, function: str, **options: str) -> Callable[..., bytes | dict[str, bytes]]:
    """Return a function of one of the modules beside this one."""

    def write(*source: Any) -> bytes | dict[str, bytes]:
        found = getattr(importlib.import_module(f"sonoforge.export.formats.{file}"), function)
        made: bytes | dict[str, bytes] = found(*source, **options)
        return made

    return write


_EXECUTORCH = ("executorch", "torchao")
_PHONES = "Android and iOS: ExecuTorch with XNNPACK"
_SERVER = "any NVIDIA GPU, the very one that it was built on: TensorRT of the same version"
_NVIDIA = "NVIDIA RTX GPUs: TensorRT-RTX of the same version"
# Of engines: precision, tolerance, and whether generators can have it.
_ENGINES = (("fp32", CLOSE, True), ("fp16", HALF, True), ("int8", INT8, False))


def _engines(name: str, module: str, suffix: str, runs_on: str, extra: str) -> dict[str, Format]:
    """Return the rows of TensorRT or TensorRT-RTX."""
    return {
        name + ("" if precision == "fp32" else f"-{precision}"): Format(
            ("" if precision == "fp32" else f".{precision}") + suffix,
            precision,
            runs_on,
            tolerance,
            _by("tensorrt.build", "write_engine", precision=precision, module=module),
            generators and bool(extra),
            (module,),
            extra,
        )
        for precision, tolerance, generators in _ENGINES
    }


FORMATS: dict[str, Format] = {
    "onnx": Format(
        ".onnx", "fp32", "anywhere: ONNX Runtime, in a browser too", EXACT, lambda source: source.onnx, generators=True
    ),
    "onnx-fp16": Format(
        ".fp16.onnx",
        "fp16",
        "GPUs and NPUs: ONNX Runtime; half the size",
        HALF,
        _by("half_precision", "write_half"),
        generators=True,
    ),
    "onnx-int8": Format(
        ".int8.onnx", "int8", "CPUs and phones: ONNX Runtime; a third", INT8, _by("quantisation", "write_int8")
    ),
    "onnx-uint8": Format(
        ".uint8.onnx",
        "fp32",
        "as onnx, from pixels of any size: nothing to prepare",
        RESIZED,
        lambda source: _by("preprocessing_graph", "with_preprocessing")(source.onnx, source.preprocessing),
        whole_images=True,
    ),
    "ort": Format(
        ".ort", "fp32", "reduced builds of ONNX Runtime", EXACT, lambda source: _by("ort", "to_ort")(source.onnx)
    ),
    "torchscript": Format(
        ".torchscript.pt",
        "fp32",
        "libtorch: C++ and Python",
        CLOSE,
        _by("torchscript", "write_torchscript"),
        generators=True,
    ),
    "torchscript-lite": Format(
        ".ptl", "fp32", "PyTorch Mobile, which is no longer developed", CLOSE, _by("torchscript", "write_lite")
    ),
    "executorch": Format(
        ".pte", "fp32", _PHONES, CLOSE, _by("executorch", "write_executorch"), True, _EXECUTORCH, "mobile"
    ),
    "executorch-int8": Format(
        ".int8.pte", "int8", _PHONES, INT8, _by("executorch", "write_executorch_int8"), False, _EXECUTORCH, "mobile"
    ),
    **_engines("tensorrt", "tensorrt_rtx", ".rtx.engine", _NVIDIA, "tensorrt"),
    # Data-centre GPUs have no TensorRT-RTX: an engine of plain TensorRT is built on the machine that will run it.
    **_engines("tensorrt-server", "tensorrt", ".engine", _SERVER, ""),
}
