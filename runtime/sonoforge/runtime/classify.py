"""``sonoforge classify``: answer for images, folders and globs, offline.

JSON (``--json``) is one object: ``results``, one entry for each file as `Classifier.classify` documents it, in the
order given; ``model``, ``{"name", "version", "sha256"}``; ``summary``, ``{"files", "ok", "failed", "labels": {class:
count}, "not_trusted", "quality_flagged"}``; ``notice``.  CSV (``--csv``) holds one row for each file.

Exit code 0 when every file was answered; 2 when any could not be: its entry says why, and the answers of the others
are printed and written all the same.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sonoforge.runtime.commandline import Outcome, option
from sonoforge.runtime.input_files import cell, column_width, expand, printable, silent_decoders

EXAMPLES = """
sonoforge classify scan.png
sonoforge classify scans/ --recursive --csv answers.csv
sonoforge classify 'scans/*.png' --json --quiet > answers.json
sonoforge classify scan.png --bundle bundle.zip

exit code: 0 every file was answered; 2 some file could not be (the others are answered all the same)
"""

NOTICE = "Research use, not a medical device."

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
    files, failures = expand(config.paths, config.recursive)
    results = []
    name_width = column_width(files)
    label_width = max(map(len, (*classifier.bundle.classes, "label")))
    alpha = classifier.bundle.manifest.alpha
    if files:
        log.info("%s", _row("file", "label", "prob.", "trust", f"set at {1 - alpha:.0%}", "", name_width, label_width))
    for file in files:
        with silent_decoders():
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


def _print_result(result: dict[str, Any], name_width: int, label_width: int) -> None:
    name = cell(result["file"], name_width)
    if not result["ok"]:
        message = printable(result["error"]["message"])
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
