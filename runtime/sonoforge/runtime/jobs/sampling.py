"""Generate images from a bundle, without torch; each file records that it is synthetic.

`sonoforge.training.jobs.sampling` does so from a run folder, with the same settings. Both draw the same latents
(`sonoforge.runtime.inference.latents`), so images are equal except for rounding.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sonoforge.runtime.bundle.reader import SHIPPED_GENERATOR, chosen_path
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.synthetic import open_target, open_url_target, origin_of
from sonoforge.runtime.inference.generator import Generator
from sonoforge.runtime.settings import GanSampleConfig
from sonoforge.runtime.urls import is_url

ALL = "all"


class Source(NamedTuple):
    """A generator, whatever runs it, set up for one class and one seed."""

    name: str  # prefix of the targets' names
    folder: Path  # default folder of the targets
    origin: dict[str, Any]  # what every file records of its origin
    image_channels: int  # channels that are image; those after them are masks
    # Number of images to those images, in batches: (n, S, S, C) uint8.
    batches: Callable[[int], Iterator[NDArray[np.uint8]]]


Sampled = tuple[str, dict[str, Any]]
"""Where the images of one class were written, a folder, file or URL, and what every file records of its origin."""


def sample_bundle(config: GanSampleConfig) -> list[Sampled]:
    """Generate images from the bundle ``config.bundle`` and write them; return what was written of each class."""
    check(config)
    path = chosen_path(config.bundle, SHIPPED_GENERATOR)
    if config.checkpoint != "last":
        raise SonoforgeError("--checkpoint cannot be combined with --bundle, which holds only one; leave it out")
    if config.device not in ("auto", "cpu"):
        raise SonoforgeError(f"--device {config.device} requires RUN; --bundle runs on the CPU")
    if config.into:
        raise SonoforgeError("--into requires RUN; the generator of a --bundle takes no masks")
    generator = Generator(path)
    about = generator.manifest

    def open_source(config: GanSampleConfig) -> Source:
        label = generator.label(config.class_name)
        shown = about.class_name if label is None else about.classes[label]
        origin = origin_of(about, about.generator_sha256, shown, config.seed)
        origin |= {**settings_of_origin(config), "file_sha256": about.files[about.model].sha256}
        return Source(
            path.stem if path.suffix == ".zip" else path.name,
            (Path.cwd() if path == SHIPPED_GENERATOR else path.absolute().parent) / "generated",
            origin,
            about.image_channels,
            lambda count: generator.batches(count, config.seed, label, config.psi, config.truncation),
        )

    return write_classes(config, about.classes, open_source)


def check(config: GanSampleConfig) -> None:
    """Refuse settings that contradict each other."""
    if bool(config.run) == bool(config.bundle):
        raise SonoforgeError("gan sample: give either RUN or --bundle")


def write_classes(
    config: GanSampleConfig, classes: Sequence[str], open_source: Callable[[GanSampleConfig], Source]
) -> list[Sampled]:
    """Write images of one class; or of ``all``, equally many of each in its own folder: a data set of class folders."""
    if config.class_name != ALL:
        return [_write(config, open_source(config))]
    if not classes:
        raise SonoforgeError("--class all needs a generator with several classes; leave it out")
    if config.out.endswith((".zip", ".npz")):
        raise SonoforgeError("--class all writes a folder for each class; give --out a folder, not .zip or .npz")
    written = []
    for name in classes:
        own = dataclasses.replace(config, class_name=name)
        source = open_source(own)
        base = config.out.rstrip("/") or str(source.folder / f"{source.name}-seed-{config.seed}-all")
        written.append(_write(dataclasses.replace(own, out=f"{base}/{name}"), source))
    return written


def _write(config: GanSampleConfig, source: Source) -> Sampled:
    """Generate the images of one class and write them with their manifest."""
    name = f"{source.name}-seed-{config.seed}" + (f"-{config.class_name}" if config.class_name else "")
    name += "".join(f"-{key}-{value}" for key, value in settings_of_origin(config).items())
    target = config.out or str(source.folder / name)
    if is_url(target):
        opened = open_url_target(target, source.origin, source.image_channels)
    else:
        opened = open_target(Path(target), source.origin, config.count, source.image_channels)
    with opened as add:
        for pixels in source.batches(config.count):
            add(pixels)
    return target, source.origin


def settings_of_origin(config: GanSampleConfig) -> dict[str, float | str]:
    """Return the given settings that change images, for their origin, without paths."""
    given = {"truncation": config.truncation, "psi": config.psi, "into": Path(config.into).name or None}
    return {key: value for key, value in given.items() if value is not None}
