"""Look for numbers beside a paper's name, and say which of them no printed figure and no stated list knows.

``python training/studies/papers/quoted_numbers.py [CHECKOUT]`` reads README.md, all pages of the packages, the prose of
recipes and published rows, and what kept answers quote.  A number is known if the papers named in its sentence, table
row or list item print it (``tests/golden/papers``), perhaps as a share or with fewer digits, or if ``own_numbers.csv``
states what it is, and by which formula of printed numbers if it is computed.
"""

from __future__ import annotations

import csv
import gzip
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

NAMES = {
    "thesis": r"thesis|S\. H\.|Middlesex|System [12]\b|Addala|existing app|Ero[gğ]lu|mRMR|Ragab|EDLCDS",
    "stylegan": r"Ryspayeva|Salykova|DGAN-WP-TL|StyleGAN2 (?:and|against) StyleGAN3|StyleGAN[23], claimed",
    "dgan-wp-tl": r"Ryspayeva|Salykova|DGAN-WP-TL",
    "ga-gan": r"Berezsky|Liashchynskyi|GA-GAN",
    "six-gans": r"Thakur",
}
ANY = re.compile(r"(?i)\b(?:the|a|its|five) papers?\b|\bclaim(?:ed|s)?\b|\bpublished (?:row|figure|number)s?|\bimplied")
_CODE = re.compile(r"`[^`]*`|\]\([^)]*\)|<!--.*?-->|https?://\S+")  # with targets of links, and comments
_PART = r"(?:\d+(?:\.\d+)*[a-c]?)"
_KINDS = "sections?|tables?|figures?|equations?|algorithms?|appendix|column|pages?|row|issue|System|seeds?"
_REFERENCE = re.compile(
    rf"(?i)\b(?:{_KINDS}) {_PART}(?:(?:, | and | to | or |, and ){_PART}\b(?! %))*"
    r"|\b[1-6]\.\d(?:, [1-6]\.\d)*(?=(?:, figures? \d+)?\))"  # (3.4), (normal; 3.4, figure 7)
    r"|\b(?:19|20)\d\d\b|[A-Za-z]+[-_]?\d[\w-]*|\b\d+x\d+\b|\b80/20\b"  # years, names, 1x1
)
_QUOTES = re.compile(r"claimed|implied|\bpaper|thesis")
_PRINTED = re.compile(r"\d+(?:\.\d+)?")
_NUMBER = re.compile(r"(?<![\w.])(?:\d{1,3}(?: \d{3})+|\d+(?:\.\d+)?|\.\d+)(?![\w]|\.\d)")


class Unit(NamedTuple):
    """A sentence, table row or list item."""

    file: str
    line: int
    text: str
    under: str = ""  # the heading above
    ours: bool = False  # our own measurements


def units(text: str, file: str) -> Iterator[Unit]:
    """Divide a page; a table row is preceded by its heading, as that names what stands below."""
    above = columns = gathered = ""
    first, fenced, made = 0, False, False  # made: from data, ours unless it says that it quotes
    for number, line in enumerate([*text.splitlines(), ""], start=1):
        stripped = line.strip()
        fence, row = stripped.startswith("```"), stripped.startswith("|")
        if gathered and (row or fence or not stripped or re.match(r"[-*] |[#<{}\"\]]|\d+\. ", stripped)):
            parts = re.split(r"(?<=[.:;!?]) (?=[A-Z*\[\"])", gathered)
            yield from (Unit(file, first, part, above, made and not _QUOTES.search(part)) for part in parts)
            gathered = ""
        fenced ^= fence
        columns = (columns or line) if row else ""
        if row:
            with_columns = f"{columns} {line}".removeprefix(f"{line} ")
            ours = bool(re.match(r"\|[^|]*\bours\b", line)) or (made and not _QUOTES.search(line))
            yield Unit(file, number, with_columns, above, ours)
        elif stripped.startswith(("<!-- measured", "<!-- end")):
            above, made = "", "measured" in stripped
        elif stripped.startswith("#") and not fenced:
            above = "" if made else stripped
            yield Unit(file, number, above)
        elif stripped and not fenced and not fence:
            first = first if gathered else number
            gathered = f"{gathered} {stripped}".strip()


def everything(root: Path) -> Iterator[Unit]:
    """Every unit of the checkout."""
    folders = [root / part for part in ("training", "export", "runtime", "mobile")]
    pages = [root / "README.md", *(page for folder in folders for page in sorted(folder.rglob("*.md")))]
    package = root / "training" / "sonoforge" / "training"
    data = sorted(path for path in package.rglob("*") if path.suffix in (".json", ".yaml"))
    for path in (path for path in (*pages, *data) if path.name != "claims.md"):
        prose = path.read_text(encoding="utf-8")
        prose = re.sub(r'(?m)^ *"(.*)",?$', r"\1", prose) if path.suffix == ".json" else prose
        yield from units(prose, path.relative_to(root).as_posix())
    for path in sorted((root / "training" / "studies").glob("*/answers/*.csv*")):
        text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for number, line in enumerate(text.decode().splitlines(), start=1):
            if "claim of" in line:
                yield Unit(path.relative_to(root).as_posix(), number, line.replace(",", " , "))


def table(path: Path) -> list[list[str]]:
    """The lines of a table below its heading."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))[1:]


def printed(root: Path) -> dict[str, set[str]]:
    """The numbers in the printed figures of each paper, as printed, and in their rows and columns."""
    tables = {name: table(root / "tests" / "golden" / "papers" / f"{name}.csv") for name in NAMES}
    return {name: set(_PRINTED.findall(str([line[2:] for line in lines]))) for name, lines in tables.items()}


def named(unit: Unit) -> list[str]:
    """The papers that are named beside, or in the heading above."""
    return [name for name in NAMES if re.search(f"(?i){NAMES[name]}", unit.under + _CODE.sub(" ", unit.text))]


def agree(word: str, figure: str) -> bool:
    """Whether a number is a printed figure, as it is, as a share or per cent, or with fewer digits."""
    digits = len(word.partition(".")[2])
    value, own = float(word.replace(" ", "")), float(figure)
    return any(abs(value - round(own * by, digits)) < 1e-9 for by in (1, 0.01 if own > 1 else 100))


def stated(root: Path, figures: set[str]) -> tuple[set[tuple[str, str]], list[str]]:
    """What the list states by file and number, and which of its formulas are wrong or take numbers from nowhere."""
    found, wrong = set(), []
    for file, number, what, formula in table(root / "training" / "studies" / "papers" / "own_numbers.csv"):
        found.add((file, number))
        own, digits = formula or number.replace(" ", ""), len(number.partition(".")[2])
        unknown = set(_PRINTED.findall(formula)) - figures - {"1", "100", "0.005"}
        value = round(eval(own), digits) if re.fullmatch(r"[\d.+\-*/() ]+", own) else own
        if not what or unknown or value != float(number.replace(" ", "")):
            wrong.append(f"own_numbers.csv: {number}: {what}: {value} by its formula; not printed: {unknown or '-'}")
    return found, wrong


def main() -> int:
    """Print a line for each unknown number, and each stated one that stands nowhere; return whether there are any."""
    root = Path(sys.argv[1]).resolve() if sys.argv[1:] else Path(__file__).resolve().parents[3]
    figures = printed(root)
    known, wrong = stated(root, set().union(*figures.values()))
    met, found = set(), list(everything(root))
    named_in = {(unit.file, name) for unit in found for name in named(unit)}
    for unit in found:
        names = named(unit)
        if not names and ANY.search(unit.under + unit.text):  # the paper is one that the page names, if it names any
            names = [name for name in NAMES if (unit.file, name) in named_in] or list(NAMES)
        for word in _NUMBER.findall(_REFERENCE.sub(" ", _CODE.sub(" ", unit.text))) if names and not unit.ours else ():
            if states := {(unit.file, word), ("*", word)} & known:
                met |= states
            elif not any(agree(word, figure) for name in names for figure in figures[name]):
                wrong.append(f"{unit.file}:{unit.line}: {word}: {unit.text}")
    wrong += [f"own_numbers.csv: {word} stands nowhere in {file}" for file, word in sorted(known - met)]
    print("\n".join(dict.fromkeys(wrong)) or "every number beside a paper's name is known")
    return bool(wrong)


if __name__ == "__main__":
    raise SystemExit(main())
