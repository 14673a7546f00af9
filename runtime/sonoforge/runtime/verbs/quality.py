"""``sonoforge quality``: measure the quality of each image, offline.

JSON (``--json``) is one object:

* ``results``: one entry for each file in the order given, ``{"file", "ok": True, "remarks": [phrases], "quality":
  {metric: value, ..., "flags": []}, "scan": {"metrics", "lesion", "flags", "advice", "severity"}, "marks", "copy_of",
  "seems_copy_of"}``, or ``{"file", "ok": False, "error": {"code", "message"}}``. ``quality`` has the metrics of
  `images.quality_metrics.measure`, in the network's view, as in ``classify``; ``scan`` has the metrics of
  `quality_metrics` in the scan's own pixels: ``lesion`` is null without a mask ``NAME_mask.png`` beside the file;
  ``advice`` has a sentence for each flag, ``severity`` says how far out of range they are, in widths of the band. With
  a bundle for images other than breast ultrasound, which these were not measured on, ``speckle_snr``, ``lesion`` and
  ``seems_copy_of`` are null, and ``marks`` empty. ``marks`` says what is burned in, as text; ``copy_of`` is the first
  file of the batch with the same pixels, ``seems_copy_of`` an earlier one that seems to show the same picture, saved
  again, scaled or brightened;
* ``model``: ``{"name", "version", "sha256"}`` of the bundle that provides the reference ranges and the embedding;
* ``summary``: ``{"files", "ok", "failed", "quality_flagged", "flags": {flag: count}, "skipped": {kind: count}}``: flags
  of both kinds; skipped files are not scans, counted as in ``classify``;
* ``reference``: ``{"images", "bands": {metric: [low, high]}}`` for ``scan``: 5th and 95th percentile of this many
  training images; no bands if the bundle has none;
* ``notice``.

CSV (``--csv``) holds one row for each file; ``--html`` shows the scans with their figures, the worst first.

Exit code 0 if every file was measured; 2 if any could not be: the others still are.
"""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image

from sonoforge.runtime.atomic import write_text
from sonoforge.runtime.bundle.classification import BREAST_ULTRASOUND, ClassifierManifest
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.answer_files import CsvFormat
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.cli.progress import progress_bar
from sonoforge.runtime.csv_tables import defused
from sonoforge.runtime.images.burned_in_marks import find_marks
from sonoforge.runtime.images.decoding import read_image
from sonoforge.runtime.images.inputs import (
    Entry,
    cell,
    column_width,
    expand,
    failure,
    printable,
    silent_libraries,
    skipped_in_words,
)
from sonoforge.runtime.images.limits import ImageError
from sonoforge.runtime.images.plain_image import grey_levels, remarks_on
from sonoforge.runtime.images.quality_metrics import LESION, METRICS, SCAN, assess, flag_in_words
from sonoforge.runtime.images.repeats import Repeats, in_words, take_fingerprint
from sonoforge.runtime.images.scan_metrics import assess_scan
from sonoforge.runtime.notice import NOTICE
from sonoforge.runtime.settings import QualityConfig

_SCAN_CELLS = ("scan_flags", "severity", "marks", "copy_of", "seems_copy_of")
_HEADINGS = (*(metric.title for metric in METRICS.values()), *(metric.title for metric in SCAN.values()))

log = logging.getLogger(__name__)


def main(config: QualityConfig) -> Outcome:
    """Measure every file; see the top of this module for the result."""
    # Pillow's warnings about odd metadata would break up the table.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    bundle = open_bundle(config.bundle or None)
    found, manifest = expand(config.paths, config.recursive, films=False), bundle.manifest
    results: list[Entry] = []
    pictures: dict[str, str] = {}
    repeats, bands, width = Repeats(), manifest.scan_bands, column_width(found.files)
    if found.files:
        say("%-*s  %s", width, "file", " ".join(f"{heading:>7}" for heading in _HEADINGS))
    with progress_bar("measuring", len(found.files), silenced=True) as advance:
        for number, file in enumerate(found.files, start=1):
            failed = found.failures.get(file)
            result, whole = (failed, None) if failed else _measure(file, manifest)
            if whole is not None:
                _look_closer(result, whole, manifest, repeats, pictures if config.html else None)
            results.append(result)
            _print_result(result, width)
            advance(number, None)
    summary = {**_summary(results), "skipped": dict(sorted(found.skipped.items()))}
    if not bands.limits:
        say("no reference for %s: the bundle has no bands of them", ", ".join(SCAN))
    counts = (summary[key] for key in ("ok", "files", "quality_flagged"))
    say("%d of %d files measured, %d with a fault.\n%s", *counts, NOTICE)
    if found.skipped:
        log.info("%s", skipped_in_words(found.skipped))
    if config.csv:
        form = CsvFormat([*METRICS, "quality_flags", *SCAN, *LESION, *_SCAN_CELLS], _cells, about=())
        write_text(config.csv, form.head + "".join(form.line(entry, {}) for entry in results))
        log.info("written: %s", config.csv)
    result = {
        "results": results,
        "model": manifest.identity,
        "summary": summary,
        "reference": {"images": bands.images, "bands": {name: list(band) for name, band in bands.limits.items()}},
        "notice": NOTICE,
    }
    if config.html:
        from sonoforge.runtime.pages.cards import quality_page  # noqa: PLC0415 - only with --html

        write_text(config.html, quality_page(results, pictures, f"{manifest.name} {manifest.version}", bands.limits))
        log.info("written: %s", config.html)
    return Outcome(result, exit_code=2 if summary["failed"] else 0)


def _measure(file: str, manifest: ClassifierManifest) -> tuple[Entry, Image.Image | None]:
    """Return a file's entry, and its picture, None if unusable."""
    try:
        with silent_libraries():
            whole = read_image(file)
            image = manifest.preprocessing.seen(whole)
    except ImageError as error:
        return failure(file, error.code, str(error)), None
    quality = assess(manifest.preprocessing.resize(image), image.size, manifest.quality)
    return {"file": file, "ok": True, "remarks": list(remarks_on(whole)), "quality": quality.to_dict()}, whole


def _look_closer(
    result: Entry,
    whole: Image.Image,
    manifest: ClassifierManifest,
    repeats: Repeats,
    pictures: dict[str, str] | None,
) -> None:
    """Add what a file's own pixels show to its result: ``scan``, ``marks``, what it repeats, and its small picture."""
    file = result["file"]
    is_ultrasound = manifest.checks.kind == BREAST_ULTRASOUND
    area = manifest.preprocessing.scan_area(whole)
    scan, levels = whole.crop(area.box) if area else whole, grey_levels(whole)
    mask = _mask_of(file, whole) if is_ultrasound else None
    lesion = mask.crop(area.box) if mask and area else mask
    names = [name for name in SCAN if is_ultrasound or name != "speckle_snr"]
    result["scan"] = asdict(assess_scan(scan, manifest.scan_bands.limits, lesion, names))
    result["marks"] = find_marks(whole, area.box if area else None).summary if is_ultrasound else ""
    repeated = repeats.find(file, take_fingerprint(levels, manifest.preprocessing.resize(scan)))
    result.update(repeated if is_ultrasound else {**repeated, "seems_copy_of": None})
    if pictures is not None:
        from sonoforge.runtime.pages.cards import address  # noqa: PLC0415 - only with --html

        pictures[file] = address(whole)


def _mask_of(file: str, scan: Image.Image) -> Image.Image | None:
    """Return the mask beside a scan; None if it is missing, unreadable or of another size."""
    path = Path(file)
    beside = path.with_name(f"{path.stem}_mask.png")
    try:
        mask = read_image(beside) if beside.is_file() else None
    except ImageError as error:
        log.warning("%s; its scan has no gCNR", error)
        return None
    if mask and mask.size != scan.size:
        log.warning("%s: has %s pixels, not its scan's %s; no gCNR", beside, mask.size, scan.size)
        return None
    return mask


def _print_result(result: Entry, width: int) -> None:
    name = cell(result["file"], width)
    if not result["ok"]:
        error = result["error"]
        log.error("%-*s  error (%s): %s", width, name, error["code"], printable(error["message"]))
        return
    quality = result["quality"]
    numbers = " ".join(f"{quality[name]:>7{metric.form}}" for name, metric in METRICS.items())
    found = result.get("scan")
    if found:
        numbers += "".join(
            f" {'-' if value is None else format(value, SCAN[name].form):>7}"
            for name, value in found["metrics"].items()
        )
    notes = [*result["remarks"], *map(flag_in_words, quality["flags"])]
    for flag in found["flags"] if found else ():
        metric, _, side = flag.rpartition("_")
        notes.append(f"{SCAN[metric].title} {side}")
    if found and found["lesion"] and found["lesion"]["gcnr"] is not None:
        notes.append(f"lesion gCNR {found['lesion']['gcnr']:.2f}")
    if result.get("marks"):
        notes.append(f"burned in: {result['marks']}")
    notes += [printable(sentence) for sentence in in_words(result)]
    flags = f"  [{'; '.join(notes)}]" if notes else ""
    say("%-*s  %s%s", width, name, numbers, flags)


def _summary(results: Sequence[Entry]) -> dict[str, Any]:
    measured = [result for result in results if result["ok"]]
    flags = Counter(flag for result in measured for flag in _all_flags(result))
    return {
        "files": len(results),
        "ok": len(measured),
        "failed": len(results) - len(measured),
        "quality_flagged": sum(bool(_all_flags(result)) for result in measured),
        "flags": dict(sorted(flags.items())),
    }


def _all_flags(result: Entry) -> list[str]:
    return [*result["quality"]["flags"], *result["scan"]["flags"]]


def _cells(result: Entry) -> dict[str, str]:
    """Return a file's values in the CSV by column; flags are joined by ``|``."""
    quality, scan = result["quality"], result["scan"]
    closer = {**scan["metrics"], **(scan["lesion"] or {})}
    return {
        **{name: repr(quality[name]) for name in METRICS},
        "quality_flags": "|".join(quality["flags"]),
        **{name: repr(value) for name, value in closer.items() if value is not None},
        "scan_flags": "|".join(scan["flags"]),
        "severity": repr(scan["severity"]),
        "marks": result["marks"],
        "copy_of": defused(result["copy_of"] or ""),
        "seems_copy_of": defused(result["seems_copy_of"] or ""),
    }
