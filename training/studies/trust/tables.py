"""The share of ordinary scans, and of spoilt ones, that each rule of trust names in a collection left out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from kept import ANSWERS, read, table
from numpy.typing import NDArray

from sonoforge.runtime.inference.trust import POOR
from sonoforge.training.classifier.trust import COLOURED, FLAT, FOREIGN, fit_weights

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Marked = Callable[[str], Flags]
"""Every scan (N,) by the limits for a collection, which come from the others."""

ROWS = read(ANSWERS["trust-left-out.csv.gz"])
NAMES = tuple(dict.fromkeys(row["collection"] for row in ROWS))
OF = {name: np.array([row["collection"] == name for row in ROWS]) for name in NAMES}


def column(name: str) -> Floats:
    return np.array([float(row[name] or "nan") for row in ROWS])


def below(judged: Floats, part: float, values: Floats) -> Marked:
    """Below a part of the first percentile of the other collections' values."""
    return lambda name: judged < part * np.percentile(values[~OF[name]], 1)


def beyond(metric: str, least: float = 0.0) -> Marked:
    """Beyond the largest of the other collections."""
    values = column(metric)
    return lambda name: values > max(least, values[~OF[name]].max())


def unlike(metric: str) -> Marked:
    """Farther from the training, to a network that had not seen the collection, than 95 % of the others from theirs."""
    values = column(metric)
    return lambda name: values > np.percentile(values[~OF[name]], 95)


def foreign(name: str) -> Flags:
    d, grain, others = column("d"), column("grain"), ~OF[name]
    middle, far = np.percentile(d[others], (50, 95))
    no_speckle = grain < FLAT * np.median(grain[others])
    return (d > middle + FOREIGN * (far - middle)) | ((d > far) & no_speckle)


def turned(name: str, sign: int = 1) -> Flags:
    """More like the other collections' scans turned upside down; of sign -1, once turned."""
    half = np.stack([column(f"detail_{band}") for band in range(4)], axis=1)
    profiles = np.concatenate([half, -half[:, ::-1]], axis=1)
    return sign * profiles @ fit_weights(profiles[~OF[name]]) < 0


def rules() -> str:
    sharpness, contrast, blurred = map(column, ("sharpness", "contrast", "blurred"))
    causes: dict[str, Marked] = {
        "another kind: distance, grain": foreign,
        "another kind: coloured": beyond("colour", COLOURED),
        "two scans side by side": lambda _: column("two_scans") > 0,
        "poor: blurred": below(sharpness, POOR["sharpness"], sharpness),
        "poor: contrast low": below(contrast, POOR["contrast"], contrast),
        "poor: out of contact": beyond("dark"),
        "poor: overexposed": beyond("saturated"),
        "unlike the training: d": unlike("d"),
        "unlike the training: k": unlike("k"),
    }
    rows = causes | {
        "**any cause**": lambda name: np.any([of(name) for of in causes.values()], axis=0),
        "remark: blurred": below(sharpness, 1, sharpness),
        "remark: contrast low": below(contrast, 1, contrast),
        "remark: may be upside down": turned,
        "**found**: blurred by 2 of 256 pixels": below(blurred, POOR["sharpness"], sharpness),
        "**found**: a fifth of the contrast": below(contrast / 5, POOR["contrast"], contrast),
        "**found**: turned over, by the remark": lambda name: turned(name, -1),
    }

    def shares(rule: str, of: Marked) -> list[str]:
        known = ~np.isnan(blurred) if "blurred by" in rule else np.ones(len(ROWS), bool)  # not every scan was blurred
        return [f"{100 * of(name)[OF[name] & known].mean():.1f}" for name in NAMES]

    return table(["rule, % of scans", *NAMES], [[rule, *shares(rule, of)] for rule, of in rows.items()])


TABLES = {"rules": rules}
