"""Race recipes over a grid of settings: train them, measure them at milestones, write a paper's tables.

Its defaults follow Ryspayeva and Salykova 2025: StyleGAN2 and StyleGAN3 on one class, FID, KID and SWD against the
training images after a tenth, a half and all of the training, seconds per kimg, hours, memory, samples over time and
the picture of principal components. With all classes at once it follows Berezsky and Liashchynskyi 2024; over a grid of
perceptual weights, the loss functions of DGAN-WP-TL. Their published rows are shown beside ours as claims.
"""

import dataclasses
import itertools
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sonoforge.runtime.atomic import write_text
from sonoforge.runtime.cli.options import flatten, format_value, resolve_config
from sonoforge.runtime.errors import SonoforgeError, did_you_mean
from sonoforge.training import run_folder
from sonoforge.training.devices import device_name, find_device, reset_peak
from sonoforge.training.evaluation.image_set import ImageSet
from sonoforge.training.evaluation.lpips import open_lpips
from sonoforge.training.evaluation.measure import EvaluationProtocol
from sonoforge.training.evaluation.spaces import open_spaces
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.engine import train_gan
from sonoforge.training.gan.milestones import Milestone, measure_milestone, milestone_steps, real_set
from sonoforge.training.gan.minutes import LENGTH, measure_pace
from sonoforge.training.gan.networks import find_architecture
from sonoforge.training.gan.options import ALL, PUBLISHED, GanSettings
from sonoforge.training.gan.recipes import find_recipe, short_name, split_preset
from sonoforge.training.gan.settings import compose, given_lengths
from sonoforge.training.gan.ticks import read_stats, training_cost
from sonoforge.training.gan.training import Training, open_pretrained, prepare
from sonoforge.training.gan.training_set import TrainingSet, read_training_set
from sonoforge.training.progress import finishing_on_interrupt
from sonoforge.training.reports import gan_comparison as page
from sonoforge.training.run_folder import write_table
from sonoforge.training.settings.gan import CYTOLOGY, GRID_WITHOUT, GanCompareConfig
from sonoforge.training.statistics.published import Paper, find_paper
from sonoforge.training.statistics.results import Record

log = logging.getLogger(__name__)
_OF_IMAGES = ("class_name", "held_out", "conditioning")  # settings of all training runs, or they would learn others


@dataclasses.dataclass(frozen=True, eq=False)
class _Training:
    """One training, ready to run."""

    name: str  # as asked for: RECIPE or RECIPE:PRESET, and its point of the grid
    setup: Training  # with the milestones
    real: ImageSet  # what it is measured against


class Race(NamedTuple):
    """What a comparison measured; its folder holds the runs, `page.TABLE`, `page.TABLES` and pictures."""

    folder: Path
    finished: bool  # or stopped by Ctrl-C
    rows: list[page.Row]  # one for each milestone of each training, see `page.COLUMNS`
    claims: list[page.Row]  # published rows, in the same columns
    figures: list[Record]  # of every metric at every milestone, with ``recipe`` and ``step``


def work(config: GanCompareConfig) -> Race:
    """Train each recipe from milestone to milestone; write figures and tables after each.

    Raises:
        SonoforgeError: The settings do not go together, or a recipe cannot be trained on these images.
    """
    cache_folder = config.storage.open()
    shares = config.milestones
    if not shares or shares != tuple(sorted(set(shares))) or not 0 < shares[0] <= shares[-1] == 1:
        raise SonoforgeError(
            f"--milestones: {format_value(shares)} are not ascending shares of the training that end with 1, "
            "such as 0.1,0.5,1"
        )
    if not {"kid", "fid"} <= set(config.metrics):
        raise SonoforgeError(f"--metrics must include kid and fid, not just {','.join(config.metrics)}")
    if ("lpips" in config.metrics) != bool(config.lpips):
        raise SonoforgeError("--lpips requires lpips among --metrics, and the reverse; give both or neither")
    device = find_device(config.device)
    lpips = open_lpips(config.lpips, str(device)) if config.lpips else None
    recipes = tuple(name for given in config.recipes for name in (CYTOLOGY if given == "cytology" else (given,)))
    config = dataclasses.replace(config, recipes=recipes)
    if not config.recipes or len(set(config.recipes)) < len(config.recipes):
        raise SonoforgeError(f"--recipes: {','.join(config.recipes) or 'none'}; give different recipes")
    lengths = given_lengths(config.gan)
    if config.minutes is not None and lengths:
        raise SonoforgeError(f"--minutes cannot be combined with gan.{lengths[0]}")
    trainings = _prepare(config, cache_folder)
    if config.minutes is None:
        trainings = [_with_milestones(training, shares) for training in trainings]
    flags = ("--set metrics.features", "--set metrics.weights")
    spaces = open_spaces(config.metric_features, config.metric_weights, str(device), flags)
    protocol = EvaluationProtocol(config.metrics, spaces, lpips, config.repeats, config.gan.seed, cache_folder)
    originals = trainings[0].setup.originals
    name = f"gan-compare-{originals.name}-{config.gan.class_name or 'all'}".lower()
    paper = find_paper([name.partition(":")[0] for name in config.recipes])
    folder = run_folder.open_run(Path(config.out), name, flatten(config), resume=config.resume, compared=LENGTH)
    shown: list[page.Shown] = []
    race = Race(folder, False, [], page.claimed_rows(paper), [])
    with run_folder.working_in(folder), finishing_on_interrupt() as interrupted:
        run_folder.write_environment(folder, device_name(device), config.gan.seed, originals.fingerprint)
        for planned in trainings:
            for item in _milestones(config, folder, planned, protocol, interrupted):
                if item is None:
                    return race
                shown.append(item)
                race.rows.append(item.row)
                about_it = {"recipe": item.row["recipe"], "step": item.row["step"]}
                race.figures.extend({**about_it, **metric} for metric in item.measured["metrics"])
                _write_tables(race, paper)
            page.write_epochs(folder / page.EPOCHS, race.rows)
            page.write_samples(folder / page.SAMPLES, shown, originals.pixels.shape[1])
            page.write_pca(folder / page.PCA, shown)
    run_folder.write_results(folder, {"rows": race.rows, "claims": race.claims, "figures": race.figures})
    return race._replace(finished=True)


def _milestones(
    config: GanCompareConfig,
    folder: Path,
    training: _Training,
    protocol: EvaluationProtocol,
    interrupted: Callable[[], bool],
) -> Iterator[page.Shown | None]:
    """Train from milestone to milestone and yield each; None, once, if interrupted."""
    shares, own = config.milestones, folder / re.sub(r"[^\w.-]+", "-", training.name)
    if config.minutes is not None:
        pace = measure_pace(config.minutes, training.setup, own, interrupted)
        if pace is None:
            yield None
            return
        steps = max(1, round(60 * config.minutes / pace.step))  # samples, checkpoints and measuring come on top
        last = {step: share for share in shares for step in milestone_steps([share], steps)}
        if len(last) < len(shares):  # a slow recipe does few steps in its minutes
            log.warning("only %d steps in these minutes, so %d milestones of %d", steps, len(last), len(shares))
        shares = tuple(last.values())
        training = _with_milestones(dataclasses.replace(training, setup=training.setup.of_length(steps)), shares)
    count = config.count or len(training.setup.originals)
    own.mkdir(exist_ok=True)
    # So that a training run can be evaluated and exported as any other run.
    settings = dataclasses.asdict(training.setup.settings)
    run_folder.write_config(own, {"data": config.data, **{f"gan.{key}": value for key, value in settings.items()}})
    for share, step in zip(shares, training.setup.milestones, strict=True):
        log.info("== %s up to %g of its training, step %d", training.name, share, step)
        checkpoint = _reach(training, own, step, interrupted)
        if checkpoint is None:
            yield None
            return
        measured = measure_milestone(checkpoint, training.real, protocol, count, config.device)
        row = _row(training, checkpoint, share, measured) | {"device": device_name(find_device(config.device))}
        yield page.Shown(row, checkpoint, measured)


def _grid(texts: Sequence[str]) -> list[dict[str, Any]]:
    """Read ``NAME=a,b,c`` of each ``--grid``; return the points of the grid, the last setting varying fastest.

    Raises:
        SonoforgeError: A name is not a setting of a training run or is given twice, or a value is not allowed.
    """
    known = [field.name for field in dataclasses.fields(GanSettings) if field.name not in (*GRID_WITHOUT, *_OF_IMAGES)]
    values: dict[str, list[Any]] = {}
    for text in texts:
        key, equals, given = text.partition("=")
        name = key.strip().removeprefix("gan.").replace("-", "_")
        if not equals or name not in known or name in values:
            raise SonoforgeError(
                f"--grid: {text!r} is not NAME=VALUE,VALUE,... with NAME any setting gan.NAME, each once"
                + did_you_mean(name, known).replace("_", "-")
            )
        try:
            read = [getattr(resolve_config(GanSettings, {name: value}, None), name) for value in given.split(",")]
        except SonoforgeError as error:
            raise SonoforgeError(f"--grid: {str(error).removeprefix('--')}") from None
        values[name] = list(dict.fromkeys(read))
    return [dict(zip(values, point, strict=True)) for point in itertools.product(*values.values())]


def _prepare(config: GanCompareConfig, cache_folder: Path | None) -> list[_Training]:
    """Make every training ready, each set of images read once."""
    read: dict[tuple[int, str], TrainingSet] = {}  # of one class or of all, by size and class
    pretrained = open_pretrained(config.gan, config.device)
    trainings = []
    for name, point in itertools.product(config.recipes, _grid(config.grid)):
        settings = _of_classes(_of_recipe(name, dataclasses.replace(config.gan, **point), config.recipes))
        key = (settings.image_size or compose(settings).image_size, settings.class_name)
        if key not in read:
            groups = bool(settings.held_out or settings.expand_to)
            read[key] = read_training_set(
                config.data, settings, groups=groups, groups_from=config.groups_from, cache_folder=cache_folder
            )
        setup = prepare(settings, read[key], config.device, pretrained)
        label = [
            short_name(name) if split_preset(name)[0] == name else name,
            *(f"{key.replace('_', '-')}={format_value(value)}" for key, value in point.items()),
        ]
        trainings.append(_Training(" ".join(label), setup, real_set(setup)))
    return trainings


def _with_milestones(training: _Training, shares: Sequence[float]) -> _Training:
    setup = training.setup
    setup = dataclasses.replace(setup, milestones=milestone_steps(shares, setup.plan.steps))
    return dataclasses.replace(training, setup=setup)


def _of_recipe(name: str, settings: GanSettings, compared: Sequence[str]) -> GanSettings:
    """Return the settings for RECIPE or RECIPE:PRESET.

    Cells, and a preset from elsewhere, apply only if the recipe has them and others do not.
    """
    recipe, preset = split_preset(name)
    settings = dataclasses.replace(settings, recipe=recipe)
    if not _has_cells(recipe) and any(_has_cells(split_preset(other)[0]) for other in compared):
        settings = dataclasses.replace(settings, generator_cell=None, discriminator_cell=None)
    if preset:
        return dataclasses.replace(settings, preset=preset)
    if settings.preset not in find_recipe(recipe).presets and any(
        settings.preset in find_recipe(split_preset(other)[0]).presets for other in compared
    ):
        settings = dataclasses.replace(settings, preset=PUBLISHED)
    return settings


def _has_cells(recipe: str) -> bool:
    return find_architecture(find_recipe(recipe).architecture).cells


def _of_classes(settings: GanSettings) -> GanSettings:
    """Without a class, let one generator draw all of them, conditioned if its recipe is or the user says how."""
    if (
        settings.conditioning not in (None, "none")
        and find_architecture(find_recipe(settings.recipe).architecture).reconstruction
    ):
        settings = dataclasses.replace(settings, conditioning="concatenation")  # the one that it can take
    if settings.class_name or compose(settings).conditioning != "none":
        return settings
    return dataclasses.replace(settings, class_name=ALL)


def _reach(training: _Training, own: Path, step: int, interrupted: Callable[[], bool]) -> Path | None:
    """Train up to a milestone, unless already reached; return its checkpoint, or None if interrupted."""
    wanted = own / "checkpoints" / f"step-{step:08d}"
    over = step < training.setup.plan.steps or run_folder.is_finished(own)  # a kill may have left the end unrecorded
    if over and wanted in gan_checkpoint.list_checkpoints(wanted.parent):
        return wanted
    reset_peak(find_device(training.setup.device))  # the recipe before this one, and measuring, may have needed more
    reached = train_gan(training.setup, own, resume=True, show_progress=True, stop=interrupted)
    return reached if reached == wanted else None


def _row(training: _Training, checkpoint: Path, share: float, measured: Milestone) -> dict[str, Any]:
    own, setup, protocol = checkpoint.parent.parent, training.setup, measured["protocol"]
    about = gan_checkpoint.describe(checkpoint)
    tick = read_stats(own, about.step)[-1]
    first: dict[str, Record] = {}
    for metric in measured["metrics"]:
        # Of several feature spaces, the first; but a score of other classes than Inception's is no Inception Score.
        if metric["name"] != "inception_score" or metric["space"].startswith("inception"):
            first.setdefault(metric["name"], metric)
    found: dict[str, Any] = {}
    for name in (*page.FIGURES, *page.FIGURES_OF_PAIRS):
        if name in first:
            one = first[name]
            found |= {name: one["value"], f"{name}_floor": one["floor"], f"{name}_ratio": one["ratio"]}
    if first["kid"]["standard_error"] is not None:
        found[page.SPREAD] = first["kid"]["standard_error"]
    return {
        "data": training.setup.originals.name,
        "recipe": training.name,
        "milestone": share,
        **{name: tick[name] for name in ("epoch", "step", "kimg", "diversity", "collapsed")},
        **found,
        "n": protocol["matched"],
        "reference": "training" if setup.held_out is None else "held-out",
        "real": protocol["number of real images"],
        "generated": protocol["number of generated images"],
        "protocol_id": measured["protocol_id"],
        **training_cost(own, about.step),
        "image_size": setup.plan.image_size,
        "batch": setup.plan.batch,
        "images": len(setup.images),
        "expand": setup.settings.expand,
        "classes": len(training.setup.originals.classes) if setup.conditional else 1,
        "conditioning": setup.recipe.conditioning,
        "features": first["kid"]["space"],
        "source": page.OURS,
        "run": own.name,
    }


def _write_tables(race: Race, paper: Paper | None) -> None:
    columns = page.columns_of({name for row in race.rows for name in row})
    claims = [{name: row[name] for name in columns if name in row} for row in race.claims]
    write_table(race.folder / page.TABLE, columns, [*race.rows, *claims])
    if race.figures:
        write_table(race.folder / page.ALL_FIGURES, tuple(race.figures[0]), race.figures)
    write_text(race.folder / page.TABLES, page.markdown_tables(race.rows, paper))
