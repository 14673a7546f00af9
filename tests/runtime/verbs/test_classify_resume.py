"""What ``classify`` has answered is in its file, however it ends; ``--resume`` and ``--watch`` answer the rest."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import bundle_factory as factory
from program import refused, rows_of, sonoforge
from sonoforge.runtime.cli.answer_files import AnswerFile, csv_format, settings_in_words
from sonoforge.runtime.images import inputs
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.runtime.jobs.classifying import AnswerTable

COUNT = 120


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    Image.fromarray(factory.scan(0)).save(folder / "000.png")
    for i in range(1, COUNT):
        shutil.copy(folder / "000.png", folder / f"{i:03}.png")
    return folder


@pytest.fixture
def few(tmp_path: Path) -> Path:
    return factory.write_scans(tmp_path / "few")


KILLED = """
import os, sys
from sonoforge.runtime.cli import main as cli
from sonoforge.runtime.inference import classifier
answer, calls, number = classifier.Classifier.classify, [], int(sys.argv.pop(1))
def counted(self, path, fingerprint):
    calls.append(path)
    if len(calls) == 80:  # of two workers, who answer 32 files at a time
        os.kill(os.getpid(), number)
    return answer(self, path, fingerprint)
classifier.Classifier.classify = counted
cli.main()
"""


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_command_keeps_its_answers_and_resumes(
    number: signal.Signals, bundle: Path, many: Path, tmp_path: Path
) -> None:
    table = tmp_path / "a.csv"
    command = ["classify", many, "--bundle", bundle, "--csv", table, "--set", "model.workers=2"]
    done = subprocess.run([sys.executable, "-c", KILLED, str(int(number)), *map(str, command)], capture_output=True)
    assert done.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL)
    before, expected = rows_of(table), [str(many / f"{i:03}.png") for i in range(COUNT)]
    assert 32 <= len(before) <= 80 and all(row["ok"] == "true" for row in before)
    assert [row["file"] for row in before] == expected[: len(before)]
    resumed = sonoforge(*command, "--resume")
    assert resumed.code == 0, resumed.err
    assert [row["file"] for row in rows_of(table)] == expected and rows_of(table)[: len(before)] == before
    again = sonoforge(*command, "--resume")
    assert "No file was answered" in again.out and f"{COUNT} files are answered already" in again.err


def test_a_row_cut_anywhere_is_answered_again(bundle: Path, few: Path, tmp_path: Path) -> None:
    Image.fromarray(factory.scan(7)).save(few / 'two\nlines, "quoted".png')
    table = tmp_path / "a.csv"
    command = ("classify", few, "--bundle", bundle, "--csv", table)
    assert sonoforge(*command).code == 0 and len(rows_of(table)) == 4
    data = table.read_bytes()
    for cut in (0, 1, 90, len(data) // 2, data.index(b"two\n") + 4, data.index(b"two\n") + 6, len(data) - 1):
        table.write_bytes(data[:cut])
        done = sonoforge(*command, "--resume")
        assert done.code == 0, done.err
        assert table.read_bytes() == data


def test_a_changed_file_is_answered_anew_and_once(bundle: Path, few: Path, tmp_path: Path) -> None:
    table = tmp_path / "a.csv"
    command = ("classify", few, "--bundle", bundle, "--csv", table)
    assert sonoforge(*command).code == 0
    Image.fromarray(factory.scan(8, 200, 150)).save(few / "1.png")
    before = rows_of(table)
    assert "1 of 1 files answered" in sonoforge(*command, "--resume").out
    after = {row["file"]: row for row in rows_of(table)}
    assert len(after) == len(rows_of(table)) == 3
    assert [after[row["file"]] == row for row in before] == [True, False, True]


def test_a_resumed_command_ends_as_the_one_before_did(bundle: Path, few: Path, tmp_path: Path) -> None:
    (few / "bad.png").write_bytes(b"junk")
    command = ("classify", few, "--bundle", bundle, "--csv", tmp_path / "answers")
    assert sonoforge(*command).code == sonoforge(*command, "--resume").code == 2
    (few / "bad.png").unlink()  # its row goes with it
    assert sonoforge(*command, "--resume").code == 0


@pytest.mark.skipif(sys.platform == "win32", reason="no locks there")
@pytest.mark.parametrize("resume", [(), ("--resume",)])
def test_a_second_writer_is_refused(bundle: Path, few: Path, tmp_path: Path, resume: tuple[str, ...]) -> None:
    answers = tmp_path / "answers"
    if resume:
        assert sonoforge("classify", few, "--bundle", bundle, "--csv", answers).code == 0
    classifier = Classifier(bundle)
    origin = (classifier.model["sha256"], settings_in_words(classifier))
    first = AnswerFile(str(answers), csv_format(classifier.bundle.manifest), origin, bool(resume))
    before = answers.read_bytes()
    done = sonoforge("classify", few, "--bundle", bundle, "--csv", answers, *resume)
    assert done.code == 2 and "another process is writing it" in done.err
    assert answers.read_bytes() == before
    first.close()


def test_what_cannot_be_continued_is_refused_and_left_alone(bundle: Path, few: Path, tmp_path: Path) -> None:
    table = tmp_path / "a.csv"
    command = ("classify", few, "--bundle", bundle, "--csv", table)
    assert sonoforge(*command).code == 0
    data = table.read_bytes()
    assert "exists already; --resume continues it" in refused(*command)
    assert table.read_bytes() == data
    table.write_text("file,diagnosis\nx.png,benign\n", encoding="utf-8")
    assert "its columns differ (" in refused(*command, "--resume")
    assert table.read_text(encoding="utf-8") == "file,diagnosis\nx.png,benign\n"
    assert "--resume requires --csv" in refused("classify", few, "--bundle", bundle, "--resume")


def test_rows_of_other_settings_are_refused_and_left_alone(few: Path, tmp_path: Path) -> None:
    table = tmp_path / "answers"
    command = ("classify", few, "--csv", table)
    own = factory.write_bundle(tmp_path / "own")
    factory.add_file(own, "copy.onnx", (own / "model.onnx").read_bytes(), "onnx-int8", "int8")
    renamed = Path(shutil.copytree(own, tmp_path / "renamed"))
    factory.edit_manifest(renamed, lambda manifest: manifest.update(version="9"))
    assert sonoforge(*command, "--bundle", own).code == 0
    data = table.read_bytes()
    others = {
        "abstain=no and not abstain=yes": ("--abstain",),
        "crop=none and not crop=auto": ("--set", "model.crop=auto"),
        "file=model.onnx and not file=copy.onnx": ("--set", "model.file=copy.onnx"),
        "bundle=": ("--bundle", renamed),  # the same model under another manifest
    }
    for difference, flags in others.items():
        line = refused(*command, "--resume", "--bundle", own, *flags)
        assert f"cannot be continued, it was made with {difference}" in line
        assert line.endswith("give the same settings or choose another file")
        assert table.read_bytes() == data
    assert "No file was answered" in sonoforge(*command, "--bundle", own, "--resume", "--set", "model.crop=none").out


def test_no_cell_is_a_formula(bundle: Path, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(few)
    names = ["=HYPERLINK(1).png", "+1.png", "@x.png", "\tx.png", "\rx.png"]
    for name in names:
        shutil.copy("0.png", name)
    table = tmp_path / "a.csv"
    command = ("classify", *names, "--bundle", bundle, "--csv", table)
    assert sonoforge(*command).code == 0
    assert [row["file"] for row in rows_of(table)] == ["'" + name for name in names]
    for row in rows_of(table):
        assert 0 <= float(row["p_benign"]) <= 1  # a number stays one
    assert "No file was answered" in sonoforge(*command, "--resume").out


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    Image.fromarray(factory.scan(1)).save(tmp_path / "scan.png")
    return tmp_path / "scan.png"


@pytest.fixture
def incoming(tmp_path: Path) -> Path:
    (tmp_path / "incoming").mkdir()
    return tmp_path / "incoming"


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "LOOK_SECONDS", 0.01)


def test_a_file_is_taken_when_it_is_whole_and_once(incoming: Path, scan: Path) -> None:
    looks = inputs.whole_files(str(incoming), recursive=False)
    data, target = scan.read_bytes(), incoming / "a.png"
    assert next(looks) == []
    target.write_bytes(b"")
    assert [next(looks), next(looks)] == [[], []]  # empty: its writer has not begun
    target.write_bytes(data[:50])
    assert next(looks) == []  # seen for the first time
    target.write_bytes(data[:100])
    assert next(looks) == []  # it grew
    target.write_bytes(data)
    assert next(looks) == []
    assert next(looks) == [str(target)]
    assert [next(looks) for _ in range(3)] == [[]] * 3
    Image.fromarray(factory.scan(2)).save(target)  # another scan of that name
    assert [next(looks), next(looks), next(looks)] == [[], [str(target)], []]


def test_what_is_no_scan_is_not_taken(incoming: Path, scan: Path) -> None:
    (incoming / "deeper").mkdir()
    for name in ("a.png", "a_mask.png", "b.txt", ".c.png", "deeper/d.png"):
        shutil.copy(scan, incoming / name)
    looks = inputs.whole_files(str(incoming), recursive=False)
    assert [next(looks), next(looks)] == [[], [str(incoming / "a.png")]]
    looks = inputs.whole_files(str(incoming), recursive=True)
    assert [next(looks), next(looks)] == [[], [str(incoming / "a.png"), str(incoming / "deeper" / "d.png")]]


def test_a_folder_that_goes_away_is_waited_for(incoming: Path, scan: Path, caplog: pytest.LogCaptureFixture) -> None:
    looks = inputs.whole_files(str(incoming), recursive=False)
    assert next(looks) == []
    incoming.rmdir()
    assert [next(looks), next(looks)] == [[], []]
    incoming.mkdir()
    shutil.copy(scan, incoming / "a.png")
    assert [next(looks), next(looks)] == [[], [str(incoming / "a.png")]]
    said = [record.getMessage().partition(": ")[2] for record in caplog.records]
    assert said == ["cannot be read now; waiting for it", "is back"]


def test_ctrl_c_ends_a_watch_as_a_command_that_is_done(
    bundle: Path, incoming: Path, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also before the last line is printed; files that come while it watches are answered, too."""

    def interrupted(self: AnswerTable, entry: Mapping[str, Any]) -> None:
        if not entry["ok"]:
            raise KeyboardInterrupt
        if not (incoming / "1.png").exists():
            shutil.copy(scan, incoming / "1.png")
        else:
            (incoming / "2.png").write_bytes(b"junk")
        shown(self, entry)

    shown = AnswerTable.show
    monkeypatch.setattr(AnswerTable, "show", interrupted)
    shutil.copy(scan, incoming / "0.png")
    table = tmp_path / "a.csv"
    done = sonoforge("classify", "--watch", incoming, "--bundle", bundle, "--csv", table)
    answered = [(Path(row["file"]).name, row["ok"]) for row in rows_of(table)]
    assert answered == [("0.png", "true"), ("1.png", "true"), ("2.png", "false")]
    assert done.code == 2 and "2 of 3 files answered" in done.out + done.err
    assert f"watching {incoming}; Ctrl-C ends it\n" in done.err and f"written: {table}\n" in done.err
