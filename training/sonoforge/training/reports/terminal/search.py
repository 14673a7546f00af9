"""What ``tune`` and ``search`` print."""

from collections.abc import Sequence

from sonoforge.runtime.cli.answer import say, tell
from sonoforge.training.architecture_search.results import COSTS, Searched
from sonoforge.training.architecture_search.study import Trial
from sonoforge.training.reports.search import described
from sonoforge.training.reports.terminal.tables import plain_table
from sonoforge.training.statistics.wording import figure


def log_search(searched: Sequence[Searched]) -> None:
    """Print the best of each study as a table, then what it tried."""
    metric = searched[0].metric.upper()
    head = ("study", "trials", f"lowest {metric}", f"{metric}, other images", "parameters", "ms")
    say("%s", plain_table(head, [_row(own) for own in searched], range(2, len(head))))
    for own in searched:
        tell(f"best of {own.name}: {described(own, own.best) if own.best else 'no trial was measured'}")


def _row(own: Searched) -> list[str]:
    states = ", ".join(f"{count} {name}" for name, count in own.states.items())
    if own.best is None:
        return [own.name, states, "-", "-", "-", "-"]
    apart = figure(own.apart[own.metric]) if own.apart else "-"
    costs = [figure(own.best.details.get(cost)) for cost in COSTS]
    return [own.name, states, figure(own.best.metric), apart, *costs]


def trial_line(own: Searched, trial: Trial) -> str:
    """Return how a trial ended, and the best so far, in a line."""
    value = "" if trial.metric is None else f", {own.metric.upper()} {trial.metric:.4f}"
    best = own.best
    lowest = "" if best is None else f"; best so far {best.metric:.4f} (trial {best.number})"
    return f"{own.name} trial {trial.number} {trial.state}{value}{lowest}"
