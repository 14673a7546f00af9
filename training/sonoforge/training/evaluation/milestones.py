"""A training's figures at milestones: shares of its length, whose checkpoints are kept and measured.

Ryspayeva and Salykova 2025 measure StyleGAN2 and StyleGAN3 after 100, 500 and 1000 epochs: shares 0.1, 0.5 and 1.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

from sonoforge.runtime.atomic import write_json
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.evaluation.image_set import ImageSet
from sonoforge.training.evaluation.measure import EvaluationProtocol, measure_sets
from sonoforge.training.evaluation.own_images import generated_set
from sonoforge.training.evaluation.projections import pca_projection
from sonoforge.training.evaluation.protocol import Protocol, protocol_id
from sonoforge.training.evaluation.results import MetricRow, Unmeasured


class Milestone(TypedDict):
    """What ``milestone-STEP.json`` holds of one checkpoint; points are of `projections.pca_projection`."""

    protocol: Protocol
    protocol_id: str
    metrics: list[MetricRow]
    not_measured: list[Unmeasured]
    pca: dict[str, Any]  # `real` and `fake`, (N, 2) points each; `explained`, (2,) shares; `protocol`, in words


def milestone_steps(shares: Sequence[float], steps: int) -> tuple[int, ...]:
    """Return the step at each of these ascending shares of a training, 0 (excluded) to 1.

    Raises:
        SonoforgeError: Two milestones fall on one step.
    """
    found = tuple(max(1, round(share * steps)) for share in shares)
    if len(set(found)) < len(found):
        raise SonoforgeError(
            f"--milestones: found {len(found)} shares of a training of {steps} steps, expected a step for each; give "
            "fewer, or train longer"
        )
    return found


def measure_milestone(
    checkpoint: Path, real: ImageSet, evaluation: EvaluationProtocol, count: int, device: str
) -> Milestone:
    """Measure what a kept checkpoint generates, or read what was measured under this protocol before.

    Args:
        checkpoint: ``RUN/checkpoints/step-STEP``; the figures are kept as ``RUN/milestone-STEP.json``.
        real: See `own_images.real_set`.
        evaluation: What to measure with.
        count: Number of images to generate.
        device: For the generator.
    """
    path = checkpoint.parent.parent / f"milestone-{checkpoint.name.removeprefix('step-')}.json"
    protocol = evaluation.describe(real, count)
    if path.is_file():
        kept: Milestone = json.loads(path.read_text(encoding="utf-8"))
        if kept["protocol_id"] == protocol_id(protocol):
            return kept
    fake = generated_set(checkpoint, real, count, evaluation.seed, device)
    rows, not_measured, _ = measure_sets(evaluation, real, fake)
    projected = pca_projection(real.pixels, fake.pixels)
    explained = [] if projected.explained is None else projected.explained.tolist()
    points = {"real": projected.real.tolist(), "fake": projected.fake.tolist()}
    measured = Milestone(
        protocol=protocol,
        protocol_id=protocol_id(protocol),
        metrics=rows,
        not_measured=not_measured,
        pca={**points, "explained": explained, "protocol": projected.protocol},
    )
    write_json(path, measured)
    return measured
