"""``report.html`` of an expert reading: were generated images told from real ones, by whom, and what gave them away.

The page prints the results it is given and computes no figure of its own.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure
from PIL import Image

from sonoforge.training.pages.charts import MARKERS, SERIES, new_roc_chart, styled, svg
from sonoforge.training.pages.embedding import data_url
from sonoforge.training.pages.shell import write_page
from sonoforge.training.reading.results import ImageResult, ReaderResult, ReadingResults
from sonoforge.training.statistics.binomial import LEVEL
from sonoforge.training.statistics.wording import counted, listed, number, share

REPORT = "report.html"
_SIDE = 320  # pixels of a picture in a gallery
_SHOWN = 24  # pictures of a gallery; the rest is counted


class Dot(NamedTuple):
    """A reader's mark on a picture; places are in percent of the side."""

    x: float
    y: float
    number: int  # of the reader, from 1


class Card(NamedTuple):
    """One picture of a gallery."""

    source: str
    label: str  # for screen readers
    title: str
    said: str
    file: str
    dots: list[Dot]


class Gallery(NamedTuple):
    """Pictures that readers judged alike."""

    anchor: str
    title: str
    text: str
    cards: list[Card]
    more: int


def write_report(folder: Path, results: ReadingResults, pictures: Sequence[bytes]) -> Path:
    """Write ``FOLDER/report.html`` and return its path.

    Args:
        folder: Of the run.
        results: All figures.
        pictures: PNG files in the order of ``results["images"]``.
    """
    readers = results["readers"]
    galleries = _galleries(results, pictures)
    drawn = [reader for reader in readers if reader["roc"] is not None]
    context = {
        "sheet": results["sheet"],
        "readers": readers,
        "together": results["together"],
        "agreement": results["agreement"],
        "class_agreement": results["class_agreement"],
        "verdict": judge(results),
        "roc": svg(draw_roc(drawn), "ROC curve of each reader; the table of readers has the areas") if drawn else None,
        "galleries": galleries,
        "gallery_links": [(gallery.anchor, gallery.title) for gallery in galleries],
        "marks": sum(reader["marks"] for reader in readers),
        "asked_classes": any(reader["classes"] for reader in readers),
    }
    return write_page(folder / REPORT, "reading/report.html.j2", context)


class Verdict(NamedTuple):
    """The answer in words, and how the page colours it."""

    level: str
    answer: str
    sentences: list[str]


def judge(results: ReadingResults) -> Verdict:
    """Say whether readers told the images apart, and what a negative answer leaves open."""
    readers = results["readers"]
    apart = [reader for reader in readers if reader["p_value"] <= LEVEL]
    better = [reader["name"] for reader in apart if (reader["accuracy"]["value"] or 0) > reader["chance"]]
    worse = [reader["name"] for reader in apart if reader["name"] not in better]
    sentences = []
    if better:
        sentences.append(
            f"{len(better)} of {counted(len(readers), 'reader')} did better than chance (exact binomial test at 5 %, "
            f"not corrected for the number of readers): {listed(better)}."
        )
    if worse:
        sentences.append(f"Worse than chance, calling generated images real and real ones generated: {listed(worse)}.")
    others = [reader for reader in readers if reader not in apart]
    noticed = [reader["noticeable"] for reader in others if reader["noticeable"] is not None]
    if noticed:
        start = "The others were not" if apart else "No reader was"
        sentences.append(
            f"{start} shown to differ from chance. That is no proof of likeness: with so few answers, an accuracy "
            f"below {share(max(noticed), 0)} is often missed."
        )
    level = "no" if better or worse else "open"
    return Verdict(level, "Yes" if better else "Yes, but the wrong way round" if worse else "Not shown", sentences)


@styled
def draw_roc(readers: Sequence[ReaderResult]) -> Figure:
    """Draw a curve for each reader who gave a confidence with every answer."""
    figure, axes = new_roc_chart(360)
    for index, reader in enumerate(readers):
        across, up = zip(*(reader["roc"] or []), strict=True)
        area = reader["auc"]
        name = f"{reader['name'][:24]}, {number(area['value'], 2)}" if area else reader["name"][:24]
        colour = SERIES[index % len(SERIES)]
        axes.plot(across, up, marker=MARKERS[index % len(MARKERS)], color=colour, label=name, clip_on=False)
    axes.set(xlabel="real images called generated", ylabel="generated images called generated")
    figure.legend(loc="outside lower left", ncols=2)
    return figure


def _galleries(results: ReadingResults, pictures: Sequence[bytes]) -> list[Gallery]:
    images = [image for image in results["images"] if image["answers"]]
    generated = [image for image in images if image["kind"] == "generated"]
    names = [reader["name"] for reader in results["readers"]]
    by_chance = sum(0.5 ** image["answers"] for image in generated)
    chosen = (
        (
            "recognised",
            "Generated images that most readers recognised",
            "The most often recognised first. Numbered dots are the places that readers marked.",
            [image for image in generated if _called(image) > 0.5],
        ),
        (
            "unrecognised",
            "Generated images that nobody recognised",
            f"Of readers who toss a coin, {number(by_chance, 1)} of {len(generated)} would be expected.",
            [image for image in generated if image["called_generated"] == 0],
        ),
        (
            "taken",
            "Real images taken for generated",
            "The most often mistaken first.",
            [image for image in images if image["kind"] == "real" and image["called_generated"]],
        ),
    )
    found = []
    for anchor, title, text, own in chosen:
        ordered = sorted(own, key=lambda image: (-_called(image), image["number"]))
        cards = [_card(image, pictures[image["number"] - 1], names) for image in ordered[:_SHOWN]]
        found.append(Gallery(anchor, title, text, cards, len(ordered) - len(cards)))
    return found


def _called(image: ImageResult) -> float:
    return image["called_generated"] / image["answers"]


def _card(image: ImageResult, picture: bytes, names: Sequence[str]) -> Card:
    with Image.open(io.BytesIO(picture)) as opened:
        small = opened.copy()
    small.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    small.save(stream, "PNG", optimize=True)
    kind = "generated, synthetic" if image["kind"] == "generated" else "real"
    shown = f", {image['class']}" if image["class"] else ""
    said = f"{image['called_generated']} of {counted(image['answers'], 'reader')} said generated"
    title = f"Image {image['number']}: {kind}{shown}"
    dots = [Dot(100 * one["x"], 100 * one["y"], names.index(one["reader"]) + 1) for one in image["marks"]]
    marked = f"; {counted(len(dots), 'mark')}" if dots else ""
    return Card(data_url(stream.getvalue(), "png"), f"{title}; {said}{marked}", title, said, image["file"], dots)
