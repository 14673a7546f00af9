"""The measured arms on the page follow from the answers that are kept beside it."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path
from typing import NamedTuple

import pytest

from kept_answers import CLASSES, accuracies, open_answers
from places import CHECKOUT
from program import succeed

DOCS = CHECKOUT / "training" / "docs"
PAGE = (DOCS / "did-it-help.md").read_text(encoding="utf-8").replace("\u2212", "-")
KEYS = ("value", "low", "high")


class Measured(NamedTuple):
    """A section of the page: its heading, the answers beside it, and what its tables show of them."""

    title: str
    file: str
    seeds: str
    arms: tuple[str, ...]
    compared: tuple[str, ...]

    @property
    def answers(self) -> Path:
        return DOCS / "predictions" / self.file

    @property
    def text(self) -> str:
        return PAGE.split(f"## Measured: {self.title}\n")[1].split("\n## ")[0]


DCGAN = Measured(
    "a small DCGAN on BUSI",
    "arms-dcgan-64.csv.gz",
    "012",
    ("real", "gan", "duplicates", "untrained", "shuffled", "weighted", "classical", "trivial"),
    ("gan", "duplicates"),
)
PROJECTED = Measured(
    "a quick generator on BUSI",
    "arms-projected-64.csv.gz",
    "0",
    ("real", "gan:0.5", "gan", "gan:2", "gan-all", "curated", "duplicates", "untrained", "shuffled", "weighted"),
    ("gan:0.5", "gan", "gan:2", "gan-all", "curated", "duplicates", "untrained"),
)
EACH = pytest.mark.parametrize("measured", (DCGAN, PROJECTED), ids=lambda measured: measured.file.partition(".")[0])
SHARES = {"": "All real images", "@0.25": "A quarter of them"}
README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
# Beginnings of our rows: answers, arm and protocol.
README_ROWS = {
    "**real images (System 1)**": (DCGAN.file, "real", "sealed"),
    "**real + generated (System 2)**": (DCGAN.file, "gan", "sealed"),
    "placebo": (DCGAN.file, "duplicates", "sealed"),
    "System 1, the published protocol": ("leakage-dcgan-64.csv.gz", "real", "plain"),
    "System 2, the published protocol": ("leakage-dcgan-64.csv.gz", "gan", "thesis"),
    "System 1, the thesis's": ("system-1-thesis.csv", "real", "thesis"),
}


def rows_of(measured: Measured, share: str) -> dict[str, list[str]]:
    """The rows of the section's table for a share of the real images, by arm."""
    table = measured.text.split(f"**{SHARES[share]}**")[1].split("\n\n")[1]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return {row[0].strip("`"): row[1:] for row in cells}


def interval(change: dict[str, float], points: bool) -> str:
    form = "{:+.1f} [{:+.1f}, {:+.1f}]" if points else "{:+.3f} [{:+.3f}, {:+.3f}]"
    return form.format(*((100 if points else 1) * change[key] for key in KEYS))


@EACH
def test_accuracies_are_those_of_the_answers(measured: Measured) -> None:
    found = accuracies(measured.answers, 780)
    expected = {(arm + share, "sealed", seed) for arm in measured.arms for share in SHARES for seed in measured.seeds}
    assert set(found) == expected
    for share in SHARES:
        table = rows_of(measured, share)
        assert list(table) == list(measured.arms)
        for arm, cells in table.items():
            own = [found[arm + share, "sealed", seed] for seed in measured.seeds]
            assert cells[0] == ", ".join(f"{value:.3f}" for value in own)
            if len(own) > 1:
                assert cells[1] == f"{sum(own) / len(own):.3f}"
            if measured is DCGAN and not share and arm in ("real", "gan", "duplicates"):
                assert "{:.3f}, {:.3f} and {:.3f}".format(*own) in " ".join(README.split())


@EACH
def test_differences_are_those_that_compare_finds(measured: Measured) -> None:
    for share in SHARES:
        arms = ",".join(f"{arm}{share}" for arm in ("real", *measured.compared))
        for run in succeed("compare", measured.answers, "--arms", arms).json["runs"][1:]:
            accuracy, area = run["figures"][:2]
            assert rows_of(measured, share)[run["name"].removesuffix(share)][-3:] == [
                interval(accuracy["change"], points=True),
                f"{area['value']['value']:.3f}",
                interval(area["change"], points=False),
            ]


@EACH
def test_what_the_placebo_gains_is_said(measured: Measured) -> None:
    said = " ".join(measured.text.split()).replace(" points [", " [")
    placebos = ("duplicates", "untrained") if measured is PROJECTED else ("duplicates",)
    for placebo, share in itertools.product(placebos, SHARES):
        arms = [
            arm for arm in ("gan", "curated") if arm in measured.arms and (arm, placebo) != ("curated", "untrained")
        ]
        named = ",".join(f"{arm}{share}" for arm in (placebo, *arms))
        for run in succeed("compare", measured.answers, "--arms", named).json["runs"][1:]:
            assert interval(run["figures"][0]["change"], points=True) in said


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
