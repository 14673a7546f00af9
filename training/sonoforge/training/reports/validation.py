"""Write ``report.html`` of ``validate``: how a finished bundle does on images from elsewhere, and where it fails."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from markupsafe import Markup
from sklearn.metrics import roc_curve

from sonoforge.runtime.cli.answer import say, tell
from sonoforge.runtime.images.decoding import read_image
from sonoforge.training.data.datasets import Dataset
from sonoforge.training.reports import blocks, charts, pictures, terminal, words
from sonoforge.training.statistics import calibration, intervals, tables
from sonoforge.training.statistics.results import Record, interval_text, share_text
from sonoforge.training.statistics.wording import bracket, counted, listed, number
from sonoforge.training.validation.figures import Answers, Meanings, at_own_shares, collapse, name_meaning

REPORT = "report.html"
_SHOWN = 12  # wrong scans that are shown of a collection
_SIDE = 300  # pixels of such a picture

_STYLE = """
.wrong { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 13rem), 1fr)); gap: 1.25rem; margin: 1rem 0; }
.wrong img { display: block; width: 100%; height: 11rem; object-fit: contain; background: #000; border-radius: 3px; }
.wrong figcaption { margin: .4rem 0 0; overflow-wrap: anywhere; }
.wrong small { display: block; color: var(--soft); }
"""  # noqa: E501 - a style sheet
WORDS = words.Words("validation")
_LEFT_OUT = {"trained_on": "trained this network, or are other versions of such images", "unreadable": "cannot be read"}
_NAMED = 3  # files that a line of the terminal names


@dataclass(frozen=True, eq=False)
class Answered:
    """A collection and what the bundle said about it."""

    dataset: Dataset
    answers: Answers
    meanings: Meanings
    classes: Sequence[str]  # of the bundle

    @cached_property
    def names(self) -> list[str]:
        """The K possible answers: the labels, then those that no label means."""
        return collapse(self.meanings, self.classes)[1]

    @cached_property
    def probabilities(self) -> intervals.Floats:
        """(N, K) probabilities of the answers."""
        return self.answers.probabilities @ collapse(self.meanings, self.classes)[0]


def write_report(folder: Path, results: Record, answered: Sequence[Answered]) -> Path:
    """Write ``FOLDER/report.html``, with collections in the order of the results; return its path."""
    both = list(zip(results["collections"], answered, strict=True))
    facts = [fact for figures, own in both for fact in _headline(figures, own)]
    page = blocks.Page(
        title=f"External validation of {results['model']['name']}",
        meta=f"sonoforge validate · {results['model']['name']} {results['model']['version']}",
        heading="How does this model do on images from elsewhere?",
        summary=[*[blocks.Facts(facts)] * bool(facts), WORDS.text("summary")],
        sections=[
            blocks.Section(f"collection-{place}", figures["name"], list(_blocks(figures, own)))
            for place, (figures, own) in enumerate(both, start=1)
        ],
        style=_STYLE,
    )
    return page.write(folder / REPORT)


def _headline(figures: Record, own: Answered) -> Iterator[blocks.Fact]:
    """Yield the area of the last two labels that occur; nothing if there is only one."""
    pairs = [kinds.name for kinds in tables.told_apart(own.answers.labels, own.names) if "the rest" not in kinds.name]
    if pairs:
        found = figures["auc"][pairs[-1]]
        ends = bracket(number(found["low"]), number(found["high"]))
        many = f"{counted(sum(figures['images'].values()), 'image')} in {counted(figures['groups'], 'group')}"
        yield blocks.Fact(f"{figures['name']}: AUC, {pairs[-1]}", number(found["value"]), f"95 % {ends}, {many}")


def _blocks(figures: Record, own: Answered) -> Iterator[blocks.Block]:
    yield WORDS.text("images", **_said(figures), accuracy=figures["accuracy"])
    for key, why in _LEFT_OUT.items():
        files = list(figures[key])
        if files:
            yield WORDS.text("left_out", images=counted(len(files), "image"), why=why, files=listed(files, 4))
    yield from label_tables(figures)
    yield blocks.Grid(list(_charts(figures, own)))
    yield from area_tables(figures)
    yield blocks.Heading("Does it know when not to answer?")
    flags: list[blocks.Block] = [*flag_tables(figures)]
    yield from flags or [blocks.Text("No cause was named for some of the images alone.")]
    yield blocks.Text(f"A prediction set has {number(figures['mean_set_size'], 2)} classes on average.")
    yield from _wrong_scans(own)


def _said(figures: Record) -> dict[str, str]:
    """Return in words how many images of each label, and how many groups, there are."""
    return {
        "images": counted(sum(figures["images"].values()), "image"),
        "counts": ", ".join(f"{n} {name_meaning(own, figures['labels'][own])}" for own, n in figures["images"].items()),
        "groups": counted(figures["groups"], "group"),
    }


def label_tables(figures: Record) -> list[blocks.Table]:
    """Show what the images of each label were called."""
    name, kinds = figures["name"], ("images", "sensitivity", "specificity", "coverage")
    rows = [
        {"meaning": name_meaning(own, figures["labels"][own])} | {kind: figures[kind][own] for kind in kinds}
        for own in figures["sensitivity"]
    ]
    confusion = zip(figures["images"], figures["confusion"], strict=True)
    return [
        WORDS.table("labels", rows, name=name),
        WORDS.table("answers", confusion, name=name, answers=figures["answers"]),
    ]


def area_tables(figures: Record) -> list[blocks.Table]:
    """Show how well labels are told apart: overall, at a fixed specificity, and on each device."""
    fixed = [(own, point) for own, points in figures["sensitivity_at"].items() for point in points]
    found: dict[str, Sequence[object]] = {
        "areas": list(figures["auc"].items()),
        "fixed": fixed,
        "devices": figures["devices"],
    }
    return [WORDS.table(key, rows, name=figures["name"]) for key, rows in found.items() if rows]


def flag_tables(figures: Record) -> list[blocks.Table]:
    """Show how often answers are wrong for images with each cause of distrust, if any."""
    rows = figures["flags"]
    return [WORDS.table("flags", rows, name=figures["name"], enough=calibration.ENOUGH)] if rows else []


def _charts(figures: Record, own: Answered) -> Iterator[blocks.Figure]:
    curves, areas = [], []
    for kinds in tables.told_apart(own.answers.labels, own.names):
        across, up, _ = roc_curve(kinds.positive, kinds.scores(own.probabilities[kinds.chosen]))
        area = number(figures["auc"][kinds.name]["value"])
        curves.append(charts.RocCurve(f"{kinds.name}, {area}", across, up))
        areas.append(f"{kinds.name}: area {area}")
    if curves:
        axes = "share of the second class called the first", "share of the first that is found"

        drawn = charts.roc_chart(curves, *axes, f"ROC curves of {figures['name']}. {'; '.join(areas)}")
        yield WORDS.figure("curves", drawn)
    columns, _ = collapse(own.meanings, own.classes)
    bins = calibration.reliability(own.answers.labels, at_own_shares(own.answers, columns), own.answers.groups)
    diagram = charts.reliability_diagram({"": bins}, f"the answers to {figures['name']}")
    yield WORDS.figure("reliability", diagram, ece=figures["ece"], brier=figures["brier"])


def _wrong_scans(own: Answered) -> Iterator[blocks.Block]:
    yield blocks.Heading("Scans that were answered wrongly")
    wrong = np.flatnonzero(own.probabilities.argmax(axis=1) != own.answers.labels)
    if not len(wrong):
        yield blocks.Text("None.")
        return
    surest = wrong[np.argsort(-own.probabilities[wrong].max(axis=1), kind="stable")][:_SHOWN]
    some = f", of which the {len(surest)} answered most surely are shown" if len(wrong) > len(surest) else ""
    yield WORDS.text("wrong", images=counted(len(wrong), "image"), some=some)
    yield blocks.Grid([_wrong_scan(own, index) for index in surest.tolist()], "wrong")


def _wrong_scan(own: Answered, index: int) -> blocks.Figure:
    file, truth, said = own.answers.files[index], int(own.answers.labels[index]), own.probabilities[index].argmax()
    alt = f"{file}, labelled {own.names[truth]}, called {own.names[said]}"
    causes = listed([cause.value for cause in own.answers.causes[index]]) or "no cause for doubt was named"
    about = Markup("{} called {}, {}<small>{}</small><small>{}</small>").format(
        blocks.label(own.names, truth),
        own.names[said],
        number(float(own.probabilities[index, said]), 2),
        causes,
        file,
    )
    return blocks.Figure("", about, pictures.embed(read_image(own.dataset.file(file)), _SIDE, alt), below=True)


_IMAGES = 1  # column that the report alone has


def log_collection(figures: Record) -> None:
    """Print a collection's figures, and what was left out."""
    say("")
    tell(f"{figures['name']}: {_said(figures)['counts']}; {figures['groups']} groups (95 % intervals by group)")
    for key, why in _LEFT_OUT.items():
        left_out: dict[str, str] = figures[key]
        if left_out:
            first = "; ".join(f"{file} ({reason})" for file, reason in list(left_out.items())[:_NAMED])
            tell(f"LEFT OUT: {len(left_out)} images {why}: {first}")
    accuracy, ece, size = share_text(figures["accuracy"]), interval_text(figures["ece"]), figures["mean_set_size"]
    tell(f"accuracy {accuracy}, ECE at these shares of labels {ece}, {size:.2f} classes in a set")
    labels, *others = label_tables(figures)
    say("%s", terminal.table_text(labels, without=(_IMAGES,)))  # which are counted above
    for table in (*others, *area_tables(figures), *flag_tables(figures)):
        say("%s", terminal.table_text(table))
