"""Write ``report.html``: what a run asked, found and cannot know, in one self-contained file.

The page shows the run's results and what is recomputed from the run folder; `write_report` fails if they disagree.
"""

from pathlib import Path

from markupsafe import Markup

from sonoforge.runtime.errors import GateError
from sonoforge.training.reports import audit, blocks, files, words
from sonoforge.training.reports.conclusions import doubts, in_plain_words, judge_arm, judge_gan
from sonoforge.training.reports.run import sections
from sonoforge.training.reports.run.tables import WORDS
from sonoforge.training.reports.run.whole_run import WholeRun
from sonoforge.training.statistics.results import Interval
from sonoforge.training.statistics.smallest_gain import describe_gain
from sonoforge.training.statistics.verdict import GAN, PLACEBO, Verdict, flipped, gan_comparison
from sonoforge.training.statistics.wording import bracket, counted, is_number, listed, number, points, share

REPORT, TABLES = "report.html", "report"
_FACTS = 4  # of the first screen
_FOR_PAPERS = ("Paired comparisons", "Results of all arms", "Sensitivity and specificity of each class")
_LONGEST = 60  # letters of class names in the heading


def write_report(run: WholeRun) -> Path:
    """Write ``RUN/report.html`` of a run folder that holds everything else.

    Raises:
        GateError: The page recomputes other figures than the results; it is still written, and shows where.
    """
    path = files.write_with_files(report(run), run.folder / REPORT, _FOR_PAPERS)
    failed = [check for check in run.checks if not check.passed]
    if failed:
        raise GateError(
            f"{path}: {len(failed)} checks of the results against the run folder failed; the first: {failed[0].what}: "
            f"found {failed[0].found}; do not use these results"
        )
    return path


def report(run: WholeRun) -> blocks.Page:
    """Put the page together."""
    facts, classes, said = run.facts, run.classes, run.facts.said
    figures = run.arms[run.results["final_arm"]]
    warning = [blocks.bold(said["warning"])] * bool(said["warning"])
    question = blocks.Text(Markup(" ").join([said["ask"], said["judged_by"], *warning, said["simulation"]]))
    problems = [f"{check.what}: {check.found}" for check in run.checks if not check.passed]
    headline, content = "Checks against the run folder failed", [blocks.Bullets(problems)]
    failed = blocks.Answer("failed", "Do not use these results", headline, content, "Failed checks")
    simulated = " (simulated images)" if facts.simulated == facts.images else ""
    named = listed(classes) if len("".join(classes)) <= _LONGEST else counted(len(classes), "class", "classes")
    return blocks.Page(
        title=f"{run.results['data']}: evidence report",
        meta=f"sonoforge evidence report · {run.name}",
        heading=f"{run.results['data']}{simulated}: {named}",
        summary=[
            *[failed] * bool(problems),
            *_doubts(run),
            question,
            *_answers(run),
            sections.first_picture(run),
            blocks.Facts(_facts(run)),
            *audit.said_gain(describe_gain(figures["groups"], figures["images"])),
            *audit.patient_warning(run.audit),
        ],
        parts=_parts(run),
        made=Markup("Made by sonoforge {} from the files of the run folder {}.").format(
            run.environment["versions"].get("sonoforge") or "", blocks.code(run.name)
        ),
    )


def _parts(run: WholeRun) -> list[blocks.Part]:
    """Divide the sections among readers."""
    by_reader: dict[str, list[blocks.Section | None]] = {
        "clinician": [sections.answers(run)],
        "engineer": [sections.training(run), sections.generators(run), sections.bundle(run), sections.making(run)],
        "reviewer": [sections.data(run), sections.split(run), sections.results(run), sections.published(run)],
        "words": [words.glossary("Glossary", "run-glossary")],
    }
    return [
        blocks.Part(
            anchor, WORDS(f"{anchor}_title"), WORDS(anchor), [section for section in own if section is not None]
        )
        for anchor, own in by_reader.items()
    ]


def conclusions(run: WholeRun) -> list[blocks.Answer]:
    """Return doubts about the final model, and the answers to the run's questions."""
    return [*_doubts(run), *_answers(run)]


def _doubts(run: WholeRun) -> list[blocks.Answer]:
    evaluation, alpha = run.manifest["evaluation"], run.manifest["conformal"]["alpha"]
    found = doubts(evaluation, alpha, run.results["weights"])
    return [_answer(question, verdict) for question, verdict in found.items()]


def judged(run: WholeRun) -> list[Verdict]:
    """Return whether the GAN helps; in a run that does not ask it, how each arm compares with the baseline."""
    gan = gan_comparison(run.comparisons)
    if gan is None:
        return [judge_arm(row, run.arms) for row in run.comparisons]
    placebo = None
    for row in run.comparisons:
        if gan["second"] in (row["first"], row["second"]) and {row["first"], row["second"]} & {*PLACEBO}:
            placebo = row if row["second"] in GAN else flipped(row)
    return [judge_gan(gan, placebo, run.arms, run.facts.said["leaks"])]


def comparison_page(run: WholeRun) -> blocks.Page:
    """Show a comparison that has no final model: its conclusions, a picture and the results."""
    doubted = [blocks.Answer("no", "Can these figures be used?", doubt) for doubt in run.results["doubts"]]
    return blocks.Page(
        title=run.results["data"],
        meta=f"sonoforge comparison · {run.name}",
        heading=f"{run.results['data']}: {listed(list(run.titles.values()))}",
        summary=[*doubted, *_answers(run), sections.first_picture(run)],
        sections=[sections.results(run)],
    )


def _answers(run: WholeRun) -> list[blocks.Answer]:
    gan, verdicts = gan_comparison(run.comparisons), judged(run)
    if gan is None:
        return [_answer("Compared with the baseline", verdict) for verdict in verdicts]
    plain = blocks.Text(in_plain_words(gan, run.arms))
    more = [_budget(run)] if run.generators else []
    grounds = blocks.Folded("The statistics behind this", [*map(blocks.Text, verdicts[0].sentences), *more])
    return [blocks.Answer(verdicts[0].level, "Do generated images help?", verdicts[0].headline, [plain, grounds])]


def _answer(question: str, verdict: Verdict) -> blocks.Answer:
    return blocks.Answer(verdict.level, question, verdict.headline, [*map(blocks.Text, verdict.sentences)])


def _budget(run: WholeRun) -> blocks.Text:
    trainings = sum(len(runs.curves) for runs in run.generators)
    collapsed = sum(runs.collapsed_at_end for runs in run.generators)
    said = [f"The generators had {run.budget}."]
    if collapsed:
        ended = blocks.bold(f"{collapsed} of {counted(trainings, 'training run')} ended collapsed")
        said.append(ended + " (nearly the same image again and again).")
    said.append("The answer holds for generators trained like this, not for all generators.")
    return blocks.Text(Markup(" ").join(said))


def _facts(run: WholeRun) -> list[blocks.Fact]:
    figures, facts = run.arms[run.results["final_arm"]], run.facts
    accuracy, area = figures["accuracy"], figures["macro_auc"]
    known = {name: row for name, row in figures["sensitivity"].items() if is_number(row["value"])}
    worst = min(known, key=lambda name: known[name]["value"])
    rows = [
        blocks.Fact("Accuracy", share(accuracy["value"]), f"{_ends(accuracy)}; {figures['title']}"),
        blocks.Fact(
            "Macro-AUC", number(area["value"]), f"95 % interval {bracket(number(area['low']), number(area['high']))}"
        ),
        blocks.Fact(f"Lowest sensitivity: {worst}", share(known[worst]["value"]), _ends(known[worst])),
    ]
    gan = gan_comparison(run.comparisons)
    if gan is not None:
        change, smallest = gan["accuracy_difference"], gan["minimum_detectable_difference"]
        detail = _ends(change, "+")
        if is_number(smallest):
            detail += f"; smallest change this run can be expected to detect: {points(smallest, sign='')}"
        rows.append(
            blocks.Fact("Change in accuracy with generated images", f"{points(change['value'])} points", detail)
        )
    if len(rows) < _FACTS or facts.near_duplicates:
        of_all = f"of {counted(facts.tested, 'test image')}"
        rows.append(blocks.Fact("Test images with a near-duplicate in training", facts.near_duplicates, of_all))
    return rows


def _ends(figure: Interval, sign: str = "") -> str:
    return f"95 % interval {bracket(points(figure['low'], sign=sign), points(figure['high'], sign=sign))}"
