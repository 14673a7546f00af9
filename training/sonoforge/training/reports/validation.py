"""``report.html`` of ``validate``: how a finished bundle does on images from elsewhere, and where it fails.

The page prints the results it is given and computes no figure of its own; curves are drawn from the answers.
"""

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
from sonoforge.training.reports import blocks, charts
from sonoforge.training.reports.pictures import embed
from sonoforge.training.reports.terminal import table_text
from sonoforge.training.reports.texts import read_texts
from sonoforge.training.statistics.calibration import reliability
from sonoforge.training.statistics.flagged import ENOUGH
from sonoforge.training.statistics.intervals import Floats
from sonoforge.training.statistics.results import Record, interval_text, share_text
from sonoforge.training.statistics.tables import told_apart
from sonoforge.training.statistics.wording import bracket, counted, listed, number, share
from sonoforge.training.validation.collections import Meanings, name_meaning
from sonoforge.training.validation.figures import Answers, at_own_shares, collapse

REPORT = "report.html"
_SHOWN = 12  # wrong scans that are shown of a collection
_SIDE = 300  # pixels of such a picture
_STYLE = """
.wrong { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 13rem), 1fr)); gap: 1.25rem; margin: 1rem 0; }
.wrong img { display: block; width: 100%; height: 11rem; object-fit: contain; background: #000; border-radius: 3px; }
.wrong figcaption { margin: .4rem 0 0; overflow-wrap: anywhere; }
.wrong small { display: block; color: var(--soft); }
"""  # noqa: E501 - a style sheet
TEXTS = read_texts("validation")
_LEFT_OUT = {"trained_on": "were trained on, or are other versions of such images", "unreadable": "cannot be read"}


@dataclass(frozen=True, eq=False)
class Answered:
    """A collection and what the bundle said of it."""

    dataset: Dataset
    answers: Answers
    meanings: Meanings
    classes: Sequence[str]  # of the bundle

    @cached_property
    def names(self) -> list[str]:
        """The K possible answers: the labels, then what no label means."""
        return collapse(self.meanings, self.classes)[1]

    @cached_property
    def probabilities(self) -> Floats:
        """(N, K) probabilities of the answers."""
        return self.answers.probabilities @ collapse(self.meanings, self.classes)[0]


def write_report(folder: Path, results: Record, answered: Sequence[Answered]) -> Path:
    """Write ``FOLDER/report.html`` and return its path.

    Args:
        folder: Of the run.
        results: All figures.
        answered: The collections in the order of the results.
    """
    both = list(zip(results["collections"], answered, strict=True))
    facts = [fact for figures, own in both for fact in _headline(figures, own)]
    page = blocks.Page(
        title=f"External validation of {results['model']['name']}",
        meta=f"sonoforge validate · {results['model']['name']} {results['model']['version']}",
        heading="How does this model do on images from elsewhere?",
        summary=[*[blocks.Facts(facts)] * bool(facts), blocks.Text(TEXTS["summary"])],
        sections=[
            blocks.Section(f"collection-{place}", figures["name"], list(_blocks(figures, own)))
            for place, (figures, own) in enumerate(both, start=1)
        ],
        style=_STYLE,
    )
    return page.write(folder / REPORT)


def _headline(figures: Record, own: Answered) -> Iterator[blocks.Fact]:
    """Yield the area of the last two labels that occur; nothing where there is one label alone."""
    pairs = [kinds.name for kinds in told_apart(own.answers.labels, own.names) if "the rest" not in kinds.name]
    if pairs:
        found = figures["auc"][pairs[-1]]
        ends = bracket(number(found["low"]), number(found["high"]))
        many = f"{counted(sum(figures['images'].values()), 'image')} in {counted(figures['groups'], 'group')}"
        yield blocks.Fact(f"{figures['name']}: AUC, {pairs[-1]}", number(found["value"]), f"95 % {ends}, {many}")


def _blocks(figures: Record, own: Answered) -> Iterator[blocks.Block]:
    labels = figures["labels"]
    counts = ", ".join(f"{count} {name_meaning(own, labels[own])}" for own, count in figures["images"].items())
    images, groups = counted(sum(figures["images"].values()), "image"), counted(figures["groups"], "group")
    accuracy = blocks.interval(figures["accuracy"])
    yield blocks.Text(TEXTS["images"].format(images=images, counts=counts, groups=groups, accuracy=accuracy))
    for key, why in _LEFT_OUT.items():
        files = list(figures[key])
        if files:
            left = counted(len(files), "image")
            yield blocks.Text(TEXTS["left_out"].format(images=left, why=why, files=listed(files, 4)))
    yield from label_tables(figures)
    yield blocks.Grid(list(_charts(figures, own)))
    yield from area_tables(figures)
    yield blocks.Heading("Does it know when not to answer?")
    flags: list[blocks.Block] = [*flag_tables(figures)]
    yield from flags or [blocks.Text("No cause was named for some of the images alone.")]
    yield blocks.Text(f"A prediction set has {number(figures['mean_set_size'], 2)} classes on average.")
    yield from _wrong_scans(own)


def label_tables(figures: Record) -> Iterator[blocks.Table]:
    """Yield what the images of each label were called."""
    name, images = figures["name"], figures["images"]
    kinds = ("sensitivity", "specificity", "coverage")
    rows = [
        (
            name_meaning(own, figures["labels"][own]),
            images[own],
            *(blocks.interval(figures[kind][own]) for kind in kinds),
        )
        for own in figures["sensitivity"]
    ]
    head = ("label", "images", "sensitivity", "specificity", "coverage of the sets")
    yield blocks.Table(f"Labels of {name}", head, rows, TEXTS["labels"].format(name=name))
    confusion = [(own, *counts) for own, counts in zip(images, figures["confusion"], strict=True)]
    called = f"{name}: what the images of each label were called."
    yield blocks.Table(f"Answers to {name}", ("label", *figures["answers"]), confusion, called)


def area_tables(figures: Record) -> Iterator[blocks.Table]:
    """Yield how well labels are told apart: everywhere, at a fixed specificity, and on each device."""
    name = figures["name"]
    pairs = [(pair, blocks.area(found)) for pair, found in figures["auc"].items()]
    if pairs:
        caption = f"{name}: area under the ROC curve; 95 % intervals by group."
        yield blocks.Table(f"Areas of {name}", ("classes", "AUC"), pairs, caption)
    fixed = [
        (own, share(point["aim"], 0), blocks.interval(point["sensitivity"]), blocks.interval(point["specificity"]))
        for own, points in figures["sensitivity_at"].items()
        for point in points
    ]
    if fixed:
        head = ("label", "aim", "sensitivity", "specificity reached")
        caption = TEXTS["fixed"].format(name=name)
        yield blocks.Table(f"Sensitivity of {name} at fixed specificity", head, fixed, caption)
    devices = [
        (
            place["name"],
            ", ".join(f"{count}\u00a0{own}" for own, count in place["images"].items() if count),
            blocks.interval(place["accuracy"]),
            blocks.areas(place["auc"], "one label alone"),
        )
        for place in figures["devices"]
    ]
    if devices:
        caption = f"{name}: accuracy in percent and areas by device; 95 % intervals by group."
        yield blocks.Table(
            f"Devices of {name}", ("device", "images", "accuracy", "AUC"), devices, caption, words=(1, 3)
        )


def flag_tables(figures: Record) -> Iterator[blocks.Table]:
    """Yield how often the answers to images with each cause of distrust are wrong, if one was named."""
    name = figures["name"]
    rows = [
        (
            row["flag"],
            row["images"],
            blocks.interval(row["errors"]),
            blocks.interval(row["errors_of_others"]),
            blocks.ratio(row["ratio"]),
        )
        for row in figures["flags"]
    ]
    if rows:
        caption = TEXTS["flags"].format(name=name, enough=ENOUGH)
        head = ("cause", "images", "wrong", "wrong of the others", "ratio")
        yield blocks.Table(f"Causes of distrust in {name}", head, rows, caption)


def _charts(figures: Record, own: Answered) -> Iterator[blocks.Figure]:
    curves, areas = [], []
    for kinds in told_apart(own.answers.labels, own.names):
        across, up, _ = roc_curve(kinds.positive, kinds.scores(own.probabilities[kinds.chosen]))
        area = number(figures["auc"][kinds.name]["value"])
        curves.append(charts.RocCurve(f"{kinds.name}, {area}", across, up))
        areas.append(f"{kinds.name}: area {area}")
    if curves:
        axes = "share of the second class called the first", "share of the first that is found"
        drawn = charts.roc_chart(curves, *axes, f"ROC curves of {figures['name']}. {'; '.join(areas)}")
        yield blocks.Figure("How well two classes are told apart", TEXTS["curves"], drawn)
    columns, _ = collapse(own.meanings, own.classes)
    bins = reliability(own.answers.labels, at_own_shares(own.answers, columns), own.answers.groups)
    yield blocks.Figure(
        "Can the probability be believed?",
        TEXTS["reliability"].format(ece=blocks.area(figures["ece"]), brier=number(figures["brier"])),
        charts.reliability_diagram({"": bins}, f"the answers to {figures['name']}"),
    )


def _wrong_scans(own: Answered) -> Iterator[blocks.Block]:
    yield blocks.Heading("Scans that were answered wrongly")
    wrong = np.flatnonzero(own.probabilities.argmax(axis=1) != own.answers.labels)
    if not len(wrong):
        yield blocks.Text("None.")
        return
    surest = wrong[np.argsort(-own.probabilities[wrong].max(axis=1), kind="stable")][:_SHOWN]
    some = f", of which the {len(surest)} answered most surely are shown" if len(wrong) > len(surest) else ""
    yield blocks.Text(TEXTS["wrong"].format(images=counted(len(wrong), "image"), some=some))
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
    return blocks.Figure("", about, embed(read_image(own.dataset.file(file)), _SIDE, alt), below=True)


_IMAGES = 1  # column that the report alone has
_NAMED = 3  # files that a line names
_LEFT_OUT = {"unreadable": "cannot be read", "trained_on": "were trained on, or other versions of them"}


def log_collection(figures: Record) -> None:
    """Print the figures of one collection and what of it was left out."""
    say("")
    counts = ", ".join(
        f"{count} {name_meaning(label, figures['labels'][label])}" for label, count in figures["images"].items()
    )
    tell(f"{figures['name']}: {counts}; {figures['groups']} groups (95 % intervals by group)")
    for key, why in _LEFT_OUT.items():
        left_out: dict[str, str] = figures[key]
        if left_out:
            first = "; ".join(f"{file} ({reason})" for file, reason in list(left_out.items())[:_NAMED])
            tell(f"LEFT OUT: {len(left_out)} images {why}: {first}")
    accuracy, ece, size = share_text(figures["accuracy"]), interval_text(figures["ece"]), figures["mean_set_size"]
    tell(f"accuracy {accuracy}, ECE at these shares of labels {ece}, {size:.2f} classes in a set")
    labels, *others = label_tables(figures)
    say("%s", table_text(labels, without=(_IMAGES,)))  # which are counted above
    for table in (*others, *area_tables(figures), *flag_tables(figures)):
        say("%s", table_text(table))
