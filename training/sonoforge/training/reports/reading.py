"""Write ``report.html`` of an expert reading: who told generated images from real ones, and what gave them away."""

import base64
import datetime
import hashlib
import importlib.metadata
import io
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup
from PIL import Image

from sonoforge.runtime.cli.answer import say, tell
from sonoforge.runtime.errors import GateError, SonoforgeError, refusing
from sonoforge.runtime.pages import data_url
from sonoforge.training.reader_study.scores import FORMAT
from sonoforge.training.reader_study.sheet import Key, Sheet
from sonoforge.training.reports import blocks, charts, terminal, words
from sonoforge.training.statistics.intervals import LEVEL
from sonoforge.training.statistics.results import Interval, Record
from sonoforge.training.statistics.verdict import Verdict
from sonoforge.training.statistics.wording import bracket, counted, number, share

REPORT = "report.html"
WORDS = words.Words("reading")
_VERDICT = words.read_yaml("reading-verdict")
_SIDE = 320  # pixels of a picture in a gallery
_SHOWN = 24  # pictures of a gallery; the rest is counted
_STYLE = """
.gallery svg { display: block; width: 100%; height: auto; background: #000; border-radius: 3px; }
.dot circle { fill: #ffd400; stroke: #000; stroke-width: .7; }
.dot text { font: 600 5px system-ui, sans-serif; fill: #000; text-anchor: middle; dominant-baseline: central; }
"""
_PICTURE = Markup(
    '<svg viewBox="0 0 100 100" role="img" aria-label="{}"><image href="{}" width="100" height="100"/>{}</svg>'
)
_DOT = Markup('<g class="dot" transform="translate({:.1f} {:.1f})"><circle r="4"/><text>{}</text></g>')


def judge(results: Record) -> Verdict:
    """Say whether readers told the images apart, and what a negative answer leaves open."""
    readers = results["readers"]
    apart = [reader for reader in readers if reader["p_value"] <= LEVEL]
    better = [reader["name"] for reader in apart if (reader["accuracy"]["value"] or 0) > reader["chance"]]
    others = [reader["noticeable"] for reader in readers if reader not in apart]
    facts = {
        "readers": readers,
        "apart": apart,
        "better": better,
        "worse": [reader["name"] for reader in apart if reader["name"] not in better],
        "missed": max((value for value in others if value is not None), default=None),
    }
    sentences = [words.plain(text, facts) for text in _VERDICT["sentences"]]
    headline = "better" if better else "worse" if apart else "open"
    return Verdict("no" if apart else "open", _VERDICT[headline], tuple(filter(None, sentences)))


def write_report(folder: Path, results: Record, pictures: Sequence[bytes]) -> Path:
    """Write ``FOLDER/report.html``, with PNG files in the order of ``results["images"]``, and return its path."""
    verdict = judge(results)
    answer = blocks.Answer(verdict.level, "Told apart", verdict.headline, [*map(blocks.Text, verdict.sentences)])
    times = blocks.Section("times", "Reading times", [WORDS.table("times", results["readers"], spent=_spent)])
    sections = [_readers(results), *_classes(results), times, *_galleries(results, pictures)]
    page = blocks.Page(
        title="Expert reading: real or generated?",
        meta=f"sonoforge evaluate --answers · {results['sheet']['run']}",
        heading="Could readers tell generated images from real ones?",
        use=WORDS("use"),
        summary=[answer, blocks.Facts(list(_facts(results)))],
        sections=[*sections, _protocol(results)],
        made="All images called generated are synthetic.",
        style=_STYLE,
    )
    return page.write(folder / REPORT)


def _facts(results: Record) -> Iterator[blocks.Fact]:
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


def _readers(results: Record) -> blocks.Section:
    readers, agreement = results["readers"], results["agreement"]
    said = WORDS.note("open", without_auc=any(reader["auc"] is None for reader in readers))
    content: list[blocks.Block] = [reader_table(results), said]
    curves = []
    for reader in readers:
        if reader["roc"] is not None:
            across, up = zip(*reader["roc"], strict=True)
            area, name = reader["auc"], reader["name"][:24]
            curves.append(charts.RocCurve(f"{name}, {number(area['value'], 2)}" if area else name, across, up))
    if curves:
        axes = "real images called generated", "generated images called generated"
        chart = charts.roc_chart(curves, *axes, "ROC curve of each reader; the table of readers has the areas")
        content.append(blocks.Grid([WORDS.figure("roc", chart)]))
    if agreement:
        content.append(WORDS.text("agree", said=agreement_text(agreement)))
    return blocks.Section("readers", "Readers", content)


def reader_table(results: Record) -> blocks.Table:
    """Tabulate the figures of each reader and of all together."""
    rows = []
    for place, own in enumerate(results["readers"], 1):
        experience = Markup("<small>{}</small>").format(own["experience"]) if own["experience"] else ""
        rows.append({**own, "who": Markup("{}. {}{}").format(place, own["name"], experience)})
    together = results["together"]
    mean = []
    if together:
        accuracy, *others = (_right(together[kind]) for kind in ("accuracy", "sensitivity", "specificity"))
        mean = [blocks.Row("sum", ("mean of the readers", "", accuracy, "", *others, ""))]
    return WORDS.table("readers", [*rows, *mean], right=_right)


def agreement_text(found: Record) -> str:
    """Describe how far readers agree; empty if kappa is undefined."""
    kappa = found["kappa"]
    if kappa is None:
        return ""
    ends = _kappa_ends(kappa)
    return f"{found['name']} of {number(kappa['value'], 2)} {ends}, on {counted(found['images'], 'image')}"


def _kappa_ends(kappa: Interval) -> str:
    return bracket(number(kappa["low"], 2), number(kappa["high"], 2))


def _right(found: Record | Interval) -> Markup:
    return blocks.soft(share(found["value"], 0), _percent(found))


def _percent(found: Record | Interval) -> str:
    return bracket(number(100 * found["low"], 0), number(100 * found["high"], 0))


def _classes(results: Record) -> Iterator[blocks.Section]:
    asked = [reader for reader in results["readers"] if reader["classes"]]
    if asked:
        content: list[blocks.Block] = [WORDS.table("classes", asked, right=_right)]
        agreement = results["class_agreement"]
        if agreement and agreement["kappa"]:
            content.append(blocks.Text(f"Readers agree on the class by {agreement_text(agreement)}."))
        yield blocks.Section("classes", "Which class it shows", [*content, WORDS.note("own_class")])


def _spent(own: dict[str, float] | None) -> str:
    if not own:
        return "-"
    ends = [number(own[end], 1) for end in ("lower_quartile", "upper_quartile")]
    return blocks.soft(number(own["median"], 1), bracket(*ends))


def _galleries(results: Record, pictures: Sequence[bytes]) -> Iterator[blocks.Section]:
    images = [image for image in results["images"] if image["answers"]]
    generated = [image for image in images if image["kind"] == "generated"]
    names = [reader["name"] for reader in results["readers"]]
    by_chance = sum(0.5 ** image["answers"] for image in generated)
    mistaken = [image for image in images if image["kind"] == "real" and image["called_generated"]]
    chosen: dict[str, list[dict[str, Any]]] = {
        "recognised": [image for image in generated if _called(image) > 0.5],
        "unrecognised": [image for image in generated if image["called_generated"] == 0],
        "taken": mistaken,
    }
    for anchor, own in chosen.items():
        ordered = sorted(own, key=lambda image: (-_called(image), image["number"]))
        cards = [_card(image, pictures[image["number"] - 1], names) for image in ordered[:_SHOWN]]
        some = f"; the first {_SHOWN} are shown" if len(ordered) > _SHOWN else ""
        said = f"{counted(len(ordered), 'image')}{some}. " if ordered else "None. "
        said += WORDS(anchor, by_chance=by_chance, of=len(generated))
        yield blocks.Section(
            anchor, WORDS.plain(f"{anchor}_title"), [blocks.Text(said), *[blocks.Grid(cards, "gallery")] * bool(cards)]
        )


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


def _protocol(results: Record) -> blocks.Section:
    marks = sum(reader["marks"] for reader in results["readers"])
    items = [
        *(WORDS(key, sheet=results["sheet"]) for key in ("drawn", "alike", "sealed")),
        f"{counted(marks, 'place was', 'places were')} marked by readers.",
    ]
    return blocks.Section("protocol", "Protocol", [blocks.Bullets(items)])


def log_reading(results: Record) -> None:
    """Print the figures of each reader and of all together, the agreement and the verdict."""
    say("%s", terminal.table_text(reader_table(results), without={1}))  # a narrow screen has no room for "answered"
    left = [f"{own['name']} {own['unanswered']}" for own in results["readers"] if own["unanswered"]]
    if left:
        tell(f"unanswered images, which do not count: {', '.join(left)}")
    for title, found in (("real or generated", results["agreement"]), ("class", results["class_agreement"])):
        if found and found["kappa"]:
            tell(f"agreement on {title}: {agreement_text(found)}")
    verdict = judge(results)
    tell(f"told apart: {verdict.headline.lower()}. {' '.join(verdict.sentences)}")


# ---- the page that readers answer: one file that holds its images, works offline and hides which is which

PAGE = "reading-sheet.html"
_SCRIPT = Path(__file__).parent / "templates" / "reading" / "sheet.js"
_DATA = re.compile(r'<script type="application/json" id="sheet">(.*?)</script>', re.DOTALL)


def write_sheet(path: Path, sheet: Sheet, seal: str) -> Path:
    """Write a sheet's page, with ``seal`` as the commitment of its key's file; return its path."""
    script = _SCRIPT.read_text(encoding="utf-8")
    data = {
        "format": FORMAT,
        "commitment": seal,
        "synthetic": "Some of these images were generated by a neural network and show no patient; the key says which.",
        "images": [base64.b64encode(picture).decode() for picture in sheet.pictures],
    }
    context = {
        "count": len(sheet.pictures),
        "side": sheet.key.side,
        "classes": sheet.key.classes,
        "commitment": seal,
        "sheet": Markup(json.dumps(data).replace("<", "\\u003c")),  # noqa: S704 - no tag can end the element
        "script": Markup(script),  # noqa: S704 - our own file
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "made": datetime.date.today().isoformat(),
        "version": importlib.metadata.version("sonoforge"),
    }
    return blocks.write_page(path, "reading/sheet.html.j2", context)


def read_pictures(path: Path, key: Key, seal: str) -> list[bytes]:
    """Return the PNG files that a page shows, in order, if they match the key.

    Raises:
        GateError: The page shows the commitment of another key.
        SonoforgeError: The page is missing, damaged, or shows other images.
    """
    with refusing(f"{path}: holds no reading sheet", "restore the page beside its key, as it was written"):
        found = _DATA.search(path.read_text(encoding="utf-8"))
        data: dict[str, Any] = json.loads(found[1]) if found else {}
        pictures = [base64.b64decode(one, validate=True) for one in data["images"]]
    if data.get("commitment") != seal:
        raise GateError(
            f"{path}: it shows the key {str(data.get('commitment'))[:16]}..., but the key beside it is {seal[:16]}...: "
            "one was changed after the page was made; restore both as they were written"
        )
    if [hashlib.sha256(picture).hexdigest() for picture in pictures] != [entry.picture for entry in key.entries]:
        raise SonoforgeError(f"{path}: its images do not match the key beside it; restore both as they were written")
    return pictures
