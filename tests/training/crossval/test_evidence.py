"""A table that somebody edited is refused, or called unverified where nothing at hand could tell."""

from __future__ import annotations

import csv
import gzip
import json
import re
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import report_factory
from places import CHECKOUT
from program import refused, succeed
from sonoforge.runtime.atomic import write_json
from sonoforge.runtime.csv_tables import read_text
from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.training import run_folder
from sonoforge.training.crossval.evidence import UNVERIFIED, read_answers, record_path, write_record
from sonoforge.training.data.split_plan import read_plan
from sonoforge.training.reports.run.page import write_report
from sonoforge.training.reports.run.whole_run import read_run

Rows = list[dict[str, str]]
CLASSES = ("normal", "benign", "malignant")
P = tuple(f"p_{name}" for name in CLASSES)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> report_factory.Run:
    """A run of invented answers with its record: two arms, two seeds, four folds, two collections."""
    folder = tmp_path_factory.mktemp("runs") / "00000-run"
    made = report_factory.make_run(folder, seeds=2, collections=("here", "there"))
    write_record(folder / "predictions.csv")
    write_json(folder / "audit.json", made.audited)
    run_folder.write_results(folder, made.results)
    return made


@pytest.fixture
def run(honest: report_factory.Run, tmp_path: Path) -> Path:
    shutil.copytree(honest.folder, tmp_path / "run", ignore=shutil.ignore_patterns("gan", "samples"))
    return tmp_path / "run"


def edit(table: Path, change: Callable[[Rows], Rows | None], to: Path | None = None) -> Path:
    """Write a table with changed rows, by Python's own reader and writer."""
    with table.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    rows = change(rows) or rows
    with (to or table).open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return to or table


def wrong(row: dict[str, str]) -> bool:
    return max(CLASSES, key=lambda name: float(row[f"p_{name}"])) != row["label"]


def answer(row: dict[str, str], name: str) -> None:
    """Exchange two probabilities so that this class is the most probable one."""
    best = max(P, key=lambda column: float(row[column]))
    row[best], row[f"p_{name}"] = row[f"p_{name}"], row[best]


def each(column: str, value: Callable[[dict[str, str]], object], only: Callable[[dict[str, str]], bool]) -> Any:
    def change(rows: Rows) -> None:
        for row in filter(only, rows):
            row[column] = str(value(row))

    return change


def always(_: dict[str, str]) -> bool:
    return True


def correct_half(rows: Rows) -> None:
    for row in [row for row in rows if row["arm"] == "gan" and wrong(row)][::2]:
        answer(row, row["label"])


def remove_hard(rows: Rows) -> Rows:
    hard = {row["file"] for row in rows if wrong(row)}
    return [row for row in rows if row["file"] not in hard]


def label_as_answered(rows: Rows) -> None:
    said = {row["file"]: max(CLASSES, key=lambda name: float(row[f"p_{name}"])) for row in rows}
    each("label", lambda row: said[row["file"]], always)(rows)


def group_alone(rows: Rows) -> None:
    files = sorted({row["file"] for row in rows})
    each("group", lambda row: files.index(row["file"]), always)(rows)


def sharpen(rows: Rows) -> None:
    for row in rows:
        powers = [float(row[column]) ** 4 for column in P]
        row.update({column: repr(power / sum(powers)) for column, power in zip(P, powers, strict=True)})


def nudge(rows: Rows) -> None:
    rows[5][P[0]], rows[5][P[1]] = repr(float(rows[5][P[0]]) - 1e-6), repr(float(rows[5][P[1]]) + 1e-6)


def round_off(rows: Rows) -> None:
    for row in rows:
        first, second = round(float(row[P[0]]), 2), round(float(row[P[1]]), 2)
        row.update(zip(P, (str(first), str(second), f"{abs(1 - first - second):.2f}"), strict=True))


def exchange(column: str, first: str, second: str) -> Any:
    names = {first: second, second: first}
    return each(column, lambda row: names.get(row[column], row[column]), always)


def exchange_answers(rows: Rows) -> None:
    for row in rows:
        row[P[1]], row[P[2]] = row[P[2]], row[P[1]]


def repeat_easy(rows: Rows) -> Rows:
    groups = max(int(row["group"]) for row in rows) + 1
    hard = {row["file"] for row in rows if wrong(row)}
    easy = [row for row in rows if row["file"] not in hard]
    return rows + [row | {"file": f"a/{row['file']}", "group": str(groups + int(row["group"]))} for row in easy]


def answer_as_labels(rows: Rows) -> None:
    for row in rows:
        row.update({column: str(float(column == f"p_{row['label']}")) for column in P})


PROBABILITIES: dict[str, Callable[[Rows], Rows | None]] = {
    "half of one arm's errors corrected": correct_half,
    "answers sharpened": sharpen,
    "one answer moved by a millionth": nudge,
    "answers rounded": round_off,
    "arms exchanged": exchange("arm", "real", "gan"),
    "answers to two classes exchanged": exchange_answers,
    "every answer certain and right": answer_as_labels,
}
"""Edits that only the folds or a record can tell."""
STRUCTURE: dict[str, Callable[[Rows], Rows | None]] = {
    "every image its own group": group_alone,
    "all hard images removed": remove_hard,
    "folds merged into two": each("fold", lambda row: int(row["fold"]) // 2, always),
    "folds renumbered": each("fold", lambda row: 3 - int(row["fold"]), always),
    "labels as answered": label_as_answered,
    "the worse seed removed": lambda rows: [row for row in rows if row["seed"] == "0"],
    "another seed": each("seed", lambda row: 7, lambda row: row["seed"] == "1"),
    "another protocol": each("protocol", lambda row: "plain", always),
    "other names of files": each("file", lambda row: f"x/{row['file']}", always),
    "a class removed": lambda rows: [row for row in rows if row["label"] != "normal"],
    "easy images twice under other names": repeat_easy,
}
"""Edits that a split plan tells, too."""
SOURCES: dict[str, Callable[[Rows], Rows | None]] = {
    "one collection": each("collection", lambda row: "BUS-BRA", always),
    "errors put in the other collection": each("collection", lambda row: "there", lambda row: row["label"] == "benign"),
}
"""Edits of what neither plan nor folds have."""


def first(column: str, value: Callable[[str], str]) -> Any:
    """Change this column of the first image, in every arm and seed."""

    def change(rows: Rows) -> None:
        file = rows[0]["file"]
        each(column, lambda row: value(row[column]), lambda row: row["file"] == file)(rows)

    return change


def again(name: Callable[[str], str]) -> Any:
    """List the first image once more, in another spelling."""

    def change(rows: Rows) -> Rows:
        file = rows[0]["file"]
        return rows + [row | {"file": name(file)} for row in rows if row["file"] == file]

    return change


def remove(**which: str) -> Any:
    """Remove the wrongly answered images of some rows only."""

    def change(rows: Rows) -> Rows:
        chosen = [row for row in rows if all(row[name] == value for name, value in which.items())]
        hard = {row["file"] for row in chosen if wrong(row)}
        return [row for row in rows if row["file"] not in hard or row not in chosen]

    return change


IMPOSSIBLE: dict[str, Callable[[Rows], Rows | None]] = {
    "a negative seed": each("seed", lambda row: -7, always),
    "a negative group": first("group", lambda cell: "-1"),
    "a negative fold": first("fold", lambda cell: "-1"),
    "a group with an underscore": first("group", lambda cell: "1_0"),
    "a group with thousands": first("group", lambda cell: "1,000"),
    "a seed that is no whole number": each("seed", lambda row: f"{row['seed']}.0", always),
    "digits of another script": first("fold", lambda cell: "\u0661"),
    "a path out of the data set": first("file", lambda cell: f"../../{cell}"),
    "a path out of the data set, in the middle": first("file", lambda cell: f"a/../../{cell}"),
    "a path out of the data set, by Windows": first("file", lambda cell: f"..\\..\\{cell}"),
    "an absolute path": first("file", lambda cell: f"/home/{cell}"),
    "an absolute path of Windows": first("file", lambda cell: f"C:\\{cell}"),
    "a share of Windows": first("file", lambda cell: f"\\\\server\\{cell}"),
    "no file": first("file", lambda cell: ""),
    "a name of two lines": first("file", lambda cell: f"a\n{cell}"),
    "an arm of two lines": each("arm", lambda row: f"{row['arm']}\nverified", always),
    "a file twice": again(lambda file: file),
    "a file twice, spelled ./": again(lambda file: f"./{file}"),
    "a file twice, with two slashes": again(lambda file: file.replace("/", "//")),
    "an unknown label": first("label", lambda cell: "cyst"),
    "a label in capitals": first("label", str.upper),
    "not a number": first(P[0], lambda cell: "nan"),
    "infinity": first(P[0], lambda cell: "inf"),
    "above one": first(P[0], lambda cell: "1.5"),
    "below zero": first(P[0], lambda cell: "-0.1"),
    "thousands": first(P[0], lambda cell: "1,234"),
    "an underscore in a probability": first(P[0], lambda cell: "0.1_0"),
    "a sum that is not one": first(P[0], lambda cell: "0.999"),
    "hard images removed from one arm": remove(arm="gan"),
    "hard images removed from one seed": remove(seed="1"),
    "another label in one arm": each("label", lambda row: "benign", lambda row: row["arm"] == "gan"),
    "a fold left out": lambda rows: [row for row in rows if row["fold"] != "1"],
    "one fold": each("fold", lambda row: 0, always),
    "groups torn": each("group", lambda row: 0, lambda row: row["label"] == "benign"),
    "an unknown protocol": each("protocol", lambda row: "sworn", always),
}
"""Edits that the table alone tells."""
BELIEVABLE = {**PROBABILITIES, **STRUCTURE, **SOURCES}


def told(table: Path) -> str:
    """What is said of a table; empty if it is refused, in one line that names a file."""
    try:
        return read_answers(table)[2]
    except SonoforgeError as error:
        assert "\n" not in str(error) and str(table.parent) in str(error)
        return ""


def test_the_honest_table_is_told_from_a_kept_one_and_from_one_that_stands_alone(run: Path, tmp_path: Path) -> None:
    renamed = shutil.copy(run / "predictions.csv", run / "answers.csv")
    kept, alone = tmp_path / "kept" / "ours.csv", tmp_path / "alone" / "predictions.csv"
    for table in (kept, alone):
        table.parent.mkdir()
        shutil.copy(run / "predictions.csv", table)
    shutil.copy(run / "predictions.record.json", record_path(kept))
    said = {table: told(table) for table in (run / "predictions.csv", kept, alone)}
    assert said[run / "predictions.csv"].startswith("as stated by this run's plan and folds")
    assert re.match(r"as recorded by crossval on \d{4}-\d\d-\d\d, not recomputed here", said[kept])
    assert said[alone].startswith(UNVERIFIED)
    for table, words in said.items():  # first in terminal and JSON of both verbs
        again = succeed("crossval", "--from", table)
        assert " ".join(again.said.split()).startswith(words) and next(iter(again.json.items())) == ("doubt", words)
        assert ("real images (System 1) (UNVERIFIED)" in " ".join(again.said.split())) == (table == alone)
        beside = succeed("compare", table, "--arms", "real,gan")
        assert " ".join(beside.said.split()).startswith(f"real: {words}")
        assert next(iter(beside.json.items())) == ("doubts", {"real": words, "gan": words})
    words = told(Path(renamed))
    assert words.startswith(f"{UNVERIFIED} collections and devices, which only a record has; others as stated by")


@pytest.mark.parametrize("change", [pytest.param(change, id=name) for name, change in BELIEVABLE.items()])
def test_an_edited_table_is_refused_beside_its_run_or_record_and_unverified_alone(
    run: Path, tmp_path: Path, change: Callable[[Rows], Rows | None]
) -> None:
    table, kept, alone, planned = (tmp_path / name / "predictions.csv" for name in ("run", "kept", "alone", "planned"))
    for other in (kept, alone, planned):
        other.parent.mkdir()
        edit(table, change, other)
    shutil.copy(run / "predictions.record.json", kept.parent)
    for plan in run.glob("splits*.json"):
        shutil.copy(plan, planned.parent)
    renamed = edit(table, change, run / "answers.csv")
    edit(table, change)
    assert told(table) == told(kept) == "", "against a record"
    assert told(alone).startswith(f"{UNVERIFIED}: ")
    assert told(planned).startswith(f"{UNVERIFIED}: ") == (change not in STRUCTURE.values())
    record_path(table).unlink()
    for own in (table, renamed):
        assert told(own).startswith(f"{UNVERIFIED} collections") == (change in SOURCES.values())


@pytest.mark.parametrize("change", [pytest.param(change, id=name) for name, change in IMPOSSIBLE.items()])
def test_a_table_that_no_run_writes_is_refused_wherever_it_lies(
    run: Path, tmp_path: Path, change: Callable[[Rows], Rows | None]
) -> None:
    assert told(edit(run / "predictions.csv", change, tmp_path / "alone.csv")) == ""


def test_a_file_twice_in_another_unicode_form_is_refused(run: Path, tmp_path: Path) -> None:
    table = edit(run / "predictions.csv", first("file", lambda cell: f"\u00e4{cell}"), tmp_path / "once.csv")
    assert told(table)
    decomposed = again(lambda file: unicodedata.normalize("NFD", file))
    assert "listed twice" in refused("crossval", "--from", edit(table, decomposed))


def corrected(path: Path) -> None:
    """Answer a fold's images of class malignant rightly."""
    kept = json.loads(path.read_text(encoding="utf-8"))
    for file, own in zip(kept["files"], kept["probabilities"], strict=True):
        if file.startswith("malignant/"):
            own[2], own[own.index(max(own))] = max(own), own[2]
    path.write_text(json.dumps(kept), encoding="utf-8")


def as_folds(run: Path) -> Callable[[Rows], None]:
    """Make a table's answers those that the folds have."""
    answers: dict[tuple[str, str, str], list[float]] = {}
    for path in (run / "folds").glob("*.json"):
        kept = json.loads(path.read_text(encoding="utf-8"))
        for file, own in zip(kept["files"], kept["probabilities"], strict=True):
            answers[kept["arm"], str(kept["seed"]), file] = own

    def change(rows: Rows) -> None:
        for row in rows:
            row.update(zip(P, map(repr, answers[row["arm"], row["seed"], row["file"]]), strict=True))

    return change


def plan_anew(run: Path) -> None:
    """Give every image a group of its own in the plan, and let every fold say that it was made with this plan."""
    path = run / "splits.json"
    plan = json.loads(path.read_text(encoding="utf-8"))
    plan["groups"] = list(range(len(plan["files"])))
    path.write_text(json.dumps(plan), encoding="utf-8")
    for fold in (run / "folds").glob("*-seed0-*.json"):
        kept = json.loads(fold.read_text(encoding="utf-8"))
        kept["made_from"]["plan"] = read_plan(path).digest
        fold.write_text(json.dumps(kept), encoding="utf-8")
    number = dict(zip(plan["files"], plan["groups"], strict=True))
    edit(run / "predictions.csv", each("group", lambda row: number[row["file"]], lambda row: row["seed"] == "0"))


def answer_anew(run: Path) -> None:
    """Correct answers of one arm in the folds, and in the table alike."""
    for fold in (run / "folds").glob("gan-*.json"):
        corrected(fold)
    edit(run / "predictions.csv", as_folds(run))


@pytest.mark.parametrize("forge", [plan_anew, answer_anew])
def test_folds_and_plans_edited_like_the_table_are_told_by_the_record_and_never_more_than_stated(
    run: Path, forge: Callable[[Path], None]
) -> None:
    forge(run)
    table = run / "predictions.csv"
    assert "was edited: its SHA-256 is" in refused("crossval", "--from", table)
    assert "was edited: its SHA-256 is" in refused("compare", run, "--arms", "real,gan")
    record = json.loads(record_path(table).read_text(encoding="utf-8"))
    write_record(table)  # as whoever edits all of it may do
    assert record["files"].keys() == json.loads(record_path(table).read_text(encoding="utf-8"))["files"].keys()
    assert told(table).startswith("as stated by this run's plan and folds")
    assert "not recomputed" in told(table)


def test_one_file_of_a_run_edited_alone_is_refused(run: Path) -> None:
    table = run / "predictions.csv"
    for path in (run / "splits.json", run / "splits-seed1.json", run / "folds" / "real-seed1-fold02.json"):
        before = path.read_bytes()
        for after in (before + b" ", before.replace(b"normal/", b"benign/", 1), None):
            path.write_bytes(after) if after else path.unlink()
            gone = path.name == "splits.json" and not after  # nothing but the record is left to compare with
            assert told(table).startswith("as recorded by") if gone else told(table) == ""
        path.write_bytes(before)
    assert told(table)


@pytest.mark.parametrize(
    "changed",
    [
        {"date": "today, and recomputed by us"},
        {"sha256": "0" * 64},
        {"files": ["splits.json"]},
        {"files": {"splits.json": ""}},
        {"files": {"../elsewhere.json": "0"}},
        {"files": {"/elsewhere.json": "0"}},
        None,
    ],
)
def test_a_record_has_no_words_of_its_own_and_a_damaged_one_is_refused(
    run: Path, changed: dict[str, Any] | None
) -> None:
    path = run / "predictions.record.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(record | changed) if changed else "[", encoding="utf-8")
    assert told(run / "predictions.csv") == ""


def test_a_record_does_not_mind_line_ends_and_compression(run: Path, tmp_path: Path) -> None:
    text = (run / "predictions.csv").read_bytes()
    shutil.copy(run / "predictions.record.json", tmp_path)
    (tmp_path / "predictions.csv").write_bytes(text.replace(b"\n", b"\r\n"))
    (tmp_path / "predictions.csv.gz").write_bytes(gzip.compress(text))
    for name in ("predictions.csv", "predictions.csv.gz"):
        assert told(tmp_path / name).startswith("as recorded by crossval")


def test_checklists_and_report_believe_no_results_that_the_answers_do_not_give(
    honest: report_factory.Run, run: Path
) -> None:
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    found = succeed("compare", run, "--checklists")
    assert next(iter(found.json)) == "doubt" and found.json["doubt"] == told(run / "predictions.csv")
    assert found.said.startswith("as stated by")
    said = json.dumps(found.json["checklists"])

    changed = json.loads(json.dumps(results))
    changed["comparisons"][0]["sign_flip_test"]["p_value"] = 0.001
    changed["arms"]["gan"]["accuracy"]["low"] = 0.79
    changed["arms"]["gan"]["macro_auc"]["value"] = 0.99
    write_json(run / "results.json", changed)
    assert json.dumps(succeed("compare", run, "--checklists").json["checklists"]) == said, "computed again"
    with pytest.raises(GateError, match="macro-AUC recounted"):
        write_report(read_run(run, honest.cache, honest.audited, honest.results | {"arms": changed["arms"]}))
    page = (run / "checklists.html").read_text(encoding="utf-8")
    assert page.index("as stated by") < page.index("Every item with the run")
    (run / "predictions.csv").unlink()
    assert "predictions.csv" in refused("compare", run, "--checklists")


def test_a_report_of_edited_folds_is_refused(honest: report_factory.Run, run: Path) -> None:
    corrected(run / "folds" / "gan-seed0-fold01.json")
    with pytest.raises(SonoforgeError, match="was edited: its SHA-256 is"):
        read_run(run, honest.cache, honest.audited, honest.results)


def test_every_kept_table_of_the_studies_is_as_recorded() -> None:
    tables = [
        table
        for table in (CHECKOUT / "training" / "studies").glob("*/answers/*.csv*")
        if read_text(table, "").startswith("file,group,fold,arm")
    ]
    assert len(tables) >= 20
    for table in tables:
        assert told(table).startswith("as recorded by whoever kept it, without its run,")
