"""What a run knows of its images."""

from __future__ import annotations

from sonoforge.training.data.audit import Audit
from sonoforge.training.data.data_option import PHANTOM as PHANTOM_SET
from sonoforge.training.pages.checklists.items import Answer
from sonoforge.training.pages.checklists.run import FinishedRun
from sonoforge.training.statistics.wording import counted, listed

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
