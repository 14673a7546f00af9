"""The table of verbs: where each one is, what it needs, and what its line in ``sonoforge help`` says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sonoforge.runtime.errors import SonoforgeError, did_you_mean


class Instead(NamedTuple):
    """Another module that does a verb's work if a setting is given, its extra, and how to do without both."""

    setting: str
    module: str
    extra: str
    otherwise: str


class Verb(NamedTuple):
    """A verb: its package and the module of its settings there; the extra that it needs; its line in the help."""

    package: str
    settings: str
    extra: str
    summary: str
    instead: Instead | None = None

    def module(self, name: str) -> str:
        """Return the module, after ``sonoforge.``, with the verb's ``main``."""
        return f"{self.package}.verbs.{name.replace(' ', '_')}"

    def config(self, name: str) -> tuple[str, str]:
        """Return the module and the class of the verb's settings, which need the base install alone."""
        return f"{self.package}.verbs.{self.settings}", name.title().replace(" ", "") + "Config"


SECTIONS = {
    "from images to a verified model": {
        "run": Verb("export", "settings", "train,export", "cross-validate, train the final model, export it, report"),
        "doctor": Verb("runtime", "settings", "", "show what is installed, what can run, and what to install"),
    },
    "data": {
        "data list": Verb("training", "settings.data", "train", "list known data sets and where to get them"),
        "data audit": Verb("training", "settings.data", "train", "count images; find broken files and near-duplicates"),
        "data import": Verb("training", "settings.data", "dicom", "convert a public data set to one folder per class"),
        "data fetch": Verb("training", "settings.data", "remote", "copy a folder of images from a URL such as s3://"),
        "data phantom": Verb("training", "settings.data", "train", "write a simulated ultrasound data set"),
        "data cache": Verb("training", "settings.data", "train", "show or clear the cache of decoded images"),
    },
    "generators": {
        "gan recipes": Verb("training", "settings.gan", "train", "list the GAN recipes and the source of each number"),
        "gan train": Verb("training", "settings.gan", "train", "train one generator"),
        "gan compare": Verb(
            "training", "settings.gan", "train", "train recipes, or a grid of settings, and measure them"
        ),
        "gan sample": Verb(
            "runtime",
            "settings",
            "",
            "generate images with a trained generator or a bundle",
            Instead("run", "training.verbs.gan_sample", "train", ", or give --bundle"),
        ),
        "gan show": Verb("training", "settings.gan", "train", "show what a generator has learned, as pictures"),
        "evaluate": Verb(
            "training",
            "settings.evaluation",
            "train",
            "measure the realism, diversity and copying of images",
            Instead("reading_sheet", "training.verbs.reading_sheet", "train", ""),
        ),
        "reading": Verb(
            "training", "settings.evaluation", "train", "analyse a reader study of real and generated images"
        ),
        "segment": Verb("training", "settings.evaluation", "segment", "compare GANs by how much they help a U-Net"),
        "tune": Verb("training", "settings.gan", "tune", "search GAN hyperparameters for the lowest KID"),
        "search": Verb("training", "settings.gan", "tune", "search GAN architectures by evolution (GA-GAN)"),
    },
    "classifiers": {
        "train": Verb("training", "settings.crossval", "train", "train one classifier"),
        "crossval": Verb("training", "settings.crossval", "train", "compare training arms by k-fold cross-validation"),
        "leakage": Verb("training", "settings.crossval", "train", "measure how much data leakage inflates the results"),
        "compare": Verb("training", "settings.crossval", "train", "compare runs on the same images, paired by image"),
        "validate": Verb("training", "settings.crossval", "train", "validate a bundle on external labelled images"),
        "checklists": Verb("training", "settings.crossval", "train", "fill in TRIPOD+AI, CLAIM and a data sheet"),
    },
    "bundles, offline": {
        "export": Verb("export", "settings", "export", "turn a run folder into a verified bundle"),
        "classify": Verb("runtime", "settings", "", "classify images, folders or globs"),
        "quality": Verb("runtime", "settings", "", "measure image quality and the distance between two sets"),
        "verify": Verb("runtime", "settings", "", "check a bundle's files and golden answers on this machine"),
        "bench": Verb("runtime", "settings", "", "measure the speed, memory and size of a bundle's files"),
        "mobile build": Verb("mobile", "settings", "", "build a web app, and an Android app, from a bundle"),
        "serve": Verb("mobile", "settings", "", "serve the web app here, with POST /classify for programs"),
    },
}
VERBS = {name: verb for section in SECTIONS.values() for name, verb in section.items()}

_OTHER_NAMES = {
    "run": "report pipeline all start demo",
    "doctor": "info version status env environment install",
    "data list": "datasets sets",
    "data audit": "audit duplicates dedupe near-duplicates",
    "data import": "import prepare preprocess",
    "data fetch": "fetch download",
    "data phantom": "phantom simulate synthesize",
    "data cache": "cache clear clean",
    "gan recipes": "recipes models presets",
    "gan train": "gan-train",
    "gan compare": "sweep grid race gan-compare",
    "gan sample": "sample generate synthesise augment",
    "gan show": "show visualize visualise interpolate",
    "evaluate": "eval score metrics fid kid copies memorization",
    "reading": "readers reader-study turing",
    "segment": "segmentation unet dice",
    "tune": "optimize optimise hpo hyperopt optuna hyperparameters",
    "search": "nas evolve ga-gan architecture",
    "train": "fit finetune fine-tune",
    "crossval": "cv kfold k-fold cross-validate cross-validation crossvalidate ablation",
    "leakage": "leak",
    "compare": "diff",
    "validate": "test external external-validation",
    "checklists": "checklist tripod claim",
    "export": "convert onnx quantize quantise bundle tensorrt",
    "classify": "predict infer inference diagnose detect",
    "verify": "check",
    "bench": "benchmark speed profile latency",
    "mobile build": "build app web android apk pwa deploy",
    "serve": "server api",
}
"""Other names by which a user of this field would look for a verb."""


def subverbs(noun: str) -> dict[str, Verb]:
    """Return the verbs that begin with a word such as ``gan``."""
    return {name: verb for name, verb in VERBS.items() if name.startswith(noun + " ")}


def find(words: Sequence[str]) -> tuple[str, list[str]]:
    """Return the verb that a command line begins with, and the rest of it.

    Raises:
        SonoforgeError: There is no such verb; the message names the one that was probably meant.
    """
    for length in (2, 1):
        name = " ".join(words[:length])
        if name in VERBS:
            return name, list(words[length:])
    first = words[0]
    below = {name.split()[1]: name for name in subverbs(first)}
    typed = words[1] if below and len(words) > 1 else first
    known = {other: name for name, others in _OTHER_NAMES.items() for other in others.split()}
    if typed in known:
        hint = f" (did you mean {known[typed]}?)"
    elif below:
        raise SonoforgeError(
            f"sonoforge {first}: found {typed!r}, expected one of {', '.join(below)}{did_you_mean(typed, [*below])}"
        )
    else:
        hint = did_you_mean(first, [*VERBS])
    raise SonoforgeError(f"sonoforge: unknown verb {' '.join(words[: 1 + bool(below)])!r}{hint}; see sonoforge help")
