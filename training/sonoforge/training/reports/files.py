"""Write a page's tables as CSV and LaTeX, and its charts as SVG and PNG: files beside it, with links."""

import csv
import dataclasses
import io
import itertools
import re
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

from markupsafe import Markup

from sonoforge.runtime.atomic import replacing_folder
from sonoforge.training.reports import blocks as parts
from sonoforge.training.reports.charts import Chart, png_bytes

_INTERVAL = re.compile(r"([+-]?[\d.]+)( %)? \[([+-]?[\d.]+), ([+-]?[\d.]+)\]")
_ESCAPED = {own: f"\\{own}" for own in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "\N{MINUS SIGN}": "$-$",
    "\N{NO-BREAK SPACE}": "~",
}
_LONGEST = 60  # letters of a file's name
_WIDE, _LONG_HEAD = 30, 12  # letters: longer first cells and heads take more than one line in LaTeX
_BREAK = r"\\"


def write_with_files(page: parts.Page, path: Path, first: Sequence[str] = ()) -> Path:
    """Write a page, and all its tables and charts to files in a folder beside it with the page's name.

    The page's summary names the folder after the facts, and links to the tables with the labels ``first``.
    """
    folder = path.with_suffix("")
    with replacing_folder(folder, durable=False) as made:
        saved = _Saved(made, folder.name)
        summary, sections = saved.blocks(page.summary), saved.sections(page.sections)
        by_reader = [dataclasses.replace(part, sections=saved.sections(part.sections)) for part in page.parts]
        facts = [place for place, block in enumerate(summary, 1) if isinstance(block, parts.Facts)]
        summary.insert(max(facts, default=len(summary)), saved.for_paper(first))
        page = dataclasses.replace(page, summary=summary, sections=sections, parts=by_reader)
    return page.write(path)


class _Saved:
    """Writes files into a folder, and returns blocks that link to them."""

    def __init__(self, made: Path, name: str) -> None:
        self._made, self._name = made, name
        self._taken: set[str] = set()
        self._tables: dict[str, parts.Files] = {}

    def for_paper(self, labels: Sequence[str]) -> parts.Text:
        """Say where all files are, and link to the tables with these labels."""
        said = Markup("{} every table of this page is in {} as CSV and LaTeX (booktabs), every chart as SVG and PNG.")
        said = said.format(parts.bold("For a paper:"), parts.code(f"{self._name}/"))
        for label in labels:
            if files := self._tables.get(label):
                links = (Markup('<a href="{}" download>{}</a>').format(file, kind) for kind, file in files)
                said += Markup(" {}: {}.").format(label, Markup(", ").join(links))
        return parts.Text(said)

    def sections(self, sections: Sequence[parts.Section]) -> list[parts.Section]:
        return [dataclasses.replace(section, blocks=self.blocks(section.blocks)) for section in sections]

    def blocks(self, blocks: Sequence[parts.Block | Markup]) -> list[parts.Block]:
        return [self._block(block) for block in blocks]  # type: ignore[misc]

    def _block(self, block: parts.Block | Markup) -> parts.Block | Markup:
        if isinstance(block, parts.Grid | parts.Folded):
            return dataclasses.replace(block, blocks=self.blocks(block.blocks))
        if isinstance(block, parts.Answer):
            return dataclasses.replace(block, grounds=self.blocks(block.grounds))
        if isinstance(block, parts.Table):
            contents = {"CSV": table_csv(block).encode(), "LaTeX": table_latex(block).encode()}
            label = parts.plain_text(block.label)
            self._tables[label] = self._save(label, contents)
            return dataclasses.replace(block, files=self._tables[label])
        if isinstance(block, parts.Figure) and isinstance(block.content, Chart):
            chart = block.content
            contents = {"SVG": chart.standalone(), "PNG": png_bytes(chart.figure, chart.label)}
            return dataclasses.replace(block, files=self._save(re.split("[:.;] ", chart.label)[0], contents))
        return block

    def _save(self, label: str, contents: dict[str, bytes]) -> list[tuple[str, str]]:
        stem = re.sub("[^a-z0-9]+", "-", label.lower())[:_LONGEST].strip("-")
        names = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
        stem = next(name for name in names if name not in self._taken)
        self._taken.add(stem)
        files = [(kind, f"{stem}.{'tex' if kind == 'LaTeX' else kind.lower()}") for kind in contents]
        for (_, file), content in zip(files, contents.values(), strict=True):
            (self._made / file).write_bytes(content)
        return [(kind, f"{self._name}/{file}") for kind, file in files]


def table_csv(table: parts.Table) -> str:
    """Return a table as CSV, with the ends of intervals in separate columns."""
    head, rows = table.in_plain_text()
    columns = list(zip(*([head] if head else []), *rows, strict=True))
    spread = [own for column in columns for own in _spread(column, named=bool(head))]
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(zip(*spread, strict=True))
    return stream.getvalue()


def _spread(column: Sequence[str], *, named: bool) -> list[list[str]]:
    """Return a column or, if all its cells are intervals, separate columns for values and ends."""
    head, cells = (column[0], column[1:]) if named else ("", column)
    plain = [cell.replace("\N{NO-BREAK SPACE}", " ").replace("\N{MINUS SIGN}", "-") for cell in cells]
    found = [_INTERVAL.fullmatch(cell) for cell in plain]
    known = [own for own in found if own is not None]
    if not known or len(known) < len([cell for cell in plain if cell]):
        return [[head] * named + plain]
    unit = " (%)" if known[0][2] else ""
    names = (f"{head}{unit}", f"{head}, low", f"{head}, high")
    return [
        [name] * named + [own[place] if own else "" for own in found]
        for name, place in zip(names, (1, 3, 4), strict=True)
    ]


def table_latex(table: parts.Table) -> str:
    """Return a table as LaTeX to paste, for the packages booktabs and adjustbox.

    Long heads are broken, a first column of long names wraps, and what is still too wide is made smaller.
    """
    head, rows = table.in_plain_text()
    width = len(head or rows[0]) if head or rows else 1
    names = r"p{0.24\linewidth}" if max((len(row[0]) for row in rows), default=0) > _WIDE else "l"
    kinds = names + "".join("l" if place in table.words else "r" for place in range(1, width))
    lines = [r"% \usepackage{booktabs,adjustbox}", r"\begin{table}", r"\centering\footnotesize"]
    lines += [rf"\caption{{{_escape(parts.plain_text(table.caption or table.label))}}}"]
    lines += [r"\begin{adjustbox}{max width=\linewidth}", rf"\begin{{tabular}}{{{kinds}}}", r"\toprule"]
    if head:
        lines += [_line(map(_head, head)), r"\midrule"]
    lines += [*(_line(map(_escape, row)) for row in rows), r"\bottomrule", r"\end{tabular}"]
    return "\n".join([*lines, r"\end{adjustbox}", r"\end{table}"]) + "\n"


def _line(cells: Iterable[str]) -> str:
    return f"{' & '.join(cells)} {_BREAK}"


def _head(text: str) -> str:
    lines = textwrap.wrap(text, _LONG_HEAD, break_long_words=False, break_on_hyphens=False)
    return rf"\shortstack{{{_BREAK.join(map(_escape, lines))}}}" if len(lines) > 1 else _escape(text)


def _escape(text: str) -> str:
    return "".join(_ESCAPED.get(letter, letter) for letter in text)
