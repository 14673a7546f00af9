"""What two sets are measured with, and one measurement: `evaluate` and `gan sweep` share it, and so their protocol."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.evaluation.image_set import ImageSet
from sonoforge.training.evaluation.measure import matched_size, measure_all
from sonoforge.training.evaluation.protocol import Draws, Protocol, make_protocol
from sonoforge.training.evaluation.results import MetricRow, Unmeasured
from sonoforge.training.evaluation.tasks import EmbeddedSets, list_tasks, metric_settings
from sonoforge.training.metrics.feature_cache import embed_cached
from sonoforge.training.metrics.lpips import Lpips
from sonoforge.training.metrics.spaces import Space, open_space
from sonoforge.training.progress import is_shown, progress_bar

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Yardstick:
    """What sets are measured with."""

    metrics: tuple[str, ...]  # any of `metric_names.METRICS`; the copy test is not taken here
    spaces: Sequence[Space]
    lpips: Lpips | None
    repeats: int  # halves for floors and intervals
    seed: int  # of all draws
    cache_folder: Path | None  # of embeddings; see `feature_cache.embed_cached`

    def protocol(self, real: ImageSet, fakes: int) -> Protocol:
        """Return what figures of this many generated images against these real ones depend on.

        Raises:
            SonoforgeError: Too few images for two halves.
        """
        draws = Draws(matched_size(real.groups, fakes, self.repeats, self.seed), self.repeats, self.seed)
        return make_protocol(real, fakes, self.spaces, draws, metric_settings(self.lpips))


class Measurement(NamedTuple):
    """The figures of one generated set."""

    rows: list[MetricRow]
    not_measured: list[Unmeasured]
    embedded: list[EmbeddedSets]  # both sets in each space, in the yardstick's order


def measure_sets(yardstick: Yardstick, real: ImageSet, fake: ImageSet) -> Measurement:
    """Embed both sets in every space and take every figure, with its floor; progress bars show how far it is."""
    embedded = [_embed(space, real, fake, yardstick.cache_folder) for space in yardstick.spaces]
    tasks, unavailable = list_tasks(yardstick.metrics, real, fake, embedded, yardstick.lpips, yardstick.seed)
    rows, failed = measure_all(tasks, yardstick.repeats, yardstick.seed)
    return Measurement(rows, [*unavailable, *failed], embedded)


def _embed(space: Space, real: ImageSet, fake: ImageSet, cache: Path | None) -> EmbeddedSets:
    log.info("features: %s", space.name)
    with progress_bar("embedding", len(real) + len(fake), show=is_shown()) as advance:
        first = embed_cached(space, real.pixels, cache, advance)
        second = embed_cached(space, fake.pixels, cache, lambda done, state: advance(len(real) + done, state))
    return EmbeddedSets(space.short_name, first, second)


def open_spaces(
    choices: Sequence[str], weights: str, device: str, flags: tuple[str, str] = ("--features", "--weights")
) -> list[Space]:
    """Open feature spaces; the weights file belongs to the one that takes it.

    Args:
        choices: Of `spaces.CHOICES`.
        weights: File of the one network among them; empty for downloads.
        device: Of torch networks.
        flags: The two options, for messages.

    Raises:
        SonoforgeError: No space, or a weights file for none or several of them; or what `open_space` raises.
    """
    takers = [choice for choice in choices if choice.partition(":")[0] not in ("bundle", "pixels")]
    if not choices or len(set(choices)) != len(choices):
        raise SonoforgeError(f"{flags[0]}: found {','.join(choices) or 'nothing'}, expected different feature spaces")
    if weights and not takers:
        raise SonoforgeError(
            f"{flags[1]}: found {weights}, but no feature space among {','.join(choices)} takes weights; leave it out"
        )
    if weights and len(takers) > 1:
        raise SonoforgeError(
            f"{flags[1]}: found {len(takers)} feature spaces that take weights, expected one; measure each separately"
        )
    return [open_space(choice, weights if choice in takers and weights else None, device) for choice in choices]
