"""What bash, zsh and fish themselves complete with the printed script: all that the parsers take, and nothing else."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from program import sonoforge
from sonoforge.runtime.cli.options import build_parser
from sonoforge.runtime.cli.verbs import VERBS, config_class

pytest.importorskip("shtab", reason="needs the extra completion")
SECONDS = 120


def ask_bash(folder: Path, lines: list[str]) -> list[str]:
    """Call the function as readline does: with the words, and the number of the one that is completed."""
    program = """
source ./script
while IFS= read -r line; do
  read -ra COMP_WORDS <<< "$line"
  [[ $line == *' ' ]] && COMP_WORDS+=("")
  COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMPREPLY=()
  $(complete -p sonoforge | sed 's/.*-F \\([^ ]*\\) .*/\\1/') 2> errors
  echo "${COMPREPLY[*]}"
done
"""
    return run(["bash", "--norc", "-c", program], folder, "\n".join(lines) + "\n").splitlines()


def ask_fish(folder: Path, lines: list[str]) -> list[str]:
    asked = "\n".join(f"complete -C '{line}' | string replace -r '\\t.*' ''; echo ==" for line in lines)
    return run(["fish", "--no-config", "-c", f"source ./script\n{asked}"], folder).split("==\n")[:-1]


def run(command: list[str], folder: Path, given: str = "") -> str:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder)}  # without sonoforge: a script asks no Python
    done = subprocess.run(
        command, input=given, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout


def ask_zsh(folder: Path, lines: list[str]) -> list[str]:
    """Type each line at a prompt, and Ctrl-D, which lists what a TAB would choose from."""
    shutil.copy(folder / "script", folder / "_sonoforge")
    listed = []
    with typing(folder) as typed:
        for line in lines:
            found = re.search(r"\x1b\[J(.*?)\x1b\[\d*A", typed(f"{line}\4\n"), re.DOTALL)
            listed.append(found[1] if found else "")
    return listed


@contextmanager
def typing(folder: Path) -> Iterator[Callable[[str], str]]:
    """An interactive zsh, and a function that types to it and returns what it shows until its next prompt."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 1000, 160, 0, 0))  # all on one screen
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "TERM": "xterm"}
    shell = subprocess.Popen(
        ["zsh", "-f", "-i"], stdin=its, stdout=its, stderr=its, cwd=folder, env=environment, start_new_session=True
    )
    os.close(its)

    def typed(text: str, until: bytes = b"]]") -> str:
        os.write(ours, text.encode())
        shown, end = b"", time.monotonic() + SECONDS
        while not re.search(until + b".*READY", shown, re.DOTALL):
            assert select.select([ours], [], [], max(0, end - time.monotonic()))[0], shown[-2000:]
            shown += os.read(ours, 1 << 16)
        return shown.decode()

    try:
        styles = " ".join(f"zstyle ':completion:*' {style} no;" for style in ("verbose", "insert-tab"))
        prepared = f'LISTMAX=9999; {styles} sonoforge() {{ print -r -- "[[$*]]" }}; fpath+=$PWD'
        typed(f"{prepared}; autoload -Uz compinit; compinit -u -D; PS1=REA''DY\n", b"")
        yield typed
    finally:
        shell.kill()
        shell.wait()
        os.close(ours)


ASK = {"bash": ask_bash, "zsh": ask_zsh, "fish": ask_fish}


@pytest.fixture(params=ASK)
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    name = str(request.param)
    if not shutil.which(name):
        pytest.skip(f"{name} is not installed")
    (tmp_path / "script").write_text(sonoforge("--completion", name).out, encoding="utf-8")
    return name


def test_every_flag_of_every_verb_is_completed_and_no_other(shell: str, tmp_path: Path) -> None:
    found = ASK[shell](tmp_path, [f"sonoforge {verb} --" for verb in VERBS])
    assert len(found) == len(VERBS)
    for name, words in zip(VERBS, found, strict=True):
        parser = build_parser(name, config_class(name))
        accepted = {word for word in parser._option_string_actions if word.startswith("--")} | {"--help"}
        assert set(words.split()) == accepted, name


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("sonoforge cros", {"crossval"}),
        ("sonoforge mobile ", {"build"}),
        ("sonoforge data ", {"list", "audit", "import"}),
        ("sonoforge help cl", {"classify"}),
        ("sonoforge --completion ", {"bash", "zsh", "fish"}),
        ("sonoforge train --set gan.learning_r", set()),
        ("sonoforge train --set classifier.learning_r", {"classifier.learning_rate="}),
        ("sonoforge gan train --recipe dcgan", {"dcgan", "dcgan-thesis"}),
        ("sonoforge crossval --arms real --protocol leave", {"leave-one-collection-out"}),
        ("sonoforge data import co", {"coco"}),
        ("sonoforge data import coco sca", {"scan.png", "scans/"}),
        ("sonoforge classify scan.png --bundle sca", {"scan.png", "scans/"}),
        ("sonoforge classify scan.png --csv a.csv --res", {"--resume"}),
        ("sonoforge adapt --config sca", {"scan.png", "scans/"}),
    ],
)
def test_verbs_choices_and_files_are_completed(shell: str, line: str, expected: set[str], tmp_path: Path) -> None:
    (tmp_path / "scan.png").touch()
    (tmp_path / "scans").mkdir()
    (found,) = ASK[shell](tmp_path, [line])
    words = set(found.split())
    assert {word.rstrip("/") for word in words} == {word.rstrip("/") for word in expected}


def test_a_tab_in_zsh_fills_in_verb_flag_choice_and_file(tmp_path: Path) -> None:
    if not shutil.which("zsh"):
        pytest.skip("zsh is not installed")
    (tmp_path / "_sonoforge").write_text(sonoforge("--completion", "zsh").out, encoding="utf-8")
    (tmp_path / "scan one.png").touch()
    with typing(tmp_path) as typed:
        assert "[[gan train --recipe dcgan-thesis]]" in typed("sonoforge gan tr\t--reci\tdcgan-th\t\n")
        assert "[[classify scan one.png --no-resume]]" in typed("sonoforge class\tsca\t--no-res\t\n")
