"""``classify`` on a folder of scans against a plain torchvision script that does the same, in one run.

    python tests/benchmarks/bench_classify.py FOLDER [--rounds 3] [--batch 32]

Throughput: ``sonoforge classify FOLDER --recursive --csv FILE`` (as a whole process, start-up counted, and in this
process) against PIL, ``torchvision.transforms`` and the same weights in an eager ``MobileNetV2`` of torch, batches of
32, one thread a core, which writes a CSV of labels and probabilities; goal: twice its images a second.  (Eager torch
may be faster in smaller batches: ``--batch 1``.)  The labels of both sides are compared.

Latency: ``Classifier.predict`` on one image's pixels against ``session.run`` on the same tensor, goal 1.3; and
``Classifier.classify`` from the file against decode, resize and ``session.run``.

The sides take turns, so that a busy machine slows all; medians of all rounds, and the ratio of the fastest.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnx
import onnxruntime
import torch
from bench_runtime import in_turns  # beside this file
from onnx import numpy_helper
from PIL import Image

from sonoforge.models.mobilenetv2 import load_folded, mobilenet_v2
from sonoforge.runtime import Classifier, open_bundle
from sonoforge.runtime.images.inputs import expand
from sonoforge.runtime.verbs import classify


def shipped_network() -> Any:
    """Torchvision's MobileNetV2 with the weights of the shipped bundle, in evaluation mode."""
    bundle = open_bundle()
    graph = onnx.load_model_from_string(bundle.read("model.onnx")).graph
    tensors = {item.name: torch.from_numpy(numpy_helper.to_array(item).copy()) for item in graph.initializer}
    net = mobilenet_v2(len(bundle.classes))
    biased = [node for node in graph.node if node.op_type == "Conv" and len(node.input) == 3]
    load_folded(net, [(tensors[node.input[1]], tensors[node.input[2]]) for node in biased])
    (head,) = [node for node in graph.node if node.op_type == "Gemm"]
    with torch.no_grad():
        net.classifier[1].weight.copy_(tensors[head.input[1]])
        net.classifier[1].bias.copy_(tensors[head.input[2]])
    return net.eval()


def plain_script(net: Any, files: list[str], target: Path, batch_size: int) -> None:
    """Classify the files as a script of a few lines does, and write a CSV."""
    from torchvision.transforms import Compose, Normalize, Resize, ToTensor  # after mobilenet_v2 was called

    manifest = open_bundle().manifest
    prepare = manifest.preprocessing
    side = (prepare.size, prepare.size)
    transform = Compose([Resize(side), ToTensor(), Normalize(prepare.mean, prepare.std)])
    with target.open("w", newline="", encoding="utf-8") as file, torch.inference_mode():
        writer = csv.writer(file)
        writer.writerow(["file", "label", *manifest.classes])
        for begin in range(0, len(files), batch_size):
            part = files[begin : begin + batch_size]
            batch = torch.stack([transform(Image.open(name).convert("RGB")) for name in part])
            for name, p in zip(part, torch.softmax(net(batch) / manifest.temperature, 1).tolist(), strict=True):
                writer.writerow([name, manifest.classes[int(np.argmax(p))], *p])


def labels(path: Path) -> dict[str, str]:
    """Return the label of each file that a CSV holds."""
    with path.open(newline="", encoding="utf-8") as file:
        return {row["file"]: row["label"] for row in csv.DictReader(file)}


def throughput(folder: str, rounds: int, batch: int) -> dict[str, Any]:
    """Compare a folder's images a second."""
    files, _ = expand([folder], True)
    net = shipped_network()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(cores)
    with tempfile.TemporaryDirectory() as place:
        target = {side: Path(place) / f"{side}.csv" for side in ("torchvision", "process", "here")}
        command = [
            sys.executable,
            "-m",
            "sonoforge.runtime.cli.main",
            "classify",
            folder,
            "--recursive",
            "--quiet",
            "--csv",
        ]
        tasks = {
            "torchvision": lambda: plain_script(net, files, target["torchvision"], batch),
            "process": lambda: subprocess.run([*command, str(target["process"])], check=True),
            "here": lambda: classify.main(classify.Config((folder,), csv=str(target["here"]), recursive=True)),
        }
        plain_script(net, files[:32], target["torchvision"], batch)
        times = dict(zip(tasks, in_turns(rounds, *tasks.values()), strict=True))
        found = {side: labels(path) for side, path in target.items()}
    same = sum(found["torchvision"][name] == found["here"][name] for name in files)
    assert found["here"] == found["process"]
    medians = {side: statistics.median(record) for side, record in times.items()}
    return {
        "images": len(files),
        "cores": cores,
        "torchvision_batch": batch,
        "same_label": same,
        "images_per_s": {side: len(files) / seconds for side, seconds in medians.items()},
        "ratio": {side: medians["torchvision"] / medians[side] for side in ("process", "here")},
        "ratio_of_fastest": {side: min(times["torchvision"]) / min(times[side]) for side in ("process", "here")},
        "goal": 2.0,
    }


def latency(image: str, rounds: int) -> dict[str, Any]:
    """Compare one warm answer with the bare session on the same tensor."""
    classifier = Classifier()
    prepare = classifier.bundle.manifest.preprocessing
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(classifier.bundle.read("model.onnx"), options)
    pixels = classifier.bundle.golden()["pixels"][:1]
    tensor = prepare.normalise(pixels)
    small = (prepare.size, prepare.size)

    def bare() -> None:
        session.run(None, {"input": tensor})

    def bare_from_file() -> None:
        Image.open(image).convert("RGB").resize(small, Image.Resampling.BILINEAR)
        session.run(None, {"input": tensor})

    tasks = (bare, lambda: classifier.predict(pixels), bare_from_file, lambda: classifier.classify(image))
    in_turns(10, *tasks)
    times = [1e3 * statistics.median(record) for record in in_turns(50 * rounds, *tasks)]
    return {
        "predict": {"session_ms": times[0], "predict_ms": times[1], "ratio": times[1] / times[0], "goal": 1.3},
        "classify": {"bare_ms": times[2], "classify_ms": times[3], "ratio": times[3] / times[2]},
        "classify_over_session": times[3] / times[0],
    }


def main() -> None:
    """Print both comparisons as one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32, help="of the torchvision script")
    given = parser.parse_args()
    files, _ = expand([given.folder], True)
    result = {
        "latency": latency(files[len(files) // 2], given.rounds),
        "throughput": throughput(given.folder, given.rounds, given.batch),
        "onnxruntime": onnxruntime.__version__,
        "torch": torch.__version__,
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
