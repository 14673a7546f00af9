"""What a run says on each topic that checklists ask for; a topic of which it knows nothing is absent."""

from sonoforge.training.crossval.arms import find_arm
from sonoforge.training.crossval.budget_choice import describe_choice
from sonoforge.training.crossval.choice_grid import choosing_of, name_grid
from sonoforge.training.data.audit import Audit
from sonoforge.training.data.data_option import PHANTOM as PHANTOM_SET
from sonoforge.training.data.split_plan import LEAVE_ONE_OUT, SEALED
from sonoforge.training.pages.checklists.items import Answer
from sonoforge.training.pages.checklists.run import FinishedRun
from sonoforge.training.pages.run.statements import describe_comparators, describe_optimiser, is_comparator
from sonoforge.training.statistics.results import ArmResult, ComparisonResults, IntervalResult, interval_text
from sonoforge.training.statistics.wording import counted, listed, spread


def answer(run: FinishedRun) -> dict[str, Answer]:
    """Return the answers by topic."""
    return data_answers(run) | _design(run) | _model(run) | figure_answers(run)


_DEALT = {
    "sealed": "images of one group (near-duplicates, equal contents, given patients) stay in one fold, and "
    "generators see the training part of their fold alone",
    "thesis": "single images are dealt, and each generator is trained once on all images of its class, test images "
    "included, as published",
    LEAVE_ONE_OUT: "each collection is tested by networks trained on the others, less the groups that it shares",
    "single": "single images are dealt, four fifths to training and one fifth to the test, as published",
}


_NOT_EXTERNAL = "None: no image of another source was evaluated in this run."
_EXTERNAL = {LEAVE_ONE_OUT: "Each collection is external to the networks that judge it."}
_ONE_SOURCE = "Training and test images are parts of one data set: same source, labels and preparation."
_OTHER_SOURCE = {
    LEAVE_ONE_OUT: "Test images are of another collection than all training images: another source, other labelling."
}
_FINE_TUNED = ("initial_weights", "tuning", "ensemble", "selection", "explanations", "poor_input")
"""Topics of the network that the arms fine-tune."""


def _design(run: FinishedRun) -> dict[str, Answer]:
    results, split = run.results, run.results["split"]
    arms = listed([figures["title"] for figures in run.arms.values()])
    near_duplicates, tested = sum(split["test_images_with_near_duplicate_in_training"]), sum(split["fold_sizes"])
    validation = {"single": "one plain split", LEAVE_ONE_OUT: f"leaving out each of {split['folds']} collections"}.get(
        results["protocol"], f"{split['folds']}-fold cross-validation"
    )
    seeds = next(iter(run.arms.values()))["seeds"]["seeds"]
    second = split["second_opinion"]
    return {
        "goal": Answer(
            f"Development of an image classifier and its internal validation by {validation}"
            + (f", comparing {arms}." if len(run.arms) > 1 else f" ({arms})."),
            "config.yaml: arms, folds",
        ),
        "partition": Answer(
            f"Protocol {results['protocol']}, {validation}: {_DEALT[results['protocol']]}. {tested} of "
            f"{split['images']} images are tested, each once by every arm and seed, by networks trained on the other "
            f"parts. {near_duplicates} of {tested} test images have a near-duplicate in their own training part.",
            f"{run.report}: Split and proof; splits.json; folds/",
        ),
        "level": Answer(
            f"{'Groups' if results['protocol'] in SEALED else 'Single images'}: {split['images']} images in "
            f"{split['groups']} groups. A second search over {counted(second['compared'], 'pair')} of different "
            f"folds found {counted(len(second['leaks']), 'pair')} of one scan.",
            "second-opinion.json; splits.json",
        ),
        "subset": Answer("None: all images of the folder that can be read are used.", "splits.json"),
        "same_source": Answer(_OTHER_SOURCE.get(results["protocol"], _ONE_SOURCE), "splits.json"),
        "external": Answer(_EXTERNAL.get(results["protocol"], _NOT_EXTERNAL), "splits.json"),
        "updating": Answer("The model was not updated after its evaluation.", "results.json"),
        "clusters": Answer(
            "Folds are the only clusters known. "
            + " ".join(f"{name}: accuracy by fold {_by_fold(figures)}." for name, figures in run.arms.items()),
            "results.json: arms.*.fold_accuracy",
        ),
        "settings": Answer(
            f"All settings are recorded; {counted(len(seeds), 'seed')} ({', '.join(map(str, seeds))}).",
            "config.yaml; environment.json",
        ),
        "use": Answer("Research use, not a medical device: no use for diagnosis or treatment.", f"{run.report}"),
        "fairness": Answer(
            "The run reads images and class folders alone: no age, sex, ethnicity or other attribute, so that "
            "performance by such groups was not measured.",
            "splits.json",
        ),
        "no_reader": Answer("Nobody: pixels are read by the program.", "config.yaml"),
        "users": Answer(
            "Users give an image file; nothing is entered by hand. Answers carry a prediction set, a trust and "
            "remarks on image quality.",
            "bundle/MODEL_CARD.md" if run.has_bundle else "sonoforge classify --help",
        ),
        "this_use": Answer(f"Training and cross-validation of a classifier in run {run.name}.", "config.yaml"),
    }


def _model(run: FinishedRun) -> dict[str, Answer]:
    results, environment = run.results, run.environment
    classifier, gan = results["classifier"], results["gan"]
    filled = {name: figures for name, figures in run.arms.items() if find_arm(name).fill}
    weighted = [figures["title"] for name, figures in run.arms.items() if find_arm(name).class_weights]
    versions = listed([f"{name} {version}" for name, version in environment["versions"].items()], 20)
    added = [
        f"{figures['title']}: {spread(figures['generated_per_fold'])} images a fold" for figures in filled.values()
    ]
    balanced = [*added, *weighted]
    comparators = describe_comparators(run.arms)
    side = classifier["image_size"]
    found = {
        "model": Answer(
            f"MobileNetV2 (deep learning, 19 blocks, the first {classifier['frozen_blocks']} frozen): an image "
            f"of {side} x {side} pixels to the probabilities of {listed(results['classes'])}.",
            "config.yaml; results.json: classifier",
        ),
        "predictors": Answer("The pixels of one image alone; none was selected beforehand.", "config.yaml"),
        "initial_weights": Answer(
            f"{results['weights']}; the last layer at random, by the seed.", "results.json: weights"
        ),
        "training": Answer(
            f"{classifier['epochs']} epochs, batch {classifier['batch']}, {describe_optimiser(classifier)}; budget "
            f"{results['budget']}. {_in_every_fold(results)}; what an arm changes of it, its title says."
            + (f" {comparators}" if comparators else ""),
            "results.json: classifier",
        ),
        "tuning": Answer(
            describe_choice(
                results["budget"],
                classifier,
                results["split"]["chosen_on"],
                results["split"]["images"],
                next(iter(run.arms.values()))["seeds"]["seeds"],
                choosing_of(results),
            ),
            f"{run.report}; results.json: budget" + (", choice" if "choice" in results else ""),
        ),
        "ensemble": Answer(
            f"{classifier['ensemble_size']} networks form an ensemble: their logits are averaged."
            if classifier["ensemble_size"] > 1
            else "None: one network answers.",
            "results.json: classifier.ensemble_size",
        ),
        "selection": Answer(
            "The weights after the last epoch; no epoch is chosen by results. "
            + (
                f"The final model is the arm {results['final_arm']}, named in the settings, trained on all images."
                if "final_arm" in results
                else "This run trains no final model."
            ),
            "results.json: final_arm" if "final_arm" in results else "config.yaml",
        ),
        "imbalance": Answer(
            f"Classes differ in size. {listed(balanced)}." if balanced else "No arm of this run balances the classes.",
            "results.json: arms.*.generated_per_fold",
        ),
        "software": Answer(
            f"Python {environment['python']}, {versions}; {environment['platform']}; device {environment['device']}.",
            "environment.json",
        ),
        "code": Answer(
            f"sonoforge {environment['versions'].get('sonoforge', '')} (Apache-2.0)"
            + (f", revision {_short(environment['git_revision'])}" if environment["git_revision"] else "")
            + "; the command is recorded.",
            "environment.json: command, git_revision",
        ),
        "explanations": Answer(
            "Class-activation maps of every answer, by sonoforge classify; they show where evidence lies, not why.",
            "bundle/model.onnx: output cam" if run.has_bundle else "sonoforge classify --help",
        ),
        "output": Answer(
            "Calibrated probabilities, the most probable class, and the set of classes that cannot be ruled out "
            "at 90 % (class-conditional conformal prediction, thresholds from other images than those judged).",
            "results.json: arms.*.conformal",
        ),
        "poor_input": Answer(
            "Unreadable files are refused. Image quality and the distance from the training images are measured "
            "for each image; a low trust and unusual quality are named beside the answer.",
            "bundle/manifest.json: trust, quality" if run.has_bundle else "sonoforge classify --help",
        ),
    }
    if any(find_arm(name).reads_generators for name in filled):
        found["generators"] = Answer(
            f"Generators: recipe {gan['recipe']}, {gan['image_size']} x {gan['image_size']} pixels, "
            f"{_duration(gan)}, batch {gan['batch']}.",
            "results.json: gan; gan/",
        )
    else:
        found["generators"] = Answer("No generator was trained.", "config.yaml: arms")
    if run.has_bundle:
        found["specification"] = Answer(
            "The trained model is a file with its hash, golden answers and the program that runs it offline.",
            "bundle/model.onnx; bundle/manifest.json",
        )
    if all(map(is_comparator, run.arms)):  # no network was fine-tuned
        found = {topic: own for topic, own in found.items() if topic not in _FINE_TUNED}
        found["model"] = found["training"] = Answer(comparators, "results.json: arms")
    return found


def _short(revision: str) -> str:
    """Return the beginning of a commit's hash, and whether the checkout was edited."""
    commit, plus, changes = revision.partition("+")
    return commit[:12] + plus + changes


def _in_every_fold(results: ComparisonResults) -> str:
    choice = results.get("choice")
    return f"The same in every fold, but for {name_grid(choice['grid'])}" if choice else "The same in every fold"


def _by_fold(figures: ArmResult) -> str:
    accuracy = figures["fold_accuracy"]
    spread_out = "" if accuracy["sd"] is None else f" (standard deviation {100 * accuracy['sd']:.1f})"
    return f"{100 * accuracy['mean']:.1f} %{spread_out}"


def _duration(gan: dict[str, object]) -> str:
    for unit in ("steps", "epochs", "kimg"):
        if gan.get(unit) is not None:
            return f"{gan[unit]} {unit}"
    return "the recipe's duration"


PHANTOM = "All images are simulated ultrasound: there are no participants, and no figure carries over to real scans."


def data_answers(run: FinishedRun) -> dict[str, Answer]:
    """Return the answers by topic; those that need an audit only where the run has one."""
    results, split = run.results, run.results["split"]
    simulated = run.data == PHANTOM_SET
    counts = ", ".join(
        f"{name} {count}" for name, count in zip(results["classes"], results["class_counts"], strict=True)
    )
    crop, side = results["classifier"]["crop"], results["classifier"]["image_size"]
    found = {
        "data": Answer(
            f"Data set {results['data']}: {split['images']} images." + (f" {PHANTOM}" if simulated else ""),
            "config.yaml: data; results.json: data",
        ),
        "instances": Answer(
            "One image file each, in the folder of its class." + (f" {PHANTOM}" if simulated else ""), "splits.json"
        ),
        "classes": Answer(
            f"One of {listed(results['classes'])}: the folder that an image lies in, taken as it is.",
            "results.json: classes",
        ),
        "counts": Answer(
            f"{split['images']} images in {split['groups']} groups: {counts}.",
            "results.json: class_counts, split.groups",
        ),
        "preprocessing": Answer(
            ("The scan is cut out of exported screens, then " if crop == "auto" else "Whole images are ")
            + f"resized to {side} x {side} pixels (bilinear, antialiased) and normalised by the mean and standard "
            "deviation of ImageNet.",
            "results.json: classifier; bundle/manifest.json: preprocessing",
        ),
        "fingerprint": Answer(
            f"The images and their classes are identified by the fingerprint {split['fingerprint'][:16]}; files "
            "are used where they lie, and nothing outside the folder is needed.",
            "results.json: split.fingerprint; splits.json: hash of each image",
        ),
        "raw": Answer("The files are read and never changed.", "splits.json: hash of each image"),
        "test_labels": Answer("As those of all images: the folder that an image lies in.", "splits.json"),
        "sample_size": Answer(_sample_size(run), "results.json: comparisons.*.minimum_detectable_difference"),
        "limits": Answer(_limits(run), run.report),
    }
    return found | (_audited(run.audit) if run.audit else {})


def _audited(audit: Audit) -> dict[str, Answer]:
    sizes, doubles = audit["sizes"], audit["duplicates"]
    smallest, median, largest = (" x ".join(map(str, sizes[name])) for name in ("smallest", "median", "largest"))
    modes = listed([f"{count} {name}" for name, count in audit["modes"].items()])
    unreadable = len(audit["unreadable"])
    given = audit["given_groups"]
    return {
        "excluded": Answer(
            f"{counted(unreadable, 'file')} could not be read and {'was' if unreadable == 1 else 'were'} left out; no "
            "other image was excluded, and nothing was imputed.",
            "audit.json: unreadable",
        ),
        "quality_checks": Answer(
            f"Every file was decoded; near-duplicates were searched for: "
            f"{counted(doubles['clusters'], 'cluster')} with "
            f"{counted(doubles['images_in_clusters'], 'image')}.",
            "audit.json: duplicates, clusters",
        ),
        "image_sizes": Answer(
            f"Images of {smallest} (smallest sides), {median} (median) and {largest} (largest) pixels; {modes}.",
            "audit.json: sizes, modes",
        ),
        "masks": Answer(
            f"{counted(audit['masks'], 'mask')} lie beside the images; no classifier uses them.", "audit.json: masks"
        ),
        "relations": Answer(
            f"{doubles['groups']} groups of near-duplicates; "
            + (f"{given} groups given in groups.csv." if given else "no patients are given."),
            "audit.json: duplicates, given_groups",
        ),
        "repetitions": Answer(
            f"{counted(doubles['clusters'], 'cluster')} of near-duplicates, the largest of "
            f"{doubles['largest_cluster']}; {doubles['same_pixels']} hold equal pixels.",
            "audit.json: clusters",
        ),
        "label_conflicts": Answer(
            f"{counted(doubles['mixed_label_clusters'], 'cluster')} of near-duplicates "
            f"{'holds' if doubles['mixed_label_clusters'] == 1 else 'hold'} images of different classes.",
            "audit.json: duplicates.mixed_label_clusters",
        ),
    }


def _sample_size(run: FinishedRun) -> str:
    said = f"As many as the data hold: {run.results['split']['images']} images."
    rows = [row for row in run.results["comparisons"] if row["minimum_detectable_difference"] is not None]
    if rows:
        points = max(100 * (row["minimum_detectable_difference"] or 0) for row in rows)
        said += f" Differences of accuracy from {points:.1f} points on can be detected (80 % power, by group)."
    return said


def _limits(run: FinishedRun) -> str:
    split = run.results["split"]
    said = [f"One data set ({run.results['data']}), no external test."]
    said += [PHANTOM] if run.data == PHANTOM_SET else []
    if run.audit is not None and not run.audit["given_groups"]:
        said.append("No patients are given: images of one patient may lie on both sides of the split.")
    near_duplicates = sum(split["test_images_with_near_duplicate_in_training"])
    if near_duplicates:
        said.append(
            f"{near_duplicates} of {sum(split['fold_sizes'])} test images have a near-duplicate in training: figures "
            "are too good."
        )
    if split["chosen_on"]:
        said.append("The settings were chosen on images of this set: figures are optimistic by an unmeasured amount.")
    return " ".join(said)


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
