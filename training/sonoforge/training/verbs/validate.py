"""``sonoforge validate``: judge a finished bundle on labelled images from elsewhere (external validation)."""

from sonoforge.runtime.cli.options import Outcome
from sonoforge.training.jobs.validating import validate
from sonoforge.training.settings.crossval import ValidateConfig


def main(config: ValidateConfig) -> Outcome:
    """Validate a bundle; each collection is printed as soon as it is judged."""
    folder, page, results = validate(config)
    return Outcome({"run": str(folder), "report": str(page), **results})
