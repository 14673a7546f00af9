"""The page on segmentation: what it says of the published figures follows from them."""

from __future__ import annotations

import re

import pytest

from places import CHECKOUT
from sonoforge.training.segmentation.results import correlate
from sonoforge.training.statistics.published_segmentation import published_for

PAGE = (CHECKOUT / "training" / "docs" / "segmentation.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["ACDC", "SLiver07", "IDRiD"])
def test_the_correlation_of_the_published_figures_is_the_one_that_is_stated(name: str) -> None:
    rows = [row for row in published_for(name) if row.fid is not None]
    found = correlate("fid", [row.fid or 0 for row in rows], [row.dice for row in rows])
    assert found is not None
    said = re.search(rf"(-0\.\d\d) on {name} \(p = (0\.\d\d)\)", PAGE.replace("\n", " "))
    assert said is not None
    assert (float(said[1]), float(said[2])) == pytest.approx((found["rho"], found["p_value"]), abs=0.0051)
