"""Store the weights of an exported generator in eight bits each: a quarter of the file, as of the shipped generator.

    sonoforge export RUN --checkpoint last --evidence EVALUATION --out BUNDLE
    python training/studies/generators/eight_bits.py BUNDLE

Each weight is rounded to a 127th of the largest of its output, but onnxruntime widens them when it loads the file and
computes in float32.  The golden images become those of the rounded weights; other formats are left out.
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
from sonoforge.training.gan.start_from import START

SMALLEST = 1024  # numbers in a tensor that is rounded: nearly all weights, no biases or running averages


def store_in_eight_bits(model: bytes) -> bytes:
    """Store large float32 weights as int8 beside a scale for each output, which they are multiplied with."""
    copy = onnx.load_model_from_string(model)
    nodes = []
    for tensor in [*copy.graph.initializer]:
        values = onnx.numpy_helper.to_array(tensor)
        if tensor.data_type != onnx.TensorProto.FLOAT or values.size < SMALLEST or values.ndim == 1:
            continue
        name = tensor.name
        scale = np.abs(values).max(axis=tuple(range(1, values.ndim)), keepdims=True).clip(1e-12) / 127
        tensor.CopyFrom(onnx.numpy_helper.from_array(np.rint(values / scale).astype(np.int8), f"{name}.int8"))
        copy.graph.initializer.append(onnx.numpy_helper.from_array(scale.astype(np.float32), f"{name}.scale"))
        nodes.append(onnx.helper.make_node("Cast", [f"{name}.int8"], [f"{name}.wide"], to=onnx.TensorProto.FLOAT))
        nodes.append(onnx.helper.make_node("Mul", [f"{name}.wide", f"{name}.scale"], [name]))
    nodes += copy.graph.node
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    stored: bytes = copy.SerializeToString()
    return stored


def round_weights(folder: Path) -> None:
    """Round the weights of a generator's bundle, in place."""
    bundle = open_bundle(folder, GeneratorManifest)
    manifest, file, golden = bundle.manifest.raw, bundle.manifest.model, bundle.golden()
    model = store_in_eight_bits(bundle.read(file))
    manifest["training"]["weights"] = "rounded to eight bits"
    row = manifest["parity"]["formats"]["onnx"] | {"bytes": len(model)}
    manifest["parity"]["formats"] = {"onnx": row}
    card = replace_files(render("generator_card", **manifest, table=table), manifest).encode()

    start = {START: bundle.read(START)} if START in bundle.manifest.files else {}

    def write(golden_file: bytes) -> None:
        contents = {file: model, "golden.npz": golden_file, "MODEL_CARD.md": card} | start
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
    round_weights(parser.parse_args().bundle)


if __name__ == "__main__":
    main()
