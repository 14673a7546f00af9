"""Say how a finished bundle does on images from elsewhere, and where it fails: ``report.html``, and the terminal.

All but the charts is made with the base install, as clinics validate.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sonoforge.runtime.atomic import write_text
from sonoforge.runtime.cli.answer import printable, say, tell, tell_table
from sonoforge.runtime.errors import install_extra
from sonoforge.runtime.images.decoding import read_image
from sonoforge.runtime.pages.cards import address, page
from sonoforge.training.data.datasets import Dataset
from sonoforge.training.statistics import calibration, intervals, tables
from sonoforge.training.statistics.results import Interval, Record, interval_text
from sonoforge.training.statistics.wording import counted, listed, number, points, share, with_ends
from sonoforge.training.validation.figures import Answers, at_own_shares, name_meaning

REPORT = "report.html"
THOROUGH, AT_ONCE = "thorough", "at once"
"""How training images and repeated scans were searched for."""
_SHOWN = 12  # wrong scans that are shown of a collection
_SIDE = 300  # pixels of such a picture
_NAMED = 3  # files that a line names
_LEFT_OUT = {"trained_on": "trained this network, or are other versions of such images", "unreadable": "cannot be read"}
_WORDS = json.loads((Path(__file__).parent / "wording" / "validation.json").read_text(encoding="utf-8"))


class Answered(NamedTuple):
    """A collection and what the bundle said about it."""

    dataset: Dataset
    answers: Answers
    columns: intervals.Floats  # (C, K) sums that give the answers' probabilities, see `collapse`
    names: Sequence[str]  # the K possible answers: the labels, then those that no label means
    probabilities: intervals.Floats  # (N, K) of the answers


def sentences(figures: Record) -> Iterator[str]:
    """Yield what must be known before the tables: how many images, what was left out, and how it was searched."""
    counts = ", ".join(f"{n} {name_meaning(own, figures['labels'][own])}" for own, n in figures["images"].items())
    yield f"{figures['name']}: {counts}; {figures['groups']} groups of patients and near-duplicates"
    for key, why in _LEFT_OUT.items():
        left_out: dict[str, str] = figures[key]
        if left_out:
            first = "; ".join(f"{file} ({reason})" for file, reason in list(left_out.items())[:_NAMED])
            yield f"LEFT OUT: {len(left_out)} images {why}: {first}"
    if figures["search"] != THOROUGH:
        yield _WORDS["at once"]
        yield f"    {install_extra('train')}"
    yield (
        f"accuracy {_percent(figures['accuracy'])}, calibration error at these shares {_area(figures['ece'])}, "
        f"Brier score {number(figures['brier'])}, {figures['mean_set_size']:.2f} classes in a set"
    )


class Table(NamedTuple):
    """A table: its first column names the rows, the others hold figures."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def tables_of(figures: Record) -> Iterator[Table]:
    """Yield the tables of a collection that have rows, as declared in ``wording/validation.json``."""
    auc: dict[str, Interval] = figures["auc"]
    called = zip(figures["images"], figures["confusion"], strict=True)
    devices = [{**own, "count": sum(own["images"].values()), **own["auc"]} for own in figures["devices"]]
    kinds = ("sensitivity", "specificity", "coverage")
    rows: dict[str, list[Record]] = {
        "labels": [
            {"meaning": name_meaning(own, figures["labels"][own]), **{kind: figures[kind][own] for kind in kinds}}
            for own in figures["sensitivity"]
        ],
        "answers": [{"label": own, **dict(zip(figures["answers"], counts, strict=True))} for own, counts in called],
        "areas": [{"name": own, "auc": area} for own, area in auc.items()],
        "fixed": [{"name": own, **point} for own, found in figures["sensitivity_at"].items() for point in found],
        "devices": devices,
        "flags": figures["flags"],
    }
    more = {"answers": {name: f"text {name}" for name in ("label", *figures["answers"])}}
    more["devices"] = {pair: f"area {pair}" for pair in auc}
    for key, declared in _WORDS["tables"].items():
        columns = declared.get("columns", {}) | more.get(key, {})
        cells = [[_cell(row, column) for column in columns.values()] for row in rows[key]]
        if cells:
            yield Table(declared["caption"].format(**figures, enough=calibration.ENOUGH), [*columns], cells)


def _cell(row: Record, column: str) -> str:
    form, _, key = column.partition(" ")
    return _FORMS[form](row[key]) if key in row else "-"


def _percent(figure: Interval) -> str:
    return with_ends(share(figure["value"]), points(figure["low"], sign=""), points(figure["high"], sign=""))


def _area(figure: Interval) -> str:
    return with_ends(*(number(figure[end]) for end in ("value", "low", "high")))


_FORMS: Mapping[str, Callable[[Any], str]] = {
    "text": str,
    "percent": _percent,
    "area": _area,
    "share": lambda value: share(value, 0),
    "ratio": lambda figure: interval_text(figure, ".1f") if figure else "cannot be computed",
}


def log_collection(figures: Record) -> None:
    """Print a collection's figures, and what was left out."""
    say("")
    for sentence in sentences(figures):
        if sentence[0] == " ":  # a command
            say("%s", sentence)
        else:
            tell(sentence)
    for table in tables_of(figures):
        say("")
        tell_table([table.head, *table.rows])


# ---- the page


def write_report(folder: Path, results: Record, answered: Sequence[Answered]) -> Path:
    """Write ``FOLDER/report.html``, with collections in the order of the results; return its path."""
    name, version = results["model"]["name"], results["model"]["version"]
    both = zip(results["collections"], answered, strict=True)
    head = f'<p class="meta">{_text(f"External validation of {name} {version}")}</p><p>{_text(_WORDS["summary"])}</p>'
    body = "".join(part for figures, own in both for part in _parts(figures, own))
    write_text(folder / REPORT, page("How does this model do on images from elsewhere?", "", head, body, "validate"))
    return folder / REPORT


def _parts(figures: Record, own: Answered) -> Iterator[str]:
    yield f"<section><h2>{_text(figures['name'])}</h2>"
    for sentence in sentences(figures):
        tag = "pre" if sentence[0] == " " else "p class=use" if sentence[:8].isupper() else "p"
        yield f"<{tag}>{_text(sentence.strip())}</{tag.partition(' ')[0]}>"
    yield from _charts(figures, own)
    yield from map(_table, tables_of(figures))
    wrong = np.flatnonzero(own.probabilities.argmax(axis=1) != own.answers.labels)
    if len(wrong):
        surest = wrong[np.argsort(-own.probabilities[wrong].max(axis=1), kind="stable")][:_SHOWN]
        some = f", of which the {len(surest)} answered most surely are shown" if len(wrong) > len(surest) else ""
        yield f"<p>{_WORDS['wrong'].format(images=counted(len(wrong), 'image'), some=some)}</p>"
        yield f'<div class="gallery">{"".join(_wrong_scan(own, index) for index in surest.tolist())}</div>'
    yield "</section>"


def _text(value: str) -> str:
    """Escape text from elsewhere, and keep spaces that do not break."""
    return escape(printable(value))


def _table(table: Table) -> str:
    def line(cells: Sequence[str], tag: str, scope: str) -> str:
        first, *figures = (re.sub(r" (\[.+])$", r' <span class="ci">\1</span>', _text(cell)) for cell in cells)
        each = zip(map(_text, table.head[1:]), figures, strict=True)
        others = (f'<{tag} class="n" data-column="{head}"><span>{cell}</span></{tag[:2]}>' for head, cell in each)
        return f'<tr><th scope="{scope}">{first}</th>{"".join(others)}</tr>'

    rows, caption = "".join(line(row, "td", "row") for row in table.rows), _text(table.caption)
    look = "stack" if len(table.head) > 2 else ""  # a list on a phone
    return (
        f'<div class="scroll" role="region" aria-label="{caption}" tabindex="0"><table class="{look}"><caption><span>'
        f"{caption}</span></caption><thead>{line(table.head, 'th scope=col', 'col')}</thead><tbody>{rows}</tbody>"
        "</table></div>"
    )


def _charts(figures: Record, own: Answered) -> Iterator[str]:
    """Yield the ROC curves and the reliability diagram where they can be drawn, see `sentences`."""
    if figures["search"] != THOROUGH:
        return
    from sklearn.metrics import roc_curve  # noqa: PLC0415 - and matplotlib, of the extra

    from sonoforge.training.reports import charts  # noqa: PLC0415

    curves = []
    for kinds in tables.told_apart(own.answers.labels, own.names):
        across, up, _ = roc_curve(kinds.positive, kinds.scores(own.probabilities[kinds.chosen]))
        curves.append(charts.RocCurve(f"{kinds.name}, {number(figures['auc'][kinds.name]['value'])}", across, up))
    yield '<div class="grid">'
    if curves:
        axes = "share of the second class called the first", "share of the first that is found"
        names = "; ".join(curve.name for curve in curves)
        yield _figure("curves", charts.roc_chart(curves, *axes, f"ROC curves of {figures['name']}. {names}"))
    bins = calibration.reliability(own.answers.labels, at_own_shares(own.answers, own.columns), own.answers.groups)
    yield _figure("reliability", charts.reliability_diagram({"": bins}, f"the answers to {figures['name']}"))
    yield "</div>"


def _figure(key: str, drawn: str) -> str:
    return f"<figure><figcaption>{_WORDS[key]}</figcaption>{drawn}</figure>"


def _wrong_scan(own: Answered, index: int) -> str:
    file, truth, said = own.answers.files[index], int(own.answers.labels[index]), own.probabilities[index].argmax()
    label, called = own.names[truth], own.names[said]
    causes = listed([cause.value for cause in own.answers.causes[index]]) or "no cause for doubt was named"
    about = _text(f"{label} called {called}, {number(float(own.probabilities[index, said]), 2)}")
    about += "".join(f"<small>{_text(line)}</small>" for line in (causes, file))
    alt, shown = _text(f"{file}, labelled {label}, called {called}"), address(read_image(own.dataset.file(file)), _SIDE)
    return f'<figure><img src="{shown}" alt="{alt}" loading="lazy"><figcaption>{about}</figcaption></figure>'
