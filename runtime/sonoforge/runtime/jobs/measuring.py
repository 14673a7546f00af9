"""Measure the quality of many images, as ``sonoforge quality`` does."""

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

log = logging.getLogger(__name__)


def measure_files(config: QualityConfig) -> dict[str, Any]:
    """Measure every file, printing a row for each; write the table and the page asked for.

    Returns:
        What ``sonoforge quality --json`` prints, see ``sonoforge settings quality``.
    """
    # Pillow's warnings about odd metadata would break up the table.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    manifest = open_bundle(config.bundle or None).manifest
    found = expand(config.paths, config.recursive, films=False)
    results: list[Entry] = []
    pictures: dict[str, str] = {}
    repeats, bands, width = Repeats(), manifest.scan_bands, column_width(found.files)
    titles = [*(metric.title for metric in METRICS.values()), *(metric.title for metric in SCAN.values())]
    with progress_bar("measuring", len(found.files), silenced=True) as advance:
        for number, file in enumerate(found.files, start=1):
            failed = found.failures.get(file)
            results.append(failed or _measure(file, manifest, repeats, pictures if config.html else None))
            if titles and results[-1]["ok"]:  # the first row
                say("%-*s  %s", width, "file", " ".join(f"{title:>7}" for title in titles))
                titles.clear()
            _show(results[-1], width)
            advance(number, None)
    if found.skipped:
        log.info("%s", skipped_in_words(found.skipped))
    if config.csv:
        form = CsvFormat([*METRICS, "quality_flags", *SCAN, *LESION, *_SCAN_CELLS], _cells, about=())
        write_text(config.csv, form.head + "".join(form.line(entry, {}) for entry in results))
        log.info("written: %s", config.csv)
    if config.html:
        from sonoforge.runtime.pages.cards import quality_page  # noqa: PLC0415 - only with --html

        write_text(config.html, quality_page(results, pictures, f"{manifest.name} {manifest.version}", bands.limits))
        log.info("written: %s", config.html)
    return {
        "results": results,
        "model": manifest.identity,
        "summary": {**_summary(results), "skipped": dict(sorted(found.skipped.items()))},
        "reference": {"images": bands.images, "bands": {name: list(band) for name, band in bands.limits.items()}},
        "notice": NOTICE,
    }


def _show(entry: Entry, width: int) -> None:
    """Print one file's figures, a failure on stderr."""
    name = cell(entry["file"], width)
    if not entry["ok"]:
        error = entry["error"]
        log.error("%-*s  error (%s): %s", width, name, error["code"], printable(error["message"]))
        return
    quality, scan = entry["quality"], entry["scan"]
    cells = [f"{quality[key]:>7{metric.form}}" for key, metric in METRICS.items()]
    cells += [f"{'-' if x is None else format(x, SCAN[key].form):>7}" for key, x in scan["metrics"].items()]
    notes = [*entry["remarks"], *map(flag_in_words, quality["flags"])]
    for flag in scan["flags"]:
        metric, _, side = flag.rpartition("_")
        notes.append(f"{SCAN[metric].title} {side}")
    if scan["lesion"] and scan["lesion"]["gcnr"] is not None:
        notes.append(f"lesion gCNR {scan['lesion']['gcnr']:.2f}")
    if entry["marks"]:
        notes.append(f"burned in: {entry['marks']}")
    notes += [printable(sentence) for sentence in in_words(entry)]
    say("%-*s  %s%s", width, name, " ".join(cells), f"  [{'; '.join(notes)}]" if notes else "")


def _measure(file: str, manifest: ClassifierManifest, repeats: Repeats, pictures: dict[str, str] | None) -> Entry:
    """Return a file's entry; keep its small picture if there are any."""
    preprocessing, is_ultrasound = manifest.preprocessing, manifest.checks.kind == BREAST_ULTRASOUND
    try:
        with silent_libraries():
            whole = read_image(file)
    except ImageError as error:
        return failure(file, error.code, str(error))
    area = preprocessing.scan_area(whole)
    scan, mask = whole.crop(area.box) if area else whole, _mask_of(file, whole) if is_ultrasound else None
    lesion = mask.crop(area.box) if mask and area else mask
    names = [name for name in SCAN if is_ultrasound or name != "speckle_snr"]
    view = preprocessing.resize(scan)
    repeated = repeats.find(file, take_fingerprint(grey_levels(whole), view))
    if pictures is not None:
        from sonoforge.runtime.pages.cards import address  # noqa: PLC0415 - only with --html

        pictures[file] = address(whole)
    return {
        "file": file,
        "ok": True,
        "remarks": list(remarks_on(whole)),
        "quality": assess(view, scan.size, manifest.quality).to_dict(),
        "scan": asdict(assess_scan(scan, manifest.scan_bands.limits, lesion, names)),
        "marks": find_marks(whole, area.box if area else None).summary if is_ultrasound else "",
        **repeated,
        **({} if is_ultrasound else {"seems_copy_of": None}),
    }


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
