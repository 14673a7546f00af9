"""Write and read ``predictions.csv``: the answers that every figure is computed from."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime import atomic
from sonoforge.runtime.csv_tables import Row, csv_text, defused, number, path_in, read_table
from sonoforge.runtime.errors import SonoforgeError, refusing
from sonoforge.training.statistics.results import LEAVE_ONE_OUT, ONE_SPLIT, PROTOCOLS

if TYPE_CHECKING:  # of Python 3.11
    from typing_extensions import Self

Indices = NDArray[np.int64]

_NEEDED = ("file", "group", "fold", "arm", "protocol", "seed", "label")
_SOURCES = {"collection": "collections", "device": "devices"}  # field of each column

ANSWERS = "predictions.csv"
"""The table in a run folder."""

SHARE_MARK = "@"
"""Separates an arm from its share of the real images: ``real@0.25``."""


@dataclass(frozen=True)
class Predictions:
    """Answers of one arm with one seed: each test image is predicted once, by the fold that did not train on it."""

    arm: str  # name, see `crossval.arms`
    protocol: str  # see `splits.make_plan`
    seed: int  # seed of split and training
    files: tuple[str, ...]  # (N,) image paths
    groups: Indices  # (N,) near-duplicate or patient groups
    folds: Indices  # (N,) fold that tested the image
    labels: Indices  # (N,) true classes
    probabilities: NDArray[np.float64]  # (N, C), uncalibrated
    collections: tuple[str, ...] = ()  # (N,) of each image; empty: all are of one collection
    devices: tuple[str, ...] = ()  # (N,) scanner of each image, "" if unknown; empty: all are unknown

    @property
    def predicted(self) -> Indices:
        """(N,) most probable class of each image."""
        return np.asarray(self.probabilities.argmax(axis=1).astype(np.int64))

    @property
    def sources(self) -> tuple[tuple[str, ...], ...]:
        """The columns of the images' origin, in the table's order; empty if unknown."""
        return self.collections, self.devices

    @property
    def parts(self) -> Indices:
        """(N,) parts for fitting on the others: the folds, or two halves of a single fold, by group."""
        if len(np.unique(self.folds)) > 1:
            return self.folds
        return np.unique(self.groups, return_inverse=True)[1] % 2

    def in_order_of(self, other: Predictions) -> Predictions:
        """Return the images in the order of another arm, seed, protocol or run.

        Raises:
            SonoforgeError: They are not the same images with the same classes.
        """
        place = {file: i for i, file in enumerate(self.files)}
        differing = len(place.keys() ^ set(other.files))
        if differing:
            raise SonoforgeError(
                f"{self.arm} under {self.protocol} and {other.arm} under {other.protocol}: {differing} images are in "
                "only one; compare answers to the same images"
            )
        ordered = self.reordered(np.array([place[file] for file in other.files]))
        if (ordered.labels != other.labels).any():
            raise SonoforgeError("some images have another class in the other answers; compare answers to the same")
        return ordered

    def reordered(self, order: Indices) -> Self:
        """Return the images at these indices (N,)."""
        chosen: dict[str, Any] = {name: pick(getattr(self, name), order) for name in ("files", *_SOURCES.values())}
        chosen |= {name: getattr(self, name)[order] for name in ("groups", "folds", "labels", "probabilities")}
        return replace(self, **chosen)


def pick(column: Sequence[str], order: Indices) -> tuple[str, ...]:
    """Return the entries of some images; none if the column is empty."""
    return tuple(column[i] for i in order) if column else ()


def write_predictions(path: Path, predictions: Sequence[Predictions], classes: Sequence[str]) -> None:
    """Write all arms and seeds as one CSV: file, group, fold, arm, protocol, seed, label, one column per class.

    Columns ``collection`` and ``device`` come before the label if they are known.
    """
    where = [name for name, column in _SOURCES.items() if any(getattr(part, column) for part in predictions)]
    head = ["file", "group", "fold", "arm", "protocol", "seed", *where, "label"]
    rows: list[list[object]] = [[*head, *(f"p_{name}" for name in classes)]]
    for part in predictions:
        sources = [getattr(part, _SOURCES[name]) for name in where]
        for i, file in enumerate(part.files):
            row = [defused(file), part.groups[i], part.folds[i], part.arm, part.protocol, part.seed]
            row += [defused(source[i]) for source in sources]
            probabilities = [repr(float(p)) for p in part.probabilities[i]]
            rows.append([*row, defused(classes[part.labels[i]]), *probabilities])
    atomic.write_text(path, csv_text(rows))


def read_predictions(path: Path) -> tuple[list[Predictions], tuple[str, ...]]:
    """Read a file of `write_predictions`, or its gzip (``.csv.gz``): the arms in file order, and the classes.

    Arms and seeds with the same images get them in the same order, because figures are paired by place.

    Raises:
        SonoforgeError: The file is missing or is not such a table.
    """
    with refusing(f"{path}: not a predictions.csv of crossval"):
        columns, rows = read_table(path, _NEEDED, "give predictions.csv of crossval", whole=True)
        if not rows:
            raise ValueError("found no row")
        classes = tuple(name[2:] for name in columns if name.lower().startswith("p_"))
        answers = [f"p_{name}".lower() for name in classes]
        by_part: dict[tuple[str, str, int], list[Row]] = {}
        for row in rows:
            _check_row(path, row, classes)
            by_part.setdefault((row["arm"], row["protocol"], int(row["seed"])), []).append(row)
        parts = [
            Predictions(
                arm=arm,
                protocol=protocol,
                seed=seed,
                files=tuple(row["file"] for row in own),
                groups=np.array([int(row["group"]) for row in own]),
                folds=np.array([int(row["fold"]) for row in own]),
                labels=np.array([classes.index(row["label"]) for row in own]),
                probabilities=np.array([[number(row[name]) for name in answers] for row in own]),
                **{column: tuple(row[name] for row in own) for name, column in _SOURCES.items() if name in own[0]},
            )
            for (arm, protocol, seed), own in by_part.items()
        ]
    for part in parts:
        _check(path, part)
    _check_together(path, parts)
    images = set(parts[0].files)
    return [part.in_order_of(parts[0]) if set(part.files) == images else part for part in parts], classes


_OUTSIDE = re.compile(r"$|[/\\]|[A-Za-z]:[/\\]|(.*[/\\])?\.\.([/\\]|$)|.*[\r\n]", re.DOTALL)  # no file of a data set
_ROUNDED = 1e-3
"""How far the sum of an image's probabilities may be from 1, as in a rounded table."""


def _check_row(path: Path, row: Row, classes: Sequence[str]) -> None:
    """Refuse a row with a cell that no run writes."""
    # Not by int() and float(), which also take 1_000 and the digits of other scripts.
    ok = {name: re.fullmatch("[0-9]{1,18}", row[name]) is not None for name in ("group", "fold", "seed")}
    ok |= {"file": not _OUTSIDE.match(row["file"]), "label": row["label"] in classes, "arm": row["arm"].isprintable()}
    ok |= {key: "_" not in cell for key, cell in row.items() if key.startswith("p_")}
    for name in (name for name, fine in ok.items() if not fine):
        known = {"file": "a path within the data set", "label": f"one of {', '.join(classes)}", "arm": "a name"}
        found = f"{name} is {row[name]!r:.80}, not {known.get(name, 'a plain number')}"
        raise SonoforgeError(f"{path}: line {row.line}: {found}; take predictions.csv of crossval as written")


def _check(path: Path, part: Predictions) -> None:
    """Refuse an arm that contradicts its protocol, or that allows no figures."""
    what = f"{path}: arm {part.arm}, seed {part.seed}"
    if part.protocol not in PROTOCOLS:
        raise SonoforgeError(f"{what}: the protocol {part.protocol!r:.80} is not one of {', '.join(PROTOCOLS)}")
    (twice, times), *_ = Counter(posixpath.normpath(path_in(file)) for file in part.files).most_common(1)
    if times > 1:
        raise SonoforgeError(f"{what}: {twice} is listed twice")
    if not ((part.probabilities >= 0) & (part.probabilities <= 1)).all():
        raise SonoforgeError(f"{what}: a probability is not between 0 and 1")
    sums = part.probabilities.sum(axis=1)
    worst = int(np.abs(sums - 1).argmax())
    if abs(sums[worst] - 1) > _ROUNDED:
        raise SonoforgeError(f"{what}: {part.files[worst]}: probabilities sum to {sums[worst]:.4g}, not 1")
    folds = np.unique(part.folds)
    if part.protocol != LEAVE_ONE_OUT and (len(folds) == 1) != (part.protocol in ONE_SPLIT):
        one = f"{' and '.join(ONE_SPLIT)} have 1, others more"
        raise SonoforgeError(f"{what}: {part.protocol}: wrong number of folds, {len(folds)}: {one}")
    if not np.array_equal(folds, np.arange(len(folds))):
        raise SonoforgeError(f"{what}: folds must be numbered 0 to {len(folds) - 1}, not {', '.join(map(str, folds))}")
    if part.protocol == LEAVE_ONE_OUT and part.collections:
        pairs = set(zip(part.folds.tolist(), part.collections, strict=True))
        if not len(pairs) == len(folds) == len(set(part.collections)):
            raise SonoforgeError(f"{what}: each fold must be one collection, which {LEAVE_ONE_OUT} leaves out")
    if part.protocol == "sealed":
        in_folds = set(zip(part.groups.tolist(), part.folds.tolist(), strict=True))
        torn = [group for group, count in Counter(group for group, _ in in_folds).items() if count > 1]
        if torn:
            raise SonoforgeError(f"{what}: group {torn[0]} is in several folds, which sealed folds do not allow")
    if len(np.unique(part.parts)) < 2:
        raise SonoforgeError(f"{what}: calibration needs two groups of images, but there is one")


def _check_together(path: Path, parts: Sequence[Predictions]) -> None:
    """Refuse arms with different images or folds, and seeds with different images."""
    of_image: dict[tuple[str, str], tuple[object, Predictions]] = {}
    dealt: dict[tuple[str, int], Predictions] = {}
    tested: dict[str, Predictions] = {}
    for part in parts:
        what = f"{path}: arm {part.arm}, seed {part.seed}"
        columns: dict[str, Iterable[object]] = {"label": part.labels, "group": part.groups}
        columns |= dict(zip(_SOURCES, part.sources, strict=True))
        for name, column in columns.items():
            for file, value in zip(part.files, column, strict=False):  # unknown columns are empty
                first, other = of_image.setdefault((name, file), (value, part))
                # Near-duplicates are found anew for each seed, so groups are numbered by it.
                if first != value and (name != "group" or part.seed == other.seed):
                    raise SonoforgeError(f"{what} has another {name} for {file} than {other.arm}, seed {other.seed}")
        first_arm = dealt.setdefault((part.protocol, part.seed), part)
        first_seed = part if part.protocol == "single" else tested.setdefault(part.protocol, part)  # drawn by seed
        if _folds_of(part) != _folds_of(first_arm) or set(part.files) != set(first_seed.files):
            raise SonoforgeError(
                f"{what} has other images than the first of {part.protocol}, arm {first_seed.arm}, seed "
                f"{first_seed.seed}, or other folds than arm {first_arm.arm}"
            )


def _folds_of(part: Predictions) -> dict[str, int]:
    return dict(zip(part.files, part.folds.tolist(), strict=True))
