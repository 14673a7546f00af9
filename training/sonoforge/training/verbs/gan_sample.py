"""``sonoforge gan sample RUN``: generate images with a checkpoint's generator, run by torch."""

from pathlib import Path

from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.inference.generator import find_label
from sonoforge.runtime.jobs.sampling import Source, check, settings_of_origin, write_classes
from sonoforge.runtime.settings import GanSampleConfig
from sonoforge.runtime.verbs.gan_sample import tell_written
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan.checkpoint import describe_origin
from sonoforge.training.gan.generator import (
    Truncation,
    check_truncation,
    load_generator,
    sample_batches,
)


def main(config: GanSampleConfig) -> Outcome:
    """Generate images from a run folder; see `sonoforge.runtime.jobs.sampling`."""
    check(config)
    about = gan_checkpoint.describe(gan_checkpoint.find_checkpoint(Path(config.run), config.checkpoint))
    return tell_written(config, write_classes(config, about.classes, _open_run))


def _open_run(config: GanSampleConfig) -> Source:
    """Set up the generator of a run folder or checkpoint."""
    checkpoint = gan_checkpoint.find_checkpoint(Path(config.run), config.checkpoint)
    about = gan_checkpoint.describe(checkpoint)
    label = find_label(config.class_name, about.classes, about.class_name)
    origin = describe_origin(checkpoint, config.seed, about.classes[label] if label is not None else about.class_name)
    generator = load_generator(checkpoint, config.device)
    truncation = Truncation(config.psi, config.psi_cutoff, config.truncation)
    check_truncation(generator, truncation)

    return Source(
        checkpoint.name,
        checkpoint.parent.parent / "generated",
        origin | settings_of_origin(config),
        about.image_channels,
        lambda count: sample_batches(generator, count, config.seed, label, truncation, config.batch),
    )
