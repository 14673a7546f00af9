"""Write ``report.html`` of ``segment``, in one self-contained file: does a generator help, on each set?"""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from markupsafe import Markup

from sonoforge.runtime.cli.answer import say, tell
from sonoforge.training.data.pixels import STRUCTURE_COLOURS
from sonoforge.training.reports import blocks, charts, pictures, terminal, words
from sonoforge.training.segmentation.experiment import PlannedSet, durations
from sonoforge.training.segmentation.figures import AUGMENTED_ARM, CLAIM, GENERATED_ARM, REAL_ARM
from sonoforge.training.segmentation.generating import METRICS, MOST_MEASURED
from sonoforge.training.segmentation.pairs import PICTURES, SMALLEST_PIECE, sheet_name
from sonoforge.training.statistics.intervals import LEVEL
from sonoforge.training.statistics.results import Record
from sonoforge.training.statistics.wording import figure, number, share, times

REPORT = "report.html"
NOTHING = "–"
_SIDE = 1100  # pixels of a sheet, at most
_STYLE = """
.sheet { margin: 1rem 0; }
.sheet img { width: 100%; image-rendering: pixelated; }
.key span { display: inline-block; width: .9em; height: .9em; border-radius: 2px; margin: 0 .3em 0 .9em; vertical-align: -.1em; }
"""  # noqa: E501 - a style sheet
WORDS = words.Words("segmentation")
_VERDICT = words.read_yaml("segmentation-verdict")


def write_report(folder: Path, results: Sequence[Record], sets: Sequence[PlannedSet]) -> Path:
    """Write ``FOLDER/report.html`` and return its path."""
    verdicts = [
        blocks.Answer("open", own["name"], "", [*map(blocks.Text, own["verdict"] or ["No generator was asked for."])])
        for own in results
    ]
    page = blocks.Page(
        title="Which generator helps segmentation?",
        meta="sonoforge segment",
        heading="Which generator helps segmentation?",
        summary=[WORDS.text("summary"), *verdicts],
        sections=[
            blocks.Section(f"set-{place}", own["name"], list(_blocks(folder, own, about)))
            for place, (own, about) in enumerate(zip(results, sets, strict=True), start=1)
        ],
        made="Images below a generator's name are synthetic.",
        style=_STYLE,
    )
    return page.write(folder / REPORT)


def _blocks(folder: Path, own: Record, facts: PlannedSet) -> Iterator[blocks.Block | Markup]:
    plan, experiment = facts.tasks[0].plan, facts.tasks[0].experiment
    yield WORDS.text(
        "images",
        images=facts.images,
        patients=len(set(plan.groups)),
        plan=plan,
        grouped=any(item.group for item in facts.images.cache.dataset.items),  # whether patients are known
        folds=len({task.fold for task in facts.tasks}),
        seeds=len({task.seed for task in facts.tasks}),
        experiment=experiment,
        trained=durations(experiment) if own["generators"] else "",
    )
    yield arm_table(own)
    if own["claims"]:
        yield blocks.Text(f"* {CLAIM}: not comparable with the rows above.", "note-text")
    yield blocks.Grid(list(_charts(own)))
    correlations = [(found["metric"].upper(), found) for found in own["correlations"]]
    if claimed := own["claimed_correlation"]:
        correlations.append(("FID, of the claimed figures *", claimed))
    if correlations:
        yield WORDS.table("correlations", correlations, name=own["name"])
    yield blocks.Heading("Each structure")
    yield structure_table(own)
    yield WORDS.text("without", empty=int((~facts.images.maps.any((1, 2))).sum()))
    if own["generators"]:
        yield blocks.Heading("What each generator took and made")
        yield generator_table(own)
        yield WORDS.text("generators", smallest=share(SMALLEST_PIECE, 0), maps=experiment.maps)
    yield from _sheets(folder / own["name"] / PICTURES, own, facts.images.structures)


def conclude(own: Record) -> Record:
    """Add the ``verdict`` to the figures of `compute_set`: does a generator help, and do FID or KID predict which?"""
    rows, said = own["rows"], list[str]()
    real = next((row for row in rows if row["arm"] == REAL_ARM), None)
    generated = [row for row in rows if row["arm"] == GENERATED_ARM]
    placebo = AUGMENTED_ARM if any(row["arm"] == AUGMENTED_ARM for row in rows) else REAL_ARM
    added = [row for row in rows if row["recipe"] and row["arm"] != GENERATED_ARM and row[f"against_{placebo}"]]
    for key, judged in (("alone", generated), ("added", added)):
        if judged:
            best = max(judged, key=lambda row: float(row["dice"]["value"]))
            said.append(
                words.plain(_VERDICT[key], {"best": best, "real": real, "placebo": placebo, "several": len(judged)})
            )
    ordered = [words.plain(_VERDICT["ordered"], {"found": found, "level": LEVEL}) for found in own["correlations"]]
    return {**own, "verdict": [*said, *ordered]}


def arm_table(own: Record) -> blocks.Table:
    """Show the Dice of each arm with each generator, with the paper's rows below."""
    claimed = [
        blocks.Row("", (arm, f"{name or 'none'}, claimed *", number(claim["dice"], 2), NOTHING, NOTHING))
        for claim in own["claims"]
        for name, arm in ((claim["recipe"], "generated" if claim["recipe"] else "real"),)
    ]
    return WORDS.table("arms", [*own["rows"], *claimed], own=own)


def structure_table(own: Record) -> blocks.Table:
    """Show how well each structure is found."""
    rows = [(row, name, part) for row in own["rows"] for name, part in row["structures"].items()]
    return WORDS.table("structures", rows, name=own["name"])


def generator_table(own: Record) -> blocks.Table:
    """Show what each generator cost, and how close its images are to real ones."""
    first = own["generators"][0]
    structures = list(first["structures"])
    claimed = [
        blocks.Row("", (f"{claim['recipe']}, claimed *", figure(claim["fid"]), *[NOTHING] * (6 + len(structures))))
        for claim in own["claims"]
        if claim["fid"]
    ]
    drawn = next(iter(first["metrics"].values()))["n"]
    facts = {"name": own["name"], "space": first["space"], "most": MOST_MEASURED, "drawn": drawn}
    rows = [*own["generators"], *claimed]
    return WORDS.table("generator_table", rows, measured=_measured, structures=structures, **facts)


def _measured(found: Record | None) -> str:
    return NOTHING if found is None else blocks.soft(figure(found["value"]), f"({times(found['ratio'])})")


def _charts(own: Record) -> Iterator[blocks.Figure]:
    yield WORDS.figure("dice", _draw_dice(own["rows"], own["name"]))
    for metric in METRICS:
        if drawn := _draw_usefulness(own, metric):
            yield WORDS.figure("usefulness", drawn)


@charts.styled
def _draw_dice(rows: Sequence[Record], title: str) -> Markup:
    """Draw the Dice of each row with its interval, real pairs as a line."""
    names = [f"{row['arm']} {row['recipe'].partition(':')[0]}".rstrip() for row in rows]
    canvas, axes, heights = charts.new_row_chart(names, "Dice on real test patients")
    for row, height in zip(rows, heights, strict=True):
        dice, own = row["dice"], charts.SERIES[0] if row["recipe"] else charts.SERIES[1]
        axes.plot([dice["low"], dice["high"]], [height, height], "-", color=own, alpha=0.5)
        axes.plot(dice["value"], height, "o" if row["recipe"] else "s", color=own)
        if row["arm"] == "real":
            axes.axvline(dice["value"], color=charts.INK, linewidth=1, zorder=0.5)
    said = "; ".join(f"{name} {number(row['dice']['value'])}" for name, row in zip(names, rows, strict=True))
    return charts.svg(canvas, f"Dice on {title}: {said}")


@charts.styled
def _draw_usefulness(own: Record, metric: str) -> Markup:
    """Draw the Dice of a U-Net trained only on each generator's pairs against a metric of its images."""
    dice = {row["recipe"]: row["dice"] for row in own["rows"] if row["arm"] == GENERATED_ARM}
    points = [
        (generator["recipe"].partition(":")[0], generator["metrics"][metric]["value"], dice[generator["recipe"]])
        for generator in own["generators"]
        if generator["recipe"] in dice and metric in generator["metrics"]
    ]
    if not points:
        return Markup()
    canvas, axes = charts.new_chart(330 + 12 * len(points))
    for place, (name, value, found) in enumerate(points):
        axes.vlines(value, found["low"], found["high"], charts.colour(place), alpha=0.4)
        axes.plot(value, found["value"], charts.marker(place), color=charts.colour(place), label=name)
    axes.set(xlabel=f"{metric.upper()} (low: like real images)", ylabel="Dice, generated pairs alone")
    canvas.legend(loc="outside lower left", ncols=2)
    said = "; ".join(
        f"{name}: {metric.upper()} {figure(value)}, Dice {number(found['value'])}" for name, value, found in points
    )
    return charts.svg(canvas, f"Dice against {metric.upper()} on {own['name']}: {said}")


def _sheets(folder: Path, own: Record, structures: Sequence[str]) -> Iterator[blocks.Block | Markup]:
    key = [
        Markup('<span style="background: #{:02x}{:02x}{:02x}"></span>{}').format(*colour, name)
        for colour, name in zip(itertools.cycle(STRUCTURE_COLOURS), structures, strict=False)
    ]
    yield blocks.Heading("Pairs")
    yield blocks.Text(Markup("").join(key), "key")
    about = f"of {own['name']}: above the images, below the same with their structures"
    yield from _sheet(folder, "real training images", "real", about)
    for generator in own["generators"]:
        told = f" of the classes {'; '.join(generator['classes'])}" if generator["classes"] else ""
        yield from _sheet(folder, generator["recipe"], generator["recipe"], about, f": synthetic images{told}")
    yield blocks.Heading("Predictions on test patients")
    yield WORDS.text("predictions")
    about = f"on {own['name']}: above the reference, below what the U-Net says"
    for row in own["rows"]:
        parts = [part for part in (row["arm"], row["recipe"]) if part]
        yield from _sheet(folder, " ".join(parts), "-".join(["predicted", *parts]), about)


def _sheet(folder: Path, title: str, name: str, alt: str, text: str = "") -> Iterator[blocks.Figure]:
    """Show a sheet of pictures, if there is one."""
    path = folder / sheet_name(name)
    if path.is_file():
        yield blocks.Figure(title, text, pictures.embed(path, _SIDE, f"{title} {alt}"), "sheet")


def tell_sets(results: Sequence[Record]) -> None:
    """Print tables and verdicts."""
    for own in results:
        tell(f"{own['name']}: {own['cases']} test cases of {own['patients']} patients, 95 % intervals by patient")
        for table in (arm_table(own), structure_table(own)):
            say("%s", terminal.table_text(table))
        if own["generators"]:
            tell(WORDS.plain("cost", space=own["generators"][0]["space"]))
            say("%s", terminal.table_text(generator_table(own)))
        for sentence in own["verdict"]:
            tell(sentence)
