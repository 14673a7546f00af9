"""Break lines of the program one at a time, and count how many breaks the tests notice.

    python .ci/breaks.py --count 40 --seed 0 [--also OTHER_CHECKOUT] [--json FILE]

Lines are drawn at random from the Python packages; one operator, comparison or number of each is changed.  With
``--also`` only lines that both checkouts have are drawn, so that their suites can be compared on the same breaks: run
it in each, naming the other.  A break meets the tests of its room, then those of its package's verbs.  The same command
continues FILE.  Run it in a clean checkout: each file is restored, even after Ctrl-C.
"""

from __future__ import annotations

import argparse
import ast
import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PACKAGES = ("models", "runtime", "training", "export")
SWAPS: dict[type, tuple[str, str]] = {
    ast.Lt: ("<", ">="), ast.LtE: ("<=", ">"), ast.Gt: (">", "<="), ast.GtE: (">=", "<"),
    ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="), ast.In: (" in ", " not in "), ast.NotIn: (" not in ", " in "),
    ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "+"), ast.Div: ("/", "*"), ast.And: (" and ", " or "),
    ast.Or: (" or ", " and "),
}  # fmt: skip


class Break(NamedTuple):
    """A line, stripped, and what replaces it."""

    line: str
    broken: str


def breaks_of(source: str) -> Iterator[Break]:
    """Yield every break of a file whose operator or number stands alone on its line."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Compare | ast.BinOp | ast.BoolOp | ast.Constant) or node.lineno != node.end_lineno:
            continue
        line, start, end = lines[node.lineno - 1], node.col_offset, node.end_col_offset
        if not line.isascii():
            continue
        text = line[start:end]
        if isinstance(node, ast.Constant):
            if type(node.value) not in (int, float):
                continue
            changed = repr(node.value + 1 if node.value >= 0 else node.value - 1)
        else:
            kind = type(node.ops[0] if isinstance(node, ast.Compare) else node.op)
            old, new = SWAPS.get(kind, ("", ""))
            if not old or text.count(old.strip()) != 1:
                continue
            changed = text.replace(old, new)
        yield Break(line.strip(), (line[:start] + changed + line[end:]).strip())


def files(checkout: Path) -> list[Path]:
    """Return the files of the packages, without verbs and command line, whose lines are mostly words."""
    found = (path for package in PACKAGES for path in sorted((checkout / package / "sonoforge").rglob("*.py")))
    return [path for path in found if not {"verbs", "cli"}.intersection(path.parts)]


def lines_of(checkout: Path) -> Counter[str]:
    return Counter(line.strip() for path in files(checkout) for line in path.read_text("utf-8").splitlines())


def drawn(checkout: Path, other: Path, count: int, seed: int) -> list[Break]:
    """Draw breaks of lines that stand exactly once in both checkouts."""
    once = [{line for line, times in lines_of(place).items() if times == 1} for place in (checkout, other)]
    common = once[0] & once[1]
    by_line: dict[str, list[Break]] = {}
    for path in files(checkout):
        for one in breaks_of(path.read_text("utf-8")):
            if one.line in common:
                by_line.setdefault(one.line, []).append(one)
    rng = random.Random(seed)
    return [rng.choice(sorted(by_line[line])) for line in rng.sample(sorted(by_line), count)]


def noticed(checkout: Path, one: Break, seconds: int) -> tuple[str, bool]:
    """Return the broken file and whether a test fails with it."""
    (path,) = [path for path in files(checkout) if one.line in map(str.strip, path.read_text("utf-8").splitlines())]
    package, room = path.relative_to(checkout).parts[0], path.relative_to(checkout).parts[3].removesuffix(".py")
    kept = path.read_text("utf-8")
    (number,) = [i for i, line in enumerate(kept.splitlines()) if line.strip() == one.line]
    lines = kept.splitlines(keepends=True)
    lines[number] = lines[number].replace(one.line, one.broken)
    tests = checkout / "tests" / package
    own = [tests / room] if (tests / room).is_dir() else sorted(tests.glob("test_*.py"))
    try:
        path.write_text("".join(lines), "utf-8")
        for wanted in (own, [tests / "verbs"]):
            command = [sys.executable, "-m", "pytest", "-n", "2", "-x", "-q", *filter(Path.exists, wanted)]
            try:
                done = subprocess.run(command, check=False, cwd=checkout, capture_output=True, timeout=seconds)
                if done.returncode in (1, 2):  # failed, or stopped at the first failure, as xdist calls it
                    return str(path.relative_to(checkout)), True
            except subprocess.TimeoutExpired:
                return str(path.relative_to(checkout)), True  # a loop without end
    finally:
        path.write_text(kept, "utf-8")
    return str(path.relative_to(checkout)), False


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--also", type=Path, default=Path())
    parser.add_argument("--seconds", type=int, default=900, help="a break that hangs the tests for so long is noticed")
    parser.add_argument("--json", type=Path, default=Path("breaks.json"), help="results; the same command goes on")
    asked = parser.parse_args()
    done = json.loads(asked.json.read_text()) if asked.json.exists() else {}
    for one in drawn(Path.cwd(), asked.also.resolve(), asked.count, asked.seed):
        key = f"{one.line}  ->  {one.broken}"
        if key not in done:
            file, seen = noticed(Path.cwd(), one, asked.seconds)
            done[key] = {"file": file, "noticed": seen}
            asked.json.write_text(json.dumps(done, indent=1))
            print(f"{'noticed' if seen else 'MISSED '}  {file}: {key}", flush=True)
    print(f"{sum(row['noticed'] for row in done.values())} of {len(done)} breaks noticed")


if __name__ == "__main__":
    main()
