"""Write a generator's bundle: complete and checked, or not at all; `sonoforge.runtime.generator` reads it."""

from __future__ import annotations

import datetime
import hashlib
import io
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from sonoforge.export.generator_card import generator_card
from sonoforge.export.generator_graph import (
    CHECKED,
    OUTPUT,
    generator_inputs,
    generator_onnx,
    largest_difference,
    load_contiguous,
    tolerance,
    trace_generator,
)
from sonoforge.models.stylegan import stylegan3
from sonoforge.models.stylegan.mapping import has_styles
from sonoforge.runtime import atomic, model_files
from sonoforge.runtime.container import read_manifest, task_of
from sonoforge.runtime.errors import GateError, SonoforgeError
from sonoforge.runtime.generator import TOLERANCES, Generator, golden_difference, open_generator_bundle
from sonoforge.runtime.generator_manifest import MODEL
from sonoforge.runtime.latents import RECIPE, draw_latent
from sonoforge.training.gan.checkpoint import Description, describe, find_checkpoint
from sonoforge.training.gan.networks import Truncation, generate, label_batch, latent_distribution
from sonoforge.training.run_folder import CONFIG, read_config

INTENDED_USE = (
    "Research use, not a medical device. Its images are synthetic: they show no patient, and are no evidence about one."
)
GOLDEN = ((0, 1.0), (1, 0.7), (2, 0.3), (3, -0.5))  # seed, and psi where there are styles


class _Made(NamedTuple):
    """What every writer starts from: the network, what is known of it, and its ONNX file that passed the gate."""

    generator: nn.Module
    about: Description
    onnx: bytes


class Format(NamedTuple):
    """One kind of file in a generator's bundle.

    Attributes:
        file: Its name.
        precision: Of its weights.
        tolerance: Largest absolute difference of images, in [-1, 1], from torch's; None: that of `tolerance`.
        write: Makes its content.
    """

    file: str
    precision: str
    tolerance: float | None
    write: Callable[[_Made], bytes]


def _half(made: _Made) -> bytes:
    to_half: Callable[[bytes], bytes] = import_module("sonoforge.export.half_precision").to_half
    return to_half(_tensor_constants(made.onnx))


def _tensor_constants(content: bytes) -> bytes:
    """Write constants that are plain numbers as tensors: the converter to 16 bits knows no others."""
    model = onnx.load_model_from_string(content)
    types = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name in types:
            (attribute,) = node.attribute
            values = np.array(onnx.helper.get_attribute_value(attribute), types[attribute.name])
            attribute.CopyFrom(onnx.helper.make_attribute("value", onnx.numpy_helper.from_array(values)))
    data: bytes = model.SerializeToString()
    return data


def _torchscript(made: _Made) -> bytes:
    trace_file: Callable[..., bytes] = import_module("sonoforge.export.torchscript_file").trace_file
    examples = generator_inputs(made.generator, "z", 2, 0.7, seed=0)
    return trace_file(trace_generator(made.generator).eval(), tuple(examples.values()))


# What the writers need is imported by them alone.
FORMATS: dict[str, Format] = {
    "onnx": Format(MODEL, "fp32", None, lambda made: made.onnx),
    "onnx-fp16": Format("generator.fp16.onnx", "fp16", TOLERANCES["onnx-fp16"], _half),
    "torchscript": Format("generator.torchscript.pt", "fp32", None, _torchscript),
}


def write_generator_bundle(
    checkpoint: Path, folder: Path, *, created: str | None = None, formats: Sequence[str] = ("onnx",)
) -> dict[str, Any]:
    """Export a checkpoint's averaged generator, pass the gate in each format, write the bundle and read it back.

    Args:
        checkpoint: A checkpoint folder, or a run folder (then its newest checkpoint).
        folder: The bundle's folder; a generator's bundle that is there is replaced.
        created: Time in the manifest, ISO 8601; None for now.
        formats: Some of `FORMATS`; ``onnx``, which the others are measured beside, is always written.

    Returns:
        The manifest.

    Raises:
        GateError: A file does not answer as torch does; no bundle is left, an older one stays as it was.
        SonoforgeError: Not a checkpoint, a format that is unknown or that this generator cannot have, or ``folder``
            holds something else.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise SonoforgeError(f"generator export: found format {unknown[0]!r}, expected some of {', '.join(FORMATS)}")
    if folder.exists() and not _is_generator_bundle(folder):
        raise SonoforgeError(f"{folder}: is there and is not a generator's bundle; choose another place")
    place = find_checkpoint(checkpoint)
    about, generator = describe(place), load_contiguous(place)
    if "torchscript" in formats and isinstance(generator, stylegan3.Generator):
        raise SonoforgeError(
            f"{place}: torchscript: found StyleGAN3, whose filtered activation works in place, which a trace cannot "
            "keep; leave it out and use the ONNX file"
        )
    made = _Made(generator, about, generator_onnx(generator, about))
    contents, kinds, parity = {}, {}, {}
    for name in dict.fromkeys(("onnx", *formats)):
        form = FORMATS[name]
        contents[form.file] = form.write(made)
        kinds[form.file] = {"format": name, "precision": form.precision}
        parity[name] = _gate(generator, name, contents[form.file])
    record = _record(about, generator, _data_name(place), created)
    contents["golden.npz"] = _golden(generator)
    contents["MODEL_CARD.md"] = generator_card(record, parity).encode()
    record["parity"] = parity
    record["files"] = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), **kinds.get(name, {})}
        for name, data in contents.items()
    }
    _write(folder, contents, record)
    return record


def _is_generator_bundle(folder: Path) -> bool:
    return (folder / "manifest.json").is_file() and task_of(read_manifest(folder)) == "generation"


def _gate(generator: nn.Module, name: str, content: bytes) -> dict[str, Any]:
    """Run a file by its own program on batches of several sizes, and psi, and compare with torch.

    Raises:
        GateError: It differs by more than its format's tolerance, or cannot be run here at all.
    """
    form = FORMATS[name]
    allowed = tolerance(generator) if form.tolerance is None else form.tolerance
    reason = model_files.missing(name)
    if reason:
        raise GateError(f"{name}: cannot be checked here, so no bundle was written: {reason}")
    with tempfile.TemporaryDirectory(prefix="sonoforge-") as folder:
        path = Path(folder) / form.file
        path.write_bytes(content)
        worst = largest_difference(generator, model_files.open_file(name, path))
    if not worst <= allowed:  # NaN is no agreement either
        raise GateError(
            f"{form.file}: differs from torch by {worst:.2e} in images (allowed {allowed:g}); no bundle was written"
        )
    versions = {"torch": torch.__version__, "onnxruntime": onnxruntime.__version__}
    return {"max_abs": worst, "tolerance": allowed, "checked": [list(pair) for pair in CHECKED], **versions}


def _record(about: Description, generator: nn.Module, data: str, created: str | None) -> dict[str, Any]:
    """Return the manifest without ``files`` and ``parity``."""
    options, styled = about.generator_options, has_styles(generator)
    size, channels = int(options["image_size"]), int(options["channels"])
    latent, labelled = int(options["latent_size"]), bool(about.classes)
    names = ["sonoforge", about.recipe, data, about.class_name]
    return {
        "format_version": 1,
        "task": "generation",
        "name": "-".join(name.lower().replace(" ", "-") for name in names if name),
        "version": f"step-{about.step}",
        "created": created or datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "recipe": about.recipe,
        "image": {
            "size": size,
            "channels": about.image_channels,
            "masks": channels - about.image_channels,
            "range": [-1, 1],
        },
        "class_name": "" if labelled else about.class_name,
        "classes": list(about.classes),
        "latents": {"recipe": RECIPE, "size": latent, "distribution": latent_distribution(generator)},
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
        truncation = Truncation(psi) if has_styles(generator) else None
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


def _write(folder: Path, contents: Mapping[str, bytes], manifest: Mapping[str, Any]) -> None:
    """Write under a temporary name, let the reader check all of it, rename."""
    temporary = folder.with_name(folder.name + ".partial")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        for name, data in contents.items():
            atomic.write_bytes(temporary / name, data)
        atomic.write_json(temporary / "manifest.json", manifest)
        bundle = open_generator_bundle(temporary)
        worst, allowed = golden_difference(Generator(bundle)), manifest["parity"]["onnx"]["tolerance"]
        if not worst <= allowed:
            raise GateError(
                f"{folder}: golden images differ by {worst:.2e} (allowed {allowed:g}); no bundle was written"
            )
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
