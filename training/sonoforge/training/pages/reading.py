"""``report.html`` of an expert reading: were generated images told from real ones, by whom, and what gave them away.

The page prints the results it is given and computes no figure of its own.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from markupsafe import Markup
from PIL import Image

from sonoforge.training.pages.blocks import (
    Answer,
    Block,
    Bullets,
    Fact,
    Facts,
    Figure,
    Grid,
    Page,
    Row,
    Section,
    Table,
    Text,
    area,
    soft,
)
from sonoforge.training.pages.charts import colour, marker, new_roc_chart, styled, svg
from sonoforge.training.pages.embedding import data_url
from sonoforge.training.reading.results import (
    AgreementResult,
    ImageResult,
    ReaderResult,
    ReadingResults,
    SecondsResult,
    ShareResult,
)
from sonoforge.training.reading.verdict import judge
from sonoforge.training.statistics.results import IntervalResult
from sonoforge.training.statistics.wording import bracket, counted, listed, number, p_value, share

REPORT = "report.html"
_SIDE = 320  # pixels of a picture in a gallery
_SHOWN = 24  # pictures of a gallery; the rest is counted
_STYLE = """
.looked { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 13rem), 1fr)); gap: 1.25rem; margin: 1rem 0; }
.looked svg { display: block; width: 100%; height: auto; background: #000; border-radius: 3px; }
.looked figcaption { margin: .4rem 0 0; overflow-wrap: anywhere; }
.looked small { display: block; }
.dot circle { fill: #ffd400; stroke: #000; stroke-width: .7; }
.dot text { font: 600 5px system-ui, sans-serif; fill: #000; text-anchor: middle; dominant-baseline: central; }
"""  # noqa: E501 - a style sheet
_PICTURE = Markup(
    '<svg viewBox="0 0 100 100" role="img" aria-label="{}"><image href="{}" width="100" height="100"/>{}</svg>'
)
_DOT = Markup('<g class="dot" transform="translate({:.1f} {:.1f})"><circle r="4"/><text>{}</text></g>')


def write_report(folder: Path, results: ReadingResults, pictures: Sequence[bytes]) -> Path:
    """Write ``FOLDER/report.html`` and return its path.

    Args:
        folder: Of the run.
        results: All figures.
        pictures: PNG files in the order of ``results["images"]``.
    """
    verdict = judge(results)
    answer = Answer(verdict.level, "Told apart", verdict.headline, [*map(Text, verdict.sentences)])
    sections = [_readers(results), *_classes(results), _times(results), *_galleries(results, pictures)]
    page = Page(
        title="Expert reading: real or generated?",
        meta=f"sonoforge reading · {results['sheet']['run']}",
        heading="Could readers tell generated images from real ones?",
        use="Research use, not a medical device. Images called generated are synthetic and show no patient.",
        summary=[answer, Facts(list(_facts(results)))],
        sections=[*sections, _protocol(results)],
        made="All images called generated are synthetic.",
        style=_STYLE,
    )
    return page.write(folder / REPORT)


def _facts(results: ReadingResults) -> Iterator[Fact]:
    sheet, together, agreement = results["sheet"], results["together"], results["agreement"]
    kinds = f"{counted(sheet['real'], 'real image')} and {counted(sheet['generated'], 'generated one')}"
    yield Fact("readers", len(results["readers"]), f"{kinds} of {sheet['side']} × {sheet['side']} pixels")
    if together:
        mean, ends = together["accuracy"], _percent(together["accuracy"])
        detail = f"95 % {ends}, by resampling images; chance is 50 %"
        yield Fact("mean accuracy of the readers", share(mean["value"], 0), detail)
    if agreement and agreement["kappa"]:
        kappa = agreement["kappa"]
        detail = f"95 % {_kappa_ends(kappa)}, {counted(agreement['images'], 'image')}"
        yield Fact(agreement["name"], number(kappa["value"], 2), detail)


def _readers(results: ReadingResults) -> Section:
    readers, agreement = results["readers"], results["agreement"]
    drawn = [reader for reader in readers if reader["roc"] is not None]
    said = (
        "Images that a reader left open do not count. The intervals of the mean come from resampling images, each with "
        "the answers of all readers: they hold for these readers, not for others."
    )
    if any(reader["auc"] is None for reader in readers):
        said += " An AUC needs a confidence with every answer, and answered images of both kinds."
    blocks: list[Block] = [reader_table(results), Text(said, "note-text")]
    if drawn:
        ranks = " From -5, certainly real, to 5, certainly generated; the area of each reader."
        blocks.append(Grid([Figure("How confidence ranks the images.", ranks, _draw_roc(drawn))]))
    if agreement:
        agree = "All readers gave all images the same answer, so that their agreement beyond chance has no value."
        if agreement["kappa"]:
            agree = (
                f"Readers agree on which images are generated by {agreement_text(agreement)} that all of them answered "
                "(0: as by chance, 1: always)."
            )
        blocks.append(Text(agree))
    return Section("readers", "Readers", blocks)


def reader_table(results: ReadingResults) -> Table:
    """Show the figures of each reader and of all together."""
    kinds = ("accuracy", "sensitivity", "specificity")
    rows: list[Sequence[object]] = []
    for place, own in enumerate(results["readers"], 1):
        name = Markup("{}. {}").format(place, own["name"])
        accuracy, *others = (_right(own[kind]) for kind in kinds)  # type: ignore[literal-required]
        rows.append(
            (
                name + Markup("<small>{}</small>").format(own["experience"]) if own["experience"] else name,
                f"{own['answered']} of {own['answered'] + own['unanswered']}",
                accuracy,
                p_value(own["p_value"]).removeprefix("= "),
                *others,
                area(own["auc"]) if own["auc"] else "-",
            )
        )
    together = results["together"]
    if together:
        accuracy, *others = (_right(together[kind]) for kind in kinds)  # type: ignore[literal-required]
        rows.append(Row("sum", ("mean of the readers", "", accuracy, "", *others, "")))
    caption = (
        "Accuracy, sensitivity (generated images called generated) and specificity (real ones called real) in percent, "
        "with exact 95 % intervals; p against chance, 50 %; AUC by confidence with its 95 % interval."
    )
    head = ("reader", "answered", "accuracy", "p", "sensitivity", "specificity", "AUC")
    return Table("Readers: accuracy, sensitivity and specificity", head, rows, caption)


def agreement_text(found: AgreementResult) -> str:
    """Say how far readers agree; empty where that has no value."""
    kappa = found["kappa"]
    if kappa is None:
        return ""
    ends = _kappa_ends(kappa)
    return f"{found['name']} of {number(kappa['value'], 2)} {ends}, on {counted(found['images'], 'image')}"


def _kappa_ends(kappa: IntervalResult) -> str:
    return bracket(number(kappa["low"], 2), number(kappa["high"], 2))


def _right(found: ShareResult | IntervalResult) -> Markup:
    return soft(share(found["value"], 0), _percent(found))


def _percent(found: ShareResult | IntervalResult) -> str:
    return bracket(number(100 * found["low"], 0), number(100 * found["high"], 0))


@styled
def _draw_roc(readers: Sequence[ReaderResult]) -> Markup:
    """Draw a curve for each reader who gave a confidence with every answer."""
    figure, axes = new_roc_chart(360)
    for index, reader in enumerate(readers):
        across, up = zip(*(reader["roc"] or []), strict=True)
        found, name = reader["auc"], reader["name"][:24]
        named = f"{name}, {number(found['value'], 2)}" if found else name
        axes.plot(across, up, marker=marker(index), color=colour(index), label=named, clip_on=False)
    axes.set(xlabel="real images called generated", ylabel="generated images called generated")
    figure.legend(loc="outside lower left", ncols=2)
    return svg(figure, "ROC curve of each reader; the table of readers has the areas")


def _classes(results: ReadingResults) -> Iterator[Section]:
    asked = [(reader["name"], reader["classes"]) for reader in results["readers"] if reader["classes"]]
    if not asked:
        return
    rows = [
        (name, _right(own["real"]), _right(own["generated"]), p_value(own["p_value"]).removeprefix("= "))
        for name, own in asked
    ]
    caption = (
        "Share of images for which the reader gave the class of the scan, or of the generator, in percent, with exact "
        "95 % intervals; p of the difference by Fisher's exact test."
    )
    title = "Classes: accuracy on real and on generated images"
    blocks: list[Block] = [Table(title, ("reader", "real images", "generated images", "p"), rows, caption)]
    agreement = results["class_agreement"]
    if agreement and agreement["kappa"]:
        blocks.append(Text(f"Readers agree on the class by {agreement_text(agreement)}."))
    own_class = "A generated image has no diagnosis of its own: its class is the one that its generator was asked for."
    yield Section("classes", "Which class it shows", [*blocks, Text(own_class, "note-text")])


def _times(results: ReadingResults) -> Section:
    rows = [
        (reader["name"], *(_seconds(reader["seconds"].get(kind)) for kind in ("real", "generated")))
        for reader in results["readers"]
    ]
    title = "Seconds that an image was in view"
    caption = f"{title}: median, and between brackets the middle half."
    table = Table(title, ("reader", "real images", "generated images"), rows, caption)
    return Section("times", "Reading times", [table])


def _seconds(one: SecondsResult | None) -> str:
    if one is None:
        return "-"
    return soft(number(one["median"], 1), bracket(*(number(one[f"{end}_quartile"], 1) for end in ("lower", "upper"))))  # type: ignore[literal-required]


def _galleries(results: ReadingResults, pictures: Sequence[bytes]) -> Iterator[Section]:
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
    for anchor, title, text, own in chosen:
        ordered = sorted(own, key=lambda image: (-_called(image), image["number"]))
        cards = [_card(image, pictures[image["number"] - 1], names) for image in ordered[:_SHOWN]]
        some = f", of which the first {_SHOWN} are shown" if len(ordered) > _SHOWN else ""
        said = f"{counted(len(ordered), 'image')}{some}. {text}" if ordered else f"None. {text}"
        yield Section(anchor, title, [Text(said), *[Grid(cards, "looked")] * bool(cards)])


def _called(image: ImageResult) -> float:
    return image["called_generated"] / image["answers"]


def _card(image: ImageResult, picture: bytes, names: Sequence[str]) -> Figure:
    with Image.open(io.BytesIO(picture)) as opened:
        small = opened.copy()
    small.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    small.save(stream, "PNG", optimize=True)
    kind = "generated, synthetic" if image["kind"] == "generated" else "real"
    shown = f", {image['class']}" if image["class"] else ""
    said = f"{image['called_generated']} of {counted(image['answers'], 'reader')} said generated"
    title, marks = f"Image {image['number']}: {kind}{shown}", image["marks"]
    marked = f"; {counted(len(marks), 'mark')}" if marks else ""
    dots = [_DOT.format(100 * one["x"], 100 * one["y"], names.index(one["reader"]) + 1) for one in marks]
    drawn = _PICTURE.format(f"{title}; {said}{marked}", data_url(stream.getvalue(), "png"), Markup("").join(dots))
    return Figure(title, Markup("<small>{}</small><small>{}</small>").format(said, image["file"]), drawn, below=True)


def _protocol(results: ReadingResults) -> Section:
    sheet, marks = results["sheet"], sum(reader["marks"] for reader in results["readers"])
    of_classes = " and of each class" if sheet["classes"] else ""
    items = [
        f"Real images: {listed(sheet['sources']['real'])}; generated ones: {listed(sheet['sources']['generated'])}. "
        f"Both kinds were drawn at random, as many of each{of_classes}, and at most one real image of each group of "
        "near-duplicates.",
        "All images had one size, and were written as equally long files without compression or text, in one random "
        "order for all readers.",
        Markup(
            'The key was sealed before the first answer: its SHA-256, <span class="hash">{}</span>, stood on the page '
            "and is in every file of answers, and it is the one that was opened now."
        ).format(sheet["commitment"]),
        f"{counted(marks, 'place was', 'places were')} marked by readers.",
    ]
    return Section("protocol", "Protocol", [Bullets(items)])
