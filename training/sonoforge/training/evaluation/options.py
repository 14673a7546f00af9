"""Options that name the two sets of an evaluation; importable on the base install."""

from dataclasses import dataclass

from sonoforge.runtime.cli.options import argument, option, setting
from sonoforge.training.run_options import RunOptions


@dataclass(frozen=True)
class EvaluationInput(RunOptions):
    """Where both sets come from, and how they are made comparable."""

    real: str = argument("", help="real images; or a run of gan train, without FAKE")
    fake: str = argument("", help="generated images, or a run of gan train")
    class_name: str = option(
        "",
        help="class of the real images, or all\ndefault: the class recorded in FAKE",
        aliases=("class",),
        renamed=True,
    )
    image_size: int | None = option(
        None, help="side in pixels at which to compare\ndefault: FAKE's", limits=(16, 1024), aliases=("size",)
    )
    channels: str = setting("auto", "images.channels", help="1: compare as greyscale", choices=("auto", "1", "3"))
    count: int | None = option(
        None, help="number of images to generate from a run\ndefault: as many as REAL has", limits=(2, None)
    )
    checkpoint: str = option("last", help="last, best or a step number")
    seed: int = option(0, help="random seed", limits=(0, None))
