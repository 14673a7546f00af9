"""Regenerate every table of the studies from the kept answers: ``python training/studies/make.py``.

Each study's ``tables.py`` has ``TABLES``: functions that return Markdown, by the name of the block of the study's
``README.md`` that they fill; those of the project's README are in ``readme_tables.py``.  With ``--check`` nothing is
written, and the exit code is 1 where a page differs.
"""

from __future__ import annotations

import difflib
import importlib.util
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from kept import STUDIES

PAGES = {
    STUDIES.parents[1] / "README.md": STUDIES / "readme_tables.py",
    STUDIES.parents[1] / "runtime" / "docs" / "trust.md": STUDIES / "trust" / "tables.py",
    STUDIES / "papers" / "claims.md": STUDIES / "papers" / "claims.py",
    **{path.with_name("README.md"): path for path in sorted(STUDIES.glob("*/tables.py"))},
}
"""The script that fills each page."""
_BLOCK = re.compile(r"(<!-- measured: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def tables_of(script: Path) -> Mapping[str, Callable[[], str]]:
    """Return the ``TABLES`` of a script."""
    name = f"tables_of_{script.parent.name}_{script.stem}".replace("-", "_")
    spec = importlib.util.spec_from_file_location(name, script)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    found: Mapping[str, Callable[[], str]] = module.TABLES
    return found


def filled(text: str, tables: Mapping[str, Callable[[], str]]) -> str:
    """Return a page with its blocks made again."""
    missing = set(tables).symmetric_difference(match[2] for match in _BLOCK.finditer(text))
    if missing:
        raise SystemExit(f"tables and blocks of a page differ: {', '.join(sorted(missing))}")

    def made(match: re.Match[str]) -> str:
        under = re.sub(r"^## ", "### ", tables[match[2]](), flags=re.MULTILINE)  # the page has a heading of its own
        return f"{match[1]}\n{under.rstrip()}\n\n{match[3]}"

    return _BLOCK.sub(made, text)


def main(check: bool) -> int:
    """Write every page, or print how those on disk differ; return how many do."""
    different = 0
    for page, script in PAGES.items():
        old = page.read_text(encoding="utf-8")
        new = filled(old, tables_of(script))
        different += new != old
        if check:
            lines = difflib.unified_diff(old.splitlines(True), new.splitlines(True), str(page), "made again")
            sys.stdout.writelines(lines)
        elif new != old:
            page.write_text(new, encoding="utf-8")
            print(f"wrote {page}")
    return different


if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["--check"]):
        raise SystemExit(f"usage: {sys.argv[0]} [--check]")
    count = main(check=bool(sys.argv[1:]))
    if count and sys.argv[1:]:
        raise SystemExit(f"{count} pages differ from the kept answers: run python training/studies/make.py")
