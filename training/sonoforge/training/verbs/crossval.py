"""``sonoforge crossval``: test whether a trained generator helps, in k folds, every arm on the same folds and seeds."""

from sonoforge.runtime.cli.options import Outcome
from sonoforge.training.data.data_option import data_flags
from sonoforge.training.jobs import comparing
from sonoforge.training.reports.run.terminal import log_comparison
from sonoforge.training.run_folder import log_to
from sonoforge.training.settings.crossval import LEAKAGE, CrossvalConfig


def main(config: CrossvalConfig) -> Outcome:
    """Run the comparison in a run folder and print its tables; or print the tables of a ``predictions.csv``."""
    if config.from_predictions:
        again = comparing.read_again(config)
        log_comparison(again)
        return Outcome(again)
    compared = comparing.work(comparing.prepare(config))
    with log_to(compared.folder):
        log_comparison(compared.results)
    plain = config.protocol == CrossvalConfig().protocol
    following = "crossval" if config.protocol == LEAKAGE else "run"
    protocol = "" if plain or following == "crossval" else f" --protocol {config.protocol}"
    result = {"run": str(compared.folder), **compared.results}
    return Outcome(result, f"sonoforge {following} {data_flags(config.data)}{protocol}")


def check(config: CrossvalConfig) -> str:
    """Check all that the run needs, and return what it would do."""
    if config.from_predictions:
        comparing.read_again(config)
        return f"to print: the tables of {config.from_predictions}"
    return comparing.prepare(config).describe()
