"""The figures of a run, in the sentences that checklists ask for."""

from __future__ import annotations

from sonoforge.training.pages.checklists.items import Answer
from sonoforge.training.pages.checklists.run import FinishedRun
from sonoforge.training.statistics.results import IntervalResult, interval_text
from sonoforge.training.statistics.wording import counted


def figure_answers(run: FinishedRun) -> dict[str, Answer]:
    """Return the answers by topic."""
    arms = run.arms
    found = {
        "metrics": Answer(
            "Accuracy, balanced accuracy, macro-F1, macro-AUC, sensitivity and specificity of each class "
            "against the rest; calibration error (ECE) and Brier score; prediction sets; decision curves.",
            f"{run.report}: Results",
        ),
        "statistics": Answer(
            "95 % intervals by group: Wilson's with the effective number of images for shares, a bootstrap of "
            "whole groups "
            "for the rest. Arms are compared in pairs by an exact sign-flip test over groups, AUCs by DeLong's "
            "test summed over groups; nothing is corrected for several comparisons.",
            "results.json: arms, comparisons",
        ),
        "performance": Answer(
            " ".join(
                f"{name}: accuracy {_share(own['accuracy'])}, macro-AUC {interval_text(own['macro_auc'])}."
                for name, own in arms.items()
            ),
            "results.json: arms.*.accuracy, macro_auc",
        ),
        "sensitivities": Answer(
            " ".join(
                f"{name}: "
                + "; ".join(
                    f"{label} sensitivity {_share(own['sensitivity'][label])}, specificity "
                    f"{_share(own['specificity'][label])}"
                    for label in run.results["classes"]
                )
                + "."
                for name, own in arms.items()
            ),
            "results.json: arms.*.sensitivity, specificity",
        ),
        "calibration": Answer(
            "Probabilities are rescaled by one temperature, fitted on other images than those judged. "
            + " ".join(
                f"{name}: ECE {own['ece']:.3f} before and {own['ece_calibrated']:.3f} after, Brier score "
                f"{own['brier']:.3f} and {own['brier_calibrated']:.3f}."
                for name, own in arms.items()
            ),
            "results.json: arms.*.ece, brier, temperature",
        ),
        "training_accuracy": Answer(
            " ".join(f"{name}: {100 * own['train_accuracy']:.1f} % on training images." for name, own in arms.items()),
            "results.json: arms.*.train_accuracy",
        ),
        "robustness": Answer(_robustness(run), "results.json: arms.*.seeds, flags"),
    }
    comparisons = [
        f"{row['second']} minus {row['first']} (seed {row['seed']}): {_points(row['accuracy_difference'])}, "
        f"p = {row['sign_flip_test']['p_value']:.3f}."
        for row in run.results["comparisons"]
    ]
    if comparisons:
        found["comparison"] = Answer(
            "Difference of accuracy. " + " ".join(comparisons), "results.json: comparisons.*.accuracy_difference"
        )
    elif len(arms) == 1:
        found["comparison"] = Answer("One arm, so there is nothing to compare.", "config.yaml: arms")
    one = [
        f"{name}, {label}: AUC {interval_text(figures['auc'])}"
        for name, own in arms.items()
        for label, figures in own["one_against_rest"].items()
    ]
    found["utility"] = Answer(
        "One class against the rest: " + "; ".join(one) + "; with decision curves (net benefit).",
        "results.json: arms.*.one_against_rest",
    )
    never = run.results["never_right"]
    found["failures"] = Answer(
        f"{counted(never['images'], 'image')} of {never['of_images']}, in {counted(never['groups'], 'group')}, "
        f"{'was' if never['images'] == 1 else 'were'} never answered rightly by any arm and seed; they are listed"
        + (" with pictures." if run.audit else "."),
        f"{run.report}; results.json: never_right",
    )
    return found


def _robustness(run: FinishedRun) -> str:
    said = []
    for name, own in run.arms.items():
        seeds = own["seeds"]
        each = ", ".join(f"{100 * value:.1f} %" for value in seeds["accuracy"])
        said.append(f"{name}: accuracy with {counted(len(seeds['seeds']), 'seed')} {each}.")
        said += [
            f"Of {counted(flag['images'], 'image')} flagged {flag['flag']}, {_share(flag['errors'])} are "
            f"answered wrongly, of the others {_share(flag['errors_of_others'])}."
            for flag in own.get("flags", [])
        ]
    return " ".join(said)


def _share(interval: IntervalResult) -> str:
    return f"{100 * interval['value']:.1f} % [{100 * interval['low']:.1f}, {100 * interval['high']:.1f}]"


def _points(interval: IntervalResult) -> str:
    value, low, high = (100 * interval[end] for end in ("value", "low", "high"))
    return f"{value:+.1f} points [{low:+.1f}, {high:+.1f}]"
