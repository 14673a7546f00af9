"""What the trainings of a search have in common: images and networks, which any process can come by."""

import dataclasses
import functools
import json
from pathlib import Path
from typing import NamedTuple

from sonoforge.runtime.atomic import write_json
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.data.changed_images import check_unchanged
from sonoforge.training.gan.batches.training_set import TrainingSet, read_training_set, set_aside
from sonoforge.training.gan.options import GanSettings
from sonoforge.training.gan.recipes import Recipe
from sonoforge.training.gan.settings import compose, measures_in_features
from sonoforge.training.gan.training import SOURCES, Pretrained, open_pretrained
from sonoforge.training.metrics.spaces import choose_space


@dataclasses.dataclass(frozen=True)
class Source:
    """How to come by the images and networks of one recipe, in any process."""

    data: tuple[str, ...]  # see `load.ImageSource`
    cache: Path  # folder of decoded images
    settings: GanSettings  # as the user gave them, with the recipe and the feature space
    device: str
    apart: float  # share of the images that no trial reads
    fingerprint: str = ""  # of the images that trials read; empty: not known yet


class Opened(NamedTuple):
    """What a `Source` leads to."""

    images: TrainingSet  # that trials read
    apart: TrainingSet | None  # that none reads
    settings: GanSettings  # of the source
    device: str
    pretrained: Pretrained  # what the settings name
    seed: int  # of the choice of images that are held out, the same in every trial
    recipe: Recipe  # with the user's settings


def with_space(source: Source) -> Source:
    """Choose the feature space of the metrics where neither the user nor a perceptual term has.

    Raises:
        SonoforgeError: See `spaces.choose_space`.
    """
    settings = source.settings
    if settings.metric_features or measures_in_features(settings):
        return source
    images = read_training_set(source.data, settings, groups=True, cache_folder=source.cache)
    originals = images.pixels[..., : images.image_channels] if images.originals is None else images.originals
    space = choose_space(list(originals), images.name or "the images", "--metric-features")
    return dataclasses.replace(source, settings=dataclasses.replace(settings, metric_features=space))


@functools.lru_cache(maxsize=2)  # of one recipe at a time; a process has many trials of it
def open_source(source: Source, seed: int) -> Opened:
    """Read the images and open the networks of one recipe; the seed chooses the images that are set apart.

    Raises:
        SonoforgeError: Bad settings or images, or others than where the search was begun.
    """
    images, apart = read_training_set(source.data, source.settings, groups=True, cache_folder=source.cache), None
    if source.apart:
        images, apart = set_aside(images, source.apart, derive_seed(seed, "apart from all trials"))
    if source.fingerprint not in ("", images.fingerprint):
        raise SonoforgeError(
            f"{', '.join(source.data)}: found other images here than where the search was begun; give each machine the "
            "same"
        )
    settings = source.settings
    pretrained = open_pretrained(settings, source.device)
    return Opened(images, apart, settings, source.device, pretrained, seed, compose(settings))


def keep_sources(folder: Path, opened: Opened) -> None:
    """Keep the content hash of each image file in a run folder.

    Raises:
        SonoforgeError: The run was begun with other images.
    """
    path, now = folder / SOURCES, dict(opened.images.sources)
    if not path.is_file():
        write_json(path, now)
    else:
        check_unchanged(str(folder), json.loads(path.read_text(encoding="utf-8")), now)
