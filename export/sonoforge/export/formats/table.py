"""The one table of what a classifier and a generator can be exported to, ``table.csv``.

Each writer is imported when it is first called: the names of the formats need no torch.
"""

import csv
import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sonoforge.export.gate import tolerance
from sonoforge.export.gate.tolerance import Tolerance
from sonoforge.runtime.errors import SonoforgeError, did_you_mean

Writer = Callable[[Any], bytes | dict[str, bytes]]
"""From a `Source`, or a `GeneratorSource`, to a file, or to several by name."""


@dataclass(frozen=True)
class Format:
    """One row."""

    suffix: str  # of its file's name, after `Source.stem`; a writer may add a second file beside it
    precision: str  # of weights and arithmetic: ``fp32``, ``fp16`` or ``int8``
    runs_on: str  # where it runs, and by what
    tolerance: Tolerance  # how far a classifier's answers may be from the network's
    write: Writer
    generators: bool  # whether generators can have it, too
    packages: tuple[str, ...]  # what must be installed to write it, by import name
    extra: str  # the extra that installs them; empty: they are installed by their own names
    # Whether it takes uint8 images of any size, (1, height, width, channels), not normalised tensors.
    whole_images: bool

    def missing(self) -> str:
        """Return what is not installed that it needs to be written, and how to install it; nothing if all is there."""
        absent = [package for package in self.packages if importlib.util.find_spec(package) is None]
        install = f"'sonoforge[{self.extra}]'" if self.extra else " ".join(absent)
        return f"{', '.join(absent)} is not installed; pip install {install}" if absent else ""


def choose(formats: Sequence[str], unsuitable: Mapping[str, str] = {}, *, generators: bool = False) -> list[str]:
    """Return rows of the table in its order, ``onnx`` always among them, by their names or ``all``.

    Raises:
        SonoforgeError: An unknown name, one that generators cannot have, or one given by name that cannot be written,
            such as one for which ``unsuitable`` says why the network does not suit it.
    """
    known = [name for name, form in FORMATS.items() if form.generators or not generators]
    for name in formats:
        if name not in (*known, "all"):
            hint = did_you_mean(name, known)
            raise SonoforgeError(f"formats: found {name!r}, expected all or any of {', '.join(known)}{hint}")
        if name != "all" and (reason := unsuitable.get(name) or FORMATS[name].missing()):
            raise SonoforgeError(f"formats: {name}: {reason}")
    return [name for name in known if name in formats or "all" in formats or name == "onnx"]


def _writer(text: str) -> Writer:
    """Return the function of a module beside this one, with what it is given after the source."""
    module, function, *options = text.split(":")

    def write(source: Any) -> bytes | dict[str, bytes]:
        found = getattr(importlib.import_module(f"sonoforge.export.formats.{module}"), function)
        made: bytes | dict[str, bytes] = found(source, *options)
        return made

    return write


def _read() -> dict[str, Format]:
    with Path(__file__).with_suffix(".csv").open(encoding="utf-8", newline="") as stream:
        return {
            row["name"]: Format(
                row["suffix"],
                row["precision"],
                row["runs_on"],
                getattr(tolerance, row["tolerance"]),
                _writer(row["writer"]),
                bool(row["generators"]),
                tuple(row["packages"].split()),
                row["extra"],
                bool(row["whole_images"]),
            )
            for row in csv.DictReader(stream)
        }


FORMATS = _read()
