"""Fit a bundle's decision rules to one clinic with a few labelled scans, as ``sonoforge adapt`` does.

It answers the scans with the bundle; counts class shares, fits sets for these, and moves operating points towards the
clinic's own (`inference.adaptation`); measures how far out the scans are, labelled or not; tests on each patient's
scans what was fitted on all others; and writes a *site bundle*: the same network, with a manifest and a card that say
what it was adapted to.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sonoforge.runtime.atomic import plain, replacing_folder, write_json
from sonoforge.runtime.bundle.classification import ClassifierManifest
from sonoforge.runtime.bundle.manifest import with_digest
from sonoforge.runtime.bundle.reader import Bundle, parse_manifest
from sonoforge.runtime.csv_tables import Names, named_files, one_spelling, read_table
from sonoforge.runtime.errors import SonoforgeError, did_you_mean
from sonoforge.runtime.images.folders import is_system_folder
from sonoforge.runtime.images.inputs import Entry, expand, printable
from sonoforge.runtime.inference import adaptation
from sonoforge.runtime.inference.adaptation import Compared, Decided, Floats, Reach, Rules, Whole, can_move
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.runtime.inference.decision import AtClinic
from sonoforge.runtime.inference.trust import Cause, how_far
from sonoforge.runtime.jobs.answering import Answering, answer_all
from sonoforge.runtime.notice import NOTICE, trained_on_in_words
from sonoforge.runtime.settings import AdaptConfig, ClassifyConfig

CARD = "MODEL_CARD.md"
LEAST_SCANS, LEAST_GROUPS = 10, 5
_UNLABELLED = "unlabelled"
_NOT_MEASURED = {Cause.OTHER_KIND.value, Cause.NOT_ONE_SCAN.value, Cause.POOR_SCAN.value}
"""Distance of a scan that does not show how far out the clinic's scans are."""

log = logging.getLogger(__name__)


class Fitted(NamedTuple):
    """What was fitted to a clinic."""

    rules: Rules  # of its bundle
    crossed: Decided  # answers to the labelled scans by rules fitted on the other patients
    compared: Mapping[str, Compared]  # what that changed on these scans
    aim: float  # sensitivity at which the questions were asked
    reach: Reach  # how far out its scans lie, labelled or not
    trained: int | None  # of these, those that trained the network; None if the bundle cannot tell
    warning: str  # that it has some of these


class Answered(NamedTuple):
    """What the bundle says about a clinic's scans."""

    equal: Floats  # (N, C) probabilities of equally frequent classes for the labelled scans
    labels: Whole  # (N,) classes
    groups: Whole  # (N,) patients
    unlabelled: int  # scans without a class
    trained: int | None  # of all scans, those that trained the network; None if the bundle cannot tell
    times: Floats  # (M,) `trust.how_far` of all scans that are fit to be measured
    patients: Whole  # (M,) of these
    failed: list[Entry]  # of the files that were not answered


def adapt(config: AdaptConfig) -> tuple[dict[str, Any], Fitted]:
    """Fit a bundle to labelled scans, and write the site bundle unless it is worse on them.

    Return what ``sonoforge adapt --json`` prints, see its verb, and what was fitted.
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
    label_of, group_of = read_scans(Path(config.data), bundle.classes)
    named = {file: label for file, label in label_of.items() if label}
    _check_enough(list(named.values()), [group_of.get(file, file) for file in named], config.data)
    answered = _answered(classifier, label_of, group_of, (config.workers, config.threads))
    equal, labels, groups = answered[:3]
    _check_enough(labels.tolist(), groups.tolist(), config.data)
    start = adaptation.rules_of(bundle.manifest, classifier.clinic.prevalence)
    crossed = adaptation.cross_fitted(equal, labels, groups, start)
    asked = (start, config.sensitivity)
    compared = adaptation.compare(adaptation.decide_all(equal, start), crossed, labels, groups, asked)
    rules = adaptation.fit_rules(equal, labels, start)
    reach = adaptation.measure_reach(answered.times, answered.patients)
    warning = trained_on_in_words(answered.trained, len(labels) + answered.unlabelled)
    fitted = Fitted(rules, crossed, compared, config.sensitivity, reach, answered.trained, warning)
    change = compared["accuracy"].change
    verdict = "worse" if change.high < 0 else "better" if change.low > 0 else "not told apart"
    moved = zip(bundle.classes, start.thresholds.tolist(), rules.thresholds.tolist(), strict=True)
    answers: dict[str, Any] = {
        "bundle": config.bundle or str(bundle.path),
        "site_bundle": None if verdict == "worse" else str(folder),
        "scans": {name: int((labels == i).sum()) for i, name in enumerate(bundle.classes)},
        "groups": len(np.unique(groups)),
        "unlabelled": answered.unlabelled,
        "trained_on": answered.trained,
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
    return answers, fitted


def read_scans(data: Path, classes: tuple[str, ...]) -> tuple[dict[str, str], dict[str, str]]:
    """Read each file's label and known patient: folders named after the classes, or a CSV ``file,label[,group]``.

    Files directly in the folder or in its folder ``unlabelled``, and rows without a label, have an empty one.
    """
    if data.is_dir():
        return _read_folders(data, classes), {}
    if data.is_file():
        return _read_csv(data, classes)
    raise SonoforgeError(
        f"--data: {printable(str(data))} does not exist; give a folder with one for each class, or a .csv"
    )


def _read_folders(data: Path, classes: tuple[str, ...]) -> dict[str, str]:
    labels = dict.fromkeys(_images(data, recursive=False), "")
    for folder in sorted(item for item in data.iterdir() if item.is_dir() and not is_system_folder(item.name)):
        name = "" if folder.name.lower() == _UNLABELLED else folder.name
        name = _as_class(f"--data: folder {printable(folder.name)}", name, classes)
        labels |= dict.fromkeys(_images(folder, recursive=True), name)
    return labels


def _images(folder: Path, recursive: bool) -> list[str]:
    found = expand([str(folder)], recursive, generated=False)
    return [file for file in found.files if file not in found.failures]


def _read_csv(data: Path, classes: tuple[str, ...]) -> tuple[dict[str, str], dict[str, str]]:
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
    return labels, groups


def _as_class(where: str, name: str, classes: tuple[str, ...]) -> str:
    """Return the class that a name means, ignoring case; keep an empty name."""
    found = next((known for known in classes if known.casefold() == name.strip().casefold()), name)
    if found and found not in classes:
        hint = did_you_mean(name, classes)
        raise SonoforgeError(f"{where}: {printable(name)!r} is not one of {', '.join(classes)}{hint}")
    return found


def _answered(
    classifier: Classifier, label_of: Mapping[str, str], known: Mapping[str, str], workers: tuple[int, int]
) -> Answered:
    """Answer the scans with these labels and known patients; repeats of a scan without a patient are its patient's."""
    files, failed, answering = list(label_of), list[Entry](), Answering(classifier, {}, ClassifyConfig())
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
        group_of[file] = known.get(file) or (group_of[copied] if copied else f"file {file}")
    classes, manifest = classifier.bundle.classes, classifier.bundle.manifest
    numbers = {name: number for number, name in enumerate(dict.fromkeys(group_of.values()))}
    number_of = {file: numbers[name] for file, name in group_of.items()}
    labelled = [entry for entry in answered if label_of[entry["file"]]]
    fit = [entry for entry in answered if not _NOT_MEASURED & set(entry["trust"]["causes"])]
    times = [how_far(e["trust"]["distance"], e["trust"]["neighbour_distance"], manifest) for e in fit]
    return Answered(
        np.array([[e["probabilities"][c] for c in classes] for e in labelled]).reshape(len(labelled), len(classes)),
        np.array([classes.index(label_of[entry["file"]]) for entry in labelled], dtype=np.int64),
        np.array([number_of[entry["file"]] for entry in labelled], dtype=np.int64),
        len(answered) - len(labelled),
        sum(e["trained_on"] for e in answered) if answered and answered[0]["trained_on"] is not None else None,
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


# ---- the site bundle


def site_manifest(bundle: Bundle[ClassifierManifest], fitted: Fitted, labels: Whole, groups: Whole) -> dict[str, Any]:
    """Return the manifest of a site bundle, without the card's hash, for scans of labels and groups (N,)."""
    rules, classes = fitted.rules, bundle.classes
    raw: dict[str, Any] = json.loads(json.dumps(bundle.manifest.raw))
    original = {"thresholds": raw["conformal"]["thresholds"], "questions": raw["decision"]["questions"]}
    raw["conformal"]["thresholds"] = dict(zip(classes, rules.thresholds.tolist(), strict=True))
    moved = [question.name for question in rules.questions if can_move(labels, question)]
    raw["decision"]["questions"] = []
    for record, question, beyond in zip(original["questions"], rules.questions, fitted.crossed.beyond, strict=True):
        if question.name in moved:  # its points were moved, and measured on the site's scans
            about, positive = question.among[labels], question.positive[labels]
            called, spared = beyond[about & positive].mean(axis=0), 1 - beyond[about & ~positive].mean(axis=0)
            points = [
                {"aim": point["aim"], "threshold": float(t), "sensitivity": float(yes), "specificity": float(no)}
                for point, t, yes, no in zip(record["points"], question.thresholds, called, spared, strict=True)
            ]
            record = {**record, "points": points}  # noqa: PLW2901
        raw["decision"]["questions"].append(record)
    reference = np.array([bundle.manifest.reference[name] for name in classes])
    golden = bundle.golden()["probabilities"] / reference
    here, before = (
        [classes[label] for label in (golden * shares).argmax(axis=1)]
        for shares in (rules.prevalence, np.full(len(classes), 1 / len(classes)))
    )
    raw["site"] = {
        "prevalence": dict(zip(classes, rules.prevalence.tolist(), strict=True)),
        "scans": {name: int((labels == i).sum()) for i, name in enumerate(classes)},
        "groups": len(np.unique(groups)),
        "moved": moved,
        "golden": here,
        "golden_before": before,
        "reach": fitted.reach.limit,
        "trust": fitted.reach._asdict(),
        "created": datetime.datetime.now(tz=datetime.timezone.utc).isoformat(timespec="seconds"),
        "manifest_sha256": bundle.manifest_sha256,
        "original": original,
        "figures": record_of(fitted.compared),
        **({} if fitted.trained is None else {"trained_on": fitted.trained}),
    }
    return raw


def record_of(compared: Mapping[str, Compared]) -> dict[str, Any]:
    """Return figures as JSON: ``{figure: {"before", "after", "change": [value, low, high]}}``, null for NaN."""
    return {
        name: {key: [None if np.isnan(x) else round(x, 4) for x in one] for key, one in row._asdict().items()}
        for name, row in compared.items()
    }


def write_site_bundle(
    bundle: Bundle[ClassifierManifest], manifest: Mapping[str, Any], fitted: Fitted, folder: Path
) -> None:
    """Write a copy of a bundle with another manifest and a matching card, whole or not at all."""
    card = site_card(bundle.read(CARD).decode("utf-8", "replace"), manifest["site"], fitted).encode()
    about = {"sha256": hashlib.sha256(card).hexdigest(), "bytes": len(card)}
    manifest = {**manifest, "files": {**manifest["files"], CARD: about}}
    manifest = with_digest(plain(manifest))
    parse_manifest(json.dumps(manifest).encode())
    with replacing_folder(folder, new=True) as target:
        for name in bundle.manifest.files:
            (target / name).write_bytes(card if name == CARD else bundle.read(name))
        write_json(target / "manifest.json", manifest)


def site_card(card: str, site: Mapping[str, Any], fitted: Fitted) -> str:
    """Return a model's card with a section about the site in front of its first section."""
    scans = ", ".join(f"{count} {name}" for name, count in site["scans"].items())
    shares = ", ".join(f"{name} {share:.3g}" for name, share in site["prevalence"].items())
    heading, *rows = in_rows(fitted.compared)
    lines = [f"| {' | '.join(row)} |" for row in (heading, ["---"] * len(heading), *rows)]
    section = [
        "## Adapted to one site",
        f"**Answers are for scans of this site.** Class shares, prediction sets and operating points were fitted by "
        f"`sonoforge adapt` on {sum(site['scans'].values())} labelled scans ({scans}) of {site['groups']} patients "
        f"there, {site['created'][:10]}. The network's file is that of the original, whose manifest has the SHA-256 "
        f"{site['manifest_sha256'][:16]}; the sections below are about the original and its images.",
        *[f"**{fitted.warning}**"] * bool(fitted.warning),
        f"- Class shares, unless `--prevalence` names others: {shares}.\n"
        f"- Operating points moved: {', '.join(site['moved']) or 'none, for want of scans'}.\n"
        f"- {reach_in_words(fitted.reach)}",
        "\n".join(lines),
        "Each patient's scans were answered by rules fitted on all other patients, with questions asked at a "
        f"sensitivity of {fitted.aim:.0%}. Research use, not a medical device.",
    ]
    before, mark, after = card.partition("\n## ")
    return "\n\n".join([before.strip(), *section]) + f"\n{mark}{after}"


def reach_in_words(reach: Reach) -> str:
    """Return a sentence on how many of a site's scans are called unlike the training scans, before and after."""
    if not reach.scans:
        return "No scan was suitable for measuring how far the site's scans lie from the training scans."
    said = f"{reach.before:.0%} of {reach.scans} scans are unlike the training scans"
    if reach.limit == 1:
        return f"{said}: the limits of trust stay."
    return (
        f"{said}, {reach.after:.0%} also unlike the other patients' scans: a scan counts as like the site's up to "
        f"{reach.limit:.2f} times the training's limits."
    )


def in_rows(compared: Mapping[str, Compared]) -> list[Sequence[str]]:
    """Return a table of before and after, starting with its heading."""
    rows: list[Sequence[str]] = [("", "before", "after", "change, 95 % by patient")]
    for name, one in compared.items():
        if np.isnan(one.before.value):
            rows.append((name, "-", "-", "no such scans"))
            continue
        change = f"{one.change.value:+.2f} [{one.change.low:+.2f}, {one.change.high:+.2f}]"
        rows.append((name, f"{one.before.value:.2f}", f"{one.after.value:.2f}", change))
    return rows
