"""What ``validate`` writes down: ``results.json``."""

from __future__ import annotations

from typing import Any, TypedDict

from sonoforge.training.external.figures import ExternalFigures
from sonoforge.training.external.robustness import Robustness

RECIPE = ("data", "arm", "weights", "settings")
"""What is kept of a bundle's training: on which images, and how."""


class Collection(ExternalFigures):
    """The figures of a collection, and what of it was left out."""

    unreadable: dict[str, str]  # message by file
    trained_on: dict[str, str]  # what the image shows of the model's training, by file
    robustness: Robustness | None  # None: not measured


class Validation(TypedDict):
    """``results.json``."""

    model: dict[str, str]
    training: dict[str, Any]  # what the bundle records of it: data, arm, weights, settings
    classes: list[str]
    collections: list[Collection]
    notice: str
