"""What ``evaluate`` prints: the figures as a table and the answers, or several evaluations side by side."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from sonoforge.runtime.cli.answer import say, tell
from sonoforge.runtime.notice import NOTICE
from sonoforge.training.evaluation.results import EvaluationResults
from sonoforge.training.evaluation.verdict import warnings
from sonoforge.training.reports.terminal.tables import plain_table
from sonoforge.training.statistics.wording import bracket, figure, times

_SIDES = 3  # evaluations side by side


def log_evaluation(results: EvaluationResults) -> None:
    """Print the figures as a table, and the answers."""
    for space, rows in itertools.groupby(results["metrics"], key=lambda row: row["space"]):
        cells = []
        for row in rows:
            error = "" if row["standard_error"] is None else f" ± {figure(row['standard_error'])}"
            floor = f"{figure(row['floor'])} {bracket(figure(row['floor_low']), figure(row['floor_high']))}"
            cells.append((row["title"], figure(row["value"]) + error, floor, times(row["ratio"])))
        say("")
        say("%s", plain_table((f"in {space}", "value", "real against real [95 %]", "ratio"), cells, (1, 2, 3)))
    for item in results["not_measured"]:
        tell(f"{item['name']}: not measured: {item['why']}")
    tell(f"Ratio up to 1: within what real images score; protocol {results['protocol_id']}.")
    for warning in warnings(results["metrics"], results["copies"], results["n"], results["warnings"]):
        tell(warning)
    for question, answer in results["verdicts"].items():
        tell(f"{question}: {answer['answer']}. {answer['text']}")
    say("%s", NOTICE)


def log_side_by_side(rows: Sequence[Mapping[str, Any]], protocol_id: str) -> None:
    """Print evaluations of one protocol, from `protocol.compare`, side by side."""
    numbered = [*enumerate(rows, start=1)]
    for number, row in numbered:
        tell(f"({number}) {row['fake'].get('source', '')} in {row['run']}")
    for first in range(0, len(numbered), _SIDES):
        some = numbered[first : first + _SIDES]
        cells = []
        for name in rows[0]["metrics"]:
            found = [row["metrics"][name] for _, row in some]
            cells.append(
                [name, *("-" if one is None else f"{figure(one['value'])} ({times(one['ratio'])})" for one in found)]
            )
        head = ("value (ratio)", *(f"({number})" for number, _ in some))
        say("%s", plain_table(head, cells, range(1, len(head))))
    tell(f"one protocol: {protocol_id}. {NOTICE}")
