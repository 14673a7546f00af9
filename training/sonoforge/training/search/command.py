"""The command that trains anew with a trial's settings."""

from __future__ import annotations

import dataclasses
import shlex

from sonoforge.training.gan.options import GanSettings

# Of each trial, set by the search itself, or of no use in one training.
_NOT_IN_COMMANDS = {"metrics", "every", "tick_steps", "stop_after", "seed", "held_out", "keep"}


def train_command(data: str, settings: GanSettings) -> str:
    """Return the ``gan train`` that trains with these settings anew.

    Args:
        data: Flags of the data.
        settings: Of a trial.
    """
    words = [f"sonoforge gan train {data}"]
    for field in dataclasses.fields(GanSettings):
        value = getattr(settings, field.name)
        if field.name in _NOT_IN_COMMANDS or (value == field.default and field.name != "recipe"):
            continue
        flag = "--" + field.name.replace("_", "-")
        words.append(flag if value is True else f"{flag} {shlex.quote(format_value(value))}")
    return " ".join(words)


def format_value(value: object) -> str:
    """Print a setting as it is typed."""
    return f"{value:g}" if isinstance(value, float) else str(value)
