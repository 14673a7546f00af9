"""What of a space can be trained with the images that there are, found out before any trial is."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sonoforge.training.trials.source import Opened
from sonoforge.training.tuning.parameters import Parameter, Value
from sonoforge.training.tuning.trial import set_up_with, trial_settings

log = logging.getLogger(__name__)


def possible_space(opened: Opened, space: Sequence[Parameter]) -> tuple[Parameter, ...]:
    """Try each choice and each end of a range, one parameter at a time, without training.

    Batches of the table that are larger than the number of images are left out, and the log says so.

    Raises:
        SonoforgeError: Settings that cannot be trained.
    """
    recipe = opened.job.settings.recipe
    images = len(set_up_with(opened, opened.job.settings).images)
    fitting = tuple(_fitting(recipe, parameter, images) for parameter in space)
    usual = {parameter.name: _ends(parameter)[0] for parameter in fitting if not parameter.optimiser}
    for parameter in fitting:
        for value in _ends(parameter):
            needed = {"optimiser": parameter.optimiser} if parameter.optimiser in _choices("optimiser", fitting) else {}
            set_up_with(opened, trial_settings(opened, recipe, 0, {**usual, **needed, parameter.name: value}))
    return fitting


def _fitting(recipe: str, parameter: Parameter, images: int) -> Parameter:
    fitting = tuple(value for value in parameter.choices if not isinstance(value, int) or value <= images)
    if parameter.name != "batch" or len(fitting) == len(parameter.choices):
        return parameter
    log.warning("%s: batches of more than the %d images that are trained on are left out", recipe, images)
    return parameter._replace(choices=fitting or (images,))


def _ends(parameter: Parameter) -> tuple[Value, ...]:
    ends: tuple[Value, ...] = (parameter.low, parameter.high)
    return parameter.choices or (tuple(int(end) for end in ends) if parameter.whole else ends)


def _choices(name: str, space: Sequence[Parameter]) -> tuple[Value, ...]:
    return next((parameter.choices for parameter in space if parameter.name == name), ())
