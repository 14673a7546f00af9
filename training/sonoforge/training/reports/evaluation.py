"""Write ``report.html`` of an evaluation, in one self-contained file: is it realistic, is it diverse, is it copied?"""

import io
import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import matplotlib.figure
from markupsafe import Markup

from sonoforge.runtime import atomic
from sonoforge.runtime.cli.answer import say, tell
from sonoforge.runtime.notice import NOTICE
from sonoforge.training.copies.generated import HELD_OUT
from sonoforge.training.evaluation import verdict
from sonoforge.training.reports import blocks, verdicts
from sonoforge.training.reports.charts import png_bytes, svg
from sonoforge.training.reports.pictures import embed
from sonoforge.training.reports.terminal import plain_table
from sonoforge.training.reports.words import Words, glossary, read_yaml
from sonoforge.training.statistics.results import Record
from sonoforge.training.statistics.wording import bracket, counted, duration, figure, p_value, share, times

REPORT = "report.html"
WORDS = Words("evaluation")
PICTURES: dict[str, dict[str, str]] = read_yaml("evaluation-pictures")
"""The pictures that a page can show: their ``caption``, and their ``alt`` text for screen readers."""
ABOUT = "synthetic images shown; research use, not a medical device"
_SHEETS = ("samples", "nearest")  # of images; all others are charts
_SIDE = 1600  # pixels of a sheet, at most: as JPEG, the page stays below 10 MB
_LEVELS = {"yes": "yes", "no": "no", "partly": "open", "unknown": "open"}
_NAMES = 40  # flagged files listed; the rest is counted
_COLOURS = {"outside": "bad", "within": "ok"}

Pictures = Mapping[str, Markup]


def write_evaluation(folder: Path, results: Record, figures: Mapping[str, matplotlib.figure.Figure]) -> Path:
    """Write ``FOLDER/report.html``, with each of `PICTURES` as a PNG file beside it; return its path."""
    pictures: dict[str, Markup] = {}
    for name, drawn in figures.items():
        content, alt = png_bytes(drawn, ABOUT), PICTURES[name]["alt"]
        atomic.write_bytes(folder / f"{name}.png", content)
        pictures[name] = embed(io.BytesIO(content), _SIDE, alt) if name in _SHEETS else svg(drawn, alt)
    return _page(results, pictures).write(folder / REPORT)


def _page(results: Record, pictures: Pictures) -> blocks.Page:
    fake = results["fake"]
    of_class = f" of class {fake['class']}" if fake["class"] else ""
    sections = [
        blocks.Section("metrics", "All metrics", list(_metrics(results, pictures))),
        blocks.Section("copies", "Copies of training images", list(_copies(results["copies"], pictures))),
        blocks.Section("map", "Map", list(_map(results["pca"], pictures))),
    ]
    if "curves" in pictures:
        sections.append(blocks.Section("training", "Training of the generator", list(_picture("curves", pictures))))
    sections += [
        blocks.Section("protocol", "Protocol", list(_protocol(results))),
        glossary("Metrics and terms", "evaluation-glossary"),
    ]
    return blocks.Page(
        title=f"Generated images{of_class}: evaluation",
        meta=f"sonoforge evaluation · {fake['source']}",
        heading=f"Generated images{of_class}, measured against real ones",
        summary=list(_summary(results, pictures)),
        sections=sections,
        made="All images called generated are synthetic.",
        use=f"{blocks.NO_DEVICE} Generated images are synthetic.",
    )


def _picture(name: str, pictures: Pictures) -> Iterator[blocks.Figure]:
    if name in pictures:
        yield blocks.Figure("", PICTURES[name]["caption"], pictures[name], "plot")


def _summary(results: Record, pictures: Pictures) -> Iterator[blocks.Block]:
    n = results["n"]
    yield WORDS.text("summary", real=results["real"], fake=results["fake"], n=n)
    warnings = verdicts.warnings(results["metrics"], results["copies"], n, results["warnings"])
    if warnings:
        yield blocks.Answer(
            "failed", "Read first", "", [blocks.Text(blocks.bold(sentence)) for sentence in warnings], "Read first"
        )
    answers = []
    for name, title in verdicts.QUESTIONS.items():
        own = results["verdicts"][name]
        detail = f"{own['figure']}; {own['detail']}" if own["detail"] else own["figure"]
        grounds = [blocks.Text(own["value"], "value"), blocks.Text(detail, "detail"), blocks.Text(own["text"], "text")]
        level = _LEVELS[own["answer"]]
        if name == "copied":  # a copy is bad news, a realistic image good
            level = {"yes": "no", "no": "yes"}.get(level, level)
        answers.append(blocks.Answer(level, title, own["headline"], grounds, title))
    yield blocks.Grid(answers, "answers")
    yield from _picture("samples", pictures)


def _metrics(results: Record, pictures: Pictures) -> Iterator[blocks.Block]:
    yield WORDS.text("floor")
    yield from _picture("ratios", pictures)
    rows: list[Record | blocks.Row] = []
    for name, title in verdicts.QUESTIONS.items():
        own = [row for row in results["metrics"] if row["question"] == name]
        rows += [blocks.Row("group", (title,)), *own] if own else []
    facts = {"with_note": _with_note, "ends": _with_ends, "meaning": _meaning, "stands": verdict.stands}
    yield WORDS.table("metrics", rows, n=results["n"], **facts)
    yield WORDS.note("signs")
    yield from _picture("spectrum", pictures)
    if results["not_measured"]:
        yield blocks.Heading("Not measured")
        yield blocks.Bullets([blocks.bold(row["name"]) + f": {row['why']}" for row in results["not_measured"]])


def _meaning(row: Record) -> Markup:
    coloured = Markup('<span class="{}">{}</span>')
    return _with_note(coloured.format(_COLOURS.get(verdict.stands(row), ""), verdicts.meaning(row)), row["note"])


def _with_note(text: str, note: str) -> Markup:
    return Markup("{}").format(text) + (Markup("<small>{}</small>").format(note) if note else "")


def _with_ends(value: float | None, low: float | None, high: float | None) -> object:
    return figure(value) if low is None else blocks.soft(figure(value), bracket(figure(low), figure(high)))


def _copies(copies: Record | None, pictures: Pictures) -> Iterator[blocks.Block]:
    if copies is None:
        yield WORDS.text("not_tested")
        return
    yield WORDS.text("copies", held_out=copies["calibration"] == HELD_OUT)
    test = [
        ("threshold", figure(copies["threshold"]), WORDS("threshold", calibration=copies["calibration"])),
        ("generated images that match", share(copies["share"]), f"95 % interval {_interval(copies)}"),
        ("real images that match", share(copies["false_alarm"]), WORDS("false_alarm")),
        ("beyond chance", share(copies["memorised"]), WORDS("beyond_chance")),
        ("p value", p_value(copies["p_value"]), WORDS("p_value")),
        ("data-copying z", figure(copies["data_copying_z"]), WORDS("data_copying")),
    ]
    yield WORDS.table("copy_test", test, images=copies["images"])
    planted = [sum(row[key] for row in copies["recall"]) for key in ("planted", "found")]
    whole = [blocks.Row("sum", ("all kinds", *planted, share(planted[1] / planted[0]), ""))] if copies["recall"] else []
    yield WORDS.table("planted", [*copies["recall"], *whole], between=_interval)
    for name in ("scores", "distances", "nearest"):
        yield from _picture(name, pictures)
    flagged = copies["flagged"]
    if flagged:
        more = f" and {len(flagged[_NAMES:])} more" if flagged[_NAMES:] else ""
        yield blocks.Heading("Files that match a training image")
        yield blocks.Text(Markup(", ").join(map(blocks.code, flagged[:_NAMES])) + more, "meta")


def _interval(row: Record) -> str:
    return f"{share(row['low'])} to {share(row['high'])}"


def _map(pca: Record, pictures: Pictures) -> Iterator[blocks.Block]:
    yield WORDS.text("map")
    yield from _picture("pca", pictures)
    yield blocks.Text(f"{pca['protocol']}.", "note-text")
    rows = [
        ("variance explained by each axis", ", ".join(map(share, pca["explained"]))),
        ("generated inside the real hull", share(pca["fakes_inside"])),
    ]
    yield WORDS.table("hulls", rows)


def _protocol(results: Record) -> Iterator[blocks.Block]:
    real, fake = results["real"], results["fake"]
    yield WORDS.text("protocol", protocol=results["protocol_id"])
    marked = "marked as synthetic in the files" if fake["synthetic"] else "not marked as synthetic in the files"
    yield WORDS.table("sets", [("real", real, counted(real["groups"], "group")), ("generated", fake, marked)])
    settings = {
        name: value if isinstance(value, str) else json.dumps(atomic.plain(value), ensure_ascii=False)
        for name, value in results["protocol"].items()
    }
    yield WORDS.table("settings", settings.items())
    yield blocks.Text(f"Time taken: {duration(results['seconds'])}.", "note-text")


def log_evaluation(results: Record) -> None:
    """Print the figures as a table, and the answers."""
    for space, rows in itertools.groupby(results["metrics"], key=lambda row: row["space"]):
        cells = []
        for row in rows:
            error = "" if row["standard_error"] is None else f" ± {figure(row['standard_error'])}"
            floor = f"{figure(row['floor'])} {bracket(figure(row['floor_low']), figure(row['floor_high']))}"
            cells.append((row["title"], figure(row["value"]) + error, floor, times(row["ratio"])))
        say("")
        say("%s", plain_table((f"in {space}", "value", "real against real [95 %]", "ratio"), cells, (1, 2, 3)))
    for item in results["not_measured"]:
        tell(f"{item['name']}: not measured: {item['why']}")
    tell(f"Ratio up to 1: within what real images score; protocol {results['protocol_id']}.")
    for warning in verdicts.warnings(results["metrics"], results["copies"], results["n"], results["warnings"]):
        tell(warning)
    for question, answer in results["verdicts"].items():
        tell(f"{question}: {answer['answer']}. {answer['text']}")
    say("%s", NOTICE)
