"""Write ``report.html`` of ``gan search`` after each trial: what was found, and what it is worth."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib.figure
import numpy as np
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from sonoforge.runtime.cli.answer import say, tell
from sonoforge.runtime.cli.options import format_value
from sonoforge.training.architecture_search.study import DIVERGED, Trial, ranked
from sonoforge.training.architecture_search.trial import METRICS, Searched, trial_folder
from sonoforge.training.reports import blocks, charts, files, pictures, terminal, words
from sonoforge.training.statistics.wording import counted, duration, figure

REPORT = "report.html"
WORDS = words.Words("search")
TABLE = "trials.csv"
SHOWN = 4  # trials whose samples are shown
REFRESH = 20  # seconds after which a browser loads the page of a search that is under way again
_SIDE = 640  # pixels of a grid of samples, at most
_PARENTS = ("parent", "heir_of")
_STYLE = ".sheet img { width: 100%; image-rendering: pixelated; }"
_BOX, _SCATTER = 7.0, 5.0  # points, up and down from a row's middle: half a box, and how far marks are moved apart
_FAR = 4.0  # interquartile ranges over the third quartile: what lies beyond would squeeze all others together


@dataclasses.dataclass(frozen=True)
class About:
    """What the page says about a search besides its trials."""

    searched: str  # `settings` or `cells`
    metric: str  # `kid` or `fid`
    method: str  # how trials are chosen and given up, a sentence
    remark: str = ""  # more to mind, a sentence
    name: str = ""  # of the data
    held_out: int = 0  # images that the metric is measured against
    apart: int = 0  # images that no trial reads
    trained: int = 0  # images trained on
    features: str = ""  # feature space of the metric
    budget: str = ""  # of a trial, in words


def write_report(
    folder: Path, searched: Sequence[Searched], about: About, command: str = "", finished: bool = True
) -> Path:
    """Write ``report.html`` and return its path; at the end also its tables and charts as files.

    ``command`` trains what all studies found together; it is empty if each has its own.
    """
    sections = [blocks.Section(f"study-{own.name}", own.name, list(_blocks(folder, own, about))) for own in searched]
    if len(searched) > 1 and about.searched == "settings":
        sections.insert(0, blocks.Section("spread", "How far do trials spread?", list(_spread(searched, about))))
    if command:
        sections.append(blocks.Section("train", "Train the best pair", [WORDS.text("for_longer"), _typed(command)]))
    page = blocks.Page(
        title=f"{about.searched.title()} searched for {about.name}",
        meta=f"sonoforge gan search · {about.name}{'' if finished else ' · under way, the page loads itself again'}",
        heading=f"Which {about.searched} give the lowest {about.metric.upper()}?",
        summary=[
            blocks.Facts(list(_facts(searched, about))),
            WORDS.text("warnings", about=about),
        ],
        sections=sections,
        made=WORDS("made", table=TABLE),
        style=_STYLE,
        refresh=0 if finished else REFRESH,
    )
    return files.write_with_files(page, folder / REPORT) if finished else page.write(folder / REPORT)


def _typed(command: str) -> Markup:
    return Markup("<pre>{}</pre>").format(command)


def _facts(searched: Sequence[Searched], about: About) -> Iterator[blocks.Fact]:
    for own in searched:
        if own.best is None:
            yield blocks.Fact(own.name, "none", "no trial was measured")
            continue
        apart = f"; {figure(own.apart[about.metric])} against images that chose nothing" if own.apart else ""
        what = f"best of {counted(len(own.ended), 'trial')}, so optimistic{apart}"
        yield blocks.Fact(f"{own.name}: lowest {about.metric.upper()}", figure(own.best.metric), what)
    seconds = sum(trial.details.get("seconds") or 0.0 for own in searched for trial in own.ended)
    if seconds:
        yield blocks.Fact("Training time", duration(seconds), "of all trials together, one after the other")


def _spread(searched: Sequence[Searched], about: About) -> Iterator[blocks.Block]:
    yield WORDS.text("spread", measured=WORDS("measured", about=about))
    figures = []
    for name in METRICS:
        drawn = charts.svg(draw_spread(searched, name), f"{name.upper()} by study")
        figures.append(WORDS.figure("of_each_study", drawn, name=name))
    yield blocks.Grid(figures)


def _blocks(folder: Path, own: Searched, about: About) -> Iterator[blocks.Block | Markup]:
    states = ", ".join(f"{count} {name}" for name, count in own.states.items()) or "none over yet"
    facts = {"states": states, "measured": WORDS("measured", about=about), "best": own.best}
    yield WORDS.text("found", own=own, tried=described(own, own.best) if own.best else "", **facts)
    if own.command:
        yield blocks.Text("Train with these settings, for longer if you like (--kimg):")
        yield _typed(own.command)
    parents = any(trial.values.get("parent") is not None for trial in own.ended)
    drawn = charts.svg(draw_history(own), f"Trials of {own.name}")
    yield blocks.Grid([WORDS.figure("history", drawn, parents=parents)])
    order = ranked(own.trials)
    yield blocks.Grid(list(_samples(folder, own, order)))
    yield WORDS.table("trials", order, own=own, format_value=format_value)  # best first


def described(own: Searched, trial: Trial) -> str:
    """Return what a trial tried, as typed."""
    names = [name for name in own.names if name in trial.values and name not in _PARENTS]
    return ", ".join(f"{name} {format_value(trial.values[name])}" for name in names)


def _samples(folder: Path, own: Searched, order: Sequence[Trial]) -> Iterator[blocks.Figure]:
    for trial in order[:SHOWN]:
        path = trial_folder(folder, own.name, trial.number) / "samples" / "latest.png"
        if path.is_file():
            tried = described(own, trial)
            picture = pictures.embed(path, _SIDE, f"Synthetic images of {own.name}, trial {trial.number}: {tried}")
            yield WORDS.figure("sample", picture, trial=trial, tried=tried, metric=own.metric.upper())


@charts.styled
def draw_spread(searched: Sequence[Searched], figure: str) -> matplotlib.figure.Figure:
    """Draw ``kid`` or ``fid`` of every complete trial by study, with quartiles: figure 1 of Thakur and Thakur."""
    values = [sorted(trial.details[figure] for trial in own.trials if trial.complete) for own in searched]
    labels = [
        f"{own.name}: {counted(len(found), 'complete trial')}" for own, found in zip(searched, values, strict=True)
    ]
    top, beyond = _top([value for found in values for value in found])
    label = f"{figure.upper()} at the end of a trial; lower is better"
    chart, axes, heights = charts.new_row_chart(
        labels, label + (f"\n({beyond} to the right, drawn at the edge)" if beyond else "")
    )
    for series, (found, height) in enumerate(zip(values, heights, strict=True)):
        if not found:
            continue
        own_colour = charts.colour(series)
        low, middle, high = np.minimum(np.percentile(found, [25, 50, 75]), top)
        axes.fill_betweenx([height - _BOX, height + _BOX], low, high, color=own_colour, alpha=0.2, linewidth=0)
        axes.plot([middle, middle], [height - _BOX, height + _BOX], color=own_colour, linewidth=2)
        # Neighbours in the order of values lie on different lines; the same values are drawn alike each time.
        moved = height + _SCATTER * np.resize([0, -1, 1], len(found))
        axes.plot(np.minimum(found, top), moved, charts.marker(series), color=own_colour, markersize=5.5, alpha=0.8)
    return chart


@charts.styled
def draw_history(own: Searched) -> matplotlib.figure.Figure:
    """Draw the trials in order, with a line from each one's parent, if any, and the best so far."""
    chart, axes = charts.new_chart(310)
    shown = {trial.number: trial.metric for trial in own.ended if trial.metric is not None}
    top, beyond = _top(list(shown.values()))
    heights = {number: min(value, top) for number, value in shown.items()}
    for trial in own.ended:
        parent = trial.values.get("parent")
        if isinstance(parent, int) and trial.number in heights and parent in heights:
            ends = [heights[parent], heights[trial.number]]
            axes.plot([parent, trial.number], ends, color=charts.LINE, linewidth=1.4, zorder=1)
    ancestors = [own.best.number] if own.best else []  # the best and its ancestors
    while ancestors and isinstance(parent := own.trials[ancestors[-1]].values.get("parent"), int):
        ancestors.append(parent)
    line = [number for number in reversed(ancestors) if number in heights]
    if len(line) > 1:
        label = "line of the best"
        axes.plot(line, [heights[at] for at in line], color=charts.INK, linewidth=1.8, zorder=2, label=label)
    complete = [trial.number for trial in own.ended if trial.complete and trial.number in heights]
    if complete and not line[1:]:
        lowest = np.minimum.accumulate([heights[number] for number in complete])
        steps = [*complete, own.ended[-1].number], [*lowest, lowest[-1]]
        axes.step(*steps, where="post", color=charts.INK, linewidth=1.4, label="lowest so far")
    axes.plot(complete, [heights[number] for number in complete], "o", color=charts.SERIES[0], label="came to its end")
    given_up = [number for number in heights if number not in complete]
    if given_up:
        label = "given up, at its last measurement"
        values = [heights[number] for number in given_up]
        axes.plot(given_up, values, "s", label=label, mfc=charts.PAPER, mec=charts.SERIES[1], mew=1.4)
    diverged = [trial.number for trial in own.ended if trial.state == DIVERGED]
    for number in diverged:
        label = "diverged" if number == diverged[0] else "_"
        axes.axvline(number, color=charts.SOFT, linewidth=1, linestyle=(0, (2, 3)), label=label)
    note = f" ({beyond} above the picture, drawn at its edge)" if beyond else ""
    axes.set(xlabel=f"trial{note}", ylabel=own.metric.upper(), xlim=(-0.6, max(own.total, 2) - 0.4))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    chart.legend(loc="outside lower left", ncols=2)
    return chart


def _top(values: Sequence[float]) -> tuple[float, int]:
    """Return where to cut off values far above all others, and how many they are."""
    if len(values) < 4:
        return float("inf"), 0
    low, high = np.percentile(values, [25, 75])
    limit = float(high + _FAR * (high - low))
    return limit, sum(value > limit for value in values)


def log_search(searched: Sequence[Searched]) -> None:
    """Print the best of each study as a table, then what it tried."""
    metric = searched[0].metric.upper()
    head = ("study", "trials", f"lowest {metric}", f"{metric}, other images")
    say("%s", terminal.plain_table(head, [_row(own) for own in searched], range(2, len(head))))
    for own in searched:
        tell(f"best of {own.name}: {described(own, own.best) if own.best else 'no trial was measured'}")


def _row(own: Searched) -> list[str]:
    states = ", ".join(f"{count} {name}" for name, count in own.states.items())
    if own.best is None:
        return [own.name, states, "-", "-"]
    apart = figure(own.apart[own.metric]) if own.apart else "-"
    return [own.name, states, figure(own.best.metric), apart]


def trial_line(own: Searched, trial: Trial) -> str:
    """Return how a trial ended, and the best so far, in a line."""
    value = "" if trial.metric is None else f", {own.metric.upper()} {trial.metric:.4f}"
    best = own.best
    lowest = "" if best is None else f"; best so far {best.metric:.4f} (trial {best.number})"
    return f"{own.name} trial {trial.number} {trial.state}{value}{lowest}"
