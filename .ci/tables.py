"""How measured tables are written, and what they are read from: kept answers, and the program's own commands."""

from __future__ import annotations

import contextlib
import csv
import functools
import gzip
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sonoforge.runtime.cli import main

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "training" / "docs"
ANSWERS, TABLES = DOCS / "predictions", DOCS / "measured"

Row = dict[str, str]
Found = dict[str, float]


def table(heading: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def interval(found: Found) -> str:
    return "{value:.3f} [{low:.3f}, {high:.3f}]".format(**found)


def change(found: Found) -> str:
    return "{value:+.3f} [{low:+.3f}, {high:+.3f}]".format(**found)


def points(found: Found) -> str:
    return "{:+.1f} [{:+.1f}, {:+.1f}]".format(*(100 * found[key] for key in ("value", "low", "high")))


def with_ratio(row: Row, name: str, form: str, ratio_form: str) -> str:
    return f"{float(row[name]):{form}} ({float(row[f'{name}_ratio']):{ratio_form}})"


def sonoforge(*arguments: object) -> Any:
    """The answer of a command, as JSON."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main.run([*map(str, arguments), "--json", "--quiet"])
    if code:
        raise SystemExit(f"sonoforge {' '.join(map(str, arguments))}: {err.getvalue()}")
    return json.loads(out.getvalue())


def printed(*arguments: object) -> str:
    """What a command prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        main.run([*map(str, arguments), "--quiet"])
    return out.getvalue()


@functools.cache
def read(path: Path) -> list[Row]:
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def answers(*files: str) -> str:
    return "Answers: " + ", ".join(f"[`{file}`](../predictions/{file})" for file in files) + "\n"
