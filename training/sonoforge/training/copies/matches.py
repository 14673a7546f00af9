"""Record pairs of pictures that show one scan, or might: the result of every search in this room.

Results are kept beside the decoded images, so that no later command searches again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sonoforge.training.checked_file import read_checked, write_checked
from sonoforge.training.copies.confirmation import Comparison
from sonoforge.training.copies.local_features import Alignment
from sonoforge.training.copies.pictures import Look

# Never seen together in unrelated pictures: of 4 000 unrelated pairs of scans, mammograms, retinas and cells, those
# whose detail correlates by 0.8 or more have at most 10 matches that agree.
_CERTAIN_CORRELATION, _CERTAIN_AGREEING, _CERTAIN_SCORE = 0.85, 12, 5.0

UNKNOWN = Comparison(float("nan"), float("nan"), float("nan"))
"""Score of a search that does not compare pixels."""

# Types of the columns of `Matches`.
_DTYPES: tuple[Any, ...] = (*[np.int64] * 2, *[np.float64] * 3, np.int64, *[np.bool_] * 3, np.float64)


class Match(NamedTuple):
    """Two pictures compared."""

    first: int  # index of one picture
    second: int  # index of the other, larger where the first search compares pictures of one set
    score: float  # standard errors above unrelated pictures, see `confirmation.Comparison`; or nan
    correlation: float  # of the fine detail in the overlap, -1 to 1; or nan
    overlap: float  # share of the smaller picture, 0 to 1; or nan
    agreeing: int  # number of feature matches, at different places, that agree on the alignment; 0 without features
    mirrored: bool  # whether the second has to be mirrored left to right to fit
    upside_down: bool  # whether its top and bottom have to be swapped
    inverted: bool  # whether its negative fits
    matrix: NDArray[np.float64]  # (2, 3) takes points of the first picture to the second so transformed

    @classmethod
    def of(cls, first: int, second: int, look: Look, alignment: Alignment, compared: Comparison = UNKNOWN) -> Match:
        """Combine what is known about two pictures; ``look`` says how the second is transformed to fit."""
        correlation, score, overlap = compared
        mirrored, inverted, upside_down = look
        matrix, agreeing = alignment
        return cls(first, second, score, correlation, overlap, agreeing, mirrored, upside_down, inverted, matrix)

    @property
    def scale(self) -> float:
        """Pixels of the second picture for each of the first."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix[:, :2]))))

    @property
    def degrees(self) -> float:
        """Rotation from x towards y, -180 to 180."""
        return float(np.degrees(np.arctan2(self.matrix[1, 0], self.matrix[0, 0])))


class Matches(NamedTuple):
    """P pairs by column; the fields are those of `Match`."""

    first: NDArray[np.int64]  # (P,)
    second: NDArray[np.int64]
    score: NDArray[np.float64]
    correlation: NDArray[np.float64]
    overlap: NDArray[np.float64]
    agreeing: NDArray[np.int64]
    mirrored: NDArray[np.bool_]
    upside_down: NDArray[np.bool_]
    inverted: NDArray[np.bool_]
    matrix: NDArray[np.float64]  # (P, 2, 3)

    @classmethod
    def of(cls, rows: Sequence[Match]) -> Matches:
        """Turn rows into columns."""
        columns = [np.array([row[place] for row in rows], kind) for place, kind in enumerate(_DTYPES)]
        return cls._make([*columns[:-1], columns[-1].reshape(-1, 2, 3)])

    @property
    def rows(self) -> list[Match]:
        """The pairs one by one."""
        plain = [column.tolist() for column in self[:-1]]
        return [Match._make(row) for row in zip(*plain, self.matrix, strict=True)]

    @property
    def packed(self) -> NDArray[np.float64]:
        """(P, 15): the columns, the matrix last."""
        return np.column_stack([*(column.astype(np.float64) for column in self[:-1]), self.matrix.reshape(-1, 6)])

    @classmethod
    def unpack(cls, values: NDArray[np.float64]) -> Matches:
        """Undo `packed`."""
        rows = values.reshape(-1, len(_DTYPES) + 5)
        plain = [rows[:, place].astype(kind) for place, kind in enumerate(_DTYPES[:-1])]
        return cls._make([*plain, rows[:, len(plain) :].reshape(-1, 2, 3)])

    def take(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> Matches:
        """Return the pairs that a mask or an index selects."""
        return Matches._make(field[which] for field in self)

    @property
    def certain(self) -> NDArray[np.bool_]:
        """(P,) whether a pair shows one scan in any set, because even a small overlap agrees in every respect."""
        alike = (self.correlation >= _CERTAIN_CORRELATION) & (self.agreeing >= _CERTAIN_AGREEING)
        return alike & (self.score >= _CERTAIN_SCORE)

    def confirmed(self, limit: float) -> Matches:
        """Return the pairs whose score reaches a limit, and the certain ones."""
        return self.take((self.score >= limit) | self.certain)


def join_groups(count: int, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """Join 0..count-1 by the given pairs; groups are numbered by first appearance, (count,) int64."""
    links = sparse.coo_array((np.ones(len(first), bool), (first, second)), shape=(count, count))
    _, groups = sparse.csgraph.connected_components(links, directed=False)
    return np.asarray(groups, np.int64)


class Found(NamedTuple):
    """The result of a search."""

    matches: Matches
    facts: Any = None  # further results, as JSON


def find_once(
    store: Path | None,
    search: str,
    asked: Iterable[str],
    find: Callable[[], Found],
    still_answers: Callable[[Found], bool] = lambda found: True,
) -> Found:
    """Return the result of an earlier search that a folder keeps, or search now; ``store`` None searches anew.

    ``search`` is the name of the search with its version; OpenCV's version counts too, as its features may change. The
    result depends on what is ``asked``: hashes of the images, in their order.
    """
    if store is None:
        return find()
    name = hashlib.sha256("\n".join(asked).encode()).hexdigest()[:32]
    path = store / f"{search}-opencv{cv2.__version__}" / f"{name}.bin"
    known = read_checked(path)
    if known is not None:
        found = Found(Matches.unpack(np.frombuffer(known[1].tobytes(), np.float64)), known[0])
        if still_answers(found):
            return found
    found = find()
    write_checked(path, [found.matches.packed], found.facts)
    return found
