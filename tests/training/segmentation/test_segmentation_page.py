"""The page on segmentation: what it says follows from the published figures and from the scores that are kept."""

from __future__ import annotations

import re
from typing import Any

import pytest

from places import CHECKOUT
from sonoforge.training.segmentation.cases_table import read_cases
from sonoforge.training.segmentation.results import compute_rows, correlate
from sonoforge.training.statistics.published_segmentation import published_for

DOCS = CHECKOUT / "training" / "docs"
PAGE = (DOCS / "segmentation.md").read_text(encoding="utf-8")


def rows_of(kept: str) -> dict[str, list[Any]]:
    """The rows of each set, computed again from the scores of its cases."""
    scores = read_cases(DOCS / "predictions" / kept)
    names = dict.fromkeys(score.data for score in scores)
    return {name: compute_rows([score for score in scores if score.data == name]) for name in names}


def table_below(heading: str) -> list[list[str]]:
    """The cells of the first table below a line that begins so."""
    lines = iter(PAGE[PAGE.index(f"\n{heading}") :].splitlines()[2:])
    found = []
    for line in lines:
        if line.startswith("|"):
            found.append([cell.strip() for cell in line.strip("|").split("|")])
        elif found:
            return found
    return found


def numbers(cell: str) -> list[float]:
    return [float(number) for number in re.findall(r"[-+]?\d*\.\d+", cell)]


@pytest.mark.parametrize("name", ["ACDC", "SLiver07", "IDRiD"])
def test_the_correlation_of_the_published_figures_is_the_one_that_is_stated(name: str) -> None:
    rows = [row for row in published_for(name) if row.fid is not None]
    found = correlate("fid", [row.fid or 0 for row in rows], [row.dice for row in rows])
    assert found is not None
    said = re.search(rf"(-0\.\d\d) on {name} \(p = (0\.\d\d)\)", PAGE.replace("\n", " "))
    assert said is not None
    assert (float(said[1]), float(said[2])) == pytest.approx((found["rho"], found["p_value"]), abs=0.0051)


def test_the_unet_on_real_images_has_the_dice_that_is_stated() -> None:
    computed = rows_of("segmentation-real.csv.gz")
    told = {cells[0].partition(",")[0]: numbers(cells[3]) for cells in table_below("## Measured: the U-Net")[2:]}
    assert set(told) == set(computed)
    for name, (row,) in computed.items():
        structures = [part["dice"]["value"] for part in row["structures"].values()]
        stated = [row["dice"][end] for end in ("value", "low", "high")]  # type: ignore[literal-required]
        assert told[name] == pytest.approx(stated + (structures if len(structures) > 1 else []), abs=0.0006)


def test_the_table_of_six_follows_from_the_scores_of_the_cases() -> None:
    computed = rows_of("segmentation-six.csv.gz")
    heading, _, *table = table_below("## Measured: six GANs")
    assert heading[2:] == list(computed) and len(table) == 14
    for arm, generator, *cells in table:
        for name, cell in zip(heading[2:], cells, strict=True):
            (row,) = (
                row
                for row in computed[name]
                if row["arm"] == arm and (row["recipe"].partition(":")[0] or "none") == generator
            )
            assert numbers(cell) == pytest.approx([row["dice"][end] for end in ("value", "low", "high")], abs=0.0006)
