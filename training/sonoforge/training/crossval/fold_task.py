"""Define one fold of a comparison: its task, which other processes can run, and its result in ``folds/*.json``.

Results of an earlier call are only reused if this call would make the same ones from the same inputs.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.atomic import plain, write_json
from sonoforge.runtime.errors import SonoforgeError, name_some, refusing
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training import run_folder
from sonoforge.training.classifier.initial_weights import Backbone, choose_weights, weights_digest
from sonoforge.training.classifier.settings import ClassifierSettings
from sonoforge.training.classifier.trust import HeldOutTrust
from sonoforge.training.comparators.networks import load_networks
from sonoforge.training.crossval.arms import Arm, changes_of, file_stem, find_arm, settings_of_arm
from sonoforge.training.crossval.choices import Choosing, Values, of_classifier, with_dose
from sonoforge.training.crossval.settings import ComparisonSettings
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.selection import draw_share
from sonoforge.training.data.split_plan import (
    FILE,
    SplitPlan,
    check_unchanged,
    plan_difference,
    plan_path,
    read_plan,
    save_plan,
)
from sonoforge.training.statistics.results import Record

NOTE = "made_from.json"
REMEDY = "restore what changed, or leave out --resume to start again"
CLASSIFIER, GENERATOR, GENERATED = "classifier", "generator", "generated"  # what reads images, see `FoldResult.reads`
INNER = "inner"  # folder of a run with the inner folds, on which settings were chosen
_RESULTS = ("folds", "final", "model", run_folder.RESULTS)
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class MadeFrom:
    """Everything that determines an arm's classifier, apart from the fold."""

    plan: str  # `SplitPlan.digest`: the images, their classes, groups and folds, and the seed
    weights: str  # `initial_weights.Backbone.digest` of the initial weights
    # In JSON: `classifier` or `comparator`; `generator`, `arm` (dose and share) and `choosing` where they apply.
    settings: Mapping[str, Any]


def made_from(
    plan: SplitPlan,
    arm: str,
    classifier: ClassifierSettings,
    weights: str,
    generator: Mapping[str, Any],
    choosing: Choosing | None = None,
) -> MadeFrom:
    """Collect what an arm's classifier is made from; ``generator`` is `Pretrained.record` of the generators."""
    own = find_arm(arm)
    settings: dict[str, Any] = {"classifier": dataclasses.asdict(classifier)}
    if own.comparator:
        settings = {"comparator": dataclasses.asdict(own.comparator)}
    elif choosing and choosing.candidates(own):
        settings["choosing"] = dict(choosing.grid) | {"inner_folds": choosing.inner_folds}
    if own.reads_generators or own.fill == "untrained":
        settings["generator"] = generator
    if changes_of(own):
        settings["arm"] = changes_of(own)
    return MadeFrom(plan.digest, weights, plain(settings))


def check_made_from(path: Path, before: MadeFrom, now: MadeFrom) -> None:
    """Refuse a stored result that was made from something else."""
    if before == now:
        return
    if before.plan != now.plan:
        found = "with another split plan than this run's"
    elif before.weights != now.weights:
        found = f"from initial weights {before.weights or 'none'}, not {now.weights or 'none'}"
    else:
        was, is_now = (
            {f"{part}.{name}": value for part, values in made.settings.items() for name, value in values.items()}
            for made in (before, now)
        )
        pairs = [(name, was.get(name, "unknown"), is_now.get(name, "unknown")) for name in sorted({*was, *is_now})]
        found = "with " + name_some(f"{name} {old}, not {new}" for name, old, new in pairs if old != new)
    raise SonoforgeError(f"{path}: was made {found}; {REMEDY}")


def open_training(folder: Path, made: MadeFrom, model: Path | None = None) -> Path:
    """Return a folder for a training run's checkpoints, and a note of its sources; refuse the folder of another run.

    ``model`` is where the trained model goes, if that is elsewhere.
    """
    note = folder / NOTE
    if note.is_file():
        check_made_from(folder, read_note(note), made)
    elif (folder.is_dir() and any(folder.iterdir())) or (model is not None and model.exists()):
        raise SonoforgeError(f"{note}: missing, so it is unknown what the kept model was made from; {REMEDY}")
    write_json(note, made)
    return folder


def read_note(note: Path) -> MadeFrom:
    """Read the note of `open_training`."""
    with refusing(f"{note}: cannot be read", REMEDY):
        return MadeFrom(**json.loads(note.read_text(encoding="utf-8")))


@dataclass(frozen=True)
class FoldResult:
    """One fold of one arm."""

    arm: str  # name, see `arms`
    protocol: str  # see `splits.make_plan`
    seed: int
    fold: int
    files: list[str]  # N test images
    probabilities: list[list[float]]  # (N, C)
    accuracy: float
    train_accuracy: float
    seconds: float  # of the whole fold
    # Content hashes by stage: of `classifier` and `generator CLASS`, none may be a test image; of `generated` images.
    reads: dict[str, Sequence[str]]
    made_from: MadeFrom  # a resumed run that starts from the same keeps this result
    trust: HeldOutTrust | None = None  # of the test images; None for comparators, which have no embedding
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)  # learning curve, see `fine_tuning.fit`
    added: int = 0  # number of images that the arm added
    inner_of: int | None = None  # of an inner fold: the outer one, see `Inside`
    choice: Record | None = None  # where settings were chosen inside the fold, see `nested_choice`


def read_fold(path: Path) -> FoldResult:
    """Read the result of a fold; raise SonoforgeError if it is unreadable or does not say what it was made from."""
    with refusing(f"{path}: not a readable fold result", REMEDY):
        values = json.loads(path.read_text(encoding="utf-8"))
        values["made_from"] = MadeFrom(**values["made_from"])
        values["reads"] = {stage: tuple(hashes) for stage, hashes in values["reads"].items()}
        values["trust"] = values["trust"] and HeldOutTrust(**values["trust"])
        return FoldResult(**values)


def fold_path(folder: Path, arm: str, seed: int, fold: int) -> Path:
    """Return where a run folder keeps the result of a fold."""
    return folder / "folds" / f"{file_stem(arm)}-seed{seed}-fold{fold:02d}.json"


class Inside(NamedTuple):
    """Marks an inner fold for choosing settings, see `nested_choice`."""

    fold: int | None  # the outer fold whose training part is divided; None: all images, for the final model
    candidate: int  # index of `tried` among the arm's `Choosing.candidates`
    tried: Values


@dataclass(frozen=True)
class FoldTask:
    """Everything that one fold needs to run, in this process or another."""

    folder: Path
    plan: SplitPlan  # of the task's seed
    fold: int
    arm: str  # name, see `arms`
    settings: ComparisonSettings  # of the whole comparison
    backbone: Backbone  # initial weights
    made_from: MadeFrom
    inside: Inside | None = None  # inner folds only
    choice: Record | None = None  # outer folds whose settings were chosen

    @property
    def path(self) -> Path:
        """File of the result, which exists once the fold is done."""
        if self.inside is None:
            return fold_path(self.folder, self.arm, self.plan.seed, self.fold)
        name = f"{file_stem(self.arm)}-seed{self.plan.seed}-{self.inside_name}-candidate{self.inside.candidate}.json"
        return self.folder / INNER / name

    @property
    def inside_name(self) -> str:
        """Name of the inner split and fold; empty for an outer fold."""
        if self.inside is None:
            return ""
        outer = "all" if self.inside.fold is None else f"fold{self.inside.fold:02d}"
        return f"{outer}-inner{self.fold}"

    @property
    def chosen(self) -> Values:
        """The settings chosen for the fold, or tried in it; empty if there is no choice."""
        if self.inside:
            return self.inside.tried
        return self.choice["settings"] if self.choice else {}

    @property
    def name(self) -> str:
        """The fold's name in messages."""
        where = f"fold {self.fold + 1} of {self.plan.folds}" if len(self.test) else "all images"
        if self.inside:
            outer = "all images" if self.inside.fold is None else f"fold {self.inside.fold + 1}"
            where = f"{outer}, inner {where}"
        return f"{self.arm}: {where} (seed {self.plan.seed})"

    @property
    def own_arm(self) -> Arm:
        """The arm, at the chosen or tried dose."""
        return with_dose(find_arm(self.arm), self.chosen)

    @property
    def training(self) -> Indices:
        """Indices of the images that the fold may train on: the arm's share of the real ones."""
        train, share = self.plan.train(self.fold), self.own_arm.real_share
        if share == 1 or self.inside:  # an inner split is one of the share
            return train
        labels, groups = np.array(self.plan.labels)[train], np.array(self.plan.groups)[train]
        return train[draw_share(labels, groups, share, self.seed)]

    @property
    def test(self) -> Indices:
        """Indices of the images that the fold predicts."""
        return self.plan.test(self.fold)

    @property
    def classifier(self) -> ClassifierSettings:
        """The settings of the arm's classifier, including those chosen or tried."""
        settings = settings_of_arm(self.own_arm, self.settings.classifier)
        watched = settings.test_curves and not self.inside
        return dataclasses.replace(settings, test_curves=watched, **of_classifier(self.chosen))

    @property
    def seed(self) -> int:
        """Seed of the fold's training runs."""
        if self.inside:  # the same for all candidates
            return derive_seed(self.plan.seed, f"inner fold {self.inside_name}")
        return derive_seed(self.plan.seed, "fold", self.fold)


def check_images(folder: Path, cache: ImageCache) -> None:
    """Refuse a run folder, finished or not, that was started with other images or another split plan."""
    if not (folder / FILE).is_file():
        kept = [name for name in _RESULTS if (folder / name).exists()]
        if kept:
            raise SonoforgeError(
                f"{folder}: holds {', '.join(kept)} without {FILE}, so their images are unknown; leave out --resume to "
                "start again"
            )
        return
    found = [(path, read_plan(path)) for path in sorted(folder.glob("splits*.json"))]
    plans = {plan.seed: (path, plan.digest) for path, plan in found}
    for path in sorted((folder / "folds").glob("*.json")):
        fold = read_fold(path)
        named, digest = plans.get(fold.seed, (folder / FILE, ""))
        if fold.made_from.plan != digest:
            raise SonoforgeError(
                f"{named}: is not the plan that {path.name} was made with; restore it, or leave out --resume to start "
                "again"
            )
    for _, plan in found:
        check_unchanged(str(folder), plan.images, cache.contents)


def keep_plan(path: Path, plan: SplitPlan) -> None:
    """Write a split plan; refuse one that differs from an earlier call's."""
    if path.is_file():
        difference = plan_difference(read_plan(path), plan)
        if difference:
            raise SonoforgeError(
                f"{path}: {difference}: it was edited, or groups.csv or the version changed; restore it, or "
                "leave out --resume to start again"
            )
    save_plan(path, plan)


def origins(plans: Sequence[SplitPlan], settings: ComparisonSettings, backbone: str) -> dict[tuple[int, str], MadeFrom]:
    """Return what each seed's and arm's classifiers are made from; ``backbone`` is the initial weights' digest."""
    found = {}
    for name in settings.arms:
        arm, digest = find_arm(name), backbone
        if arm.comparator:
            networks = load_networks(arm.comparator.networks, settings.comparator_weights)
            digest = ", ".join(weights.digest for weights in networks.values())
        own = settings_of_arm(arm, settings.classifier)
        for plan in plans:
            made = made_from(plan, name, own, digest, settings.generator_record, settings.choosing)
            found[plan.seed, name] = made
    return found


def check_finished(folder: Path, settings: ComparisonSettings, cache: ImageCache) -> None:
    """Refuse a finished comparison if its folds were made with other settings, weights or plans than now requested."""
    plans = [read_plan(plan_path(folder, seed, settings.seeds[0])) for seed in settings.seeds]
    network, backbone = settings.network, ""
    if settings.fine_tuned:
        backbone = weights_digest(choose_weights(settings.weights, cache, network), network)
    for (seed, arm), expected in origins(plans, settings, backbone).items():
        for fold in range(plans[0].folds):
            path = fold_path(folder, arm, seed, fold)
            check_made_from(path, read_fold(path).made_from, expected)
