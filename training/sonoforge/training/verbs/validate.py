"""``sonoforge validate``: judge a finished bundle on labelled images from elsewhere (external validation).

The run folder holds ``results.json`` (a `Validation`) and ``answers.csv``: collection, file, group, device, label,
answer, ``p_CLASS`` for each class of the bundle, the classes of the prediction set, and the causes not to use the
answer; `report.html` shows them.  JSON (``--json``) is ``results.json`` with ``run`` and ``report``, where they are.
"""

from sonoforge.runtime.cli.options import Outcome
from sonoforge.training.jobs.validating import validate
from sonoforge.training.settings.crossval import ValidateConfig


def main(config: ValidateConfig) -> Outcome:
    """Validate a bundle; each collection is printed as soon as it is judged."""
    validated = validate(config)
    return Outcome({"run": str(validated.folder), "report": str(validated.report), **validated.results})
