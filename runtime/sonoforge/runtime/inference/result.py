"""Represent a classifier's answer for one scan."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.images.plain_image import grey_levels
from sonoforge.runtime.images.quality_metrics import Quality
from sonoforge.runtime.inference import activation_map
from sonoforge.runtime.inference.trust import Trust
from sonoforge.runtime.inference.verdict import Verdict, judge
from sonoforge.runtime.notice import UNCERTAIN

if TYPE_CHECKING:
    from sonoforge.runtime.images.burned_in_marks import Marks
    from sonoforge.runtime.images.repeats import Fingerprint
    from sonoforge.runtime.images.scan_area import ScanArea
    from sonoforge.runtime.images.scan_checks import ScanKind
    from sonoforge.runtime.inference.decision import Finding


@dataclass(frozen=True, eq=False)
class Result:
    """The answer for one scan.

    Examples:
        >>> from sonoforge.runtime import Classifier
        >>> result = Classifier().classify("scan.png")
        >>> result.label in result.probabilities
        True
        >>> result.map.shape
        (10, 10)

    Attributes:
        file: The path as given; None for an array or a Pillow image.
        label: The most probable class.
        probabilities: Calibrated probability of each class at the clinic's prevalence, by default at the bundle's
            shares; they sum to 1.
        set: The label, and every other class that cannot be ruled out at the bundle's error rate alpha.
        findings: The answer to each question behind the label, such as whether there is a lesion.
        trust: Whether the answer may be used, and why not.
        trained_on: Whether the scan is among the network's training images; None if the bundle has no sketches of them.
        quality: Metrics of the image, and flags for those outside the training images' range.
        kind: Kind of picture: one plain B-mode scan, one under a colour overlay (Doppler, elastography), or two side by
            side.
        marks: Calipers, text and body marks burned into the part that the network saw; they can be a shortcut.
        model: ``{"name", "version", "sha256"}`` of the model that answered.
        ms: Milliseconds for ``decode``, ``preprocess``, ``infer`` and in ``total``.
        size: Width and height of the scan in pixels, upright.
        map: (h, w) float32 class-activation map of ``label``, laid over what the network saw; see `activation_map`.
        embedding: (D,) float32, the scan's features before the last layer.
        view: (S, S, 3) uint8, what the network saw.
        fingerprint: Identifies the picture when it is given again, if requested; see `images.repeats`.
        crop: Where the scan lies in the image; None if the network saw the whole image.
        abstained: Why the classifier abstains, see `trust.why_abstain`; empty if it answers.
        remarks: Remarks from reading the picture, for example that its levels were spread; see `images.decoding`.
    """

    file: str | None
    label: str
    probabilities: dict[str, float]
    set: tuple[str, ...]
    findings: dict[str, Finding]
    trust: Trust
    quality: Quality
    kind: ScanKind
    marks: Marks
    model: dict[str, str]
    ms: dict[str, float]
    size: tuple[int, int]
    map: NDArray[np.float32] = field(repr=False)
    embedding: NDArray[np.float32] = field(repr=False)
    view: NDArray[np.uint8] = field(repr=False)
    fingerprint: Fingerprint | None = field(default=None, repr=False)
    crop: ScanArea | None = None
    abstained: str = ""
    remarks: tuple[str, ...] = ()
    trained_on: bool | None = None

    @property
    def answer(self) -> str:
        """``label``, or "uncertain" if the classifier abstains."""
        return UNCERTAIN if self.abstained else self.label

    @property
    def verdict(self) -> Verdict:
        """How to take the answer, and what to do about it.

        Examples:
            >>> import numpy as np
            >>> from sonoforge.runtime import Classifier
            >>> Classifier().classify(np.zeros((300, 400), np.uint8)).verdict.heading
            'Do not use this answer'
        """
        return judge(bool(self.abstained), self.trust.phrases, self.set, len(self.probabilities))

    @property
    def map_gcnr(self) -> float | None:
        """GCNR of the map's brightest tenth against its surround in `view`; None if either is too small.

        It describes the map's area, not a lesion; ``runtime/docs/quality.md`` says how little it tells about one.
        """
        from sonoforge.runtime.images import scan_metrics  # noqa: PLC0415

        levels = grey_levels(self.view)
        area = activation_map.brightest_area(self.map, levels.shape[1], levels.shape[0])
        found = scan_metrics.gcnr(levels, area)
        return None if np.isnan(found) else found

    @property
    def peak(self) -> activation_map.Peak:
        """The scan's pixel where the map is strongest, and its value."""
        left, top, right, bottom = self._seen
        found = activation_map.peak(self.map, right - left, bottom - top)
        return found._replace(x=left + found.x, y=top + found.y)

    @property
    def _seen(self) -> tuple[int, int, int, int]:
        """The box that the network saw: left, top, right and bottom in image pixels."""
        return self.crop.box if self.crop else (0, 0, *self.size)

    def map_on_scan(self) -> NDArray[np.float32]:
        """Return the map at the image's own size, (H, W) float32, 0 where it was cropped; see `activation_map.at_size`.

        Examples:
            >>> import numpy as np
            >>> from sonoforge.runtime import Classifier
            >>> Classifier().classify(np.zeros((300, 400), np.uint8)).map_on_scan().shape
            (300, 400)
        """
        left, top, right, bottom = self._seen
        inside = activation_map.at_size(self.map, right - left, bottom - top)
        if self.crop is None:
            return inside
        whole = np.zeros((self.size[1], self.size[0]), np.float32)
        whole[top:bottom, left:right] = inside
        return whole

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of ``sonoforge classify --json``, which ``sonoforge settings classify`` explains."""
        return {
            "file": self.file,
            "ok": True,
            "verdict": self.verdict.state,
            "label": self.answer,
            "probabilities": dict(self.probabilities),
            "set": list(self.set),
            "findings": {name: finding._asdict() for name, finding in self.findings.items()},
            "abstained": self.abstained,
            "trust": self.trust.to_dict(),
            "trained_on": self.trained_on,
            "quality": self.quality.to_dict(),
            "kind": self.kind,
            "marks": self.marks.to_dict(),
            "remarks": list(self.remarks),
            "model": dict(self.model),
            "map": {
                "peak": self.peak._asdict(),
                "share_in_brightest_tenth": activation_map.share_in_brightest(self.map),
                "gcnr_of_map_area": self.map_gcnr,
            },
            "crop": asdict(self.crop) if self.crop else None,
            "ms": dict(self.ms),
        }
