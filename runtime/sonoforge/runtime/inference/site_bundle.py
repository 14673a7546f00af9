"""A bundle adapted to one clinic: a copy whose manifest decides by what was fitted there, and says from which scans.

The card begins with the same; all other files are the same to the byte, the model among them.
"""

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
from sonoforge.runtime.inference import adaptation
from sonoforge.runtime.inference.adaptation import Compared, Decided, Floats, Reach, Rules, Whole

CARD = "MODEL_CARD.md"


class Fitted(NamedTuple):
    """What was fitted to a clinic.

    Attributes:
        rules: What its bundle decides by.
        crossed: Answers to the labelled scans by what was fitted on the other patients.
        compared: What that changed on these scans.
        aim: Sensitivity that their questions were asked at.
        reach: How far out its scans lie, labelled or not.
    """

    rules: Rules
    crossed: Decided
    compared: Mapping[str, Compared]
    aim: float
    reach: Reach


def site_manifest(bundle: Bundle[ClassifierManifest], fitted: Fitted, labels: Whole, groups: Whole) -> dict[str, Any]:
    """Return the manifest of a site bundle, but for the card's hash.

    Args:
        bundle: The original.
        fitted: What was fitted.
        labels: (N,) classes of the labelled scans.
        groups: (N,) patient of each.
    """
    rules, classes = fitted.rules, bundle.classes
    raw: dict[str, Any] = json.loads(json.dumps(bundle.manifest.raw))
    original = {"thresholds": raw["conformal"]["thresholds"], "questions": raw["decision"]["questions"]}
    raw["conformal"]["thresholds"] = dict(zip(classes, rules.thresholds.tolist(), strict=True))
    moved = [question.name for question in rules.questions if adaptation.can_move(labels, question)]
    raw["decision"]["questions"] = [
        _question(record, question, beyond, labels) if question.name in moved else record
        for record, question, beyond in zip(original["questions"], rules.questions, fitted.crossed.beyond, strict=True)
    ]
    equal = np.full(len(classes), 1 / len(classes))
    raw["site"] = {
        "prevalence": dict(zip(classes, rules.prevalence.tolist(), strict=True)),
        "scans": {name: int((labels == i).sum()) for i, name in enumerate(classes)},
        "groups": len(np.unique(groups)),
        "moved": moved,
        "golden": golden_labels(bundle, rules.prevalence),
        "golden_before": golden_labels(bundle, equal),
        "reach": fitted.reach.limit,
        "trust": fitted.reach._asdict(),
        "created": datetime.datetime.now(tz=datetime.timezone.utc).isoformat(timespec="seconds"),
        "manifest_sha256": bundle.manifest_sha256,
        "original": original,
        "figures": record_of(fitted.compared),
    }
    return raw


def golden_labels(bundle: Bundle[ClassifierManifest], shares: Floats) -> list[str]:
    """Return the label of each golden image at class shares (C,)."""
    reference = np.array([bundle.manifest.reference[name] for name in bundle.classes])
    labels = (bundle.golden()["probabilities"] / reference * shares).argmax(axis=1)
    return [bundle.classes[label] for label in labels]


def record_of(compared: Mapping[str, Compared]) -> dict[str, Any]:
    """Return figures as JSON: ``{figure: {"before", "after", "change": [value, low, high]}}``, null for no number."""
    return {
        name: {key: [None if np.isnan(x) else round(x, 4) for x in one] for key, one in row._asdict().items()}
        for name, row in compared.items()
    }


def _question(record: Mapping[str, Any], question: adaptation.Asked, beyond: Any, labels: Whole) -> dict[str, Any]:
    """Return a question's record with its points moved, and measured on the site's scans."""
    about, positive = question.among[labels], question.positive[labels]
    called, spared = beyond[about & positive].mean(axis=0), 1 - beyond[about & ~positive].mean(axis=0)
    points = [
        {"aim": point["aim"], "threshold": float(t), "sensitivity": float(yes), "specificity": float(no)}
        for point, t, yes, no in zip(record["points"], question.thresholds, called, spared, strict=True)
    ]
    return {**record, "points": points}


def write_site_bundle(
    bundle: Bundle[ClassifierManifest], manifest: Mapping[str, Any], fitted: Fitted, folder: Path
) -> None:
    """Write a copy of a bundle with another manifest, and a card that says so; whole or not at all.

    Raises:
        SonoforgeError: The manifest is none that can be read, a file of the bundle is damaged, or the folder cannot be
            written or is there already.
    """
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
    """Return a model's card with a section on the site before its first section."""
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
        "Each patient's scans were answered by what was fitted on all the others', questions asked at a sensitivity "
        f"of {fitted.aim:.0%}. Research use, not a medical device.",
    ]
    before, mark, after = card.partition("\n## ")
    return "\n\n".join([before.strip(), *section]) + f"\n{mark}{after}"


def reach_in_words(reach: Reach) -> str:
    """Say how many of a site's scans were, and are, called unlike the training scans."""
    if not reach.scans:
        return "No scan was fit to measure how far the site's lie from the training scans."
    said = f"{reach.before:.0%} of {reach.scans} scans are unlike the training scans"
    if reach.limit == 1:
        return f"{said}: its limits of trust stay."
    return (
        f"{said}, {reach.after:.0%} unlike the other patients' scans, too: as like the site's counts what lies up to "
        f"{reach.limit:.2f} times as far out as the training's limits."
    )


def in_rows(compared: Mapping[str, Compared]) -> list[Sequence[str]]:
    """Return the table of before and after, its heading first."""
    rows: list[Sequence[str]] = [("", "before", "after", "change, 95 % by patient")]
    for name, one in compared.items():
        if np.isnan(one.before.value):
            rows.append((name, "-", "-", "no such scans"))
            continue
        change = f"{one.change.value:+.2f} [{one.change.low:+.2f}, {one.change.high:+.2f}]"
        rows.append((name, f"{one.before.value:.2f}", f"{one.after.value:.2f}", change))
    return rows
