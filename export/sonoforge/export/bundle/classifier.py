"""Export a run folder or bundle as a classifier's bundle in the chosen formats, each judged by the gate."""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from sonoforge.export.bundle.add_formats import add_formats
from sonoforge.export.bundle.classifier_card import calibrated_on, classifier_card
from sonoforge.export.bundle.evidence import with_evidence
from sonoforge.export.bundle.folder import FormatRow, file_entry, replacing_bundle, write_bundle, write_manifest
from sonoforge.export.bundle.gate import FEWEST, Answers, GateImages, JudgedModel, compare, find_images, problems
from sonoforge.export.formats.onnx_graph import LOOK, BundleGraph, folded, metadata_of, run_torch, to_onnx
from sonoforge.export.formats.source import Source
from sonoforge.export.formats.table import EXACT, FORMATS, Tolerance, choose
from sonoforge.models.mobilenetv2 import OutlineHead, folded_statistics, mobilenet_v2
from sonoforge.runtime import atomic
from sonoforge.runtime.bundle.classification import OUTPUTS, ClassifierManifest
from sonoforge.runtime.bundle.files import npz
from sonoforge.runtime.bundle.onnx_graph import check_graph
from sonoforge.runtime.bundle.reader import Bundle, open_bundle
from sonoforge.runtime.errors import GateError, SonoforgeError, refusing
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.runtime.inference.runners import open_file, run_in_subprocess
from sonoforge.training.classifier.model_folder import (
    ELSEWHERE,
    SIGNATURES,
    ModelArrays,
    ModelRecord,
    lacking,
    load_model,
    read_origins,
)
from sonoforge.training.data.selection import evenly_spaced
from sonoforge.training.run_folder import CONFIG, read_config
from sonoforge.training.statistics.results import Record


def network_of(members: Sequence[Any], record: ModelRecord) -> BundleGraph:
    """Join trained networks into one, in evaluation mode."""
    made = record.training
    return BundleGraph(members, record.temperature, made["frozen_blocks"], made["mirror"], record.look).eval()


def read_network(bundle: Bundle[ClassifierManifest]) -> BundleGraph:
    """Rebuild the torch network behind a bundle's ``model.onnx``, on the CPU and in evaluation mode.

    The exporter names weights as torch does (``tails.0.1.conv.0.0.weight``), so the names show how many members there
    are and which blocks they share.  Batch normalisation is folded into the convolutions.  Raise `SonoforgeError` if
    the file is not ours, or if the network does not reproduce the bundle's golden vectors.
    """
    where = f"{bundle.path}: model.onnx"
    if name := bundle.manifest.raw["training"].get("backbone"):
        raise SonoforgeError(f"{where}: is {name}; only MobileNetV2 is rebuilt from a bundle: export its run folder")
    data = bundle.read("model.onnx")
    check_graph(data, where)
    with refusing(f"{where}: not an ONNX file", "export the bundle again", Exception):  # protobuf's own
        model = onnx.load_model_from_string(data)
    weights = _weights(model.graph, where)
    members = {name.split(".")[1] for name in weights if name.startswith("linears.")}
    shared = {name.split(".")[1] for name in weights if name.startswith("shared.")}
    if not members:
        raise _not_ours(where, "no layer named linears")
    nets = [mobilenet_v2(len(bundle.classes)) for _ in members]
    stated = metadata_of(model).get(LOOK)  # side in pixels of each of two passes; none for a single pass
    if stated is not None and not re.fullmatch(r"[1-9]\d{1,3}", stated):
        raise _not_ours(where, f"{LOOK} {stated!r:.40}")
    look = int(stated) if stated else None
    if look:
        for net in nets:
            net.outline = OutlineHead()
    # With mirroring, the image is concatenated with its mirror image.
    inputs = {value.name for value in model.graph.input}
    mirror = any(node.op_type == "Concat" for node in model.graph.node if inputs.intersection(node.input))
    graph = folded(BundleGraph(nets, bundle.manifest.temperature, len(shared), mirror, look))
    # The exporter leaves out a bias of zeros, which untrained blocks have.
    zeros = {name: torch.zeros_like(value) for name, value in graph.state_dict().items() if name.endswith(".bias")}
    try:
        graph.load_state_dict(zeros | weights)
    except RuntimeError as error:
        raise _not_ours(where, " ".join(str(error).split())[:200]) from error
    golden = bundle.golden()
    tolerance = EXACT.of_passes(look is not None)
    outputs = run_torch(graph, bundle.manifest.preprocessing.normalise(golden["pixels"]))
    for name, values in outputs.items():
        expected = golden[name]
        problem = "differ in shape"
        if values.shape == expected.shape:
            difference = float(np.abs(values - expected).max())
            largest = max(1.0, float(np.abs(expected).max()))
            if difference <= (tolerance.probability if name == "probabilities" else tolerance.relative * largest):
                continue
            problem = f"differ by {difference:.1e}"
        raise SonoforgeError(
            f"{where}: {name} of the network rebuilt from it {problem} from the golden vectors; export the bundle "
            "again from its run folder"
        )
    return graph


def _weights(graph: onnx.GraphProto, where: str) -> dict[str, Tensor]:
    """Return every layer's weight and bias by torch's name."""
    stored = {tensor.name: tensor for tensor in graph.initializer}
    weights: dict[str, Tensor] = {}
    for node in graph.node:
        if node.op_type not in ("Conv", "Gemm"):
            continue
        layer = re.fullmatch(r"(.+)\.weight", node.input[1])
        if layer is None:
            raise _not_ours(where, f"a layer with the weight {node.input[1]!r:.60}")
        for kind, name in zip(("weight", "bias"), node.input[1:], strict=False):
            tensor = stored.get(name)
            if tensor is None or tensor.data_type != onnx.TensorProto.FLOAT:
                raise _not_ours(where, f"no float32 values of {name!r:.60} in the file")
            try:
                weights[f"{layer[1]}.{kind}"] = torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy())
            except ValueError as error:
                raise _not_ours(where, f"too few or too many values of {name!r:.60}") from error
    return weights


def _not_ours(where: str, found: str) -> SonoforgeError:
    return SonoforgeError(f"{where}: has {found}, so it is not a MobileNetV2 that sonoforge exported")


def read_record(bundle: Bundle[ClassifierManifest], graph: BundleGraph) -> ModelRecord:
    """Return the record of a bundle's model from its manifest, which must have everything that the card needs."""
    manifest = bundle.manifest
    raw: Any = manifest.raw
    evaluation = raw["evaluation"]
    own: Any = {name: value for name, value in evaluation.items() if name not in ELSEWHERE}
    elsewhere: Any = {name: value for name, value in evaluation.items() if name in ELSEWHERE}
    trust: Any = {name: value for name, value in raw["trust"].items() if name != "method"}
    try:
        record = ModelRecord(
            **{name: raw[name] for name in ("name", "version", "decision", "conformal", "quality", "training")},
            classes=manifest.classes,
            temperature=manifest.temperature,
            trust=trust,
            evaluation=own,
            intended_use=raw["intended_use"],
            crop=manifest.preprocessing.crop,
            image_size=manifest.preprocessing.size,
            look=graph.look,
            elsewhere=elsewhere,
        )
        missing = lacking(record)
    except KeyError as error:
        missing = [str(error.args[0])]
    if missing:
        raise SonoforgeError(
            f"{bundle.path}: its manifest lacks {missing[0]}, which the card needs; export its run again"
        )
    return record


log = logging.getLogger(__name__)

TASK = ClassifierManifest.task
CALIBRATION = 128
_BATCH, _FILE_BATCH = 32, 8  # images that torch, and an exported file, answers at a time


def bundle_from_run(
    run: Path, folder: Path, formats: Sequence[str] = ("onnx",), data: str = "", evidence: Sequence[Path] = ()
) -> list[FormatRow]:
    """Export the model of a run folder; return the rows of `add_formats`.

    Args:
        run: With ``model/``, and ``predictions.csv`` if it was cross-validated.
        folder: Where the bundle goes; an existing classifier's bundle is replaced at the very end.
        formats: Rows of `FORMATS`, or ``all``, which leaves out what this machine cannot write or check.
        data: Images to judge the files on; empty for the run's own.
        evidence: Runs of the same recipe whose tables go into the card, see `evidence`.
    """
    names = choose(formats)
    members, own, arrays = load_model(run / "model")
    signatures = (run / "model" / SIGNATURES).read_bytes()
    origins = read_origins(f"{run / 'model' / SIGNATURES}", signatures, own.classes, own.training["collections"])
    record = with_evidence(own, evidence, origins)
    with replacing_bundle(folder, TASK) as fresh:
        settings = read_config(run) if (run / CONFIG).is_file() else {}
        judged = JudgedModel(record.classes, record.training, arrays.parity_pixels, record.preprocessing)
        images = find_images(data, run, settings, judged)
        files = {SIGNATURES: signatures}
        graph = network_of(members, record)
        if len(members) == 1 and "backbone" not in record.training:  # for `--weights BUNDLE`
            means, variances = folded_statistics(members[0])
            files["batch-norm.npz"] = npz({"means": means.numpy(), "variances": variances.numpy()})
        fill_bundle(graph, record, arrays, files, fresh)
        exported = _prepare(open_bundle(fresh), graph, images, arrays.parity_pixels)
        try:
            from sonoforge.export.bundle.recomputed import recompute  # noqa: PLC0415 - has packages of its own

            checked = recompute(run, own, origins, images, exported.reference["logits"])
        except ModuleNotFoundError as error:
            checked = {"why": f"{error.name} is not installed, which sonoforge[train] brings"}
        _state(fresh, run.resolve().name, checked)
        return add_formats(fresh, exported, names, formats)


def bundle_from_bundle(
    bundle: Bundle[ClassifierManifest], folder: Path, formats: Sequence[str], data: str, evidence: Sequence[Path]
) -> list[FormatRow]:
    """Copy a bundle, adding formats and evidence; see `bundle_from_run`."""
    names = choose(formats)
    judged = JudgedModel(bundle.classes, bundle.manifest.raw["training"], None, bundle.manifest.preprocessing)
    images = find_images(data, None, {}, judged)
    with replacing_bundle(folder, TASK) as fresh:
        for name in bundle.manifest.files:
            atomic.write_bytes(fresh / name, bundle.read(name))
        graph, manifest = read_network(bundle), bundle.manifest.raw
        if evidence:
            stored, collections = bundle.read(SIGNATURES), manifest["training"]["collections"]
            origins = read_origins(f"{bundle.path}: {SIGNATURES}", stored, bundle.classes, collections)
            record = with_evidence(read_record(bundle, graph), evidence, origins)
            card = classifier_card(record).encode()  # `add_formats` adds the table of files
            files = {**manifest["files"], "MODEL_CARD.md": file_entry(card)}
            manifest = {**manifest, "evaluation": {**record.evaluation, **record.elsewhere}, "files": files}
            atomic.write_bytes(fresh / "MODEL_CARD.md", card)
        write_manifest(fresh, manifest)
        origin = bundle.manifest.origin and f" ({bundle.manifest.origin})"
        _state(fresh, f"the bundle {bundle.manifest.title}{origin}", {"why": "a bundle keeps no answers"})
        exported = _prepare(open_bundle(fresh), graph, images, None)
        return add_formats(fresh, exported, names, formats)


def _state(folder: Path, by: str, checked: Record) -> None:
    """Enter what was computed again, see `recomputed`, and by whom the rest is stated; `add_formats` says it."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    others = [manifest["evaluation"].get(kind, {}) for kind in ("left_out", "sealed")]
    cited = [own["by"] for own in others if "by" in own]
    manifest["evaluation"]["checked"] = {"by": by, **checked, "cited": cited}
    write_manifest(folder, manifest)


def fill_bundle(
    graph: BundleGraph, record: ModelRecord, arrays: ModelArrays, files: Mapping[str, bytes], folder: Path
) -> None:
    """Export the model as ONNX and write a bundle's files, including ``files`` unchanged, into an empty folder."""
    preprocessing = record.preprocessing
    metadata = {  # text for every model file that can hold text
        **({LOOK: str(graph.look)} if graph.look else {}),
        "sonoforge.preprocessing": json.dumps(preprocessing.to_dict()),
        "sonoforge.classes": json.dumps(list(record.classes)),
        "sonoforge.name": f"{record.name} {record.version}",
        "sonoforge.use": "research use, not a medical device",
    }
    model = to_onnx(graph, preprocessing.size, metadata)
    golden = run_torch(graph, preprocessing.normalise(arrays.golden_pixels))
    about = {
        "name": record.name,
        "version": record.version,
        "classes": list(record.classes),
        "preprocessing": preprocessing.to_dict(),
        "outputs": {name: list(golden[name].shape[1:]) for name in OUTPUTS},
        "calibration": {"temperature": record.temperature, "protocol": f"fitted on {calibrated_on(record)}"},
        "decision": record.decision,
        "conformal": record.conformal,
        "trust": {"method": "ppca-mahalanobis", **record.trust},
        "quality": record.quality,
        "training": record.training,
        "evaluation": {**record.evaluation, **record.elsewhere},
        "parity": {"formats": {}},
        "intended_use": record.intended_use,
    }
    contents = {
        "model.onnx": model,
        "reference.npz": npz(arrays.reference),
        "golden.npz": npz({"pixels": arrays.golden_pixels, **golden}),
        **files,
        "MODEL_CARD.md": classifier_card(record).encode(),
    }
    write_bundle(folder, TASK, about, contents)
    bundle = open_bundle(folder)  # the reader must accept what the writer wrote
    Classifier(bundle)
    bundle.golden()


@dataclass(frozen=True)
class ExportedClassifier:
    """A classifier, its images and the network's answers to them; see `add_formats`."""

    source: Source
    images: GateImages
    inputs: NDArray[np.float32]  # the images normalised, (N, 3, S, S)
    reference: Answers
    classes: tuple[str, ...]  # names

    def allowed(self, name: str) -> FormatRow:
        """Return the tolerance and, below fp32, how many images ranges were measured on."""
        row: FormatRow = {"tolerance": self._tolerance(name)._asdict()}
        if FORMATS[name].precision != "fp32":
            judged = {pixels.tobytes() for pixels in self.images.pixels}
            among = sum(pixels.tobytes() in judged for pixels in self.source.calibration)
            row["calibration"] = {"images": len(self.source.calibration), "among_those_checked": among}
        return row

    def check(self, name: str, file: Path) -> tuple[FormatRow, list[str]]:
        """Compare a file's answers with the network's."""
        if FORMATS[name].whole_images:  # of any size, one at a time
            run = open_file(name, file)
            parts = [run([np.atleast_3d(original())[None]]) for original in self.images.originals]
            outputs = [np.concatenate(values) for values in zip(*parts, strict=True)]
        else:
            outputs = run_in_subprocess(name, file, [self.inputs], batch=_FILE_BATCH)
        if len(outputs) != len(OUTPUTS):
            raise GateError(f"has {len(outputs)} outputs, not {', '.join(OUTPUTS)}")
        row = compare(dict(zip(OUTPUTS, outputs, strict=True)), self.reference, self.images, self.classes)
        return row, problems(row, self._tolerance(name))

    def _tolerance(self, name: str) -> Tolerance:
        return FORMATS[name].tolerance.of_passes(self.source.has_second_pass)


def _prepare(
    bundle: Bundle[ClassifierManifest], graph: BundleGraph, images: GateImages, training: NDArray[np.uint8] | None
) -> ExportedClassifier:
    """Compute the network's answers; measure ranges on the training images, or on ``images`` if there are too few."""
    log.info("checking on %s", images.source)
    if training is None or len(training) < FEWEST:
        training = images.pixels[evenly_spaced(len(images.pixels), CALIBRATION)]
    manifest = bundle.manifest
    source = Source(graph, bundle.read(manifest.model), np.asarray(training), manifest.preprocessing)
    inputs = manifest.preprocessing.normalise(images.pixels)
    parts = [run_torch(graph, inputs[first : first + _BATCH]) for first in range(0, len(inputs), _BATCH)]
    reference = {name: np.concatenate([part[name] for part in parts]) for name in OUTPUTS}
    return ExportedClassifier(source, images, inputs, reference, manifest.classes)
