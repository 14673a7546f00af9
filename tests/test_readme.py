"""Every command and example of the README is one that works."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from places import CHECKOUT
from program import sonoforge

README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
COMMANDS = sorted(
    {
        line.split("#")[0].strip()
        for kind, text in BLOCKS
        if kind == "sh"
        for line in text.splitlines()
        if line.startswith("sonoforge ")
    }
)


def test_there_are_exactly_two_set_up_commands() -> None:
    lines = [line for kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]
    assert len([line for line in lines if line.startswith("python3 -m venv")]) == 2


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
    for kind, text in BLOCKS:
        if kind == "python":
            exec(compile(text, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert any(label in printed for label in ("normal", "benign", "malignant")) and "trust" in printed


def test_linked_files_are_there() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (CHECKOUT / target).exists(), target
