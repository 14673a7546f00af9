"""Write the sections of a run's report, from its results and from what is recomputed from its folder."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from markupsafe import Markup

from sonoforge.training import run_folder
from sonoforge.training.crossval.choices import choosing_of, chosen_seeds, describe_choice, name_grid, name_values
from sonoforge.training.crossval.evidence import class_counts
from sonoforge.training.data.layouts import BUSI_CLASSES
from sonoforge.training.evaluation import COLLAPSE_FRACTION
from sonoforge.training.gan.curves import OVER_TIME
from sonoforge.training.reports import blocks
from sonoforge.training.reports.audit import alike, content_tables
from sonoforge.training.reports.charts import reliability_diagram
from sonoforge.training.reports.pictures import embed, wrong_cards
from sonoforge.training.reports.run import charts, statements, tables
from sonoforge.training.reports.run.tables import WORDS
from sonoforge.training.reports.run.whole_run import WholeRun
from sonoforge.training.reports.words import headed
from sonoforge.training.statistics.calibration import calibrate, own_answers, reliability
from sonoforge.training.statistics.one_against_rest import classes_of_interest
from sonoforge.training.statistics.published import PUBLISHED
from sonoforge.training.statistics.results import ONE_SPLIT, Record
from sonoforge.training.statistics.wording import counted, duration, is_number, listed, number, share, tiny

# More than these are counted but not shown, so that the page stays readable and below 6 MB.
_UNREADABLE, _CURVED_ARMS, _PICTURED_CLASSES = 10, 6, 8
_CHARTED = 4  # classes of a data set without a class `malignant`; the others are in `results.json`
_COLUMNS = 10  # of a confusion matrix, with their names and shares
_GRID = 640  # pixels, the side of a sample grid: 160 an image, about 80 kB
_SAMPLE_SIDE = 224  # pixels of each image in it


# ---- the images, and how they were divided


def data(run: WholeRun) -> blocks.Section:
    """Describe the images."""
    left = list(run.audit["unreadable"].values())
    shown: list[str] = left[:_UNREADABLE]
    if len(left) > _UNREADABLE:
        shown.append(f"and {len(left) - _UNREADABLE} more, listed in " + blocks.code("audit.json"))
    content: list[blocks.Block] = [
        WORDS.text("data", audit=run.audit, left=len(left)),
        *[blocks.Bullets(shown)] * bool(shown),
        blocks.Grid(content_tables(run.audit)),
        blocks.Heading("Repeated scans"),
        WORDS.text("repeated", found=run.audit["duplicates"], alike=alike(run.audit)),
    ]
    return blocks.Section("data", "Data", content)


def split(run: WholeRun) -> blocks.Section:
    """Show how the images were split, and what every training read."""
    facts, kept, plan = run.facts, run.results["split"], next(iter(run.plans.values()))
    counts = class_counts(plan, len(run.classes)).tolist()
    near_duplicates = kept["test_images_with_near_duplicate_in_training"]
    folds = zip(range(1, len(counts) + 1), counts, near_duplicates, strict=True)
    content = [
        WORDS.text("divided", facts=facts, joined=statements.name_groups(facts), generators=bool(run.generators)),
        WORDS.text("proof", facts=facts),
        WORDS.text("second_opinion", found=kept["second_opinion"], sealed=facts.is_sealed, named=_named),
        WORDS.table("reads", run.reads.items()),
        WORDS.table("checks", run.checks),
        WORDS.table("folds", folds, classes=run.classes, seeds=len(run.plans), seed=plan.seed),
        WORDS.note("plan", seeds=len(run.plans), fingerprint=kept["fingerprint"]),
    ]
    return blocks.Section("split", "Split and proof", content)


def _named(pairs: Sequence[Record]) -> str:
    return ", ".join(f"{pair['file']} and {pair['other']} (r = {number(pair['correlation'], 2)})" for pair in pairs)


# ---- right and wrong answers


def answers(run: WholeRun) -> blocks.Section:
    """Show which answers were right and wrong, and what that cannot tell."""
    few, found = len(run.classes) <= _COLUMNS, run.results["never_right"]
    matrices = [confusion_table(own["title"], own["confusion"], run.classes) for own in run.arms.values()]
    content: list[blocks.Block] = [
        WORDS.table("classes", [(name, own) for name in run.classes for own in run.arms.values()]),
        blocks.Heading("Confusion matrices"),
        WORDS.note("confusion_text", few=few, busi=run.busi),
        *([blocks.Grid(matrices)] if few else matrices),
        blocks.Heading("Scans that were never answered rightly"),
        WORDS.text("never_right", found=found, seeds=len(run.plans)),
        *[wrong_cards(found["worst"], run.cache)] * bool(found["groups"]),
        blocks.Heading("What these figures cannot say"),
        blocks.Bullets(list(_limits(run))),
    ]
    return blocks.Section("answers", "Right and wrong answers", content)


def confusion_table(system: str, confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> blocks.Table:
    """Show a system's images by true class (rows) and answer (columns)."""
    few = len(classes) <= _COLUMNS
    heads = classes if few else [blocks.Cell(place, title=name) for place, name in enumerate(classes, 1)]
    rows = []
    for place, (name, counts) in enumerate(zip(classes, confusion, strict=True)):
        head = name if few else blocks.Cell(f"{place + 1} {name}", title=name)
        cells = [_count(count, sum(counts), "right" * (column == place), few) for column, count in enumerate(counts)]
        rows.append([head, *cells])
    return blocks.Table(
        f"Confusion matrix of {system}",
        ["true \\ answer", *heads],
        rows,
        f"{system}, {counted(sum(map(sum, confusion)), 'image')}",
        words=range(len(classes) + 1),
        kind="confusion" if few else "confusion many",
        tall=not few,
    )


def _count(count: int, total: int, kind: str, few: bool) -> blocks.Cell:
    part = count / (total or 1)
    text = Markup("{}<small>{}</small>").format(count, share(part) if total else "") if few else str(count or "")
    return blocks.Cell(text, kind, style=f"--r:{part:.3f}" if count else "")


def _limits(run: WholeRun) -> Iterator[str]:
    facts, mixed = run.facts, run.audit["duplicates"]["mixed_label_clusters"]
    if facts.simulated:
        yield facts.said["simulation"]
    if facts.simulated < facts.images:
        yield WORDS("elsewhere", busi=run.busi)
    if run.audit["given_groups"] is None:
        yield WORDS("without_patients")
    if mixed:
        yield WORDS("mixed", mixed=mixed)
    count = run.manifest["training"]["count"]
    yield WORDS("final", facts=facts, count=count, single=facts.protocol in ONE_SPLIT)


# ---- all other figures on test images


def results(run: WholeRun) -> blocks.Section:
    """Show all other figures on test images."""
    found, kept = run.results, run.results["split"]
    choice = describe_choice(
        found["budget"], found["classifier"], kept["chosen_on"], kept["images"], list(run.plans), choosing_of(found)
    )
    single = run.facts.protocol in ONE_SPLIT
    arms = list(run.arms.values())
    sources = [tables.source_table(own["title"], own["by_source"]) for own in arms if "by_source" in own]
    targets = zip(*(own["risk_coverage"]["targets"] for own in arms), strict=True)
    abstention = WORDS.table("abstention", targets, titles=[own["title"] for own in arms])
    content: list[blocks.Block] = [
        WORDS.text("origin", single=single, seeds=len(run.plans), choice=choice, parts=run.facts.said["halves"]),
        tables.arm_table(run.titles, run.arms),
        *_compared(run),
        tables.spread_table(run.titles, run.arms, chosen_seeds(found["budget"], kept["chosen_on"])),
        *_chosen(run),
        *[blocks.Heading("By collection and device"), WORDS.text("sources_text"), *sources] * bool(sources),
        *_one_class(run),
        *headed(abstention, WORDS.text("abstention_text")),
        blocks.Heading("Flags and errors"),
        *(
            blocks.Text(f"{own['title']}: a comparator has no trust to be judged.")
            if statements.is_comparator(arm)
            else tables.flag_table(own["title"], own["flags"])
            for arm, own in run.arms.items()
        ),
    ]
    return blocks.Section("results", "Results", content)


def fold_figure(run: WholeRun) -> blocks.Figure:
    """Show the accuracy of each fold."""
    return WORDS.figure("fold_accuracy", charts.fold_strip(run.arms))


def _forest(rows: Sequence[charts.Difference], what: str, at: str = "") -> blocks.Figure:
    band = any(is_number(row.band) for row in rows)
    return WORDS.figure("forest", charts.difference_forest(rows, what), what=what, at=at, band=band)


def _compared(run: WholeRun) -> list[blocks.Block]:
    folds = [fold_figure(run)] if sampled(run) else []  # else it stands on the first screen
    if not run.comparisons:
        return [blocks.Grid(folds)] if folds else []
    differences = [
        charts.Difference(
            tables.name_difference(row, run.titles), row["accuracy_difference"], row["minimum_detectable_difference"]
        )
        for row in run.comparisons
    ]
    table = tables.comparison_table(run.titles, run.comparisons)
    said = WORDS.text("differences", count=len(run.comparisons))
    return [*headed(table, said), blocks.Grid([*folds, _forest(differences, "accuracy")])]


def _chosen(run: WholeRun) -> Sequence[blocks.Block]:
    nested = run.results.get("choice")
    if nested is None:
        return []
    final = name_values(nested["final"]["settings"]) if "final" in nested else ""
    grid, cost = name_grid(nested["grid"]).capitalize(), tables.describe_cost(nested)
    said = WORDS.text("nested", nested=nested, grid=grid, cost=cost, final=final)
    return headed(tables.chosen_table(run.titles, nested), said)


def _one_class(run: WholeRun) -> list[blocks.Block]:
    """Show each class of interest against the rest."""
    names = classes_of_interest(run.results["classes"])[:_CHARTED]
    counts = dict(zip(run.results["classes"], run.results["class_counts"], strict=True))
    frequent = ", ".join(f"{share(counts[name] / sum(counts.values()))} of the images are {name}" for name in names)
    return [
        blocks.Heading("One class against the rest"),
        WORDS.text("one_class", leaking=bool(run.facts.near_duplicates)),
        *(block for name in names for block in _of_class(run, name)),
        WORDS.note("benefit", frequent=frequent),
    ]


def _of_class(run: WholeRun, name: str) -> Iterator[blocks.Block]:
    yield from tables.class_tables(run.titles, run.arms, run.comparisons, name)
    parts = {run.titles[arm]: next(own for own in run.parts if own.arm == arm) for arm in run.arms}
    figures = [WORDS.figure("roc", charts.roc_curves(parts, name, run.classes.index(name)), name=name)]
    if run.comparisons:
        first = [(row, row["one_against_rest"][name]["sensitivity_at"][0]) for row in run.comparisons]
        rows = [charts.Difference(tables.name_difference(row, run.titles), own["difference"]) for row, own in first]
        aim = f" at {share(first[0][1]['aim'], 0)} specificity,"
        figures.append(_forest(rows, f"the sensitivity to {name}", aim))
    yield blocks.Grid([*figures, WORDS.figure("decision_curves", charts.decision_curves(run.arms, name), name=name)])
    yield tables.benefit_table(run.titles, run.arms, name)


# ---- the trainings


def training(run: WholeRun) -> blocks.Section:
    """Show how classifiers were trained, and whether their probabilities mean what they say."""
    comparators = statements.describe_comparators(run.arms)
    said = [blocks.Text(comparators)] * bool(comparators)
    return blocks.Section("training", "Training and calibration", [*said, *_by_epoch(run), *_calibration(run)])


def _by_epoch(run: WholeRun) -> list[blocks.Block]:
    found, own = run.results, run.results["classifier"]
    trained = [arm for arm in run.arms.values() if any(arm["learning_curves"])]
    if not trained:
        return []
    in_turn = run.facts.protocol == "thesis"  # as its figure 13
    watched = [  # whose held-out folds were measured after each epoch
        arm
        for arm in trained[:_CURVED_ARMS]
        if any(fold and "test_loss" in fold[-1] for fold in arm["learning_curves"])
    ]
    nested = found.get("choice")
    said = WORDS.text(
        "classifier",
        results=found,
        own=own,
        optimiser=statements.describe_optimiser(own),
        chosen=name_grid(nested["grid"]) if nested else "",
        watched=bool(watched),
    )
    figures = [
        WORDS.figure(
            "epochs", charts.training_curves(trained, name), what=what, of="all arms, in training", in_turn=False
        )
        for name, what in (("loss", "Training loss"), ("accuracy", "Accuracy on (augmented) training images"))
    ]
    content: list[blocks.Block] = [said, blocks.Grid(figures)]
    if watched:
        figures = [
            WORDS.figure(
                "epochs", charts.train_and_test(arm, name, in_turn), what=what, of=arm["title"], in_turn=in_turn
            )
            for arm in watched
            for name, what in (("accuracy", "Accuracy"), ("loss", "Loss"))
        ]
        said = WORDS.text("by_epoch", smoothed=own["label_smoothing"], busi=run.busi)
        content += [blocks.Heading("Training and test by epoch"), said, blocks.Grid(figures)]
    return content


def _calibration(run: WholeRun) -> list[blocks.Block]:
    arms = list(run.arms.values())
    diagrams = []
    for name, title in list(run.titles.items())[:_CURVED_ARMS]:
        part = next(own for own in run.parts if own.arm == name)
        calibrated = own_answers(calibrate(part.labels, part.probabilities, part.parts))
        bins = [reliability(part.labels, own, part.groups) for own in (calibrated, part.probabilities)]
        drawn = reliability_diagram(dict(zip(("after temperature scaling", "as trained"), bins, strict=True)), title)
        diagrams.append(WORDS.figure("diagram", drawn, title=title))
    level = share(1 - arms[0]["conformal"]["alpha"], 0)
    sizes = [number(own["conformal"]["mean_set_size"], 2) for own in arms]
    mean = blocks.Row("sum", ("mean number of classes in a set", *sizes))
    return [
        blocks.Heading("Do the probabilities mean what they say?"),
        WORDS.text("probabilities"),
        blocks.Grid(diagrams),
        WORDS.table("calibration", arms),
        WORDS.table("conformal", [*run.classes, mean], arms=arms, level=level),
    ]


def generators(run: WholeRun) -> blocks.Section | None:
    """Show which generators were trained, and what they draw; None without generators."""
    found, trained = sampled(run), run.generators
    if not trained and not found:
        return None
    content: list[blocks.Block] = []
    if trained:
        recipe, place = run.results["gan"]["recipe"], run.facts.said["generators"]
        filled = listed(run.facts.filled, 12)
        content.append(WORDS.text("generators", recipe=recipe, classes=filled, budget=run.budget, place=place))
    if found:
        side, unshown = run.results["gan"]["image_size"], listed(found[_PICTURED_CLASSES:], 12)
        enlarged = side if side and side < _SAMPLE_SIDE else 0
        said = WORDS.note("samples", side=_SAMPLE_SIDE, enlarged=enlarged, unshown=unshown)
        pairs = [_pair(run, name) for name in found[:_PICTURED_CLASSES]]
        content += [blocks.Heading("Real and generated images side by side"), said, *pairs]
    pictures = [
        blocks.Figure(
            own.name,
            ": real images, then images of the same latents as the first training went on.",
            embed(own.folder / OVER_TIME, _GRID, f"Generated images of class {own.name} over time"),
        )
        for own in trained[:_PICTURED_CLASSES]
        if (own.folder / OVER_TIME).is_file()
    ]
    if pictures:
        content += [blocks.Heading("What the generators drew as they were trained"), blocks.Grid(pictures)]
    if trained:
        said = WORDS.text("trainings_text", collapsed=COLLAPSE_FRACTION)
        content += [blocks.Heading("How the training went"), said, WORDS.table("trainings", trained, extent=_extent)]
    return blocks.Section("generator", "Generators", content)


def first_picture(run: WholeRun) -> blocks.Block:
    """Show the last class drawn, real and generated; without generators, the accuracy of each fold."""
    found = sampled(run)
    return _pair(run, found[-1]) if found else fold_figure(run)


def sampled(run: WholeRun) -> list[str]:
    """Return the classes that a run folder holds samples of."""
    return [name for name in run.classes if all(_sheet(run, kind, name).is_file() for kind in ("real", "generated"))]


def _pair(run: WholeRun, name: str) -> blocks.Grid:
    pair = []
    for kind, words in (("real", "real training"), ("generated", "generated")):
        picture = embed(_sheet(run, kind, name), _GRID, f"Grid of {words} images of class {name}")
        pair.append(blocks.Figure(name, f", {kind}", picture))
    return blocks.Grid(pair, "pair")


def _sheet(run: WholeRun, kind: str, name: str) -> Path:
    return run.folder / "samples" / f"{kind}-{name}.png"


def _extent(values: Sequence[float], digits: int = 0) -> str:
    """Print the lowest and highest values; only one if they look the same."""
    if not values:
        return "n/a"
    low, high = number(min(values), digits), number(max(values), digits)
    return low if low == high else f"{low} to {high}"


# ---- what came of it


def published(run: WholeRun) -> blocks.Section | None:
    """Show papers' figures beside ours; None if the images are not the papers'."""
    if not run.busi:
        return None
    none = {"by_sensitivity": None, "contradiction": "", "kind": "ours", "validation": run.facts.said["validation"]}
    source = f"this run, {run.results['data']}, budget {run.results['budget']}"
    ours = [
        {**none, "name": own["title"], "source": source}
        | {name: own[name] for name in ("accuracy", "train_accuracy")}
        | {name: [own[name][each]["value"] for each in BUSI_CLASSES] for name in ("sensitivity", "specificity")}
        for own in run.arms.values()
    ]
    theirs = [row._asdict() | {"by_sensitivity": row.by_sensitivity, "kind": ""} for row in PUBLISHED]
    table = WORDS.table("published", [*theirs, *ours], classes=BUSI_CLASSES)
    matrices = [
        confusion_table(f"{row.name}, claim of {row.source}", row.confusion, BUSI_CLASSES)
        for row in PUBLISHED
        if row.confusion
    ]
    contradicted = [f"{row.contradiction}." for row in PUBLISHED if row.contradiction]
    content = [
        WORDS.text("claims"),
        table,
        blocks.Grid(matrices),
        WORDS.text("contradicted", count=len(contradicted)),
        blocks.Bullets(contradicted),
        WORDS.text("compare_implied"),
    ]
    return blocks.Section("published", table.label, content)


def bundle(run: WholeRun) -> blocks.Section:
    """Show what was exported, and that it answers as the network does."""
    parity, verified = run.results["parity"], run.results["verify"]
    golden, allowed = verified["golden"], parity["tolerance"]
    found = {
        "logits": blocks.soft(tiny(parity["max_abs_logits"]), f"(allowed {tiny(allowed['logits'])})"),
        "probabilities": blocks.soft(tiny(parity["max_abs"]), f"(allowed {tiny(allowed['probability'])})"),
    }
    for name, worst in parity["max_relative"].items():
        found[name] = blocks.soft(tiny(worst), f"of its largest value (allowed {tiny(allowed['relative'])})")
    rows = [
        *((name, worst, tiny(golden["max_abs_difference"][name])) for name, worst in found.items()),
        ("allowed", "", tiny(golden["tolerance"])),
        (
            "equal labels",
            f"{parity['labels_equal']} of {parity['count']}",
            f"{'all' if golden['labels_equal'] else 'NOT all'} of {golden['images']}",
        ),
    ]
    arm = run.titles[run.results["final_arm"]]
    content = [
        WORDS.text("bundle", bundle=f"{run.name}/bundle", model=run.manifest, arm=arm),
        blocks.Text(run.manifest["intended_use"]),
        WORDS.text("parity_text", by=parity["made_with"], images=parity["images"], golden=golden["images"]),
        WORDS.table("parity", rows),
        WORDS.text("verified", own=verified),
        WORDS.table("files", run.results["bundle_files"].items()),
    ]
    return blocks.Section("bundle", "Bundle and parity", content)


def making(run: WholeRun) -> blocks.Section:
    """Show the command, the settings, the time and the software."""
    config = (run.folder / run_folder.CONFIG).read_text(encoding="utf-8")
    own, seeds, spent = run.environment, len(run.plans), run.results["seconds"]
    steps: list[object] = [*spent.items(), blocks.Row("sum", ("until this page", duration(sum(spent.values()))))]
    steps += [(f"all folds of: {arm['title']}", arm["seconds"]) for arm in run.arms.values()]
    made = [
        *((name, own[key]) for name, key in (("device", "device"), ("platform", "platform"), ("Python", "python"))),
        *own["versions"].items(),
        ("revision", Markup('<span class="hash">{}</span>').format(own["git_revision"] or "not in a checkout")),
        ("seed", f"{own['seed']}{f' and the next {seeds - 1}' if seeds > 1 else ''}"),
    ]
    content: list[blocks.Block | Markup] = [
        blocks.Heading("Command"),
        WORDS.text("repeat"),
        Markup("<pre>{}</pre>").format(command_line(own["command"])),
        blocks.Folded("All settings, as resolved (config.yaml)", [Markup("<pre>{}</pre>").format(config)]),
        blocks.Grid([WORDS.table("times", steps, starts=len(run.starts)), WORDS.table("environment", made)]),
    ]
    return blocks.Section("making", "How it was made", content)


def command_line(arguments: Sequence[str]) -> str:
    """Return the command that made the run, ready to paste; ``--resume`` would only return the finished run."""
    program, rest = Path(arguments[0]).name if arguments else "sonoforge", list(arguments[1:])
    program = "sonoforge" if program in ("sonoforge.exe", "main.py", "__main__.py") else program
    return shlex.join([program, *(word for word in rest if word != "--resume")])
