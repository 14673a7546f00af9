"""``report.html`` of ``segment``: does a generator help, on each set; one self-contained file.

The page prints the results it is given and computes no figure of its own.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from sonoforge.training.data.pixels import STRUCTURE_COLOURS
from sonoforge.training.pages import blocks
from sonoforge.training.pages.charts import INK, SERIES, colour, marker, new_chart, new_row_chart, styled, svg
from sonoforge.training.pages.embedding import embed
from sonoforge.training.segmentation.experiment import PERTURBED, REAL
from sonoforge.training.segmentation.generating import METRICS, MOST_MEASURED
from sonoforge.training.segmentation.overlays import PICTURES, sheet_name
from sonoforge.training.segmentation.pairs import SMALLEST_PIECE
from sonoforge.training.segmentation.results import GENERATED_ARM, ArmResult, GeneratorResult, SetResults
from sonoforge.training.segmentation.tables import CLAIM
from sonoforge.training.segmentation.unet import UnetSettings
from sonoforge.training.statistics.wording import counted, figure, listed, number, p_value, share, times

REPORT = "report.html"
NOTHING = "–"
_SIDE = 1100  # pixels of a sheet, at most
_STYLE = """
.sheet { margin: 1rem 0; }
.sheet img { width: 100%; image-rendering: pixelated; }
.key span { display: inline-block; width: .9em; height: .9em; border-radius: 2px; margin: 0 .3em 0 .9em; vertical-align: -.1em; }
"""  # noqa: E501 - a style sheet
_DRAWN_INTO = {
    REAL: "the maps of its training patients as they are",
    PERTURBED: "the maps of its training patients, rotated, scaled, shifted and bent at random",
}


@dataclass(frozen=True)
class SetFacts:
    """What the page says of a set beside its figures."""

    images: int
    patients: int
    grouped: bool  # whether the data say whose the images are
    cases: int
    structures: Sequence[str]
    protocol: str
    folds: int
    tested_folds: int
    seeds: int
    without: int  # images that show no structure
    image_size: int
    unet: UnetSettings
    maps: str  # that SPADE draws into
    generators: str  # how long each was trained


def write_report(folder: Path, results: Sequence[SetResults], facts: Mapping[str, SetFacts]) -> Path:
    """Write ``FOLDER/report.html`` and return its path.

    Args:
        folder: Of the run.
        results: All figures.
        facts: Of each set by its name.
    """
    said = (
        "A U-Net learned to outline structures from real pairs of image and label map, from generated ones, or from "
        "both, and was tested on real patients that neither it nor any generator had seen. A generator is worth its "
        "hours where its pairs help more than augmentation of the real ones, which costs none."
    )
    verdicts = [
        blocks.Answer("open", own["name"], "", [*map(blocks.Text, own["verdict"] or ["No generator was asked for."])])
        for own in results
    ]
    page = blocks.Page(
        title="Which generator helps segmentation?",
        meta="sonoforge segment",
        heading="Which generator helps segmentation?",
        summary=[blocks.Text(said), *verdicts],
        sections=[
            blocks.Section(f"set-{place}", own["name"], list(_blocks(folder, own, facts[own["name"]])))
            for place, own in enumerate(results, start=1)
        ],
        made="Images below a generator's name are synthetic.",
        style=_STYLE,
    )
    return page.write(folder / REPORT)


def _blocks(folder: Path, own: SetResults, facts: SetFacts) -> Iterator[blocks.Block | Markup]:
    yield blocks.Text(_describe(own, facts))
    yield arm_table(own)
    if own["claims"]:
        yield blocks.Text(f"* {CLAIM}: not comparable with the rows above.", "note-text")
    yield blocks.Grid(list(_charts(own)))
    yield from _correlations(own)
    yield blocks.Heading("Each structure")
    yield structure_table(own)
    without = (
        f"{counted(facts.without, 'image')} show no structure. They are trained on and tested like all others; a case "
        "without a structure has no Dice of it, and counts as invented where it is predicted."
    )
    yield blocks.Text(without if facts.without else "Every image shows some structure.")
    if own["generators"]:
        yield blocks.Heading("What each generator took and made")
        yield generator_table(own)
        yield blocks.Text(
            "Generators without maps make image and masks as channels of one sample; each pixel goes to the "
            "structure with the highest level, or to none. Pieces of a generated structure below "
            f"{share(SMALLEST_PIECE, 0)} of its largest one are cleared; nothing is filled or smoothed. SPADE drew "
            f"into {_DRAWN_INTO.get(facts.maps, f'maps that {facts.maps} had made')}."
        )
    yield from _sheets(folder / own["name"] / PICTURES, own, facts.structures)


def _describe(own: SetResults, facts: SetFacts) -> str:
    counted_once = "near-duplicates count as one patient"
    if not facts.grouped:
        counted_once = "no groups.csv says whose they are, so each image counts as a patient, near-duplicates as one"
    tested = f": {counted(facts.tested_folds, 'fold')} of {facts.folds} tested" if facts.protocol == "sealed" else ""
    trained = f" Generators: {facts.generators}; the rest as their recipes say." if own["generators"] else ""
    return (
        f"{counted(facts.images, 'image')} of {counted(facts.patients, 'patient')} ({counted_once}), "
        f"{counted(facts.cases, 'case')}: a case is a volume, or an image that belongs to none. "
        f"{'Structures' if len(facts.structures) > 1 else 'Structure'}: {listed(facts.structures)}. Split "
        f"{facts.protocol}{tested}, {counted(facts.seeds, 'seed')}; everything at {facts.image_size} x "
        f"{facts.image_size} pixels. U-Net: {facts.unet.steps} steps of {facts.unet.batch} pairs, {facts.unet.width} "
        f"channels, its last weights.{trained}"
    )


def arm_table(own: SetResults) -> blocks.Table:
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
    caption = (
        f"{own['name']}: agreement with the reference on {counted(own['cases'], 'test case')} of "
        f"{counted(own['patients'], 'patient')}, mean over cases and structures; 95 % intervals by patient. Changes "
        "are paired by patient."
    )
    head = ("trained on", "generator", "Dice", "against real", "against augmented")
    return blocks.Table(f"Dice on {own['name']}", head, [*rows, *claimed], caption, words=(1,))


def _row(row: ArmResult, *cells: object) -> blocks.Row:
    return blocks.Row("" if row["recipe"] else "ours", (row["arm"], row["recipe"] or "none", *cells))


def structure_table(own: SetResults) -> blocks.Table:
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
    caption = (
        f"{own['name']}: each structure; means over the cases that have it. HD95 is the 95th percentile of the "
        "distances between the outlines, within slices. Missed: cases where no slice has it both in the reference "
        "and in the prediction, which have no HD95. Invented: cases without it in which it was predicted."
    )
    head = ("trained on", "generator", "structure", "Dice", "IoU", "HD95", "missed", "invented")
    return blocks.Table(f"Structures of {own['name']}", head, rows, caption, words=(1, 2))


def generator_table(own: SetResults) -> blocks.Table:
    """Show what each generator took, and how like real images its own are."""
    first = own["generators"][0]
    structures = list(first["structures"])
    claimed = [
        (f"{claim['recipe']}, claimed *", figure(claim["fid"]), *[NOTHING] * (6 + len(structures)))
        for claim in own["claims"]
        if claim["fid"]
    ]
    drawn = next(iter(first["metrics"].values()))["n"]
    caption = (
        f"{own['name']}: cost and likeness. In parentheses the multiple of what real images score against each "
        f"other; up to 1 cannot be told from them. {first['space']} features; at most {MOST_MEASURED} images a side, "
        f"the real ones of the test fold, which no generator saw; multiples from draws of {drawn} a side."
    )
    head = (
        *("generator", "FID", "KID", "seconds an epoch", "memory", "weights, both networks", "steps"),
        *("thousand images shown", *(f"pairs with {name}" for name in structures)),
    )
    rows = [*map(_generator, own["generators"]), *claimed]
    return blocks.Table(f"Generators of {own['name']}", head, rows, caption)


def _generator(own: GeneratorResult) -> tuple[str, ...]:
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


def _correlations(own: SetResults) -> Iterator[blocks.Table]:
    claimed = own["claimed_correlation"]
    named = [(found["metric"].upper(), found) for found in own["correlations"]]
    named += [("FID, of the claimed figures *", claimed)] if claimed else []
    rows = [
        (name, found["generators"], number(found["rho"], 2, "+"), p_value(found["p_value"])) for name, found in named
    ]
    if rows:
        caption = (
            f"{own['name']}: rank correlation (Spearman) of a metric of the images and the Dice of a U-Net trained on "
            "generated pairs alone; -1: the lowest metric is the most useful. P values by permutation."
        )
        head = ("metric", "generators", "correlation", "p")
        yield blocks.Table(f"Metric and usefulness on {own['name']}", head, rows, caption)


def _charts(own: SetResults) -> Iterator[blocks.Figure]:
    said = ", with 95 % intervals. Squares: no generator; the line: real pairs as they are."
    yield blocks.Figure("Dice on real test patients", said, _draw_dice(own["rows"], own["name"]))
    for metric in METRICS:
        drawn = _draw_usefulness(own, metric)
        if drawn:
            said = " Each generator by its metric and by the Dice of a U-Net that saw its pairs alone."
            yield blocks.Figure("Does the metric tell what is useful?", said, drawn)


@styled
def _draw_dice(rows: Sequence[ArmResult], title: str) -> Markup:
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
def _draw_usefulness(own: SetResults, metric: str) -> Markup:
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


def _sheets(folder: Path, own: SetResults, structures: Sequence[str]) -> Iterator[blocks.Block | Markup]:
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
    yield blocks.Text("Of the first fold: above the reference, below what the U-Net says.")
    about = f"on {own['name']}: above the reference, below what the U-Net says"
    for row in own["rows"]:
        parts = [part for part in (row["arm"], row["recipe"]) if part]
        yield from _sheet(folder, " ".join(parts), "-".join(["predicted", *parts]), about)


def _sheet(folder: Path, title: str, name: str, alt: str, text: str = "") -> Iterator[blocks.Figure]:
    """Show a sheet of pictures, if there is one."""
    path = folder / sheet_name(name)
    if path.is_file():
        yield blocks.Figure(title, text, embed(path, _SIDE, f"{title} {alt}"), "sheet")
