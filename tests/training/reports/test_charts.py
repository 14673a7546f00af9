"""Charts take their colours and font from the page, are the same each time, and cannot be broken by a name."""

from __future__ import annotations

import re
from importlib import resources

import numpy as np

from pages import Page
from sonoforge.training.reports import charts
from sonoforge.training.reports.run.charts import column_means

HOSTILE = "<script>alert(1)</script>&\"'$\\frac"


@charts.styled
def chart(label: str) -> str:
    figure, axes, heights = charts.new_row_chart([label, "a long label " * 12], label)
    axes.plot([0, 1], heights, "o-", color=charts.SERIES[0])
    axes.axvline(0.5, color=charts.INK)
    return charts.svg(figure, label)


def test_a_chart_is_themed_by_the_page_alone() -> None:
    drawn = chart("some chart")
    assert {"var(--s0)", "var(--ink)", "var(--soft)", "var(--line)"} <= set(re.findall(r"var\(--\w+\)", drawn))
    assert not re.findall(r"#[0-9a-f]{6}[;\"]", drawn)
    style = resources.files("sonoforge.runtime.pages").joinpath("style.css").read_text(encoding="utf-8")
    light = dict(re.findall(r"--(\w+): (#\w+)", style[: style.index("@media")]))
    assert [light[f"s{n}"] for n in range(6)] == list(charts.SERIES)
    assert light["ink"] == charts.INK
    assert light["soft"] == charts.SOFT
    assert light["line"] == charts.LINE


def test_charts_of_one_page_are_deterministic_and_do_not_share_ids() -> None:
    assert chart("first") == chart("first")
    ids = [set(re.findall(r'id="(\w+)"', chart(label))) for label in ("first", "second")]
    assert ids[0]
    assert not ids[0] & ids[1]


def test_names_in_a_chart_are_escaped_and_long_ones_are_broken() -> None:
    page = Page(chart(HOSTILE))
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.attributes("svg")[0]["aria-label"] == HOSTILE
    assert HOSTILE in page.text
    lines = [words for words in page.words if "a long label" in words]
    assert len(lines) > 1
    assert max(map(len, lines)) < 60


def test_the_mean_curve_bears_folds_of_different_length_and_missing_values() -> None:
    np.testing.assert_array_equal(column_means([[1.0, 2.0, np.nan], [3.0, np.nan]]), [2.0, 2.0, np.nan])
