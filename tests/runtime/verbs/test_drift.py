"""``sonoforge validate --answers``: months that changed or did not, what is read, and what is refused."""

from __future__ import annotations

import csv
import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bundle_factory as factory
from program import Finished, refused, rows_of, sonoforge, succeed
from sonoforge.runtime.bundle.reader import SHIPPED, open_bundle
from sonoforge.runtime.jobs import drifting
from sonoforge.runtime.jobs.drifting import Month, compare, draws_of

SCANS = 60
Rows = list[dict[str, str]]


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """The CSV and the JSON of one run of ``classify``."""
    folder = factory.write_scans(tmp_path_factory.mktemp("scans"), range(SCANS))
    table = folder.parent / "month.csv"
    return table, succeed("classify", folder, "--csv", table).json["results"]


@pytest.fixture(scope="module")
def month(answered: tuple[Path, list[dict[str, Any]]]) -> Rows:
    return rows_of(answered[0])


def write(path: Path, rows: Rows, delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, rows[0], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def drift(*files: Path) -> Finished:
    return sonoforge("validate", *(word for file in files for word in ("--answers", file)), "--json")


def many(rows: Rows, seed: int, count: int = 400) -> Rows:
    """As many rows, drawn from these, with probabilities that make each a picture of its own."""
    generator = np.random.default_rng(seed)
    chosen = [dict(rows[place]) for place in generator.integers(0, len(rows), count)]
    for number, row in enumerate(chosen):
        row["brightness"] = repr(float(row["brightness"]) + generator.normal() * 1e-3)
        row["series"] = f"{seed} {number}"
    return chosen


def test_a_month_of_the_same_scans_is_not_called_changed_and_one_of_darker_scans_is(
    month: Rows, tmp_path: Path
) -> None:
    earlier, same = write(tmp_path / "a.csv", many(month, 0)), write(tmp_path / "b.csv", many(month, 1))
    done = drift(earlier, same)
    assert (done.code, done.json["verdict"]) == (0, "not shown to have changed")
    darker = [{**row, "brightness": repr(0.9 * float(row["brightness"]))} for row in many(month, 2)]
    done = drift(earlier, write(tmp_path / "c.csv", darker))
    assert (done.code, done.json["verdict"]) == (1, "changed")
    assert [row["name"] for row in done.json["figures"] if row["changed"]] == ["brightness"]
    said = succeed_or_changed("validate", "--answers", earlier, "--answers", tmp_path / "c.csv")
    assert "Changed: brightness." in said.said and said.widest <= 80


def succeed_or_changed(*words: object) -> Finished:
    done = sonoforge(*words)
    assert done.code in (0, 1), done.err
    return done


def test_few_answers_are_too_few_to_tell_and_it_says_how_many_are_needed(month: Rows, tmp_path: Path) -> None:
    files = [write(tmp_path / f"{seed}.csv", many(month, seed, 20)) for seed in (2, 3)]
    found = drift(*files).json
    assert found["verdict"] == "too few to tell"
    assert found["needed"] == pytest.approx(20 * (found["shows"] / 0.1) ** 2, rel=0.1)


def test_a_log_gives_the_figures_of_a_table_and_counts_days(
    answered: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    table, entries = answered
    lines = []
    for number, entry in enumerate(entries):
        answer = {key: entry[key] for key in entry if key not in ("file", "map", "copy_of", "seems_copy_of", "series")}
        about = {"time": f"2026-06-{1 + number % 20:02}T08:00:00Z", "path": "/classify", "status": 200}
        lines.append(json.dumps({**about, "answer": answer}))
    lines.append(json.dumps({"time": "2026-06-01T08:00:00Z", "path": "/classify", "status": 422}))
    lines.append(json.dumps({"time": "2026-06-01T08:00:00Z", "path": "/health", "status": 200}))
    log = tmp_path / "month.log.gz"
    log.write_bytes(gzip.compress("\n".join(lines).encode() + b'\n{"time": "2026-06-3'))
    bundle = open_bundle(SHIPPED)
    own, other = (drifting.read_month(str(file), bundle, alone=False) for file in (log, table))
    assert {**own.about, "repeats": 0} == {
        **{"answered": SCANS, "unanswered": 1, "repeats": 0, "trained_on": 0},
        **{"groups": 20, "grouped_by": "days"},
    }
    for key, values in other.values.items():
        assert own.values[key][:SCANS] == pytest.approx(values) or key[1] == "no answer", key
    assert own.pictures == other.pictures


def test_draws_have_the_spread_of_the_formula_for_groups_and_ignore_their_order() -> None:
    generator = np.random.default_rng(3)
    groups = np.repeat(np.arange(150), generator.integers(1, 6, 150))
    values = generator.normal(size=150)[groups] + generator.normal(size=len(groups))
    month = Month("", {("scans", "x"): values}, groups, ("", ""), {}, set())
    ((mean, draws),) = draws_of(month, 0)["scans", "x"]
    beyond = np.array([(values[groups == one] - values.mean()).sum() for one in range(150)])
    assert mean == pytest.approx(values.mean())
    assert draws.std() == pytest.approx(np.sqrt((beyond**2).sum() * 150 / 149) / len(values), rel=0.06)
    assert abs(draws.mean() - mean) < 0.1 * draws.std()


@pytest.mark.parametrize("days", [60, 22])
def test_chance_alone_changes_five_months_in_a_hundred(days: int) -> None:
    manifest, generator = open_bundle(SHIPPED).manifest, np.random.default_rng(0)

    def random_month() -> Month:
        shares = generator.random((300, 12)) < np.linspace(0.02, 0.6, 12)
        values = {("answers", str(i)): shares[:, i].astype(float) for i in range(12)}
        groups = np.arange(300) % days
        return Month("", values, groups, ("", ""), {}, set())

    count = 100
    wrong = sum(
        any(row.changed for row in compare(random_month(), draws_of(random_month(), 1), manifest)[0])
        for _ in range(count)
    )
    assert wrong <= 11  # 99 % of the time where 5 % are


def test_the_bundle_is_a_reference_only_within_which_collections_differ(month: Rows, tmp_path: Path) -> None:
    found = drift(write(tmp_path / "a.csv", many(month, 0))).json
    rows = {row["name"]: row for row in found["figures"]}
    evaluation = open_bundle(SHIPPED).manifest.raw["evaluation"]["decision"].values()
    called = [own["called"]["malignant"] for own in evaluation]
    assert rows["label malignant"]["before"] == [min(called), max(called)]
    for row in rows.values():
        low, high = row["before"]
        assert not (row["changed"] and low <= row["now"] <= high)
    assert "malignant? yes" in found["without_reference"]


def test_scans_that_trained_the_network_are_no_month_of_their_own(month: Rows, tmp_path: Path) -> None:
    trained = [{**row, "trained_on": str(place % 2 == 0).upper()} for place, row in enumerate(many(month, 0, 100))]
    done = drift(write(tmp_path / "a.csv", trained))
    assert done.json["trained_on"] == done.json["answered"] == 50 and "trained the network" in done.err


def test_pictures_given_again_count_once_and_patients_are_groups(month: Rows, tmp_path: Path) -> None:
    twice = [{**row, "patient": f"P{place // 3}"} for place, row in enumerate(many(month, 0, 90))]
    found = drift(write(tmp_path / "a.csv", twice + twice[:10]), write(tmp_path / "b.csv", many(month, 1))).json
    assert (found["before"]["repeats"], found["before"]["groups"], found["before"]["grouped_by"]) == (
        10,
        30,
        "patients",
    )


def test_sweeps_named_after_files_are_told_apart_by_every_letter(month: Rows, tmp_path: Path) -> None:
    rows = [{**row, "series": f"s{place:0{1 + place % 3}}.png"} for place, row in enumerate(many(month, 0, 8))]
    rows += [{**row, "series": f"S{place}.png"} for place, row in enumerate(many(month, 1, 8))]
    done = drift(write(tmp_path / "a.csv", rows))
    assert done.json["groups"] == 16 and "spelling" not in done.err


def test_labels_are_compared_at_the_same_class_shares(month: Rows) -> None:
    """A table at other shares gives the labels of one at the bundle's own."""
    manifest = open_bundle(SHIPPED).manifest
    own = dict(drifting.values_of(month, manifest, {}))
    other = []
    for row in month:
        weighted = {name: float(row[f"p_{name}"]) / manifest.default[name] for name in manifest.classes}
        other.append({**row, **{f"p_{name}": repr(value / sum(weighted.values())) for name, value in weighted.items()}})
    again = dict(drifting.values_of(other, manifest, {"prevalence": "1:1:1"}))
    for name in manifest.classes:
        assert (own["answers", f"label {name}"] == again["answers", f"label {name}"]).all()


def saved_by_excel(rows: Rows) -> Rows:
    """With decimal commas and true in capitals."""
    numbers = {key for key in rows[0] if key.startswith("p_") or key in ("trust_score", "brightness", "sharpness")}
    return [
        {
            key: cell.replace(".", ",") if key in numbers else cell.upper() if key == "ok" else cell
            for key, cell in row.items()
        }
        for row in rows
    ]


def test_a_table_that_went_through_excel_or_was_cut_off_reads_the_same(month: Rows, tmp_path: Path) -> None:
    bundle, rows = open_bundle(SHIPPED), many(month, 0, 50)
    plain = write(tmp_path / "a.csv", rows)
    excel = write(tmp_path / "b.csv", saved_by_excel(rows), ";")
    cut = tmp_path / "c.csv"
    cut.write_bytes(plain.read_bytes() + b'scan.png,true,"undeci')
    first, *others = (drifting.read_month(str(file), bundle, alone=False) for file in (plain, excel, cut))
    for other in others:
        assert {key: values.tolist() for key, values in other.values.items()} == {
            key: values.tolist() for key, values in first.values.items()
        }


MISTAKES: dict[str, tuple[Callable[[Rows], Rows], str]] = {
    "two settings": (lambda rows: [*rows[:9], *({**row, "settings": "crop=auto"} for row in rows[9:])], "split it"),
    "another network": (lambda rows: [{**row, "model_sha256": "0" * 64} for row in rows], "--bundle"),
    "words for numbers": (lambda rows: [{**row, "trust_score": "high"} for row in rows], "'high'"),
    "other columns": (lambda rows: [{"file": row["file"], "label": row["label"]} for row in rows], "'ok'"),
    "no answer": (lambda rows: [{**row, "ok": "false"} for row in rows], "0 answers"),
    "one patient": (lambda rows: [{**row, "patient": "P1"} for row in rows], "at least 5"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_cannot_be_compared_is_refused_in_one_line(mistake: str, month: Rows, tmp_path: Path) -> None:
    spoil, said = MISTAKES[mistake]
    file = write(tmp_path / "a.csv", spoil(month))
    message = refused("validate", "--answers", file)
    assert str(file) in message and said in message


@pytest.mark.parametrize("text", ["", "file,ok\n", '{"time": 3}\n', '{"answer": {}}\n', "[1]\n", "{]\n"])
def test_files_of_other_kinds_are_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text(text, encoding="utf-8")
    assert str(file) in refused("validate", "--answers", file)


def test_a_bundle_without_figures_and_months_of_two_settings_are_refused(
    month: Rows, bundle: Path, tmp_path: Path
) -> None:
    own = open_bundle(bundle).manifest
    rows = [{**row, "model_sha256": own.files["model.onnx"].sha256} for row in many(month, 0, 30)]
    file = write(tmp_path / "a.csv", rows)
    if not drifting.own_figures(own):
        assert "earlier month" in refused("validate", "--answers", file, "--bundle", bundle)
    other = write(tmp_path / "b.csv", [{**row, "settings": "crop=auto"} for row in month])
    earlier = write(tmp_path / "c.csv", many(month, 1))
    assert "same settings" in refused("validate", "--answers", earlier, "--answers", other)
    assert "3 times" in refused("validate", *["--answers", earlier] * 3)
    assert "choose one" in refused("validate", "--answers", earlier, "--data", "x:y")


def test_it_runs_on_the_base_install(month: Rows, tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", many(month, 0))
    program = f"""
import sys
class Absent:
    base = {{"numpy", "onnxruntime", "PIL", "packaging", "pydicom", "sonoforge"}}
    def find_spec(self, name, path=None, target=None):
        if "." not in name and name not in self.base and name not in sys.stdlib_module_names:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
from sonoforge.runtime.cli import main
sys.exit(main.run(["validate", "--answers", {str(file)!r}, "--answers", {str(file)!r}, "--quiet"]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Not shown to have changed" in done.stdout


@pytest.mark.slow
def test_a_hundred_thousand_rows_take_seconds(month: Rows, tmp_path: Path) -> None:
    import time

    file = write(tmp_path / "a.csv", many(month, 0, 100_000))
    started = time.process_time()
    assert drift(file).json["answered"] > 99_000
    assert time.process_time() - started < 60
