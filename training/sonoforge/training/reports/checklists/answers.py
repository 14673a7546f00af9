"""What a run says on each topic that checklists ask for, by the texts of ``answers.yaml``."""

from collections.abc import Mapping

from sonoforge.training.crossval.arms import find_arm
from sonoforge.training.crossval.choices import choosing_of, describe_choice, name_grid
from sonoforge.training.data.audit import Audit
from sonoforge.training.data.data_option import PHANTOM
from sonoforge.training.reports.checklists.items import Answer
from sonoforge.training.reports.checklists.run import FinishedRun
from sonoforge.training.reports.run.statements import describe_comparators, describe_optimiser, is_comparator
from sonoforge.training.reports.said import fill_in, read_said
from sonoforge.training.statistics.results import SEALED, ArmResult, Interval, interval_text
from sonoforge.training.statistics.wording import counted, listed, spread

SAID = read_said("checklists/answers.yaml")


def answer(run: FinishedRun) -> dict[str, Answer]:
    """Return the answers by topic; a topic of which the run knows nothing is absent."""
    met = {run.results["protocol"], *(name for name, holds in _conditions(run).items() if holds)}
    said = fill_in(SAID, met, _facts(run)).values()
    return {own.topic: Answer(own.says, own.where) for own in said if own.where}


def _conditions(run: FinishedRun) -> dict[str, bool]:
    """Return what the run may be or have, beside its protocol, as texts name it that need it."""
    results, arms, audit = run.results, run.arms, run.audit
    return {
        "several-arms": len(arms) > 1,
        "one-arm": len(arms) == 1,
        "bundle": run.has_bundle,
        "network": not all(map(is_comparator, arms)),  # some arm fine-tunes one
        "nested-choice": "choice" in results,
        "ensemble": results["classifier"]["ensemble_size"] > 1,
        "final-model": "final_arm" in results,
        "balanced": any(find_arm(name).fill or find_arm(name).class_weights for name in arms),
        "generators": any(find_arm(name).fill and find_arm(name).reads_generators for name in arms),
        "simulated": run.data == PHANTOM,
        "cropped": results["classifier"]["crop"] == "auto",
        "detectable": bool(_detectable(run)),
        "audit": audit is not None,
        "without-patients": audit is not None and not audit["given_groups"],
        "leaking": any(results["split"]["test_images_with_near_duplicate_in_training"]),
        "chosen-on": bool(results["split"]["chosen_on"]),
        "compared": bool(results["comparisons"]),
    }


def _facts(run: FinishedRun) -> dict[str, object]:
    results, split, second = run.results, run.results["split"], run.results["split"]["second_opinion"]
    classifier, environment, never = results["classifier"], run.environment, results["never_right"]
    seeds = next(iter(run.arms.values()))["seeds"]["seeds"]
    counts = zip(results["classes"], results["class_counts"], strict=True)
    comparators = describe_comparators(run.arms)
    revision = environment["git_revision"]
    added = [
        f"{figures['title']}: {spread(figures['generated_per_fold'])} images a fold"
        for name, figures in run.arms.items()
        if find_arm(name).fill
    ]
    weighted = [figures["title"] for name, figures in run.arms.items() if find_arm(name).class_weights]
    facts = {
        **{"results": results, "split": split, "classifier": classifier, "gan": results["gan"], "audit": run.audit},
        **{"environment": environment, "report": run.report, "name": run.name, "side": classifier["image_size"]},
        "arms": listed([figures["title"] for figures in run.arms.values()]),
        "tested": sum(split["fold_sizes"]),
        "near_duplicates": sum(split["test_images_with_near_duplicate_in_training"]),
        "parts": "Groups" if results["protocol"] in SEALED else "Single images",
        "compared": counted(second["compared"], "pair"),
        "leaks": counted(len(second["leaks"]), "pair"),
        "seeds": f"{counted(len(seeds), 'seed')} ({', '.join(map(str, seeds))})",
        "classes": listed(results["classes"]),
        "class_counts": ", ".join(f"{name} {count}" for name, count in counts),
        "optimiser": describe_optimiser(classifier),
        "but_for": f", but for {name_grid(results['choice']['grid'])}" if "choice" in results else "",
        "comparators": comparators,
        "and_comparators": comparators and f" {comparators}",
        "choice": describe_choice(
            results["budget"], classifier, split["chosen_on"], split["images"], seeds, choosing_of(results)
        ),
        "balanced": listed([*added, *weighted]),
        "versions": listed([f"{name} {version}" for name, version in environment["versions"].items()], 20),
        "sonoforge": environment["versions"].get("sonoforge", ""),
        "revision": f", revision {_short(revision)}" if revision else "",
        "duration": _duration(results["gan"]),
        "detectable": max(_detectable(run), default=None),
        "differences": " ".join(
            f"{row['second']} minus {row['first']} (seed {row['seed']}): {_points(row['accuracy_difference'])}, "
            f"p = {row['sign_flip_test']['p_value']:.3f}."
            for row in results["comparisons"]
        ),
        "never_right": f"{counted(never['images'], 'image')} of {never['of_images']}, in "
        f"{counted(never['groups'], 'group')}, {'was' if never['images'] == 1 else 'were'}",
    }
    return facts | _figures(run) | (_audited(run.audit) if run.audit else {})


def _detectable(run: FinishedRun) -> list[float]:
    """Return the smallest differences of accuracy that comparisons can show, in points, where these are known."""
    known = [row["minimum_detectable_difference"] for row in run.results["comparisons"]]
    return [100 * value for value in known if value is not None]


def _short(revision: str) -> str:
    """Return the beginning of a commit's hash, and whether the checkout was edited."""
    commit, plus, changes = revision.partition("+")
    return commit[:12] + plus + changes


def _duration(gan: Mapping[str, object]) -> str:
    for unit in ("steps", "epochs", "kimg"):
        if gan.get(unit) is not None:
            return f"{gan[unit]} {unit}"
    return "the recipe's duration"


def _audited(audit: Audit) -> dict[str, object]:
    found, unreadable = audit["duplicates"], len(audit["unreadable"])
    mixed = found["mixed_label_clusters"]
    return {
        "unreadable": f"{counted(unreadable, 'file')} could not be read and {'was' if unreadable == 1 else 'were'}",
        "clusters": counted(found["clusters"], "cluster"),
        "clustered": counted(found["images_in_clusters"], "image"),
        **{name: " x ".join(map(str, audit["sizes"][name])) for name in ("smallest", "median", "largest")},
        "modes": listed([f"{count} {name}" for name, count in audit["modes"].items()]),
        "masks": counted(audit["masks"], "mask"),
        "mixed": f"{counted(mixed, 'cluster')} of near-duplicates {'holds' if mixed == 1 else 'hold'}",
    }


def _figures(run: FinishedRun) -> dict[str, object]:
    """Return the figures of all arms, each arm's behind its name."""
    said: dict[str, list[str]] = {}
    for name, own in run.arms.items():
        for topic, text in _of_arm(own, run.results["classes"]).items():
            said.setdefault(topic, []).append(f"{name}: {text}.")
    areas = [
        f"{name}, {label}: AUC {interval_text(figures['auc'])}"
        for name, own in run.arms.items()
        for label, figures in own["one_against_rest"].items()
    ]
    return {"areas": "; ".join(areas), **{topic: " ".join(texts) for topic, texts in said.items()}}


def _of_arm(own: ArmResult, classes: list[str]) -> dict[str, str]:
    folds, seeds = own["fold_accuracy"], own["seeds"]
    deviation = "" if folds["sd"] is None else f" (standard deviation {100 * folds['sd']:.1f})"
    by_class = [
        f"{label} sensitivity {_share(own['sensitivity'][label])}, specificity {_share(own['specificity'][label])}"
        for label in classes
    ]
    robust = [
        f"accuracy with {counted(len(seeds['seeds']), 'seed')} "
        + ", ".join(f"{100 * value:.1f} %" for value in seeds["accuracy"])
    ]
    robust += [
        f"Of {counted(flag['images'], 'image')} flagged {flag['flag']}, {_share(flag['errors'])} are answered wrongly, "
        f"of the others {_share(flag['errors_of_others'])}"
        for flag in own.get("flags", [])
    ]
    return {
        "fold_accuracies": f"accuracy by fold {100 * folds['mean']:.1f} %{deviation}",
        "performance": f"accuracy {_share(own['accuracy'])}, macro-AUC {interval_text(own['macro_auc'])}",
        "sensitivities": "; ".join(by_class),
        "calibration": f"ECE {own['ece']:.3f} before and {own['ece_calibrated']:.3f} after, Brier score "
        f"{own['brier']:.3f} and {own['brier_calibrated']:.3f}",
        "training_accuracy": f"{100 * own['train_accuracy']:.1f} % on training images",
        "robustness": ". ".join(robust),
    }


def _share(interval: Interval) -> str:
    return f"{100 * interval['value']:.1f} % [{100 * interval['low']:.1f}, {100 * interval['high']:.1f}]"


def _points(interval: Interval) -> str:
    value, low, high = (100 * interval[end] for end in ("value", "low", "high"))
    return f"{value:+.1f} points [{low:+.1f}, {high:+.1f}]"
