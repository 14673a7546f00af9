"""The tables of a segmentation experiment for terminals and as files, the paper's rows beside ours as claims."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from sonoforge.training.gan.settings import compose
from sonoforge.training.run_folder import write_table
from sonoforge.training.segmentation.experiment import Experiment
from sonoforge.training.segmentation.results import ArmResult, Estimate
from sonoforge.training.segmentation.set_results import GeneratorResult, SetResults
from sonoforge.training.statistics.published_segmentation import SOURCE
from sonoforge.training.statistics.wording import bracket, counted, figure, number, times
from sonoforge.training.terminal import as_text

TABLE = "table.csv"
CLAIM = f"claim of {SOURCE}, under another protocol"
NO_GENERATOR = "none"
_ESTIMATE = ("", "_low", "_high")
COLUMNS = (
    *("set", "arm", "recipe"),
    *(f"{name}{end}" for name in ("dice", "against_real", "against_augmented") for end in _ESTIMATE),
    *("fid", "fid_ratio", "kid", "kid_ratio", "seconds_per_epoch", "memory_gib", "weights", "source"),
)


def write_tables(folder: Path, results: Sequence[SetResults]) -> None:
    """Write ``table.csv``: a row for each arm and generator of each set, then the paper's."""
    rows = [row for own in results for row in (*_own_rows(own), *_claimed_rows(own))]
    write_table(folder / TABLE, COLUMNS, rows)


def _own_rows(own: SetResults) -> Iterator[dict[str, Any]]:
    generators = {generator["recipe"]: generator for generator in own["generators"]}
    for row in own["rows"]:
        cells: dict[str, Any] = {"set": own["name"], "arm": row["arm"], "recipe": row["recipe"], "source": "this run"}
        for name in ("dice", "against_real", "against_augmented"):
            cells |= _cells(name, row[name])
        generator = generators.get(row["recipe"])
        if generator is not None:
            for name, metric in generator["metrics"].items():
                cells |= {name: metric["value"], f"{name}_ratio": metric["ratio"]}
            cells |= {name: generator[name] for name in ("seconds_per_epoch", "memory_gib", "weights")}
        yield cells


def _cells(name: str, estimate: Estimate | None) -> dict[str, float]:
    if estimate is None:
        return {}
    values = (estimate["value"], estimate["low"], estimate["high"])
    return {f"{name}{end}": value for end, value in zip(_ESTIMATE, values, strict=True)}


def _claimed_rows(own: SetResults) -> Iterator[dict[str, Any]]:
    for claim in own["claims"]:
        arm = "generated" if claim["recipe"] else "real"
        yield {
            **{"set": own["name"], "arm": arm, "recipe": claim["recipe"]},
            **{"dice": claim["dice"], "fid": claim["fid"], "source": CLAIM},
        }


def describe_budget(experiment: Experiment, budget: str, tasks: int) -> str:
    """Say what will be trained, and for how long."""
    unet = experiment.unet
    lines = [
        f"budget {budget}: {counted(tasks, 'fold')} in all; each U-Net {unet.steps} steps of {unet.batch} pairs, "
        f"{unet.width} channels",
    ]
    if experiment.recipes:
        lines.append(f"generators: {describe_generators(experiment)}")
    return "\n".join(lines)


def describe_generators(experiment: Experiment) -> str:
    """Say how long each generator is trained, and in which batches."""
    said = []
    for recipe in experiment.recipes:
        settings = experiment.settings_of(recipe)
        lengths = {"epochs": settings.epochs, "thousand images": settings.kimg, "steps": settings.steps}
        length = next((f"{value:g} {name}" for name, value in lengths.items() if value is not None), "as published")
        batch = settings.batch or compose(settings).budget.batch
        said.append(f"{recipe} {length}, batches of {batch}")
    width = "" if experiment.generator.width is None else f"; base width {experiment.generator.width}"
    return "; ".join(said) + width


def describe_sets(results: Sequence[SetResults]) -> str:
    """Return tables and verdicts for a terminal."""
    return "\n\n".join(_describe(own) for own in results)


def _describe(own: SetResults) -> str:
    lines = [f"{own['name']}: {own['cases']} test cases of {own['patients']} patients, 95 % intervals by patient"]
    lines.append(_arms(own["rows"]))
    if len(own["rows"][0]["structures"]) > 1:
        lines.append(_structures(own["rows"]))
    if own["generators"]:
        first = own["generators"][0]
        lines.append(f"what the generators took; FID and KID in {first['space']} features, in parentheses")
        lines.append("the multiple of what real images score against each other; up to 1 cannot be told from them")
        lines.append(_generators(own["generators"]))
    return "\n".join([*lines, *own["verdict"]])


def _arms(rows: Sequence[ArmResult]) -> str:
    unit = next(iter(rows[0]["structures"].values()))["unit"]
    cells = []
    for row in rows:
        distances = [part["hd95"]["value"] for part in row["structures"].values()]
        changed = row["against_augmented"]
        cells.append([
            *_names(row),
            with_interval(row["dice"]),
            number(sum(distances) / len(distances), 1),
            "-" if changed is None else with_interval(changed, "+"),
        ])  # fmt: skip
    return _table(("arm", "generator", "Dice", f"HD95, {unit}", "against augmented"), cells)


def _structures(rows: Sequence[ArmResult]) -> str:
    names = list(rows[0]["structures"])
    cells = [[*_names(row), *(number(row["structures"][name]["dice"]["value"]) for name in names)] for row in rows]
    return _table(("Dice of", "generator", *names), cells)


def _names(row: ArmResult) -> tuple[str, str]:
    return row["arm"], row["recipe"].partition(":")[0] or "-"


def _generators(generators: Sequence[GeneratorResult]) -> str:
    cells = []
    for own in generators:
        found = [own["metrics"].get(name) for name in ("fid", "kid")]
        cells.append([
            own["recipe"].partition(":")[0],
            *("-" if metric is None else f"{figure(metric['value'])} ({times(metric['ratio'])})" for metric in found),
            figure(own["seconds_per_epoch"]),
            "-" if own["memory_gib"] is None else number(own["memory_gib"], 2),
            figure(own["weights"] / 1e6),
            figure(own["kimg"]),
        ])  # fmt: skip
    heading = ("generator", "FID", "KID", "s an epoch", "GiB", "million weights", "thousand images")
    return _table(heading, cells)


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    table = Table(box=box.SIMPLE, pad_edge=False, padding=(0, 1))
    for title in heading:
        table.add_column(title)
    for row in rows:
        table.add_row(*row)
    return as_text(table)


def with_interval(estimate: Estimate, sign: str = "") -> str:
    """Print a figure with its interval."""
    ends = bracket(number(estimate["low"], 3, sign), number(estimate["high"], 3, sign))
    return f"{number(estimate['value'], 3, sign)} {ends}"
