"""Invented results of an evaluation, for the tests of its page."""

from __future__ import annotations

import copy
from typing import Any

from sonoforge.training.copies.generated import HELD_OUT
from sonoforge.training.reports.verdicts import judge
from sonoforge.training.statistics.intervals import wilson_interval


def row(name: str, better: str, question: str, matched: tuple[float, ...], floor: tuple[float, ...]) -> dict[str, Any]:
    """A metric: matched and floor are mean, low, high."""
    return {
        "name": name,
        "title": name.upper(),
        "space": "bundle 1a2b",
        "better": better,
        "question": question,
        "value": matched[0] * 0.97,
        "standard_error": 0.01,
        **dict(zip(("matched", "matched_low", "matched_high"), matched, strict=True)),
        **dict(zip(("floor", "floor_low", "floor_high"), floor, strict=True)),
        "ratio": (floor[1] / matched[0] if matched[0] else None) if better == "high" else matched[0] / floor[2],
        "note": "",
    }


def planted(kind: str, found: int) -> dict[str, Any]:
    """How many of 20 planted copies of a kind were found."""
    recall = wilson_interval(found, 20)
    return {
        "kind": kind,
        "planted": 20,
        "found": found,
        "recall": recall["value"],
        "low": recall["low"],
        "high": recall["high"],
        "holds": found >= 19,
    }


def good() -> dict[str, Any]:
    """Results in which nothing is found against the generator."""
    return {
        "real": {"source": "data/BUSI", "class": "malignant", "images": 210, "groups": 180},
        "fake": {"source": "runs/00001/samples", "class": "malignant", "images": 400, "synthetic": True},
        "n": 105,
        "metrics": [
            row("kid", "low", "realistic", (0.0011, -0.0004, 0.0029), (0.0001, -0.0012, 0.0021)),
            row("recall", "high", "diverse", (0.71, 0.63, 0.78), (0.72, 0.64, 0.81)),
            row("coverage", "high", "diverse", (0.9, 0.84, 0.95), (0.93, 0.87, 0.98)),
            row("ms_ssim", "near", "diverse", (0.22, 0.2, 0.25), (0.22, 0.19, 0.24)),
            row("lpips_pairs", "near", "diverse", (6.1, 5.8, 6.4), (6.0, 5.7, 6.3)),
        ],
        "copies": {
            "calibration": HELD_OUT,
            "threshold": 12.37,
            "share": 0.02,
            "low": 0.01,
            "high": 0.039,
            "false_alarm": 0.021,
            "memorised": 0.0,
            "p_value": 0.48,
            "data_copying_z": 0.31,
            "images": 400,
            "copies": 8,
            "flagged": ["seed7.png"],
            "nearest": ["malignant (3).png"],
            "scores": [31.0],
            "recall": [planted("exact", 20), planted("crop 10 %", 19), planted("half", 11)],
        },
        "protocol": {"size": 128, "features": "bundle 1a2b", "repeats": 100, "kernel": {"degree": 3}},
        "protocol_id": "5f13a1e7c0ffee00",
        "warnings": [],
        "not_measured": [{"name": "LPIPS", "why": "no weights were named"}],
        "pca": {"protocol": "fitted on 210", "explained": [0.314, 0.159], "fakes_inside": 0.85},
        "seconds": 83.0,
    }


def change(results: dict[str, Any], name: str, **figures: Any) -> dict[str, Any]:
    """The results with some figures of one metric, or of the copy test, replaced."""
    changed = copy.deepcopy(results)
    target = changed["copies"] if name == "copies" else next(r for r in changed["metrics"] if r["name"] == name)
    assert set(figures) <= set(target)
    target.update(figures)
    return changed


def answered(results: dict[str, Any]) -> Any:
    """The results with the answers that follow from them."""
    return results | {"verdicts": judge(results["metrics"], results["copies"], results["n"])}
