"""Fit a bundle's decision rules to one clinic with a few labelled scans, as ``sonoforge adapt`` does.

It answers the scans with the bundle; counts class shares, fits sets for these, and moves operating points towards the
clinic's own (`inference.adaptation`); measures how far out the scans are, labelled or not; tests on each patient's
scans what was fitted on all others; and writes a *site bundle* (`inference.site_bundle`).
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sonoforge.runtime.cli.answering import Answering, Extras, answer_all
from sonoforge.runtime.csv_tables import Names, named_files, one_spelling, read_table
from sonoforge.runtime.errors import SonoforgeError, did_you_mean
from sonoforge.runtime.images.folders import is_system_folder
from sonoforge.runtime.images.inputs import Entry, expand, printable
from sonoforge.runtime.inference import adaptation
from sonoforge.runtime.inference.adaptation import Floats, Whole
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.runtime.inference.decision import AtClinic
from sonoforge.runtime.inference.site_bundle import Fitted, record_of, site_manifest, write_site_bundle
from sonoforge.runtime.inference.trust import Cause, how_far
from sonoforge.runtime.notice import NOTICE
from sonoforge.runtime.settings import AdaptConfig

LEAST_SCANS, LEAST_GROUPS = 10, 5
_UNLABELLED = "unlabelled"
_NOT_MEASURED = {Cause.OTHER_KIND.value, Cause.NOT_ONE_SCAN.value, Cause.POOR_SCAN.value}
"""Distance of a scan that does not show how far out the clinic's scans are."""

log = logging.getLogger(__name__)


class Adapted(NamedTuple):
    """What was fitted to a clinic's scans."""

    answers: dict[str, Any]  # what ``sonoforge adapt --json`` prints, see `sonoforge.runtime.verbs.adapt`
    fitted: Fitted


class Scans(NamedTuple):
    """A clinic's files."""

    labels: dict[str, str]  # the class of each, empty without a label
    groups: dict[str, str]  # of those that have one


class Answered(NamedTuple):
    """What the bundle says about a clinic's scans."""

    equal: Floats  # (N, C) probabilities of equally frequent classes for the labelled scans
    labels: Whole  # (N,) classes
    groups: Whole  # (N,) patients
    unlabelled: int  # scans without a class
    times: Floats  # (M,) `trust.how_far` of all scans that are fit to be measured
    patients: Whole  # (M,) of these
    failed: list[Entry]  # of the files that were not answered


def adapt(config: AdaptConfig) -> Adapted:
    """Fit a bundle to labelled scans, and write the site bundle unless it is worse on them.

    Raises:
        SonoforgeError: Scans are missing, mislabelled or too few; the target exists; the bundle is adapted already.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")
    if not config.data:
        raise SonoforgeError(
            "--data is missing: give a folder with a subfolder for each class, or a CSV with file, label and group"
        )
    folder = Path(config.out)
    if folder.exists():
        raise SonoforgeError(f"--out: {folder} already exists; choose another folder or remove it")
    classifier = Classifier(config.bundle or None, config.threads, asked=AtClinic(sensitivity=config.sensitivity))
    bundle = classifier.bundle
    if bundle.manifest.site:
        raise SonoforgeError(f"{bundle.path}: is already adapted to a site; adapt the original")
    scans = read_scans(Path(config.data), bundle.classes)
    named = {file: label for file, label in scans.labels.items() if label}
    _check_enough(list(named.values()), [scans.groups.get(file, file) for file in named], config.data)
    answered = _answered(classifier, scans, (config.workers, config.threads))
    equal, labels, groups = answered[:3]
    _check_enough(labels.tolist(), groups.tolist(), config.data)
    start = adaptation.rules_of(bundle.manifest, classifier.clinic.prevalence)
    crossed = adaptation.cross_fitted(equal, labels, groups, start)
    asked = (start, config.sensitivity)
    compared = adaptation.compare(adaptation.decide_all(equal, start), crossed, labels, groups, asked)
    rules = adaptation.fit_rules(equal, labels, start)
    reach = adaptation.measure_reach(answered.times, answered.patients)
    fitted = Fitted(rules, crossed, compared, config.sensitivity, reach)
    change = compared["accuracy"].change
    verdict = "worse" if change.high < 0 else "better" if change.low > 0 else "not told apart"
    moved = zip(bundle.classes, start.thresholds.tolist(), rules.thresholds.tolist(), strict=True)
    answers: dict[str, Any] = {
        "bundle": config.bundle or str(bundle.path),
        "site_bundle": None if verdict == "worse" else str(folder),
        "scans": {name: int((labels == i).sum()) for i, name in enumerate(bundle.classes)},
        "groups": len(np.unique(groups)),
        "unlabelled": answered.unlabelled,
        "failed": answered.failed,
        "prevalence": dict(zip(bundle.classes, rules.prevalence.tolist(), strict=True)),
        "thresholds": {name: pair for name, *pair in moved},
        "points": {
            one.name: [float(each.thresholds[np.argmin(np.abs(each.aims - config.sensitivity))]) for each in (one, own)]
            for one, own in zip(start.questions, rules.questions, strict=True)
        },
        "trust": reach._asdict(),
        "figures": {
            name: {"before": row["before"][0], "after": row["after"][0], "change": row["change"]}
            for name, row in record_of(compared).items()
        },
        "verdict": verdict,
        "notice": NOTICE,
    }
    if verdict != "worse":
        write_site_bundle(bundle, site_manifest(bundle, fitted, labels, groups), fitted, folder)
    return Adapted(answers, fitted)


def read_scans(data: Path, classes: tuple[str, ...]) -> Scans:
    """Read which file has which label: folders named after the classes, or a CSV file ``file,label[,group]``.

    Files directly in the folder or in its folder ``unlabelled``, and rows without a label, have none.
    """
    if data.is_dir():
        return _read_folders(data, classes)
    if data.is_file():
        return _read_csv(data, classes)
    raise SonoforgeError(
        f"--data: {printable(str(data))} does not exist; give a folder with one for each class, or a .csv"
    )


def _read_folders(data: Path, classes: tuple[str, ...]) -> Scans:
    labels = dict.fromkeys(_images(data, recursive=False), "")
    for folder in sorted(item for item in data.iterdir() if item.is_dir() and not is_system_folder(item.name)):
        name = "" if folder.name.lower() == _UNLABELLED else folder.name
        name = _as_class(f"--data: folder {printable(folder.name)}", name, classes)
        labels |= dict.fromkeys(_images(folder, recursive=True), name)
    return Scans(labels, {})


def _images(folder: Path, recursive: bool) -> list[str]:
    found = expand([str(folder)], recursive, generated=False)
    return [file for file in found.files if file not in found.failures]


def _read_csv(data: Path, classes: tuple[str, ...]) -> Scans:
    labels, groups = {}, {}
    rows = read_table(data, ("file", "label"), "give CSV: file,label[,group]").rows
    patients = one_spelling((row.get("group", "") for row in rows), str(data))
    files = Names(named_files(data.parent, rows), data.parent.resolve().name)
    for row in rows:
        file, where = str(data.parent / files.find(row["file"])), f"--data: {data}: line {row.line}"
        label = _as_class(where, row["label"], classes)
        if file in labels:
            raise SonoforgeError(f"{where}: {printable(file)} is listed twice; list each file once")
        labels[file] = label
        if group := patients[row.get("group", "")]:
            groups[file] = group
    return Scans(labels, groups)


def _as_class(where: str, name: str, classes: tuple[str, ...]) -> str:
    """Return the class that a name means, ignoring case; keep an empty name."""
    found = next((known for known in classes if known.casefold() == name.strip().casefold()), name)
    if found and found not in classes:
        hint = did_you_mean(name, classes)
        raise SonoforgeError(f"{where}: {printable(name)!r} is not one of {', '.join(classes)}{hint}")
    return found


def _answered(classifier: Classifier, scans: Scans, workers: tuple[int, int]) -> Answered:
    """Answer the scans; repeats of a scan without a patient are its patient's."""
    files, failed, answering = list(scans.labels), list[Entry](), Answering(classifier, {}, Extras())
    answering.name(files)
    group_of, answered = dict[str, str](), list[Entry]()
    for entry in answer_all(answering.answer, files, "answering", workers):
        file = entry["file"]
        if not entry["ok"]:
            failed.append(entry)
            log.warning("%s: not used: %s", printable(file), printable(entry["error"]["message"]))
            continue
        answering.mark_repeat(entry)
        answered.append(entry)
        copied = entry["copy_of"] or entry["seems_copy_of"]
        group_of[file] = scans.groups.get(file) or (group_of[copied] if copied else f"file {file}")
    classes, manifest = classifier.bundle.classes, classifier.bundle.manifest
    numbers = {name: number for number, name in enumerate(dict.fromkeys(group_of.values()))}
    number_of = {file: numbers[name] for file, name in group_of.items()}
    labelled = [entry for entry in answered if scans.labels[entry["file"]]]
    fit = [entry for entry in answered if not _NOT_MEASURED & set(entry["trust"]["causes"])]
    times = [how_far(e["trust"]["distance"], e["trust"]["neighbour_distance"], manifest) for e in fit]
    return Answered(
        np.array([[e["probabilities"][c] for c in classes] for e in labelled]).reshape(len(labelled), len(classes)),
        np.array([classes.index(scans.labels[entry["file"]]) for entry in labelled], dtype=np.int64),
        np.array([number_of[entry["file"]] for entry in labelled], dtype=np.int64),
        len(answered) - len(labelled),
        np.array(times),
        np.array([number_of[entry["file"]] for entry in fit], dtype=np.int64),
        failed,
    )


def _check_enough(labels: Sequence[Any], groups: Sequence[Any], data: str) -> None:
    """Refuse too few labelled scans, counting first those listed, then those answered, by patient."""
    scans, patients, kinds = len(labels), len(set(groups)), len(set(labels))
    if scans < LEAST_SCANS or patients < LEAST_GROUPS or kinds < 2:
        raise SonoforgeError(
            f"--data: {printable(data)} has {scans} labelled scans of {patients} patients and {kinds} classes; give at "
            f"least {LEAST_SCANS} of {LEAST_GROUPS} patients and two classes"
        )
