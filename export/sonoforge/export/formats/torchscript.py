"""Write TorchScript files for PyTorch in C++ (``.pt``) and for its older mobile interpreter (``.ptl``).

Torch has deprecated both formats in favour of `executorch`, but still reads and writes them.  A TorchScript file is a
program: only open one from a known source, such as a bundle, whose manifest has its SHA-256.
"""

from __future__ import annotations

import io
import pickletools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.jit.mobile import _load_for_lite_interpreter

from sonoforge.export.formats.onnx_graph import folded, metadata_of, quiet
from sonoforge.runtime.errors import DAMAGED, refusing

if TYPE_CHECKING:
    from sonoforge.export.formats.source import GeneratorSource, Source
    from sonoforge.runtime.inference.runners import Answer

_MANGLED = re.compile(r"___torch_mangle_(\d+)")
_WRITTEN_BY_THE_WRITER = ("version", "byteorder", ".data/serialization_id")


@quiet()
def write_torchscript(source: Source | GeneratorSource, kind: str = "") -> bytes:
    """Write a network for ``torch.jit.load`` or, with ``lite``, for the mobile lite interpreter.

    The file takes any batch size, and gives a classifier's four outputs as a tuple; it is the same for the same
    network, and has no host paths.  For a free batch the network must read the tensors' shapes; sizes read by ``len``
    or ``int`` are fixed.
    """
    with torch.no_grad():
        # Freezing makes weights constants and folds batch normalisation, but would copy the weights of layers that run
        # twice.
        network = folded(source.graph) if source.has_second_pass else source.graph.eval()
        # A single row could be traced as a constant.
        traced = torch.jit.freeze(torch.jit.trace(network, source.example(2), check_trace=False))
    buffer = io.BytesIO()
    if kind == "lite":
        buffer.write(traced._save_to_buffer_for_lite_interpreter())
    else:
        torch.jit.save(traced, buffer)
    return _normal(buffer.getvalue(), metadata_of(onnx.load_model_from_string(source.onnx)))


@quiet()
def open_file(path: Path, threads: int = 1) -> Answer:
    """Load a file with its interpreter, or raise `SonoforgeError`; ``threads`` applies to the whole process."""
    torch.set_num_threads(threads)
    with refusing(f"{path}: torch cannot load it as TorchScript", "write it again", (*DAMAGED, RuntimeError)):
        lite = "bytecode.pkl" in torch._C.PyTorchFileReader(str(path)).get_all_records()
        load: Any = _load_for_lite_interpreter if lite else torch.jit.load
        module = load(str(path), map_location=torch.device("cpu"))

    def answer(inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        with torch.inference_mode():
            outputs = module(*(torch.tensor(values) for values in inputs))
        return [output.numpy() for output in ([outputs] if isinstance(outputs, Tensor) else outputs)]

    return answer


def _normal(archive: bytes, metadata: Mapping[str, str]) -> bytes:
    """Drop source-line records, which hold host paths, and number the classes from 0.

    Torch counts the classes that a process traces, so a second file of the same network would differ.
    """
    reader = torch._C.PyTorchFileReader(io.BytesIO(archive))
    kept = [name for name in reader.get_all_records() if not name.endswith(".debug_pkl")]
    numbers = sorted({int(number) for name in kept for number in _MANGLED.findall(name)})
    order = {str(number): index for index, number in enumerate(numbers)}

    def rename(text: str) -> str:
        return _MANGLED.sub(lambda found: f"___torch_mangle_{order[found[1]]}", text)

    buffer = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(buffer)
    # The writer defaults to an early version, whose operators compute differently.
    writer.set_min_version(int(reader.get_record("version")))
    for name in kept:
        if name in _WRITTEN_BY_THE_WRITER:
            continue
        data = reader.get_record(name)
        if name.endswith(".py"):
            data = rename(data.decode()).encode()
        elif name in ("data.pkl", "bytecode.pkl"):
            data = _rename_in_pickle(data, rename)
        writer.write_record(rename(name), data, len(data))
    for name, text in metadata.items():
        writer.write_record(f"extra/{name}", text.encode(), len(text.encode()))
    writer.write_end_of_file()
    return buffer.getvalue()


def _rename_in_pickle(data: bytes, rename: Any) -> bytes:
    """Rename within the names and strings of a pickle without running it."""
    operations = list(pickletools.genops(data))
    ends = [*(position for _, _, position in operations[1:]), len(data)]
    parts = []
    for (operation, argument, begin), end in zip(operations, ends, strict=True):
        part = data[begin or 0 : end]
        if isinstance(argument, str) and rename(argument) != argument:
            text = rename(argument).encode()
            if operation.name == "GLOBAL":  # module and name, each ended by a line feed
                part = b"c" + text.replace(b" ", b"\n") + b"\n"
            else:  # BINUNICODE: its length in four bytes first
                part = b"X" + len(text).to_bytes(4, "little") + text
        parts.append(part)
    return b"".join(parts)
