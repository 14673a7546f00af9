"""Generate images with a checkpoint's generator, run by torch; `sonoforge.runtime.jobs.sampling` does so from a bundle.

Both draw the same latents, so images are equal except for rounding.
"""

from collections.abc import Iterator
from pathlib import Path

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.synthetic import origin_of
from sonoforge.runtime.inference.generator import find_label
from sonoforge.runtime.jobs.sampling import Sampled, Source, check, settings_of_origin, write_classes
from sonoforge.runtime.settings import GanSampleConfig
from sonoforge.training.data.labelled_images import read_label_maps
from sonoforge.training.data.pixels import Pixels
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.generator import (
    Truncation,
    check_truncation,
    load_generator,
    maps_drawn_into,
    sample_batches,
    sample_into,
)


def work(config: GanSampleConfig) -> list[Sampled]:
    """Generate images with the run folder ``config.run`` and write them; return what was written of each class.

    Raises:
        SonoforgeError: There is no such checkpoint, class or truncation, or the target cannot be written.
    """
    check(config)
    about = gan_checkpoint.describe(gan_checkpoint.find_checkpoint(Path(config.run), config.checkpoint))
    return write_classes(config, about.classes, _open_run)


def _open_run(config: GanSampleConfig) -> Source:
    """Set up the generator of a run folder or checkpoint."""
    checkpoint = gan_checkpoint.find_checkpoint(Path(config.run), config.checkpoint)
    about = gan_checkpoint.describe(checkpoint)
    label = find_label(config.class_name, about.classes, about.class_name)
    shown = about.classes[label] if label is not None else about.class_name
    origin = origin_of(about, about.files["average.safetensors"], shown, config.seed)
    generator = load_generator(checkpoint, config.device)
    truncation = Truncation(config.psi, config.truncation)
    check_truncation(generator, truncation)
    if config.into and not maps_drawn_into(generator):
        raise SonoforgeError(
            f"--into: this generator of {about.recipe} cannot be given masks; train one with recipe flow, spade or "
            "projected:label-maps, and --set gan.masks=true"
        )
    maps = None
    if config.into:
        maps = read_label_maps(Path(config.into), about.structures, int(about.generator_options["image_size"]))

    def batches(count: int) -> Iterator[Pixels]:
        if maps is None:
            return sample_batches(generator, count, config.seed, label, truncation, config.batch)
        return sample_into(generator, maps, count, config.seed, label, config.truncation)

    return Source(
        checkpoint.name,
        checkpoint.parent.parent / "generated",
        origin | settings_of_origin(config),
        about.image_channels,
        batches,
    )
