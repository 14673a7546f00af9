"""The measured arms on the page follow from the answers that are kept beside it."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from kept_answers import CLASSES, accuracies, open_answers
from places import CHECKOUT
from program import succeed

DOCS = CHECKOUT / "training" / "docs"
PAGE = (DOCS / "did-it-help.md").read_text(encoding="utf-8").replace("\u2212", "-")
TEXT = PAGE.replace(" points [", " [")
ANSWERS = DOCS / "predictions" / "arms-dcgan-64.csv.gz"
KEYS = ("value", "low", "high")
ARMS = ("real", "gan", "duplicates", "untrained", "shuffled", "weighted", "classical", "trivial")
SHARES = {"": "All real images", "@0.25": "A quarter of them"}
README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
# Beginnings of our rows: answers, arm and protocol.
README_ROWS = {
    "**real images (System 1)**": (ANSWERS.name, "real", "sealed"),
    "**real + generated (System 2)**": (ANSWERS.name, "gan", "sealed"),
    "placebo": (ANSWERS.name, "duplicates", "sealed"),
    "System 1, the published protocol": ("leakage-dcgan-64.csv.gz", "real", "plain"),
    "System 2, the published protocol": ("leakage-dcgan-64.csv.gz", "gan", "thesis"),
    "System 1, the thesis's": ("system-1-thesis.csv", "real", "thesis"),
}


def rows_of(share: str) -> dict[str, list[str]]:
    """The rows of the page's table for a share of the real images, by arm."""
    text = PAGE.split(f"**{SHARES[share]}**")[1].split("\n\n")[1]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:]]
    return {row[0].strip("`"): row[1:] for row in cells}


def test_accuracies_are_those_of_the_answers() -> None:
    found = accuracies(ANSWERS, 780)
    assert set(found) == {(arm + share, "sealed", seed) for arm in ARMS for share in SHARES for seed in "012"}
    for share in SHARES:
        table = rows_of(share)
        assert list(table) == list(ARMS)
        for arm, cells in table.items():
            own = [found[arm + share, "sealed", seed] for seed in "012"]
            assert cells[0] == ", ".join(f"{value:.3f}" for value in own)
            assert cells[1] == f"{sum(own) / 3:.3f}"
            if not share and arm in ("real", "gan", "duplicates"):
                assert "{:.3f}, {:.3f} and {:.3f}".format(*own) in " ".join(README.split())


def test_differences_are_those_that_compare_finds() -> None:
    for share in SHARES:
        arms = ",".join(f"{arm}{share}" for arm in ("real", "gan", "duplicates"))
        for run in succeed("compare", ANSWERS, "--arms", arms).json["runs"][1:]:
            accuracy, area = run["figures"][:2]
            cells = rows_of(share)[run["name"].removesuffix(share)]
            assert cells[2] == "{:+.1f} [{:+.1f}, {:+.1f}]".format(*(100 * accuracy["change"][k] for k in KEYS))
            assert cells[3] == f"{area['value']['value']:.3f}"
            assert cells[4] == "{:+.3f} [{:+.3f}, {:+.3f}]".format(*(area["change"][k] for k in KEYS))


def test_the_placebo_gains_as_much() -> None:
    for share in SHARES:
        arms = f"duplicates{share},gan{share}"
        change = succeed("compare", ANSWERS, "--arms", arms).json["runs"][1]["figures"][0]["change"]
        assert (
            "{:+.1f}".format(100 * change["value"]) + " [{:+.1f}, {:+.1f}]".format(*(100 * change[k] for k in KEYS[1:]))
            in TEXT
        )


def test_the_table_of_leakage_is_printed_from_its_answers() -> None:
    printed = succeed("leakage", "--from", DOCS / "predictions" / "leakage-dcgan-64.csv.gz").said
    table = PAGE.split("```text\n")[1].split("```")[0]
    assert table.startswith("780 images in 584 groups, seeds 0, 1, 2") and table in printed


@pytest.mark.parametrize("row", README_ROWS)
def test_our_rows_of_the_readme_are_those_of_the_answers(row: str, tmp_path: Path) -> None:
    (line,) = (line for line in README.splitlines() if line.startswith(f"| {row}"))
    file, arm, protocol = README_ROWS[row]
    with open_answers(DOCS / "predictions" / file) as source, (tmp_path / "own.csv").open("w", newline="") as own:
        rows = csv.DictReader(source)
        assert rows.fieldnames
        kept = csv.DictWriter(own, rows.fieldnames)
        kept.writeheader()
        kept.writerows(r for r in rows if (r["arm"], r["protocol"], r["seed"]) == (arm, protocol, "0"))
    found = succeed("crossval", "--from", tmp_path / "own.csv").json["arms"][arm]
    wide = ["{:.3f} [{:.3f}, {:.3f}]".format(*(found[name][k] for k in KEYS)) for name in ("accuracy", "macro_auc")]
    by_class = [
        " / ".join(f"{100 * found[name][label]['value']:.0f}" for label in CLASSES)
        for name in ("sensitivity", "specificity")
    ]
    assert [cell.strip() for cell in line.strip("|").split("|")][2:] == wide + by_class
