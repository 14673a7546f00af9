"""Define the arms of the comparison: what each one trains on, and its names.

A name is ``NAME``, with ``-all`` to add images to every class rather than only small ones, ``:DOSE`` for how many to
add, and ``@SHARE`` for part of the real images: ``gan``, ``gan:2``, ``gan-all:0.5``, ``real@0.25``.
"""

import contextlib
import dataclasses
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sonoforge.runtime.errors import SonoforgeError, did_you_mean
from sonoforge.training.classifier.settings import ClassifierSettings
from sonoforge.training.comparators import COMPARATORS, Comparator
from sonoforge.training.statistics.predictions import SHARE_MARK

log = logging.getLogger(__name__)

FORMS = (
    "real, weighted, classical or trivial; gan, duplicates, untrained or shuffled, also as gan-all and gan:2 "
    "(a dose); generated or generated:2; each with a share of the real images, as in real@0.25; or a comparator: "
    + ", ".join(COMPARATORS)
)
MOST = 100.0
"""The largest dose: beyond it, training would hardly see a real image."""
_ALL, _DOSE = "-all", ":"


@dataclass(frozen=True)
class Arm:
    """One way to train the classifier."""

    title: str  # what the tables call it
    # Images added to the real ones: `""` none, `gan` of generators trained on them, `shuffled` of all classes under
    # random labels, `untrained` of generators at step 0, `duplicates` real images again.
    fill: str = ""
    dose: float = 1.0  # how much is added, see `added_counts`
    all_classes: bool = False  # add images to the largest class, too
    real: bool = True  # train on the real images
    real_share: float = 1.0  # share of the real training images that is used
    comparator: Comparator | None = None  # what is fitted instead of a network
    class_weights: bool = False  # weight the loss by inverse class frequency
    augmentation: str = ""  # instead of the budget's, see `augmentation.VARIANTS`; empty: the budget's
    name: str = ""  # the shortest one: `gan` for `gan:1.0@1`; empty in `ARMS`

    @property
    def reads_generators(self) -> bool:
        """Whether it adds images of trained generators."""
        return self.fill in ("gan", "shuffled")


ARMS: dict[str, Arm] = {
    "real": Arm("real images (System 1)"),
    "gan": Arm("real + generated images (System 2)", fill="gan"),
    "generated": Arm("generated images alone", fill="gan", all_classes=True, real=False),
    "duplicates": Arm("placebo: real + duplicated images", fill="duplicates"),
    "untrained": Arm("placebo: real + images of untrained generators", fill="untrained"),
    "shuffled": Arm("placebo: real + generated images, labels shuffled", fill="shuffled"),
    "weighted": Arm("real images, class-weighted loss", class_weights=True),
    "classical": Arm("real images, classical augmentation", augmentation="classical"),
    "trivial": Arm("real images, TrivialAugment", augmentation="trivial"),
    **{name: Arm(own.title, comparator=own) for name, own in COMPARATORS.items()},
}
"""By name, at dose 1 with all real images; `find_arm` reads the other names."""


def find_arm(name: str, option: str = "--arms") -> Arm:
    """Return the arm with a name; its title includes dose and share, and messages begin with ``option``."""
    rest, marked, share = name.partition(SHARE_MARK)
    stem, dosed, dose = rest.partition(_DOSE)
    base = stem.removesuffix(_ALL)
    if base not in ARMS or (stem != base and (not ARMS[base].fill or ARMS[base].all_classes)):
        hint = did_you_mean(base, list(ARMS)) if base not in ARMS else ""
        raise SonoforgeError(f"{option}: no arm is called {name!r}; choose from {FORMS}{hint}")
    arm = ARMS[base]
    if dosed and not arm.fill:
        raise SonoforgeError(f"{option}: {base} adds no images, so {name!r} cannot have a dose; write {base}")
    dose_value = read_number(f"{option}: {name!r}: dose", dose, MOST) if dosed else 1.0
    share_value = read_number(f"{option}: {name!r}: share", share, 1) if marked else 1.0
    everywhere = arm.all_classes or stem != base
    said = f", {dose_value:g} times" if dose_value != 1 else ""
    said = (", all classes" if stem != base else "") + said
    said += f", {100 * share_value:g} % of the real images" if share_value != 1 else ""
    shortest = stem + (f"{_DOSE}{dose_value:g}" if dose_value != 1 else "")
    shortest += f"{SHARE_MARK}{share_value:g}" if share_value != 1 else ""
    return dataclasses.replace(
        arm,
        title=arm.title + said,
        dose=dose_value,
        all_classes=everywhere,
        real_share=share_value,
        name=shortest,
    )


def final_name(name: str, option: str) -> str:
    """Return the shortest name of an arm for a final model, which trains on all images."""
    arm = find_arm(name, option)
    if arm.comparator:
        raise SonoforgeError(
            f"{option}: {name!r} is a comparator, which cannot be exported; choose an arm that is fine-tuned"
        )
    if arm.real_share != 1:
        raise SonoforgeError(
            f"{option}: {name!r} has a share, but a final model is trained on all images; leave the share out"
        )
    return arm.name


def at_dose(name: str, dose: float) -> str:
    """Return the shortest name of the arm at another dose."""
    stem, marked, share = name.partition(SHARE_MARK)
    return find_arm(f"{stem.partition(_DOSE)[0]}{_DOSE}{dose:g}{marked}{share}").name


def title_of(name: str) -> str:
    """Return the arm's title, or its name if unknown, as in a file from another version."""
    try:
        return find_arm(name).title
    except SonoforgeError:
        return name


def file_stem(name: str) -> str:
    """Return an arm's name without the characters that file systems refuse."""
    return name.replace(_DOSE, "-dose").replace(SHARE_MARK, "-share")


def with_shares(arms: Sequence[str], shares: Sequence[float]) -> tuple[str, ...]:
    """Return the name of every arm at every share of the real images, largest first; without shares, once each."""
    if not shares:
        return tuple(find_arm(name).name for name in arms)
    given = [name for name in arms if SHARE_MARK in name]
    if given:
        raise SonoforgeError(f"--arms: {given[0]} cannot be combined with crossval.real_shares; leave its share out")
    if any(not 0 < share <= 1 for share in shares) or len(set(shares)) != len(shares):
        found = ",".join(f"{share:g}" for share in shares)
        raise SonoforgeError(
            f"--set crossval.real_shares: {found}: each share must be above 0 and at most 1, and given once"
        )
    ordered = sorted(shares, reverse=True)
    return tuple(find_arm(f"{name}{SHARE_MARK}{share:g}").name for share in ordered for name in arms)


def read_number(what: str, text: str, most: float) -> float:
    """Read a number above 0 and at most ``most``; ``what`` begins the error for any other text."""
    with contextlib.suppress(ValueError):
        if 0 < float(text) <= most:
            return float(text)
    raise SonoforgeError(f"{what}: {text!r} is not a number above 0 and at most {most:g}")


def added_counts(arm: Arm, counts: Sequence[int]) -> dict[int, int]:
    """Return how many images an arm adds to each class, without classes that get none.

    A class's *lack* is how many fewer images it has than the largest. At dose D it gets D times its lack; if images are
    added to all classes, its lack plus D times the largest class; without real images, D times the largest class.
    ``counts`` are the real images of each class, by label.
    """
    largest = max(counts)
    wanted = {}
    for label, count in enumerate(counts):
        lack, whole = largest - int(count), round(arm.dose * largest)
        if not arm.fill:
            number = 0
        elif not arm.real:
            number = max(1, whole)
        else:
            number = lack + whole if arm.all_classes else round(arm.dose * lack)
        if number:
            wanted[label] = int(number)
    return wanted


def classes_with_generators(arm: Arm, counts: Sequence[int]) -> list[int]:
    """Return the labels of classes with generators that the arm draws from; shuffled labels need all classes."""
    wanted = added_counts(arm, counts)
    if arm.fill == "shuffled" and wanted:
        return [label for label, count in enumerate(counts) if count]
    return list(wanted) if arm.fill == "gan" else []


def for_classes(option: str, arms: Sequence[str], classes: Sequence[str], counts: Sequence[int]) -> tuple[str, ...]:
    """Return the arms for a set of images: if all classes have the same size, arms that fill up add to all of them."""
    if len(set(counts)) > 1:
        return tuple(arms)
    found = ", ".join(f"{name} {count}" for name, count in zip(classes, counts, strict=True))
    chosen = []
    for name in arms:
        arm = find_arm(name, option)
        if arm.class_weights:
            raise SonoforgeError(
                f"{option}: {name} would weight the classes by their size, which changes nothing here ({found}); leave "
                "it out"
            )
        stem = re.split(f"[{_DOSE}{SHARE_MARK}]", name)[0]
        fills_up = arm.fill and not arm.all_classes
        chosen.append(name.replace(stem, stem + _ALL, 1) if fills_up else name)
        if chosen[-1] != name:
            log.info("classes of equal size (%s): %s adds images to all of them, as %s", found, name, chosen[-1])
    if len(set(chosen)) < len(chosen):
        raise SonoforgeError(f"{option}: two of {','.join(arms)} are the same for classes of equal size; leave one out")
    return tuple(chosen)


def settings_of_arm(arm: Arm, settings: ClassifierSettings) -> ClassifierSettings:
    """Return the classifier settings with the arm's changes."""
    augmentation = arm.augmentation or settings.augmentation
    return dataclasses.replace(settings, class_weights=arm.class_weights, augmentation=augmentation)


def changes_of(arm: Arm) -> Mapping[str, object]:
    """Return how an arm differs from its row of `ARMS`; empty if it does not."""
    names = ("dose", "all_classes", "real", "real_share")
    return {name: getattr(arm, name) for name in names if getattr(arm, name) != getattr(Arm, name)}
