"""What ``results.json`` of an expert reading holds, key by key."""

from typing import TypedDict

from sonoforge.training.statistics.results import Interval


class ShareResult(TypedDict):
    """A share with its exact 95 % interval; ``value`` is None where ``of`` is 0."""

    right: int
    of: int
    value: float | None
    low: float
    high: float


class SecondsResult(TypedDict):
    """Reading times of one kind of image, seconds."""

    median: float
    lower_quartile: float
    upper_quartile: float


class ClassResult(TypedDict):
    """The second question: how often the class that the reader gave is that of the scan, or of the generator.

    ``p_value`` is Fisher's exact test between real and generated images.
    """

    real: ShareResult
    generated: ShareResult
    p_value: float


class ReaderResult(TypedDict):
    """One reader.

    ``p_value``: exact test of ``accuracy`` against ``chance``; ``noticeable``: the accuracy that it would notice in
    80 % of cases with that many answers.  ``sensitivity`` is the share of generated images called generated,
    ``specificity`` that of real ones called real.  ``auc`` and ``roc`` (false and true alarms, from none to all) use
    the confidences, and are None unless every answer has one.
    """

    name: str
    experience: str
    file: str
    answered: int
    unanswered: int
    chance: float
    accuracy: ShareResult
    p_value: float
    noticeable: float | None
    sensitivity: ShareResult
    specificity: ShareResult
    auc: Interval | None
    roc: list[tuple[float, float]] | None
    seconds: dict[str, SecondsResult]
    marks: int
    classes: ClassResult | None


class TogetherResult(TypedDict):
    """Means over all readers, with intervals by resampling images: they hold for these readers."""

    accuracy: Interval
    sensitivity: Interval
    specificity: Interval


class AgreementResult(TypedDict):
    """``kappa`` is Cohen's of two readers and Fleiss's of more, on the images that all of them answered."""

    name: str
    images: int
    kappa: Interval | None


class MarkResult(TypedDict):
    """The place that gave an image away, by a reader: shares of the side, x to the right and y downwards."""

    reader: str
    x: float
    y: float


ImageResult = TypedDict(
    "ImageResult",
    {
        "number": int,
        "kind": str,
        "class": str,
        "source": str,
        "file": str,
        "called_generated": int,
        "answers": int,
        "marks": list[MarkResult],
    },
)
"""One image of the sheet, and how many of its readers called it generated."""


class SheetResult(TypedDict):
    """The sheet that was read."""

    run: str
    commitment: str
    side: int
    real: int
    generated: int
    classes: list[str]
    sources: dict[str, list[str]]


class ReadingResults(TypedDict):
    """The whole file; ``automatic`` readers (`sonoforge.training.reader_study.automatic`) count nowhere else in it."""

    sheet: SheetResult
    readers: list[ReaderResult]
    together: TogetherResult | None
    agreement: AgreementResult | None
    class_agreement: AgreementResult | None
    automatic: list[ReaderResult]
    images: list[ImageResult]
    notice: str
