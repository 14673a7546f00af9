"""What ``evaluate`` prints: the figures as a table and the answers, or several evaluations side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.notice import NOTICE
from sonoforge.training.evaluation.results import EvaluationResults
from sonoforge.training.evaluation.verdict import warnings
from sonoforge.training.statistics.wording import bracket, figure, times


def log_evaluation(results: EvaluationResults) -> None:
    """Print the figures as a table, and the answers."""
    say("")
    say("%-30s %17s  %-27s %-27s %7s", "", "value", "matched [95 %]", "real against real [95 %]", "ratio")
    space = None
    for row in results["metrics"]:
        if row["space"] != space:
            space = row["space"]
            say("in %s:", space)
        ends = (
            (row["matched"], row["matched_low"], row["matched_high"]),
            (row["floor"], row["floor_low"], row["floor_high"]),
        )
        figures = [f"{figure(value)} {bracket(figure(low), figure(high))}" for value, low, high in ends]
        error = "" if row["standard_error"] is None else f" ± {figure(row['standard_error'])}"
        value = figure(row["value"]) + error
        say("  %-28s %17s  %-27s %-27s %7s", row["title"], value, *figures, times(row["ratio"]))
    for item in results["not_measured"]:
        say("  %-28s not measured: %s", item["name"], item["why"])
    say("protocol %s.  Ratio up to 1: within what real images score.", results["protocol_id"])
    for warning in warnings(results["metrics"], results["copies"], results["n"], results["warnings"]):
        say("%s", warning)
    for question, answer in results["verdicts"].items():
        say("%s: %s. %s", question, answer["answer"], answer["text"])
    say("%s", NOTICE)


def log_side_by_side(rows: Sequence[Mapping[str, Any]], protocol_id: str) -> None:
    """Print evaluations of one protocol, from `protocol.compare`, side by side."""
    for number, row in enumerate(rows, start=1):
        say("(%d) %s in %s", number, row["fake"].get("source", ""), row["run"])
    names = list(rows[0]["metrics"])
    width = max(map(len, names), default=6)
    say("%s", "  ".join([f"{'':<{width}}", *(f"{f'({number})':<22}" for number in range(1, len(rows) + 1))]))
    for name in names:
        cells = []
        for row in rows:
            found = row["metrics"][name]
            text = "-" if found is None else f"{figure(found['value'])}  (ratio {times(found['ratio'])})"
            cells.append(f"{text:<22}")
        say("%s", "  ".join([f"{name:<{width}}", *cells]))
    say("one protocol: %s.  %s", protocol_id, NOTICE)
