"""What an app carries to draw images on the device, from a generator's bundle."""

from __future__ import annotations

import json
from collections.abc import Mapping

from sonoforge.runtime.bundle.generation import REFERENCE, GeneratorManifest
from sonoforge.runtime.bundle.reader import Bundle
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.inference.generator import Generator
from sonoforge.runtime.inference.golden import IMAGE_TOLERANCES, golden_difference

_PAGE = "draw"
"""What the names of the page's own files begin with."""


def generator_files(bundle: Bundle[GeneratorManifest]) -> dict[str, bytes]:
    """Return the files of a generator's bundle that the page needs, by their path in the app.

    Raises:
        SonoforgeError: The bundle is damaged, or does not draw its golden images on this machine.
    """
    difference, allowed = golden_difference(Generator(bundle)), IMAGE_TOLERANCES["fp32"]
    if not difference <= allowed:
        raise SonoforgeError(
            f"{bundle.path}: its golden images differ by {difference:.2g}, expected at most {allowed:g}; export it "
            "again"
        )
    names = [name for name in (*GeneratorManifest.required, REFERENCE) if name in bundle.manifest.files]
    contents = {name: bundle.read(name) for name in names}
    manifest = json.dumps(bundle.manifest.raw).encode()
    return {f"generator/{name}": data for name, data in {"manifest.json": manifest, **contents}.items()}


def without_page(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return an app's files without the page that draws."""
    return {name: data for name, data in files.items() if not name.rpartition("/")[2].startswith(_PAGE)}


def about_distance(generator: Bundle[GeneratorManifest], answers: str) -> str:
    """Say in a line whether the page can measure KID.

    Args:
        generator: The generator.
        answers: SHA-256 of the classifier's file that answers.
    """
    reference = generator.manifest.reference
    if reference is None:
        return "no KID: the bundle records no training images; export it again with --reference"
    if reference.model["sha256"] != answers:
        name = f"{reference.model['name']} {reference.model['version']}, model.onnx {reference.model['sha256'][:16]}"
        return f"no KID: its training images are recorded in the features of {name}, which does not answer here"
    return f"KID against {sum(reference.images.values())} training images"
