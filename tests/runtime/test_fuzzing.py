"""Whatever bytes a file holds, it is read or refused by the one error type, in seconds.

Small files of every kind are changed at random.  A few hundred examples each run with the suite; many more with
``SONOFORGE_FUZZ_EXAMPLES=20000 pytest -n 0 tests/runtime/test_fuzzing.py``; at least 2000 of some kinds with
``pytest -m slow -n 0 --timeout 0 tests/runtime/test_fuzzing.py``.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import bundle_factory as factory
import dicom_files
from file_structure import CHANGES, EDITS, changed, edit, numbers
from image_files import HEIC, write_tiff
from mutations import ODD_VALUES, altered
from sonoforge.runtime.bundle.files import load_arrays
from sonoforge.runtime.bundle.manifest import with_digest
from sonoforge.runtime.bundle.onnx_graph import check_graph
from sonoforge.runtime.bundle.reader import SHIPPED, open_bundle, parse_manifest
from sonoforge.runtime.csv_tables import Names, one_spelling, read_table
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.clip_files import clip_frames, sequence_frames
from sonoforge.runtime.images.decoding import decode_image
from sonoforge.runtime.images.dicom.reader import open_dicom
from sonoforge.runtime.images.limits import ImageError
from sonoforge.runtime.inference.classifier import Classifier
from sonoforge.runtime.inference.onnx_session import load_session, run_session
from worker import LONGEST_SECONDS, Worker

pytestmark = pytest.mark.filterwarnings("ignore")  # Pillow and pydicom warn of damaged metadata

EXAMPLES = int(os.environ.get("SONOFORGE_FUZZ_EXAMPLES", "50"))
LINUX = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the memory of a process is limited on Linux alone"
)
MODEL_MEMORY = 4_000_000_000  # bytes that a model may take in these tests, with what pytest itself holds
LZW = {"compression": "tiff_lzw"}
MOST_MB = 400  # that any other file may take, beside that
fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,  # measured below, without the making of the example
    derandomize="SONOFORGE_FUZZ_EXAMPLES" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def written(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def image_files() -> list[bytes]:
    """Smallest images of all kinds that are read."""
    rng = np.random.default_rng(0)
    grey = Image.fromarray(rng.integers(0, 256, (17, 20)).astype(np.uint8))
    colour = Image.fromarray(rng.integers(0, 256, (17, 20, 4)).astype(np.uint8))
    deep = Image.fromarray(rng.integers(0, 65536, (17, 20)).astype(np.uint16))
    rgb, bits, palette = colour.convert("RGB"), grey.convert("1"), colour.convert("P")
    animated = {"save_all": True, "append_images": [palette], "loop": 0, "comment": "x"}
    return [
        *(written(grey, kind) for kind in ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM")),
        written(colour, "PNG"),
        written(colour, "TIFF", compression="tiff_lzw"),
        written(colour.convert("CMYK"), "TIFF", compression="tiff_deflate"),
        written(rgb, "TIFF", compression="jpeg"),
        written(colour.convert("YCbCr"), "TIFF", compression="tiff_adobe_deflate"),
        written(grey, "TIFF", compression="packbits", strip_size=40),
        written(grey, "TIFF", compression="tiff_lzw", strip_size=20),
        written(grey, "TIFF", compression="lzma"),
        written(bits, "TIFF", compression="group4"),
        written(bits, "TIFF", compression="group3"),
        written(grey, "GIF", **animated),
        written(palette, "GIF", interlace=1, transparency=2),
        written(rgb, "JPEG2000"),
        written(grey.convert("P"), "PNG", transparency=3),
        written(deep, "PNG"),
        written(rgb, "JPEG", progressive=True),
    ]


def clip_files() -> list[bytes]:
    """Small animations, pages and a picture as AVIF and HEIC."""
    rng = np.random.default_rng(1)
    first, *others = (Image.fromarray(rng.integers(0, 256, (17, 20, 3)).astype(np.uint8)) for _ in range(3))
    files = [
        written(first, kind, save_all=True, append_images=others, **options)
        for kind, options in (("GIF", {}), ("PNG", {}), ("WEBP", {}), ("TIFF", {}), ("AVIF", {}), ("TIFF", LZW))
    ]
    return [*files, HEIC]


def dicom_file_bytes(tmp: Path) -> list[bytes]:
    """Small DICOM files: uncompressed, deflated, RLE and JPEG; grey, colour and palettes; windows, tables, groups."""
    from pydicom.dataset import Dataset
    from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

    window = {"WindowCenter": "100", "WindowWidth": "50", "RescaleSlope": "2", "RescaleIntercept": "-10"}
    written = [dicom_files.data_set(dicom_files.scan()) for _ in range(3)]
    written[1].compress(RLELossless)
    written[2].file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    written += [
        dicom_files.data_set(
            dicom_files.scan(3).astype(np.uint16) * 16, BitsStored=12, PixelSpacing=[0.1, 0.1], **window
        ),
        dicom_files.data_set(
            dicom_files.colour_scan(), "RGB", SequenceOfUltrasoundRegions=[dicom_files.region((4, 4, 40, 40))]
        ),
        dicom_files.with_jpeg(dicom_files.data_set(dicom_files.scan()), dicom_files.scan()),
    ]
    steps = [(dicom_files.window(100, 50 * slope, "SIGMOID"), dicom_files.rescale(slope)) for slope in (1, 4, 2)]
    plain = np.arange(3 * 256, dtype="<u2").reshape(3, 256) // 3
    segments = np.array([[0, 3, 10, 0, 200, 1, 100, 7, 2, 2, 0, 0, 1, 50, 77]] * 3, "<u2")
    level = Dataset()
    level.LUTDescriptor, level.LUTData = [256, 0, 12], plain[0].tobytes()
    level["LUTDescriptor"].VR, level["LUTData"].VR = "US", "OW"
    groups = {
        "SharedFunctionalGroupsSequence": [dicom_files.groups(*steps[0])],
        "PerFrameFunctionalGroupsSequence": [dicom_files.groups(*one) for one in steps],
    }
    deep = dicom_files.scan(3).astype(np.uint16) * 16
    written += [
        dicom_files.data_set(deep, BitsStored=12, **groups),
        dicom_files.data_set(
            deep, BitsStored=12, PerFrameFunctionalGroupsSequence=[dicom_files.groups(None, steps[1][1])]
        ),
        dicom_files.data_set(dicom_files.scan(), "PALETTE COLOR", **dicom_files.palette(plain, (256, 0, 8))),
        dicom_files.data_set(dicom_files.scan(), "PALETTE COLOR", **dicom_files.palette(segments, (256, 0, 16), True)),
        dicom_files.data_set(dicom_files.scan(), VOILUTSequence=[level]),
    ]
    return [dicom_files.save(one, tmp / f"{number}.dcm").read_bytes() for number, one in enumerate(written)]


def check(read: Callable[[], object]) -> None:
    """Read, and let one line of the one error type pass."""
    started = time.process_time()  # another program's turn is no fault of ours
    try:
        read()
    except SonoforgeError as error:
        assert "\n" not in str(error) and len(str(error)) < 2000
    assert time.process_time() - started < LONGEST_SECONDS


@pytest.fixture(scope="module")
def worker() -> Iterator[Callable[[Callable[[bytes], object], int], Worker]]:
    started: list[Worker] = []

    def start(use: Callable[[bytes], object], memory: int) -> Worker:
        started.append(Worker(use, memory))
        return started[-1]

    yield start
    for one in started:
        one.close()


@LINUX
@pytest.mark.parametrize("kind", ["images", "dicom", "clips"])
def test_damaged_pictures_are_read_or_refused(kind: str, worker: Callable[..., Worker], tmp_path: Path) -> None:
    files = {"images": image_files, "dicom": lambda: dicom_file_bytes(tmp_path), "clips": clip_files}[kind]()
    built = [numbers(file) for file in files]
    if kind == "clips":
        reader = worker(lambda data: [frame.size for frame in sequence_frames("file", data)], MODEL_MEMORY)
        assert [reader.try_file(file).kind for file in files] == ["answered"] * len(files)
    else:
        assert sum(map(bool, built)) == (13 if kind == "images" else 11)
        read_file = decode_image if kind == "images" else lambda data, name: [*open_dicom(name, data).frames()]
        reader = worker(lambda data: read_file(data, "file"), MODEL_MEMORY)
    try_damaged(files, reader, fuzzed)


def try_damaged(files: list[bytes], reader: Worker, chosen: settings) -> None:
    """Change files at random, and let a worker read or refuse them, within its memory and time."""
    built, found = [numbers(file) for file in files], Counter[str]()

    @chosen
    @given(st.integers(0, len(files) - 1), CHANGES, st.just([]) | EDITS)
    def read(number: int, changes: list[tuple[float, float, str]], edits: list[tuple[str, float, bytes]]) -> None:
        data = edit(changed(files[number], built[number], changes), edits)
        outcome = reader.try_file(data)
        found[outcome.kind] += 1
        assert outcome.kind in ("answered", "refused"), f"{outcome}: {data.hex()}"
        assert "\n" not in outcome.said and len(outcome.said) < 2000
        assert outcome.peak_mb < MOST_MB, f"{outcome}: {data.hex()}"

    read()
    print(dict(found))


def tiff_files() -> list[bytes]:
    """Small TIFF files: strips, tiles and planes of all depths, several pages, and Pillow's ways of compression."""
    rng = np.random.default_rng(2)
    files = [
        write_tiff(rng.integers(0, 2**bits, (17, 20, samples)), kind, bits, order=order, tile=tile, planar=planar)
        for order, tile, planar in (("<", 0, False), (">", 16, False), ("<", 16, True))
        for bits, samples, kind in ((1, 1, 0), (4, 1, 1), (8, 1, 1), (16, 1, 0), (8, 3, 2), (16, 3, 2), (8, 4, 5))
    ]
    files += [write_tiff(rng.integers(0, 2**16, (17, 20, 2)), 1, 16, tags={339: (3, 3)})]
    return files + [file for file in (*image_files(), *clip_files()) if file[:2] in (b"II", b"MM")]


def films(folder: Path) -> list[bytes]:
    """Small films in each container and code that OpenCV writes here."""
    cv2 = pytest.importorskip("cv2", reason="needs the extra video")
    frames = [
        cv2.GaussianBlur(np.random.default_rng(n).integers(0, 256, (48, 64, 3), np.uint8), (9, 9), 3) for n in range(4)
    ]
    kinds = (
        "MJPG.avi",
        "FFV1.avi",
        "XVID.avi",
        "mp4v.mp4",
        "MJPG.mov",
        "png .mov",
        "FFV1.mkv",
        "VP80.webm",
        "VP90.webm",
    )
    files = []
    for kind in (*kinds, "WMV2.wmv"):
        film = cv2.VideoWriter(str(folder / kind), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*kind[:4]), 10, (64, 48))
        for frame in frames:
            film.write(frame)
        film.release()
        files.append((folder / kind).read_bytes())
    return files


def read_picture_or_pages(data: bytes) -> None:
    try:
        decode_image(data, "file")
    except ImageError as error:
        if error.code != "animated":
            raise
        assert sum(frame.width for frame in sequence_frames("file", data))


def read_film(data: bytes) -> None:
    """Decode all frames in the decoder's process, whose time counts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        for frame in clip_frames("film", data):
            frame.getpixel((0, 0))
    finally:
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        assert seconds < LONGEST_SECONDS, f"took {seconds:.1f} s"


@LINUX
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["TIFF", "HEIC", "films"])
def test_thousands_of_damaged_files_are_read_or_refused(
    kind: str, worker: Callable[..., Worker], tmp_path: Path
) -> None:
    if kind == "HEIC":
        pytest.importorskip("pi_heif", reason="needs the extra heic")
    files = {"TIFF": tiff_files, "HEIC": lambda: [HEIC], "films": lambda: films(tmp_path)}[kind]()
    reader = worker(read_film if kind == "films" else read_picture_or_pages, MODEL_MEMORY)
    kinds = {reader.try_file(file).kind for file in files}
    assert kinds == ({"answered", "refused"} if kind == "TIFF" else {"answered"})  # planes of 16 bits, float
    try_damaged(files, reader, settings(fuzzed, max_examples=max(EXAMPLES, 2000)))


def whole_files(kind: str, folder: Path) -> list[bytes]:
    """Sound files of a kind: an archive of arrays, a bundle as .zip, or one table as several programs save it."""
    if kind == "arrays":
        return [factory.npz(a=np.arange(6, dtype=np.float32), b=np.zeros((2, 3), np.uint8))]
    if kind == "bundle":
        return [factory.zip_bundle(factory.write_bundle(folder / "bundle"), folder / "whole.zip").read_bytes()]
    plain = 'file,group,device\nbenign/Müller 1.png,007,"A, B"\nb/x.png,,\n'
    other = plain.replace('"A, B"', "AB").replace(",", ";").replace("\n", "\r\n")
    tables = [plain.encode("utf-8-sig"), other.encode("cp1252"), b"sep=;\r\n" + other.encode()]
    tables.append(other.replace(";", "\t").encode("utf-16"))
    return [gzip.compress(table) for table in tables] if kind == "packed tables" else tables


def read_bundle(path: Path) -> None:
    bundle = open_bundle(path)
    for name in bundle.manifest.files:
        bundle.read(name)
    bundle.golden()


def read_rows(path: Path) -> None:
    columns, rows = read_table(path, ("file", "group"))
    assert all(len(row) == len(columns) and None not in row.values() for row in rows)
    files = Names([row["file"] for row in rows], "data")
    assert all(isinstance(files.find(row["file"]) + files.near(row["file"]), str) for row in rows)
    assert set(one_spelling((row["group"] for row in rows), "table")) == {row["group"] for row in rows}


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "arrays": ("a.npz", lambda path: load_arrays(path.name, path.read_bytes())),
    "bundle": ("damaged.zip", read_bundle),
    "tables": ("table.csv", read_rows),
    "packed tables": ("table.csv.gz", read_rows),
}


@pytest.mark.parametrize("kind", READERS)
def test_damaged_files_are_read_or_refused(kind: str, tmp_path: Path) -> None:
    (name, read), files = READERS[kind], whole_files(kind, tmp_path)

    @fuzzed
    @given(st.sampled_from(files), EDITS)
    def change(whole: bytes, edits: list[tuple[str, float, bytes]]) -> None:
        (tmp_path / name).write_bytes(edit(whole, edits))
        check(lambda: read(tmp_path / name))

    change()


def answer_zeros(content: bytes) -> None:
    """Look into a model file, load it and run it on zeros."""
    check_graph(content, "model.onnx")
    zeros = np.zeros((1, 3, factory.SIZE, factory.SIZE), np.float32)
    run_session(load_session(content, "model.onnx"), {"input": zeros}, "model.onnx")


@LINUX
def test_damaged_models_answer_or_are_refused(worker: Callable[..., Worker], tmp_path: Path) -> None:
    """Those that end their process, or take too long, are refused by the trial that foreign bundles go through."""
    harmful: list[bytes] = []
    runner = worker(answer_zeros, MODEL_MEMORY)

    @fuzzed
    @given(EDITS)
    def change(edits: list[tuple[str, float, bytes]]) -> None:
        content = edit(factory.model_bytes(), edits)
        outcome = runner.try_file(content)
        assert outcome.kind != "raw", outcome.said
        assert "\n" not in outcome.said and len(outcome.said) < 2000
        if outcome.kind in ("crashed", "hung") or outcome.peak_mb > MOST_MB:
            harmful.append(content)
            runner.start_anew()

    change()
    for number, content in enumerate(harmful):
        folder = factory.write_bundle(tmp_path / str(number), model=content)
        with pytest.raises(SonoforgeError, match="do not use this bundle"):
            Classifier(folder)


def shipped_manifest() -> Any:
    """The shipped manifest, its longest list cut."""
    document = json.loads((SHIPPED / "manifest.json").read_bytes())
    document["training"]["images"] = document["training"]["images"][:2]
    return with_digest(document)


@fuzzed
@given(ODD_VALUES)
def test_odd_manifests_are_read_or_refused(changes: list[tuple[float, Any, bool]]) -> None:
    data = json.dumps(altered(shipped_manifest(), changes)).encode()
    check(lambda: parse_manifest(data))
