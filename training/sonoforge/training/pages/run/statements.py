"""Sentences of the report that depend on what the run did: pure functions of its counts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sonoforge.training.classifier.augmentation import IN_WORDS
from sonoforge.training.comparators.table import COMPARATORS
from sonoforge.training.crossval.arms import find_arm
from sonoforge.training.data.split_plan import LEAVE_ONE_OUT, SEALED
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.recipes import RECIPES
from sonoforge.training.statistics.wording import counted, listed, spread

_NEAR_DUPLICATE = "a near-duplicate or an identical image"


@dataclass(frozen=True)
class RunFacts:
    """What a run did, in counts."""

    protocol: str  # `sealed`, `thesis` or `single`
    folds: int
    images: int
    tested: int  # images that some fold tested: all of them, but under `single`
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

    @property
    def is_sealed(self) -> bool:
        """Whether the protocol keeps every training from its test images."""
        return self.protocol in SEALED

    @property
    def leaks(self) -> bool:
        """Whether any training read something of its test fold."""
        return bool(self.near_duplicates or self.generator_reads)


def ask(facts: RunFacts) -> str:
    """Return the question that the run can answer."""
    sorts = f"a classifier that sorts {counted(facts.images, 'image')} into {facts.classes} classes"
    if len(facts.arms) == 1:
        return f"How well does {sorts} do?"
    if not sum(facts.added):
        return f"How should {sorts} be trained?"
    classes = f" of {listed(facts.filled)}" if facts.filled else ""
    return f"Does {sorts} improve when {spread(facts.added)} images{classes}, drawn by a GAN, join each training fold?"


def judged_by(facts: RunFacts) -> str:
    """Say what the models that judged each image had seen of it."""
    if facts.is_sealed:
        dealt = f"protocol {facts.protocol}, {facts.folds} {'folds' if facts.protocol == 'sealed' else 'collections'}"
        if not facts.passed:
            return (
                f"{dealt.capitalize()}; but checks against the run folder failed, so it is not known "
                "that no model had seen its test images."
            )
        return (
            "Each image was judged once, by a model that had seen neither it nor a near-duplicate of it in training "
            f"({dealt})."
        )
    dealt = f"{facts.folds} folds" + ", as published" * (facts.protocol == "thesis")
    if facts.protocol == "single":
        dealt = f"one plain split, as published: {facts.tested} of {facts.images} images are tested, the others never"
    said = (
        f"Protocol {facts.protocol}, {dealt}: {facts.near_duplicates} of {facts.tested} test images have "
        f"{_NEAR_DUPLICATE} in their own training set"
    )
    if facts.generator_reads:
        said += f", and the generators read {facts.generator_reads} of the {facts.tested} test images"
    return said + "."


def warn_of_leaks(facts: RunFacts) -> str:
    """Say what leakage means for the figures; empty where the protocol prevents it."""
    if facts.is_sealed:
        return ""
    if facts.leaks:
        return "Its figures come out too good: they do not tell how well new images would be classified."
    return "Nothing of a test fold was found in its training here, though the protocol does not prevent it."


def explain_leaks(facts: RunFacts) -> str:
    """Say why a gain is no evidence; empty where nothing leaked."""
    if not facts.leaks:
        return ""
    read = f"the generators read {facts.generator_reads} of the {facts.tested} test images"
    near_duplicates = (
        f"{facts.near_duplicates} of {facts.tested} test images have {_NEAR_DUPLICATE} in their own training set"
    )
    causes = " and ".join([read] * bool(facts.generator_reads) + [near_duplicates] * bool(facts.near_duplicates))
    return f"{causes[0].upper()}{causes[1:]}, so leakage alone may explain the gain. Only the sealed protocol can tell."


def name_validation(facts: RunFacts) -> str:
    """Name how the figures were validated, in a cell of a table."""
    if facts.protocol == "single":
        return f"one plain split, {facts.tested} of {facts.images} tested"
    if facts.protocol == LEAVE_ONE_OUT:
        return f"each of {facts.folds} collections left out in turn"
    return f"{facts.protocol} {facts.folds}-fold"


def explain_parts(facts: RunFacts) -> str:
    """Say what stands for "the other folds" where there are none; empty where there are."""
    if facts.protocol != "single":
        return ""
    return (
        "There is one test part, so wherever this page fits something on the other folds (temperature, prediction "
        "sets, thresholds), it does so on the other half of the test images: two halves of whole groups judge each "
        "other."
    )


def describe_folds(facts: RunFacts) -> str:
    """Say into what the images were divided, and by what rule."""
    if facts.protocol == LEAVE_ONE_OUT:
        rule = "leaving out of each training part what shares a group with its test part"
        return f"{counted(facts.folds, 'fold')}, one for each collection, {rule}"
    parts = counted(facts.folds, "fold")
    if facts.protocol == "single":
        parts = f"a part of {facts.tested} that is tested and one of {facts.images - facts.tested} that is trained on"
    published = "regardless of groups, as in the publications that it reproduces"
    return f"{parts}, stratified by class, {'without splitting a group' if facts.is_sealed else published}"


def name_groups(facts: RunFacts) -> str:
    """Say what was joined into groups."""
    kinds = ["near-duplicates", "equal contents"]
    kinds += ["possible second views of one lesion"] if facts.second_views else []
    kinds += [f"the {facts.given_groups} groups given with the data"] if facts.given_groups else []
    return listed(kinds)


def count_near_duplicates(facts: RunFacts) -> str:
    """Count the test images with something like them in training."""
    return f"{facts.near_duplicates} of {facts.tested} test images have {_NEAR_DUPLICATE} in their own training set."


def name_simulated(facts: RunFacts) -> str:
    """Say which images are simulated; empty where none says so."""
    if not facts.simulated:
        return ""
    if facts.simulated == facts.images:
        return "The images are simulated ultrasound: no figure here carries over to real scans."
    return (
        f"{facts.simulated} of the {facts.images} images are simulated ultrasound, so no figure is of real scans alone."
    )


def place_generators(facts: RunFacts) -> str:
    """Say what the generators learned from."""
    if facts.protocol == "thesis":
        return "Each was trained once, on all images of its class."
    if facts.generator_reads:
        return f"They read {counted(facts.generator_reads, 'test image')} of the folds that they were made for."
    return "Each fold has its own generators, which read its training images only."


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
    """Say how the classifier's weights were moved: optimiser, rate, and what is added to the plain loss and images.

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
    """Say what a network was asked and shown in training, where that is not the class of whole images alone.

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
    """Say for how long and at what size the generators were trained, and how that compares with the publication."""
    settings = GanSettings(**gan)
    recipe = RECIPES.get(settings.recipe)
    side = settings.image_size or (recipe.image_size if recipe else "?")
    batch = f" of {settings.batch} images" if settings.batch else ""
    if settings.steps is not None:
        length = f"{settings.steps} steps{batch}"
    elif settings.kimg is not None:
        length = f"{settings.kimg:g} thousand images shown" + (f", batches{batch}" if batch else "")
    elif settings.epochs is not None:
        length = f"{settings.epochs:g} epochs" + (f", batches{batch}" if batch else "")
    else:
        length = f"as many {recipe.budget.unit if recipe else 'epochs'} as published" + (
            f", batches{batch}" if batch else ""
        )
    ours = f"{side} px, {length}"
    if is_published_budget(settings):
        return f"the published budget: {ours}"
    size_word = "a small CPU budget" if budget == "quick" else "this run's own budget"
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
    """Whether nothing that costs time was set below what the recipe publishes."""
    own = (settings.steps, settings.epochs, settings.kimg, settings.batch, settings.learning_rate)
    recipe = RECIPES.get(settings.recipe)
    return set(own) == {None} and settings.image_size in (None, recipe.image_size if recipe else None)
