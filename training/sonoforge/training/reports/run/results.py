"""The part of a run's report on its figures: what the arms reach, how they differ, and what that cannot say."""

from collections.abc import Iterator, Sequence

from markupsafe import Markup

from sonoforge.training.crossval.choices import choosing_of, chosen_seeds, describe_choice, name_grid, name_values
from sonoforge.training.reports import blocks
from sonoforge.training.reports.pictures import wrong_cards
from sonoforge.training.reports.run import charts, statements, tables
from sonoforge.training.reports.run.training import folds_figure, sampled
from sonoforge.training.reports.run.whole_run import WholeRun
from sonoforge.training.reports.texts import read_texts
from sonoforge.training.statistics.one_against_rest import classes_of_interest
from sonoforge.training.statistics.results import ONE_SPLIT, Record
from sonoforge.training.statistics.wording import counted, is_number, share

TEXTS = read_texts("run")
_CHARTED = 4  # classes of a data set without a class `malignant`; the others are in `results.json`
_COLUMNS = 10  # of a confusion matrix, with their names and shares
_CELLS = 32  # of a table that does not scroll


def answers_section(run: WholeRun) -> blocks.Section:
    """Show what was answered rightly and wrongly, and what that cannot say."""
    content = [
        _classes(run),
        *_confusion(run),
        *_never_right(run),
        blocks.Heading("What these figures cannot say"),
        blocks.Bullets(list(_limits(run))),
    ]
    return blocks.Section("answers", "Right and wrong answers", content)


def results_section(run: WholeRun) -> blocks.Section:
    """Show all other figures on test images."""
    content = [
        _origin(run),
        tables.arm_table(run.titles, run.arms),
        *_compared(run),
        tables.spread_table(
            run.titles, run.arms, run.arms, chosen_seeds(run.results["budget"], run.results["split"]["chosen_on"])
        ),
        *_chosen(run),
        *_sources(run),
        *_one_class(run),
        *_abstained(run),
        blocks.Heading("Flags and errors"),
        *(
            blocks.Text(f"{own['title']}: a comparator has no trust to be judged.")
            if statements.is_comparator(arm)
            else tables.flag_table(own["title"], own["flags"])
            for arm, own in run.arms.items()
        ),
    ]
    return blocks.Section("results", "Results", content)


def _origin(run: WholeRun) -> blocks.Text:
    results, kept = run.results, run.results["split"]
    choice = describe_choice(
        results["budget"],
        results["classifier"],
        kept["chosen_on"],
        kept["images"],
        list(run.plans),
        choosing_of(results),
    )
    single = run.facts.protocol in ONE_SPLIT
    said = TEXTS["origin"].format(
        test_images="test images of one split" if single else "test folds, pooled over the cross-validation",
        seeds=", first seed (further seeds below)" if len(run.plans) > 1 else "",
        choice=choice,
        parts=run.facts.said["halves"],
    )
    return blocks.Text(said)


def _classes(run: WholeRun) -> blocks.Table:
    title = "Sensitivity and specificity of each class"
    caption = f"{title}, one against the rest. Intervals by group: Wilson's with the effective number of images."
    arms, tall = list(run.arms.values()), len(run.classes) * len(run.arms) > _CELLS

    def both(own: Record, name: str) -> list[Markup]:
        return [blocks.interval(own[figure][name]) for figure in ("sensitivity", "specificity")]

    if len(arms) <= 2:
        rows = [[name, *(cell for own in arms for cell in both(own, name))] for name in run.classes]
        over = [own["title"] for own in arms] if len(arms) > 1 else ()
        head = ["class", *["sensitivity", "specificity"] * len(arms)]
        return blocks.Table(title, head, rows, caption, over=over, tall=tall)
    groups = [blocks.Group(name, [[own["title"], *both(own, name)] for own in arms]) for name in run.classes]
    return blocks.Table(title, ("class", "arm", "sensitivity", "specificity"), groups, caption, words=(1,), tall=tall)


def _confusion(run: WholeRun) -> list[blocks.Block]:
    few = len(run.classes) <= _COLUMNS
    how = (
        "below each count is its share of the row"
        if few
        else "columns are numbered like the rows, empty cells are zero, and the tint shows the share of the row"
    )
    said = TEXTS["confusion"].format(how=how, thesis=" Counterpart of figure 12 of the MSc thesis." if run.busi else "")
    matrices = [confusion_table(own["title"], own["confusion"], run.classes) for own in run.arms.values()]
    shown = [blocks.Grid(matrices)] if few else matrices
    return [blocks.Heading("Confusion matrices"), blocks.Text(said, "note-text"), *shown]


def confusion_table(system: str, confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> blocks.Table:
    """Show the images of each true class (rows) by answer (columns), of a system."""
    few = len(classes) <= _COLUMNS
    heads = classes if few else [blocks.Cell(place, title=name) for place, name in enumerate(classes, 1)]
    rows = []
    for place, (name, counts) in enumerate(zip(classes, confusion, strict=True)):
        head = name if few else blocks.Cell(f"{place + 1} {name}", title=name)
        rows.append(
            [head, *(_count(count, sum(counts), right=column == place, few=few) for column, count in enumerate(counts))]
        )
    title = f"{system}, {counted(sum(map(sum, confusion)), 'image')}"
    kind = "confusion" if few else "confusion many"
    every = range(len(classes) + 1)
    return blocks.Table(
        f"Confusion matrix of {system}",
        ["true \\ answer", *heads],
        rows,
        title,
        words=every,
        kind=kind,
        tall=not few,
    )


def _count(count: int, total: int, *, right: bool, few: bool) -> blocks.Cell:
    part = count / (total or 1)
    text = Markup("{}<small>{}</small>").format(count, share(part) if total else "") if few else str(count or "")
    return blocks.Cell(text, "right" if right else "", style=f"--r:{part:.3f}" if count else "")


def _compared(run: WholeRun) -> list[blocks.Block]:
    folds = [folds_figure(run)] if sampled(run) else []  # else it stands on the first screen
    if not run.comparisons:
        return [blocks.Grid(folds)] if folds else []
    several = len(run.comparisons) > 1
    luck = f" With {len(run.comparisons)} comparisons, one may pass by chance; the p values are not corrected for that."
    said = TEXTS["differences"] + (luck if several else "")
    differences = [
        charts.Difference(
            tables.name_difference(row, run.titles), row["accuracy_difference"], row["minimum_detectable_difference"]
        )
        for row in run.comparisons
    ]
    band = TEXTS["band"] if any(is_number(row.band) for row in differences) else ""
    forest = blocks.Figure(
        "Differences in accuracy", TEXTS["forest"] + band, charts.difference_forest(differences, "accuracy")
    )
    table = tables.comparison_table(run.titles, run.comparisons)
    return [blocks.Heading(table.label), blocks.Text(said), table, blocks.Grid([*folds, forest])]


def _chosen(run: WholeRun) -> list[blocks.Block]:
    nested = run.results.get("choice")
    if nested is None:
        return []
    grid, inner = name_grid(nested["grid"]).capitalize(), nested["inner_folds"]
    said = TEXTS["nested"].format(grid=grid, inner_folds=inner, cost=tables.describe_cost(nested))
    if "final" in nested:
        said += (
            f" The final model has {name_values(nested['final']['settings'])}, chosen in the same way on all images."
        )
    table = tables.chosen_table(run.titles, nested)
    return [blocks.Heading(table.label), blocks.Text(said), table]


def _sources(run: WholeRun) -> list[blocks.Block]:
    arms = [own for own in run.arms.values() if "by_source" in own]
    if not arms:
        return []
    found = [tables.source_table(own["title"], own["by_source"]) for own in arms]
    return [blocks.Heading("By collection and device"), blocks.Text(TEXTS["sources"]), *found]


def _one_class(run: WholeRun) -> list[blocks.Block]:
    """Show each class of interest against the rest."""
    said = TEXTS["one_class"] + (TEXTS["one_class_leaking"] if run.facts.near_duplicates else "")
    names = classes_of_interest(run.results["classes"])[:_CHARTED]
    counts = dict(zip(run.results["classes"], run.results["class_counts"], strict=True))
    frequent = ", ".join(f"{share(counts[name] / sum(counts.values()))} of the images are {name}" for name in names)
    shown = [block for name in names for block in _of_class(run, name)]
    last = blocks.Text(TEXTS["benefit"].format(frequent=frequent), "note-text")
    return [blocks.Heading("One class against the rest"), blocks.Text(said), *shown, last]


def _of_class(run: WholeRun, name: str) -> Iterator[blocks.Block]:
    yield from tables.class_tables(run.titles, run.arms, run.comparisons, name)
    label = run.classes.index(name)
    parts = {run.titles[arm]: next(own for own in run.parts if own.arm == arm) for arm in run.arms}
    curves = (
        ("ROC curves", TEXTS["roc"], charts.roc_curves(parts, name, label)),
        ("Precision and recall", TEXTS["precision_recall"], charts.precision_recall_curves(parts, name, label)),
    )
    yield blocks.Grid([blocks.Figure(f"{title} of {name}", said, drawn) for title, said, drawn in curves])
    forest: list[blocks.Block] = []
    if run.comparisons:
        first = [(row, row["one_against_rest"][name]["sensitivity_at"][0]) for row in run.comparisons]
        rows = [charts.Difference(tables.name_difference(row, run.titles), own["difference"]) for row, own in first]
        drawn = charts.difference_forest(rows, f"the sensitivity to {name}")
        said = f" at {share(first[0][1]['aim'], 0)} specificity, with 95 % intervals by group."
        forest.append(blocks.Figure(f"Differences in the sensitivity to {name}", said, drawn))
    drawn = charts.decision_curves(run.arms, name)
    yield blocks.Grid([*forest, blocks.Figure(f"Decision curves of {name}", TEXTS["decision_curves"], drawn)])
    yield tables.benefit_table(run.titles, run.arms, name)


def _abstained(run: WholeRun) -> list[blocks.Block]:
    arms = list(run.arms.values())
    targets = zip(*(own["risk_coverage"]["targets"] for own in arms), strict=True)
    rows = [
        (f"at most {share(row[0]['error'], 0)}", *(blocks.interval(target["abstained"]) for target in row))
        for row in targets
    ]
    title = "Abstention"
    caption = "Share of scans without a label, the least probable labels first. Intervals by group."
    head = ("wrong among the others", *(own["title"] for own in arms))
    chart = blocks.Figure(
        "Risk and coverage",
        ": how many of the scans that keep their label are wrong, when only the surest keep it.",
        charts.risk_coverage(run.arms),
    )
    table = blocks.Table(title, head, rows, caption)
    return [blocks.Heading(title), blocks.Text(TEXTS["abstention"]), table, chart]


def _never_right(run: WholeRun) -> list[blocks.Block]:
    found, title = run.results["never_right"], blocks.Heading("Scans that were never answered rightly")
    if not found["groups"]:
        return [title, blocks.Text("None: each group of images was answered rightly at least once.")]
    cards, one = wrong_cards(found["worst"], run.cache), found["images"] == 1
    which = f"Shown are {len(cards.cards)}, the" if found["groups"] > len(cards.cards) else "The"
    said = (
        f"{counted(found['images'], 'image')} of {found['of_images']}, in {counted(found['groups'], 'group')} of "
        f"{found['of_groups']}, {'was' if one else 'were'} answered wrongly by "
        f"{'every arm' if len(run.arms) > 1 else 'the arm'}{' with every seed' if len(run.plans) > 1 else ''}, "
        f"together with all {'its' if one else 'their'} near-duplicates. Such scans are hard, or their label is "
        f"wrong; someone who knows the patients should look at them. {which} largest groups first, then those whose "
        "label was thought the least probable. All answers: " + blocks.code("predictions.csv") + "."
    )
    return [title, blocks.Text(said), cards]


def _limits(run: WholeRun) -> Iterator[str]:
    facts, audit, count = run.facts, run.audit, run.manifest["training"]["count"]
    if facts.simulated:
        yield facts.said["simulation"]
    if facts.simulated < facts.images:
        yield TEXTS["elsewhere"] + (TEXTS["busi_elsewhere"] if run.busi else "")
    if audit["given_groups"] is None:
        yield TEXTS["without_patients"]
    mixed = audit["duplicates"]["mixed_label_clusters"]
    if mixed:
        yield (
            f"{counted(mixed, 'cluster')} of near-duplicates {'carries' if mixed == 1 else 'carry'} more than one "
            "label: no model can be right on all of them."
        )
    part = f"{facts.folds - 1} of {facts.folds} folds"
    if facts.protocol in ONE_SPLIT:
        part = f"{facts.images - facts.tested} of {facts.images} images"
    trained = f"{count} of the {facts.images} images"
    if count == facts.images:
        trained = f"all {count} images, so that none was left to test it"
    yield (
        f"The model in the bundle was trained on {trained}. The figures are those of other models, trained in the same "
        f"way on {part} and tested on the rest."
    )
