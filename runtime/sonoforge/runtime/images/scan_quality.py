"""One scan in its own pixels judged against a bundle's bands: values, flags, sentences, and how far out of range."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from PIL import Image

from sonoforge.runtime.images import lesion_contrast, scan_metrics
from sonoforge.runtime.images.grey_levels import grey_levels
from sonoforge.runtime.images.quality_table import LESION, SCAN, Band


@dataclass(frozen=True)
class ScanQuality:
    """How good a scan is in its own pixels."""

    metrics: dict[str, float | None]  # value of each metric of `quality_table.SCAN`; None where it cannot be measured
    # Value of each metric of `quality_table.LESION`; None without a mask of the scan's size.
    lesion: dict[str, float | None] | None
    flags: tuple[str, ...]  # metrics beyond the faulty side of their band, as ``coverage_low``
    advice: tuple[str, ...]  # a sentence for each flag
    severity: float  # sum over the flags of how far out of its band a value is, in widths of the band; 0 without flags

    def to_dict(self) -> dict[str, object]:
        """Return the attributes by name, ready for JSON."""
        return {**asdict(self), "flags": list(self.flags), "advice": list(self.advice)}


def assess_scan(scan: Image.Image, bands: Mapping[str, Band], mask: Image.Image | None = None) -> ScanQuality:
    """Measure a scan, the part of a picture, against the bands of a bundle; a metric without a band is never flagged.

    ``mask`` is bright where the lesion is; one of another size is a `ValueError`.
    """
    levels = grey_levels(scan)
    values = scan_metrics.measure(levels)
    flags, advice, severity = [], [], 0.0
    for name, metric in SCAN.items():
        if name not in bands or math.isnan(values[name]):
            continue
        low, high = bands[name].low, bands[name].high
        beyond = low - values[name] if metric.better == "higher" else values[name] - high
        if beyond > 0:
            flags.append(f"{name}_{'low' if metric.better == 'higher' else 'high'}")
            advice.append(metric.advice)
            severity += beyond / (high - low) if high > low else 1.0
    lesion = lesion_contrast.measure(levels, grey_levels(mask) > _MASK_FROM) if mask else None
    return ScanQuality(
        metrics=_without_nan(values),
        lesion=_without_nan({name: lesion[name] for name in LESION}) if lesion else None,
        flags=tuple(flags),
        advice=tuple(advice),
        severity=severity,
    )


_MASK_FROM = 127  # of 255: the middle, as masks that were scaled have grey edges


def _without_nan(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
