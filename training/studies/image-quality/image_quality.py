"""Does each metric of image quality move as it states, and stay where it should?

    python training/studies/image-quality/image_quality.py DATA [--scans 100] [--bundle BUNDLE]

DATA holds the folders BUSI, BUS-BRA, BrEaST and BUS-UC, with a mask beside each scan.  First table: the share of scans
on which the metric never moves back over five levels of its own corruption and has moved at the last.  Second table:
the 95th percentile over the scans of the move under what it should ignore, as a share of the bundle's band.
Last: which share of half as many scans falls below the bundle's limit of evenness under a shadow, as
``other-scanners/robustness.py`` draws it, or with less gain in depth; and which leaves the range of another metric.
"""

from __future__ import annotations

import argparse
import io
import math
import random
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.images import quality_metrics, scan_metrics
from sonoforge.runtime.images.preprocessing import IMAGENET

sys.path.insert(0, str(Path(__file__).parents[1] / "other-scanners"))
import robustness

SETS = ("BUSI", "BUS-BRA", "BrEaST", "BUS-UC")
SHADED = (("shadow", 0), ("shadow", 6), ("shadow", 12), ("shadow", 24), ("attenuation", 20))  # dB
Picture = Image.Image


def from_levels(values: NDArray[np.float32]) -> Picture:
    """Round to 8 bits."""
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def to_levels(scan: Picture) -> NDArray[np.float32]:
    """(H, W) grey levels."""
    return np.asarray(scan).astype(np.float32)


def blur(scan: Picture, radius: float) -> Picture:
    """Gaussian, radius in the scan's pixels."""
    return scan.filter(ImageFilter.GaussianBlur(radius))


def noise(scan: Picture, sigma: float) -> Picture:
    """Additive, white."""
    return from_levels(to_levels(scan) + np.random.default_rng(0).normal(0, sigma, (scan.height, scan.width)))


def speckle(scan: Picture, sigma: float) -> Picture:
    """Multiplicative, white."""
    return from_levels(to_levels(scan) * (1 + np.random.default_rng(0).normal(0, sigma, (scan.height, scan.width))))


def jpeg(scan: Picture, quality: float) -> Picture:
    """Packed once more."""
    stream = io.BytesIO()
    scan.save(stream, "JPEG", quality=int(quality))
    return Image.open(stream).convert("L")


def coarse(scan: Picture, factor: float) -> Picture:
    """Down-scaled, and up again to the old size."""
    small = scan.resize((round(scan.width * factor), round(scan.height * factor)), Image.Resampling.BILINEAR)
    return small.resize(scan.size, Image.Resampling.BICUBIC)


def small(scan: Picture, factor: float) -> Picture:
    """Down-scaled."""
    return scan.resize((round(scan.width * factor), round(scan.height * factor)), Image.Resampling.BILINEAR)


def compress(scan: Picture, factor: float) -> Picture:
    """Contrast towards the mean."""
    levels = to_levels(scan)
    return from_levels(levels.mean() + factor * (levels - levels.mean()))


def gain(scan: Picture, factor: float) -> Picture:
    """Times a factor."""
    return from_levels(to_levels(scan) * factor)


def cover(scan: Picture, share: float) -> Picture:
    """No contact: the right columns black."""
    levels = np.array(scan)
    levels[:, int(scan.width * (1 - share)) :] = 0
    return Image.fromarray(levels)


BLUR = (blur, (1, 1.5, 2.2, 3.2, 4.5))
DARK = (gain, (0.8, 0.5, 0.25, 0.12, 0.05))
BRIGHT = (gain, (1.3, 1.7, 2.2, 3, 4))
SPECKLE = (speckle, (0.1, 0.2, 0.3, 0.45, 0.6))
COARSE = (coarse, (0.7, 0.5, 0.35, 0.25, 0.15))
COMPRESS = (compress, (0.8, 0.65, 0.5, 0.35, 0.2))
COVER = (cover, (0.1, 0.2, 0.3, 0.4, 0.5))

# Metric: its own corruptions, each with the direction that it states.
OWN = {
    "sharpness": [("blur", BLUR, -1)],
    "noise": [("noise", (noise, (5, 10, 15, 25, 40)), 1)],
    "contrast": [("compression", COMPRESS, -1)],
    "brightness": [("gain up", BRIGHT, 1), ("gain down", DARK, -1)],
    "saturated": [("gain up", BRIGHT, 1)],
    "black": [("gain down", DARK, 1), ("no contact", COVER, 1)],
    "resolution": [("down-scaling", (small, COARSE[1]), -1)],
    "edge_sharpness": [("blur", BLUR, -1), ("down and up", COARSE, -1)],
    "speckle_snr": [("speckle", SPECKLE, -1), ("noise", (noise, (5, 10, 15, 25, 40)), -1)],
    "grey_levels": [("compression", COMPRESS, -1), ("gain down", DARK, -1)],
    "effective_resolution": [("blur", BLUR, -1), ("down and up", COARSE, -1)],
    "blockiness": [("JPEG", (jpeg, (50, 35, 22, 14, 8)), 1)],
    "coverage": [("no contact", COVER, -1)],
    "gcnr": [("speckle", SPECKLE, -1)],
}
HARMLESS: dict[str, Callable[[Picture], Picture]] = {
    "mirror": lambda scan: scan.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "shift": lambda scan: scan.crop((5, 3, scan.width, scan.height)),
    "border": lambda scan: Image.fromarray(np.pad(np.asarray(scan), 8)),
    "gain 0.9": lambda scan: gain(scan, 0.9),
    "gain 1.1": lambda scan: gain(scan, 1.1),
    "JPEG 90": lambda scan: jpeg(scan, 90),
    "noise 3": lambda scan: noise(scan, 3),
}
_ALWAYS = ("mirror", "shift", "JPEG 90")
_GAIN = ("gain 0.9", "gain 1.1")
# What each metric should ignore; a metric of gain cannot ignore gain, nor one of the filled share a border.
IGNORES = {
    "sharpness": (*_ALWAYS, *_GAIN, "noise 3"),
    "noise": (*_ALWAYS, *_GAIN, "border"),
    "contrast": (*_ALWAYS, *_GAIN, "noise 3"),
    "brightness": (*_ALWAYS, "border", "noise 3"),
    "saturated": _ALWAYS,
    "black": (*_ALWAYS, *_GAIN),
    "resolution": (*_ALWAYS, *_GAIN, "border", "noise 3"),
    "edge_sharpness": (*_ALWAYS, *_GAIN, "border", "noise 3"),
    "speckle_snr": (*_ALWAYS, *_GAIN, "border"),
    "grey_levels": (*_ALWAYS, "border", "noise 3"),
    "effective_resolution": (*_ALWAYS, *_GAIN, "border", "noise 3"),
    "blockiness": (*_ALWAYS, *_GAIN, "border"),
    "coverage": (*_ALWAYS, *_GAIN, "noise 3"),
    "gcnr": (*_ALWAYS, *_GAIN, "border", "noise 3"),
}


def measured(name: str, scan: Picture, mask: Picture | None) -> float:
    """One metric; a mask that is None, or not of the scan's size, gives NaN for those of a lesion."""
    if name in quality_metrics.METRICS:
        return quality_metrics.measure(IMAGENET.resize(scan), *scan.size)[name]
    if name in quality_metrics.SCAN:
        return scan_metrics.measure(np.asarray(scan), (name,))[name]
    if mask is None or mask.size != scan.size:
        return math.nan
    return scan_metrics.gcnr(np.asarray(scan), np.asarray(mask) > 127)


def moves_one_way(values: list[float], sign: int) -> bool:
    """Whether no step goes back and the last is beyond the first; a level that cannot be measured counts as stuck."""
    steps = np.diff(values) * sign
    return bool((steps >= -1e-9).all() and (values[-1] - values[0]) * sign > 0)


def read(file: Path) -> tuple[Picture, Picture | None]:
    """A scan and its mask."""
    mask = file.with_name(f"{file.stem}_mask.png")
    return Image.open(file).convert("L"), Image.open(mask).convert("L") if mask.is_file() else None


def on_lesion(change: Callable[[Picture], Picture], name: str, mask: Picture | None) -> Picture | None:
    """The mask after a harmless change of the scan: only those that move pixels move it."""
    return change(mask) if mask and name in ("mirror", "shift", "border") else mask


def sample(data: Path, folder: str, count: int) -> list[Path]:
    """Draw scans of a collection."""
    found = (data / folder).rglob("*")
    files = sorted(file for file in found if file.suffix in (".png", ".jpg") and "_mask" not in file.name)
    return random.Random(SETS.index(folder)).sample(files, count)


def shaded(data: Path, manifest, count: int) -> None:  # type: ignore[no-untyped-def]
    """Print how many scans evenness flags in the dark, and how many any other metric of the network's view."""
    rng, flagged = np.random.default_rng(0), defaultdict(list)
    for folder in SETS:
        for file in sample(data, folder, count):
            levels = np.asarray(Image.open(file).convert("L"), np.float64)
            for kind, decibels in SHADED:
                apply = robustness.DISTURBANCES[kind].apply
                scan = from_levels(apply(levels, decibels, rng) if decibels else levels)
                values = quality_metrics.measure(manifest.preprocessing.resize(scan), *scan.size)
                ranges = {name: manifest.quality[name] for name in values if name in manifest.quality}
                out = {name for name, own in ranges.items() if not own.low <= values[name] <= own.high}
                flagged[kind, decibels].append((values["evenness"] < ranges["evenness"].low, bool(out - {"evenness"})))
    for (kind, decibels), told in flagged.items():
        even, other = np.mean(told, axis=0)
        print(f"{kind} of {decibels} dB: evenness flags {even:.2f}, another metric {other:.2f} of {len(told)}")


def main() -> None:
    """Print both tables, the time that the metrics cost, and what evenness flags."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--scans", type=int, default=100)
    parser.add_argument("--bundle", type=Path, default=None)
    given = parser.parse_args()
    manifest = open_bundle(given.bundle).manifest
    kept: dict[tuple[str, str], list[float]] = defaultdict(list)
    moved: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    clean: dict[tuple[str, str], list[float]] = defaultdict(list)
    times = []
    for folder in SETS:
        for file in sample(given.data, folder, given.scans):
            scan, mask = read(file)
            started = time.process_time()
            scan_metrics.measure(np.asarray(scan))
            times.append((time.process_time() - started) * 300_000 / (scan.width * scan.height))
            for name, ways in OWN.items():
                base = measured(name, scan, mask)
                if math.isnan(base):
                    continue
                clean[folder, name].append(base)
                for title, (corrupt, levels), sign in ways:
                    values = [base, *(measured(name, corrupt(scan, level), mask) for level in levels)]
                    kept[folder, f"{name}: {title}"].append(moves_one_way(values, sign))
                for title in IGNORES[name]:
                    change = HARMLESS[title]
                    after = measured(name, change(scan), on_lesion(change, title, mask))
                    moved[folder, name, title].append(abs(after - base))
    print("| metric: own corruption |", " | ".join(SETS), "|")
    print("|---|---|---|---|---|")
    for title in dict.fromkeys(title for _, title in kept):
        print(f"| {title} |", " | ".join(f"{np.mean(kept[folder, title]):.2f}" for folder in SETS), "|")
    print()
    print("| metric: ignored | band |", " | ".join(SETS), "|")
    print("|---|---|---|---|---|---|")
    for name, ignored in IGNORES.items():
        low, high, origin = _band(name, manifest, clean["BUSI", name])
        for title in ignored:
            shares = [np.percentile(moved[folder, name, title], 95) / (high - low) for folder in SETS]
            cells = " | ".join(f"{share:.2f}" for share in shares)
            print(f"| {name}: {title} | {low:.4g} to {high:.4g} {origin} | {cells} |")
    print(f"\n{1e3 * float(np.median(times)):.1f} ms of one core for the six metrics of a scan of 300 000 pixels")
    shaded(given.data, manifest, given.scans // 2)


def _band(name: str, manifest, values: list[float]) -> tuple[float, float, str]:  # type: ignore[no-untyped-def]
    """The bundle's band; for a lesion's, which no bundle has, that of the BUSI scans measured here."""
    if name in quality_metrics.METRICS:
        return manifest.quality[name].low, manifest.quality[name].high, ""
    bands = getattr(manifest, "scan_bands", None)
    if bands and name in bands.limits:
        return bands.limits[name].low, bands.limits[name].high, ""
    low, high = np.percentile(values, (5, 95))
    return float(low), float(high), "(here)"


if __name__ == "__main__":
    main()
