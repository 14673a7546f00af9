"""Recipes of the StyleGAN family with networks small enough to train in a test."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import pytest

from sonoforge.training.gan.recipes import RECIPES, Recipe

STYLED = ("stylegan1", "stylegan2", "stylegan3-t", "stylegan3-r")
LATENT = 32  # numbers in a latent, and in a style


def tiny_recipe(name: str) -> Recipe:
    """Return a row with short latents and styles, and few layers where their number does not depend on the size."""
    row = RECIPES[name]
    few = {"layers": 4} if row.architecture == "stylegan3" else {}
    generator = {**row.generator, "style_size": LATENT, "mapping_layers": 2, **few}
    return dataclasses.replace(row, latent_size=LATENT, generator=generator)


@contextlib.contextmanager
def tiny_recipes() -> Iterator[None]:
    """Replace the rows of the StyleGAN family while inside."""
    with pytest.MonkeyPatch.context() as patch:
        for name in STYLED:
            patch.setitem(RECIPES, name, tiny_recipe(name))
        yield
