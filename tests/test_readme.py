"""Every command and link of the README and of the pages in docs/, and every example of the README, works."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from places import CHECKOUT
from program import sonoforge
from sonoforge.runtime.bundle.reader import open_bundle

PAGES = [CHECKOUT / "README.md", *sorted(CHECKOUT.glob("*/docs/**/*.md"))]


def blocks(page: Path, kind: str) -> list[str]:
    """The page's blocks of code of one kind."""
    return re.findall(rf"```{kind}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


COMMANDS = sorted(
    {
        line.split("#")[0].strip()
        for page in PAGES
        for block in blocks(page, "sh")
        for line in block.replace("\\\n", " ").splitlines()
        if line.startswith("sonoforge ")
    }
)


def test_there_are_exactly_two_set_up_commands() -> None:
    lines = [line for block in blocks(PAGES[0], "sh") for line in block.splitlines()]
    assert len([line for line in lines if line.startswith("python3 -m venv")]) == 2


def test_it_fits_on_a_few_screens() -> None:
    sections = PAGES[0].read_text(encoding="utf-8").split("\n## ")
    assert len(sections) <= 10 and max(len(section.splitlines()) for section in sections) <= 60


@pytest.mark.parametrize("command", COMMANDS)
def test_command_is_understood(command: str) -> None:
    """The program accepts the verb and every flag; --dry-run stops it before any work."""
    done = sonoforge(*shlex.split(command)[1:], "--dry-run")
    assert done.code == 0, done.err


def test_python_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sonoforge.training.phantom.dataset import generate_phantom_set

    monkeypatch.chdir(tmp_path)
    Image.fromarray(next(iter(generate_phantom_set(1, 0))).pixels).save("scan.png")
    explanations = CHECKOUT / "runtime" / "docs" / "explanations.md"
    for example in [*blocks(PAGES[0], "python"), *blocks(explanations, "python")]:
        exec(compile(example, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert any(label in printed for label in ("normal", "benign", "malignant")) and "trust" in printed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_linked_files_are_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


# Pages with figures of the shipped network that no kept answers give: each says under them whose they are.
MEASURED_ON_IT = {
    *(f"export/docs/{name}.md" for name in ("executorch", "formats", "onnx", "torchscript")),
    *(f"mobile/docs/{name}.md" for name in ("android", "web-app")),
    *(f"runtime/docs/{name}.md" for name in ("burned-in-marks", "explanations", "quality")),
    *("README.md", "training/docs/metrics.md", "training/docs/notebook/benchmarks.md"),
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
