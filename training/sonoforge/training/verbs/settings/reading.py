"""The settings of ``sonoforge reading``, which ``--help`` lists without torch."""

from __future__ import annotations

from dataclasses import dataclass

from sonoforge.runtime.cli.options import argument, runs_folder

EXAMPLES = """
sonoforge evaluate BUSI/ runs/00000-gan-dcgan-thesis-busi-malignant --reading-sheet 30
sonoforge reading runs/00001-reading-sheet answers-*.json
sonoforge reading runs/00001-reading-sheet answers/ --json

SHEET: the folder with the page and its key.  ANSWERS: the files that readers saved from the page, or folders of them.
"""


@dataclass(frozen=True)
class Config:
    """Settings of ``sonoforge reading``."""

    sheet: str = argument("", help="folder made by sonoforge evaluate --reading-sheet")
    answers: tuple[str, ...] = argument((), help="files of answers, one for each reader, or folders of them")
    out: str = runs_folder()
