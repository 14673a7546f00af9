"""Write a generator's bundle: complete and checked, or not at all; `sonoforge.runtime.inference.generator` reads it."""

from __future__ import annotations

import hashlib
import io
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from sonoforge.export.bundle.folder import refuse_other_folder, replacing_folder
from sonoforge.export.bundle.provenance import provenance
from sonoforge.export.bundle.writer import creation_time
from sonoforge.export.gate.judged_file import without_folders, write_and_judge
from sonoforge.export.generators.card import generator_card
from sonoforge.export.generators.formats import FORMATS, Made, allowed_difference, cannot_have
from sonoforge.export.generators.graph import (
    CHECKED,
    OUTPUT,
    generator_inputs,
    generator_onnx,
    largest_difference,
    load_contiguous,
    trace_generator,
)
from sonoforge.models.stylegan.mapping import has_styles
from sonoforge.runtime import atomic
from sonoforge.runtime.bundle.generation import LATENT_RECIPE, GeneratorManifest
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.errors import GateError, SonoforgeError, did_you_mean
from sonoforge.runtime.inference import model_files
from sonoforge.runtime.inference.generator import Generator
from sonoforge.runtime.inference.golden import golden_difference
from sonoforge.runtime.inference.latents import draw_latent
from sonoforge.training.gan.checkpoint import Description, describe, find_checkpoint
from sonoforge.training.gan.generator import Truncation, generate, label_batch, latent_distribution
from sonoforge.training.run_folder import CONFIG, read_config

log = logging.getLogger(__name__)

INTENDED_USE = (
    "Research use, not a medical device. Its images are synthetic: they show no patient, and are no evidence about one."
)
GOLDEN = ((0, 1.0), (1, 0.7), (2, 0.3), (3, -0.5))  # seed, and psi where there are styles


def write_generator_bundle(
    checkpoint: Path, folder: Path, *, created: str | None = None, formats: Sequence[str] = ("onnx",)
) -> dict[str, Any]:
    """Export a checkpoint's averaged generator; a file that fails its gate is left out, the others go in.

    Args:
        checkpoint: A checkpoint folder, or a run folder (then its newest checkpoint).
        folder: The bundle's folder; a generator's bundle that is there is replaced.
        created: Time in the manifest, ISO 8601; None for now.
        formats: Some of `FORMATS`, or ``all``, which leaves out what this generator or this machine cannot have.
            ``onnx``, which the others are made of or measured beside, is always written.

    Returns:
        The manifest; ``parity.formats`` says of each format what became of it, see `_make`.

    Raises:
        GateError: The ONNX file does not answer as torch does; no bundle is left, an older one stays as it was.
        SonoforgeError: Not a checkpoint, a format that is unknown or, if it is asked for by name, that cannot be had,
            or ``folder`` holds something else.
    """
    known = (*FORMATS, "all")
    for name in formats:
        if name not in known:
            raise SonoforgeError(
                f"--formats: found {name!r}, expected of a generator all or some of {', '.join(FORMATS)}"
                f"{did_you_mean(name, known)}"
            )
    refuse_other_folder(folder, "generation")
    place = find_checkpoint(checkpoint)
    about, generator = describe(place), load_contiguous(place)
    for name in formats:
        reason = cannot_have(name, generator) if name in FORMATS else ""
        if reason:
            raise SonoforgeError(f"{place}: --formats {name}: {reason}")
    made = Made(generator, about, generator_onnx(generator, about))
    manifest = _record(about, generator, _data_name(place), created)
    with replacing_folder(folder, "generation") as temporary:
        atomic.write_bytes(temporary / GeneratorManifest.model, made.onnx)
        atomic.write_bytes(temporary / "golden.npz", _golden(generator))
        rows = {}
        for name in FORMATS:
            if name in formats or "all" in formats or name == "onnx":
                rows[name] = _make(name, made, temporary, name in formats)
                if name == "onnx" and rows[name]["status"] != "passed":
                    raise GateError(f"{GeneratorManifest.model}: {rows[name]['reason']}; no bundle was written")
                log.info("%s", describe_row(rows[name]))
        manifest["parity"] = {"checked": [list(pair) for pair in CHECKED], "formats": rows}
        manifest["provenance"] = provenance()
        (temporary / "MODEL_CARD.md").write_text(generator_card(manifest), encoding="utf-8")
        manifest["files"] = _files(temporary, rows)
        atomic.write_json(temporary / "manifest.json", manifest)
        _read_back(temporary, folder, allowed_difference("onnx", generator))
    return manifest


def _make(name: str, made: Made, folder: Path, asked: bool) -> dict[str, Any]:
    """Write the files of one format into the new bundle and judge them; see `write_and_judge`.

    Returns:
        Its row; ``max_abs`` is the largest difference of images from torch's, in [-1, 1].
    """
    form = FORMATS[name]
    write, allowed = form.write, allowed_difference(name, made.generator)

    def judge(place: Path) -> tuple[dict[str, Any], list[str]]:
        worst = _difference(made.generator, name, place)
        found = [] if worst <= allowed else [f"images differ from torch's by {worst:.2g} (allowed {allowed:g})"]
        return ({"max_abs": worst} if math.isfinite(worst) else {}), found  # NaN is not JSON

    row = write_and_judge(
        {"format": name, "file": form.file, "precision": form.precision},
        folder,
        None if write is None else lambda: write(made),
        judge,
        absent=cannot_have(name, made.generator),
        asked=asked,
        about={"tolerance": allowed},
    )
    return row | {"reason": without_folders(row["reason"])} if row["status"] == "failed" else row


def _difference(generator: nn.Module, name: str, path: Path) -> float:
    """Let a file's own program answer, in a process of its own where it may end with a signal; compare with torch."""
    if name.startswith(("onnx", "torchscript")):
        return largest_difference(generator, model_files.open_file(name, path))
    if has_styles(generator):  # one psi for each process
        return largest_difference(
            generator, lambda fed: model_files.run_in_subprocess(name, path, fed, batch=len(fed[0]))
        )
    batches = [generator_inputs(generator, "z", count, psi, seed=count).values() for count, psi in CHECKED]
    fed = [torch.cat(values) for values in zip(*batches, strict=True)]
    with torch.inference_mode():
        expected = trace_generator(generator).eval()(*fed).numpy()
    largest = max(count for count, _ in CHECKED)
    found = model_files.run_in_subprocess(name, path, [values.numpy() for values in fed], batch=largest)[0]
    return float(np.abs(found - expected).max()) if found.shape == expected.shape else math.nan


def describe_row(row: Mapping[str, Any]) -> str:
    """One line of the screen's table."""
    size = f"{row['bytes'] / 1e6:.2f} MB" if "bytes" in row else "-"
    line = f"{row['format']:<14} {row['precision']:<5} {size:>9}  "
    if "max_abs" in row:
        line += f"max {row['max_abs']:.1e} (allowed {row['tolerance']:g})  "
    return f"{line}{row['status']}" + (f": {row['reason']}" if "reason" in row else "")


def _files(folder: Path, rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the manifest's entries of all files that are there."""
    kinds = {row["file"]: {"format": name, "precision": row["precision"]} for name, row in rows.items()}
    entries = {}
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        entries[path.name] = {
            "sha256": hashlib.sha256(data).hexdigest(),
            "bytes": len(data),
            **kinds.get(path.name, {}),
        }
    return entries


def _record(about: Description, generator: nn.Module, data: str, created: str | None) -> dict[str, Any]:
    """Return the manifest without ``files``, ``parity`` and ``provenance``."""
    options, styled = about.generator_options, has_styles(generator)
    size, channels = int(options["image_size"]), int(options["channels"])
    latent, labelled = int(options["latent_size"]), bool(about.classes)
    names = ["sonoforge", about.recipe, data, about.class_name]
    return {
        "format_version": 1,
        "task": "generation",
        "name": "-".join(name.lower().replace(" ", "-") for name in names if name),
        "version": f"step-{about.step}",
        "created": created or creation_time(),
        "recipe": about.recipe,
        "image": {
            "size": size,
            "channels": about.image_channels,
            "masks": channels - about.image_channels,
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
        },
        "intended_use": INTENDED_USE,
    }


def _data_name(checkpoint: Path) -> str:
    """Return the name of the data set as the run folder around a checkpoint says it, or nothing: never its place."""
    run = checkpoint.parent.parent
    return Path(str(read_config(run).get("data", ""))).name if (run / CONFIG).is_file() else ""


def _golden(generator: nn.Module) -> bytes:
    """Compute by torch what every reader must find: image number 0 of a few seeds, classes in turn."""
    classes, size = int(generator.classes), int(generator.latent_size)  # type: ignore[arg-type]
    labels = [row % classes if classes else 0 for row in range(len(GOLDEN))]
    psis = [psi if has_styles(generator) else 1.0 for _, psi in GOLDEN]
    images = []
    for (seed, _), label, psi in zip(GOLDEN, labels, psis, strict=True):
        latents = torch.from_numpy(draw_latent(seed, 0, size, latent_distribution(generator)))[None]
        own = label_batch(generator, label if classes else None, 1)
        truncation = Truncation(psi if has_styles(generator) else None)
        images.append(generate(generator, latents, own, truncation)[0].numpy())
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        seeds=np.array([seed for seed, _ in GOLDEN], np.int64),
        labels=np.array(labels, np.int64),
        psi=np.array(psis, np.float32),
        images=np.stack(images),
    )
    return buffer.getvalue()


def _read_back(written: Path, folder: Path, allowed: float) -> None:
    """Let the reader check all that was written, and compute the golden images by it."""
    bundle = open_bundle(written, GeneratorManifest)
    for name in bundle.manifest.files:
        bundle.read(name)
    worst = golden_difference(Generator(bundle))
    if not worst <= allowed:
        raise GateError(f"{folder}: golden images differ by {worst:.2e} (allowed {allowed:g}); no bundle was written")
