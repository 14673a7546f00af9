"""A bundle adapted to one clinic: a copy whose manifest decides by what was fitted there, and says from which scans.

All other files are the same to the byte, the model among them.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sonoforge.runtime.atomic import plain, replacing_folder, write_json
from sonoforge.runtime.bundle.classification import ClassifierManifest
from sonoforge.runtime.bundle.reader import Bundle, parse_manifest
from sonoforge.runtime.inference import adaptation
from sonoforge.runtime.inference.adaptation import Compared, Decided, Floats, Rules, Whole


def site_manifest(
    bundle: Bundle[ClassifierManifest],
    rules: Rules,
    crossed: Decided,
    scans: tuple[Floats, Whole, Whole],
    compared: Mapping[str, Compared],
) -> dict[str, Any]:
    """Return the manifest of a site bundle.

    Args:
        bundle: The original.
        rules: What was fitted.
        crossed: Answers to the site's scans by what was fitted on the other patients.
        scans: (N, C) probabilities of equally frequent classes, (N,) classes, (N,) groups of the labelled scans.
        compared: What the fit changed on these scans.
    """
    (_, labels, groups), classes = scans, bundle.classes
    raw: dict[str, Any] = json.loads(json.dumps(bundle.manifest.raw))
    original = {"thresholds": raw["conformal"]["thresholds"], "questions": raw["decision"]["questions"]}
    raw["conformal"]["thresholds"] = dict(zip(classes, rules.thresholds.tolist(), strict=True))
    moved = [question.name for question in rules.questions if adaptation.can_move(labels, question)]
    raw["decision"]["questions"] = [
        _question(record, question, beyond, labels) if question.name in moved else record
        for record, question, beyond in zip(original["questions"], rules.questions, crossed.beyond, strict=True)
    ]
    equal = np.full(len(classes), 1 / len(classes))
    raw["site"] = {
        "prevalence": dict(zip(classes, rules.prevalence.tolist(), strict=True)),
        "scans": {name: int((labels == i).sum()) for i, name in enumerate(classes)},
        "groups": len(np.unique(groups)),
        "moved": moved,
        "golden": golden_labels(bundle, rules.prevalence),
        "golden_before": golden_labels(bundle, equal),
        "created": datetime.datetime.now(tz=datetime.timezone.utc).isoformat(timespec="seconds"),
        "manifest_sha256": bundle.manifest_sha256,
        "original": original,
        "figures": record_of(compared),
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


def write_site_bundle(bundle: Bundle[ClassifierManifest], manifest: Mapping[str, Any], folder: Path) -> None:
    """Write a copy of a bundle with another manifest, whole or not at all.

    Raises:
        SonoforgeError: The manifest is none that can be read, a file of the bundle is damaged, or the folder cannot be
            written or is there already.
    """
    parse_manifest(json.dumps(plain(manifest)).encode())
    with replacing_folder(folder, new=True) as target:
        for name in bundle.manifest.files:
            (target / name).write_bytes(bundle.read(name))
        write_json(target / "manifest.json", manifest)


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
