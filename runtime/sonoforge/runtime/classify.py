"""``sonoforge classify``: answer for images, folders and globs, offline.

JSON (``--json``) is one object: ``results``, one entry for each file as `Classifier.classify` documents it, in the
order given; ``model``, ``{"name", "version", "sha256"}``; ``summary``, ``{"files", "ok", "failed", "labels": {class:
count}, "not_trusted", "quality_flagged"}``; ``notice``.  CSV (``--csv``) holds one row for each file.

Exit code 0 when every file was answered; 2 when any could not be: its entry says why, and the answers of the others
are printed and written all the same.
"""

from __future__ import annotations

import contextlib
import glob
import io
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sonoforge.runtime.commandline import Outcome, option

EXAMPLES = """
sonoforge classify scan.png
sonoforge classify scans/ --recursive --csv answers.csv
sonoforge classify 'scans/*.png' --json --quiet > answers.json
sonoforge classify scan.png --bundle bundle.zip

exit code: 0 every file was answered; 2 some file could not be (the others are answered all the same)
"""

NOTICE = "Research use, not a medical device."

# Which files of a folder are taken; a file named on the command line is judged by its content alone.
_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".tif", ".tiff", ".bmp", ".dib", ".gif", ".webp"),
    *(".pnm", ".pbm", ".pgm", ".ppm"),
)
_WIDEST_NAME = 48

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Config:
    """Settings of ``sonoforge classify``."""

    paths: tuple[str, ...] = option(positional=True, help="images, folders (less their masks) and globs (quoted too)")
    bundle: str = option("", help="folder or .zip of a bundle; without it, the one shipped", metavar="PATH")
    csv: str = option("", help="also write one row for each file to this CSV file", metavar="FILE")
    recursive: bool = option(False, help="look into the subfolders of folders")
    threads: int = option(1, help="threads for one inference", minimum=1, maximum=256)


def main(config: Config) -> Outcome:
    """Classify every file; see the top of this module for the result and the exit code."""
    from sonoforge.runtime.classifier import Classifier  # noqa: PLC0415 - not for --help or a wrong flag

    # Pillow's remarks on odd metadata would stand between the lines of the table.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    classifier = Classifier(config.bundle or None, config.threads)
    files, failures = _expand(config.paths, config.recursive)
    results = []
    name_width = min(_WIDEST_NAME, max((len(_printable(file)) for file in files), default=4))
    label_width = max(map(len, (*classifier.bundle.classes, "label")))
    alpha = classifier.bundle.manifest.alpha
    if files:
        log.info("%s", _row("file", "label", "prob.", "trust", f"set at {1 - alpha:.0%}", "", name_width, label_width))
    for file in files:
        with _silent_decoders():
            result = failures.get(file) or classifier.classify(file)
        results.append(result)
        _print_result(result, name_width, label_width)
    summary = _summary(results, classifier.bundle.classes)
    log.info(
        "%d of %d files answered, %d not trusted, %d with quality flags.  %s",
        *(summary[key] for key in ("ok", "files", "not_trusted", "quality_flagged")),
        NOTICE,
    )
    if config.csv:
        from sonoforge.runtime.atomic import write_text  # noqa: PLC0415 - only with --csv

        write_text(config.csv, _csv(results, classifier.bundle.classes))
        log.info("written: %s", config.csv)
    result = {"results": results, "model": classifier.model, "summary": summary, "notice": NOTICE}
    next_command = f"sonoforge verify '{config.bundle}'" if config.bundle else "sonoforge verify"
    return Outcome(result, next_command, 2 if summary["failed"] else 0)


def _expand(paths: Sequence[str], recursive: bool) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Turn files, folders and globs into files, each once, in order; and the failures among them by name."""
    files: dict[str, None] = {}
    failures = {}
    for path in paths:
        if not os.path.lexists(path) and glob.has_magic(path):
            matches = sorted(glob.glob(path, recursive=True))  # noqa: PTH207 - absolute patterns too
            if not matches:
                files[path] = None
                failures[path] = _failure(path, "not_found", "no file matches this pattern")
        else:
            matches = [path]
        for match in matches:
            if not Path(match).is_dir():
                files[match] = None
                continue
            found = list(_images_in(match, recursive))
            files.update(dict.fromkeys(found))
            if not found and match == path:  # a folder that a glob happened to match may hold none
                files[match] = None
                hint = "" if recursive else "; --recursive looks into its subfolders"
                failures[match] = _failure(match, "is_directory", f"this folder holds no image files{hint}")
    return list(files), failures


def _images_in(folder: str, recursive: bool) -> Iterator[str]:
    """Yield the image files of a folder by suffix, sorted; hidden ones and masks beside their image are left out."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if recursive else []
        images = [name for name in sorted(names) if name.lower().endswith(_SUFFIXES) and not name.startswith(".")]
        stems = {Path(name).stem for name in images}
        for name in images:
            if not _is_mask(Path(name).stem, stems):
                yield str(Path(place) / name)


def _is_mask(stem: str, stems: set[str]) -> bool:
    """Whether it is ``NAME_mask`` or ``NAME_mask_1`` beside an image ``NAME``, as in BUSI."""
    image, found, number = stem.rpartition("_mask")
    return bool(found) and image in stems and (not number or (number[0] == "_" and number[1:].isdecimal()))


@contextlib.contextmanager
def _silent_decoders() -> Iterator[None]:
    """Keep libtiff's own remarks, written past Python, from standing between the lines of the table."""
    try:
        saved = os.dup(2)
    except OSError:  # started without a stderr
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def _failure(path: str, code: str, message: str) -> dict[str, Any]:
    return {"file": path, "ok": False, "error": {"code": code, "message": f"{path}: {message}"}}


def _print_result(result: dict[str, Any], name_width: int, label_width: int) -> None:
    name = _printable(result["file"])
    if len(name) > name_width:
        name = "..." + name[3 - name_width :]
    if not result["ok"]:
        message = _printable(result["error"]["message"])
        log.warning("%-*s  error (%s): %s", name_width, name, result["error"]["code"], message)
        return
    label, trust = result["label"], result["trust"]
    remarks = [*trust["reasons"], *result["quality"]["flags"]]
    log.info(
        "%s",
        _row(
            name,
            label,
            f"{result['probabilities'][label]:.3f}",
            f"{trust['score']:.2f}{'' if trust['in_distribution'] else ' !'}",
            ", ".join(result["set"]) or "none",
            "; ".join(remarks),
            name_width,
            label_width,
        ),
    )


def _row(
    name: str, label: str, probability: str, trust: str, label_set: str, remarks: str, name_width: int, label_width: int
) -> str:
    row = f"{name:<{name_width}}  {label:<{label_width}}  {probability:>5}  {trust:<6}  {label_set}"
    return f"{row}  [{remarks}]" if remarks else row


def _printable(text: str) -> str:
    """Keep a hostile file name from moving the cursor or breaking the line."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _summary(results: list[dict[str, Any]], classes: Sequence[str]) -> dict[str, Any]:
    answered = [result for result in results if result["ok"]]
    labels = [result["label"] for result in answered]
    return {
        "files": len(results),
        "ok": len(answered),
        "failed": len(results) - len(answered),
        "labels": {name: labels.count(name) for name in classes},
        "not_trusted": sum(not result["trust"]["in_distribution"] for result in answered),
        "quality_flagged": sum(bool(result["quality"]["flags"]) for result in answered),
    }


def _csv(results: list[dict[str, Any]], classes: Sequence[str]) -> str:
    """Return one header line and one line for each file; lists are joined by ``|``."""
    import csv  # noqa: PLC0415 - only with --csv

    from sonoforge.runtime.image_quality import METRICS  # noqa: PLC0415

    header = ["file", "ok", "label", *(f"p_{name}" for name in classes), "set", "trust_score", "in_distribution"]
    header += ["trust_reasons", *METRICS, "quality_flags", "error_code", "error_message"]
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, header, restval="", lineterminator="\n")
    writer.writeheader()
    for result in results:
        row = {"file": result["file"], "ok": str(result["ok"]).lower()}
        if result["ok"]:
            row |= {f"p_{name}": repr(value) for name, value in result["probabilities"].items()}
            row |= {name: repr(result["quality"][name]) for name in METRICS}
            row |= {
                "label": result["label"],
                "set": "|".join(result["set"]),
                "trust_score": repr(result["trust"]["score"]),
                "in_distribution": str(result["trust"]["in_distribution"]).lower(),
                "trust_reasons": "|".join(result["trust"]["reasons"]),
                "quality_flags": "|".join(result["quality"]["flags"]),
            }
        else:
            row |= {"error_code": result["error"]["code"], "error_message": result["error"]["message"]}
        writer.writerow(row)
    return buffer.getvalue()
