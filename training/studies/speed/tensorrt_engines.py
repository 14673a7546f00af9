"""TensorRT engines against torch and ONNX Runtime on one GPU: the same answers, and how much faster.

    python training/studies/speed/tensorrt_engines.py BUNDLE [--model RUN/model] [--batch 1] [--rounds 200]

Builds fp32 and fp16 engines of the bundle's ``model.onnx`` here, and compares their logits and probabilities with the
bundle's golden ones (made by torch on a CPU): fp32 within 1e-4, fp16 within 5e-3.  Latencies are medians of rounds in
which all take turns, from an array on the host to arrays on the host, as ratios to ONNX Runtime's CUDA provider; with
``--model``, torch eager and torch.compile as well.  Without a GPU it says so and ends with exit code 0.

ONNX Runtime's provider keeps its default, TF32; engines and torch run without it.

Never run on a GPU so far: there are no figures yet.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sonoforge.export.formats import tensorrt as tensorrt_engine
from sonoforge.export.formats.tensorrt import record_path, to_json
from sonoforge.runtime.bundle.reader import open_bundle
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.inference import onnx_session

LIMITS = {"fp32": 1e-4, "fp16": 5e-3}
Answer = Callable[[list[NDArray[Any]]], list[NDArray[Any]]]


def build(model: bytes, folder: Path, batch: int) -> dict[str, Answer]:
    """Build both engines in ``folder`` and open them."""
    from sonoforge.export.formats.half_precision import to_half
    from sonoforge.export.formats.tensorrt_build import build_engine

    answers: dict[str, Answer] = {}
    for precision, onnx in (("fp32", model), ("fp16", to_half(model))):
        batches = (1, batch, max(8, batch))
        engine, record = build_engine(onnx, "model.onnx", precision, batches, source=model)
        path = folder / f"{precision}.engine"
        path.write_bytes(engine)
        record_path(path).write_bytes(to_json(record))
        answers[precision] = tensorrt_engine.open_file(path)
    return answers


def torch_answers(folder: Path) -> dict[str, Answer]:
    """The trained network on the GPU, eager and compiled, without TF32 as in the engines."""
    import torch

    from sonoforge.export.bundle.classifier import network_of
    from sonoforge.training.classifier.model_folder import load_model

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    members, record, _ = load_model(folder)
    graph = network_of(members, record).cuda()

    def by(network: Any) -> Answer:
        def answer(inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:
            with torch.inference_mode():
                return [values.cpu().numpy() for values in network(torch.from_numpy(inputs[0]).cuda())]

        return answer

    return {"torch": by(graph), "torch.compile": by(torch.compile(graph))}


def milliseconds(answers: dict[str, Answer], inputs: NDArray[np.float32], rounds: int) -> dict[str, float]:
    """Median time of each, after 20 rounds that do not count."""
    times: dict[str, list[float]] = {name: [] for name in answers}
    for _ in range(20 + rounds):
        for name, answer in answers.items():
            started = time.perf_counter()
            answer([inputs])
            times[name].append(time.perf_counter() - started)
    return {name: 1e3 * statistics.median(values[20:]) for name, values in times.items()}


def main() -> None:
    """Print parity and latency as one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument("--model", default="")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=200)
    options = parser.parse_args()
    reason = tensorrt_engine.missing()
    if reason:
        print(f"cannot run here: {reason}")
        return
    import torch

    bundle = open_bundle(options.bundle)
    golden = bundle.golden()
    inputs = bundle.manifest.preprocessing.normalise(golden["pixels"])
    result: dict[str, Any] = {"gpu": torch.cuda.get_device_name(), "batch": options.batch, "parity": {}}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "model.onnx").write_bytes(bundle.read("model.onnx"))
        answers = build((folder / "model.onnx").read_bytes(), folder, options.batch)
        for precision, answer in answers.items():
            found = [np.concatenate(rows) for rows in zip(*(answer([row[None]]) for row in inputs), strict=True)]
            worst = max(
                float(np.abs(values - golden[name]).max())
                for name, values in zip(bundle.manifest.outputs, found, strict=True)
                if name in ("logits", "probabilities")
            )
            result["parity"][precision] = {
                "max_abs": worst,
                "limit": LIMITS[precision],
                "ok": worst <= LIMITS[precision],
            }
        try:
            cuda = onnx_session.open_file(folder / "model.onnx", 1, "CUDAExecutionProvider")
            answers = {"onnxruntime CUDA": cuda, **answers}
        except SonoforgeError as error:
            print(f"no ONNX Runtime on the GPU: {error}")
        if options.model:
            answers |= torch_answers(Path(options.model))
        batch = np.ascontiguousarray(np.resize(inputs, (options.batch, *inputs.shape[1:])))
        times = milliseconds(answers, batch, options.rounds)
    first = next(iter(times))
    result["milliseconds"] = times
    result[f"ratio to {first}"] = {name: value / times[first] for name, value in times.items()}
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
