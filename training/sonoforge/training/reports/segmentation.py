"""``report.html`` of ``segment``: does a generator help, on each set; one self-contained file.

The page prints the results it is given and computes no figure of its own.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from markupsafe import Markup

from sonoforge.runtime.cli.answer import say, tell
from sonoforge.training.data.pixels import STRUCTURE_COLOURS
from sonoforge.training.reports import blocks
from sonoforge.training.reports.charts import INK, SERIES, colour, marker, new_chart, new_row_chart, styled, svg
from sonoforge.training.reports.pictures import embed
from sonoforge.training.reports.terminal import table_text
from sonoforge.training.reports.texts import read_texts
from sonoforge.training.segmentation.experiment import PERTURBED, REAL, PlannedSet, durations
from sonoforge.training.segmentation.generating import METRICS, MOST_MEASURED
from sonoforge.training.segmentation.pairs import PICTURES, SMALLEST_PIECE, sheet_name
from sonoforge.training.segmentation.tables import CLAIM, GENERATED_ARM
from sonoforge.training.statistics.results import Record
from sonoforge.training.statistics.wording import counted, figure, listed, number, p_value, share, times

REPORT = "report.html"
NOTHING = "–"
_SIDE = 1100  # pixels of a sheet, at most
_STYLE = """
.sheet { margin: 1rem 0; }
.sheet img { width: 100%; image-rendering: pixelated; }
.key span { display: inline-block; width: .9em; height: .9em; border-radius: 2px; margin: 0 .3em 0 .9em; vertical-align: -.1em; }
"""  # noqa: E501 - a style sheet
TEXTS = read_texts("segmentation")
_DRAWN_INTO = {REAL: TEXTS["real_maps"], PERTURBED: TEXTS["perturbed_maps"]}


def write_report(
    folder: Path, results: Sequence[Record], sets: Sequence[PlannedSet], elsewhere: Sequence[Sequence[Record]]
) -> Path:
    """Write ``FOLDER/report.html`` and return its path.

    Args:
        folder: Of the run.
        results: All figures.
        sets: That they are of.
        elsewhere: Of each set, the figures of its U-Nets on other sets.
    """
    verdicts = [
        blocks.Answer("open", own["name"], "", [*map(blocks.Text, own["verdict"] or ["No generator was asked for."])])
        for own in [*results, *(other for others in elsewhere for other in others)]
    ]
    page = blocks.Page(
        title="Which generator helps segmentation?",
        meta="sonoforge segment",
        heading="Which generator helps segmentation?",
        summary=[blocks.Text(TEXTS["summary"]), *verdicts],
        sections=[
            blocks.Section(f"set-{place}", own["name"], [*_blocks(folder, own, about), *map(arm_table, others)])
            for place, (own, about, others) in enumerate(zip(results, sets, elsewhere, strict=True), start=1)
        ],
        made="Images below a generator's name are synthetic.",
        style=_STYLE,
    )
    return page.write(folder / REPORT)


def _blocks(folder: Path, own: Record, facts: PlannedSet) -> Iterator[blocks.Block | Markup]:
    yield blocks.Text(_describe(own, facts))
    yield arm_table(own)
    if own["claims"]:
        yield blocks.Text(f"* {CLAIM}: not comparable with the rows above.", "note-text")
    yield blocks.Grid(list(_charts(own)))
    yield from _correlations(own)
    yield blocks.Heading("Each structure")
    yield structure_table(own)
    empty = int((~facts.images.maps.any((1, 2))).sum())
    without = TEXTS["without"].format(images=counted(empty, "image"))
    yield blocks.Text(without if empty else "Every image shows some structure.")
    if own["generators"]:
        yield blocks.Heading("What each generator took and made")
        yield generator_table(own)
        given = facts.tasks[0].experiment.maps
        maps = _DRAWN_INTO.get(given, f"maps that {given} had made")
        yield blocks.Text(TEXTS["generators"].format(smallest=share(SMALLEST_PIECE, 0), maps=maps))
    yield from _sheets(folder / own["name"] / PICTURES, own, facts.images.structures)


def _describe(own: Record, facts: PlannedSet) -> str:
    images, plan, experiment = facts.images, facts.tasks[0].plan, facts.tasks[0].experiment
    folds, seeds = {task.fold for task in facts.tasks}, {task.seed for task in facts.tasks}
    tested = f": {counted(len(folds), 'fold')} of {plan.folds} tested" if plan.protocol == "sealed" else ""
    if experiment.pairs is not None:
        tested += f", {counted(experiment.pairs, 'pair')} for training in each"
    trained = f" Generators: {durations(experiment)}; the rest as their recipes say." if own["generators"] else ""
    grouped = any(item.group for item in images.cache.dataset.items)  # whether the data say whose the images are
    return TEXTS["images"].format(
        images=counted(len(images.maps), "image"),
        patients=counted(len(set(plan.groups)), "patient"),
        counted_once=TEXTS["one_patient" if grouped else "no_patients"],
        cases=counted(len(images.cases), "case"),
        structures=f"{'Structures' if len(images.structures) > 1 else 'Structure'}: {listed(images.structures)}",
        split=f"{plan.protocol}{tested}, {counted(len(seeds), 'seed')}",
        side=images.cache.size,
        unet=experiment.unet,
        trained=trained,
    )


def arm_table(own: Record) -> blocks.Table:
    """Show the Dice of each arm with each generator, the paper's rows below."""
    rows = []
    for row in own["rows"]:
        changes = (row["against_real"], row["against_augmented"])
        cells = (NOTHING if change is None else blocks.area(change, "+") for change in changes)
        rows.append(_row(row, blocks.area(row["dice"]), *cells))
    claimed = [
        (
            "generated" if claim["recipe"] else "real",
            f"{claim['recipe'] or 'none'}, claimed *",
            number(claim["dice"], 2),
            *[NOTHING] * 2,
        )
        for claim in own["claims"]
    ]
    cases, patients = counted(own["cases"], "test case"), counted(own["patients"], "patient")
    caption = TEXTS["arms"].format(name=own["name"], cases=cases, patients=patients)
    head = ("trained on", "generator", "Dice", "against real", "against augmented")
    return blocks.Table(f"Dice on {own['name']}", head, [*rows, *claimed], caption, words=(1,))


def _row(row: Record, *cells: object) -> blocks.Row:
    return blocks.Row("" if row["recipe"] else "ours", (row["arm"], row["recipe"] or "none", *cells))


def structure_table(own: Record) -> blocks.Table:
    """Show how well each structure is found."""
    rows = [
        _row(
            row,
            name,
            blocks.area(part["dice"]),
            blocks.area(part["iou"]),
            blocks.area(part["hd95"], digits=1) + f"\u00a0{part['unit']}",
            f"{part['missed']:g} of {part['cases']}",
            f"{part['invented']:g} of {part['without']}",
        )
        for row in own["rows"]
        for name, part in row["structures"].items()
    ]
    caption = TEXTS["structures"].format(name=own["name"])
    head = ("trained on", "generator", "structure", "Dice", "IoU", "HD95", "missed", "invented")
    return blocks.Table(f"Structures of {own['name']}", head, rows, caption, words=(1, 2))


def generator_table(own: Record) -> blocks.Table:
    """Show what each generator took, and how like real images its own are."""
    first = own["generators"][0]
    structures = list(first["structures"])
    claimed = [
        (f"{claim['recipe']}, claimed *", figure(claim["fid"]), *[NOTHING] * (6 + len(structures)))
        for claim in own["claims"]
        if claim["fid"]
    ]
    drawn = next(iter(first["metrics"].values()))["n"]
    caption = TEXTS["cost"].format(name=own["name"], space=first["space"], most=MOST_MEASURED, drawn=drawn)
    head = (
        *("generator", "FID", "KID", "seconds an epoch", "memory", "weights, both networks", "steps"),
        *("thousand images shown", *(f"pairs with {name}" for name in structures)),
    )
    rows = [*map(_generator, own["generators"]), *claimed]
    return blocks.Table(f"Generators of {own['name']}", head, rows, caption)


def _generator(own: Record) -> tuple[str, ...]:
    found = [own["metrics"].get(name) for name in ("fid", "kid")]
    memory = own["memory_gib"]
    return (
        own["recipe"],
        *(NOTHING if one is None else blocks.soft(figure(one["value"]), f"({times(one['ratio'])})") for one in found),
        figure(own["seconds_per_epoch"]),
        "not measured" if memory is None else f"{number(memory, 2)}\u00a0GiB",
        f"{number(own['weights'] / 1e6, 1)}\u00a0million",
        number(own["steps"], 0),
        figure(own["kimg"]),
        *(
            blocks.soft(share(part, 0), f"(real {share(own['real_structures'][name], 0)})")
            for name, part in own["structures"].items()
        ),
    )


def _correlations(own: Record) -> Iterator[blocks.Table]:
    claimed = own["claimed_correlation"]
    named = [(found["metric"].upper(), found) for found in own["correlations"]]
    named += [("FID, of the claimed figures *", claimed)] if claimed else []
    rows = [
        (name, found["generators"], number(found["rho"], 2, "+"), p_value(found["p_value"])) for name, found in named
    ]
    if rows:
        caption = TEXTS["correlations"].format(name=own["name"])
        head = ("metric", "generators", "correlation", "p")
        yield blocks.Table(f"Metric and usefulness on {own['name']}", head, rows, caption)


def _charts(own: Record) -> Iterator[blocks.Figure]:
    yield blocks.Figure("Dice on real test patients", TEXTS["dice"], _draw_dice(own["rows"], own["name"]))
    for metric in METRICS:
        drawn = _draw_usefulness(own, metric)
        if drawn:
            yield blocks.Figure("Does the metric tell what is useful?", TEXTS["usefulness"], drawn)


@styled
def _draw_dice(rows: Sequence[Record], title: str) -> Markup:
    """Draw the Dice of each row with its interval, real pairs as a line."""
    names = [f"{row['arm']} {row['recipe'].partition(':')[0]}".rstrip() for row in rows]
    canvas, axes, heights = new_row_chart(names, "Dice on real test patients")
    for row, height in zip(rows, heights, strict=True):
        dice, own = row["dice"], SERIES[0] if row["recipe"] else SERIES[1]
        axes.plot([dice["low"], dice["high"]], [height, height], "-", color=own, alpha=0.5)
        axes.plot(dice["value"], height, "o" if row["recipe"] else "s", color=own)
        if row["arm"] == "real":
            axes.axvline(dice["value"], color=INK, linewidth=1, zorder=0.5)
    said = "; ".join(f"{name} {number(row['dice']['value'])}" for name, row in zip(names, rows, strict=True))
    return svg(canvas, f"Dice on {title}: {said}")


@styled
def _draw_usefulness(own: Record, metric: str) -> Markup:
    """Draw the Dice of a U-Net trained on each generator's pairs alone against a metric of its images."""
    dice = {row["recipe"]: row["dice"] for row in own["rows"] if row["arm"] == GENERATED_ARM}
    points = [
        (generator["recipe"].partition(":")[0], generator["metrics"][metric]["value"], dice[generator["recipe"]])
        for generator in own["generators"]
        if generator["recipe"] in dice and metric in generator["metrics"]
    ]
    if not points:
        return Markup()
    canvas, axes = new_chart(330 + 12 * len(points))
    for place, (name, value, found) in enumerate(points):
        axes.vlines(value, found["low"], found["high"], colour(place), alpha=0.4)
        axes.plot(value, found["value"], marker(place), color=colour(place), label=name)
    axes.set(xlabel=f"{metric.upper()} (low: like real images)", ylabel="Dice, generated pairs alone")
    canvas.legend(loc="outside lower left", ncols=2)
    said = "; ".join(
        f"{name}: {metric.upper()} {figure(value)}, Dice {number(found['value'])}" for name, value, found in points
    )
    return svg(canvas, f"Dice against {metric.upper()} on {own['name']}: {said}")


def _sheets(folder: Path, own: Record, structures: Sequence[str]) -> Iterator[blocks.Block | Markup]:
    colours = [
        "#{:02x}{:02x}{:02x}".format(*STRUCTURE_COLOURS[k % len(STRUCTURE_COLOURS)]) for k in range(len(structures))
    ]
    key = [
        Markup('<span style="background: {}"></span>{}').format(shown, name)
        for shown, name in zip(colours, structures, strict=True)
    ]
    yield blocks.Heading("Pairs")
    yield blocks.Text(Markup("").join(key), "key")
    about = f"of {own['name']}: above the images, below the same with their structures"
    yield from _sheet(folder, "real training images", "real", about)
    for generator in own["generators"]:
        yield from _sheet(folder, generator["recipe"], generator["recipe"], about, ": synthetic images")
    yield blocks.Heading("Predictions on test patients")
    yield blocks.Text(TEXTS["predictions"])
    about = f"on {own['name']}: above the reference, below what the U-Net says"
    for row in own["rows"]:
        parts = [part for part in (row["arm"], row["recipe"]) if part]
        yield from _sheet(folder, " ".join(parts), "-".join(["predicted", *parts]), about)


def _sheet(folder: Path, title: str, name: str, alt: str, text: str = "") -> Iterator[blocks.Figure]:
    """Show a sheet of pictures, if there is one."""
    path = folder / sheet_name(name)
    if path.is_file():
        yield blocks.Figure(title, text, embed(path, _SIDE, f"{title} {alt}"), "sheet")


def tell_sets(results: Sequence[Record]) -> None:
    """Print tables and verdicts."""
    for own in results:
        tell(f"{own['name']}: {own['cases']} test cases of {own['patients']} patients, 95 % intervals by patient")
        for table in (arm_table(own), structure_table(own)):
            say("%s", table_text(table))
        if own["generators"]:
            space = own["generators"][0]["space"]
            tell(
                f"Cost and quality of the generators. FID and KID in {space} features; in parentheses, how many "
                "times what real images score against each other: at up to 1 they cannot be told from real ones."
            )
            say("%s", table_text(generator_table(own)))
        for sentence in own["verdict"]:
            tell(sentence)
