"""The figures of collections that were left out follow from the answers that are kept beside the page."""

from __future__ import annotations

import csv
from typing import Any

import pytest
from sklearn.metrics import roc_auc_score

from kept_answers import open_answers
from places import CHECKOUT
from program import succeed

DOCS = CHECKOUT / "training" / "docs"
PAGE = (DOCS / "several-collections.md").read_text(encoding="utf-8")
README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
LEFT_OUT = DOCS / "predictions" / "left-out.csv.gz"
INGREDIENTS = DOCS / "predictions" / "ingredients.csv.gz"
BUSI_ALONE = DOCS / "predictions" / "busi-alone-elsewhere.csv.gz"
COLLECTIONS = ("BUSI", "BUS-BRA", "BrEaST")


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def interval(found: dict[str, float]) -> str:
    return "{value:.3f} [{low:.3f}, {high:.3f}]".format(**found)


@pytest.fixture(scope="module")
def sources() -> dict[str, dict[str, Any]]:
    found = succeed("crossval", "--from", LEFT_OUT).json["arms"]["real"]["by_source"]
    return {row["name"]: row for row in found if row["kind"] == "collection"}


def busi_alone(collection: str) -> float:
    """AUC of malignant against benign of the bundle that was trained on BUSI alone."""
    with open_answers(BUSI_ALONE) as file:
        rows = [row for row in csv.DictReader(file) if row["collection"] == collection and row["label"] != "normal"]
    scores = [float(row["p_malignant"]) / (float(row["p_benign"]) + float(row["p_malignant"])) for row in rows]
    return float(roc_auc_score([row["label"] == "malignant" for row in rows], scores))


@pytest.mark.parametrize("name", COLLECTIONS)
def test_the_table_is_that_of_the_answers(name: str, sources: dict[str, dict[str, Any]]) -> None:
    (line,) = (line for line in PAGE.splitlines() if line.startswith(f"| {name} |"))
    own = sources[name]
    lesion = own["auc"].get("normal against the rest")
    assert cells(line)[1:] == [
        interval(own["auc"]["malignant against benign"]),
        "-" if name == "BUSI" else f"{busi_alone(name):.3f}",
        interval(lesion) if name == "BUSI" else "-",  # BrEaST has four healthy scans
        f"{own['accuracy']['value']:.3f}",
        f"{own['ece']['value']:.3f}",
        f"{own['coverage']['value']:.3f}",
    ]


def test_the_readme_gives_the_same(sources: dict[str, dict[str, Any]]) -> None:
    (line,) = (line for line in README.splitlines() if line.startswith("| the shipped bundle's recipe |"))
    assert cells(line)[1:] == [
        f"{sources[name]['auc']['malignant against benign']['value']:.2f}" for name in COLLECTIONS
    ]
    (line,) = (line for line in README.splitlines() if line.startswith("| trained on BUSI alone |"))
    assert cells(line)[1:] == ["-", *(f"{busi_alone(name):.2f}" for name in COLLECTIONS[1:])]


FIGURES = (
    *(("AUC malignant against benign", name) for name in COLLECTIONS),
    ("AUC normal against the rest", "BUSI"),
)


@pytest.fixture(scope="module")
def ingredients() -> dict[str, list[str]]:
    """The cells of each row of the table of ingredients, by its arm."""
    rows = [cells(line) for line in PAGE.splitlines() if line.startswith("| `")]
    return {row[0].split("`")[1]: row[1:] for row in rows}


def test_each_ingredient_s_change_is_that_of_the_answers(ingredients: dict[str, list[str]]) -> None:
    """Against scikit-learn's areas."""
    with open_answers(INGREDIENTS) as file:
        rows = list(csv.DictReader(file))
    assert set(ingredients) == {row["arm"] for row in rows}

    def area(arm: str, figure: str, collection: str) -> float:
        own = [row for row in rows if row["arm"] == arm and row["collection"] == collection]
        if "normal" in figure:
            scores, which = [float(row["p_normal"]) for row in own], "normal"
        else:
            own, which = [row for row in own if row["label"] != "normal"], "malignant"
            scores = [float(row["p_malignant"]) / (float(row["p_benign"]) + float(row["p_malignant"])) for row in own]
        return float(roc_auc_score([row["label"] == which for row in own], scores))

    first = [area("recipe", *figure) for figure in FIGURES]
    for arm, shown in ingredients.items():
        expected = [
            area(arm, *figure) - (0 if arm == "recipe" else before)
            for figure, before in zip(FIGURES, first, strict=True)
        ]
        assert [float(cell.split(" [")[0]) for cell in shown] == pytest.approx(expected, abs=6e-4), arm


def test_the_intervals_are_those_that_compare_prints(ingredients: dict[str, list[str]]) -> None:
    arms = ("recipe", "no-windows", "teachers")
    found = succeed("compare", INGREDIENTS, "--arms", ",".join(arms)).json["runs"]
    for row in found:
        own = {(figure["figure"], figure["collection"]): figure for figure in row["figures"]}
        for key, cell in zip(FIGURES, ingredients[row["name"]], strict=True):
            sign, part = ("", "value") if row["name"] == "recipe" else ("+", "change")
            assert cell == "{value:{s}.3f} [{low:{s}.3f}, {high:{s}.3f}]".format(s=sign, **own[key][part])
