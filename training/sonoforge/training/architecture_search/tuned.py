"""What a finished run of ``tune`` found, read without Optuna."""

from pathlib import Path

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.architecture_search.space import NAMES, Values
from sonoforge.training.gan.options import PUBLISHED
from sonoforge.training.gan.recipes import RECIPES
from sonoforge.training.run_folder import read_config, read_results


def best_settings(run: Path) -> dict[str, Values]:
    """Return what the best trial of each recipe of a run of ``tune`` tries, by ``RECIPE`` or ``RECIPE:PRESET``.

    Raises:
        SonoforgeError: No finished run of ``tune``.
    """
    preset = read_config(run).get("preset", PUBLISHED)
    try:
        studies = read_results(run)["studies"]
        bests = {name: study["best"] for name, study in studies.items() if name in RECIPES and study["best"]}
    except (OSError, ValueError, LookupError, TypeError):
        bests = {}
    if not bests:
        raise SonoforgeError(f"{run}: found no best trial of a recipe, expected a finished run of sonoforge tune")
    return {
        name if preset == PUBLISHED else f"{name}:{preset}": {
            key: best[key] for key in NAMES if best.get(key) is not None
        }
        for name, best in bests.items()
    }
