"""Write the report's sentences that depend on what the run did: its counts, and what its settings imply."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from sonoforge.training.classifier.augmentation import IN_WORDS
from sonoforge.training.crossval.arms import find_arm
from sonoforge.training.gan.options import PUBLISHED, GanSettings
from sonoforge.training.gan.recipes import RECIPES
from sonoforge.training.reports.conclusions import protocol_name
from sonoforge.training.reports.words import Words, fill_in, read_said
from sonoforge.training.statistics.results import ONE_SPLIT, SEALED
from sonoforge.training.statistics.verdict import UNKNOWN
from sonoforge.training.statistics.wording import counted, listed, spread

SAID, WORDS = read_said("run-statements"), Words("run-training")


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
    simulated: int  # images that say of themselves that they are simulated
    given_groups: int  # groups that came with the data
    near_duplicates: int  # test images with a near-duplicate or an identical image in their own training set
    generator_reads: int  # test images that a generator for their fold read
    weights: str  # origin of the first weights
    passed: bool  # whether every check of the results against the run folder passed
    filled: tuple[str, ...] = ()  # classes that generators were trained for
    added: tuple[int, ...] = ()  # images that the arm `gan` added to each training fold; empty without that arm
    second_views: int = 0  # pairs joined because they may be second views of one lesion

    @cached_property
    def said(self) -> dict[str, str]:
        """Statements about the run, by topic of ``statements.yaml``; empty if there is nothing to say."""
        words: dict[str, object] = {
            "all_images": counted(self.images, "image"),
            "all_folds": counted(self.folds, "fold"),
            "untested": self.images - self.tested,
            "filled_classes": listed(self.filled),
            "added_images": spread(self.added) if self.added else "",
            "read_images": counted(self.generator_reads, "test image"),
            "one_split": ONE_SPLIT,
            "sealed": SEALED,
            "called": protocol_name(self.protocol, self.weights),
            "unknown": UNKNOWN in self.weights,
        }
        found = fill_in(SAID, asdict(self) | words, (self.protocol,))
        return {own.topic: found[own.topic].says if own.topic in found else "" for own in SAID.texts}

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
    said = [WORDS.plain("comparator", own=find_arm(name).comparator) for name in filter(is_comparator, arms)]
    return f"Comparators, fitted inside each training fold: {' '.join(said)}" if said else ""


def describe_optimiser(classifier: Mapping[str, Any]) -> str:
    """Say how a classifier with these `ClassifierSettings` was optimised, and what the plain loss and images lacked."""
    facts = {"own": classifier, "lessons": describe_lessons(classifier)}
    added = WORDS.value("additions", augmentation=IN_WORDS[classifier["augmentation"]], **facts)
    return WORDS.plain("optimiser", own=classifier, additions=added)


def describe_lessons(classifier: Mapping[str, Any]) -> list[str]:
    """Say what training asked and showed a network, if that is more than the class of whole images."""
    said: list[str] = WORDS.value("lessons", own=classifier)
    return said


def gan_budget(gan: Mapping[str, Any], budget: str, filled: Sequence[str]) -> str:
    """Say how long and at what size the generators were trained, compared with the publication."""
    own = GanSettings(**gan)
    recipe = RECIPES.get(own.recipe)
    lengths = [
        f"{recipe.budget_for(name)}, batches of {recipe.budget_for(name).batch} for {name}"
        for name in filled
        if recipe and name.lower() in recipe.class_budgets
    ]
    # No setting that costs time is below the recipe's published value.
    published = {own.steps, own.epochs, own.kimg, own.batch, own.learning_rate} == {None} and own.preset == PUBLISHED
    published &= own.image_size in (None, recipe.image_size if recipe else None)
    small = budget in ("quick", "collections")
    return WORDS.plain("budget", own=own, recipe=recipe, published=published, small=small, lengths="; ".join(lengths))
