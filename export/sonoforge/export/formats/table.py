"""Read the table of export formats, ``table.csv``, and how far each file may be from the trained network.

Each writer is imported when it is first called: naming a format needs no torch.
"""

from __future__ import annotations

import csv
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from sonoforge.runtime.errors import SonoforgeError, did_you_mean, not_installed

Writer = Callable[[Any], bytes | dict[str, bytes]]
"""From a `Source` or `GeneratorSource` to a file, or to several by name."""


class Tolerance(NamedTuple):
    """How far a classifier's file may be from the network."""

    probability: float  # largest absolute difference of any probability of any image
    relative: float  # largest difference in ``embedding`` and ``cam``, as a share of the network's largest value there
    agreement: float = 1.0  # smallest share of images with the same label
    points: float = 1.0  # most points of sensitivity or specificity that any class may lose
    logits: float | None = None  # largest absolute difference of any logit; None: not checked

    def of_passes(self, has_second_pass: bool) -> Tolerance:
        """Return the tolerance for a network that may have a second pass: rounding moves its window too.

        A second pass allows four times as much, 20 times for a probability in float32, the same in int8: torch's own
        float32 and float64 differ by 9.2e-5 where the network is unsure where to look, and by 4.0e-4 in logits; with
        one pass, by 1e-6.
        """
        if not has_second_pass or self == INT8:
            return self
        times = SECOND_PASS if self == EXACT else 4.0
        logits = None if self.logits is None else times * self.logits
        return self._replace(probability=times * self.probability, relative=4.0 * self.relative, logits=logits)


SECOND_PASS = 20.0  # see `Tolerance.of_passes`
# On 780 BUSI images and on simulated scans, which it is unsure of, the shipped model stays below half of these limits
# in embedding and maps.
EXACT = Tolerance(1e-5, 1e-4, logits=1e-4)
CLOSE = Tolerance(1e-4, 1e-3)
HALF = Tolerance(5e-3, 0.05, agreement=0.998)  # of 1000 images, one or two lie halfway between two classes
INT8 = Tolerance(0.15, 0.5, agreement=0.985)
# A different resize: one grey level in few pixels, see `preprocessing_graph`.
RESIZED = Tolerance(0.02, 0.05, agreement=0.99)
_TOLERANCES = {"EXACT": EXACT, "CLOSE": CLOSE, "HALF": HALF, "INT8": INT8, "RESIZED": RESIZED}


@dataclass(frozen=True)
class Format:
    """One row of the table."""

    suffix: str  # of its file's name, after `Source.stem`; a writer may add a second file
    precision: str  # of weights and arithmetic: ``fp32``, ``fp16`` or ``int8``
    runs_on: str  # hardware and runtime
    tolerance: Tolerance  # for classifiers
    write: Writer
    generators: bool  # whether generators have this format, too
    packages: tuple[str, ...]  # required to write it, by import name; ``|`` where one of two will do
    extra: str  # the extra that installs them; empty: install them by name
    whole_images: bool  # takes uint8 images of any size, (1, height, width, channels), not normalised tensors

    def missing(self) -> str:
        """Return which packages for writing it are not installed, and how to install them; empty if all are."""
        return not_installed(self.extra, *self.packages)


def choose(formats: Sequence[str], unsuitable: Mapping[str, str] = {}, *, generators: bool = False) -> list[str]:
    """Return names of formats in the table's order, always including ``onnx``, from names or ``all``.

    ``unsuitable`` maps formats that this network cannot have to the reason. Raise `SonoforgeError` for a name that is
    unknown or not for generators, or that was given explicitly but is unsuitable or cannot be written here.
    """
    known = [name for name, form in FORMATS.items() if form.generators or not generators]
    for name in formats:
        if name not in (*known, "all"):
            hint = did_you_mean(name, known)
            raise SonoforgeError(
                f"formats: {name!r} is not a format here; choose all or any of {', '.join(known)}{hint}"
            )
        if name != "all" and (reason := unsuitable.get(name) or FORMATS[name].missing()):
            raise SonoforgeError(f"formats: {name}: {reason}")
    return [name for name in known if name in formats or "all" in formats or name == "onnx"]


def _write(writer: str, source: Any) -> bytes | dict[str, bytes]:
    """Write by ``module:function:arguments``; the arguments follow the source."""
    module, function, *options = writer.split(":")
    made: bytes | dict[str, bytes]
    made = getattr(importlib.import_module(f"sonoforge.export.formats.{module}"), function)(source, *options)
    return made


_READERS: Mapping[str, Callable[[str], Any]] = {
    "tolerance": _TOLERANCES.__getitem__,
    "write": lambda writer: partial(_write, writer),
    "packages": lambda names: tuple(names.split()),
    **dict.fromkeys(("generators", "whole_images"), bool),
}
with Path(__file__).with_suffix(".csv").open(encoding="utf-8", newline="") as _file:
    _rows = {row.pop("name"): row for row in csv.DictReader(_file)}
FORMATS = {
    name: Format(**{key: _READERS.get(key, str)(text) for key, text in row.items()}) for name, row in _rows.items()
}
