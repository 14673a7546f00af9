"""The one table of what a classifier and a generator can be exported to."""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sonoforge.export.formats.executorch import write_executorch, write_executorch_int8
from sonoforge.export.formats.half_precision import write_half
from sonoforge.export.formats.ort import write_ort
from sonoforge.export.formats.preprocessing_graph import write_uint8
from sonoforge.export.formats.quantisation import write_int8
from sonoforge.export.formats.source import Source
from sonoforge.export.formats.tensorrt.build import write_engine, write_engine_fp16, write_engine_int8
from sonoforge.export.formats.torchscript import write_lite, write_torchscript
from sonoforge.export.gate.tolerance import CLOSE, EXACT, HALF, INT8, RESIZED, Tolerance
from sonoforge.export.generators import writers as generators
from sonoforge.export.generators.writers import GeneratorSource
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
    writers: Mapping[str, Writer]  # by the task of the bundles that can have it
    packages: tuple[str, ...] = ()  # what must be installed to write it, by import name
    extra: str = "export"  # the extra that installs them; empty: they are installed by their own names
    batch: int = 8  # images at a time when a classifier's file is checked
    # Whether it takes uint8 images of any size, (1, height, width, channels), not normalised tensors.
    whole_images: bool = False

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
    known = [name for name, form in FORMATS.items() if task in form.writers]
    for name in formats:
        if name not in (*known, "all"):
            hint = did_you_mean(name, known)
            raise SonoforgeError(f"formats: found {name!r}, expected all or any of {', '.join(known)}{hint}")
        if name != "all" and (reason := unsuitable(name) or FORMATS[name].missing()):
            raise SonoforgeError(f"formats: {name}: {reason}")
    return [name for name in known if name in formats or "all" in formats or name == "onnx"]


def _writers(classifier: Writer, generator: Writer | None = None) -> dict[str, Writer]:
    return {"classification": classifier, **({"generation": generator} if generator else {})}


def _the_onnx_file(source: Source | GeneratorSource) -> bytes:
    return source.onnx


_EXECUTORCH = ("executorch", "torchao")
_PHONES = "Android and iOS: ExecuTorch with XNNPACK"
_SERVER = "any NVIDIA GPU, the very one that it was built on: TensorRT of the same version"
_NVIDIA = "NVIDIA RTX GPUs: TensorRT-RTX of the same version"
# End of the name: beginning of the suffix, precision, tolerance and writers.
_ENGINES: dict[str, tuple[str, str, Tolerance, Callable[..., dict[str, bytes]], Writer | None]] = {
    "": ("", "fp32", CLOSE, write_engine, generators.write_engine),
    "-fp16": (".fp16", "fp16", HALF, write_engine_fp16, generators.write_engine_fp16),
    "-int8": (".int8", "int8", INT8, write_engine_int8, None),
}

FORMATS: dict[str, Format] = {
    "onnx": Format(
        ".onnx", "fp32", "anywhere: ONNX Runtime, in a browser too", EXACT, _writers(_the_onnx_file, _the_onnx_file)
    ),
    "onnx-fp16": Format(
        ".fp16.onnx",
        "fp16",
        "GPUs and NPUs: ONNX Runtime; half the size",
        HALF,
        _writers(write_half, generators.write_half),
    ),
    "onnx-int8": Format(".int8.onnx", "int8", "CPUs and phones: ONNX Runtime; a third", INT8, _writers(write_int8)),
    "onnx-uint8": Format(
        ".uint8.onnx",
        "fp32",
        "as onnx, from pixels of any size: nothing to prepare",
        RESIZED,
        _writers(write_uint8),
        whole_images=True,
    ),
    "ort": Format(".ort", "fp32", "reduced builds of ONNX Runtime", EXACT, _writers(write_ort)),
    "torchscript": Format(
        ".torchscript.pt",
        "fp32",
        "libtorch: C++ and Python",
        CLOSE,
        _writers(write_torchscript, generators.write_torchscript),
    ),
    "torchscript-lite": Format(
        ".ptl", "fp32", "PyTorch Mobile, which is no longer developed", CLOSE, _writers(write_lite)
    ),
    "executorch": Format(
        ".pte",
        "fp32",
        _PHONES,
        CLOSE,
        _writers(write_executorch, generators.write_executorch),
        _EXECUTORCH,
        "mobile",
    ),
    "executorch-int8": Format(
        ".int8.pte", "int8", _PHONES, INT8, _writers(write_executorch_int8), _EXECUTORCH, "mobile"
    ),
    **{
        f"tensorrt{end}": Format(
            f"{suffix}.rtx.engine", precision, _NVIDIA, tolerance, _writers(write, own), ("tensorrt_rtx",), "tensorrt"
        )
        for end, (suffix, precision, tolerance, write, own) in _ENGINES.items()
    },
    # Data-centre GPUs have no TensorRT-RTX: an engine of plain TensorRT is built on the machine that will run it.
    **{
        f"tensorrt-server{end}": Format(
            f"{suffix}.engine", precision, _SERVER, tolerance, _writers(partial(write, module="tensorrt")),
            ("tensorrt",), extra="",
        )
        for end, (suffix, precision, tolerance, write, _) in _ENGINES.items()
    },
}  # fmt: skip
