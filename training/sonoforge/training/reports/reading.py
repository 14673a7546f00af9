"""``report.html`` of an expert reading: were generated images told from real ones, by whom, and what gave them away.

The page prints the results it is given and computes no figure of its own.
"""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup
from PIL import Image

from sonoforge.runtime.cli.answer import say, tell
from sonoforge.training.reader_study.scores import (
    AgreementResult,
    ReaderResult,
    ReadingResults,
    ShareResult,
    judge,
)
from sonoforge.training.reports import blocks
from sonoforge.training.reports.charts import RocCurve, roc_chart
from sonoforge.training.reports.pictures import data_url
from sonoforge.training.reports.terminal import table_text
from sonoforge.training.reports.texts import read_texts
from sonoforge.training.statistics.results import Interval
from sonoforge.training.statistics.wording import bracket, counted, listed, number, p_value, share

REPORT = "report.html"
TEXTS = read_texts("reading")
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
    answer = blocks.Answer(verdict.level, "Told apart", verdict.headline, [*map(blocks.Text, verdict.sentences)])
    sections = [_readers(results), *_classes(results), _times(results), *_galleries(results, pictures)]
    page = blocks.Page(
        title="Expert reading: real or generated?",
        meta=f"sonoforge evaluate --answers · {results['sheet']['run']}",
        heading="Could readers tell generated images from real ones?",
        use=TEXTS["use"],
        summary=[answer, blocks.Facts(list(_facts(results)))],
        sections=[*sections, _protocol(results)],
        made="All images called generated are synthetic.",
        style=_STYLE,
    )
    return page.write(folder / REPORT)


def _facts(results: ReadingResults) -> Iterator[blocks.Fact]:
    sheet, together, agreement = results["sheet"], results["together"], results["agreement"]
    kinds = f"{counted(sheet['real'], 'real image')} and {sheet['generated']} generated"
    yield blocks.Fact("readers", len(results["readers"]), f"{kinds}, of {sheet['side']} × {sheet['side']} pixels")
    if together:
        mean, ends = together["accuracy"], _percent(together["accuracy"])
        detail = f"95 % {ends}, by resampling images; chance is 50 %"
        yield blocks.Fact("mean accuracy of the readers", share(mean["value"], 0), detail)
    if agreement and agreement["kappa"]:
        kappa = agreement["kappa"]
        detail = f"95 % {_kappa_ends(kappa)}, {counted(agreement['images'], 'image')}"
        yield blocks.Fact(agreement["name"], number(kappa["value"], 2), detail)


def _readers(results: ReadingResults) -> blocks.Section:
    readers, agreement = results["readers"], results["agreement"]
    drawn = [reader for reader in readers if reader["roc"] is not None]
    said = TEXTS["open"]
    if results["automatic"]:
        said += TEXTS["automatic"].format(experience=results["automatic"][0]["experience"])
    if any(reader["auc"] is None for reader in readers):
        said += TEXTS["without_auc"]
    content: list[blocks.Block] = [reader_table(results), blocks.Text(said, "note-text")]
    if drawn:
        curves = []
        for reader in drawn:
            across, up = zip(*(reader["roc"] or []), strict=True)
            area, name = reader["auc"], reader["name"][:24]
            curves.append(RocCurve(f"{name}, {number(area['value'], 2)}" if area else name, across, up))
        axes = "real images called generated", "generated images called generated"
        chart = roc_chart(curves, *axes, "ROC curve of each reader; the table of readers has the areas")
        content.append(blocks.Grid([blocks.Figure("How confidence ranks the images.", TEXTS["roc"], chart)]))
    if agreement:
        agree = TEXTS["agree" if agreement["kappa"] else "all_alike"]
        content.append(blocks.Text(agree.format(agreement=agreement_text(agreement))))
    return blocks.Section("readers", "Readers", content)


def reader_table(results: ReadingResults) -> blocks.Table:
    """Tabulate the figures of each reader and of all together."""
    kinds = ("accuracy", "sensitivity", "specificity")
    rows: list[Sequence[object]] = []
    readers = [*enumerate(results["readers"], 1), *((0, own) for own in results["automatic"])]
    for place, own in readers:
        name = Markup("{}. {}").format(place, own["name"]) if place else Markup("{}").format(own["name"])
        accuracy, *others = (_right(own[kind]) for kind in kinds)  # type: ignore[literal-required]
        rows.append(
            (
                name + Markup("<small>{}</small>").format(own["experience"]) if place and own["experience"] else name,
                f"{own['answered']} of {own['answered'] + own['unanswered']}",
                accuracy,
                p_value(own["p_value"]).removeprefix("= "),
                *others,
                blocks.area(own["auc"]) if own["auc"] else "-",
            )
        )
    together = results["together"]
    if together:
        accuracy, *others = (_right(together[kind]) for kind in kinds)
        rows.insert(len(results["readers"]), blocks.Row("sum", ("mean of the readers", "", accuracy, "", *others, "")))
    head = ("reader", "answered", "accuracy", "p", "sensitivity", "specificity", "AUC")
    return blocks.Table("Readers: accuracy, sensitivity and specificity", head, rows, TEXTS["readers"])


def automatic_text(found: ReaderResult) -> str:
    """Describe how an automatic reader did."""
    accuracy, area = found["accuracy"], found["auc"]
    ends = "" if area is None else bracket(number(area["low"]), number(area["high"]))
    right = f"{found['name']}: {accuracy['right']} of {accuracy['of']} images right"
    return f"{right}, {share(accuracy['value'], 0)} {_percent(accuracy)}; AUC {number(area and area['value'])} {ends}"


def agreement_text(found: AgreementResult) -> str:
    """Describe how far readers agree; empty if kappa is undefined."""
    kappa = found["kappa"]
    if kappa is None:
        return ""
    ends = _kappa_ends(kappa)
    return f"{found['name']} of {number(kappa['value'], 2)} {ends}, on {counted(found['images'], 'image')}"


def _kappa_ends(kappa: Interval) -> str:
    return bracket(number(kappa["low"], 2), number(kappa["high"], 2))


def _right(found: ShareResult | Interval) -> Markup:
    return blocks.soft(share(found["value"], 0), _percent(found))


def _percent(found: ShareResult | Interval) -> str:
    return bracket(number(100 * found["low"], 0), number(100 * found["high"], 0))


def _classes(results: ReadingResults) -> Iterator[blocks.Section]:
    asked = [(reader["name"], reader["classes"]) for reader in results["readers"] if reader["classes"]]
    if not asked:
        return
    rows = [
        (name, _right(own["real"]), _right(own["generated"]), p_value(own["p_value"]).removeprefix("= "))
        for name, own in asked
    ]
    title, head = (
        "Classes: accuracy on real and on generated images",
        ("reader", "real images", "generated images", "p"),
    )
    content: list[blocks.Block] = [blocks.Table(title, head, rows, TEXTS["classes"])]
    agreement = results["class_agreement"]
    if agreement and agreement["kappa"]:
        content.append(blocks.Text(f"Readers agree on the class by {agreement_text(agreement)}."))
    own_class = blocks.Text(TEXTS["own_class"], "note-text")
    yield blocks.Section("classes", "Which class it shows", [*content, own_class])


def _times(results: ReadingResults) -> blocks.Section:
    rows = []
    for reader in results["readers"]:
        cells = []
        for own in map(reader["seconds"].get, ("real", "generated")):
            ends = [number(own[end], 1) for end in ("lower_quartile", "upper_quartile")] if own else []
            cells.append(blocks.soft(number(own["median"], 1), bracket(*ends)) if own else "-")
        rows.append((reader["name"], *cells))
    title = "Seconds that an image was in view"
    caption = f"{title}: median, and the middle half in brackets."
    table = blocks.Table(title, ("reader", "real images", "generated images"), rows, caption)
    return blocks.Section("times", "Reading times", [table])


def _galleries(results: ReadingResults, pictures: Sequence[bytes]) -> Iterator[blocks.Section]:
    images = [image for image in results["images"] if image["answers"]]
    generated = [image for image in images if image["kind"] == "generated"]
    names = [reader["name"] for reader in results["readers"]]
    by_chance = sum(0.5 ** image["answers"] for image in generated)
    chosen = (
        (
            "recognised",
            "Generated images that most readers recognised",
            TEXTS["recognised"],
            [image for image in generated if _called(image) > 0.5],
        ),
        (
            "unrecognised",
            "Generated images that nobody recognised",
            TEXTS["by_chance"].format(expected=number(by_chance, 1), generated=len(generated)),
            [image for image in generated if image["called_generated"] == 0],
        ),
        (
            "taken",
            "Real images taken for generated",
            TEXTS["taken"],
            [image for image in images if image["kind"] == "real" and image["called_generated"]],
        ),
    )
    for anchor, title, text, own in chosen:
        ordered = sorted(own, key=lambda image: (-_called(image), image["number"]))
        cards = [_card(image, pictures[image["number"] - 1], names) for image in ordered[:_SHOWN]]
        some = f"; the first {_SHOWN} are shown" if len(ordered) > _SHOWN else ""
        said = (f"{counted(len(ordered), 'image')}{some}. " if ordered else "None. ") + text
        yield blocks.Section(anchor, title, [blocks.Text(said), *[blocks.Grid(cards, "looked")] * bool(cards)])


def _called(image: dict[str, Any]) -> float:
    return float(image["called_generated"] / image["answers"])


def _card(image: dict[str, Any], picture: bytes, names: Sequence[str]) -> blocks.Figure:
    with Image.open(io.BytesIO(picture)) as opened:
        small = opened.copy()
    small.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    kind = "generated, synthetic" if image["kind"] == "generated" else "real"
    shown = f", {image['class']}" if image["class"] else ""
    said = f"{image['called_generated']} of {counted(image['answers'], 'reader')} said generated"
    title, marks = f"Image {image['number']}: {kind}{shown}", image["marks"]
    marked = f"; {counted(len(marks), 'mark')}" if marks else ""
    dots = [_DOT.format(100 * one["x"], 100 * one["y"], names.index(one["reader"]) + 1) for one in marks]
    drawn = _PICTURE.format(f"{title}; {said}{marked}", data_url(small, "png"), Markup("").join(dots))
    return blocks.Figure(
        title, Markup("<small>{}</small><small>{}</small>").format(said, image["file"]), drawn, below=True
    )


def _protocol(results: ReadingResults) -> blocks.Section:
    sheet, marks = results["sheet"], sum(reader["marks"] for reader in results["readers"])
    of_classes = " and of each class" if sheet["classes"] else ""
    sources = {kind: listed(names) for kind, names in sheet["sources"].items()}
    items = [
        TEXTS["drawn"].format(**sources, of_classes=of_classes),
        TEXTS["alike"],
        TEXTS["sealed"].format(commitment=sheet["commitment"]),
        f"{counted(marks, 'place was', 'places were')} marked by readers.",
    ]
    return blocks.Section("protocol", "Protocol", [blocks.Bullets(items)])


def log_reading(results: ReadingResults) -> None:
    """Print the figures of each reader and of all together, the agreement and the verdict."""
    say("%s", table_text(reader_table(results), without={1}))  # a narrow screen has no room for "answered"
    left = [f"{own['name']} {own['unanswered']}" for own in results["readers"] if own["unanswered"]]
    if left:
        tell(f"unanswered images, which do not count: {', '.join(left)}")
    for title, found in (("real or generated", results["agreement"]), ("class", results["class_agreement"])):
        if found and found["kappa"]:
            tell(f"agreement on {title}: {agreement_text(found)}")
    verdict = judge(results)
    tell(f"told apart: {verdict.headline.lower()}. {' '.join(verdict.sentences)}")
