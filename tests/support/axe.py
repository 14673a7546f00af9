"""axe-core, which finds what a screen reader or a keyboard would stumble over in a page."""

from __future__ import annotations

import pytest

from sonoforge.mobile.npm_package import NpmPackage, read_files
from sonoforge.runtime.errors import SonoforgeError

_AXE = NpmPackage(
    "axe-core",
    "4.14.1",
    "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
    ("axe.min.js",),
)


def axe_script() -> str:
    """Return its script, for a page to run; skip where it cannot be had."""
    try:
        return read_files(_AXE)["axe.min.js"].decode()
    except SonoforgeError as error:
        pytest.skip(f"needs axe-core: {error}")
