"""``sonoforge export``: a run folder's model becomes a bundle, if it passes the parity gate."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from sonoforge.export.bundle_writer import write_bundle
from sonoforge.export.model_folder import load_model
from sonoforge.runtime.commandline import Outcome, option
from sonoforge.runtime.errors import SonoforgeError

log = logging.getLogger(__name__)

EXAMPLES = """
sonoforge export runs/00003-run-BUSI
sonoforge export runs/00003-run-BUSI --out my_bundle
"""


@dataclass(frozen=True)
class Config:
    """Settings of ``export``."""

    run: str = option(help="run folder of sonoforge run or train", positional=True)
    out: str = option("", help="folder of the bundle (default: RUN/bundle)")


def main(config: Config) -> Outcome:
    """Export the model of a run folder."""
    run = Path(config.run)
    if not run.is_dir():
        raise SonoforgeError(f"{run}: no such run folder; sonoforge run and sonoforge train make one")
    members, record, arrays = load_model(run / "model")
    folder = Path(config.out) if config.out else run / "bundle"
    manifest = write_bundle(members, record, arrays, folder)
    parity = manifest["parity"]
    log.info(
        "%s: parity %.1e in logits, %d of %d labels equal, %.1f MB",
        *(folder, parity["max_abs"]["logits"], parity["labels_equal"], parity["count"]),
        sum(entry["bytes"] for entry in manifest["files"].values()) / 1e6,
    )
    return Outcome({"bundle": str(folder), "parity": parity}, f"sonoforge verify {folder}")
