"""Represent pages as values: sections of finished texts, tables and figures, which `blocks.html.j2` prints unchanged.

A text that is not `Markup` is escaped, whatever files and classes are called.
"""

import functools
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jinja2
from markupsafe import Markup

from sonoforge.runtime import atomic
from sonoforge.runtime.pages import STYLE
from sonoforge.training.statistics import wording
from sonoforge.training.statistics.results import Interval, interval_text
from sonoforge.training.statistics.wording import bracket, number, points, share, size

log = logging.getLogger(__name__)

_MEANINGS = {"normal": 0, "benign": 2, "malignant": 1}
"""Colours of classes with a known meaning: the same in every set, and benign ones never look like a warning."""
_STACKED = {3: "stack", 6: "stack early", 12: "stack early many"}
"""How many columns make a table's rows stack on a phone and on a tablet, and shrink on a laptop."""
NO_DEVICE = "Research use, not a medical device."
_TEMPLATE = "page.html.j2"


@functools.cache
def environment() -> jinja2.Environment:
    """Return the environment of templates, which can call all functions that print figures."""
    found = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader("sonoforge.training.reports"), jinja2.FileSystemLoader(STYLE.parent)]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals |= {
        name: own for module in (vars(wording), globals()) for name, own in module.items() if name[0] != "_"
    }
    return found


def write_page(path: Path, template: str, context: Mapping[str, object]) -> Path:
    """Render a page to one self-contained file, and return its path; escape everything that is not `Markup`."""
    atomic.write_text(path, environment().get_template(template).render(context))
    log.info("report: %s in one self-contained page", size(path.stat().st_size))
    return path


class Block:
    """A part of a page, printed by the macro of its class's name."""

    def __html__(self) -> str:
        """Return it as HTML."""
        return str(getattr(environment().get_template("blocks.html.j2").module, type(self).__name__.lower())(self))


@dataclass(frozen=True)
class Text(Block):
    """A paragraph."""

    text: str
    kind: str = ""  # class in the style sheet


@dataclass(frozen=True)
class Heading(Block):
    """A heading inside a section."""

    text: str


@dataclass(frozen=True)
class Bullets(Block):
    """A list."""

    items: Sequence[str]


class Fact(NamedTuple):
    """A figure of the first screen."""

    what: str
    value: str | int
    detail: str
    bad: bool = False


@dataclass(frozen=True)
class Facts(Block):
    """All of them."""

    rows: Sequence[Fact]


@dataclass(frozen=True)
class Answer(Block):
    """A verdict, with its reasons."""

    level: str  # `yes`, `no`, `open` or `failed`: its colour
    question: str
    answer: str
    grounds: Sequence[Block] = ()
    label: str = ""  # for screen readers; empty: the question


@dataclass(frozen=True)
class Folded(Block):
    """Blocks that a reader unfolds."""

    title: str
    blocks: Sequence[Block | Markup]


Files = Sequence[tuple[str, str]]  # a block as files: the format's name, and the path from the page's folder


@dataclass(frozen=True)
class Figure(Block):
    """A chart or a picture with its caption."""

    title: str
    text: str
    content: Markup
    kind: str = ""
    below: bool = False  # whether the caption stands below
    files: Files = ()


@dataclass(frozen=True)
class Grid(Block):
    """Blocks side by side, if there is room."""

    blocks: Sequence[Block]
    kind: str = "grid"


class Scan(NamedTuple):
    """One image of a card."""

    file: str
    label: Markup
    source: str
    size: str


class Card(NamedTuple):
    """A cluster of scans: the ones shown, how many it has, whether labels differ, and a text."""

    scans: list[Scan]
    images: int
    mixed: bool
    facts: str


@dataclass(frozen=True)
class Clusters(Block):
    """Cards of scans that belong together."""

    cards: Sequence[Card]


Cells = Sequence[object]  # of a row: texts, whole numbers, or a `Cell`


class Cell(NamedTuple):
    """A cell that differs from the others of its column."""

    text: object
    kind: str = ""  # class in the style sheet, beside the column's
    title: str = ""
    style: str = ""


class Row(NamedTuple):
    """A row that differs from the others: ``ours``, ``sum``."""

    kind: str
    cells: Cells


class _Tag(NamedTuple):
    """A cell as HTML."""

    name: str  # `th` or `td`
    attributes: Mapping[str, str | int | None]
    text: object


@dataclass(frozen=True)
class Table(Block):
    """A table. The first cell of a row is its heading; other columns are figures unless stated."""

    label: str  # for screen readers
    head: Sequence[str | Cell]  # titles of the columns; empty: none
    rows: Sequence[Cells | Row]
    caption: str = ""  # empty: the label
    words: Collection[int] = ()  # columns that hold words
    wide: Collection[int] = ()  # of these, long ones
    kind: str = ""  # class in the style sheet
    tall: bool = False  # scrolls
    files: Files = ()

    def head_tags(self) -> list[_Tag]:
        """Return the cells of the head."""
        return [self._tag("th", title, place, {"scope": "col"}) for place, title in enumerate(self.head)]

    def body_tags(self) -> Iterator[tuple[str, list[_Tag]]]:
        """Yield each row's class and cells."""
        for row in self.rows:
            own = row if isinstance(row, Row) else Row("", row)
            first, *others = own.cells
            cells = [self._tag("td", cell, place) for place, cell in enumerate(others, 1)]
            yield own.kind, [self._tag("th", first, 0, {"scope": "row"}), *cells]

    def _tag(self, name: str, given: object, place: int, attributes: Mapping[str, str | int] | None = None) -> _Tag:
        own = given if isinstance(given, Cell) else Cell(given)
        column = "wide" if place in self.wide else "" if place in self.words or not place else "n"
        kinds = {
            "class": f"{column} {own.kind}".strip() or None,
            "title": own.title or None,
            "style": own.style or None,
            "data-column": plain_text(self.head[place]) if name == "td" and self.stacked else None,
        }
        return _Tag(name, {**(attributes or {}), **kinds}, own.text)

    def in_plain_text(self) -> tuple[list[str], list[list[str]]]:
        """Return head and rows as text."""
        rows = [row.cells if isinstance(row, Row) else row for row in self.rows]
        return [*map(plain_text, self.head)], [[*map(plain_text, cells)] for cells in rows]

    def in_markdown(self) -> str:
        """Return head and rows as a table in Markdown."""
        head, rows = self.in_plain_text()
        lines = [head, ["---"] * len(head), *rows]
        return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |" for cells in lines)

    @property
    def stacked(self) -> str:
        """CSS class that shows rows as lists on narrow screens, with column titles; empty if there are few columns."""
        if self.kind.startswith("confusion"):
            return ""
        return next((look for columns, look in reversed(_STACKED.items()) if len(self.head) >= columns), "")


@dataclass(frozen=True)
class Section:
    """A part of the page that is in the contents."""

    anchor: str
    title: str
    blocks: Sequence[Block | Markup]


@dataclass(frozen=True)
class Part:
    """Sections for one kind of reader, folded."""

    anchor: str
    title: str
    about: str  # what is inside, in one line
    sections: Sequence[Section]


@dataclass(frozen=True)
class Page:
    """A whole page."""

    title: str  # of the browser's tab
    meta: str  # above the heading
    heading: str
    summary: Sequence[Block]
    sections: Sequence[Section] = ()
    parts: Sequence[Part] = ()  # after the sections
    made: str = ""  # in the foot
    use: str = NO_DEVICE
    style: str = ""  # rules beside those of every page
    refresh: int = 0  # seconds after which a browser loads it again, as long as it is not finished; 0: never

    def render(self) -> str:
        """Return the page as HTML."""
        return environment().get_template(_TEMPLATE).render(page=self)

    def write(self, path: Path) -> Path:
        """Write the page as one self-contained file, and return its path."""
        return write_page(path, _TEMPLATE, {"page": self})


# ---- figures and words in cells


def plain_text(cell: object) -> str:
    """Return a cell's content without tags."""
    own = cell.text if isinstance(cell, Cell) else cell
    if not isinstance(own, Markup):
        return str(own)
    return own.replace("<br>", " ").replace("<small>", " (").replace("</small>", ")").striptags()


def interval(figure: Interval) -> Markup:
    """Print a share with the ends of its interval, in percent."""
    return _with_ends(share(figure["value"]), points(figure["low"], sign=""), points(figure["high"], sign=""))


def area(figure: Interval, sign: str = "", digits: int = 3) -> Markup:
    """Print a figure with the ends of its interval."""
    return _with_ends(*(number(figure[end], digits, sign) for end in ("value", "low", "high")))


def change(figure: Interval) -> Markup:
    """Print a difference of shares with the ends of its interval, in percentage points."""
    return _with_ends(*(points(figure[end]) for end in ("value", "low", "high")))


def ratio(figure: Interval | None) -> str:
    """Print a ratio with the ends of its interval."""
    return interval_text(figure, ".1f") if figure else "cannot be computed"


def soft(value: str, detail: str) -> Markup:
    """Print a figure with something less important behind it."""
    return Markup('{} <span class="ci">{}</span>').format(value, detail)


def _with_ends(value: str, low: str, high: str) -> Markup:
    return soft(value, bracket(low, high))


def code(text: object) -> Markup:
    """Print typed text, or a file's name."""
    return Markup("<code>{}</code>").format(text)


def bold(text: object) -> Markup:
    """Print something that must not be missed."""
    return Markup("<b>{}</b>").format(text)


def label(classes: Sequence[str], number: int) -> Markup:
    """Print a class's name in its colour."""
    return Markup('<span class="label" style="background: {}">{}</span>').format(
        class_colour(classes, number), classes[number]
    )


def class_colour(classes: Sequence[str], number: int) -> str:
    """Return a class's colour: by its meaning if known, otherwise one that no meaning in the set uses."""
    meant = _MEANINGS.get(classes[number].lower())
    if meant is None:
        taken = {_MEANINGS[name.lower()] for name in classes if name.lower() in _MEANINGS}
        others = [name for name in classes if name.lower() not in _MEANINGS]
        free = [series for series in range(6) if series not in taken]
        meant = free[others.index(classes[number]) % len(free)]
    return f"var(--s{meant})"


def lines(parts: Sequence[str], mark: str = ",") -> Markup:
    """Print parts below each other in one cell."""
    return Markup(f"{mark}<br>").join(parts)  # noqa: S704 - our own mark


def counts(found: Mapping[str, int]) -> Markup:
    """Print the counts that are not 0."""
    return Markup(", ").join(f"{count}\u00a0{name}" for name, count in found.items() if count)


def areas(found: Mapping[str, Interval], alone: str = "one class alone") -> Markup:
    """Print the areas of several pairs of classes in one cell."""
    pairs = [Markup("{} {}").format(pair.replace(" ", "\u00a0"), area(own)) for pair, own in found.items()]
    return lines(pairs, ";") if pairs else Markup("{}").format(alone)
