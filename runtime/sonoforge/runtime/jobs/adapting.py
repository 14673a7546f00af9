"""Fit a bundle's decision rules to one clinic with a few labelled scans, as ``sonoforge adapt`` does.

It answers the scans with the bundle; counts class shares, fits sets for these, and moves operating points towards the
clinic's own (`inference.adaptation`); measures how far out the scans are, labelled or not; tests on each patient's
scans what was fitted on all others; and writes a *site bundle*: the same network, with a manifest and a card that say
what it was adapted to.
"""

import datetime
import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sonoforge.runtime.atomic import plain, replacing_folder, write_json
from sonoforge.runtime.bundle.classification import ClassifierManifest
from sonoforge.runtime.bundle.manifest import with_digest
from sonoforge.runtime.bundle.reader import Bundle, parse_manifest
from sonoforge.runtime.csv_tables import Names, check_inner, class_key, labels_in, named_files, one_spelling, read_table
from sonoforge.runtime.errors import SonoforgeError, did_you_mean, name_some
from sonoforge.runtime.images.folders import is_system_folder
from sonoforge.runtime.images.inputs import Entry, expand, printable, skipped_in_words
from sonoforge.runtime.inference import adaptation
from sonoforge.runtime.inference.adaptation import Compared, Decided, Floats, Reach, Rules, Whole, can_move
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.runtime.inference.decision import AtClinic
from sonoforge.runtime.inference.trust import Cause, how_far
from sonoforge.runtime.jobs.answering import answer_scans
from sonoforge.runtime.notice import NOTICE, trained_on_in_words
from sonoforge.runtime.settings import AdaptConfig

CARD = "MODEL_CARD.md"
_WORDS: Mapping[str, str] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
LEAST_SCANS, LEAST_GROUPS = 10, 5
_UNLABELLED = "unlabelled"
_NEITHER = ("mean size of a set", "sets of one class")  # better nor worse by themselves: fewer classes, more misses
_NOT_MEASURED = {Cause.OTHER_KIND.value, Cause.NOT_ONE_SCAN.value, Cause.POOR_SCAN.value}
"""Distance of a scan that does not show how far out the clinic's scans are."""


class Fitted(NamedTuple):
    """What was fitted to a clinic."""

    rules: Rules  # of its bundle
    crossed: Decided  # answers to the labelled scans by rules fitted on the other patients
    compared: Mapping[str, Compared]  # what that changed on these scans
    aim: float  # sensitivity at which the questions were asked
    reach: Reach  # how far out its scans lie, labelled or not
    trained: int | None  # of these, those that trained the network; None if the bundle cannot tell
    warning: str  # that it has some of these
    said: Sequence[str] = ()  # what all this means


class Answered(NamedTuple):
    """What the bundle says about a clinic's scans."""

    equal: Floats  # (N, C) probabilities of equally frequent classes for the labelled scans
    labels: Whole  # (N,) classes
    groups: Whole  # (N,) patients
    times: Floats  # (M,) `trust.how_far` of all scans that are fit to be measured
    patients: Whole  # (M,) of these
    entries: list[Entry]  # of all scans
    failed: list[Entry]  # of the files that were not answered


def adapt(config: AdaptConfig) -> tuple[dict[str, Any], Fitted]:
    """Fit a bundle to labelled scans, and write the site bundle unless it is worse on them.

    Return what ``sonoforge adapt --json`` prints, see ``sonoforge settings adapt``, and what was fitted.
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
    label_of, group_of, skipped = read_scans(Path(config.data), bundle.classes)
    named = {file: label for file, label in label_of.items() if label}
    _check_enough(list(named.values()), [group_of.get(file, file) for file in named], config.data)
    answered = _answered(classifier, label_of, group_of, (config.workers, config.threads))
    equal, labels, groups = answered[:3]
    _check_enough(labels.tolist(), groups.tolist(), config.data, answered.failed)
    start = adaptation.rules_of(bundle.manifest, classifier.clinic.prevalence)
    crossed = adaptation.cross_fitted(equal, labels, groups, start)
    asked = (start, config.sensitivity)
    compared = adaptation.compare(adaptation.decide_all(equal, start), crossed, labels, groups, asked)
    rules = adaptation.fit_rules(equal, labels, start)
    reach = adaptation.measure_reach(answered.times, answered.patients)
    entries = answered.entries
    trained = [e["file"] for e in entries if e["trained_on"]] if entries[0]["trained_on"] is not None else None
    known = None if trained is None else len(trained)
    warning = trained_on_in_words(known, len(entries))
    fitted = Fitted(rules, crossed, compared, config.sensitivity, reach, known, warning)
    changes = {name: one.change for name, one in compared.items() if name not in _NEITHER}
    change = compared["accuracy"].change
    verdict = "worse" if change.high < 0 else "better" if change.low > 0 else "not told apart"
    moved = zip(bundle.classes, start.thresholds.tolist(), rules.thresholds.tolist(), strict=True)
    answers: dict[str, Any] = {
        "bundle": config.bundle or str(bundle.path),
        "site_bundle": None if verdict == "worse" else str(folder),
        "scans": {name: int((labels == i).sum()) for i, name in enumerate(bundle.classes)},
        "groups": len(np.unique(groups)),
        "missing": [name for i, name in enumerate(bundle.classes) if i not in labels],
        "unlabelled": len(entries) - len(labels),
        "repeats": {e["file"]: earlier for e in entries if (earlier := e["copy_of"] or e["seems_copy_of"])},
        "trained_on": known,
        "trained_files": trained or [],
        "failed": answered.failed,
        "skipped": dict(skipped),
        "prevalence": dict(zip(bundle.classes, rules.prevalence.tolist(), strict=True)),
        "thresholds": {name: pair for name, *pair in moved},
        "points": {
            one.name: [float(each.thresholds[np.argmin(np.abs(each.aims - config.sensitivity))]) for each in (one, own)]
            for one, own in zip(start.questions, rules.questions, strict=True)
        },
        "trust": reach._asdict(),
        "figures": record_of(compared),
        "better": [name for name, one in changes.items() if one.low > 0],
        "worse": [name for name, one in changes.items() if one.high < 0],
        "verdict": verdict,
        "notice": NOTICE,
    }
    fitted = fitted._replace(said=[*meaning_in_words(answers)])
    if verdict != "worse":
        write_site_bundle(bundle, site_manifest(bundle, fitted, labels, groups), fitted, folder)
    return answers, fitted


def scans_in_words(answers: Mapping[str, Any]) -> Iterator[str]:
    """Yield which scans were used, and of the others, and of those that are not a patient's own, which and why."""
    without = f", and {answers['unlabelled']} without a class, for trust alone" if answers["unlabelled"] else ""
    counts = ", ".join(f"{count} {name}" for name, count in answers["scans"].items())
    count = sum(answers["scans"].values())
    yield _WORDS["scans"].format(count=count, counts=counts, groups=answers["groups"], without=without)
    listed = {
        "failed": [entry["error"]["message"] for entry in answers["failed"]],
        "repeats": [f"{_short(file)} as {_short(earlier)}" for file, earlier in answers["repeats"].items()],
        "trained_files": [*map(_short, answers["trained_files"])],
    }
    for key, files in listed.items():
        if files:
            yield _WORDS[key].format(count=len(files), files=printable(name_some(files, "; ")))
    if answers["skipped"]:
        yield f"{skipped_in_words(answers['skipped'])}."


def _short(file: str) -> str:
    return "/".join(Path(file).parts[-2:])


def meaning_in_words(answers: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a missing class means, whether labels are more often right, what else changed, and what to use."""
    for name in answers["missing"]:
        yield _WORDS["missing"].format(name=name, share=answers["prevalence"][name])
    figures, count = answers["figures"], sum(answers["scans"].values())
    right, single, sets = (figures[name] for name in ("accuracy", "sets of one class", "coverage of sets"))
    value, low, high = (100 * each for each in right["change"])
    what = (
        f"a gain of {value:.1f} points" if value > 0 else f"A LOSS OF {-value:.1f} POINTS" if value < 0 else "as many"
    )
    chance = "more than chance explains" if low * high > 0 else "which may be chance"
    before, after = (round(count * right[key]) for key in ("before", "after"))
    facts = {"before": before, "after": after, "low": low, "high": high, "what": what, "chance": chance}
    yield _WORDS["accuracy"].format(count=count, **facts)
    if single["change"][0] * sets["change"][0] < 0:
        what = _WORDS["trade of sets" if single["change"][0] > 0 else "trade of answers"]
        both = ([each["before"], each["after"]] for each in (single, sets))
        yield _WORDS["trade"].format(what=what, **dict(zip(("single", "held"), both, strict=True)))
    better, worse = answers["better"], answers["worse"]
    for key, names in (("better", better), ("worse", worse)):
        if names:
            yield _WORDS[key].format(names=", ".join(names))
    advice = "both" if better and worse else "new" if better else "old" if worse else "open"
    advice = "seen" if 2 * len(answers["trained_files"]) > count else advice
    yield _WORDS[advice if answers["site_bundle"] else "none"]


def read_scans(data: Path, classes: tuple[str, ...]) -> tuple[dict[str, str], dict[str, str], Mapping[str, int]]:
    """Read each file's label and known patient: folders named after the classes, or a CSV ``file,label[,group]``.

    Also return how many files are not scans, by their kind.

    Files directly in the folder or in its folder ``unlabelled``, and rows without a label, have an empty one.
    """
    if data.is_dir():
        skipped = Counter[str]()
        return _read_folders(data, classes, skipped), {}, skipped
    if data.is_file():
        return *_read_csv(data, classes), {}
    raise SonoforgeError(
        f"--data: {printable(str(data))} does not exist; give a folder with one for each class, or a .csv"
    )


def _read_folders(data: Path, classes: tuple[str, ...], skipped: Counter[str]) -> dict[str, str]:
    labels = dict.fromkeys(_images(data, False, skipped), "")
    for folder in sorted(item for item in data.iterdir() if item.is_dir() and not is_system_folder(item.name)):
        name = "" if folder.name.lower() == _UNLABELLED else folder.name
        name = _as_class(f"--data: folder {printable(folder.name)}", name, classes)
        images = _images(folder, True, skipped)
        check_inner(folder, (Path(file).relative_to(folder).parent for file in images if name), classes)
        labels |= dict.fromkeys(images, name)
    return labels


def _images(folder: Path, recursive: bool, skipped: Counter[str]) -> list[str]:
    found = expand([str(folder)], recursive, generated=False)
    skipped.update(found.skipped)
    return [file for file in found.files if file not in found.failures]


def _read_csv(data: Path, classes: tuple[str, ...]) -> tuple[dict[str, str], dict[str, str]]:
    labels, groups = {}, {}
    rows = read_table(data, ("file", "label"), "give CSV: file,label[,group]").rows
    patients = one_spelling((row.get("group", "") for row in rows), str(data))
    files = Names(named_files(data.parent, rows), data.parent.resolve().name)
    for row, text in zip(rows, labels_in((row["label"] for row in rows), f"--data: {data}"), strict=True):
        file, where = str(data.parent / files.find(row["file"])), f"--data: {data}: line {row.line}"
        label = _as_class(where, text, classes)
        if file in labels:
            raise SonoforgeError(f"{where}: {printable(file)} is listed twice; list each file once")
        labels[file] = label
        if group := patients[row.get("group", "")]:
            groups[file] = group
    return labels, groups


def _as_class(where: str, name: str, classes: tuple[str, ...]) -> str:
    """Return the class that a name means, in any spelling; keep an empty name."""
    found = {class_key(known): known for known in classes}.get(class_key(name), name)
    if found and found not in classes:
        hint = did_you_mean(name, classes)
        raise SonoforgeError(f"{where}: {printable(name)!r} is not one of {', '.join(classes)}{hint}")
    return found


def _answered(
    classifier: Classifier, label_of: Mapping[str, str], known: Mapping[str, str], workers: tuple[int, int]
) -> Answered:
    """Answer the scans with these labels and known patients; repeats of a scan without a patient are its patient's."""
    scans = answer_scans(classifier, {file: known.get(file) for file in label_of}, "answering", workers)
    answered = scans.answered
    number_of = {e["file"]: group for e, group in zip(answered, scans.groups, strict=True)}
    classes, manifest = classifier.bundle.classes, classifier.bundle.manifest
    labelled = [entry for entry in answered if label_of[entry["file"]]]
    fit = [entry for entry in answered if not _NOT_MEASURED & set(entry["trust"]["causes"])]
    times = [how_far(e["trust"]["distance"], e["trust"]["neighbour_distance"], manifest) for e in fit]
    return Answered(
        np.array([[e["probabilities"][c] for c in classes] for e in labelled]).reshape(len(labelled), len(classes)),
        np.array([classes.index(label_of[entry["file"]]) for entry in labelled], dtype=np.int64),
        np.array([number_of[entry["file"]] for entry in labelled], dtype=np.int64),
        np.array(times),
        np.array([number_of[entry["file"]] for entry in fit], dtype=np.int64),
        *scans[:2],
    )


def _check_enough(labels: Sequence[Any], groups: Sequence[Any], data: str, failed: Sequence[Entry] = ()) -> None:
    """Refuse too few labelled scans, counting first those listed, then those answered, by patient."""
    scans, patients, kinds = len(labels), len(set(groups)), len(set(labels))
    if scans < LEAST_SCANS or patients < LEAST_GROUPS or kinds < 2:
        unread = f"; {len(failed)} cannot be read ({failed[0]['error']['message']})" if failed else ""
        raise SonoforgeError(
            f"--data: {printable(data)} has {scans} labelled scans of {patients} patients and {kinds} classes; give at "
            f"least {LEAST_SCANS} of {LEAST_GROUPS} patients and two classes{unread}"
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

    def rounded(value: float) -> float | None:
        return None if np.isnan(value) else round(value, 4)

    return {
        name: {"before": rounded(one.before), "after": rounded(one.after), "change": [*map(rounded, one.change)]}
        for name, one in compared.items()
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
        *fitted.said,
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
        if np.isnan(one.before):
            rows.append((name, "-", "-", "no such scans"))
            continue
        value, low, high = one.change
        ends = "too few to tell" if np.isnan(low) else f"[{low:+.2f}, {high:+.2f}]"
        rows.append((name, f"{one.before:.2f}", f"{one.after:.2f}", f"{value:+.2f} {ends}"))
    return rows
