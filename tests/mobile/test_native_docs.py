"""The Kotlin of ``mobile/docs/native``: compiled, and run on a plain JVM against the bundle's golden images."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from places import CHECKOUT
from sonoforge.mobile.android_app import find_platform
from sonoforge.runtime.bundle.reader import SHIPPED, open_bundle
from sonoforge.runtime.inference.decision import decide, read_clinic

pytestmark = pytest.mark.slow  # the Kotlin compiler alone takes its time

JARS = Path("/usr/share/java")
JSON, STDLIB, CLOSEABLE = (JARS / name for name in ("json-android.jar", "kotlin-stdlib.jar", "kotlin-stdlib-jdk7.jar"))
STAND_INS = Path(__file__).parent / "native"


class Given(NamedTuple):
    pixels: NDArray[np.uint8]
    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code with the stand-ins for the engines, compiled."""
    platform = find_platform()
    if shutil.which("kotlinc") is None or platform is None or not JSON.is_file():
        pytest.skip("needs Debian's kotlin, libandroid-json-org-java and libandroid-23-java")
    folder = tmp_path_factory.mktemp("kotlin")
    sources = [*sorted((CHECKOUT / "mobile" / "docs" / "native").glob("*.kt")), *sorted(STAND_INS.glob("*.kt"))]
    classes = f"{CLOSEABLE}:{JSON}:{platform}"
    done = subprocess.run(
        ["kotlinc", *map(str, sources), "-classpath", classes, "-d", str(folder / "program")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder / "program"


@pytest.fixture(scope="module")
def golden() -> Given:
    with np.load(SHIPPED / "golden.npz") as arrays:
        return Given(arrays["pixels"], arrays["logits"], arrays["probabilities"])


def run(program: Path, folder: Path, inputs: NDArray[np.float32], logits: NDArray[np.float32]) -> list[list[str]]:
    """The program's lines, in words, with 40 pictures of all shapes."""
    recorded = io.BytesIO(struct.pack(">i", len(inputs)))
    recorded.seek(0, io.SEEK_END)
    for image, answer in zip(inputs, logits, strict=True):
        for values in (image.ravel(), answer):
            recorded.write(struct.pack(">i", values.size) + values.astype(">f4").tobytes())
    (folder / "recorded").write_bytes(recorded.getvalue())
    shown = b"".join(struct.pack(">ii", *p.shape[1::-1]) + p.tobytes() for p in pictures())
    (folder / "pictures").write_bytes(struct.pack(">i", len(pictures())) + shown)
    classes = f"{program}:{JSON}:{STDLIB}:{CLOSEABLE}"
    command = [
        "java",
        "-cp",
        classes,
        "sonoforge.stand_in.ProgramKt",
        SHIPPED,
        folder / "recorded",
        folder / "pictures",
    ]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [line.split(" ") for line in done.stdout.splitlines()]


def pictures() -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    sizes = [(224, 224), (1, 1), (224, 300), (700, 224), (1, 900), (900, 1), *rng.integers(2, 900, (34, 2)).tolist()]
    return [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for height, width in sizes]


def test_the_code_of_the_page_computes_what_python_computes(program: Path, golden: Given, tmp_path: Path) -> None:
    manifest = open_bundle().manifest
    lines = run(program, tmp_path, manifest.preprocessing.normalise(golden.pixels), golden.logits)
    assert [line[1] for line in lines if line[0] == "self-test"] == ["0.0", "0.0"]
    answers = [line for line in lines if line[0] == "answer"]
    clinics = [read_clinic("", 0.95, manifest), read_clinic("normal=.6,benign=.3,malignant=.1", 0.8, manifest)]
    cases = [(clinic, said) for clinic in clinics for said in golden.probabilities]
    for (_, label, members, values, findings), (clinic, said) in zip(answers, cases, strict=True):
        expected = decide(dict(zip(manifest.classes, said.tolist(), strict=True)), manifest, clinic)
        probabilities = [float(value) for value in values.split(",")]
        assert probabilities == pytest.approx([*expected.probabilities.values()], abs=1e-6)
        assert (label, tuple(members.split("|"))) == (expected.label, expected.set)
        for text, (name, finding) in zip(findings.split("|"), expected.findings.items(), strict=True):
            question, positive, probability = text.split(":")
            assert (question, positive) == (name, str(finding.positive).lower())
            assert float(probability) == pytest.approx(finding.probability, abs=1e-6)
    squeezed = [bytes.fromhex(line[1]) for line in lines if line[0] == "picture"]
    assert len(squeezed) == 40
    for found, picture in zip(squeezed, pictures(), strict=True):
        assert found == manifest.preprocessing.resize(Image.fromarray(picture)).tobytes(), picture.shape


def test_a_phone_that_computes_otherwise_is_noticed(program: Path, golden: Given, tmp_path: Path) -> None:
    inputs = open_bundle().manifest.preprocessing.normalise(golden.pixels)
    otherwise = golden.logits.copy()
    otherwise[-1, -1] += np.float32(0.01)
    lines = run(program, tmp_path, inputs, otherwise)
    assert [float(line[1]) for line in lines if line[0] == "self-test"] == pytest.approx([0.01, 0.01], rel=1e-3)
