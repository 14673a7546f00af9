"""``predictions.csv``: the answers that every figure is computed from.  Needs numpy alone, for the export."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime import atomic
from sonoforge.runtime.csv_tables import Row, csv_text, defused, number, read_table
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.statistics.results import LEAVE_ONE_OUT, ONE_SPLIT, PROTOCOLS

if TYPE_CHECKING:  # of Python 3.11
    from typing_extensions import Self

Indices = NDArray[np.int64]

_NEEDED = ("file", "group", "fold", "arm", "protocol", "seed", "label")
_SOURCES = {"collection": "collections", "device": "devices"}  # field of each column

ANSWERS = "predictions.csv"
"""The table in a run folder."""

SHARE_MARK = "@"
"""Between an arm and the share of the real images that it was made from: ``real@0.25``."""


@dataclass(frozen=True)
class Predictions:
    """One arm with one seed: each test image predicted once, by the fold that did not train on it.

    Under ``single`` there is one fold, and the images are those that it tested.
    """

    arm: str  # name, see `crossval.arms`
    protocol: str  # see `splits.make_plan`
    seed: int  # seed of split and training
    files: tuple[str, ...]  # (N,) image paths
    groups: Indices  # (N,) near-duplicate or patient groups
    folds: Indices  # (N,) fold that tested the image
    labels: Indices  # (N,) true classes
    probabilities: NDArray[np.float64]  # (N, C), uncalibrated
    collections: tuple[str, ...] = ()  # (N,) where each image is from; empty: all are of one collection
    devices: tuple[str, ...] = ()  # (N,) scanner of each image, empty where it is unknown; none: all are unknown

    @property
    def predicted(self) -> Indices:
        """(N,) most probable class of each image."""
        best: Indices = self.probabilities.argmax(axis=1).astype(np.int64)
        return best

    @property
    def sources(self) -> tuple[tuple[str, ...], ...]:
        """The columns of where an image is from, as the table has them; empty ones are not known."""
        return self.collections, self.devices

    @property
    def parts(self) -> Indices:
        """(N,) the part of each image, for what is fitted on the images of the other parts.

        The folds; of a single one two halves of its whole groups, which calibrate each other.
        """
        if len(np.unique(self.folds)) > 1:
            return self.folds
        halves: Indices = np.unique(self.groups, return_inverse=True)[1] % 2
        return halves

    def in_order_of(self, other: Predictions) -> Predictions:
        """Return the images in the order of another arm, seed, protocol or run.

        Raises:
            SonoforgeError: They are not the same images with the same classes.
        """
        place = {file: i for i, file in enumerate(self.files)}
        differing = len(place.keys() ^ set(other.files))
        if differing:
            raise SonoforgeError(
                f"{self.arm} under {self.protocol}: found {differing} images here and not in {other.arm} under "
                f"{other.protocol}, or there and not here, expected the same; compare answers to the same images"
            )
        ordered = self.reordered(np.array([place[file] for file in other.files]))
        if (ordered.labels != other.labels).any():
            raise SonoforgeError(
                "found other classes for some images, expected the same; compare answers to the same images"
            )
        return ordered

    def reordered(self, order: Indices) -> Self:
        """Return the images at these indices (N,)."""
        return replace(
            self,
            files=tuple(self.files[i] for i in order),
            groups=self.groups[order],
            folds=self.folds[order],
            labels=self.labels[order],
            probabilities=self.probabilities[order],
            collections=pick(self.collections, order),
            devices=pick(self.devices, order),
        )


def pick(column: Sequence[str], order: Indices) -> tuple[str, ...]:
    """Return the entries of some images; none where the column is empty, as nothing is known."""
    return tuple(column[i] for i in order) if column else ()


def write_predictions(path: Path, predictions: Sequence[Predictions], classes: Sequence[str]) -> None:
    """Write all arms and seeds as one CSV: file, group, fold, arm, protocol, seed, label, one column a class.

    Columns ``collection`` and ``device`` come before the label where they are known.
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
    """Read `write_predictions`' file, or one compressed by gzip (``.csv.gz``): the arms in file order, and the classes.

    Arms and seeds of the same images have them in one order, whatever that of the rows: figures are paired by place.

    Raises:
        SonoforgeError: The file is missing or no such table.
    """
    try:
        columns, rows = read_table(path, _NEEDED, "give predictions.csv of crossval", whole=True)
        if not rows:
            raise ValueError("found no row")
        classes = tuple(name[2:] for name in columns if name.lower().startswith("p_"))
        answers = [f"p_{name}".lower() for name in classes]
        by_part: dict[tuple[str, str, int], list[Row]] = {}
        for row in rows:
            by_part.setdefault((row["arm"], row["protocol"], int(row["seed"])), []).append(row)
        parts = []
        for (arm, protocol, seed), own in by_part.items():
            parts.append(
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
            )
    except (KeyError, ValueError, IndexError) as error:
        raise SonoforgeError(f"{path}: not a predictions.csv of crossval ({error})") from error
    for part in parts:
        _check(path, part)
    _check_together(path, parts)
    images = set(parts[0].files)
    return [part.in_order_of(parts[0]) if set(part.files) == images else part for part in parts], classes


_ROUNDED = 1e-3
"""How far the probabilities of an image may be from 1 in sum, as of a table that was rounded."""


def _check(path: Path, part: Predictions) -> None:
    """Refuse an arm that is not what its protocol says, or whose figures cannot be computed."""
    what = f"{path}: arm {part.arm}, seed {part.seed}"
    if part.protocol not in PROTOCOLS:
        raise SonoforgeError(f"{what}: found protocol {part.protocol!r:.80}, expected one of {', '.join(PROTOCOLS)}")
    if len(set(part.files)) < len(part.files):
        twice = Counter(part.files).most_common(1)[0][0]
        raise SonoforgeError(f"{what}: found {twice} twice, expected each image once")
    if not ((part.probabilities >= 0) & (part.probabilities <= 1)).all():
        raise SonoforgeError(f"{what}: found a probability that is not within 0 and 1")
    sums = part.probabilities.sum(axis=1)
    worst = int(np.abs(sums - 1).argmax())
    if abs(sums[worst] - 1) > _ROUNDED:
        raise SonoforgeError(
            f"{what}: {part.files[worst]}: found probabilities that sum to {sums[worst]:.4g}, expected 1"
        )
    folds = np.unique(part.folds)
    if part.protocol != LEAVE_ONE_OUT and (len(folds) == 1) != (part.protocol in ONE_SPLIT):
        raise SonoforgeError(
            f"{what}: found {len(folds)} folds under {part.protocol}, expected one under "
            f"{' and '.join(ONE_SPLIT)} and several otherwise, as crossval writes them"
        )
    if len(folds) > 1 and not np.array_equal(folds, np.arange(len(folds))):
        raise SonoforgeError(
            f"{what}: found folds {', '.join(map(str, folds))}, expected 0 to {len(folds) - 1}, without a gap"
        )
    if part.protocol == "sealed":
        in_folds = set(zip(part.groups.tolist(), part.folds.tolist(), strict=True))
        torn = [group for group, count in Counter(group for group, _ in in_folds).items() if count > 1]
        if torn:
            raise SonoforgeError(
                f"{what}: found group {torn[0]} in several folds, expected each whole in one under sealed folds"
            )
    if len(np.unique(part.parts)) < 2:
        raise SonoforgeError(f"{what}: found one group of images, expected at least two to calibrate each other")


def _check_together(path: Path, parts: Sequence[Predictions]) -> None:
    """Refuse arms that are not of the same images in the same folds."""
    of_image: dict[tuple[str, str], tuple[object, Predictions]] = {}
    dealt: dict[tuple[str, int], Predictions] = {}
    for part in parts:
        columns: dict[str, Iterable[object]] = {
            "label": part.labels,
            "group": part.groups,
            **dict(zip(_SOURCES, part.sources, strict=True)),
        }
        for name, column in columns.items():
            for file, value in zip(part.files, column, strict=False):  # a column that is not known is empty
                first, other = of_image.setdefault((name, file), (value, part))
                # Near-duplicates are found anew for each seed, so groups are numbered by it.
                if first != value and (name != "group" or part.seed == other.seed):
                    raise SonoforgeError(
                        f"{path}: {file}: found another {name} under arm {part.arm}, seed {part.seed}, than under "
                        f"{other.arm}, seed {other.seed}; expected one"
                    )
        first_arm = dealt.setdefault((part.protocol, part.seed), part)
        if _folds_of(part) != _folds_of(first_arm):
            raise SonoforgeError(
                f"{path}: arms {first_arm.arm} and {part.arm}, seed {part.seed}: found other images or other folds, "
                "expected the same of all arms"
            )


def _folds_of(part: Predictions) -> dict[str, int]:
    return dict(zip(part.files, part.folds.tolist(), strict=True))
