"""Answer a clip as a whole: pool its distinct frames and pick the best one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sonoforge.runtime.images.decoding import decode_image
from sonoforge.runtime.images.file_kinds import begins_as_dicom, is_dicom
from sonoforge.runtime.images.limits import ImageError
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.runtime.inference.decision import decide_equal, reweighted
from sonoforge.runtime.inference.result import Result
from sonoforge.runtime.inference.trust import why_abstain

if TYPE_CHECKING:
    from sonoforge.runtime.images.dicom.reader import DicomImage
    from sonoforge.runtime.images.frame_motion import Motion

# Two frames are near-equal if their views of 32 x 32 pixels differ by less than this many grey levels on average.
# Measured on 60 scans of BUSI: JPEG of quality 50 changes a view by 0.2 to 0.4, noise of 10 levels by 0.5 to 1.5, a
# shift of one pixel by 0.3 to 0.9, of four pixels by 1.2 to 3.6; another scan differs by 29 to 74.
NEAR_EQUAL = 1.5
_VIEW = (32, 32)


@dataclass(frozen=True, eq=False)
class Clip:
    """The answer for one clip.

    ``pooled`` is ``best`` with the answer for the whole clip. Its probabilities are the mean of the distinct frames'
    calibrated ones, for equally frequent classes, then at the clinic's prevalence. The sum rule tolerates single errors
    better than the product rule (Kittler, Hatef, Duin, Matas, On combining classifiers, IEEE TPAMI 20(3), 1998,
    sections 3 and 5).  Its set and findings use limits set on single scans; its trust is ``best``'s.

    The best frame is the first of those that agree, or of all if none does, ranked by likeness to the training images,
    then by fewest quality flags, then by the probability of the clip's label.
    """

    pooled: Result
    best: Result
    frames: int
    distinct: int  # classified: the others are near-equal to the last one kept before them
    agreeing: int  # of these, with the clip's label by themselves
    best_frame: int  # from 1
    motion: Motion  # how far the picture moves from one frame to the next

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of ``sonoforge classify --json``: a still's, of the pooled answer, and ``clip``."""
        counts = {name: getattr(self, name) for name in ("frames", "distinct", "agreeing", "best_frame")}
        return {**self.pooled.to_dict(), "clip": {**counts, "motion": self.motion.to_dict()}}


def distinct_frames(frames: Iterable[Image.Image]) -> Iterator[tuple[int, Image.Image]]:
    """Yield frames that differ from the last one yielded, with their numbers from 1; see `NEAR_EQUAL`.

    Slow movement is not skipped, because frames are compared with the last one kept, not the last one seen.
    """
    kept: NDArray[np.int16] | None = None
    for number, frame in enumerate(frames, start=1):
        view = np.asarray(frame.convert("L").resize(_VIEW, Image.Resampling.BOX), dtype=np.int16)
        if kept is None or np.abs(view - kept).mean() >= NEAR_EQUAL:
            kept = view
            yield number, frame


def classify_clip(classifier: Classifier, frames: Iterable[Image.Image], fingerprint: bool = False) -> Clip:
    """Answer a clip, such as `DicomImage.frames`, one frame at a time; raise ValueError if there is none."""
    from sonoforge.runtime.images.frame_motion import MotionMeter  # noqa: PLC0415 - for clips only

    started = perf_counter()
    seen, meter = 0, MotionMeter()

    def watched() -> Iterator[Image.Image]:
        nonlocal seen
        for frame in frames:
            seen += 1
            meter.add(frame)
            yield frame

    answers = [(number, classifier.classify(frame, fingerprint)) for number, frame in distinct_frames(watched())]
    if not answers:
        raise ValueError("a clip needs at least one frame")
    manifest, clinic = classifier.bundle.manifest, classifier.clinic
    equal = dict.fromkeys(manifest.classes, 1.0)
    frames_said = [reweighted(answer.probabilities, clinic.prevalence, equal) for _, answer in answers]
    said = decide_equal(
        {name: sum(frame[name] for frame in frames_said) / len(frames_said) for name in manifest.classes},
        manifest,
        clinic,
    )
    label = said.label
    agreeing = [pair for pair in answers if pair[1].label == label]

    def rank(pair: tuple[int, Result]) -> tuple[bool, int, float]:
        return not pair[1].trust.in_distribution, len(pair[1].quality.flags), -pair[1].probabilities[label]

    best_frame, best = min(agreeing or answers, key=rank)
    pooled = replace(
        best,
        label=label,
        probabilities=said.probabilities,
        set=said.set,
        findings=said.findings,
        trained_on=None if best.trained_on is None else any(answer.trained_on for _, answer in answers),
        ms={**best.ms, "total": 1e3 * (perf_counter() - started)},
        abstained=why_abstain(best.trust, said.probabilities[label], manifest) if classifier.abstains else "",
    )
    return Clip(pooled, best, seen, len(answers), len(agreeing), best_frame, meter.motion())


@dataclass(frozen=True, eq=False)
class Answer:
    """The answer for one file, still or clip."""

    entry: dict[str, Any]  # as ``sonoforge classify --json`` prints it
    result: Result  # of the still, or of the clip's best frame
    _source: str | Image.Image
    _frames: Callable[[], Iterator[Image.Image]] | None = None

    def picture(self) -> str | Image.Image:
        """Return the picture for ``result``: the file or its picture, or the frame of DICOM or a clip, read again."""
        if self._frames is None:
            return self._source
        frame = self.entry["clip"]["best_frame"] if "clip" in self.entry else 1
        return next(islice(self._frames(), frame - 1, None))


def answer_file(classifier: Classifier, path: str, data: bytes | None = None, fingerprint: bool = False) -> Answer:
    """Answer one file, still or clip; ``data`` are its contents if it has been read already.

    ``sonoforge settings classify`` explains the fields of its entry.
    """
    if not (begins_as_dicom(path) if data is None else is_dicom(data)):
        try:
            started = perf_counter()
            source = path if data is None else decode_image(data, path)
            result = _of_file(classifier.classify(source, fingerprint), path, started)
            return Answer(result.to_dict(), result, source)
        except ImageError as error:
            if error.code != "animated":
                raise
        from sonoforge.runtime.images.clip_files import clip_frames  # noqa: PLC0415 - for clips only

        frames = functools.partial(clip_frames, path, data)
        clip = classify_clip(classifier, frames(), fingerprint)
        return Answer({**clip.to_dict(), "file": path}, replace(clip.best, file=path), path, frames)
    from sonoforge.runtime.images.dicom.reader import open_dicom  # noqa: PLC0415 - for DICOM only

    image = open_dicom(path, data)
    if image.frame_count == 1:
        started = perf_counter()
        (frame,) = image.frames()
        result = _of_file(classifier.classify(frame, fingerprint), path, started)
        entry = result.to_dict()
    else:
        clip = classify_clip(classifier, image.frames(), fingerprint)
        result = replace(clip.best, file=path)
        entry = {**clip.to_dict(), "file": path}
    entry["dicom"] = dicom_entry(image)
    return Answer(entry, result, path, image.frames)


def _of_file(result: Result, path: str, started: float) -> Result:
    """Name the file of a still's result, and count the time since ``started`` in which it was decoded."""
    total, ms = 1e3 * (perf_counter() - started), result.ms
    return replace(result, file=path, ms={**ms, "decode": ms["decode"] + total - ms["total"], "total": total})


def dicom_entry(image: DicomImage) -> dict[str, Any]:
    """Return the part of an answer that describes its DICOM file."""
    return {
        "frames": image.frame_count,
        "region": list(image.region.box) if image.region else None,
        "regions": image.region.count if image.region else 0,
        "spacing_mm": [image.spacing.vertical, image.spacing.horizontal] if image.spacing else None,
        "spacing_from": image.spacing.source if image.spacing else None,
        "frame_time_ms": image.frame_time_ms,
        "passed_over": list(image.passed_over),
    }
