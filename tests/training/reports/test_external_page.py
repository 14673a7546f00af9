"""The page of an external validation: what it shows are its results, and the scans that were answered wrongly."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from pages import Page, check_page
from program import succeed
from scans import write_set


@pytest.fixture(scope="module")
def validated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The answer of a validation on two collections, one of one label alone."""
    root = tmp_path_factory.mktemp("validated")
    both = write_set(root / "both", {"benign": 9, "malignant": 8})
    alone = write_set(root / "alone", {"benign": 3})
    table = root / "alone" / "labels.csv"
    files = sorted(path.relative_to(alone).as_posix() for path in alone.rglob("*.png"))
    table.write_text("file,label\n" + "".join(f"{file},benign\n" for file in files))
    external = ("--external", f"Rio <1>:{both}", "--external", f"alone:{table}")
    return succeed("validate", *external, "--out", root / "runs").json  # type: ignore[no-any-return]


def test_tables_are_the_results(validated: dict[str, object]) -> None:
    page = Page(Path(str(validated["report"])).read_text())
    check_page(page)
    first, second = validated["collections"]  # type: ignore[misc]
    tables = list(page.tables.values())
    areas = {row[0]: row[1] for table in tables for row in table if len(row) == 2}
    for pair, found in first["auc"].items():
        assert areas[pair].startswith(f"{found['value']:.3f}")
    for found in (first, second):
        counted = page.table(f"{found['name']}: what the images")
        assert [[int(cell) for cell in row[1:]] for row in counted[1:]] == found["confusion"]
    assert "Rio <1>: 9 benign, 8 malignant" in page.text


def test_the_surest_wrong_answers_are_shown(validated: dict[str, object]) -> None:
    page = Page(Path(str(validated["report"])).read_text())
    with (Path(str(validated["run"])) / "answers.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["label"] != row["answer"]]
    expected = []
    for collection in ("Rio <1>", "alone"):
        wrong = [row for row in rows if row["collection"] == collection]
        wrong.sort(key=lambda row: -float(row[f"p_{row['answer']}"]))
        expected += [f"{row['file']}, labelled {row['label']}, called {row['answer']}" for row in wrong[:12]]
    assert expected and [one["alt"] for one in page.attributes("img")] == expected
