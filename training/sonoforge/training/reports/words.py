"""Fill in the words of the pages, declared in ``wording/*.yaml``, with Jinja.

A string is a text (HTML); a mapping with ``columns`` is a table with expressions over a row as cells; one with
``title`` is a figure. Both can call the functions of `statistics.wording` and `blocks`.
"""

import functools
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from markupsafe import Markup

from sonoforge.training.reports.blocks import Figure, Heading, Row, Section, Table, Text, environment

WORDING = Path(__file__).parent / "wording"
Facts = Mapping[str, object]


def read_yaml(name: str) -> Any:
    """Return the content of ``wording/NAME.yaml``."""
    return yaml.safe_load((WORDING / f"{name}.yaml").read_text(encoding="utf-8"))


class Words:
    """The declarations of one file."""

    def __init__(self, name: str) -> None:
        """Read ``wording/NAME.yaml``."""
        self._own: dict[str, Any] = read_yaml(name)

    def __call__(self, key: str, /, **facts: object) -> Markup:
        """Return a text, filled in; facts that are not `Markup` are escaped."""
        return _fill(self._own[key], facts)

    def plain(self, key: str, /, **facts: object) -> str:
        """Return a text in which nothing is escaped."""
        return _plain(self._own[key]).render(facts)

    def value(self, key: str, /, **facts: object) -> Any:
        """Return the value of an expression."""
        return _value(self._own[key], facts)

    def text(self, key: str, kind: str = "", /, **facts: object) -> Text:
        """Return a paragraph."""
        return Text(self(key, **facts), kind)

    def note(self, key: str, /, **facts: object) -> Text:
        """Return a paragraph in small print."""
        return self.text(key, "note-text", **facts)

    def figure(self, key: str, content: Markup, /, **facts: object) -> Figure:
        """Return a chart or picture under its caption."""
        own = self._own[key]
        return Figure(_fill(own["title"], facts), _fill(own.get("text", ""), facts), content, own.get("kind", ""))

    def table(self, key: str, rows: Iterable[object] = (), /, **facts: object) -> Table:
        """Return a table with a row for each of ``rows``, which expressions can use; a `Row` stays unchanged."""
        own = self._own[key]
        columns = list(_columns(own["columns"], facts))
        words, wide = (
            [place for place, column in enumerate(columns) if column.key in own.get(name, ())]
            for name in ("words", "wide")
        )
        made = [row if isinstance(row, Row) else _row(own, columns, {**facts, "row": row}) for row in rows]
        return Table(
            _fill(own["label"], facts),
            [column.head for column in columns] if own.get("head", True) else [],
            made,
            _fill(own.get("caption", ""), facts),
            words,
            wide,
            own.get("kind", ""),
            len(made) > own.get("tall", len(made)),
        )


class _Column(NamedTuple):
    key: str  # as in the file
    head: Markup
    expression: str
    own: Facts  # `each` and `place` of a column that stands for one of several things


def _row(declared: Mapping[str, Any], columns: Sequence[_Column], facts: Facts) -> Row:
    cells = [_value(column.expression, {**facts, **column.own}) for column in columns]
    return Row(_value(declared.get("row", "''"), facts), cells)


def _columns(declared: Mapping[str, Any], facts: Facts) -> Iterator[_Column]:
    for head, given in declared.items():
        if isinstance(given, str):
            yield _Column(head, _fill(head, facts), given, {})
        elif _value(given.get("if", "true"), facts):
            for place, each in enumerate(_value(given.get("each", "[none]"), facts)):
                own = {"each": each, "place": place}
                yield _Column(head, _fill(given.get("head", head), {**facts, **own}), given["cell"], own)


def _fill(text: str, facts: Facts) -> Markup:
    return Markup(_template(text).render(facts))  # noqa: S704 - our own text, in which the environment escapes facts


def _value(expression: str, facts: Facts) -> Any:
    return _expression(expression)(facts)


_template = functools.cache(lambda text: environment().from_string(text))
_plain = functools.cache(lambda text: environment().overlay(autoescape=False).from_string(text))
_expression: Callable[[str], Callable[[Facts], Any]] = functools.cache(
    lambda text: environment().compile_expression(text, undefined_to_none=False)
)


def plain(text: str, facts: Facts) -> str:
    """Fill in a plain text; its lines become one."""
    return re.sub(r"[ \n]+", " ", _plain(text).render(facts)).strip()


def glossary(title: str, name: str) -> Section:
    """Explain the words of a page, from a file of texts."""
    own = Words(name)
    words = Markup("\n").join(Markup("<dt>{}</dt>\n<dd>{}</dd>").format(key, own(key)) for key in read_yaml(name))
    return Section("glossary", title, [Markup('<dl class="glossary">\n{}\n</dl>').format(words)])


def headed(table: Table, *text: Text) -> list[Heading | Text | Table]:
    """Return a table under its label as a heading, with a text between."""
    return [Heading(table.label), *text, table]


class Said(NamedTuple):
    """A plain text that applies under conditions, such as one of ``run-statements.yaml``."""

    topic: str
    says: str  # a template of facts, and of earlier texts
    where: str = ""  # where it can be looked up; such a text is no part of others
    needs: str = ""  # conditions that must all be met


class Sayings(NamedTuple):
    """The conditional texts of a file, and when each condition is met."""

    texts: tuple[Said, ...]
    conditions: Mapping[str, str] = {}  # expressions of the facts


def read_said(name: str) -> Sayings:
    """Read the conditional texts of ``wording/NAME.yaml``."""
    read = read_yaml(name)
    return Sayings(tuple(Said(**row) for row in read["texts"]), read["conditions"])


def fill_in(sayings: Sayings, facts: Facts, met: Collection[str] = ()) -> dict[str, Said]:
    """Fill in one text for each topic: the last whose conditions are all met, by the facts or as ``met``."""
    holding = {*met, *(name for name, expression in sayings.conditions.items() if _value(expression, facts))}
    known = {own.topic: "" for own in sayings.texts if not own.where} | dict(facts)
    found = {}
    for own in sayings.texts:
        if set(own.needs.split()) <= holding:
            says, where = (_plain(text).render(known) for text in (own.says, own.where))
            found[own.topic] = own._replace(says=says, where=where)
            if not own.where:
                known[own.topic] = found[own.topic].says
    return found
