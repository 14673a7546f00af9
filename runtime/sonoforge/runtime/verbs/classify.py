"""``sonoforge classify``: classify images, folders and globs, offline."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.inference.loading import LoadingModel

if TYPE_CHECKING:
    from sonoforge.runtime.settings import ClassifyConfig

_FEW_PATHS = 3  # a shell turns a glob into thousands


def main(config: ClassifyConfig) -> Outcome:
    """Classify every file."""
    model = LoadingModel(config.bundle or None, config.file, config.threads)
    from sonoforge.runtime.jobs.classifying import classify  # noqa: PLC0415 - imported while the model is loaded

    answers, complete = classify(config, model)
    return Outcome(answers, _next(config, answers["summary"]["ok"]), 0 if complete else 2)


def _next(config: ClassifyConfig, answered: int) -> str:
    """Return the next step for a person: to look at the answers beside their scans."""
    if not answered or config.anonymous or config.watch or "-" in config.paths or len(config.paths) > _FEW_PATHS:
        return ""
    if config.html:
        return f"open {config.html} in a browser"
    bundle = f" --bundle {shlex.quote(config.bundle)}" if config.bundle else ""
    return f"sonoforge classify {shlex.join(config.paths)}{bundle} --html answers.html"
