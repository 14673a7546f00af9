"""The parts of a run's report on its trainings: classifiers, the calibration of their answers, generators."""

from collections.abc import Sequence
from pathlib import Path

from sonoforge.training.crossval.choices import name_grid
from sonoforge.training.crossval.evidence import GeneratorRuns
from sonoforge.training.evaluation import COLLAPSE_FRACTION
from sonoforge.training.gan.progress.curves import OVER_TIME
from sonoforge.training.reports import blocks
from sonoforge.training.reports.charts import reliability_diagram
from sonoforge.training.reports.pictures import embed
from sonoforge.training.reports.run import charts, statements
from sonoforge.training.reports.run.whole_run import WholeRun
from sonoforge.training.reports.texts import read_texts
from sonoforge.training.statistics.calibration import calibrate, own_answers, reliability
from sonoforge.training.statistics.wording import counted, listed, number, share

TEXTS = read_texts("run")
# More than these are counted but not shown, so that the page stays readable and below 6 MB.
_WATCHED = 6  # arms
_CHARTED_CALIBRATIONS = 6  # arms
_CHARTED_GENERATORS = 8  # classes
_SAMPLED_CLASSES = 8
_GRID = 640  # pixels, the side of a sample grid: 160 an image, about 80 kB
_SAMPLE_SIDE = 224  # pixels of each image in it
_MANY = 16  # rows of a table that scrolls
_THIN = "thin lines are folds, thick ones their mean"


def training(run: WholeRun) -> blocks.Section:
    """Show how classifiers were trained, and whether their probabilities mean what they say."""
    comparators = statements.describe_comparators(run.arms)
    said: list[blocks.Block] = [blocks.Text(comparators)] if comparators else []
    return blocks.Section("training", "Training and calibration", [*said, *_by_epoch(run), *_calibration(run)])


def _by_epoch(run: WholeRun) -> list[blocks.Block]:
    results, classifier, nested = run.results, run.results["classifier"], run.results.get("choice")
    loss = charts.learning_curves(run.arms, "loss", "training loss")
    in_turn = run.facts.protocol == "thesis"  # as its figure 13
    watched = [
        (own["title"], drawn, charts.train_and_test(own, "loss", "loss", in_turn=in_turn))
        for own in list(run.arms.values())[:_WATCHED]
        if (drawn := charts.train_and_test(own, "accuracy", "accuracy", in_turn=in_turn))
    ]
    frozen, least = classifier["frozen_blocks"], classifier["least_steps"]
    settings = TEXTS["classifier"].format(
        weights=results["weights"],
        budget=results["budget"],
        epochs=counted(classifier["epochs"], "epoch") + (f" ({least} steps at least)" if least else ""),
        frozen=f"the first {frozen} of 19 blocks frozen" if frozen else "all blocks trained",
        batch=classifier["batch"],
        optimiser=statements.describe_optimiser(classifier),
        chosen=f"; but {name_grid(nested['grid'])} as each fold chose" if nested else "",
        looked=TEXTS["watched" if watched else "unseen"],
    )
    trained = charts.learning_curves(run.arms, "accuracy", "training accuracy")
    on_training = f" by epoch, during training: {_THIN}."
    content: list[blocks.Block] = []
    if loss:
        both = [
            blocks.Figure("Training loss", f" by epoch: {_THIN}.", loss),
            blocks.Figure("Accuracy on (augmented) training images", on_training, trained),
        ]
        content += [blocks.Text(settings), blocks.Grid(both)]
    if watched:
        smoothed = ", its loss with label smoothing" if classifier["label_smoothing"] else ""
        thesis = " Counterpart of figure 13 of the MSc thesis." if run.busi else ""
        said = TEXTS["by_epoch"].format(smoothed=smoothed, thesis=thesis)
        figures = [
            blocks.Figure(f"{what} by epoch", f": {title}. {'' if in_turn else f'{_THIN.capitalize()}.'}", chart)
            for title, accuracy, test_loss in watched
            for what, chart in (("Accuracy", accuracy), ("Loss", test_loss))
        ]
        content += [blocks.Heading("Training and test by epoch"), blocks.Text(said), blocks.Grid(figures)]
    return content


def _calibration(run: WholeRun) -> list[blocks.Block]:
    arms = list(run.arms.values())
    diagrams = []
    for name, title in list(run.titles.items())[:_CHARTED_CALIBRATIONS]:
        part = next(own for own in run.parts if own.arm == name)
        calibrated = own_answers(calibrate(part.labels, part.probabilities, part.parts))
        bins = [reliability(part.labels, own, part.groups) for own in (calibrated, part.probabilities)]
        drawn = reliability_diagram(dict(zip(("after temperature scaling", "as trained"), bins, strict=True)), title)
        diagrams.append(blocks.Figure(title, TEXTS["diagram"], drawn))
    figures = ("ece", "ece_calibrated", "brier", "brier_calibrated", "temperature")
    rows = [(own["title"], *(number(own[name]) for name in figures)) for own in arms]
    head = ("arm", "ECE before", "after", "Brier before", "after", "temperature (all folds)")
    covered: list[blocks.Cells] = [
        (name, *(share(own["conformal"]["coverage"][name]) for own in arms)) for name in run.classes
    ]
    mean = ("mean number of classes in a set", *(number(own["conformal"]["mean_set_size"], 2) for own in arms))
    conformal = blocks.Table(
        "Conformal sets",
        ("class", *(own["title"] for own in arms)),
        [*covered, blocks.Row("sum", mean)],
        TEXTS["conformal"].format(level=share(1 - arms[0]["conformal"]["alpha"], 0)),
        tall=len(run.classes) > _MANY,
    )
    asked, said = blocks.Heading("Do the probabilities mean what they say?"), blocks.Text(TEXTS["probabilities"])
    table = blocks.Table("Calibration", head, rows, TEXTS["calibration"])
    return [asked, said, blocks.Grid(diagrams), table, conformal]


def generators_section(run: WholeRun) -> blocks.Section | None:
    """Show what was trained to draw images, and what it draws; None without generators."""
    if not run.generators and not sampled(run):
        return None
    content: list[blocks.Block] = []
    if run.generators:
        said = TEXTS["generators"].format(
            recipe=run.results["gan"]["recipe"],
            classes=listed(run.facts.filled),
            budget=run.budget,
            place=run.facts.said["generators"],
        )
        content.append(blocks.Text(said))
    content += [*_samples(run, sampled(run)), *_over_time(run)]
    return blocks.Section("generator", "Generators", content + (_trainings(run.generators) if run.generators else []))


def first_picture(run: WholeRun) -> list[blocks.Block]:
    """Show the last class that generators drew, real and generated; without generators, the accuracy of each fold."""
    found = sampled(run)
    return [_pair(run, found[-1]) if found else folds_figure(run)]


def folds_figure(run: WholeRun) -> blocks.Figure:
    """Show the accuracy of each fold."""
    text = " (points) and of all folds together (line) with its 95 % interval (bar)."
    return blocks.Figure("Accuracy of each fold", text, charts.fold_strip(run.arms))


def sampled(run: WholeRun) -> list[str]:
    """Return the classes of which a run folder holds samples."""
    kinds = ("real", "generated")
    return [name for name in run.classes if all(_sheet(run.folder, kind, name).is_file() for kind in kinds)]


def _pair(run: WholeRun, name: str) -> blocks.Grid:
    pair = []
    for kind, words in (("real", "real training"), ("generated", "generated")):
        picture = embed(_sheet(run.folder, kind, name), _GRID, f"Grid of {words} images of class {name}")
        pair.append(blocks.Figure(name, f", {kind}", picture))
    return blocks.Grid(pair, "pair")


def _samples(run: WholeRun, found: Sequence[str]) -> list[blocks.Block]:
    if not found:
        return []
    side = run.results["gan"]["image_size"]
    enlarged = f" (generated at {side} and enlarged)" if side and side < _SAMPLE_SIDE else ""
    said = blocks.Text(TEXTS["samples"].format(side=_SAMPLE_SIDE, enlarged=enlarged), "note-text")
    content: list[blocks.Block] = [blocks.Heading("Real and generated images side by side"), said]
    content += [_pair(run, name) for name in found[:_SAMPLED_CLASSES]]
    if len(found) > _SAMPLED_CLASSES:
        rest = TEXTS["unshown_samples"].format(classes=listed(found[_SAMPLED_CLASSES:], 12))
        content.append(blocks.Text(rest, "note-text"))
    return content


def _over_time(run: WholeRun) -> list[blocks.Block]:
    """Show what the first training of each class's generator drew as it went."""
    found = [(own.name, own.folder / OVER_TIME) for own in run.generators]
    shown = [(name, path) for name, path in found if path.is_file()][:_SAMPLED_CLASSES]
    if not shown:
        return []
    pictures = [
        blocks.Figure(name, TEXTS["over_time"], embed(path, _GRID, f"Generated images of class {name} over time"))
        for name, path in shown
    ]
    return [blocks.Heading("What the generators drew as they were trained"), blocks.Grid(pictures)]


def _sheet(folder: Path, kind: str, name: str) -> Path:
    return folder / "samples" / f"{kind}-{name}.png"


def _trainings(generators: Sequence[GeneratorRuns]) -> list[blocks.Block]:
    said = TEXTS["trainings"].format(collapsed=COLLAPSE_FRACTION)
    rows = [
        (
            own.name,
            len(own.curves),
            _range(own.images, 0),
            _range([plan["steps"] for plan in own.plans], 0),
            _range([plan["batch"] for plan in own.plans], 0),
            _range(own.last("diversity"), 2),
            _range(own.last("distance"), 3),
            blocks.Cell(own.collapsed, "bad" if own.collapsed else ""),
            blocks.Cell(own.collapsed_at_end, "bad" if own.collapsed_at_end else ""),
        )
        for own in generators
    ]
    head = (
        *("class", "training runs", "real images each", "steps", "batch", "diversity", "distance"),
        *("with a collapse warning", "collapsed at the end"),
    )
    caption = "Training runs of the generators; diversity and distance at the last step"
    table = blocks.Table("Generator trainings", head, rows, caption, tall=len(rows) > _MANY)
    content: list[blocks.Block] = [blocks.Heading("How the training went"), blocks.Text(said), table]
    charted = [own for own in generators[:_CHARTED_GENERATORS] if any(own.curves)]
    for own in charted:
        figures = [
            blocks.Figure("Losses", TEXTS["losses"], charts.generator_losses(own)),
            blocks.Figure("Diversity", TEXTS["diversity"], charts.generator_diversity(own)),
        ]
        content += [blocks.Heading(f"Generators of class {own.name}"), blocks.Grid(figures)]
    if len(generators) > len(charted):
        content.append(blocks.Text(TEXTS["unshown_curves"], "note-text"))
    return content


def _range(values: Sequence[float], digits: int) -> str:
    """Print the lowest and the highest value; one where they look the same."""
    if not values:
        return "n/a"
    low, high = number(min(values), digits), number(max(values), digits)
    return low if low == high else f"{low} to {high}"
