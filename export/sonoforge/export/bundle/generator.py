"""Export a checkpoint as a generator's bundle in the chosen formats, judging each file against torch."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import nn

from sonoforge.export.bundle.add_formats import add_formats
from sonoforge.export.bundle.card import render, table
from sonoforge.export.bundle.evidence import read_measured
from sonoforge.export.bundle.folder import FormatRow, ManifestJson, refuse_other_folder, replacing_bundle, write_bundle
from sonoforge.export.formats.source import (
    CHECKED,
    OUTPUT,
    GeneratorSource,
    generator_onnx,
    largest_difference,
    load_contiguous,
    tolerance,
    unsuitable,
)
from sonoforge.export.formats.table import FORMATS, choose
from sonoforge.models import flow
from sonoforge.models.stylegan.generator import has_styles
from sonoforge.runtime.bundle.files import npz
from sonoforge.runtime.bundle.generation import LATENT_RECIPE, GeneratorManifest
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.errors import GateError
from sonoforge.runtime.inference import runners
from sonoforge.runtime.inference.generator import Generator
from sonoforge.runtime.inference.golden import IMAGE_TOLERANCES, golden_difference
from sonoforge.runtime.inference.latents import draw_latent
from sonoforge.training.data.collections.importing import KNOWN_SETS
from sonoforge.training.data.data_option import recorded_data
from sonoforge.training.gan.checkpoint import Description, describe, find_checkpoint
from sonoforge.training.gan.generator import (
    Truncation,
    generate,
    label_batch,
    latent_distribution,
    latent_size,
    structures_drawn_into,
)
from sonoforge.training.gan.start_from import START, weights_of
from sonoforge.training.run_folder import CONFIG, read_config

log = logging.getLogger(__name__)

TASK = GeneratorManifest.task
INTENDED_USE = (
    "Research use, not a medical device. Its images are synthetic: they show no patient, and are no evidence about one."
)
GOLDEN = ((0, 1.0), (1, 0.7), (2, 0.3), (3, -0.5))  # seed and psi, which networks without styles do not take


def bundle_from_checkpoint(
    checkpoint: Path,
    folder: Path,
    formats: Sequence[str] = ("onnx",),
    evidence: Path | None = None,
) -> list[FormatRow]:
    """Export the averaged generator of a checkpoint or run folder, leaving out files that fail the gate.

    An existing generator's bundle is replaced, unless the ONNX file does not answer as torch does.  ``formats`` are
    rows of `FORMATS`, or ``all``, which leaves out what this generator or machine cannot have; ``evidence`` is a run of
    ``sonoforge evaluate`` for the card.  Return the rows of `add_formats`; ``max_abs`` is the largest difference of
    images from torch's, in [-1, 1].
    """
    refuse_other_folder(folder, TASK)
    checkpoint = find_checkpoint(checkpoint)
    about, generator = describe(checkpoint), load_contiguous(checkpoint)
    reasons = {name: why for name in FORMATS if (why := unsuitable(name, generator))}
    names = choose(formats, reasons, generators=True)
    run = checkpoint.parent.parent
    paths = recorded_data(read_config(run)) if (run / CONFIG).is_file() else ()
    data_names = [name for path in paths if (name := Path(path).name)]  # never their paths
    manifest = _about(about, generator, data_names)
    manifest["training"]["measured"] = read_measured(evidence, about) if evidence else {}
    exported = ExportedGenerator(GeneratorSource(generator, generator_onnx(generator, about)))
    with replacing_bundle(folder, TASK) as fresh:
        contents = {
            GeneratorManifest.model: exported.source.onnx,
            "golden.npz": _golden(generator),
            "MODEL_CARD.md": render("generator_card", **manifest, table=table).encode(),
        }
        if isinstance(generator, flow.Generator):
            contents[START] = _start(generator, exported.source.onnx)
        write_bundle(fresh, TASK, manifest, contents)
        rows = add_formats(fresh, exported, names, formats, reasons)
        worst, allowed = golden_difference(Generator(open_bundle(fresh, GeneratorManifest))), tolerance(generator)
        if not worst <= allowed:
            raise GateError(
                f"{folder}: golden images differ by {worst:.2e} (allowed {allowed:g}); no bundle was written"
            )
    return rows


@dataclass(frozen=True)
class ExportedGenerator:
    """A generator, and the check of its files against torch; see `add_formats`."""

    source: GeneratorSource

    def allowed(self, name: str) -> FormatRow:
        """Return how far a format's images may differ from torch's, in [-1, 1]."""
        half = FORMATS[name].precision == "fp16"
        return {"tolerance": IMAGE_TOLERANCES["fp16"] if half else tolerance(self.source.generator)}

    def check(self, name: str, file: Path) -> tuple[FormatRow, list[str]]:
        """Compare a file's images with torch's."""
        if name.startswith(("onnx", "torchscript")):
            answer = runners.open_file(name, file)
        else:  # may crash with a signal
            answer = lambda fed: runners.run_in_subprocess(name, file, fed, batch=len(fed[0]))  # noqa: E731
        worst, allowed = largest_difference(self.source.generator, answer), self.allowed(name)["tolerance"]
        assert isinstance(allowed, float)  # noqa: S101 - see `allowed`
        figures: FormatRow = {"max_abs": worst} if math.isfinite(worst) else {}  # NaN is not JSON
        if worst <= allowed:
            return figures, []
        return figures, [f"images differ from torch's by {worst:.2g} (allowed {allowed:g})"]


def _about(about: Description, generator: nn.Module, data_names: Sequence[str]) -> ManifestJson:
    """Return the manifest's keys about a generator."""
    data = "+".join(data_names)
    known = {own.name.casefold(): own for own in KNOWN_SETS}
    sources = [known[name.casefold()] for name in data_names if name.casefold() in known]
    options, styled = about.generator_options, has_styles(generator)
    size, channels = int(options["image_size"]), int(options["channels"])
    latent, labelled = latent_size(generator), bool(about.classes)
    keeps_maps = structures_drawn_into(generator) > 0
    names = ["sonoforge", about.recipe, data, about.class_name]
    return {
        "name": "-".join(name.lower().replace(" ", "-") for name in names if name),
        "version": f"step-{about.step}",
        "recipe": about.recipe,
        "image": {
            "size": size,
            "channels": about.image_channels,
            "masks": channels - about.image_channels,
            "structures": about.structures,
            "range": [-1, 1],
        },
        "class_name": "" if labelled else about.class_name,
        "classes": list(about.classes),
        "latents": {"recipe": LATENT_RECIPE, "size": latent, "distribution": latent_distribution(generator)},
        "inputs": {
            "latents": ["N", latent],
            **({"psi": [1]} if styled else {}),
            **({"labels": ["N"]} if labelled else {}),
        },
        "outputs": {OUTPUT: ["N", channels, size, size]},
        "psi": {"accepted": styled, "default": 1.0},
        "training": {
            "step": about.step,
            "data": data,
            "fingerprint": about.fingerprint,
            "generator_sha256": about.files["average.safetensors"],
            "sources": [{"name": own.name, "licence": own.licence, "citation": own.citation} for own in sources],
            "label_maps": int(options["maps"]) if keeps_maps else 0,
            "weights": "",
        },
        "reference": None,
        "parity": {"checked": [list(pair) for pair in CHECKED]},
        "intended_use": INTENDED_USE,
    }


def _start(generator: flow.Generator, drawing: bytes) -> bytes:
    """Return what a training that starts from the generator needs besides the weights of its ONNX file, in fp16."""
    shapes = weights_of(drawing)
    rest = {name: value for name, value in generator.state_dict().items() if name not in shapes}
    return save({name: value.half().contiguous() for name, value in rest.items()})


def _golden(generator: nn.Module) -> bytes:
    """Compute the images that every reader must reproduce: image 0 of a few seeds, cycling through the classes."""
    classes, size = int(generator.classes), int(generator.latent_size)  # type: ignore[arg-type]
    labels = [row % classes if classes else 0 for row in range(len(GOLDEN))]
    psis = [psi if has_styles(generator) else 1.0 for _, psi in GOLDEN]
    images = []
    for (seed, _), label, psi in zip(GOLDEN, labels, psis, strict=True):
        latents = torch.from_numpy(draw_latent(seed, 0, size, latent_distribution(generator)))[None]
        own = label_batch(generator, label if classes else None, 1)
        truncation = Truncation(psi if has_styles(generator) else None)
        images.append(generate(generator, latents, own, truncation)[0].numpy())
    return npz(
        {
            "seeds": np.array([seed for seed, _ in GOLDEN], np.int64),
            "labels": np.array(labels, np.int64),
            "psi": np.array(psis, np.float32),
            "images": np.stack(images),
        }
    )
