"""``sonoforge classify`` and ``sonoforge verify``: files and folders, abstention, repeats, a full disk, a pipe."""

from __future__ import annotations

import hashlib
import io
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

import bundle_factory as factory
from program import Finished, refused, rows_of, sonoforge
from scans import draw_scan
from sonoforge.runtime import Classifier, ImageError
from sonoforge.runtime.images import quality_metrics as image_quality
from sonoforge.runtime.images.synthetic import png_bytes
from sonoforge.runtime.inference.verdict import UNUSABLE
from sonoforge.runtime.notice import GUESSES
from sonoforge.runtime.pages import answer_page


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders and files with names of all kinds; tests only read them."""
    folder = tmp_path_factory.mktemp("named")
    names = ["tree/b (1).png", "tree/a.PNG", "tree/c.jpg", "tree/deeper/d.tif", "-dash.png", "--help", "plain.png"]
    for i, name in enumerate([*names, *(f"{own}/scan [2].png" for own in ("a [1]", "a 1", "[b]", "c"))]):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(factory.scan(i)).save(folder / name, "PNG" if name == "--help" else None)
    (folder / "tree" / "notes.txt").write_text("not an image", encoding="utf-8")
    (folder / "tree" / ".hidden.png").write_bytes(b"not an image")
    return folder


@pytest.fixture
def tree(folder: Path, tmp_path: Path) -> Path:
    """One of these folders, to change."""
    return Path(shutil.copytree(folder / "tree", tmp_path / "tree"))


def _entry(classifier: Classifier, path: Path) -> dict[str, Any]:
    try:
        return classifier.classify(path).to_dict() | {"copy_of": None, "seems_copy_of": None, "series": str(path)}
    except ImageError as error:
        return {"file": str(path), "ok": False, "error": {"code": error.code, "message": str(error)}}


def classify(bundle: Path, *arguments: object) -> tuple[int, dict[str, Any], str]:
    done = sonoforge("classify", *arguments, "--bundle", bundle, "--json")
    return done.code, done.json, done.err


def test_a_classifier_that_may_be_guessing_is_called_that_beside_every_answer(tree: Path, tmp_path: Path) -> None:
    said = {}
    for better in (True, False, None):
        own, page = factory.write_bundle(tmp_path / f"{better}"), tmp_path / f"{better}.html"
        if better is not None:
            factory.edit_manifest(own, lambda m, better=better: m["evaluation"].update(guessing={"better": better}))
        done = sonoforge("classify", tree / "a.PNG", tree / "b (1).png", "--bundle", own, "--html", page)
        said[better] = done.out.count(GUESSES), page.read_text(encoding="utf-8").count(GUESSES)
    assert said == {True: (0, 0), None: (0, 0), False: (1, 3)}  # above the answers, and beside each


def test_one_file(bundle: Path, tree: Path) -> None:
    code, answer, text = classify(bundle, tree / "a.PNG")
    assert code == 0
    assert list(answer) == ["results", "model", "provider", "clinic", "crop", "summary", "notice"]
    expected = _entry(Classifier(bundle), tree / "a.PNG")
    del expected["ms"], answer["results"][0]["ms"]
    assert answer["results"] == [expected] and answer["model"] == expected["model"]
    assert answer["summary"]["labels"][expected["label"]] == 1
    assert text == f"next: sonoforge classify {tree / 'a.PNG'} --bundle {bundle} --html answers.html\n"


@pytest.mark.parametrize("quiet", [False, True])
def test_the_answer_goes_to_stdout_and_all_else_to_stderr(bundle: Path, tree: Path, quiet: bool) -> None:
    (tree / "bad.png").write_bytes(b"junk")
    done = sonoforge("classify", tree, "--bundle", bundle, *["--quiet"] * quiet)
    expected = Classifier(bundle).classify(tree / "a.PNG")
    header, *lines, summary, notice = done.out.splitlines()
    assert header.split() == ["file", "answer", "most", "probable"]
    assert max(map(len, done.out.splitlines())) <= 80
    rows = [line for line in lines if line.startswith(("a.PNG", "b (1).png", "c.jpg"))]
    assert len(rows) == 3 and all(row[header.index("answer") :][0] != " " for row in rows)
    state, heading, _ = expected.verdict
    shown = "-" if state in UNUSABLE else f"{expected.label} {100 * expected.probabilities[expected.label]:.0f} %"
    assert rows[0][header.index("most") :] == shown and rows[0][header.index("answer") :].startswith(heading)
    about = " ".join(lines)
    assert "equally frequent" in about
    assert about.count("sensitivity of 95 %") == about.count("specificity 50 %") == 2
    assert state == "clear" or f"{state}: {expected.verdict.advice}" in about
    assert summary.startswith("3 of 4 files answered: ") and notice == "Research use, not a medical device."
    bad, *rest = done.err.splitlines()
    assert "error (not_an_image)" in bad
    following = f"next: sonoforge classify {tree} --bundle {bundle} --html answers.html"
    assert rest == ([] if quiet else ["1 file skipped: 1 text", following])


def test_a_reader_that_leaves_ends_it_without_a_word(bundle: Path, tree: Path) -> None:
    program = f"{sys.executable} -m sonoforge.runtime.cli.main classify {tree} --bundle {bundle} --set model.workers=1"
    done = subprocess.run(["sh", "-c", f"{program} --quiet | true"], capture_output=True, text=True, timeout=300)
    assert (done.stdout, done.stderr) == ("", "")


IN_TREE = ["tree/a.PNG", "tree/b (1).png", "tree/c.jpg"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["tree"], IN_TREE),
        (["tree", "--recursive"], [*IN_TREE, "tree/deeper/d.tif"]),
        (["tree/*.png", "tree/**/*.tif"], ["tree/b (1).png", "tree/deeper/d.tif"]),
        (["tree/c.jpg", "tree", "tree/c*"], ["tree/c.jpg", *IN_TREE[:2]]),
        # a folder in a pattern is a folder first
        (["a [1]/*.png"], ["a [1]/scan [2].png"]),
        (["./a [1]/*.png"], ["./a [1]/scan [2].png"]),
        (["[b]/*"], ["[b]/scan [2].png"]),
        (["a [1]/scan [2]*"], ["a [1]/scan [2].png"]),
        (["[ac]*/*.png"], ["a 1/scan [2].png", "a [1]/scan [2].png", "c/scan [2].png"]),
        # what follows two dashes is a name
        (["--quiet", "--", "-dash.png"], ["-dash.png"]),
        (["plain.png", "--quiet", "--", "-dash.png", "--help"], ["plain.png", "-dash.png", "--help"]),
        (["--", "plain.png"], ["plain.png"]),
    ],
)
def test_files_are_found_as_they_are_named(
    words: list[str], expected: list[str], bundle: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    done = sonoforge("classify", "--bundle", bundle, "--json", *words)
    assert (done.code, [result["file"] for result in done.json["results"]]) == (0, expected)


def test_bad_files_never_stop_a_batch(bundle: Path, tree: Path) -> None:
    (tree / "bad.png").write_bytes(b"junk")
    (tree / "nothing").mkdir()
    code, answer, text = classify(bundle, tree / "absent.png", tree, tree / "*.xyz", tree / "nothing", "--quiet")
    assert code == 2
    outcome = [result["error"]["code"] if not result["ok"] else "ok" for result in answer["results"]]
    assert outcome == ["not_found", "ok", "ok", "not_an_image", "ok", "not_found", "is_directory"]
    assert answer["summary"]["failed"] == 4
    assert answer["summary"]["ok"] == 3
    assert len(text.splitlines()) == 4  # --quiet leaves the errors, one line each
    assert all("error (" in line for line in text.splitlines())


def test_csv_holds_what_json_holds(bundle: Path, tree: Path, tmp_path: Path) -> None:
    (tree / 'bad, or "worse".png').write_bytes(b"junk")
    target = tmp_path / "new" / "answers.csv"
    code, answer, _ = classify(bundle, tree, "--csv", target)
    assert code == 2 and len(answer["results"]) == 4
    for row, result in zip(rows_of(target), answer["results"], strict=True):
        assert (row["file"], row["ok"]) == (result["file"], str(result["ok"]).lower())
        if not result["ok"]:
            assert (row["error_code"], row["label"]) == ("not_an_image", "")
            continue
        assert row["label"] == result["label"]
        assert {name: float(row[f"p_{name}"]) for name in factory.CLASSES} == result["probabilities"]
        assert [name for name in row["set"].split("|") if name] == result["set"]
        assert float(row["trust_score"]) == result["trust"]["score"]
        for name in image_quality.METRICS:
            assert float(row[name]) == result["quality"][name]
    assert not list(target.parent.glob(".*"))


def test_files_at_a_time_change_no_answer_and_no_order(bundle: Path, tmp_path: Path) -> None:
    factory.write_scans(tmp_path, range(10, 80))  # more than two blocks of two workers
    (tmp_path / "33.png").write_bytes(b"junk")
    one_by_one = Classifier(bundle)
    expected = [_entry(one_by_one, tmp_path / f"{i}.png") for i in range(10, 80)]
    for workers in (1, 2, 5):
        code, answer, text = classify(bundle, tmp_path, "--set", f"model.workers={workers}")
        assert code == 2 and "33.png" in text
        for found, wanted in zip(answer["results"], expected, strict=True):
            assert {**found, "ms": 0} == {**wanted, "ms": 0}


def test_verify_passes_a_sound_bundle(bundle: Path, tmp_path: Path) -> None:
    for path in (bundle, factory.zip_bundle(bundle, tmp_path / "b.zip")):
        done = sonoforge("verify", path, "--json")
        result = done.json
        assert done.code == 0 and result["ok"] is True and "passed" in done.said
        assert set(result["files"]) == {"model.onnx", "reference.npz", "golden.npz", "MODEL_CARD.md"}
        assert set(result["golden"]["max_abs_difference"]) == {"logits", "probabilities", "embedding", "cam"}
        assert max(result["golden"]["max_abs_difference"].values()) < 1e-4
        assert result["provider"] == "CPUExecutionProvider"
        assert {"python", "numpy", "onnxruntime", "pillow"} <= set(result["versions"])


def test_verify_fails_where_answers_differ_or_a_file_is_damaged(own: Path) -> None:
    arrays = dict(np.load(own / "golden.npz"))
    arrays["cam"] = arrays["cam"].copy()
    arrays["cam"].flat[1] += 0.002
    factory.replace_file(own, "golden.npz", factory.npz(**arrays))
    done = sonoforge("verify", own, "--json")
    assert done.code == 1 and done.json["ok"] is False and "FAILED" in done.said
    assert "cam differs by 0.002" in done.json["problems"][0]
    (own / "MODEL_CARD.md").write_bytes(b"x" + (own / "MODEL_CARD.md").read_bytes()[1:])
    done = sonoforge("verify", own, "--json")
    assert done.code == 1 and "MODEL_CARD.md: its SHA-256" in done.json["problems"][0]
    (own / "golden.npz").unlink()
    assert sonoforge("verify", own).code == 1


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    return factory.write_scans(tmp_path / "scans")


def file_names(done: Finished) -> list[str]:
    return [Path(result["file"]).name for result in done.json["results"]]


def test_what_is_no_scan_is_skipped_and_counted_by_kind(bundle: Path, scans: Path) -> None:
    for name in ("a.txt", "README.MD", "clip.mpg", "report.pdf", "x.csv", "page.html", "odd.xyz", "0.sonoforge.json"):
        (scans / name).write_text("x", encoding="utf-8")
    (scans / ".DS_Store").write_text("hidden", encoding="utf-8")
    shutil.copy(scans / "0.png", scans / "0_mask.png")
    done = sonoforge("classify", scans, "--bundle", bundle, "--json")
    assert file_names(done) == ["0.png", "1.png", "2.png"]
    once = ("answer", "document", "mask", "other", "table", "video", "web page")
    expected = {**dict.fromkeys(once, 1), "text": 2}
    assert done.json["summary"]["skipped"] == expected
    counted = "1 answer, 1 document, 1 mask, 1 other, 1 table, 1 video, 1 web page"
    assert f"9 files skipped: 2 text, {counted}\n" in done.err
    assert "skipped" not in sonoforge("classify", scans, "--bundle", bundle, "--quiet").err
    assert "skipped" not in sonoforge("classify", scans / "0.png", "--bundle", bundle).err


def test_own_pictures_in_the_folder_are_no_scans(bundle: Path, scans: Path) -> None:
    command = ("classify", scans, "--bundle", bundle, "--overlay", scans, "--csv", scans / "a.csv")
    assert sonoforge(*command).code == 0
    origin = {"class": "benign", "seed": 0, "step": 1}
    (scans / "made.png").write_bytes(png_bytes(np.zeros((64, 64, 1), np.uint8), origin))
    simulated = PngImagePlugin.PngInfo()
    simulated.add_text("Description", "Simulated ultrasound image")  # as `data import phantom` marks its scans
    Image.fromarray(factory.scan(7)).save(scans / "simulated.png", pnginfo=simulated)
    done = sonoforge("classify", scans, "--bundle", bundle, "--json")
    assert file_names(done) == ["0.png", "1.png", "2.png", "simulated.png"]
    skipped = {"generated image": 1, "picture of sonoforge": 3, "table": 1}
    assert done.json["summary"]["skipped"] == skipped
    named = sonoforge("classify", scans / "made.png", scans / "*-overlay.png", "--bundle", bundle, "--json")
    assert len(named.json["results"]) == 4  # whoever names a picture wants an answer for it


def pipe(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_one_image_from_standard_input(bundle: Path, scans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from_file = sonoforge("classify", scans / "0.png", "--bundle", bundle, "--json").json["results"][0]
    pipe(monkeypatch, (scans / "0.png").read_bytes())
    pictures = scans.parent / "seen"
    done = sonoforge("classify", "-", scans / "1.png", "--bundle", bundle, "--json", "--overlay", pictures)
    first, second = done.json["results"]
    assert (first["file"], second["file"]) == ("-", str(scans / "1.png"))
    assert first["probabilities"] == from_file["probabilities"]
    with Image.open(first["overlay"]) as picture:
        assert "sonoforge:overlay" in picture.text  # type: ignore[attr-defined]
    pipe(monkeypatch, (scans / "0.png").read_bytes())
    hidden = sonoforge("classify", "-", "--bundle", bundle, "--json", "--anonymous").json["results"][0]
    assert hidden["file"] == hashlib.sha256((scans / "0.png").read_bytes()).hexdigest()[:16]


STREAMS = {
    "{} >&-": (2, "standard output cannot be written"),
    "{} >/dev/full": (2, "standard output cannot be written"),
    "{} 2>&-": (0, ""),
    "{} 2>/dev/full": (0, ""),
    "{} <&- >&- 2>&-": (2, ""),
    "{} <&-": (0, ""),
    "{} | head -1": (0, ""),
    "{} | true": (0, ""),
}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a POSIX shell and /dev/full")
@pytest.mark.parametrize("form", STREAMS)
@pytest.mark.parametrize("files", [False, True])
@pytest.mark.parametrize("json", [False, True])
def test_a_closed_or_full_stream_costs_what_goes_there_and_no_file(
    bundle: Path, scans: Path, tmp_path: Path, form: str, files: bool, json: bool
) -> None:
    """With the program in a process of its own, as Python makes the streams when it starts."""
    table, page = tmp_path / "a.csv", tmp_path / "a.html"
    words: list[object] = ["classify", scans, "--bundle", bundle, *["--json"] * json]
    words += ["--csv", table, "--html", page] if files else []
    command = shlex.join([sys.executable, "-m", "sonoforge.runtime.cli.main", *map(str, words)])
    script = f"{form.format(command)}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    code, said = STREAMS[form]
    assert done.returncode == code
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    lines = done.stderr.splitlines()
    assert [said in line for line in lines if line.startswith("sonoforge: ")] == [True] * bool(said)
    if files:
        assert [row["ok"] for row in rows_of(table)] == ["true"] * 3
        assert page.read_text(encoding="utf-8").rstrip().endswith("</html>")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a POSIX shell and /dev/full")
@pytest.mark.parametrize("verb", ["help", "classify --help", "--version", "settings", "doctor"])
def test_every_answer_on_a_full_or_closed_stdout_is_one_line(verb: str) -> None:
    command = f"{sys.executable} -m sonoforge.runtime.cli.main {verb}"
    for ending, code, lines in ((">/dev/full", 2, 1), (">&-", 2, 1), ("| head -1", 0, 0), ("2>/dev/full", 0, 0)):
        script = f"{command} {ending}; exit ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
        # The program may end before head has left.
        said = [line for line in done.stderr.splitlines() if not line.startswith("next: ")]
        assert (done.returncode, len(said)) == (code, lines), (ending, done.stderr)


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="needs /dev/null")
def test_a_table_is_not_continued_on_a_device(bundle: Path, scans: Path, tmp_path: Path) -> None:
    for place in ("/dev/null", "/dev/full", "/dev/zero", tmp_path):
        message = refused("classify", scans, "--bundle", bundle, "--csv", place)
        assert f"{place}: is not a file that rows can be added to" in message


def test_standard_input_that_cannot_be_used(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, b"junk")
    done = sonoforge("classify", "-", "--bundle", bundle)
    assert done.code == 2 and "-     error (not_an_image): -: not an image" in done.err
    pipe(monkeypatch, b"")
    assert "standard input is empty" in refused("classify", "-", "--bundle", bundle)
    monkeypatch.setattr("sonoforge.runtime.images.limits.MAX_FILE_BYTES", 1000)
    pipe(monkeypatch, bytes(1001))
    assert "more than 0 MB on standard input" in refused("classify", "-", "--bundle", bundle)
    for flag in (("--resume", "--csv", tmp_path / "a.csv"), ("--sr", tmp_path)):
        assert "needs a file name" in refused("classify", "-", *flag, "--bundle", bundle)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that nobody can write to")
def test_an_unwritable_overlay_folder_is_told_before_the_first_scan(bundle: Path, scans: Path) -> None:
    for folder in ("/proc/self", "/proc/self/new", scans / "0.png"):
        assert str(folder) in refused("classify", scans, "--bundle", bundle, "--overlay", folder)


@pytest.mark.skipif(os.name != "posix", reason="names of 255 bytes")
def test_pictures_of_files_with_long_names_are_written_under_shorter_ones(
    bundle: Path, scans: Path, tmp_path: Path
) -> None:
    names = ["a" * 251, "a" * 250 + "b", "\u00fc" * 125, "\N{GRINNING FACE}" * 62, "x" * 100 + "1" * 150]
    for name in (*names, f"sub/{names[0]}"):
        (scans / name).parent.mkdir(exist_ok=True)
        shutil.copy(scans / "0.png", scans / f"{name}.png")
    written = []
    for again in range(2):
        seen = tmp_path / f"{again}"
        done = sonoforge("classify", scans, "--recursive", "--bundle", bundle, "--json", "--overlay", seen)
        assert done.code == 0, done.err
        written.append([Path(entry["overlay"]).name for entry in done.json["results"]])
        assert sorted(written[-1]) == sorted(path.name for path in seen.iterdir())
    assert len(set(written[0])) == len(names) + 1 + 3
    assert written[0] == written[1]


@pytest.mark.skipif(os.name != "posix", reason="limits the size of files")
@pytest.mark.parametrize("workers", [1, 2])
def test_an_overlay_that_cannot_be_written_loses_no_answer(
    bundle: Path, scans: Path, tmp_path: Path, workers: int
) -> None:
    import resource

    noise = np.random.default_rng(0).integers(0, 256, (400, 400), np.uint8)
    Image.fromarray(noise).save(scans / "1.png")
    table = tmp_path / "a.csv"
    command = ("classify", scans, "--bundle", bundle, "--overlay", tmp_path / "seen", "--csv", table)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, hard))  # a full disk: the large picture does not fit
    try:
        done = sonoforge(*command, "--set", f"model.workers={workers}", "--json")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    results = done.json["results"]
    assert done.code == 2 and all(result["ok"] for result in results)
    assert ["overlay" in result for result in results] == [True, False, True]
    (message,) = results[1]["unwritten"]
    assert "1-overlay.png: cannot be written (File too large)" in message and message in done.err
    assert done.json["summary"]["unwritten"] == 1
    assert sorted(path.name for path in (tmp_path / "seen").iterdir()) == ["0-overlay.png", "2-overlay.png"]
    assert [row["ok"] for row in rows_of(table)] == ["true"] * 3


def test_anonymous_answers_resume_each_file_once(bundle: Path, scans: Path, tmp_path: Path) -> None:
    shutil.copy(scans / "0.png", scans / "copy of 0.png")
    (scans / "Jane Doe.png").write_bytes(b"junk")
    table = tmp_path / "a.csv"
    command = ("classify", scans, "--bundle", bundle, "--anonymous", "--csv", table)
    assert sonoforge(*command).code == 2
    rows = table.read_text()
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in sorted(scans.iterdir())]
    assert hashes[0] == hashes[4] and "Jane" not in rows
    hashes[4] += "-2"
    for kept in (0, 1, 3):  # killed after so many answers
        table.write_text("".join(line + "\n" for line in rows.splitlines()[: kept + 1]))
        done = sonoforge(*command, "--resume")
        assert f"{kept} files are answered already, {5 - kept} are left" in done.err
        assert [row["file"] for row in rows_of(table)] == hashes
    (scans / "0.png").rename(scans / "renamed.png")  # the same contents under another name
    Image.fromarray(factory.scan(9)).save(scans / "new.png")
    assert "5 files are answered already, 1 are left" in sonoforge(*command, "--resume").err


@pytest.fixture
def own(bundle: Path, tmp_path: Path) -> Path:
    """A bundle to change."""
    return Path(shutil.copytree(bundle, tmp_path / "own"))


@pytest.fixture
def eight(tmp_path: Path) -> Path:
    return factory.write_scans(tmp_path / "eight", range(8))


def policy(bundle: Path, **changed: object) -> None:
    factory.edit_manifest(bundle, lambda raw: raw["trust"]["checks"]["policy"].update(changed))


def test_a_doubtful_scan_is_uncertain_and_the_exit_code_stays(own: Path, eight: Path, tmp_path: Path) -> None:
    answers = {path.name: Classifier(own).classify(path) for path in sorted(eight.glob("*.png"))}
    surest = {name: max(answer.probabilities.values()) for name, answer in answers.items()}
    limit = float(np.median(list(surest.values())))
    policy(own, least_probability=limit)
    plain = sonoforge("classify", eight, "--bundle", own, "--json")
    assert [entry["label"] for entry in plain.json["results"]] == [answer.label for answer in answers.values()]
    assert plain.json["summary"]["verdicts"]["uncertain"] == 0

    table = tmp_path / "a.csv"
    done = sonoforge("classify", eight, "--bundle", own, "--json", "--abstain", "--csv", table)
    assert done.code == 0
    expected = [
        answer.label if surest[name] >= limit and not answer.trust.causes else "uncertain"
        for name, answer in answers.items()
    ]
    assert 0 < expected.count("uncertain") < 8
    assert [entry["label"] for entry in done.json["results"]] == expected
    assert done.json["summary"]["verdicts"]["uncertain"] == expected.count("uncertain")
    for entry in done.json["results"]:
        assert (entry["verdict"] == "uncertain") == (entry["label"] == "uncertain")
        improbable = f"has {surest[Path(entry['file']).name]:.0%}, and this bundle answers from {limit:.0%} on"
        trust = entry["trust"]
        reasons = "; ".join(trust["reasons"]) if trust["causes"] else f"its most probable class {improbable}"
        assert entry["abstained"] == (reasons if entry["label"] == "uncertain" else "")
    assert [row["label"] for row in rows_of(table)] == expected
    assert [entry["probabilities"] for entry in done.json["results"]] == [a.probabilities for a in answers.values()]


def test_a_bundle_may_abstain_unasked_and_the_page_says_so(
    own: Path, eight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_page, "MOST_PICTURES", 5)
    policy(own, always=True, least_probability=1.0)
    done = sonoforge("classify", eight, "--bundle", own, "--html", tmp_path / "page.html")
    assert done.code == 0, done.err
    assert done.out.count("Uncertain: no answer ") == 8
    assert (tmp_path / "page.html").read_text(encoding="utf-8").count("Uncertain: no answer") == 8 + 5


def test_a_scan_held_upside_down_has_a_remark(bundle: Path, tmp_path: Path) -> None:
    fading = np.linspace(0.2, 1, 90)[:, None] * factory.scan(3)
    Image.fromarray(fading.astype(np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(fading[::-1].astype(np.uint8)).save(tmp_path / "b.png")
    done = sonoforge("classify", tmp_path / "a.png", tmp_path / "b.png", "--bundle", bundle, "--json")
    turned, upright = (entry["trust"] for entry in done.json["results"])
    assert "may be upside down" in turned["reasons"] and "poor scan" not in turned["causes"]
    assert "may be upside down" not in upright["reasons"]


def test_a_reference_of_points_on_other_axes_is_refused(own: Path) -> None:
    arrays = dict(np.load(own / "reference.npz"))
    arrays["neighbour_points"] = arrays["neighbour_points"][:, :7]
    factory.replace_file(own, "reference.npz", factory.npz(**arrays))
    assert "points have 7 numbers" in refused("classify", "x.png", "--bundle", own)


@pytest.fixture
def batch(tmp_path: Path) -> Path:
    folder = tmp_path / "batch"
    folder.mkdir()
    for seed in range(3):
        Image.fromarray(draw_scan(seed, 256)).save(folder / f"{seed}.png")
    scan = Image.open(folder / "1.png")
    scan.save(folder / "3-same.tif")
    scan.resize((128, 128)).save(folder / "4-half.jpg", quality=50)
    (folder / "5-bad.png").write_bytes(b"junk")
    return folder


@pytest.mark.parametrize("verb", ["classify", "quality"])
@pytest.mark.parametrize("workers", [1, 4])
def test_a_repeat_is_named_in_every_form_of_the_answer(verb: str, workers: int, bundle: Path, batch: Path) -> None:
    table, page = batch.parent / "a.csv", batch.parent / "a.html"
    more = ("--set", f"model.workers={workers}") if verb == "classify" else ()
    arguments = (verb, batch, "--bundle", bundle, "--csv", table, "--html", page, *more)
    done = sonoforge(*arguments, "--json")
    assert done.code == 2  # of the bad file
    first = str(batch / "1.png")
    expected = {"3-same.tif": (first, None), "4-half.jpg": (None, first)}
    for entry, row in zip(done.json["results"], rows_of(table), strict=True):
        original, like = expected.get(Path(entry["file"]).name, (None, None))
        assert not entry["ok"] or (entry["copy_of"], entry["seems_copy_of"]) == (original, like)
        assert (row["copy_of"], row["seems_copy_of"]) == (original or "", like or "")
    table.unlink()
    printed = " ".join(sonoforge(*arguments).out.split())
    for name, text in ((first, page.read_text(encoding="utf-8")), (first if more == () else "1.png", printed)):
        assert f"he same picture as {name}" in text and f"eems to be the same picture as {name}" in text
    assert verb == "quality" or done.json["summary"]["repeated"] == 2


def test_frames_of_a_sweep_stand_together_on_the_page_and_in_the_table(bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sweeps"
    folder.mkdir()
    whole = [Image.fromarray(draw_scan(seed, 400)) for seed in range(3)]
    for number, (seed, move) in enumerate([(0, 0), (0, 4), (1, 0), (2, 0), (2, 5), (2, 10)]):
        whole[seed].crop((move, move, move + 320, move + 320)).save(folder / f"{number}.png")
    table, page = tmp_path / "a.csv", tmp_path / "a.html"
    done = sonoforge("classify", folder, "--bundle", bundle, "--csv", table, "--html", page, "--json")
    series = [str(folder / f"{number}.png") for number in (0, 0, 2, 3, 3, 3)]
    assert [entry["series"] for entry in done.json["results"]] == series
    assert [row["series"] for row in rows_of(table)] == series
    sections = page.read_text(encoding="utf-8").split('<section class="series">')[1:]
    shown = [{name for name in "012345" if f"{name}.png</p>" in part.split("</section>")[0]} for part in sections]
    assert sorted(map(sorted, shown)) == [["0", "1"], ["3", "4", "5"]]
    hidden = sonoforge("classify", folder, "--bundle", bundle, "--anonymous", "--json").json["results"]
    assert [entry["series"] for entry in hidden] == [hidden[int(Path(name).stem)]["file"] for name in series]


def test_pseudonyms_name_the_repeat_too(bundle: Path, batch: Path) -> None:
    done = sonoforge("classify", batch, "--bundle", bundle, "--anonymous", "--json")
    entries = done.json["results"]
    assert entries[3]["copy_of"] == entries[4]["seems_copy_of"] == entries[1]["file"]
    assert "1.png" not in done.out + done.err
