"""The parts of a run's report on what came of it and how: published figures, the bundle, the command, the words."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from sonoforge.training import run_folder
from sonoforge.training.data.datasets import BUSI_CLASSES
from sonoforge.training.pages import blocks
from sonoforge.training.pages.run import statements
from sonoforge.training.pages.run.whole_run import WholeRun
from sonoforge.training.statistics.published import PUBLISHED, Implied, PublishedRow
from sonoforge.training.statistics.results import Interval
from sonoforge.training.statistics.wording import counted, duration, share, size, tiny

_BESIDE = (
    "<code>predictions.csv</code>: every image's fold, group and probabilities, by arm and seed; all tables follow "
    "from it",
    "<code>splits.json</code>: the split plan; <code>folds/</code>: what each training read, and its learning curve",
    "<code>audit.json</code>: all clusters of near-duplicates; <code>results.json</code>: all figures",
    "<code>config.yaml</code>, <code>environment.json</code>, <code>log.txt</code>: the settings, the software it "
    "ran on, and its log",
)
"""Files in the run folder."""


def published(run: WholeRun) -> blocks.Section | None:
    """Show papers' figures beside ours; None where the images are not those of the papers."""
    if not run.busi:
        return None
    claims = (
        "Published rows are "
        + blocks.bold("claims of the papers, on BUSI, under their own protocols")
        + ". Plain folds and single splits let near-duplicates fall on both sides. These rows are not targets, and "
        "only rows with the same protocol can be compared."
    )
    ours = [
        blocks.Row(
            "ours",
            (
                own["title"],
                f"this run, {run.results['data']}, budget {run.results['budget']}",
                statements.name_validation(run.facts),
                blocks.interval(own["accuracy"]),
                "the same",
                share(own["train_accuracy"]),
                *(_both(own["sensitivity"][name]["value"], own["specificity"][name]["value"]) for name in BUSI_CLASSES),
            ),
        )
        for own in run.arms.values()
    ]
    head = (
        *("system", "source", "validation", "accuracy stated", "implied by its own sensitivities"),
        *("on training images", *BUSI_CLASSES),
    )
    caption = (
        "Accuracy, then sensitivity / specificity of each class in percent. Implied: the accuracy that follows from "
        "the row's own sensitivities, or its confusion matrix; brackets of published rows are what rounding to two "
        "digits leaves open, those of ours 95 % intervals."
    )
    title = "Published figures beside ours"
    table = blocks.Table(title, head, [*map(_published, PUBLISHED), *ours], caption, words=(1, 2))
    return blocks.Section("published", title, [blocks.Text(claims), table, *_contradicted()])


def _published(row: PublishedRow) -> tuple[str | blocks.Cell, ...]:
    both = [_both(*pair) for pair in zip(row.sensitivity or (), row.specificity or (), strict=True)]
    return (
        row.name,
        row.source,
        row.validation,
        blocks.Cell(share(row.accuracy), "bad" if row.contradiction else ""),
        _implied(row.by_sensitivity),
        "–" if row.train_accuracy is None else share(row.train_accuracy),
        *(both or ["–"] * len(BUSI_CLASSES)),
    )


def _both(sensitivity: float, specificity: float) -> str:
    return f"{100 * sensitivity:.0f} / {100 * specificity:.0f}"


def _implied(figure: Implied | None) -> str:
    if figure is None:
        return "–"
    return (
        share(figure.value)
        if figure.low == figure.high
        else blocks.interval(Interval(value=figure.value, low=figure.low, high=figure.high))
    )


def _contradicted() -> list[blocks.Block]:
    rows = [row.contradiction for row in PUBLISHED if row.contradiction]
    themselves = "contradicts itself" if len(rows) == 1 else "contradict themselves"
    said = blocks.bold(f"{len(rows)} of these papers' rows {themselves}:")
    compare = (
        "Our accuracy and our sensitivities are of the same answers. So compare ours with the accuracy that a paper's "
        "sensitivities imply, not with the one it states."
    )
    stated = " the accuracy stated is not that of the figures stated beside it."
    return [blocks.Text(said + stated), blocks.Bullets([f"{row}." for row in rows]), blocks.Text(compare)]


def bundle(run: WholeRun) -> blocks.Section:
    """Show what was exported, and that it answers as the network does."""
    results, manifest = run.results, run.manifest
    parity, verified = results["parity"], results["verify"]
    golden, where = verified["golden"], f"{run.name}/bundle"
    by, allowed = parity["made_with"], parity["tolerance"]
    made = Markup(
        "The bundle <code>{}</code> holds the model <b>{} {}</b> (arm: {}, trained on {}), created {}. Temperature "
        "{:.3f}, {}. <code>sonoforge classify IMAGE --bundle {}</code> answers from it without torch."
    ).format(
        where,
        manifest["name"],
        manifest["version"],
        run.titles[results["final_arm"]],
        counted(manifest["training"]["count"], "image"),
        manifest["created"],
        manifest["calibration"]["temperature"],
        manifest["calibration"]["protocol"],
        where,
    )
    how = (
        f"Parity compares the trained network (torch {by['torch']}) with the exported file (onnxruntime "
        f"{by['onnxruntime']}) on {parity['images']}. The golden check runs {golden['images']} images stored in "
        "the bundle through the runtime on this machine and compares the answers with those stored beside them."
    )
    found = {
        "logits": blocks.soft(tiny(parity["max_abs_logits"]), f"(allowed {tiny(allowed['logits'])})"),
        "probabilities": blocks.soft(tiny(parity["max_abs"]), f"(allowed {tiny(allowed['probability'])})"),
    }
    for name, worst in parity["max_relative"].items():
        found[name] = blocks.soft(tiny(worst), f"of its largest value (allowed {tiny(allowed['relative'])})")
    rows: list[tuple[str, Markup | str, str]] = [
        (name, worst, tiny(golden["max_abs_difference"][name])) for name, worst in found.items()
    ]
    rows += [
        ("allowed", "", tiny(golden["tolerance"])),
        (
            "equal labels",
            f"{parity['labels_equal']} of {parity['count']}",
            f"{'all' if golden['labels_equal'] else 'NOT all'} of {golden['images']}",
        ),
    ]
    head = ("output", "parity: largest difference", "golden check: largest difference")
    caption = "Does the exported file give the same answers as the trained network?"
    ok, problems = verified["ok"], "".join(f"; {problem}" for problem in verified["problems"])
    whole = Markup('Verification of the whole bundle on this machine: <b class="{}">{}</b>{}.').format(
        "ok" if ok else "bad", "passed" if ok else "FAILED", problems
    )
    files = [
        (name, size(own["bytes"]), blocks.Cell(own["sha256"], "hash")) for name, own in results["bundle_files"].items()
    ]
    content = [
        blocks.Text(made),
        blocks.Text(manifest["intended_use"]),
        blocks.Text(how),
        blocks.Table("Parity of the exported model", head, rows, caption),
        blocks.Text(whole),
        blocks.Table("Files of the bundle", ("file", "size", "SHA-256"), files, wide=(2,)),
    ]
    return blocks.Section("bundle", "Bundle and parity", content)


def making(run: WholeRun) -> blocks.Section:
    """Show the command, the settings, the time and the software."""
    config = (run.folder / run_folder.CONFIG).read_text(encoding="utf-8")
    details = "<details>\n<summary>All settings, as resolved (config.yaml)</summary>\n<pre>{}</pre>\n</details>"
    content: list[blocks.Block | Markup] = [
        blocks.Heading("Command"),
        blocks.Text("The same command with the same data, package versions and number of threads repeats the run:"),
        Markup("<pre>{}</pre>").format(command_line(run.environment["command"])),
        Markup(details).format(config),  # noqa: S704 - our own text
        blocks.Grid([_times(run), _environment(run)]),
        blocks.Heading("Files beside this page"),
        blocks.Bullets([*map(Markup, _BESIDE)]),
    ]
    return blocks.Section("making", "How it was made", content)


def _times(run: WholeRun) -> blocks.Table:
    spent = run.results["seconds"]
    rows: list[blocks.Cells] = [(name, duration(seconds)) for name, seconds in spent.items()]
    rows.append(blocks.Row("sum", ("until this page", duration(sum(spent.values())))))
    rows += [(f"all folds of: {own['title']}", duration(own["seconds"])) for own in run.arms.values()]
    starts = f" by the last of {len(run.starts)} sessions; the run was interrupted and continued"
    caption = "Time taken" + (starts if len(run.starts) > 1 else "")
    return blocks.Table("Time taken", ("step", "time"), rows, caption)


def _environment(run: WholeRun) -> blocks.Table:
    own, seeds = run.environment, len(run.plans)
    revision = own["git_revision"] or "not in a checkout"
    rows = [
        *((name, own[key]) for name, key in (("device", "device"), ("platform", "platform"), ("Python", "python"))),
        *own["versions"].items(),
        ("revision", blocks.fingerprint(revision)),
        ("seed", f"{own['seed']}{f' and the next {seeds - 1}' if seeds > 1 else ''}"),
    ]
    return blocks.Table("Environment", (), rows, words=(1,))


def command_line(arguments: Sequence[str]) -> str:
    """Return the command that made the run, ready to paste; ``--resume`` would only return the finished run."""
    program, rest = Path(arguments[0]).name if arguments else "sonoforge", list(arguments[1:])
    program = "sonoforge" if program in ("sonoforge.exe", "main.py", "__main__.py") else program
    return shlex.join([program, *(word for word in rest if word != "--resume")])
