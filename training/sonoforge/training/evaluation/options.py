"""The two sets that an evaluation compares, as options of ``evaluate``: no more than ``--help`` needs."""

from dataclasses import dataclass

from sonoforge.runtime.cli.options import argument, option
from sonoforge.training.run_options import RunOptions


@dataclass(frozen=True)
class EvaluationInput(RunOptions):
    """Where both sets come from, and how they are made comparable."""

    real: str = argument("", help="real images that the generator was trained on\nor a run of gan train, without FAKE")
    fake: str = argument("", help="generated images, or a run of sonoforge gan train")
    class_name: str = option(
        "", help="class of the real images, or all\ndefault: that recorded in FAKE", aliases=("class",), renamed=True
    )
    image_size: int | None = option(
        None, help="height and width at which to compare (default: FAKE's)", limits=(16, 1024), aliases=("size",)
    )
    channels: str = option("auto", help="1: compare as greyscale", choices=("auto", "1", "3"))
    count: int | None = option(
        None, help="number of images to generate from a run (default: as many as REAL has)", limits=(2, None)
    )
    checkpoint: str = option("last", help="checkpoint of a run: last, best, or a step number")
    seed: int = option(0, help="random seed", limits=(0, None))
