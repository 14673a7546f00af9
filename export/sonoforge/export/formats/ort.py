"""The ``.ort`` file: onnxruntime's own format, for its reduced builds on phones and in pages."""

import tempfile
from pathlib import Path

from sonoforge.export.formats.source import Source
from sonoforge.runtime.errors import GateError, reason
from sonoforge.runtime.inference.onnx_session import session_options


def to_ort(model: bytes) -> bytes:
    """Convert an ONNX file to onnxruntime's format, optimised for any processor.

    The weight layout for x86 processors is left out (as in onnxruntime's own converter), because such a file would not
    run on a phone; so on x86 this file is slower than the ONNX file.  onnxruntime does not fix the order of all parts,
    so two conversions answer the same but differ in their bytes.

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
            found = f"onnxruntime could not write it ({reason(error)})"
            raise GateError(f"model.ort: {found}; check the ONNX file") from error
        return target.read_bytes()


def required_operators(ort_file: bytes) -> str:
    """List the operators that a ``.ort`` file needs, for onnxruntime's build (``--include_ops_by_config``).

    Each line is ``domain;operator set;operators``.
    """
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
