"""Resolve a comparison's settings once from its options, the budgets and the data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sonoforge.models import DEFAULT
from sonoforge.runtime.cli.options import flatten
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.training.classifier.backbone import MOBILENET, Network
from sonoforge.training.classifier.settings import ROWS, ClassifierSettings
from sonoforge.training.crossval.arms import find_arm, for_classes, with_shares
from sonoforge.training.crossval.choices import Choosing, check_arms_choose, check_not_given, read_choosing
from sonoforge.training.crossval.options import ComparisonConfig
from sonoforge.training.data.cache import ImageCache
from sonoforge.training.data.data_option import PHANTOM
from sonoforge.training.data.load import ImageSource
from sonoforge.training.data.splits import FOLDS, default_folds
from sonoforge.training.devices import find_device
from sonoforge.training.gan.options import PUBLISHED, GanSettings
from sonoforge.training.gan.settings import compose, fill_budget
from sonoforge.training.gan.start_from import suits_start
from sonoforge.training.gan.training import open_pretrained
from sonoforge.training.statistics.results import LEAVE_ONE_OUT, ONE_SPLIT
from sonoforge.training.workers import check_cluster

if TYPE_CHECKING:  # of Python 3.11
    from typing_extensions import Self

GENERATOR_BUDGETS: dict[str, dict[str, Any]] = {name: row["generator"] for name, row in ROWS.items()}

FROM_START: dict[str, Any] = {"recipe": "flow", "preset": "latent", "start_from": "shipped"}
_DRAWN = ("gan", "shuffled", "untrained")  # how arms fill up with generators' images
# The built-in demonstration ends in minutes and needs no network.
PHANTOM_FOLDS = 5
# At 224 pixels it took twice as long, and answered 95.8 % rightly instead of 95.4, as six epochs do.
PHANTOM_CLASSIFIER = {"epochs": 5, "ensemble_size": 1, "image_size": 160}


@dataclass(frozen=True)
class ComparisonSettings:
    """A comparison as it will run: resolved once from its options, and passed on to every fold."""

    source: ImageSource  # the images, as the classifier sees them
    arms: tuple[str, ...]  # names, see `arms`; the first is the baseline
    protocol: str  # see `splits.make_plan`
    folds: int | None  # None: as many as the protocol has
    seeds: tuple[int, ...]  # the whole comparison is repeated with each; the first is described in full
    budget: str  # name of the budget that the settings come from, for the tables
    weights: str | None  # initial weights, see `initial_weights.choose_weights`
    classifier: ClassifierSettings  # settings shared by the arms
    generator: GanSettings  # settings shared by the generators
    device: str
    jobs: int | None  # parallel folds; None: see `workers.WorkerSettings`
    comparator_weights: tuple[str, ...] = ()  # see `comparators.networks.load_networks`
    cluster: str = ""  # where folds are run, see `workers.WorkerSettings`
    choosing: Choosing | None = None  # settings chosen inside each training fold, see `nested_choice`
    generator_record: Mapping[str, Any] = field(default_factory=dict)  # `Pretrained.record` of the generators
    final_arm: str | None = None  # the arm that a final model is trained with; None: there is no final model
    asked: Mapping[str, Any] = field(default_factory=dict)  # the options with their defaults, for `config.yaml`
    network: Network = MOBILENET
    # What the generators would be if a shipped one suits the images to start from; None: the user chose a recipe.
    started: GanSettings | None = None

    @property
    def fine_tuned(self) -> bool:
        """Whether any arm starts from the initial weights; comparators bring their own."""
        return not all(find_arm(arm).comparator for arm in self.arms)

    def for_images(self, cache: ImageCache) -> Self:
        """Return the settings with the arms that suit the class sizes, see `arms.for_classes`."""
        arms = for_classes("--arms", self.arms, cache.dataset.classes, cache.class_counts)
        own = dataclasses.replace(self, arms=arms, started=None)
        if self.started and any(find_arm(arm).fill in _DRAWN for arm in arms) and suits_start(cache):
            record = open_pretrained(self.started, self.device).record(self.started)
            own = dataclasses.replace(own, generator=self.started, generator_record=record)
        if self.final_arm is None:
            return own
        final = arms[self.arms.index(self.final_arm)]
        return dataclasses.replace(own, final_arm=final, asked={**self.asked, "final_arm": final})


def resolve(config: ComparisonConfig) -> ComparisonSettings:
    """Resolve the options of a comparison, refusing here everything that can be refused without images."""
    choosing = _resolve_choosing(config)
    arms = with_shares(config.arms, config.real_shares)
    if not arms or len(set(arms)) != len(arms):
        raise SonoforgeError(f"--arms: {','.join(arms) or 'nothing'}: give each arm once")
    if choosing:
        check_arms_choose(choosing, arms)
    config = _fill_defaults(dataclasses.replace(config, classifier=config.classifier.with_budget(config.protocol)))
    _check_protocol(config, arms)
    check_cluster(config.cluster, config.device)
    find_device(config.device)
    classifier = config.classifier.settings()
    for value in dict(choosing.grid).get("frozen_blocks", ()) if choosing else ():
        config.classifier.check_frozen(value, classifier)
    generator, started = _resolve_generator(config)
    return ComparisonSettings(
        source=ImageSource(
            config.data,
            config.images,
            config.seed,
            config.storage.open(),
            classifier.preprocessing,
            groups_from=config.groups_from,
        ),
        arms=arms,
        protocol=config.protocol,
        folds=config.folds,
        seeds=tuple(range(config.seed, config.seed + config.seeds)),
        budget=config.classifier.budget,
        weights=config.classifier.weights,
        classifier=classifier,
        generator=generator,
        started=started,
        device=config.device,
        jobs=config.jobs,
        cluster=config.cluster,
        comparator_weights=config.comparator_weights,
        choosing=choosing,
        generator_record=open_pretrained(generator, config.device).record(generator),
        asked=flatten(config),
        network=config.classifier.network(classifier),
    )


def _resolve_choosing(config: ComparisonConfig) -> Choosing | None:
    choosing = read_choosing(config.choose, config.inner_folds)
    if choosing:
        check_not_given(choosing, config.classifier)
    if choosing and config.protocol != "sealed":
        raise SonoforgeError(
            f"choose: requires --protocol sealed, not {config.protocol}, because training folds are divided again by "
            "group"
        )
    return choosing


def _fill_defaults(config: ComparisonConfig) -> ComparisonConfig:
    """Fill in defaults that depend on the data; the budget fills in the rest."""
    phantom, quick = config.data == PHANTOM, config.classifier.budget == "quick"
    own: dict[str, Any] = {"weights": "shipped"} if phantom and config.classifier.backbone == DEFAULT else {}
    own |= PHANTOM_CLASSIFIER if phantom and quick else {}
    missing = {key: value for key, value in own.items() if getattr(config.classifier, key) is None}
    classifier = dataclasses.replace(config.classifier, **missing)
    folds = config.folds or default_folds(config.protocol, PHANTOM_FOLDS if phantom else FOLDS)
    return dataclasses.replace(config, folds=folds, classifier=classifier)


def _check_protocol(config: ComparisonConfig, arms: Sequence[str]) -> None:
    """Refuse shares of the real images, and numbers of folds, that the protocol does not allow."""
    if config.protocol != "sealed" and any(find_arm(name).real_share != 1 for name in arms):
        raise SonoforgeError(
            f"--protocol {config.protocol}: shares of the real images require sealed; leave crossval.real_shares out"
        )
    if config.folds and config.protocol == LEAVE_ONE_OUT:
        raise SonoforgeError(
            f"--folds: --protocol {LEAVE_ONE_OUT} has one fold per collection, not {config.folds}; leave it out"
        )
    if config.folds and (config.folds == 1) != (config.protocol in ONE_SPLIT):
        raise SonoforgeError(
            f"--folds: {config.folds} does not suit --protocol {config.protocol}: {' and '.join(ONE_SPLIT)} have 1, "
            "sealed and thesis at least 2; leave it out, or repeat a split with --seeds"
        )


def _resolve_generator(config: ComparisonConfig) -> tuple[GanSettings, GanSettings | None]:
    """Fill in the budget, where a given duration replaces the budget's; see `ComparisonSettings.started`."""
    asked, name = config.generator, config.classifier.budget
    budget, chosen = GENERATOR_BUDGETS[name], asked.recipe or asked.preset != PUBLISHED or asked.start_from
    from_start = {} if chosen else ROWS[name].get("from_start", {})
    started = fill_budget(dataclasses.replace(asked, **FROM_START), from_start) if from_start else None
    generator = dataclasses.replace(asked, recipe=asked.recipe or GanSettings.recipe)
    left_out = {"batch"} if generator.preset != PUBLISHED else {}  # a preset has learning rates for its own batch
    generator = fill_budget(generator, {key: value for key, value in budget.items() if key not in left_out})
    # The budget's own recipe has its published channels, unless others were given.
    if generator.recipe == budget.get("recipe") and generator.channels == GanSettings().channels:
        generator = dataclasses.replace(generator, channels=budget["channels"])
    return _sized(generator), started and _sized(started)


def _sized(generator: GanSettings) -> GanSettings:
    return fill_budget(generator, {"image_size": compose(generator).image_size})
