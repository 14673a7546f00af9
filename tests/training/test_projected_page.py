"""Measured figures of the page on projected generators follow from the tables that are kept beside it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from places import CHECKOUT
from sonoforge.training.pages.gan_comparison.kept import read_comparison

DOCS = CHECKOUT / "training" / "docs"
PAGE = " ".join((DOCS / "projected.md").read_text(encoding="utf-8").split())
OURS = "projected:small-data"


def _by_recipe(name: str) -> dict[str, list[dict[str, Any]]]:
    rows = read_comparison([DOCS / "measured" / name])
    return {recipe: [row for row in rows if row["recipe"] == recipe] for recipe in {row["recipe"] for row in rows}}


@pytest.mark.parametrize(("name", "milestones"), [("minutes-30.csv", 6), ("minutes-2.csv", 3)])
def test_each_line_of_the_race_is_that_of_its_table(name: str, milestones: int) -> None:
    recipes = _by_recipe(name)
    lines = re.findall(r"\| `[a-z0-9-]+:[a-z-]+`(?: \| [\d.-]+)+ \|", PAGE)
    for recipe, rows in recipes.items():
        kids = [f"{row['kid']:.3f}" for row in rows] + ["-"] * (milestones - len(rows))
        end = rows[-1]
        ratios = f"{end['kid_ratio']:.1f} | {end['fid_ratio']:.2f} | {end['kimg']:.1f}"
        assert f"| `{recipe}` | {' | '.join(kids)} | {ratios} |" in lines
    ends = sorted(recipes, key=lambda recipe: recipes[recipe][-1]["kid"])
    assert ends[0] == OURS
    places = [PAGE.index(f"| `{recipe}` | {recipes[recipe][0]['kid']:.3f} |") for recipe in ends]
    assert places == sorted(places), "the best first"
