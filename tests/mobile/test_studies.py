"""``serve --studies``: an independent client of DICOMweb stores scans, which are answered."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("highdicom", reason="DICOM is an extra: pip install 'sonoforge[dicom]'")

from pydicom import dcmread

import dicom_peers
from dicom_files import PLANTED
from sonoforge.mobile.server import Server, Site
from sonoforge.mobile.studies import Studies
from sonoforge.runtime.dicom_network.inbox import Inbox
from sonoforge.runtime.dicom_network.incoming import parts_of
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.inference.classifier import Classifier

MOST = 2_000_000
KIND = 'multipart/related; type="application/dicom"; boundary=b0undary'


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier()


@pytest.fixture
def port(classifier: Classifier, tmp_path: Path) -> Iterator[int]:
    waiting, _ = Inbox(tmp_path / "studies", MOST).store(dicom_peers.write_scan(tmp_path / "9.dcm", 9).read_bytes())
    site = Site({}, classifier, frozenset(("127.0.0.1",)), MOST, Studies(tmp_path / "studies", classifier))
    assert not waiting.exists()  # of a process that was killed
    with Server(("127.0.0.1", 0), site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def asked(port: int, body: bytes, **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.suppress(BrokenPipeError):  # what is refused is answered while it is still being sent
        connection.request("POST", "/studies", body, headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), content


def form(*objects: bytes) -> bytes:
    head = b"--b0undary\r\nContent-Type: application/dicom\r\n\r\n"
    return b"\r\n".join([*(head + each for each in objects), b"--b0undary--\r\n"])


def test_a_client_of_dicomweb_stores_scans_and_they_are_answered(port: int, tmp_path: Path) -> None:
    web = pytest.importorskip("dicomweb_client", reason="the client is a tool of developers: '.[dev]'")
    scans = [dcmread(path) for path in dicom_peers.write_scans(tmp_path / "scans", 2)]
    answer = web.DICOMwebClient(f"http://127.0.0.1:{port}").store_instances(scans)
    stored = {each.ReferencedSOPInstanceUID for each in answer.ReferencedSOPSequence}
    assert stored == {each.SOPInstanceUID for each in scans}
    written = {path.stem for path in (tmp_path / "studies" / "answers").glob("*.json")}
    assert written == stored | {f"{dicom_peers.STUDY}.1.9"}
    reports = [dcmread(path) for path in (tmp_path / "studies" / "answers").glob("*.dcm")]
    assert sorted(each.Modality for each in reports) == ["OT"] * 3 + ["SR"] * 3
    assert list((tmp_path / "studies" / "received").iterdir()) == []
    with pytest.raises(SonoforgeError, match="another process answers here"), Inbox(tmp_path / "studies", MOST).alone():
        pass


def test_what_cannot_be_stored_is_told_as_the_standard_has_it(port: int, tmp_path: Path) -> None:
    good = dicom_peers.write_scan(tmp_path / "a.dcm", 1).read_bytes()
    status, headers, content = asked(port, form(good, b"junk"), **{"Content-Type": KIND})
    answer = json.loads(content)
    assert (status, headers["Content-Type"]) == (202, "application/dicom+json")
    assert answer["00081199"]["Value"][0]["00081155"]["Value"] == [f"{dicom_peers.STUDY}.1.1"]
    assert answer["00081198"]["Value"] == [{"00081197": {"vr": "US", "Value": [0xC000]}}]
    assert asked(port, form(b"junk"), **{"Content-Type": KIND})[0] == 409
    damaged = dicom_peers.write_scan(tmp_path / "b.dcm", 2, PixelData=b"\0\0").read_bytes()
    status, _, content = asked(port, form(damaged), **{"Content-Type": KIND})
    assert status == 409 and json.loads(content)["00081198"]["Value"][0]["00081155"]
    assert asked(port, good, **{"Content-Type": "application/dicom"})[0] == 415
    assert asked(port, bytes(MOST + 1), **{"Content-Type": KIND})[0] == 413
    assert asked(port, form(good), **{"Content-Type": KIND, "Origin": "http://evil"})[0] == 403
    assert PLANTED.encode() not in content


def test_without_a_folder_there_is_no_such_address(classifier: Classifier) -> None:
    with Server(("127.0.0.1", 0), Site({}, classifier, frozenset(("127.0.0.1",)), MOST)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert asked(server.server_port, form(b"a"), **{"Content-Type": KIND})[0] == 404
        server.shutdown()


def test_parts_are_those_of_the_boundary() -> None:
    assert list(parts_of(b"preamble\r\n" + form(b"a\r\n\r\nb", b"--b0und") + b"epilogue", "b0undary")) == [
        b"a\r\n\r\nb",
        b"--b0und",
    ]
