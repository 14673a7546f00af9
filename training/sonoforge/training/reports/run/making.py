"""The parts of a run's report on what came of it and how: published figures, the bundle, the command, the words."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from sonoforge.training import run_folder
from sonoforge.training.data.layouts import BUSI_CLASSES
from sonoforge.training.reports import blocks
from sonoforge.training.reports.run.results import confusion_table
from sonoforge.training.reports.run.whole_run import WholeRun
from sonoforge.training.reports.texts import read_texts
from sonoforge.training.statistics.published import PUBLISHED, PublishedRow
from sonoforge.training.statistics.results import Interval
from sonoforge.training.statistics.wording import counted, duration, share, size, tiny

TEXTS = read_texts("run")


def published(run: WholeRun) -> blocks.Section | None:
    """Show papers' figures beside ours; None where the images are not those of the papers."""
    if not run.busi:
        return None
    ours = [
        blocks.Row(
            "ours",
            (
                own["title"],
                f"this run, {run.results['data']}, budget {run.results['budget']}",
                run.facts.said["validation"],
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
    title = "Published figures beside ours"
    table = blocks.Table(title, head, [*map(_published, PUBLISHED), *ours], TEXTS["published"], words=(1, 2))
    matrices = [
        confusion_table(f"{row.name}, claim of {row.source}", row.confusion, BUSI_CLASSES)
        for row in PUBLISHED
        if row.confusion
    ]
    content = [blocks.Text(TEXTS["claims"]), table, blocks.Grid(matrices), *_contradicted()]
    return blocks.Section("published", title, content)


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


def _implied(figure: Interval | None) -> str:
    if figure is None:
        return "–"
    return share(figure["value"]) if figure["low"] == figure["high"] else blocks.interval(figure)


def _contradicted() -> list[blocks.Block]:
    rows = [row.contradiction for row in PUBLISHED if row.contradiction]
    themselves = "contradicts itself" if len(rows) == 1 else "contradict themselves"
    said = blocks.Text(TEXTS["contradicted"].format(count=len(rows), contradict=themselves))
    return [said, blocks.Bullets([f"{row}." for row in rows]), blocks.Text(TEXTS["compare_implied"])]


def bundle(run: WholeRun) -> blocks.Section:
    """Show what was exported, and that it answers as the network does."""
    results, manifest = run.results, run.manifest
    parity, verified = results["parity"], results["verify"]
    golden, by, allowed = verified["golden"], parity["made_with"], parity["tolerance"]
    made = TEXTS["bundle"].format(
        bundle=f"{run.name}/bundle",
        model=manifest,
        arm=run.titles[results["final_arm"]],
        images=counted(manifest["training"]["count"], "image"),
    )
    how = TEXTS["parity"].format(by=by, images=parity["images"], golden=golden["images"])
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
    kind, passed = ("ok", "passed") if ok else ("bad", "FAILED")
    whole = TEXTS["verified"].format(kind=kind, passed=passed, problems=problems)
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
        blocks.Text(TEXTS["repeat"]),
        Markup("<pre>{}</pre>").format(command_line(run.environment["command"])),
        Markup(details).format(config),  # noqa: S704 - our own text
        blocks.Grid([_times(run), _environment(run)]),
        blocks.Heading("Files beside this page"),
        blocks.Bullets([text for name, text in TEXTS.items() if name.startswith("beside_")]),
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
