"""``sonoforge quality``: the quality of each image, and the distance of a set of images from a reference set, offline.

JSON (``--json``) is one object:

* ``results``: one entry for each file in the order given, ``{"file", "ok": True, "remarks": [phrases],
  "quality": {metric: value, ..., "flags": []}, "scan": {"metrics", "lesion", "flags", "advice", "severity"}, "marks",
  "copy_of", "seems_copy_of"}``, or
  ``{"file", "ok": False, "error": {"code", "message"}}``.  ``quality`` has the metrics of
  `images.quality_metrics.measure`, in the network's view, as ``classify`` gives them; ``scan`` those of
  `quality_metrics`, in the scan's own pixels: ``lesion`` is null without a mask ``NAME_mask.png`` beside the file;
  ``advice`` has a sentence for each flag, ``severity`` says how far out of range they are, in widths of the band.
  With a bundle of other images than breast ultrasound, on which these were not measured, ``speckle_snr``, ``lesion``
  and ``seems_copy_of`` are null, and ``marks`` empty.
  ``marks`` says what is burned in, as text; ``copy_of`` names the first file of the batch with the same pixels,
  ``seems_copy_of`` an earlier one that seems to show the same picture, saved again, scaled or brightened;
* ``model``: ``{"name", "version", "sha256"}`` of the bundle that the reference ranges and the embedding are from;
* ``summary``: ``{"files", "ok", "failed", "quality_flagged", "flags": {flag: count}, "skipped": {kind:
  count}}``: flags of both kinds; skipped are files of a folder that are no scans, as ``classify`` counts them;
* ``reference``: ``{"images", "bands": {metric: [low, high]}}`` for ``scan``: 5th and 95th percentile of so many
  training images; no bands where the bundle has none;
* ``against``: null, or with ``--against FOLDER`` ``{"folder", "files", "ok", "failed": [entries], "distances",
  "protocol"}``.  ``distances`` holds for each of ``frechet``, ``kid``, ``sliced_wasserstein``, ``precision`` and
  ``recall`` the fields of `sonoforge.runtime.distances.halves.Measured`: the value on all images, its mean and 95 %
  interval over repeated halves, the same of reference images against reference images (the floor), and the ratio
  (up to 1: indistinguishable from reference images at this number); ``kid`` also has a ``standard_error``.  Null
  where there are too few images: for all but ``value`` where the halves are too small, for the whole entry where
  the sets are.  ``protocol`` is what a figure must be quoted with: features, counts, resize, seed, repeats;
* ``notice``.

CSV (``--csv``) holds one row for each file; ``--html`` shows the scans with their figures, the worst first.

Near-duplicates are unknown here: each image counts as its own group, so that copies among the reference images make
the floor too low.  Images that are in both sets make the distances too small, and KID negative.

Exit code 0 when every file was measured; 2 when any could not be, including those of the reference folder: the others
still are.
"""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sonoforge.runtime.atomic import write_text
from sonoforge.runtime.bundle.classification import BREAST_ULTRASOUND, ClassifierManifest
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.answer_files import CsvFormat
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.cli.progress import progress_bar
from sonoforge.runtime.csv_tables import defused
from sonoforge.runtime.distances.halves import DEFINITIONS, DISTANCES, REPEATS, SEED, Distances, measure_distances
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.burned_in_marks import find_marks
from sonoforge.runtime.images.decoding import read_image
from sonoforge.runtime.images.inputs import (
    Entry,
    Found,
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
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.runtime.inference.result import Result
from sonoforge.runtime.inference.trust import LEAST_KNOWN
from sonoforge.runtime.notice import NOTICE
from sonoforge.runtime.verbs.settings import QualityConfig

_SCAN_CELLS = ("scan_flags", "severity", "marks", "copy_of", "seems_copy_of")
_HEADINGS = (*(metric.title for metric in METRICS.values()), *(metric.title for metric in SCAN.values()))

log = logging.getLogger(__name__)


def main(config: QualityConfig) -> Outcome:
    """Measure every file, and with ``--against`` the two sets; see the top of this module for the result."""
    # Pillow's warnings about odd metadata would break up the table.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    if config.against and not Path(config.against).is_dir():
        raise SonoforgeError(f"--against {printable(config.against)}: no such folder; give one of reference images")
    bundle = open_bundle(config.bundle or None)
    classifier = Classifier(bundle, config.threads) if config.against else None
    found = expand(config.paths, config.recursive, films=False)
    results, embeddings = [], []
    pictures: dict[str, str] = {}
    repeats = Repeats()
    bands = bundle.manifest.scan_bands
    width = column_width(found.files)
    if found.files:
        say("%-*s  %s", width, "file", " ".join(f"{heading:>7}" for heading in _HEADINGS))
    for result, answer, whole in _each("measuring", found, bundle.manifest, classifier):
        results.append(result)
        if answer is not None:
            embeddings.append(answer.embedding)
        if whole is not None:
            _look_closer(result, whole, bundle.manifest, repeats, pictures if config.html else None)
        _print_result(result, width)
    summary = {**_summary(results), "skipped": dict(sorted(found.skipped.items()))}
    if not bands.limits:
        say("no reference for %s: the bundle has no bands of them", ", ".join(SCAN))
    say(
        "%d of %d files measured, %d with a fault.\n%s",
        *(summary[key] for key in ("ok", "files", "quality_flagged")),
        NOTICE,
    )
    if found.skipped:
        log.info("%s", skipped_in_words(found.skipped))
    if config.csv:
        form = CsvFormat([*METRICS, "quality_flags", *SCAN, *LESION, *_SCAN_CELLS], _cells, about=())
        write_text(config.csv, form.head + "".join(form.line(entry, {}) for entry in results))
        log.info("written: %s", config.csv)
    against = _compare(config, classifier, embeddings) if classifier else None
    result = {
        "results": results,
        "model": bundle.manifest.identity,
        "summary": summary,
        "reference": {"images": bands.images, "bands": {name: list(band) for name, band in bands.limits.items()}},
        "against": against,
        "notice": NOTICE,
    }
    if config.html:
        from sonoforge.runtime.pages.cards import quality_page  # noqa: PLC0415 - only with --html

        model = f"{bundle.manifest.name} {bundle.manifest.version}"
        write_text(config.html, quality_page(results, pictures, model, bands.limits))
        log.info("written: %s", config.html)
    return Outcome(result, exit_code=2 if summary["failed"] or (against and against["failed"]) else 0)


_Measured = tuple[Entry, Result | None, Image.Image | None]
"""A file's result; the answer where there is a classifier; and the picture, None if unusable."""


def _each(title: str, found: Found, manifest: ClassifierManifest, classifier: Classifier | None) -> Iterator[_Measured]:
    """Measure file after file, and show the progress."""
    with progress_bar(title, len(found.files), silenced=True) as advance:
        for number, file in enumerate(found.files, start=1):
            failed = found.failures.get(file)
            yield (failed, None, None) if failed else _measure(file, manifest, classifier)
            advance(number, None)


def _measure(file: str, manifest: ClassifierManifest, classifier: Classifier | None) -> _Measured:
    try:
        with silent_libraries():
            whole = read_image(file)
            image = manifest.preprocessing.seen(whole)
    except ImageError as error:
        return failure(file, error.code, str(error)), None, None
    answer = classifier.classify(whole) if classifier else None
    quality = answer.quality if answer else assess(manifest.preprocessing.resize(image), image.size, manifest.quality)
    own = {"file": file, "ok": True, "remarks": list(remarks_on(whole)), "quality": quality.to_dict()}
    return own, answer, whole


def _look_closer(
    result: Entry,
    whole: Image.Image,
    manifest: ClassifierManifest,
    repeats: Repeats,
    pictures: dict[str, str] | None,
) -> None:
    """Add to a file's result what its own pixels show: ``scan``, ``marks``, what it repeats; and its small picture."""
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
    """Return the mask beside a scan; None where there is none, none that can be read, or one of another size."""
    path = Path(file)
    beside = path.with_name(f"{path.stem}_mask.png")
    try:
        mask = read_image(beside) if beside.is_file() else None
    except ImageError as error:
        log.warning("%s; its scan has no gCNR", error)
        return None
    if mask and mask.size != scan.size:
        log.warning("%s: found %s pixels, expected %s as its scan has; no gCNR", beside, mask.size, scan.size)
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
    told = [*result["remarks"], *map(flag_in_words, quality["flags"])]
    for flag in found["flags"] if found else ():
        metric, _, side = flag.rpartition("_")
        told.append(f"{SCAN[metric].title} {side}")
    if found and found["lesion"] and found["lesion"]["gcnr"] is not None:
        told.append(f"lesion gCNR {found['lesion']['gcnr']:.2f}")
    if result.get("marks"):
        told.append(f"burned in: {result['marks']}")
    told += [printable(sentence) for sentence in in_words(result)]
    flags = f"  [{'; '.join(told)}]" if told else ""
    say("%-*s  %s%s", width, name, numbers, flags)


def _compare(config: QualityConfig, classifier: Classifier, given: list[NDArray[Any]]) -> dict[str, Any]:
    """Read the reference images, measure the distances to them and print both; see the top for the result."""
    manifest = classifier.bundle.manifest
    found = expand((config.against,), config.recursive, films=False)
    reference, failed = [], []
    for result, answer, _ in _each("measuring the reference images", found, manifest, classifier):
        if answer is not None:
            reference.append(answer)
        else:
            failed.append(result)
            _print_result(result, column_width(found.files))
    if min(len(given), len(reference)) < 2:
        raise SonoforgeError(
            f"--against {printable(config.against)}: found {len(given)} usable images given and {len(reference)} "
            "reference images, expected at least 2 of each, and 8 for every floor; give more images"
        )
    known = sum(answer.trust.in_distribution for answer in reference) / len(reference)
    if known < LEAST_KNOWN:
        log.warning(
            "the bundle knows %.0f%% of the reference images, so it was trained on another kind: distances in its "
            "network say little about them; give --bundle of your own, or see sonoforge evaluate",
            100 * known,
        )
    distances, size = measure_distances(np.stack(given), np.stack([answer.embedding for answer in reference]))
    protocol = _protocol(classifier, len(given), len(reference), size)
    _print_distances(distances, protocol)
    return {
        "folder": config.against,
        "files": len(found.files),
        "ok": len(reference),
        "failed": failed,
        "distances": distances,
        "protocol": protocol,
    }


def _protocol(classifier: Classifier, given: int, reference: int, size: int) -> dict[str, Any]:
    from importlib.metadata import version  # noqa: PLC0415 - slow to import

    preprocessing, model = classifier.bundle.manifest.preprocessing, classifier.model
    side = preprocessing.size
    return {
        "features": f"embedding of the bundle {model['name']} {model['version']}",
        "model_sha256": model["sha256"],
        "given": given,
        "reference": reference,
        "n": size,
        "repeats": REPEATS if size >= 2 else 0,
        "seed": SEED,
        "resize": f"{preprocessing.resample} (Pillow, antialiased) to {side}x{side}",
        "groups": "each image its own; near-duplicates are unknown",
        "definitions": DEFINITIONS,
        "sonoforge": version("sonoforge"),
    }


def _print_distances(distances: Distances, protocol: dict[str, Any]) -> None:
    say(
        "%-18s  %9s  %-31s  %-31s  %s",
        "", "value", f"{protocol['n']} and {protocol['n']} (95 %)", "reference against itself (95 %)", "ratio",
    )  # fmt: skip
    for name, (title, fewest, _) in DISTANCES.items():
        found = distances[name]
        if found is None:
            say("%-18s  too few images, expected at least %d of each", title, fewest)
        elif found["matched"] is None:
            say("%-18s  %9.4g  no floor: expected at least %d images of each", title, found["value"], 2 * fewest)
        else:
            spans = [
                f"{found[kind]:9.4g} [{found[f'{kind}_low']:.4g}, {found[f'{kind}_high']:.4g}]"
                for kind in ("matched", "floor")
            ]
            ratio = "-" if found["ratio"] is None else f"{found['ratio']:.2f}"
            error = f"  standard error {found['standard_error']:.2g}" if name == "kid" else ""
            say("%-18s  %9.4g  %-31s  %-31s  %s%s", title, found["value"], *spans, ratio, error)
    say(
        "ratio up to 1: indistinguishable from reference images at this number.  %s (model sha256 %s), %d given and %d "
        "reference images, halves of %d, %d repeats, seed %d, resize %s, groups: %s, sonoforge %s.  %s",
        protocol["features"], protocol["model_sha256"][:16], protocol["given"], protocol["reference"], protocol["n"],
        protocol["repeats"], protocol["seed"], protocol["resize"], protocol["groups"], protocol["sonoforge"], NOTICE,
    )  # fmt: skip


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
