"""ORT files: onnxruntime's own format, for its reduced builds on phones and in web pages."""

import tempfile
from pathlib import Path

from sonoforge.export.formats.source import Source
from sonoforge.runtime.errors import GateError, reason
from sonoforge.runtime.inference.onnx_session import session_options


def to_ort(model: bytes) -> bytes:
    """Convert an ONNX file to onnxruntime's format, optimised for any processor.

    As in onnxruntime's own converter, weights are not laid out for x86, because such a file would not run on a phone;
    so on x86 this file is slower than the ONNX file.  Two conversions answer the same but differ in their bytes.

    Raises:
        GateError: onnxruntime cannot load or write the model.
    """
    import onnxruntime  # noqa: PLC0415 - it takes a while

    with tempfile.TemporaryDirectory(prefix="sonoforge-") as folder:
        target = Path(folder) / "model.ort"
        options = session_options(threads=1)
        options.optimized_model_filepath = str(target)
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.add_session_config_entry("session.save_model_format", "ORT")
        try:
            onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"], disabled_optimizers=["NchwcTransformer"]
            )
        except Exception as error:  # onnxruntime raises a family of its own that has no common base
            raise GateError(f"model.ort: onnxruntime cannot write it ({reason(error)}); check the ONNX file") from error
        return target.read_bytes()


def required_operators(ort_file: bytes) -> str:
    """List a file's operators for onnxruntime's ``--include_ops_by_config``, ``domain;operator set;operators`` each."""
    from onnxruntime.tools.ort_format_model import create_config_from_models, utils  # noqa: PLC0415 - only for this

    utils.log.setLevel("WARNING")  # else it prints the temporary file's name
    with tempfile.TemporaryDirectory(prefix="sonoforge-") as folder:
        model, config = Path(folder) / "model.ort", Path(folder) / "operators.config"
        model.write_bytes(ort_file)
        create_config_from_models([model], config, enable_type_reduction=False)
        lines = config.read_text(encoding="utf-8").splitlines()
    # Comments name the temporary file.
    return "".join(f"{line}\n" for line in lines if not line.startswith("#"))


def write_ort(source: Source) -> bytes:
    """Write ``model.ort``; see `to_ort`."""
    return to_ort(source.onnx)
