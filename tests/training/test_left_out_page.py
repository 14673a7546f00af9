"""The figures of collections that were left out follow from the answers that are kept beside the page."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from kept_answers import open_answers
from places import CHECKOUT
from program import succeed
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.training.external.disturbances import DISTURBANCES

DOCS = CHECKOUT / "training" / "docs"
PAGE = (DOCS / "what-travels.md").read_text(encoding="utf-8")
README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
LEFT_OUT = DOCS / "predictions" / "left-out.csv.gz"
PARTS = DOCS / "predictions" / "recipe-parts.csv.gz"
INGREDIENTS = DOCS / "predictions" / "ingredients.csv.gz"
SEALED = DOCS / "predictions" / "sealed-collections.csv.gz"
SEALED_BUSI_RECIPE = DOCS / "predictions" / "sealed-busi-recipe.csv.gz"
SEALED_BUSI = DOCS / "predictions" / "arms-dcgan-64.csv.gz"
BUSI_ALONE = DOCS / "predictions" / "busi-alone-elsewhere.csv.gz"
CLASSES = ("normal", "benign", "malignant")
ARMS = ("real", "classical", "trivial", "weighted", "duplicates", "gan", "shuffled")
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
    (line,) = (line for line in README.splitlines() if line.startswith("| the same, sealed folds of all three |"))
    assert cells(line)[1:] == [f"{float(sealed_figures(SEALED, name)[2].split()[0]):.2f}" for name in COLLECTIONS]
    (line,) = (line for line in README.splitlines() if line.startswith("| trained on BUSI alone |"))
    assert cells(line)[1:] == ["-", *(f"{busi_alone(name):.2f}" for name in COLLECTIONS[1:])]


def sealed_answers(path: Path, seed: str, collection: str = "BUSI") -> tuple[Any, Any, Any]:
    """Labels (N,), probabilities (N, 3) and folds (N,) of a collection's images, from networks of real images."""
    with open_answers(path) as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if (row["arm"], row["protocol"], row["seed"]) == ("real", "sealed", seed)
            and row.get("collection", "BUSI") == collection
        ]
    labels = np.array([CLASSES.index(row["label"]) for row in rows])
    values = np.array([[float(row[f"p_{name}"]) for name in CLASSES] for row in rows])
    return labels, values, np.array([row["fold"] for row in rows])


def three_figures(labels: Any, values: Any) -> tuple[float, float, float]:
    """Accuracy, macro-AUC and AUC of malignant against benign, by scikit-learn; no macro-AUC without healthy scans."""
    lesion = labels > 0
    malignant = values[lesion, 2] / values[lesion, 1:].sum(axis=1)
    areas = [roc_auc_score(labels == i, values[:, i]) for i in range(3)] if not lesion.all() else [float("nan")]
    return (
        float((values.argmax(axis=1) == labels).mean()),
        float(np.mean(areas)),
        float(roc_auc_score(labels[lesion] == 2, malignant)),
    )


def sealed_figures(path: Path, collection: str) -> list[str]:
    """Mean and range of `three_figures` over the seeds."""
    by_seed = [three_figures(*sealed_answers(path, seed, collection)[:2]) for seed in ("0", "1", "2")]
    return [f"{np.mean(of):.3f} ({min(of):.3f} to {max(of):.3f})" for of in zip(*by_seed, strict=True)]


def test_the_sealed_rows_are_those_of_the_answers() -> None:
    (line,) = (line for line in PAGE.splitlines() if line.startswith("| nine tenths of all three"))
    others = [sealed_figures(SEALED, name)[2] for name in COLLECTIONS[1:]]
    assert cells(line)[1:] == [*sealed_figures(SEALED, "BUSI"), *others]
    labels, values, _ = sealed_answers(SEALED_BUSI_RECIPE, "0")
    (line,) = (line for line in PAGE.splitlines() if line.startswith("| nine tenths of BUSI, `--budget collections`"))
    assert cells(line)[1:4] == [f"{figure:.3f}" for figure in three_figures(labels, values)]
    (line,) = (line for line in PAGE.splitlines() if line.startswith("| nine tenths of BUSI, `--budget full`"))
    assert cells(line)[1:] == [*sealed_figures(SEALED_BUSI, "BUSI"), "-", "-"]


WAYS = {
    "three-of-all": [(SEALED, "real")],
    "three-of-BUSI": [(SEALED_BUSI, "real")],
    "both": [(SEALED, "real"), (SEALED_BUSI, "real")],
    "filled-up": [(SEALED_BUSI, "duplicates")],
    "seven-arms": [(SEALED_BUSI, arm) for arm in ARMS],
    "everything": [(SEALED, "real"), *((SEALED_BUSI, arm) for arm in ARMS)],
}


@pytest.mark.parametrize("way", WAYS)
def test_answers_averaged_give_these_figures_on_busi(way: str) -> None:
    answers: dict[str, list[list[float]]] = {}
    for path, arm in WAYS[way]:
        with open_answers(path) as file:
            for row in csv.DictReader(file):
                if (row["arm"], row["protocol"], row.get("collection", "BUSI")) == (arm, "sealed", "BUSI"):
                    scan = row["file"].removeprefix("BUSI/")
                    answers.setdefault(scan, []).append([float(row[f"p_{name}"]) for name in CLASSES])
    labels = np.array([CLASSES.index(scan.partition("/")[0]) for scan in answers])
    (networks,) = {len(own) for own in answers.values()}
    values = np.mean(list(answers.values()), axis=1)
    (line,) = (line for line in PAGE.splitlines() if line.startswith(f"| `{way}`"))
    accuracy, macro, _ = three_figures(labels, values)
    assert cells(line)[1:] == [str(networks), f"{accuracy:.3f}", f"{macro:.3f}"]


def test_calibration_is_not_what_is_missing() -> None:
    accuracy = []
    for seed in ("0", "1", "2"):
        labels, values, folds = sealed_answers(SEALED, seed)
        inputs, found = np.log(values.clip(1e-4)), np.empty(len(labels))
        for fold in np.unique(folds):
            fitted = LogisticRegression(C=10).fit(inputs[folds != fold], labels[folds != fold])
            found[folds == fold] = fitted.predict(inputs[folds == fold])
        accuracy.append((found == labels).mean())
    assert f"lowers accuracy to {np.mean(accuracy):.3f} (mean of the seeds)" in PAGE
    labels, values, _ = sealed_answers(SEALED_BUSI, "0")
    malignant = values[labels == 2].argmax(axis=1)
    assert f"too, call {(malignant != 2).sum()} of its\n{len(malignant)} malignant lesions" in PAGE


FIGURES = (
    *(("AUC malignant against benign", name) for name in COLLECTIONS),
    ("AUC normal against the rest", "BUSI"),
)


def test_disturbed_scans_are_those_of_the_shipped_card() -> None:
    found = open_bundle().manifest.raw["evaluation"]["disturbed"]
    (text,) = (part for part in PAGE.split("\n## ") if part.startswith("Disturbed scans"))
    shown = {cells(line)[0]: cells(line)[1:] for line in text.splitlines() if line.startswith("| ")}
    assert list(shown.pop("disturbance: three strengths")) == list(COLLECTIONS)
    assert shown.pop("as they are") == [
        f"{interval(found[name]['auc'])}; {found[name]['noticed']['value']:.0%}" for name in COLLECTIONS
    ]
    assert len(shown) == len(DISTURBANCES)
    for (kind, disturbance), row in zip(DISTURBANCES.items(), shown, strict=True):
        assert row.startswith(f"{disturbance.title}: "), kind
        for name, cell in zip(COLLECTIONS, shown[row], strict=True):
            own = [level for level in found[name]["disturbed"] if level["kind"] == kind]
            changes = [f"{level['change']['value']:+.3f}" for level in own]
            worst = "[{low:+.3f}, {high:+.3f}]".format(**own[-1]["change"])
            noticed = [f"{100 * level['noticed']['value']:.0f}" for level in own]
            assert cell == f"{', '.join(changes)} {worst}; {', '.join(noticed)} %", (kind, name)


TABLES = {"What each ingredient does": INGREDIENTS, "What each part of the recipe does": PARTS}
"""Tables of changes, by their section, with the answers that they are of; their first row is what is changed."""


def changes(section: str) -> dict[str, list[str]]:
    """The cells of each row of a table of changes, by its arm."""
    (text,) = (part for part in PAGE.split("\n## ") if part.startswith(section))
    rows = [cells(line) for line in text.splitlines() if line.startswith("| `")]
    return {row[0].split("`")[1]: row[1:] for row in rows}


@pytest.mark.parametrize("section", TABLES)
def test_each_change_is_that_of_the_answers(section: str) -> None:
    """Against scikit-learn's areas."""
    shown = changes(section)
    with open_answers(TABLES[section]) as file:
        rows = list(csv.DictReader(file))
    assert set(shown) == {row["arm"] for row in rows}

    def area(arm: str, figure: str, collection: str) -> float:
        own = [row for row in rows if row["arm"] == arm and row["collection"] == collection]
        if "normal" in figure:
            scores, which = [float(row["p_normal"]) for row in own], "normal"
        else:
            own, which = [row for row in own if row["label"] != "normal"], "malignant"
            scores = [float(row["p_malignant"]) / (float(row["p_benign"]) + float(row["p_malignant"])) for row in own]
        return float(roc_auc_score([row["label"] == which for row in own], scores))

    first = [area("recipe", *figure) for figure in FIGURES]
    for arm, cells_of_arm in shown.items():
        expected = [
            area(arm, *figure) - (0 if arm == "recipe" else before)
            for figure, before in zip(FIGURES, first, strict=True)
        ]
        assert [float(cell.split(" [")[0]) for cell in cells_of_arm] == pytest.approx(expected, abs=6e-4), arm


@pytest.mark.parametrize("section", TABLES)
def test_the_intervals_are_those_that_compare_prints(section: str) -> None:
    shown = changes(section)
    arms = list(shown)[:1] + list(shown)[-2:]
    found = succeed("compare", TABLES[section], "--arms", ",".join(arms)).json["runs"]
    for row in found:
        own = {(figure["figure"], figure["collection"]): figure for figure in row["figures"]}
        for key, cell in zip(FIGURES, shown[row["name"]], strict=True):
            sign, part = ("", "value") if row["name"] == "recipe" else ("+", "change")
            assert cell == "{value:{s}.3f} [{low:{s}.3f}, {high:{s}.3f}]".format(s=sign, **own[key][part])
