"""``sonoforge gan sample RUN``: generate images with a checkpoint's generator, run by torch."""

from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.settings import GanSampleConfig
from sonoforge.runtime.verbs.gan_sample import tell_written
from sonoforge.training.jobs.sampling import work


def main(config: GanSampleConfig) -> Outcome:
    """Generate images from a run folder."""
    return tell_written(config, work(config))
