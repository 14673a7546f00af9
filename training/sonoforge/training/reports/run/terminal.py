"""Print a comparison for ``crossval`` and ``run``: the tables of its page, and why they may be too good."""

import itertools

from sonoforge.runtime.cli.answer import say, tell
from sonoforge.training.crossval.arms import find_arm, title_of
from sonoforge.training.crossval.choices import CHOSEN_ON, describe_seeds, name_values
from sonoforge.training.crossval.evidence import UNVERIFIED
from sonoforge.training.data.datasets import is_busi
from sonoforge.training.data.layouts import BUSI_CLASSES
from sonoforge.training.reports.blocks import Table, area, interval, plain_text
from sonoforge.training.reports.run import page, tables, whole_run
from sonoforge.training.reports.terminal import plain_table, table_text
from sonoforge.training.reports.words import fill_in, read_said
from sonoforge.training.statistics import between_runs, one_against_rest
from sonoforge.training.statistics.published import PUBLISHED, PublishedRow
from sonoforge.training.statistics.results import Interval, Record
from sonoforge.training.statistics.wording import bracket, is_number, points, share, why_not_detectable

_COLUMNS = 10  # classes of a confusion matrix that is printed
_SYSTEMS = 3  # side by side
_WARNINGS = read_said("run-warnings")


def log_comparison(results: Record) -> None:
    """Print the results of a comparison, of protocols or of arms, or what its predictions alone give again."""
    for doubt in (results.get("doubt", ""), *results["doubts"]):
        tell(doubt)
    if "steps" in results:
        log_leakage(results)
    else:
        log_table(results)


def log_table(results: Record) -> None:
    """Print the tables of a comparison of arms and, unless only its predictions are known, why they are too good."""
    _log_figures(results)
    if choice := results.get("choice"):
        _log(tables.chosen_table({arm: title_of(arm) for arm in choice["folds"]}, choice))
        if "final" in choice:
            tell(f"final model: chosen on inner folds of all images: {name_values(choice['final']['settings'])}")
        tell(f"no test image had a part in the choice; it cost {tables.describe_cost(choice)}")
    if "split" in results:
        for line in _warnings(results):
            tell(line)
    _log_systems(results)


def log_run(run: whole_run.WholeRun) -> None:
    """Print what a run concludes and each arm's figures; the report has the rest."""
    for answer in page.conclusions(run):
        say("")
        tell(f"{answer.question} {answer.answer}.")
    rows = [
        (own["title"], plain_text(interval(own["accuracy"])), plain_text(area(own["macro_auc"])))
        for own in run.arms.values()
    ]
    say("")
    say("%s", plain_table(("arm", "accuracy", "macro-AUC"), rows, (1, 2)))
    for line in _warnings(run.results):
        tell(line)


def _doubted(name: str, results: Record) -> str:
    """Mark a name if its figures stand on nobody's word, see `evidence.UNVERIFIED`."""
    return f"{name} ({UNVERIFIED})" if results.get("doubt", "").startswith(UNVERIFIED) else name


def _log_figures(results: Record) -> None:
    """Print what follows from the predictions: the arms, their paired comparisons, one class against the rest."""
    arms, comparisons = results["arms"], results["comparisons"]
    titles = {arm: _doubted(title_of(arm), results) for arm in arms}
    _log(tables.arm_table(titles, arms))
    _log(tables.spread_table(titles, arms))
    for arm, figures in arms.items():
        if "by_source" in figures:
            _log(tables.source_table(titles[arm], figures["by_source"]))
        if "by_source" in figures and "flags" in figures:
            _log(tables.flag_table(titles[arm], figures["flags"]))
    if comparisons:
        _log(tables.comparison_table(titles, comparisons))
    for row in comparisons:
        if not is_number(row["minimum_detectable_difference"]):
            why = f"which differences it can show cannot be computed: {why_not_detectable(row)}"
            tell(f"{tables.name_difference(row, titles)}: {why}")
    for name in one_against_rest.classes_of_interest(results["classes"]):
        for table in (*tables.class_tables(titles, arms, comparisons, name), tables.benefit_table(titles, arms, name)):
            _log(table)
    if results["never_right"]["worst"]:
        tell(tables.WORDS.plain("never_right_line", found=results["never_right"]))


def _log(table: Table) -> None:
    say("")
    tell(plain_text(table.caption or table.label))
    say("%s", table_text(table))


def _log_systems(results: Record) -> None:
    """Print confusion matrices, then the arms' figures for each class beside published ones, one line per figure.

    This follows figure 12 and table 1 of the MSc thesis (S. H., Middlesex University, 2024). Published rows are shown
    for the same images, split in the same way.
    """
    classes, arms, split = results["classes"], results["arms"], results.get("split", {})
    busi = bool(split) and is_busi(split["fingerprint"])
    published = [row for row in PUBLISHED if busi and row.protocol == split["protocol"]]
    matrices = {row.name: row.confusion for row in published if row.confusion}
    matrices |= {_doubted(title_of(arm), results): own["confusion"] for arm, own in arms.items()}
    if len(classes) <= _COLUMNS:
        for title, matrix in matrices.items():
            rows = [[name, *map(str, counts)] for name, counts in zip(classes, matrix, strict=True)]
            say("")
            tell(f"Confusion matrix of {title}")
            say("%s", plain_table(["true \\ answer", *classes], rows, range(1, len(classes) + 1)))
    systems = [(f"{row.name.split(' (')[0]}, claimed", _claimed_lines(row)) for row in published]
    systems += [(_doubted(arm, results), _own_lines(own)) for arm, own in arms.items()]
    names = [f"{figure}: {name}" for figure in ("sensitivity", "specificity") for name in classes]
    names += ["accuracy: training", "accuracy: test", "test, by its other figures"]
    for first in range(0, len(systems), _SYSTEMS):
        some = systems[first : first + _SYSTEMS]
        say("")
        claims = " and ".join(sorted({row.source for row in published}))
        said = "Sensitivity and specificity of each class, accuracy on training and test images"
        tell(said + (f"; claims of {claims}, under their own protocols" if claims else ""))
        rows = [[name, *line] for name, *line in zip(names, *(lines for _, lines in some), strict=True)]
        say("%s", plain_table(["", *(title for title, _ in some)], rows, range(1, len(some) + 1)))


def _own_lines(own: Record) -> list[str]:
    figures = itertools.chain(own["sensitivity"].values(), own["specificity"].values())
    trained_accuracy = share(own["train_accuracy"]) if "train_accuracy" in own else "-"
    return [*(share(figure["value"]) for figure in figures), trained_accuracy, share(own["accuracy"]["value"]), "same"]


def _claimed_lines(row: PublishedRow) -> list[str]:
    """Return the figures as printed there, in percent."""
    missing = [None] * len(BUSI_CLASSES)
    figures = [*(row.sensitivity or missing), *(row.specificity or missing), row.train_accuracy, row.accuracy]
    implied = row.by_sensitivity
    said = "-"
    if implied:
        ends = [points(implied[end], sign="") for end in ("low", "high")]
        said = share(implied["value"]) + (f" {bracket(*ends)}" if ends[0] != ends[1] else "")
    return [*("-" if figure is None else f"{100 * figure:.7g} %" for figure in figures), said]


def _warnings(results: Record) -> list[str]:
    """Say why the figures are too good, if they are."""
    split, arms = results["split"], {name: find_arm(name) for name in results["arms"]}
    seeds = next(iter(results["arms"].values()))["seeds"]["seeds"]
    generated = [name for name, arm in arms.items() if arm.reads_generators]
    facts = {
        **{"budget": results["budget"], "split": split},
        "near_duplicates": sum(split["test_images_with_near_duplicate_in_training"]),
        "tested": sum(split["fold_sizes"]),
        "generated": sum(sum(results["arms"][name]["generated_per_fold"]) for name in generated),
        "chosen": split["chosen_on"] and not all(arm.comparator for arm in arms.values()),
        "collections": CHOSEN_ON[results["budget"]],
        "about_seeds": describe_seeds(results["budget"], split["chosen_on"], seeds),
    }
    return [own.says for own in fill_in(_WARNINGS, facts).values()]


def log_leakage(found: Record) -> None:
    """Print the accuracy under each protocol, what each leak adds, and what remains of the gain."""
    seeds = ", ".join(map(str, found["seeds"]))
    tell(f"{found['images']} images in {found['groups']} groups, seeds {seeds}; in points, 95 % intervals by group")
    rows = [
        (arm, *(_points(accuracy[name], "") if name in accuracy else "as plain" for name in between_runs.LEAKS))
        for arm, accuracy in found["accuracy"].items()
    ]
    say("%s", plain_table(("accuracy, %", *between_runs.LEAKS), rows, (1, 2, 3)))
    for line in tables.WORDS.plain("leaks", found=found, ends=_points).splitlines():
        tell(line.strip(), "  " if line.startswith(" ") else "")
    tell(found.get("choice", ""))


def _points(figure: Interval, sign: str = "+") -> str:
    if not is_number(figure["value"]):
        return "no such image"
    value, *ends = (points(end, sign=sign) for end in (figure["value"], figure["low"], figure["high"]))
    return f"{value} {bracket(*ends)}"
