"""What an earlier call left in a run folder is used again only where this call would make the same."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training import run_folder
from sonoforge.training.classifier.weights import weights_digest
from sonoforge.training.comparators.networks import load_networks
from sonoforge.training.comparators.table import COMPARATORS
from sonoforge.training.crossval.arms import find_arm, settings_of_arm
from sonoforge.training.crossval.fold_result import MadeFrom, check_made_from, made_from, read_fold
from sonoforge.training.crossval.fold_task import fold_path
from sonoforge.training.crossval.settings import ComparisonSettings
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.changed_images import check_unchanged
from sonoforge.training.data.split_plan import FILE, SplitPlan, plan_difference, plan_path, read_plan, save_plan

_RESULTS = ("folds", "final", "model", run_folder.RESULTS)


def check_images(folder: Path, cache: ImageCache) -> None:
    """Refuse to go on in a run folder, finished or not, that was begun with other images.

    Raises:
        SonoforgeError: It was, or it does not say with which; or its split plan is not that of its folds.
    """
    if not (folder / FILE).is_file():
        kept = [name for name in _RESULTS if (folder / name).exists()]
        if kept:
            raise SonoforgeError(
                f"{folder}: holds {', '.join(kept)} without {FILE}, so nothing says which images they are of; leave "
                "out --resume to start again"
            )
        return
    found = [(path, read_plan(path)) for path in sorted(folder.glob("splits*.json"))]
    plans = {plan.seed: (path, plan.digest) for path, plan in found}
    for path in sorted((folder / "folds").glob("*.json")):
        fold = read_fold(path)
        named, digest = plans.get(fold.seed, (folder / FILE, ""))
        if fold.made_from.plan != digest:
            raise SonoforgeError(
                f"{named}: is not the plan that {path.name} was made with; restore it, or leave out --resume to begin "
                "anew"
            )
    for _, plan in found:
        check_unchanged(str(folder), plan.images, cache.contents)


def keep_plan(path: Path, plan: SplitPlan) -> None:
    """Write a split plan, or find it written by an earlier call."""
    if path.is_file():
        difference = plan_difference(read_plan(path), plan)
        if difference:
            raise SonoforgeError(
                f"{path}: found {difference}: it was edited, or groups.csv or the version changed; restore it, or "
                "leave out --resume to start again"
            )
    save_plan(path, plan)


def digests_of_arms(settings: ComparisonSettings, backbone: str) -> dict[str, str]:
    """Return `weights.Backbone.digest` of what each arm starts from: of a comparator, those of its networks.

    Raises:
        SonoforgeError: Weights that are not to be had, or not of these networks.
    """
    found = {}
    for arm in settings.arms:
        comparator = find_arm(arm).comparator
        networks = load_networks(COMPARATORS[comparator].networks, settings.comparator_weights) if comparator else {}
        found[arm] = ", ".join(weights.digest for weights in networks.values()) if comparator else backbone
    return found


def origins(
    plans: Sequence[SplitPlan], settings: ComparisonSettings, digests: Mapping[str, str]
) -> dict[tuple[int, str], MadeFrom]:
    """Return what the classifiers of each seed and arm are made from, with the `digests_of_arms`."""
    return {
        (plan.seed, arm): made_from(
            plan,
            arm,
            settings_of_arm(find_arm(arm), settings.classifier),
            digests[arm],
            settings.generator_record,
            settings.choosing,
        )
        for plan in plans
        for arm in settings.arms
    }


def check_finished(folder: Path, settings: ComparisonSettings) -> None:
    """Refuse to return a finished comparison that this call would make from something else.

    Raises:
        SonoforgeError: Its folds were made with other settings, weights or plans, or do not say with which.
    """
    digests = digests_of_arms(settings, weights_digest(settings.weights) if settings.fine_tuned else "")
    plans = [read_plan(plan_path(folder, seed, settings.seeds[0])) for seed in settings.seeds]
    expected = origins(plans, settings, digests)
    for plan in plans:
        for arm in settings.arms:
            for fold in range(plan.folds):
                path = fold_path(folder, arm, plan.seed, fold)
                check_made_from(path, read_fold(path).made_from, expected[plan.seed, arm])
