"""What the labels of an external collection mean in a bundle's classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sonoforge.runtime.errors import SonoforgeError, did_you_mean

Meanings = Mapping[str, tuple[str, ...]]
"""The classes of the bundle that each label covers, such as ``{"lesion": ("benign", "malignant")}``."""


def read_meanings(given: Sequence[str], labels: Sequence[str], classes: Sequence[str]) -> Meanings:
    """Return the meaning of each label, in the order of the classes.

    Args:
        given: Entries ``LABEL=CLASS`` or ``LABEL=CLASS+CLASS``; a label named as a class, in whatever case, needs none.
        labels: Those of the collection.
        classes: Those of the bundle.

    Raises:
        SonoforgeError: An entry that is none, of an unknown class, or that shares a class with another label; or a
            label without a meaning.
    """
    stated = dict(_entry(text, classes) for text in given)
    named = {name.casefold(): (name,) for name in classes}
    meanings: dict[str, tuple[str, ...]] = {}
    for label in labels:
        meaning = stated.get(label, named.get(label.casefold()))
        if meaning is None:
            raise SonoforgeError(
                f"--classes: found no class for the label {label!r}, expected one, as the bundle's classes are "
                f"{', '.join(classes)}; give --classes '{label}={classes[-1]}', or several as {'+'.join(classes[-2:])}"
            )
        for other, own in meanings.items():
            shared = sorted(set(own) & set(meaning))
            if shared:
                raise SonoforgeError(
                    f"--classes: found {label!r} and {other!r} both to mean {', '.join(shared)}, expected every class "
                    "in one label at most"
                )
        meanings[label] = meaning
    return dict(sorted(meanings.items(), key=lambda item: classes.index(item[1][0])))


def _entry(text: str, classes: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    label, _, meaning = (part.strip() for part in text.partition("="))
    names = tuple(name.strip() for name in meaning.split("+"))
    if not label or not meaning:
        raise SonoforgeError(f"--classes: found {text!r}, expected LABEL=CLASS or LABEL=CLASS+CLASS")
    for name in names:
        if name not in classes:
            raise SonoforgeError(
                f"--classes: found {name!r}, expected one of {', '.join(classes)}{did_you_mean(name, classes)}"
            )
    return label, names


def name_meaning(label: str, meaning: Sequence[str]) -> str:
    """Say what a label means, as ``lesion = benign or malignant``; the name alone where they are the same."""
    return label if [label.casefold()] == [name.casefold() for name in meaning] else f"{label} = {' or '.join(meaning)}"
