"""Write a *site bundle*: the same network, with a manifest and a card that say what it was adapted to."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sonoforge.runtime.atomic import plain, replacing_folder, write_json
from sonoforge.runtime.bundle.classification import ClassifierManifest
from sonoforge.runtime.bundle.manifest import with_digest
from sonoforge.runtime.bundle.reader import Bundle, parse_manifest
from sonoforge.runtime.inference.adaptation import Compared, Decided, Reach, Rules, Whole, can_move

CARD = "MODEL_CARD.md"


class Fitted(NamedTuple):
    """What was fitted to a clinic."""

    rules: Rules  # of its bundle
    crossed: Decided  # answers to the labelled scans by rules fitted on the other patients
    compared: Mapping[str, Compared]  # what that changed on these scans
    aim: float  # sensitivity at which the questions were asked
    reach: Reach  # how far out its scans lie, labelled or not


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
