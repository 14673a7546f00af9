"""Commands, links and examples of the README and of the pages in docs/ work; the map of the project is whole."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

from browser import needs_archive
from page_code import DOCS, blocks
from places import CHECKOUT
from program import succeed, understood
from small_run import CLASSIFIER, GENERATOR, TINY
from sonoforge.runtime.bundle import reader
from sonoforge.runtime.bundle.reader import open_bundle

MAP = CHECKOUT.joinpath("training", "docs", "how-it-fits.md").read_text(encoding="utf-8")
FOLDERS = ("*/docs/**/*.md", "training/studies/**/*.md")
PICTURES = runpy.run_path(str(CHECKOUT / ".ci" / "readme_pictures.py"))
PAGES = [CHECKOUT / "README.md", *sorted(page for folder in FOLDERS for page in CHECKOUT.glob(folder))]


def commands(page: Path) -> list[str]:
    """The page's commands, in their order."""
    return [
        line.split("#")[0].strip()
        for block in blocks(page, "sh")
        for line in block.replace("\\\n", " ").splitlines()
        if line.startswith("sonoforge ")
    ]


COMMANDS = sorted({command for page in PAGES for command in commands(page)})


def test_there_are_exactly_two_set_up_commands() -> None:
    lines = [line for block in blocks(PAGES[0], "sh") for line in block.splitlines()]
    assert len([line for line in lines if line.startswith("python3 -m venv")]) == 2


@pytest.mark.parametrize("name", PICTURES["PICTURES"])
def test_pictures_show_the_pages_of_now(name: str) -> None:
    again = "take it again with  python .ci/readme_pictures.py RUN"
    assert PICTURES["noted"](name) == PICTURES["digest"](), f".pictures/{name} has aged: {again}"


@pytest.mark.parametrize("command", COMMANDS)
def test_command_is_understood(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program accepts the verb and every flag; a dry run stops it before any work."""
    monkeypatch.chdir(tmp_path)
    for name, page in (("mine.py", "generators.md"), ("net.py", "own-network.md")):  # code that the pages show
        (code, *_) = blocks(DOCS / page, "python")
        (tmp_path / name).write_text(code, encoding="utf-8")
    done = understood(*shlex.split(command)[1:])
    assert done.code == 0, done.err


@pytest.mark.slow
def test_the_guide_to_a_verdict_can_be_walked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command of the guide, on simulated scans and with the smallest networks."""
    monkeypatch.chdir(tmp_path)
    succeed("data", "import", "phantom", "SCANS", "--images", "60")
    run = "runs/00000-run-SCANS"
    for command in commands(CHECKOUT / "training" / "docs" / "guide-images-to-verdict.md"):
        verb, *rest = shlex.split(command.replace("RUN", run))[1:]
        succeed(verb, *rest, *(["--folds", "3", *CLASSIFIER, *GENERATOR] if verb == "run" else []))
    of_run = (f"{run}/{name}" for name in ("report.html", "report/results-of-all-arms.tex", "checklists.html"))
    for written in ("audit.html", *of_run):
        assert (tmp_path / written).is_file(), written


@pytest.mark.slow
def test_the_guide_to_answers_can_be_walked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command of the guide, on simulated scans; the server answers for one of them."""
    needs_archive()
    monkeypatch.chdir(tmp_path)
    succeed("data", "import", "phantom", "SCANS", "--images", "12")
    *before, serve = commands(CHECKOUT / "mobile" / "docs" / "guide-scans-to-answers.md")
    for command in before:
        succeed(*shlex.split(command)[1:])
    assert (tmp_path / "answers.html").is_file() and (tmp_path / "app" / "index.html").is_file()
    arguments = [sys.executable, "-u", "-m", "sonoforge.runtime.cli.main", *shlex.split(serve)[1:], "--port", "0"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = next(line.split()[1] for line in server.stdout if line.startswith("serving"))
            scan = next((tmp_path / "SCANS" / "malignant").glob("*.png")).read_bytes()
            with urllib.request.urlopen(f"{address}classify", scan) as answer:
                assert json.load(answer)["label"] in ("normal", "benign", "malignant")
        finally:
            server.terminate()


def test_python_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sonoforge.training.phantom.dataset import generate_phantom_set

    monkeypatch.chdir(tmp_path)
    Image.fromarray(next(iter(generate_phantom_set(1, 0))).pixels).save("scan.png")
    succeed("data", "import", "phantom", "BUSI", "--images", "60")
    explanations = CHECKOUT / "runtime" / "docs" / "explanations.md"
    tiny = f'arms=["real", "gan"], folds=2, settings={TINY}'
    for example in [*blocks(PAGES[0], "python"), *blocks(explanations, "python")]:
        exec(compile(example.replace('arms=["real", "gan"]', tiny), "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert any(label in printed for label in ("normal", "benign", "malignant")) and "Not shown" in printed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_linked_files_are_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("package", ["runtime", "training", "export"])
def test_every_room_is_drawn(package: str) -> None:
    drawn = MAP[MAP.index("```") : MAP.index("```", MAP.index("```") + 3)]
    rooms = {path.parent.name for path in (CHECKOUT / package / "sonoforge" / package).glob("*/__init__.py")}
    assert rooms <= set(re.findall(r"(\w+)/", drawn))


@pytest.mark.parametrize("task", reader.TASKS)
def test_every_key_of_a_manifest_is_listed(task: str) -> None:
    kind = reader.manifest_kind(task)
    listed = set(re.findall(r"`([\w.]+)`", MAP[MAP.index("Keys of `manifest.json`") :]))
    assert {*reader._KEYS, *kind.keys} <= listed
    assert set(kind.required) <= set(re.findall(r"`([\w.]+)`", MAP))


def test_nothing_else_lies_at_the_top() -> None:
    if not (CHECKOUT / ".git").exists():
        pytest.skip("needs a checkout of git")
    done = subprocess.run(["git", "ls-files"], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    top = {path.partition("/")[0] for path in done.stdout.splitlines()}
    fixed = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"}
    packages = {"training", "export", "runtime", "mobile", "tests", "models"}
    assert {name for name in top if not name.startswith(".")} == fixed | packages


# Pages with figures of the shipped network that no kept answers give: each says under them whose they are.
MEASURED_ON_IT = {
    "export/docs/formats.md",
    *(f"mobile/docs/{name}.md" for name in ("android", "web-app")),
    *(f"runtime/docs/{name}.md" for name in ("burned-in-marks", "explanations", "quality")),
    *(f"training/studies/{name}/README.md" for name in ("exported-files", "web-app")),
    *("README.md", "training/docs/metrics.md", "training/studies/README.md"),
    *(f"training/studies/{name}/README.md" for name in ("explanations", "image-quality", "marks")),
}


def test_figures_of_the_shipped_network_are_of_the_one_that_is_shipped() -> None:
    """A new network has figures of its own: measure them again, and write its hash beside them."""
    manifest = open_bundle().manifest
    own = manifest.files[manifest.model].sha256[:16]
    marks = {
        page.relative_to(CHECKOUT).as_posix(): set(re.findall(r"<!-- network (\w+) -->", page.read_text("utf-8")))
        for page in PAGES
    }
    assert {page for page, found in marks.items() if found} == MEASURED_ON_IT
    assert set().union(*marks.values()) == {own}
