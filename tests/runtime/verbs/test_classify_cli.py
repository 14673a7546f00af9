"""``sonoforge classify`` and ``sonoforge verify`` at the command line."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import bundle_factory as factory
from program import sonoforge
from sonoforge.runtime import Classifier, ImageError
from sonoforge.runtime.images import quality_metrics as image_quality
from sonoforge.runtime.inference.verdict import UNUSABLE
from sonoforge.runtime.notice import GUESSES


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    (folder / "deeper").mkdir(parents=True)
    for i, name in enumerate(("b (1).png", "a.PNG", "c.jpg", "deeper/d.tif")):
        Image.fromarray(factory.scan(i)).save(folder / name)
    (folder / "notes.txt").write_text("not an image", encoding="utf-8")
    (folder / ".hidden.png").write_bytes(b"not an image")
    return folder


def _entry(classifier: Classifier, path: Path) -> dict[str, Any]:
    try:
        return classifier.classify(path).to_dict() | {"copy_of": None, "seems_copy_of": None, "series": str(path)}
    except ImageError as error:
        return {"file": str(path), "ok": False, "error": {"code": error.code, "message": str(error)}}


def classify(bundle: Path, *arguments: object) -> tuple[int, dict[str, Any], str]:
    done = sonoforge("classify", *arguments, "--bundle", bundle, "--json")
    return done.code, done.json, done.err


def names(answer: dict[str, Any], folder: Path) -> list[str]:
    return [Path(result["file"]).relative_to(folder).as_posix() for result in answer["results"]]


def test_a_classifier_that_may_be_guessing_is_called_that_beside_every_answer(scans: Path, tmp_path: Path) -> None:
    said = {}
    for better in (True, False, None):
        own, page = factory.write_bundle(tmp_path / f"{better}"), tmp_path / f"{better}.html"
        if better is not None:
            factory.edit_manifest(own, lambda m, better=better: m["evaluation"].update(guessing={"better": better}))
        done = sonoforge("classify", scans / "a.PNG", scans / "b (1).png", "--bundle", own, "--html", page)
        said[better] = done.out.count(GUESSES), page.read_text(encoding="utf-8").count(GUESSES)
    assert said == {True: (0, 0), None: (0, 0), False: (1, 3)}  # above the answers, and beside each


def test_one_file(bundle: Path, scans: Path) -> None:
    code, answer, text = classify(bundle, scans / "a.PNG")
    assert code == 0
    assert list(answer) == ["results", "model", "provider", "clinic", "crop", "summary", "notice"]
    expected = Classifier(bundle).classify(scans / "a.PNG").to_dict()
    del expected["ms"], answer["results"][0]["ms"]
    assert answer["results"] == [expected | {"copy_of": None, "seems_copy_of": None, "series": str(scans / "a.PNG")}]
    assert answer["model"] == expected["model"]
    assert answer["summary"]["labels"][expected["label"]] == 1
    assert text == f"next: sonoforge classify {scans / 'a.PNG'} --bundle {bundle} --html answers.html\n"


@pytest.mark.parametrize("quiet", [False, True])
def test_the_answer_goes_to_stdout_and_all_else_to_stderr(bundle: Path, scans: Path, quiet: bool) -> None:
    (scans / "bad.png").write_bytes(b"junk")
    done = sonoforge("classify", scans, "--bundle", bundle, *["--quiet"] * quiet)
    expected = Classifier(bundle).classify(scans / "a.PNG")
    header, *lines, summary, notice = done.out.splitlines()
    assert header.split() == ["file", "answer", "prob", "lesion?", "malignant?"]
    assert max(map(len, done.out.splitlines())) <= 80
    rows = [line for line in lines if line.startswith(("a.PNG", "b (1).png", "c.jpg"))]
    assert len(rows) == 3 and all(row[header.index("answer") :][0] != " " for row in rows)
    state = expected.verdict.state
    shown = "-" if state in UNUSABLE else f"{expected.probabilities[expected.label]:.0%}"
    assert rows[0][header.index("prob") :].split()[0] == shown
    about = " ".join(lines)
    assert (
        "equally frequent" in about and about.count("sensitivity of 95%") == 2 and about.count("specificity 50%") == 2
    )
    assert state == "clear" or f"{state}: {expected.verdict.advice}" in about
    assert summary.startswith("3 of 4 files answered: ") and notice == "Research use, not a medical device."
    bad, *rest = done.err.splitlines()
    assert "error (not_an_image)" in bad
    assert rest == (
        []
        if quiet
        else ["1 file skipped: 1 text", f"next: sonoforge classify {scans} --bundle {bundle} --html answers.html"]
    )


def test_a_reader_that_leaves_ends_it_without_a_word(bundle: Path, scans: Path) -> None:
    program = f"{sys.executable} -m sonoforge.runtime.cli.main classify {scans} --bundle {bundle} --set model.workers=1"
    done = subprocess.run(
        ["sh", "-c", f"{program} --quiet | true"], capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_folder_recursive_glob_and_repetition(bundle: Path, scans: Path) -> None:
    code, answer, _ = classify(bundle, scans)
    assert (code, names(answer, scans)) == (0, ["a.PNG", "b (1).png", "c.jpg"])
    code, answer, _ = classify(bundle, scans, "--recursive")
    assert (code, names(answer, scans)) == (0, ["a.PNG", "b (1).png", "c.jpg", "deeper/d.tif"])
    code, answer, _ = classify(bundle, scans / "*.png", scans / "**" / "*.tif")
    assert (code, names(answer, scans)) == (0, ["b (1).png", "deeper/d.tif"])
    code, answer, _ = classify(bundle, scans / "c.jpg", scans, scans / "c*")
    assert (code, names(answer, scans)) == (0, ["c.jpg", "a.PNG", "b (1).png"])


def test_masks_beside_their_images_are_no_scans(bundle: Path, scans: Path) -> None:
    for name in ("a_mask.png", "a_mask_1.png", "alone_mask.png", "a_masked.png"):
        Image.fromarray(factory.scan(9)).save(scans / name)
    code, answer, _ = classify(bundle, scans)
    assert (code, names(answer, scans)) == (0, ["a.PNG", "a_masked.png", "alone_mask.png", "b (1).png", "c.jpg"])
    code, answer, _ = classify(bundle, scans / "a_mask.png")
    assert (code, names(answer, scans)) == (0, ["a_mask.png"])


def test_a_name_that_looks_like_a_glob_is_a_file_first(
    bundle: Path, scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(scans / "c.jpg", scans / "[c]*.jpg")
    monkeypatch.chdir(scans)
    code, answer, _ = classify(bundle, "[c]*.jpg")
    assert (code, [result["file"] for result in answer["results"]]) == (0, ["[c]*.jpg"])


def test_a_folder_in_a_glob_is_a_folder_first(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("a [1]", "a 1", "[b]", "c"):
        (tmp_path / folder).mkdir()
        Image.fromarray(factory.scan(9)).save(tmp_path / folder / "scan [2].png")
    monkeypatch.chdir(tmp_path)
    for pattern, expected in (
        ("a [1]/*.png", ["a [1]/scan [2].png"]),
        ("./a [1]/*.png", ["./a [1]/scan [2].png"]),
        (f"{tmp_path}/[b]/*", [f"{tmp_path}/[b]/scan [2].png"]),
        ("a [1]/scan [2]*", ["a [1]/scan [2].png"]),
        ("[ac]*/*.png", ["a 1/scan [2].png", "a [1]/scan [2].png", "c/scan [2].png"]),
    ):
        code, answer, _ = classify(bundle, pattern)
        assert (code, sorted(result["file"] for result in answer["results"])) == (0, expected), pattern


def test_what_follows_two_dashes_is_a_name(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("-dash.png", "--help", "plain.png"):
        Image.fromarray(factory.scan(9)).save(tmp_path / name, "PNG")
    monkeypatch.chdir(tmp_path)
    for words, expected in (
        (["--quiet", "--", "-dash.png"], ["-dash.png"]),
        (["plain.png", "--quiet", "--", "-dash.png", "--help"], ["plain.png", "-dash.png", "--help"]),
        (["--", "plain.png"], ["plain.png"]),
    ):
        done = sonoforge("classify", "--bundle", bundle, "--json", *words)
        assert [result["file"] for result in done.json["results"]] == expected
        assert done.code == 0


def test_bad_files_never_stop_a_batch(bundle: Path, scans: Path) -> None:
    (scans / "bad.png").write_bytes(b"junk")
    (scans / "nothing").mkdir()
    code, answer, text = classify(bundle, scans / "absent.png", scans, scans / "*.xyz", scans / "nothing", "--quiet")
    assert code == 2
    outcome = [result["error"]["code"] if not result["ok"] else "ok" for result in answer["results"]]
    assert outcome == ["not_found", "ok", "ok", "not_an_image", "ok", "not_found", "is_directory"]
    assert answer["summary"]["failed"] == 4
    assert answer["summary"]["ok"] == 3
    assert len(text.splitlines()) == 4  # --quiet leaves the errors, one line each
    assert all("error (" in line for line in text.splitlines())


def test_csv_holds_what_json_holds(bundle: Path, scans: Path, tmp_path: Path) -> None:
    (scans / 'bad, or "worse".png').write_bytes(b"junk")
    target = tmp_path / "new" / "answers.csv"
    code, answer, _ = classify(bundle, scans, "--csv", target)
    assert code == 2
    rows = list(csv.DictReader(io.StringIO(target.read_text(encoding="utf-8"))))
    assert len(rows) == len(answer["results"]) == 4
    for row, result in zip(rows, answer["results"], strict=True):
        assert row["file"] == result["file"]
        assert row["ok"] == ("true" if result["ok"] else "false")
        if not result["ok"]:
            assert row["error_code"] == "not_an_image"
            assert row["label"] == ""
            continue
        assert row["label"] == result["label"]
        assert {name: float(row[f"p_{name}"]) for name in factory.CLASSES} == result["probabilities"]
        assert [name for name in row["set"].split("|") if name] == result["set"]
        assert float(row["trust_score"]) == result["trust"]["score"]
        assert [float(row[name]) for name in image_quality.METRICS] == [
            result["quality"][name] for name in image_quality.METRICS
        ]
    assert not list(target.parent.glob(".*"))


def test_files_at_a_time_change_no_answer_and_no_order(bundle: Path, tmp_path: Path) -> None:
    for i in range(70):  # more than two blocks of two workers
        Image.fromarray(factory.scan(i)).save(tmp_path / f"{i:02}.png")
    (tmp_path / "33.png").write_bytes(b"junk")
    answers = {workers: classify(bundle, tmp_path, "--set", f"model.workers={workers}") for workers in (1, 2, 5)}
    one_by_one = Classifier(bundle)
    expected = [_entry(one_by_one, tmp_path / f"{i:02}.png") for i in range(70)]
    for code, answer, text in answers.values():
        assert code == 2
        for found, wanted in zip(answer["results"], expected, strict=True):
            assert {**found, "ms": 0} == {**wanted, "ms": 0}
        assert [result["file"][-6:] for result in answer["results"]] == [f"{i:02}.png" for i in range(70)]
        assert "33.png" in text


def test_ctrl_c_keeps_the_rows_of_the_files_answered_so_far(bundle: Path, scans: Path, tmp_path: Path) -> None:
    code = """
import os, signal, sys
from sonoforge.runtime.cli import main as cli
from sonoforge.runtime.inference import classifier
answer, calls = classifier.Classifier.classify, []
def counted(self, path, fingerprint):
    calls.append(path)
    if len(calls) == 60:
        os.kill(os.getpid(), signal.SIGINT)
    return answer(self, path, fingerprint)
classifier.Classifier.classify = counted
sys.argv = ["sonoforge", *sys.argv[1:]]
cli.main()
"""
    many = tmp_path / "many"
    many.mkdir()
    for i in range(200):
        shutil.copy(scans / "a.PNG", many / f"{i:03}.png")
    for workers in ("1", "2"):
        target = tmp_path / f"{workers}.csv"
        options = [str(many), "--bundle", str(bundle), "--csv", str(target), "--set", f"model.workers={workers}"]
        command = [sys.executable, "-c", code, "classify", *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 130
        assert "Traceback" not in done.stderr
        rows = list(csv.DictReader(io.StringIO(target.read_text(encoding="utf-8"))))
        assert [row["file"] for row in rows] == [str(many / f"{i:03}.png") for i in range(len(rows))]
        assert 32 <= len(rows) <= 64
        assert all(row["ok"] == "true" for row in rows)


def test_csv_that_cannot_be_written_is_told_before_anything_is_answered(bundle: Path, scans: Path) -> None:
    done = sonoforge("classify", scans / "a.PNG", "--bundle", bundle, "--csv", scans)
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1)
    assert "cannot be written" in done.err


def test_a_zip_bundle_answers_like_its_folder(bundle: Path, scans: Path, tmp_path: Path) -> None:
    path = factory.zip_bundle(bundle, tmp_path / "b.zip")
    _, folder, _ = classify(bundle, scans)
    _, zipped, _ = classify(path, scans)
    assert [r["probabilities"] for r in zipped["results"]] == [r["probabilities"] for r in folder["results"]]


def test_verify_passes_a_sound_bundle(bundle: Path, tmp_path: Path) -> None:
    for path in (bundle, factory.zip_bundle(bundle, tmp_path / "b.zip")):
        done = sonoforge("verify", path, "--json")
        result = done.json
        assert done.code == 0
        assert result["ok"] is True
        assert set(result["files"]) == {"model.onnx", "reference.npz", "golden.npz", "MODEL_CARD.md"}
        assert set(result["golden"]["max_abs_difference"]) == {"logits", "probabilities", "embedding", "cam"}
        assert max(result["golden"]["max_abs_difference"].values()) < 1e-4
        assert result["provider"] == "CPUExecutionProvider"
        assert {"python", "numpy", "onnxruntime", "pillow"} <= set(result["versions"])
        assert "passed" in done.said


@pytest.mark.parametrize("output", ["logits", "embedding", "cam"])
def test_verify_fails_when_the_answers_differ(bundle: Path, tmp_path: Path, output: str) -> None:
    folder = Path(shutil.copytree(bundle, tmp_path / "b"))
    arrays = dict(np.load(folder / "golden.npz"))
    arrays[output] = arrays[output].copy()
    arrays[output].flat[1] += 0.002
    factory.replace_file(folder, "golden.npz", factory.npz(**arrays))
    done = sonoforge("verify", folder, "--json")
    result = done.json
    assert done.code == 1
    assert result["ok"] is False
    assert f"{output} differs by 0.002" in result["problems"][0]
    assert "FAILED" in done.said


def test_verify_fails_a_damaged_bundle_and_names_the_file(bundle: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bundle, tmp_path / "b"))
    card = bytearray((folder / "MODEL_CARD.md").read_bytes())
    card[3] ^= 1
    (folder / "MODEL_CARD.md").write_bytes(bytes(card))
    done = sonoforge("verify", folder, "--json")
    assert done.code == 1
    assert "MODEL_CARD.md: its SHA-256" in done.json["problems"][0]
    (folder / "golden.npz").unlink()
    assert sonoforge("verify", folder).code == 1
