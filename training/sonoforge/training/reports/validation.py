"""``report.html`` of ``validate``: how a finished bundle does on images from elsewhere, and where it fails."""

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
from sonoforge.training.reports.words import Words
from sonoforge.training.statistics.calibration import reliability
from sonoforge.training.statistics.flagged import ENOUGH
from sonoforge.training.statistics.intervals import Floats
from sonoforge.training.statistics.results import interval_text, share_text
from sonoforge.training.statistics.tables import told_apart
from sonoforge.training.statistics.wording import bracket, counted, listed, number
from sonoforge.training.validation import robustness
from sonoforge.training.validation.collections import Meanings, name_meaning
from sonoforge.training.validation.figures import Answers, Collection, Robustness, Validation, at_own_shares, collapse

REPORT = "report.html"
_SHOWN = 12  # wrong scans that are shown of a collection
_SIDE = 300  # pixels of such a picture

_SIZES = (5, 8, 11)  # points, of the marks of a weak, a middle and a strong disturbance
_STYLE = """
.wrong { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 13rem), 1fr)); gap: 1.25rem; margin: 1rem 0; }
.wrong img { display: block; width: 100%; height: 11rem; object-fit: contain; background: #000; border-radius: 3px; }
.wrong figcaption { margin: .4rem 0 0; overflow-wrap: anywhere; }
.wrong small { display: block; color: var(--soft); }
"""  # noqa: E501 - a style sheet
WORDS = Words("validation")
_LEFT_OUT = {"trained_on": "were trained on, or are other versions of such images", "unreadable": "cannot be read"}
_NAMED = 3  # files that a line of the terminal names


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


def write_report(folder: Path, results: Validation, answered: Sequence[Answered]) -> Path:
    """Write ``FOLDER/report.html``, of collections in the order of the results, and return its path."""
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


def _headline(figures: Collection, own: Answered) -> Iterator[blocks.Fact]:
    """Yield the area of the last two labels that occur; nothing where there is one label alone."""
    pairs = [kinds.name for kinds in told_apart(own.answers.labels, own.names) if "the rest" not in kinds.name]
    if pairs:
        found = figures["auc"][pairs[-1]]
        ends = bracket(number(found["low"]), number(found["high"]))
        many = f"{counted(sum(figures['images'].values()), 'image')} in {counted(figures['groups'], 'group')}"
        yield blocks.Fact(f"{figures['name']}: AUC, {pairs[-1]}", number(found["value"]), f"95 % {ends}, {many}")


def _blocks(figures: Collection, own: Answered) -> Iterator[blocks.Block]:
    yield WORDS.text("images", **_said(figures), accuracy=figures["accuracy"])
    for key, why in _LEFT_OUT.items():
        files = list(figures[key])  # type: ignore[literal-required]
        if files:
            yield WORDS.text("left_out", images=counted(len(files), "image"), why=why, files=listed(files, 4))
    yield from label_tables(figures)
    yield blocks.Grid(list(_charts(figures, own)))
    yield from area_tables(figures)
    yield blocks.Heading("Does it know when not to answer?")
    flags: list[blocks.Block] = [*flag_tables(figures)]
    yield from flags or [blocks.Text("No cause was named for some of the images alone.")]
    yield blocks.Text(f"A prediction set has {number(figures['mean_set_size'], 2)} classes on average.")
    if figures["robustness"]:
        yield from _disturbed(figures["name"], figures["robustness"])
    yield from _wrong_scans(own)


def _said(figures: Collection) -> dict[str, str]:
    """Return how many images, of each label, and groups there are, in words."""
    return {
        "images": counted(sum(figures["images"].values()), "image"),
        "counts": ", ".join(f"{n} {name_meaning(own, figures['labels'][own])}" for own, n in figures["images"].items()),
        "groups": counted(figures["groups"], "group"),
    }


def label_tables(figures: Collection) -> list[blocks.Table]:
    """Show what the images of each label were called."""
    name, kinds = figures["name"], ("images", "sensitivity", "specificity", "coverage")
    rows = [
        {"meaning": name_meaning(own, figures["labels"][own])} | {kind: figures[kind][own] for kind in kinds}  # type: ignore[literal-required]
        for own in figures["sensitivity"]
    ]
    confusion = zip(figures["images"], figures["confusion"], strict=True)
    return [
        WORDS.table("labels", rows, name=name),
        WORDS.table("answers", confusion, name=name, answers=figures["answers"]),
    ]


def area_tables(figures: Collection) -> list[blocks.Table]:
    """Show how well labels are told apart: everywhere, at a fixed specificity, and on each device."""
    fixed = [(own, point) for own, points in figures["sensitivity_at"].items() for point in points]
    found: dict[str, Sequence[object]] = {
        "areas": list(figures["auc"].items()),
        "fixed": fixed,
        "devices": figures["devices"],
    }
    return [WORDS.table(key, rows, name=figures["name"]) for key, rows in found.items() if rows]


def flag_tables(figures: Collection) -> list[blocks.Table]:
    """Show how often the answers to images with each cause of distrust are wrong, if one was named."""
    rows = figures["flags"]
    return [WORDS.table("flags", rows, name=figures["name"], enough=ENOUGH)] if rows else []


def _charts(figures: Collection, own: Answered) -> Iterator[blocks.Figure]:
    curves, areas = [], []
    for kinds in told_apart(own.answers.labels, own.names):
        across, up, _ = roc_curve(kinds.positive, kinds.scores(own.probabilities[kinds.chosen]))
        area = number(figures["auc"][kinds.name]["value"])
        curves.append(charts.RocCurve(f"{kinds.name}, {area}", across, up))
        areas.append(f"{kinds.name}: area {area}")
    if curves:
        axes = "share of the second class called the first", "share of the first that is found"

        drawn = charts.roc_chart(curves, *axes, f"ROC curves of {figures['name']}. {'; '.join(areas)}")
        yield WORDS.figure("curves", drawn)
    columns, _ = collapse(own.meanings, own.classes)
    bins = reliability(own.answers.labels, at_own_shares(own.answers, columns), own.answers.groups)
    diagram = charts.reliability_diagram({"": bins}, f"the answers to {figures['name']}")
    yield WORDS.figure("reliability", diagram, ece=figures["ece"], brier=figures["brier"])


def _disturbed(name: str, found: Robustness) -> Iterator[blocks.Block]:
    yield blocks.Heading("Disturbed scans")
    yield WORDS.text("disturbed", found=found)
    yield blocks.Grid([WORDS.figure("falls", _draw_robustness(found, name))])
    yield disturbed_table(name, found)


def disturbed_table(name: str, found: Robustness) -> blocks.Table:
    """Show how far the AUC falls under each disturbance, and how often the scan is called foreign or poor."""
    return WORDS.table("disturbances", found["disturbed"], name=name, kinds=robustness.DISTURBANCES)


@charts.styled
def _draw_robustness(found: Robustness, title: str) -> Markup:
    """Draw the change of the AUC under each disturbance; larger marks are stronger ones."""
    kinds = list(dict.fromkeys(row["kind"] for row in found["disturbed"]))
    titles = {kind: robustness.DISTURBANCES[kind].title for kind in kinds}
    figure, axes, heights = charts.new_row_chart(list(titles.values()), "change of the AUC")
    for kind, height in zip(kinds, heights, strict=True):
        changes = [row["change"]["value"] for row in found["disturbed"] if row["kind"] == kind]
        axes.plot(changes, [height] * len(changes), "-", color=charts.SERIES[0], linewidth=1, alpha=0.5)
        for change, size in zip(changes, _SIZES, strict=False):
            axes.plot(change, height, "o", color=charts.SERIES[0], markersize=size)
    axes.axvline(0, color=charts.INK, linewidth=1.2, zorder=0.5)
    worst = min(found["disturbed"], key=lambda row: row["change"]["value"])
    said = f"the largest fall is {number(worst['change']['value'])}, under {titles[worst['kind']]}"
    return charts.svg(figure, f"Change of the AUC on disturbed images of {title}: {said}")


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
    return blocks.Figure("", about, embed(read_image(own.dataset.file(file)), _SIDE, alt), below=True)


_IMAGES, _AUC = 1, 2  # columns that the report alone has


def log_collection(figures: Collection) -> None:
    """Print the figures of one collection, what of it was left out, and how far it falls when disturbed."""
    say("")
    tell(f"{figures['name']}: {_said(figures)['counts']}; {figures['groups']} groups (95 % intervals by group)")
    for key, why in _LEFT_OUT.items():
        left_out: dict[str, str] = figures[key]  # type: ignore[literal-required]
        if left_out:
            first = "; ".join(f"{file} ({reason})" for file, reason in list(left_out.items())[:_NAMED])
            tell(f"LEFT OUT: {len(left_out)} images {why}: {first}")
    accuracy, ece, size = share_text(figures["accuracy"]), interval_text(figures["ece"]), figures["mean_set_size"]
    tell(f"accuracy {accuracy}, ECE at these shares of labels {ece}, {size:.2f} classes in a set")
    labels, *others = label_tables(figures)
    say("%s", table_text(labels, without=(_IMAGES,)))  # which are counted above
    for table in (*others, *area_tables(figures), *flag_tables(figures)):
        say("%s", table_text(table))
    found = figures["robustness"]
    if found:
        clean, noticed = interval_text(found["auc"]), share_text(found["noticed"])
        tell(
            f"{found['images']} of these images, disturbed; AUC of {found['pair']} as they are {clean}, "
            f"{noticed} called foreign or poor; below, its change and how many are called so (the report has each "
            "AUC):"
        )
        say("%s", table_text(disturbed_table(figures["name"], found), without=(_AUC,)))
