"""The chart of the learning curve."""

from __future__ import annotations

from typing import Any

from sonoforge.training.reports.run.sections import figure_of


def interval(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.03, "high": value + 0.03}


def curve(figure: str, high: float | None) -> Any:
    """Errors of 0.3 n^-0.4 at a quarter to all of 700 images, and of an arm that multiplies them by 1.2."""
    images = [175.0, 350.0, 525.0, 700.0]
    return {
        "figure": figure,
        "images": 700.0,
        "baseline": "real",
        "points": {
            name: [{"images": n, "error": interval(0.15 * (ratio * n / 700) ** -0.4)} for n in images]
            for name, ratio in (("real", 1.0), ("gan", 1.2))
        },
        "exponent": interval(0.4),
        "extrapolated": [{"images": 700.0 * k, "error": interval(0.15 * k**-0.4)} for k in (1.0, 1.5, 2.0)],
        "worth": [
            {
                "arm": "gan",
                "ratio": {"value": 1.2, "low": 0.9, "high": high},
                "images": {"value": 140.0, "low": -70.0, "high": None if high is None else 700 * (high - 1)},
            }
        ],
    }


def test_each_figure_has_its_chart_and_a_sentence_for_each_arm() -> None:
    titles = {"real": "real images", "gan": "real + generated"}
    accuracy, area = (figure_of(curve(name, high), titles) for name, high in (("accuracy", 1.6), ("macro_auc", None)))
    assert (
        "real + generated: by accuracy, the added images are worth so many real ones: +140 (real images times 1.20); "
        "95 % interval -70 to +420."
    ) in accuracy.text
    assert area.text.endswith("95 % interval -70 to no end (beyond 32 times).")
    for drawn in (accuracy, area):
        assert "real images in training" in drawn.content and "1400" in drawn.content
        assert all(title in drawn.content for title in titles.values())
