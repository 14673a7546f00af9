"""``sonoforge gan sample``: generate images from a bundle, without torch; each file records that it is synthetic."""

from collections.abc import Sequence

from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.jobs.sampling import ALL, Sampled, sample_bundle
from sonoforge.runtime.settings import GanSampleConfig


def main(config: GanSampleConfig) -> Outcome:
    """Generate images from a bundle."""
    return tell_written(config, sample_bundle(config))


def tell_written(config: GanSampleConfig, written: Sequence[Sampled]) -> Outcome:
    """Say where the images of each class are."""
    targets, count = [target for target, _ in written], config.count * len(written)
    for target in targets:
        say("%d synthetic images in %s", config.count, target)
    if config.class_name != ALL:
        return Outcome({"target": targets[0], "count": config.count, **written[0][1]})
    folder = targets[0].rpartition("/")[0]
    say("%d synthetic images in %s", count, folder)
    return Outcome({"target": folder, "targets": targets, "count": count})
