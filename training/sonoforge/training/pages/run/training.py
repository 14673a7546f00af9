"""The parts of a run's report on its trainings: classifiers, the calibration of their answers, generators."""

from collections.abc import Sequence
from pathlib import Path

from sonoforge.training.crossval.choice_grid import name_grid
from sonoforge.training.crossval.evidence import GeneratorRuns
from sonoforge.training.gan.checkpoint import COLLAPSE_FRACTION
from sonoforge.training.pages import blocks
from sonoforge.training.pages.charts import reliability_diagram
from sonoforge.training.pages.embedding import embed
from sonoforge.training.pages.run import charts, statements
from sonoforge.training.pages.run.whole_run import WholeRun
from sonoforge.training.statistics.calibration import cross_fitted_temperature, reliability
from sonoforge.training.statistics.wording import counted, listed, number, share

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
    watched = [
        (own["title"], drawn, charts.train_and_test(own, "loss", "loss"))
        for own in list(run.arms.values())[:_WATCHED]
        if (drawn := charts.train_and_test(own, "accuracy", "accuracy"))
    ]
    looked = (
        "After each epoch the held-out fold was measured for the curves of test images below, and for nothing else: no "
        "epoch was chosen by them."
        if watched
        else "Test images are not looked at until the last epoch is over, so there is no test curve, and no epoch was "
        "chosen by one."
    )
    frozen = classifier["frozen_blocks"]
    settings = (
        f"Classifier: MobileNetV2, initial weights: {results['weights']}. Budget "
        + blocks.code(results["budget"])
        + f": {counted(classifier['epochs'], 'epoch')}, "
        f"{f'the first {frozen} of 19 blocks frozen' if frozen else 'all blocks trained'}, batch "
        f"{classifier['batch']}, {statements.describe_optimiser(classifier)}"
        + (f"; but {name_grid(nested['grid'])} as each fold chose" if nested else "")
        + f". {looked}"
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
        said = (
            "Training figures are taken during the epoch, on images as they were shown to the network"
            f"{smoothed}; test figures after it, on the whole held-out fold. Where the test loss rises while the "
            f"training loss falls, the network over-fits.{thesis}"
        )
        figures = [
            blocks.Figure(f"{what} by epoch", f": {title}. {_THIN.capitalize()}.", chart)
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
        calibrated = cross_fitted_temperature(part.labels, part.probabilities, part.parts)
        bins = [reliability(part.labels, own, part.groups) for own in (calibrated, part.probabilities)]
        drawn = reliability_diagram(dict(zip(("after temperature scaling", "as trained"), bins, strict=True)), title)
        diagrams.append(
            blocks.Figure(title, ", with 95 % intervals by group. Bars at the bottom: number of images.", drawn)
        )
    figures = ("ece", "ece_calibrated", "brier", "brier_calibrated", "temperature")
    rows = [(own["title"], *(number(own[name]) for name in figures)) for own in arms]  # type: ignore[literal-required]
    head = ("arm", "ECE before", "after", "Brier before", "after", "temperature (all folds)")
    caption = (
        "Calibration before and after temperature scaling; smaller is better. ECE over 15 bins, as in the diagrams."
    )
    covered: list[blocks.Cells] = [
        (name, *(share(own["conformal"]["coverage"][name]) for own in arms)) for name in run.classes
    ]
    mean = ("mean number of classes in a set", *(number(own["conformal"]["mean_set_size"], 2) for own in arms))
    conformal = blocks.Table(
        "Conformal sets",
        ("class", *(own["title"] for own in arms)),
        [*covered, blocks.Row("sum", mean)],
        f"Conformal sets at {share(1 - arms[0]['conformal']['alpha'], 0)}: share of the images of each class whose set "
        "contains the true class (thresholds from the other folds)",
        tall=len(run.classes) > _MANY,
    )
    said = (
        "Each fold's probabilities were scaled by one temperature fitted on the other folds. On the diagonal, answers "
        "given with 80 % are right in 80 % of cases."
    )
    asked = blocks.Heading("Do the probabilities mean what they say?")
    return [
        asked,
        blocks.Text(said),
        blocks.Grid(diagrams),
        blocks.Table("Calibration", head, rows, caption),
        conformal,
    ]


def generators_section(run: WholeRun) -> blocks.Section | None:
    """Show what was trained to draw images, and what it draws; None without generators."""
    sampled = [
        name for name in run.classes if all(_sheet(run.folder, kind, name).is_file() for kind in ("real", "generated"))
    ]
    if not run.generators and not sampled:
        return None
    content: list[blocks.Block] = []
    if run.generators:
        said = (
            "Recipe "
            + blocks.code(run.results["gan"]["recipe"])
            + f", one generator for each of the classes {listed(run.facts.filled)}. They had {run.budget}. "
            + statements.place_generators(run.facts)
        )
        content.append(blocks.Text(said))
    content += _samples(run, sampled)
    return blocks.Section("generator", "Generators", content + (_trainings(run.generators) if run.generators else []))


def _samples(run: WholeRun, sampled: Sequence[str]) -> list[blocks.Block]:
    if not sampled:
        return []
    side = run.results["gan"]["image_size"]
    enlarged = f" (generated at {side} and enlarged)" if side and side < _SAMPLE_SIDE else ""
    said = (
        "The first 16 real and the first 16 generated images in the first fold's training set, all at "
        f"{_SAMPLE_SIDE} pixels{enlarged}; none was picked by hand."
    )
    content: list[blocks.Block] = [
        blocks.Heading("Real and generated images side by side"),
        blocks.Text(said, "note-text"),
    ]
    for name in sampled[:_SAMPLED_CLASSES]:
        pair = []
        for kind, words in (("real", "real training"), ("generated", "generated")):
            picture = embed(_sheet(run.folder, kind, name), _GRID, f"Grid of {words} images of class {name}")
            pair.append(blocks.Figure(name, f", {kind}", picture))
        content.append(blocks.Grid(pair, "pair"))
    if len(sampled) > _SAMPLED_CLASSES:
        rest = f"Not shown, but in {blocks.code('samples/')}: " + listed(sampled[_SAMPLED_CLASSES:], 12) + "."
        content.append(blocks.Text(rest, "note-text"))
    return content


def _sheet(folder: Path, kind: str, name: str) -> Path:
    return folder / "samples" / f"{kind}-{name}.png"


def _trainings(generators: Sequence[GeneratorRuns]) -> list[blocks.Block]:
    said = (
        f"Diversity 1 is that of real images; below {COLLAPSE_FRACTION} a generator counts as collapsed. Distance is "
        "measured between thumbnails of generated and real images; smaller is closer. Ranges run from the lowest to "
        "the highest value of any training run."
    )
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
        losses = " by step: thin lines are training runs, thick ones their mean."
        diversity = " of generated images by step, as a share of that of real ones."
        figures = [
            blocks.Figure("Losses", losses, charts.generator_losses(own)),
            blocks.Figure("Diversity", diversity, charts.generator_diversity(own)),
        ]
        content += [blocks.Heading(f"Generators of class {own.name}"), blocks.Grid(figures)]
    if len(generators) > len(charted):
        rest = "Curves of the other classes are in " + blocks.code("gan/*/CLASS/stats.jsonl") + "."
        content.append(blocks.Text(rest, "note-text"))
    return content


def _range(values: Sequence[float], digits: int) -> str:
    """Print the lowest and the highest value; one where they look the same."""
    if not values:
        return "n/a"
    low, high = number(min(values), digits), number(max(values), digits)
    return low if low == high else f"{low} to {high}"
