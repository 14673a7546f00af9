"""What ``results.json`` of an evaluation holds, key by key."""

from __future__ import annotations

from typing import Any, TypedDict

from sonoforge.training.copies.generated import CopyTest
from sonoforge.training.copies.planting import PlantedRow

SetResult = TypedDict(
    "SetResult",
    {
        "source": str,
        "class": str,
        "images": int,
        "groups": int | None,
        "synthetic": bool,
        "generator_sha256": str,
    },
    total=False,
)
"""One of the two sets; ``groups`` (None: unknown) of the real one, ``synthetic`` of the generated one, and
``generator_sha256`` (of the weights) where a run of ``gan train`` drew it."""


class MetricRow(TypedDict):
    """One metric in one feature space.

    ``better`` is ``low``, ``high`` or ``near``; ``question`` is ``realistic`` or ``diverse``.  ``matched`` is the mean
    of generated against real images over draws of equal size, ``floor`` that of real against real; ``low`` and
    ``high`` end their 95 % intervals.  ``ratio`` is ``matched`` in multiples of the floor's limit; ``n`` is the
    number of images per set of the draws, ``repeats`` the number of draws.
    """

    name: str
    title: str
    space: str
    better: str
    question: str
    value: float
    standard_error: float | None
    matched: float | None
    matched_low: float | None
    matched_high: float | None
    floor: float | None
    floor_low: float | None
    floor_high: float | None
    ratio: float | None
    n: int
    repeats: int
    note: str


class CopyResult(CopyTest):
    """The copy test, and what it says of single images.

    ``flagged`` are the names of the generated images that count as copies, the highest score first, ``nearest`` those
    of the training images that they match, ``scores`` how well; ``recall`` is that of copies that were planted.
    """

    data_copying_z: float | None
    flagged: list[str]
    nearest: list[str]
    scores: list[float]
    recall: list[PlantedRow]


class Answer(TypedDict):
    """The answer to one question: ``yes``, ``no``, ``partly`` or ``unknown``, with the figure it rests on."""

    answer: str
    headline: str
    text: str
    figure: str
    value: str
    detail: str


class Unmeasured(TypedDict):
    """A metric that was left out, and why."""

    name: str
    why: str


class EvaluationResults(TypedDict):
    """``n`` is the number of images per set of matched values and floors; ``protocol_id`` digests ``protocol``."""

    real: SetResult
    fake: SetResult
    n: int | None
    protocol: dict[str, Any]
    protocol_id: str
    metrics: list[MetricRow]
    copies: CopyResult | None
    projections: dict[str, dict[str, Any]]
    not_measured: list[Unmeasured]
    warnings: list[str]
    notice: str
    verdicts: dict[str, Answer]
    seconds: float
