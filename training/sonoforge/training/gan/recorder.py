"""Record a training run: statistics, samples, checkpoints, results, log."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tensorboard.compat.proto.summary_pb2 import Summary
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from sonoforge.runtime.atomic import write_bytes, write_json, write_text
from sonoforge.runtime.cli.progress import progress_bar, quiet
from sonoforge.runtime.errors import GateError
from sonoforge.runtime.images.synthetic import split_masks
from sonoforge.training import run_folder
from sonoforge.training.data.pixels import Pixels, colour_structures, encode_png, grid_picture, to_pixels, write_grid
from sonoforge.training.data.selection import evenly_spaced
from sonoforge.training.evaluation import COLLAPSE_FRACTION
from sonoforge.training.gan import checkpoint as gan_checkpoint
from sonoforge.training.gan import ticks
from sonoforge.training.gan.curves import OVER_TIME, PICTURE, write_curves, write_over_time
from sonoforge.training.gan.state import TrainingState
from sonoforge.training.gan.training import Training

log = logging.getLogger(__name__)

SAVE_SECONDS = 300  # longest time without a checkpoint between two ticks
LOG_SECONDS = 30  # between two log lines on the progress

Row = dict[str, Any]


class Recorder(contextlib.ExitStack):
    """The records of one training run; enter it around the loop.

    It writes to the folder: ``stats.jsonl`` (one object per tick), ``samples/`` (a grid of the same 64 latents per
    tick, ``latest.png``, and ``real.png``; with masks ``latest_mask.png``), ``images.json`` (the content hash of each
    image file), ``tensorboard/``, ``checkpoints/``, and at the end ``samples-over-time.png``, ``results.json`` and,
    with metrics, ``metrics.png``.
    """

    def __init__(
        self,
        folder: Path,
        training: Training,
        state: TrainingState,
        newest: Path | None,
        *,
        show_progress: bool,
    ) -> None:
        """Read an earlier run's records, and prepare the samples' references."""
        super().__init__()
        self._folder, self._training, self._state = folder, training, state
        self._start = 0
        if newest is not None:
            self._start = gan_checkpoint.describe(newest).step
            log.info("continuing from %s", newest)
        self._checkpoints = folder / "checkpoints"
        self._checkpoint = newest or self._checkpoints
        # The rows of a shorter training run had other shares.
        self._rows = [{**row, "share": self._share(row["step"])} for row in ticks.read_stats(folder, self._start)]
        self._show_progress = show_progress
        gan_checkpoint.remove_old(self._checkpoints, training.milestones)  # left by a killed run
        (folder / run_folder.RESULTS).unlink(missing_ok=True)  # of a shorter training
        write_text(folder / "stats.jsonl", "".join(json.dumps(row) + "\n" for row in self._rows))
        settings, images = training.settings, training.originals
        if images.sources:
            write_json(folder / gan_checkpoint.SOURCES, images.sources)
        spread = evenly_spaced(len(images), ticks.GRID)
        write_grid(images.pixels[spread, ..., : images.image_channels], folder / "samples" / "real.png")
        compared = images if training.conditional else dataclasses.replace(images, labels=None)
        self._reference = ticks.make_reference(compared, state.average, settings.seed)
        self._metric_reference: ticks.MetricReference | None = None
        if settings.metrics and training.pretrained.space is not None:
            self._metric_reference = ticks.make_metric_reference(
                settings.metrics, training.pretrained.space, compared, training.held_out, state.average, settings.seed
            )
            _log_metrics(self._metric_reference)
        self._peak = max((row["diversity"] for row in self._rows), default=0.0)
        self._collapsed = bool(self._rows) and bool(self._rows[-1]["collapsed"])
        self._totals: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._tick_start = self._start
        self._began = self._tick_began = self._saved_at = time.monotonic()
        self._logged_at = -math.inf

    def __enter__(self) -> Recorder:
        settings, steps = self._training.settings, self._training.plan.steps
        title = f"{settings.recipe} {settings.class_name}"
        self._advance = self.enter_context(progress_bar(title, steps, self._start, show=self._show_progress))
        # Later events of a killed run are hidden.
        events = SummaryWriter(str(self._folder / "tensorboard"), purge_step=self._start)
        self._events = self.enter_context(contextlib.closing(events))
        return self

    def add(self, done: int, scalars: Mapping[str, Tensor], *, interrupted: bool) -> None:
        """Record one step; at the end of a tick, and on an interruption, measure, write and save.

        Raises:
            GateError: A loss or a weight is no longer finite.
        """
        for name, value in scalars.items():
            self._totals[name] = self._totals[name] + value if name in self._totals else value
            self._counts[name] = self._counts.get(name, 0) + 1
        self._advance(done, None)
        if done % self._training.plan.tick_steps == 0 or done == self._training.plan.steps or interrupted:
            self._tick(done, interrupted=interrupted)
        elif time.monotonic() - self._saved_at > SAVE_SECONDS:
            self._save(done, {})

    def _tick(self, done: int, *, interrupted: bool) -> None:
        training, state = self._training, self._state
        last = interrupted or done == training.plan.steps
        seconds = (time.monotonic() - self._tick_began) / (done - self._tick_start)
        means = torch.stack([total / self._counts[name] for name, total in self._totals.items()])
        scalars = dict(zip(self._totals, means.tolist(), strict=True))
        if not all(map(math.isfinite, scalars.values())):
            raise self._not_finite("loss", done)
        samples, figures = ticks.measure(state.average, self._reference, state.image_channels)
        if self._metric_reference is not None:
            figures |= ticks.measure_metrics(state.average, self._metric_reference, state.image_channels)
        row = self._row(done, seconds, scalars, figures)
        self._rows.append(row)
        self._write(row, to_pixels(samples))
        self._save(done, figures)
        if "kid" in figures and self._checkpoint == gan_checkpoint.best_checkpoint(self._checkpoints):
            log.info(
                "step %d: best so far, KID %.4f (standard error %.4f) against %d %s images",
                done, figures["kid"], figures["kid_standard_error"], figures["metric_real"],
                figures["metric_reference"],
            )  # fmt: skip
        summary = _summary(row)
        if self._show_progress and sys.stderr.isatty() and not quiet():  # elsewhere the line below says more
            self._advance(done, summary)
        self._follow_collapse(done, figures["diversity"])
        if time.monotonic() - self._logged_at > LOG_SECONDS or last:
            log.info(
                "step %d/%d: %s, %.3g images/s, %.3f s/step, %.0f s left",
                done, training.plan.steps, summary, row["images_per_second"], seconds,
                (training.plan.steps - done) * seconds,
            )  # fmt: skip
            self._logged_at = time.monotonic()
        self._totals, self._counts, self._tick_start = {}, {}, done
        self._tick_began = time.monotonic()

    def _row(self, done: int, seconds: float, scalars: Mapping[str, float], figures: Mapping[str, Any]) -> Row:
        state, images = self._state, self._training.images_per_step
        judged = done > ticks.COLLAPSE_GRACE * self._training.plan.steps
        return {
            "step": done,
            "share": self._share(done),
            "images": done * images,
            "kimg": done * images / 1000,
            "epoch": round(done * images / len(self._training.images), 3),
            **scalars,
            **{f"{name}_gradient": ticks.gradient_norm(state.of(name)[0]) for name in self._training.learning},
            **{name: float(value) for values in state.carried.values() for name, value in values.items()},
            **figures,
            "collapsed": judged and figures["diversity"] < COLLAPSE_FRACTION,
            "seconds_per_step": seconds,
            "seconds_per_kimg": seconds / images * 1000,
            "images_per_second": images / seconds,
            "memory_gib": ticks.memory_gib(state.device),
            "elapsed_seconds": time.monotonic() - self._began,
        }

    def _share(self, step: int) -> float:
        return round(step / self._training.plan.steps, 5)

    def _write(self, row: Row, samples: Pixels) -> None:
        """Write statistics and samples before the checkpoint: after a kill between the two, the tick repeats."""
        with (self._folder / "stats.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
        grid, masks = split_masks(samples, self._state.image_channels)
        for kind, pictures in (("", grid), ("_mask", None if masks is None else colour_structures(masks))):
            if pictures is not None:
                names = (f"step-{row['step']:08d}{kind}.png", f"latest{kind}.png")
                content = encode_png(grid_picture(pictures))
                for name in names:
                    write_bytes(self._folder / "samples" / name, content)
                if not kind:
                    _write_events(self._events, row, content)

    def _save(self, done: int, figures: Mapping[str, Any]) -> None:
        tensors = self._state.tensors()
        for stem, own in tensors.items():
            if not all(bool(value.isfinite().all()) for value in own.values()):
                raise self._not_finite(f"{stem} weights", done)
        measured: dict[str, Any] = {name: figures.get(name) for name in ("distance", "kid", "diversity")}
        description = dataclasses.replace(self._training.description, step=done, **measured)
        self._checkpoint = gan_checkpoint.save_checkpoint(self._checkpoints, description, tensors)
        gan_checkpoint.remove_old(self._checkpoints, self._training.milestones)
        self._saved_at = time.monotonic()

    def _not_finite(self, what: str, step: int) -> GateError:
        found = gan_checkpoint.list_checkpoints(self._checkpoints)
        kept = f"the last good checkpoint is {found[-1]}" if found else "there is no checkpoint yet"
        log.warning("training stopped: %s not finite by step %d", what, step)
        return GateError(
            f"{self._folder}: {what} not finite by step {step}; {kept}; start again with a lower learning rate"
        )

    def _follow_collapse(self, done: int, diversity: float) -> None:
        """Log when the samples collapse, and when they recover."""
        self._peak = max(self._peak, diversity)
        before, self._collapsed = self._collapsed, self._rows[-1]["collapsed"]
        if self._collapsed and not before:
            log.warning(
                "%s: collapse at step %d: the samples' diversity is %.2f of the real images' (limit %.2f), %s",
                self._folder, done, diversity, COLLAPSE_FRACTION,
                f"after {self._peak:.2f}; try a lower learning rate, for example a fifth"
                if self._peak >= COLLAPSE_FRACTION
                else "and was never higher: the training is too short, or its learning rate too high",
            )  # fmt: skip
        elif before and not self._collapsed:
            log.info("%s: diversity is back at %.2f at step %d", self._folder, diversity, done)

    def finish(self, *, interrupted: bool) -> Path:
        """Write the curves and, unless the training will be continued, the results; return the newest checkpoint."""
        best = gan_checkpoint.best_checkpoint(self._checkpoints)
        about = gan_checkpoint.describe(best) if best else None
        if self._metric_reference is not None:
            write_curves(self._folder / PICTURE, self._rows, about.step if about else None)
        if self._rows:
            side = self._training.originals.pixels.shape[1]
            write_over_time(self._folder / OVER_TIME, self._folder / "samples", self._rows, side)
        if not interrupted:
            run_folder.write_results(self._folder, self._results(about))
        return self._checkpoint

    def _results(self, best: gan_checkpoint.Description | None) -> dict[str, Any]:
        training, rows = self._training, self._rows
        criterion = gan_checkpoint.criterion(training.description.settings)
        return {
            "checkpoint": f"checkpoints/{self._checkpoint.name}",
            "settings": training.pretrained.record(training.settings),
            "composition": dataclasses.asdict(training.recipe),
            "plan": training.plan._asdict(),
            "images": len(training.images),
            "channels": training.images.pixels.shape[3],
            "classes": training.description.classes,
            "data_fingerprint": training.images.fingerprint,
            "features": training.pretrained.features.name if training.pretrained.features else "",
            "metric_reference": self._metric_reference.kind if self._metric_reference else None,
            "held_out": len(training.held_out) if training.held_out else 0,
            "best_by": criterion,
            "best_checkpoint": f"checkpoints/step-{best.step:08d}" if best else None,
            "best_step": best.step if best else None,
            "best_kid": best.kid if best else None,
            "vetoed_steps": [row["step"] for row in rows if criterion in row and row["diversity"] < COLLAPSE_FRACTION],
            "last_tick": rows[-1] if rows else None,
            "collapsed": self._collapsed,
            "ticks_collapsed": sum(bool(row["collapsed"]) for row in rows),
        }


def _log_metrics(reference: ticks.MetricReference) -> None:
    copies = ", so that copies of them would score best (see held_out)" if reference.kind == "training" else ""
    log.info(
        "%s in the feature space %s: %d generated images against %d %s images%s",
        " and ".join(name.upper() for name in reference.metrics), reference.space.name, len(reference.latents),
        len(reference.embedded), reference.kind, copies,
    )  # fmt: skip


def _summary(row: Row) -> str:
    parts = [
        f"{row['kimg']:.1f} kimg",
        f"D {row['discriminator_loss']:.2f} G {row['generator_loss']:.2f}"
        if "discriminator_loss" in row
        else f"loss {row['generator_loss']:.3f}",
        f"diversity {row['diversity']:.2f} distance {row['distance']:.3f}",
    ]
    parts += [f"{name} {row[name]:.3g}" for name in ("kid", "strength", "k", "convergence") if name in row]
    return " ".join(parts)


def _write_events(writer: SummaryWriter, row: Row, samples: bytes) -> None:
    """Write one tick for TensorBoard: every number of its row, and its grid of samples, a PNG."""
    step = int(row["step"])
    for name, value in row.items():
        if name != "step" and isinstance(value, int | float):
            writer.add_scalar(name, float(value), step)
    # `add_image` would encode the picture once more, slowly.
    image = Summary.Image(encoded_image_string=samples)
    writer._get_file_writer().add_summary(Summary(value=[Summary.Value(tag="samples", image=image)]), step)
    writer.flush()
