"""The share of ordinary scans, and of spoilt ones, that each rule of trust names in a collection left out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from kept import ANSWERS, read, table
from numpy.typing import NDArray

from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.inference.trust import POOR
from sonoforge.training.classifier.trust import COLOURED, fit_weights

Floats = NDArray[np.float64]
ROWS = read(ANSWERS["trust-left-out.csv.gz"])
NAMES = tuple(dict.fromkeys(row["collection"] for row in ROWS))
OF = {name: np.array([row["collection"] == name for row in ROWS]) for name in NAMES}


def column(name: str) -> Floats:
    return np.array([float(row[name] or "nan") for row in ROWS])


def low(metric: str, part: float, judged: Floats) -> Callable[[str], float]:
    """Below a part of the first percentile of a metric in the other collections."""
    values = column(metric)
    known = ~np.isnan(judged)
    return lambda name: float((judged[OF[name] & known] < part * np.percentile(values[~OF[name]], 1)).mean())


def beyond(metric: str, least: float = 0.0) -> Callable[[str], float]:
    """Beyond the largest of the other collections."""
    values = column(metric)
    return lambda name: float((values[OF[name]] > max(least, values[~OF[name]].max())).mean())


def turned(name: str, sign: int = 1) -> float:
    """More like the other collections' scans turned upside down; of sign -1, once turned."""
    half = np.stack([column(f"detail_{band}") for band in range(4)], axis=1)
    profiles = np.concatenate([half, -half[:, ::-1]], axis=1)
    return float((sign * profiles[OF[name]] @ fit_weights(profiles[~OF[name]]) < 0).mean())


def recorded(flag: str, measured: str) -> Callable[[str], float]:
    """By networks that had not seen the collection: the shipped bundle's record, or what was measured here."""
    rows = open_bundle().manifest.raw["evaluation"]["flags"]
    known = next((row["by_collection"] for row in rows if row["flag"] == flag), {})
    return lambda name: known[name]["value"] if name in known else float(column(measured)[OF[name]].mean())


def rules() -> str:
    sharpness, contrast, blurred = map(column, ("sharpness", "contrast", "blurred"))
    rows: dict[str, Callable[[str], float]] = {
        "another kind: distance": lambda name: float(column("foreign")[OF[name]].mean()),
        "another kind: coloured": beyond("colour", COLOURED),
        "two scans side by side": lambda name: float(column("two_scans")[OF[name]].mean()),
        "poor: blurred": low("sharpness", POOR["sharpness"], sharpness),
        "poor: contrast low": low("contrast", POOR["contrast"], contrast),
        "poor: out of contact": beyond("dark"),
        "poor: overexposed": beyond("saturated"),
        "unlike the training: d": recorded("far from the training scans", "far"),
        "unlike the training: k": recorded("far from its nearest training scans", "far_from_nearest"),
        "remark: blurred": low("sharpness", 1, sharpness),
        "remark: contrast low": low("contrast", 1, contrast),
        "remark: may be upside down": turned,
        "**found**: blurred by 2 of 256 pixels": low("sharpness", POOR["sharpness"], blurred),
        "**found**: a fifth of the contrast": low("contrast", POOR["contrast"], contrast / 5),
        "**found**: turned over, by the remark": lambda name: turned(name, -1),
    }
    cells = {rule: [100 * share(name) for name in NAMES] for rule, share in rows.items()}
    shown = [[rule, *("-" if np.isnan(one) else f"{one:.1f}" for one in own)] for rule, own in cells.items()]
    return table(["rule, % of scans", *NAMES], shown)


TABLES = {"rules": rules}
