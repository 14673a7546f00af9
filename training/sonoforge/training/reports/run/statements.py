"""Write the report's sentences that depend on what the run did: its counts, and what its settings imply."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from sonoforge.training.classifier.augmentation import IN_WORDS
from sonoforge.training.comparators.fitting import COMPARATORS
from sonoforge.training.crossval.arms import find_arm
from sonoforge.training.gan.options import PUBLISHED, GanSettings
from sonoforge.training.gan.recipes import RECIPES
from sonoforge.training.reports.words import fill_in, read_said
from sonoforge.training.statistics.results import ONE_SPLIT, SEALED
from sonoforge.training.statistics.wording import counted, listed, spread

SAID = read_said("run-statements")


@dataclass(frozen=True)
class RunFacts:
    """What a run did, in counts."""

    protocol: str  # one of `results.PROTOCOLS`
    folds: int
    images: int
    tested: int  # images that some fold tested: all of them, but under `ONE_SPLIT`
    groups: int
    classes: int
    arms: tuple[str, ...]
    filled: tuple[str, ...]  # classes that generators were trained for
    added: tuple[int, ...]  # images that the arm `gan` added to each training fold; empty without that arm
    simulated: int  # images that say of themselves that they are simulated
    given_groups: int  # groups that came with the data
    second_views: int  # pairs joined because they may be second views of one lesion
    near_duplicates: int  # test images with a near-duplicate or an identical image in their own training set
    generator_reads: int  # test images that a generator for their fold read
    passed: bool  # whether every check of the results against the run folder passed

    @cached_property
    def said(self) -> dict[str, str]:
        """Statements about the run, by topic of ``statements.yaml``; empty if there is nothing to say."""
        words = {
            "all_images": counted(self.images, "image"),
            "all_folds": counted(self.folds, "fold"),
            "untested": self.images - self.tested,
            "filled_classes": listed(self.filled),
            "added_images": spread(self.added) if self.added else "",
            "read_images": counted(self.generator_reads, "test image"),
        }
        holding = {self.protocol, *(name for name, holds in self.met().items() if holds)}
        found = fill_in(SAID, holding, asdict(self) | words)
        return {own.topic: found[own.topic].says if own.topic in found else "" for own in SAID}

    def met(self) -> dict[str, bool]:
        """Return the conditions of these texts, besides the protocol."""
        return {
            "one-arm": len(self.arms) == 1,
            "one-split": self.protocol in ONE_SPLIT,
            "filled": bool(self.filled),
            "adds": sum(self.added) > 0,
            "kept-apart": self.is_sealed,
            "passed": self.passed,
            "leaks": bool(self.near_duplicates or self.generator_reads),
            "generators-leak": self.generator_reads > 0,
            "near-duplicates-leak": self.near_duplicates > 0,
            "some-simulated": self.simulated > 0,
            "all-simulated": self.simulated == self.images,
        }

    @property
    def is_sealed(self) -> bool:
        """Whether the protocol keeps every training from its test images."""
        return self.protocol in SEALED


def name_groups(facts: RunFacts) -> str:
    """Say what was joined into groups."""
    kinds = ["near-duplicates", "equal contents"]
    kinds += ["possible second views of one lesion"] if facts.second_views else []
    kinds += [f"the {facts.given_groups} groups given with the data"] if facts.given_groups else []
    return listed(kinds)


def is_comparator(arm: str) -> bool:
    """Whether this arm is a system of another paper, fitted to features of frozen networks."""
    return bool(find_arm(arm).comparator)


def describe_comparators(arms: Iterable[str]) -> str:
    """Say how the comparators among these arms were made; empty without one."""
    said = []
    for name in filter(is_comparator, arms):
        own = COMPARATORS[find_arm(name).comparator]
        kept = f"the {own.selected} features that mRMR chose" if own.selected else "all features"
        fitted = {
            "svm": "a support vector machine",
            "knn": "five nearest neighbours",
            "mlp": "a perceptron with one hidden layer, tuned by a cat swarm on a fifth of the fold",
        }[own.classifier]
        seen = "of the lesion alone, black outside its mask, " if own.masked else ""
        said.append(f"{own.title}: features {seen}of {listed(own.networks)} with ImageNet weights, {kept}, {fitted}.")
    if not said:
        return ""
    return f"Comparators, fitted inside each training fold: {' '.join(said)}"


def describe_optimiser(classifier: Mapping[str, Any]) -> str:
    """Say how the classifier was optimised: optimiser, rate, and additions to the plain loss and images.

    Args:
        classifier: Fields of `ClassifierSettings`.
    """
    optimiser = {"adamw": "AdamW", "adam": "Adam"}[classifier["optimiser"]]
    rate = classifier["learning_rate"]
    said = f"{optimiser} with a constant learning rate of {rate:g}"
    if classifier["schedule"] == "one-cycle":
        said = f"{optimiser} with one-cycle learning rates up to {rate:g}"
    added = [
        f"label smoothing {classifier['label_smoothing']:g}" if classifier["label_smoothing"] else "",
        f"weights averaged with decay {classifier['ema_decay']:g}" if classifier["ema_decay"] else "",
        IN_WORDS[classifier["augmentation"]],
        *describe_lessons(classifier),
        "a second pass, zoomed in on the part where the network sees a lesion"
        if classifier["zoomed_second_pass"]
        else "",
        f"each network distilled from {classifier['teachers']} others" if classifier["teachers"] else "",
    ]
    return f"{said}, {listed([one for one in added if one]) or 'no smoothing, averaging or flips'}"


def describe_lessons(classifier: Mapping[str, Any]) -> list[str]:
    """Say what training asked and showed a network, if that is more than the class of whole images.

    Args:
        classifier: Fields of `ClassifierSettings`.
    """
    said = []
    if classifier["heads"] == "hierarchical":
        said.append("hierarchical heads (is there a lesion, and which?)")
    if classifier["lesion_crops"]:
        said.append(f"{classifier['lesion_crops']:.0%} of the images shown as crops with their lesion or beside it")
    if classifier["outlines"]:
        said.append(f"the outline of the lesion as a second task of weight {classifier['outlines']:g}")
    if classifier["balance"]:
        said.append("all collections shown equally often")
    return said


def gan_budget(gan: Mapping[str, Any], budget: str, filled: Sequence[str]) -> str:
    """Say how long and at what size the generators were trained, compared with the publication."""
    settings = GanSettings(**gan)
    recipe = RECIPES.get(settings.recipe)
    side = settings.image_size or (recipe.image_size if recipe else "?")
    batch = f" of {settings.batch} images" if settings.batch else ""
    batches = f", batches{batch}" if batch else ""
    if settings.steps is not None:
        length = f"{settings.steps} steps{batch}"
    elif settings.kimg is not None:
        length = f"{settings.kimg:g} thousand images shown{batches}"
    elif settings.epochs is not None:
        length = f"{settings.epochs:g} epochs{batches}"
    else:
        length = f"as many {recipe.budget.unit if recipe else 'epochs'} as published{batches}"
    ours = f"{side} px, {length}"
    if is_published_budget(settings):
        return f"the published budget: {ours}"
    size_word = "a small CPU budget" if budget in ("quick", "collections") else "this run's own budget"
    if recipe is None:
        return f"{size_word}: {ours}"
    published = [
        f"{recipe.budget_for(name)}, batches of {recipe.budget_for(name).batch} for {name}"
        for name in filled
        if name.lower() in recipe.class_budgets
    ]
    default = recipe.image_size
    beside = f"{default} px, {'; '.join(published)}" if published else f"{default} px, {recipe.budget}"
    return f"{size_word}: {ours} (published: {beside})"


def is_published_budget(settings: GanSettings) -> bool:
    """Whether no setting that costs time is below the recipe's published value."""
    own = (settings.steps, settings.epochs, settings.kimg, settings.batch, settings.learning_rate)
    recipe = RECIPES.get(settings.recipe)
    return (
        set(own) == {None}
        and settings.preset == PUBLISHED
        and settings.image_size in (None, recipe.image_size if recipe else None)
    )
