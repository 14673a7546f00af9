"""Store the weights of an exported generator in half precision: half the file, as of the shipped generator.

    sonoforge export RUN --checkpoint last --evidence EVALUATION --out BUNDLE
    python training/studies/generators/half_weights.py BUNDLE

The weights are rounded, but onnxruntime widens them when it loads the file and computes in float32.  The golden images
become those of the rounded weights; other formats are left out.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np
import onnx

from sonoforge.export.bundle.card import render, replace_files, table
from sonoforge.export.bundle.folder import file_entry, write_manifest
from sonoforge.runtime.bundle.files import npz
from sonoforge.runtime.bundle.generation import GeneratorManifest
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.inference.generator import Generator

SMALLEST = 1024  # numbers in a tensor stored in half precision: nearly all weights, no biases or running averages


def store_in_half(model: bytes) -> bytes:
    """Store large float32 weights in half precision, each followed by a cast, unless one would become infinite."""
    copy = onnx.load_model_from_string(model)
    casts = []
    for tensor in copy.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if tensor.data_type != onnx.TensorProto.FLOAT or values.size < SMALLEST:
            continue
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if np.isfinite(half).all():
            name = tensor.name
            tensor.CopyFrom(onnx.numpy_helper.from_array(half, f"{name}.half"))
            casts.append(onnx.helper.make_node("Cast", [f"{name}.half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *copy.graph.node]
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    stored: bytes = copy.SerializeToString()
    return stored


def halve(folder: Path) -> None:
    """Round the weights of a generator's bundle, in place."""
    bundle = open_bundle(folder, GeneratorManifest)
    manifest, file, golden = bundle.manifest.raw, bundle.manifest.model, bundle.golden()
    model = store_in_half(bundle.read(file))
    manifest["training"]["weights"] = "rounded to half precision"
    row = manifest["parity"]["formats"]["onnx"] | {"bytes": len(model)}
    manifest["parity"]["formats"] = {"onnx": row}
    card = replace_files(render("generator_card", **manifest, table=table), manifest).encode()

    def write(golden_file: bytes) -> None:
        contents = {file: model, "golden.npz": golden_file, "MODEL_CARD.md": card}
        for name, data in contents.items():
            (folder / name).write_bytes(data)
        manifest["files"] = {name: file_entry(data) for name, data in contents.items()}
        manifest["files"][file] |= {"precision": "fp32", "format": "onnx"}
        write_manifest(folder, manifest)

    write(npz(golden))
    generator, about = Generator(folder), bundle.manifest
    images = [
        generator.images(
            generator.latent(int(seed), 0)[None],
            int(label) if about.classes else None,
            float(psi) if about.accepts_psi else None,
        )[0]
        for seed, label, psi in zip(golden["seeds"], golden["labels"], golden["psi"], strict=True)
    ]
    write(npz({**golden, "images": np.stack(images)}))
    print(f"{folder}: {len(model)} bytes, SHA-256 {hashlib.sha256(model).hexdigest()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    halve(parser.parse_args().bundle)


if __name__ == "__main__":
    main()
