"""Studies fetched by DICOMweb: from Orthanc, whole; from a server that lies, refused in one line."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pydicom", reason="DICOM is an extra: pip install 'sonoforge[dicom]'")

from pydicom import dcmread

import dicom_peers
from dicom_peers import STUDY
from program import refused, sonoforge, succeed
from sonoforge.runtime.dicom_network.web_client import is_dicomweb

KIND = 'multipart/related; type="application/dicom"; boundary=b0'


@pytest.mark.slow
def test_orthanc_gives_a_study_that_classify_answers(tmp_path: Path) -> None:
    dicom_peers.needs("Orthanc")
    if not Path(dicom_peers.DICOMWEB).exists():
        pytest.skip("Orthanc's DICOMweb is not installed (Debian: orthanc-dicomweb)")
    scans = dicom_peers.write_scans(tmp_path / "scans", 3)
    with dicom_peers.orthanc(tmp_path / "orthanc", dicom_peers.free_port()) as (_, ask):
        for path in scans:
            ask("/instances", path.read_bytes())
        root = f"{ask.address}/dicom-web/studies"
        for url, count in (
            (f"{root}/{STUDY}/series/{STUDY}.1/instances/{STUDY}.1.2", 1),
            (f"{root}/{STUDY}", 2),
            (f"{root}/{STUDY}/series/{STUDY}.1", 0),
            (f"{root}?PatientID=Zebedee", 0),  # all are there
        ):
            done = succeed("data", "import", "url", url, tmp_path / "study")
            assert done.json["copied"] == count, url
        assert "no such study or series" in refused(
            "data", "import", "url", f"{root}?PatientID=nobody", tmp_path / "none"
        )
    fetched = {(read := dcmread(path)).SOPInstanceUID: read for path in (tmp_path / "study" / STUDY).iterdir()}
    assert len(fetched) == 3
    for scan in map(dcmread, scans):
        assert fetched[scan.SOPInstanceUID] == scan
    assert sonoforge("classify", tmp_path / "study", "--recursive", "--json").json["summary"]["ok"] == 3


@pytest.fixture
def archive() -> Iterator[tuple[str, dict[str, Any]]]:
    """The URL of a server, and what it answers by path: (type, body), or a status."""
    answers: dict[str, Any] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = answers.get(self.path, 404)
            if isinstance(answer, int):
                self.send_error(answer)
                return
            self.send_response(200)
            self.send_header("Content-Type", answer[0])
            self.end_headers()
            self.wfile.write(answer[1])

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", answers
        server.shutdown()


def listed(**changes: str) -> tuple[str, bytes]:
    uids = {"0020000D": STUDY, "0020000E": f"{STUDY}.1", "00080018": f"{STUDY}.1.1", **changes}
    items = [{tag: {"vr": "UI", "Value": [uid]} for tag, uid in uids.items()}]
    return "application/dicom+json", json.dumps(items).encode()


def test_an_archive_that_lies_is_refused_in_one_line(archive: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    url, answers = archive
    place, one = f"/studies/{STUDY}/instances", f"/studies/{STUDY}/series/{STUDY}.1/instances/{STUDY}.1.1"
    command = (
        "data",
        "import",
        "url",
        f"{url}/studies/{STUDY}",
        tmp_path / "study",
        "--set",
        "import.size_limit=0.001",
    )
    assert "answered 404; check the URL" in refused(*command)
    answers[place] = 401
    assert "answered 401; check the URL; put name and password into ~/.netrc" in refused(*command)
    for body in (b"junk", b"{}", b"[1]", b"[" * 100_000):
        answers[place] = ("application/dicom+json", body)
        assert "not a JSON list" in refused(*command)
    for lie in ({"00080018": "../../x"}, {"0020000D": "/etc"}, {"0020000E": ""}):
        answers[place] = listed(**lie)
        assert "has no UID" in refused(*command)
    answers[place] = listed()
    other = dicom_peers.write_scan(tmp_path / "b.dcm", 2).read_bytes()
    for answer in (("text/html", b"<p>"), (KIND, b"--b0\r\n\r\n" + other + b"\r\n--b0--"), (KIND, b"")):
        answers[one] = answer
        assert "objects, or another one" in refused(*command)
    answers[one] = (KIND, bytes(1_000_001))
    assert "1 MB; raise --set import.size_limit" in refused(*command)
    assert not (tmp_path / "study").exists()
    own = dicom_peers.write_scan(tmp_path / "a.dcm", 1).read_bytes()
    answers[one] = (KIND, b"--b0\r\nContent-Type: application/dicom\r\n\r\n" + own + b"\r\n--b0--")
    assert succeed(*command).json["copied"] == 1
    assert (tmp_path / "study" / STUDY / f"{STUDY}.1.1.dcm").read_bytes() == own
    assert "credentials" in refused("data", "import", "url", f"http://me:secret@host/studies/{STUDY}", "x")
    line = refused("data", "import", "url", "http://127.0.0.1:9/studies?PatientName=Zebedee", "x")
    assert "http://127.0.0.1:9/studies: cannot be reached" in line and "Zebedee" not in line


def test_only_urls_of_studies_are_of_dicomweb() -> None:
    assert is_dicomweb("https://a/b/studies/1.2") and is_dicomweb("http://a/studies?PatientID=1")
    assert not any(map(is_dicomweb, ("s3://bucket/studies/1", "https://a/images", "file:///studies/1.2", "studies")))
