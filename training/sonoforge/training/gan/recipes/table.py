"""The table of GAN recipes: each row is data, and a new recipe is a new row.

A recipe names one part of each kind: architecture x loss x regularisers x perceptual term x augmentation x EMA x
conditioning x optimisers x schedule.  The training loop knows none of them by name.
"""

from __future__ import annotations

from sonoforge.runtime.errors import SonoforgeError, did_you_mean
from sonoforge.training.gan.recipes import conditional, dcgan, projected, stylegan
from sonoforge.training.gan.recipes.row import Recipe

RECIPES: dict[str, Recipe] = {
    "dcgan-thesis": dcgan.DCGAN_THESIS,
    "dcgan": dcgan.DCGAN,
    "lsgan": dcgan.LSGAN,
    "wgan": dcgan.WGAN,
    "wgan-gp": dcgan.WGAN_GP,
    "bgan": dcgan.BGAN,
    "began": dcgan.BEGAN,
    "dgan-wp-tl-wgangp": dcgan.DGAN_WP_TL_WGANGP,
    "dgan-wp-tl-bce": dcgan.DGAN_WP_TL_BCE,
    "progan": stylegan.PROGAN,
    "stylegan1": stylegan.STYLEGAN1,
    "biggan": conditional.BIGGAN,
    "ga-gan": conditional.GA_GAN,
    "spade": conditional.SPADE,
    "projected": projected.PROJECTED,
    "stylegan2": stylegan.STYLEGAN2,
    "stylegan3-t": stylegan.STYLEGAN3_T,
    "stylegan3-r": stylegan.STYLEGAN3_R,
}


def find_recipe(name: str) -> Recipe:
    """Return the row of this name.

    Raises:
        SonoforgeError: There is none; the message names the closest.
    """
    if name not in RECIPES:
        hint = did_you_mean(name, list(RECIPES))
        raise SonoforgeError(f"recipe: found {name!r}, expected one of {', '.join(RECIPES)}{hint}")
    return RECIPES[name]
