"""Do everything from Python: images, sealed folds, generators, comparisons, bundles.

    from sonoforge.api import Classifier, compare, export, load_images, train_gan

    data = load_images("BUSI/")
    gan = train_gan(data, "projected", class_name="malignant", minutes=5)
    result = compare(data, arms=["real", "gan"])
    print(result.verdict)
    print(Classifier(export(result, arm="real")).classify("scan.png").verdict.heading)

The commands call the same functions.  ``settings`` takes the keys that ``sonoforge settings`` lists, as ``--set`` does:
``{"classifier.epochs": 3, "gan.steps": 200, "out": "runs"}``.  Research use, not a medical device.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from markupsafe import escape
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from sonoforge.export.jobs import export_run
from sonoforge.export.settings import ExportConfig
from sonoforge.runtime import Classifier, Generator
from sonoforge.runtime.cli.options import resolve_config
from sonoforge.runtime.errors import SonoforgeError, require
from sonoforge.runtime.images.preprocessing import IMAGENET
from sonoforge.training.classifier.network import to_tensor
from sonoforge.training.classifier.trained_network import load_network
from sonoforge.training.crossval.evidence import read_answers
from sonoforge.training.data.audit import audit
from sonoforge.training.data.cache import CacheSettings, ImageCache
from sonoforge.training.data.data_option import PHANTOM
from sonoforge.training.data.load import ImageSource
from sonoforge.training.data.load import load_images as open_images
from sonoforge.training.data.second_opinion import find_second_views
from sonoforge.training.data.split_plan import SplitPlan
from sonoforge.training.data.splits import FOLDS, make_plan, scan_groups
from sonoforge.training.gan.generator import GeneratedImages
from sonoforge.training.jobs import comparing, generators
from sonoforge.training.reports.audit import audit_page
from sonoforge.training.reports.blocks import Page
from sonoforge.training.reports.run.page import comparison_page, judged
from sonoforge.training.reports.run.whole_run import WholeRun, read_run
from sonoforge.training.settings.crossval import CrossvalConfig
from sonoforge.training.settings.gan import GanTrainConfig
from sonoforge.training.statistics.predictions import ANSWERS
from sonoforge.training.statistics.tables import evaluate
from sonoforge.training.statistics.verdict import Verdict

if TYPE_CHECKING:
    import pandas

__all__ = [
    "Classifier",
    "Comparison",
    "GeneratedImages",
    "Generator",
    "Images",
    "SealedFolds",
    "TrainedGan",
    "compare",
    "export",
    "figures",
    "load_images",
    "load_network",
    "sealed_folds",
    "train_gan",
]

Settings = Mapping[str, object]  # by the keys of ``sonoforge settings``
_Indices = NDArray[np.int64]

_Config = TypeVar("_Config")
_FIGURES, _ENDS = ("accuracy", "balanced_accuracy", "macro_auc"), ("value", "low", "high")


class Images(Dataset[tuple[Tensor, int]]):
    """The images of a data set, decoded, in a fixed order; N of them in C classes.

    A PyTorch ``Dataset``: item i is the pair of a float32 tensor (3, S, S), normalised by ImageNet's mean and standard
    deviation, and its label.  `load_images` opens one.
    """

    def __init__(self, cache: ImageCache, source: ImageSource) -> None:
        self.cache, self.source = cache, source

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        (tensor,) = to_tensor(self.pixels[[index]], torch.device("cpu"))
        return tensor, int(self.labels[index])

    def __repr__(self) -> str:
        counts = ", ".join(f"{name} {count}" for name, count in self.counts.items())
        name = "phantom" if self.source.data == PHANTOM else self.cache.dataset.name
        return f"<Images of {name}: {len(self)} ({counts}) in {len(np.unique(self.groups))} groups>"

    @property
    def classes(self) -> tuple[str, ...]:
        """The C class names."""
        return self.cache.dataset.classes

    @property
    def counts(self) -> dict[str, int]:
        """Number of images of each class."""
        return dict(zip(self.classes, self.cache.class_counts, strict=True))

    @property
    def files(self) -> tuple[str, ...]:
        """(N,) paths, relative to the folder."""
        return tuple(item.path for item in self.cache.dataset.items)

    @functools.cached_property
    def labels(self) -> NDArray[np.int64]:
        """(N,) indices into `classes`."""
        return self.cache.dataset.labels

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """(N, S, S, 3) RGB, a read-only memory map."""
        return self.cache.images

    @functools.cached_property
    def groups(self) -> NDArray[np.int64]:
        """(N,) equal for images of one patient, where known, and for near-duplicates."""
        return scan_groups(self.cache)

    def audit(self) -> Audit:
        """Describe the set, as ``sonoforge data audit`` does; a notebook shows the page with its pictures."""
        return Audit(audit(self.cache), self.cache)

    def frame(self) -> pandas.DataFrame:
        """Return a data frame of N rows: ``file``, ``label`` (class name), ``group``, ``device``."""
        names = [self.classes[label] for label in self.labels]
        devices = self.cache.dataset.devices or [""] * len(self)
        return _pandas().DataFrame({"file": self.files, "label": names, "group": self.groups, "device": devices})


class Audit(dict[str, Any]):
    """What `audit` found, by the keys of ``sonoforge data audit --json``."""

    def __init__(self, found: Mapping[str, Any], cache: ImageCache) -> None:
        super().__init__(found)
        self._cache = cache

    def _repr_html_(self) -> str:
        return _framed(audit_page(self, self._cache))


class SealedFolds:
    """Folds in which no image has a near-duplicate, or another image of its group, on the other side.

    Usable as ``cv`` in scikit-learn; the same folds as ``sonoforge crossval`` with the same seed.
    """

    def __init__(self, plan: SplitPlan) -> None:
        self.plan = plan

    def split(self, X: object = None, y: object = None, groups: object = None) -> Iterator[tuple[_Indices, _Indices]]:
        """Yield the indices of each fold's training and test images; ``X`` holds as many rows as there are images.

        Raises:
            SonoforgeError: ``X`` has another number of rows, so the folds are not of these images.
        """
        if X is not None and len(X) != len(self.plan.files):  # type: ignore[arg-type]
            raise SonoforgeError(f"X: has {len(X)} rows, but the folds are of {len(self.plan.files)} images")  # type: ignore[arg-type]
        for fold in range(self.plan.folds):
            yield self.plan.train(fold), self.plan.test(fold)

    def get_n_splits(self, X: object = None, y: object = None, groups: object = None) -> int:
        """Return the number of folds."""
        return self.plan.folds

    def __repr__(self) -> str:
        sizes = ", ".join(str(len(self.plan.test(fold))) for fold in range(self.plan.folds))
        return f"<SealedFolds: {self.plan.folds} folds of {len(set(self.plan.groups))} groups; images: {sizes}>"


class TrainedGan:
    """A generator in its run folder; `train_gan` makes one."""

    def __init__(self, run: generators.GeneratorRun) -> None:
        self.folder, self.finished, self.results = run.folder, run.finished, run.results
        self.checkpoint = run.best or run.checkpoint

    def __fspath__(self) -> str:
        return str(self.checkpoint or self.folder)  # for `GeneratedImages`

    def __repr__(self) -> str:
        return f"<TrainedGan in {self.folder}{'' if self.finished else ', unfinished: train on with resume=True'}>"

    def _repr_png_(self) -> bytes | None:
        grids = sorted((self.folder / "samples").glob("*.png"))
        return grids[-1].read_bytes() if grids else None


class Comparison:
    """Arms compared on the same sealed folds, in their run folder; `compare` makes one."""

    def __init__(self, compared: comparing.Compared) -> None:
        self._compared = compared
        self.folder, self.results = compared.folder, compared.results

    def __repr__(self) -> str:
        return f"<Comparison of {', '.join(self.results['arms'])} in {self.folder}>"

    def _repr_html_(self) -> str:
        return _framed(comparison_page(self._run))

    @functools.cached_property
    def _run(self) -> WholeRun:
        cache = self._compared.prepared.cache
        return read_run(self.folder, cache, audit(cache), self.results)

    @property
    def verdict(self) -> Verdict | None:
        """Whether the generated images helped, or how the second arm compares with the first; None with one arm."""
        return next(iter(judged(self._run)), None)

    @property
    def predictions(self) -> pandas.DataFrame:
        """The answers: ``file``, ``group``, ``fold``, ``arm``, ``protocol``, ``seed``, ``label``, ``p_CLASS`` each."""
        return _pandas().read_csv(self.folder / ANSWERS)

    @property
    def table(self) -> pandas.DataFrame:
        """Accuracy and macro-AUC of each arm with the ends of their 95 % intervals, as shares."""
        rows = {
            arm: {f"{name} {end}".removesuffix(" value"): own[name][end] for name in _FIGURES for end in _ENDS}
            for arm, own in self.results["arms"].items()
        }
        return _pandas().DataFrame.from_dict(rows, orient="index")


def load_images(
    data: str | Path | Sequence[str | Path] = "phantom",
    *,
    groups_from: str = "",
    size: int = IMAGENET.size,
    images: int = 240,
) -> Images:
    """Open a folder with one folder for each class, a zip or a table; several count as one set.

    Args:
        data: Where the images are; ``phantom`` for simulated ultrasound.
        groups_from: Patients in file names, such as ``{patient}_*``; see ``sonoforge data audit --groups-from``.
        size: Side S in pixels that they are resized to.
        images: Number of simulated images.

    Raises:
        SonoforgeError: The folder does not exist or holds no such images.
    """
    given = [data] if isinstance(data, str | Path) else data
    preprocessing = dataclasses.replace(IMAGENET, size=size)
    source = ImageSource(
        tuple(map(str, given)), images, 0, CacheSettings().open(), preprocessing, groups_from=groups_from
    )
    return Images(open_images(source), source)


def sealed_folds(data: Images, k: int = FOLDS, *, seed: int = 0) -> SealedFolds:
    """Deal the images to k sealed folds, stratified by class, whole groups together.

    Raises:
        SonoforgeError: A class has fewer than k groups.
    """
    together = [(view.first, view.second) for view in find_second_views(data.cache)]
    return SealedFolds(make_plan(data.cache, "sealed", k, seed, together))


def train_gan(
    data: Images,
    recipe: str = "",
    *,
    class_name: str = "",
    minutes: float | None = None,
    resume: bool = False,
    settings: Settings | None = None,
) -> TrainedGan:
    """Train a generator in a new run folder, as ``sonoforge gan train`` does.

    Args:
        data: The images.
        recipe: Name, or a file of your own; with only ``minutes``, one that learns in that time.
        class_name: The class to learn; empty for a conditional generator.
        minutes: About how long; else the recipe's published length, or ``gan.steps`` of the settings.
        resume: Continue the latest run with the same settings.
        settings: Of ``gan train``, such as ``{"gan.image_size": 64, "gan.steps": 500}``.

    Raises:
        SonoforgeError: Settings do not fit together, or the class does not exist.
        GateError: The training diverged.
    """
    own = {"gan.recipe": recipe, "gan.class_name": class_name, "minutes": minutes, "resume": resume}
    return TrainedGan(generators.work(_config(GanTrainConfig, data, {**own, **(settings or {})})))


def compare(
    data: Images,
    arms: Sequence[str] = ("real", "gan"),
    *,
    folds: int | None = None,
    backbone: str = "",
    resume: bool = False,
    settings: Settings | None = None,
) -> Comparison:
    """Train and test each arm on the same sealed folds, as ``sonoforge crossval`` does.

    Args:
        data: The images.
        arms: What to train on, the baseline first: ``real``, ``gan``, ``duplicates``, ...; ``sonoforge settings arms``.
        folds: Number of folds; by default 10, and 5 for simulated images.
        backbone: A network of torchvision or timm, or your own as ``FILE.py:NAME``; by default MobileNetV2.
        resume: Continue the latest run with the same settings.
        settings: Of ``crossval``, such as ``{"budget": "full", "gan.recipe": "projected", "seeds": 3}``.

    Raises:
        SonoforgeError: Something is missing or does not fit; no run folder was made.
        GateError: A training would see its test images, or what looks like one of them.
    """
    own = {
        "arms": list(arms),
        "folds": folds,
        "resume": resume,
        **({"classifier.backbone": backbone} if backbone else {}),
    }
    prepared = comparing.prepare(_config(CrossvalConfig, data, {**own, **(settings or {})}))
    if prepared.cache.fingerprint != data.cache.fingerprint:  # a seed draws other simulated images
        raise SonoforgeError("seed: draws other simulated images than data holds; leave it out, or use a folder")
    return Comparison(comparing.work(prepared))


def export(
    source: Comparison | TrainedGan | str | Path,
    folder: str | Path = "",
    *,
    arm: str = "",
    formats: Sequence[str] = ("onnx",),
    settings: Settings | None = None,
) -> Path:
    """Write a bundle whose files all give the network's answers, as ``sonoforge export`` does; return its folder.

    Args:
        source: A comparison, a generator, the folder of a run, or a bundle.
        folder: Where it goes; by default ``bundle`` in the run folder.
        arm: Of a comparison: the arm to train on all images first; calibrated on the comparison's answers.
        formats: Such as ``onnx-int8`` and ``executorch``; ``all`` for as many as this machine can write.
        settings: Of ``export``, such as ``{"zip": True}``.

    Raises:
        SonoforgeError: The source holds no model, or a comparison came without its arm.
        GateError: The file does not answer as the network does; nothing was written.
    """
    if isinstance(source, Comparison):
        if not arm:
            raise SonoforgeError(f"arm: missing; give one of {', '.join(source.results['arms'])}")
        comparing.train_final_model(source._compared, arm)
    elif arm:
        raise SonoforgeError("arm: only a comparison has arms; leave it out")
    run = source if isinstance(source, str | Path) else source.folder
    given = {"run": str(run), "formats": list(formats), "out": str(folder), **(settings or {})}
    return export_run(resolve_config(ExportConfig, given)).folder


def figures(answers: str | Path | pandas.DataFrame) -> dict[str, Any]:
    """Compute every figure with its interval, and the paired comparisons, from answers alone, your own too.

    Args:
        answers: ``predictions.csv`` of a run, or a data frame with the columns of `Comparison.predictions`.

    Returns:
        ``doubt``: on whose word they stand; ``arms``, ``comparisons``, ``never_right``, as in ``results.json``.

    Raises:
        SonoforgeError: It is not such a table.
    """
    if isinstance(answers, str | Path):
        parts, classes, doubt = read_answers(Path(answers))
    else:
        with tempfile.TemporaryDirectory() as folder:
            answers.to_csv(Path(folder, ANSWERS), index=False)
            parts, classes, doubt = read_answers(Path(folder, ANSWERS))
    return {"doubt": doubt, **evaluate(parts, classes)}


def _config(kind: type[_Config], data: Images, settings: Settings) -> _Config:
    """Return a verb's settings for these images."""
    source = data.source
    own = {"data": source.data, "groups_from": source.groups_from, "phantom.images": source.images}
    config: _Config = resolve_config(kind, {**own, **settings})
    return config


def _framed(page: Page) -> str:
    """Return a whole page for a notebook's output, with a style of its own."""
    return f'<iframe srcdoc="{escape(page.render())}" style="width: 100%; height: 640px; border: 0"></iframe>'


def _pandas() -> Any:
    require("data frames", "notebook", "pandas")
    return importlib.import_module("pandas")  # only for who wants data frames
