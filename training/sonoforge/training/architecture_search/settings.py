"""The search of a recipe's settings: Optuna's samplers suggest them, as far as they can be trained."""

import dataclasses
import logging
from collections.abc import Sequence
from typing import cast

import optuna

from sonoforge.runtime.seeds import derive_seed
from sonoforge.training.architecture_search.space import Parameter, Value, Values, rounded, with_values
from sonoforge.training.architecture_search.study import Trial
from sonoforge.training.architecture_search.study import Values as TrialValues
from sonoforge.training.architecture_search.trial import Opened, prepare_trial
from sonoforge.training.gan.options import GanSettings

log = logging.getLogger(__name__)

STARTUP = (4, 10)  # least and most trials drawn at random before TPE takes over
OPTIMISER = "optimiser"


@dataclasses.dataclass(frozen=True)
class SettingsSearch:
    """How the settings of one recipe are searched."""

    name: str  # of the study: the recipe
    space: tuple[Parameter, ...]
    total: int  # trials
    sampler: str  # `tpe` or `random`
    seed: int

    def horizon(self, number: int) -> None:
        """See `study.Strategy`: a trial is chosen by all that have ended."""
        del number

    def suggest(self, trial: optuna.Trial, before: Sequence[Trial]) -> TrialValues:
        """See `study.Strategy`.

        Trials under way count as bad ones, so that other values are tried meanwhile.
        """
        del before
        seed = derive_seed(self.seed, f"sampler of {self.name}", trial.number, bits=32)
        if self.sampler == "random":
            trial.study.sampler = optuna.samplers.RandomSampler(seed)
        else:
            least, most = STARTUP
            startup = min(most, max(least, self.total // 4))
            trial.study.sampler = optuna.samplers.TPESampler(n_startup_trials=startup, seed=seed, constant_liar=True)
        values: TrialValues = {}
        for parameter in self.space:
            if parameter.optimiser and values.get(OPTIMISER, parameter.optimiser) != parameter.optimiser:
                continue
            name = parameter.name
            if parameter.choices:
                suggested = cast(Value, trial.suggest_categorical(name, parameter.choices))
            elif parameter.whole:
                suggested = trial.suggest_int(name, int(parameter.low), int(parameter.high), log=parameter.log)
            else:
                suggested = trial.suggest_float(name, parameter.low, parameter.high, log=parameter.log)
            values[name] = rounded(suggested)
        return values

    def inheritable(self, trials: Sequence[Trial]) -> set[int]:
        """See `study.Strategy`: no trial inherits weights."""
        del trials
        return set()


def trial_settings(opened: Opened, study: str, number: int, values: Values) -> GanSettings:
    """Return the settings of a trial; its seed follows from the search's, the recipe and its number."""
    settings = opened.settings
    own = with_values(settings, opened.recipe, values)
    return dataclasses.replace(own, seed=derive_seed(settings.seed, f"trial of {study}", number, bits=32))


def tried(trial: Trial) -> Values:
    """Return the values that a trial of settings tries."""
    return {name: value for name, value in trial.values.items() if value is not None}


def possible_space(opened: Opened, space: Sequence[Parameter]) -> tuple[Parameter, ...]:
    """Check each choice and each end of a range, one parameter at a time, without training.

    Batches larger than the number of images are left out, with a warning.

    Raises:
        SonoforgeError: Settings that cannot be trained.
    """
    recipe = opened.settings.recipe
    images = len(prepare_trial(opened, opened.settings).images)
    fitting = tuple(_fitting(recipe, parameter, images) for parameter in space)
    usual = {parameter.name: _ends(parameter)[0] for parameter in fitting if not parameter.optimiser}
    optimisers = next((parameter.choices for parameter in fitting if parameter.name == OPTIMISER), ())
    for parameter in fitting:
        for value in _ends(parameter):
            needed = {OPTIMISER: parameter.optimiser} if parameter.optimiser in optimisers else {}
            prepare_trial(opened, trial_settings(opened, recipe, 0, {**usual, **needed, parameter.name: value}))
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
