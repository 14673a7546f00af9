"""Objects that DCMTK sends are on disk before it is told so, and stay until answered; all else is refused in a line."""

from __future__ import annotations

import contextlib
import datetime
import json
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pydicom import dcmread
from pydicom.uid import MPEG2MPML, ComprehensiveSRStorage, ImplicitVRLittleEndian, UltrasoundImageStorage

import dicom_peers
from dicom_files import PLANTED
from dicom_peers import STUDY, said, storescu, wait_for, write_scan, write_scans
from sonoforge.runtime.dicom_network import storage
from sonoforge.runtime.dicom_network.inbox import Inbox, Remarks, read_archive, read_caller, tls_context
from sonoforge.runtime.dicom_network.storage import Reception, receiving
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.dicom.derived_objects import identify
from sonoforge.runtime.images.limits import ImageError

AE = pytest.importorskip(
    "pynetdicom", reason="DICOM over the network is an extra: pip install 'sonoforge[dicom-net]'"
).AE
RECEPTION = Reception("SONOFORGE", (), 1_000_000, 4)


class Place(NamedTuple):
    """Where objects are received."""

    port: int
    inbox: Inbox
    remarks: Remarks

    def refusal(self) -> str:
        """The one line with which something was refused."""
        (line,) = wait_for(self.remarks.take, 20)
        assert PLANTED not in line and line.startswith("refused ")
        return str(line)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with receiving_at(tmp_path) as found:
        yield found


@contextlib.contextmanager
def receiving_at(folder: Path, room: int = 10_000_000, **changes: Any) -> Iterator[Place]:
    inbox, remarks = Inbox(folder / "inbox", room), Remarks()
    with receiving(("127.0.0.1", 0), RECEPTION._replace(**changes), inbox, remarks) as port:
        yield Place(port, inbox, remarks)


def test_what_is_sent_is_on_the_disk_as_it_was(place: Place, tmp_path: Path) -> None:
    dicom_peers.needs("storescu", "echoscu")
    scans = write_scans(tmp_path / "scans", 3)
    for _ in range(2):  # an object that is sent again is the same object
        code, out = said(storescu(place.port, *scans))
        assert code == 0, out
        stored = {(read := dcmread(path)).SOPInstanceUID: read for path in place.inbox.waiting()}
        assert len(stored) == 3
    for scan in map(dcmread, scans):
        assert stored[scan.SOPInstanceUID] == scan  # every element
    code, out = said(dicom_peers.storescu(place.port, "-v", scans[0], to="OTHER"))
    assert code and "Called AE Title Not Recognized" in out
    assert place.refusal().endswith("an AE title other than SONOFORGE")


def test_what_is_no_association_is_refused(place: Place) -> None:
    for data, why in (
        (b"GET / HTTP/1.0\r\n\r\n", "not a DICOM message"),
        (b"\x01\x00\x00\x00\x00\x04abcd", "not a DICOM message"),
        (b"\x01\x00\x80\x00\x00\x00" + b"a" * 100, "a message unit of 2147 MB"),  # to associate
        (b"\x04\x00\x80\x00\x00\x00" + b"a" * 100, "a message unit of 2147 MB"),  # of data
        (b"\x04\x00\x00\x00\x00\x07\x00\x00\x00\x03\x01\x00a", "not a DICOM message"),  # before any association
    ):
        with socket.create_connection(("127.0.0.1", place.port), 20) as connection:
            connection.sendall(data)
            with contextlib.suppress(ConnectionError):
                while connection.recv(4096):  # until it ends
                    pass
        refusal = place.refusal()
        assert refusal.startswith("refused 127.0.0.1: ") and why in refusal


def test_callers_that_are_not_named_are_refused(tmp_path: Path) -> None:
    dicom_peers.needs("storescu")
    scan = write_scan(tmp_path / "a.dcm", 1)
    callers = tuple(map(read_caller, ("US1", "US2@127.0.0.1", "US3@10.0.0.9")))
    with receiving_at(tmp_path, callers=callers) as place:
        for title in ("US1", "US2"):
            assert said(storescu(place.port, scan, title=title))[0] == 0
        for title in ("US3", "US4"):
            code, out = said(storescu(place.port, scan, title=title))
            assert code and "Calling AE Title Not Recognized" in out
            assert place.refusal() == f"refused {title}@127.0.0.1: it is not one of --callers"


def test_an_object_that_is_too_large_is_refused_before_it_is_whole(tmp_path: Path) -> None:
    dicom_peers.needs("storescu")
    with receiving_at(tmp_path, most_bytes=100_000) as place:
        large = write_scan(tmp_path / "large.dcm", 1, 1500, 1500)
        for _ in range(8):  # what is refused is not held for ever
            assert said(storescu(place.port, large))[0]
            assert "an object larger than 0 MB; --set dicom.most" in place.refusal()
        assert said(storescu(place.port, write_scan(tmp_path / "small.dcm", 2)))[0] == 0
        assert len(place.inbox.waiting()) == 1


def test_an_object_that_no_archive_could_file_or_without_a_picture_is_refused(place: Place, tmp_path: Path) -> None:
    dicom_peers.needs("storescu")
    code, out = said(storescu(place.port, write_scan(tmp_path / "a.dcm", 1, StudyInstanceUID=None)))
    assert code == 0xC0, out  # the upper byte of the status
    assert "StudyInstanceUID" in place.refusal()
    code, _ = said(storescu(place.port, write_scan(tmp_path / "b.dcm", 2, SOPClassUID=ComprehensiveSRStorage)))
    assert code
    for uids in (("1.2.3", f"{dicom_peers.STUDY}.1.3"), ("1.2.840.10008.5.1.4.1.1.6.1", "1.2.3")):
        with pytest.raises(ImageError, match="UIDs"):
            place.inbox.store(write_scan(tmp_path / "c.dcm", 3).read_bytes(), uids)
    for hostile in ("../../1", "1.2/3", "1" * 65):
        with pytest.raises(ImageError, match=r"^the object: .*SeriesInstanceUID"):
            place.inbox.store(write_scan(tmp_path / "d.dcm", 4, SeriesInstanceUID=hostile).read_bytes())
    assert place.inbox.waiting() == []


def test_there_is_room_for_so_much(tmp_path: Path) -> None:
    dicom_peers.needs("storescu")
    first, second = write_scans(tmp_path / "scans", 2)
    with receiving_at(tmp_path, room=first.stat().st_size + 2000) as place:
        assert said(storescu(place.port, first))[0] == 0
        assert said(storescu(place.port, second))[0] == 0xA7  # the upper byte of the status
        assert "no room now: 0 MB" in place.refusal()
        with pytest.raises(SonoforgeError, match="0 MB are waiting for answers, of 0 MB"):
            place.inbox.store(second.read_bytes())


def test_who_says_nothing_or_half_a_word_keeps_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dicom_peers.needs("storescu")
    scan = write_scan(tmp_path / "a.dcm", 1)
    monkeypatch.setattr(storage, "SECONDS", 1.0)
    with receiving_at(tmp_path) as place, contextlib.ExitStack() as stack:
        silent = stack.enter_context(socket.create_connection(("127.0.0.1", place.port), 20))
        half = stack.enter_context(socket.create_connection(("127.0.0.1", place.port), 20))
        half.sendall(b"\x01\x00\x00")
        assert said(storescu(place.port, scan))[0] == 0
        assert half.recv(10) == silent.recv(10) == b""  # both are ended
        assert "3 of 6 bytes within 1 s" in "".join(wait_for(place.remarks.take, 10))


@pytest.mark.parametrize("said_first", [b"", b"\x01\x00\x00", b"\x01\x00\x00\x00\x10\x00ab"], ids=["none", "3", "8"])
def test_200_half_open_connections_keep_no_sender_out(tmp_path: Path, said_first: bytes) -> None:
    dicom_peers.needs("storescu")
    scan = write_scan(tmp_path / "a.dcm", 1)
    with receiving_at(tmp_path) as place, contextlib.ExitStack() as stack:
        for _ in range(200):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", place.port), 20))
            one.sendall(said_first)
        begun = time.monotonic()
        assert said(storescu(place.port, scan))[0] == 0
        assert time.monotonic() - begun < storage.SECONDS / 3  # for which each of them may be silent
        lines = place.remarks.take()
        assert lines[0] == "refused 127.0.0.1: it had not asked to associate, and 64 others came after it"


def test_who_leaves_out_of_turn_is_told_in_one_line_and_leaves_room(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    dicom_peers.needs("storescu")
    context = b"\x30\0\0\x1b" + UltrasoundImageStorage.encode() + b"\x40\0\0\x11" + ImplicitVRLittleEndian.encode()
    body = b"\0\1\0\0" + b"SONOFORGE".ljust(16) + b"EVIL".ljust(16) + bytes(32)
    body += b"\x20\0" + (len(context) + 4).to_bytes(2, "big") + b"\1\0\0\0" + context
    with receiving_at(tmp_path, most_bytes=20_000, associations=1) as place:
        for _ in range(40):  # whose requests alone would fill the memory for all
            with socket.create_connection(("127.0.0.1", place.port), 20) as one:
                one.sendall(b"\1\0" + (len(body) + 100_000).to_bytes(4, "big") + body + bytes(100_000))
        wait_for(lambda: said(storescu(place.port, write_scan(tmp_path / "a.dcm", 1)))[0] == 0, 60)
        assert all("\n" not in line for line in place.remarks.take())
    assert "Traceback" not in capfd.readouterr().err


def associate(port: int, kind: str, *syntaxes: str) -> Any:
    """An association of a peer that offers a class."""
    peer = AE("EVIL")
    peer.add_requested_context(kind, [*syntaxes] or [ImplicitVRLittleEndian])
    return peer.associate("127.0.0.1", port, ae_title="SONOFORGE")


def test_silent_associations_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dicom_peers.needs("storescu")
    scan = write_scan(tmp_path / "a.dcm", 1)
    monkeypatch.setattr(storage, "_PATIENCE", 600.0)
    with receiving_at(tmp_path, associations=2) as place:
        silent = [associate(place.port, UltrasoundImageStorage) for _ in range(2)]
        assert all(one.is_established for one in silent)
        code, out = said(storescu(place.port, scan))
        assert code and "Local Limit Exceeded" in out
        assert place.refusal().endswith("there are 2 associations already; it may try again")
        monkeypatch.setattr(storage, "_PATIENCE", 0.0)
        assert said(storescu(place.port, scan))[0] == 0
        assert place.refusal() == "refused EVIL@127.0.0.1: it was the longest silent of all, and another waits"
        wait_for(lambda: not silent[0].is_established, 20)
        assert silent[1].is_established
        for one in silent:
            one.abort()


STORAGE = "1.2.840.10008.5.1.4.1.1"
ULTRASOUND = ("3", "3.1", "6", "6.1", "6.2")  # the first of each retired
CAPTURES = ("7", "7.1", "7.2", "7.3", "7.4", "77.1", "77.1.1", "77.1.1.1", "77.1.2.1", "77.1.4", "77.1.4.1", "77.2")


@pytest.mark.parametrize("kind", [*ULTRASOUND, *CAPTURES])
def test_every_class_of_pictures_is_received(place: Place, tmp_path: Path, kind: str) -> None:
    scan = dcmread(write_scan(tmp_path / "a.dcm", 1, SOPClassUID=f"{STORAGE}.{kind}"))
    assoc = associate(place.port, f"{STORAGE}.{kind}", scan.file_meta.TransferSyntaxUID)
    assert assoc.send_c_store(scan).Status == 0
    assoc.release()
    assert place.remarks.take() == []
    (path,) = place.inbox.waiting()
    assert identify(path, "a").sop_class == f"{STORAGE}.{kind}"


@pytest.mark.parametrize("kind", ["3", "6"])
def test_retired_classes_of_ultrasound_are_received_of_dcmtk(place: Place, tmp_path: Path, kind: str) -> None:
    dicom_peers.needs("storescu")
    code, out = said(storescu(place.port, "-R", write_scan(tmp_path / "a.dcm", 1, SOPClassUID=f"{STORAGE}.{kind}")))
    assert code == 0, out
    assert len(place.inbox.waiting()) == 1


@pytest.mark.parametrize(
    ("kind", "syntax", "named"),
    [
        (ComprehensiveSRStorage, ImplicitVRLittleEndian, "Comprehensive SR Storage"),
        ("1.2.840.113619.4.26", ImplicitVRLittleEndian, "1.2.840.113619.4.26"),
        (f"{STORAGE}.77.1.1.1", MPEG2MPML, "Video Endoscopic Image Storage as MPEG2 Main Profile / Main Level"),
        ("1.2.840.10008.5.1.4.31", ImplicitVRLittleEndian, "Modality Worklist Information Model - FIND"),
    ],
)
def test_who_offers_only_what_is_not_received_is_told(place: Place, kind: str, syntax: str, named: str) -> None:
    associate(place.port, kind, syntax).abort()
    assert place.refusal() == f"refused EVIL@127.0.0.1: does not receive {named}"


def test_what_is_offered_in_vain_beside_pictures_is_told_of_pictures_alone(place: Place) -> None:
    peer = AE("EVIL")
    for kind in (UltrasoundImageStorage, ComprehensiveSRStorage, "1.2.840.10008.1.20.1"):
        peer.add_requested_context(kind)
    peer.associate("127.0.0.1", place.port, ae_title="SONOFORGE").release()
    for number in range(5):
        peer.add_requested_context(f"1.2.840.113619.4.{number}")
    peer.associate("127.0.0.1", place.port, ae_title="SONOFORGE").release()
    kinds = ", ".join(f"1.2.840.113619.4.{number}" for number in range(3))
    assert place.refusal() == f"refused EVIL@127.0.0.1: does not receive {kinds} and 2 other classes"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate that vouches for itself, and its key."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    folder = tmp_path_factory.mktemp("tls")
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sonoforge test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / "own.pem").write_bytes(signed.public_bytes(encoding))
    (folder / "own.key").write_bytes(key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain))
    return folder / "own.pem", folder / "own.key"


def test_tls_takes_those_that_the_authority_vouches_for(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    dicom_peers.needs("storescu")
    own, key = map(str, certificate)
    scan = write_scan(tmp_path / "a.dcm", 1)
    context = tls_context(ssl.PROTOCOL_TLS_SERVER, own, key, own)
    with receiving_at(tmp_path, tls=context) as place, socket.create_connection(("127.0.0.1", place.port)):  # silent
        code, out = said(storescu(place.port, "+tls", key, own, "+cf", own, scan))
        assert code == 0, out
        assert len(place.inbox.waiting()) == 1
        assert said(storescu(place.port, scan))[0]  # in the clear
        assert "no TLS that both sides accept" in place.refusal()
        assert said(storescu(place.port, "+tla", "+cf", own, scan))[0]  # shows no certificate
        assert "no TLS that both sides accept" in place.refusal()
    with pytest.raises(SonoforgeError, match=r"own\.pem: cannot be used .*PEM"):
        tls_context(ssl.PROTOCOL_TLS_SERVER, own, "", "")


def test_peers_are_read_as_they_are_typed() -> None:
    assert read_archive("PACS@[::1]:104") == ("PACS", "::1", 104)
    assert read_caller("US1@::1") == ("US1", "::1")
    for text in ("PACS", "PACS@host", "@host:1", "PACS@:1", "PACS@host:0", "PACS@host:x"):
        with pytest.raises(SonoforgeError, match=r"^send_to: "):
            read_archive(text)
    for text in ("US1@host", "A" * 17, "", "a\\b"):
        with pytest.raises(SonoforgeError, match=r"^callers: "):
            read_caller(text)


def test_a_flood_of_remarks_is_counted() -> None:
    remarks = Remarks()
    for number in range(150):
        remarks.add(str(number))
    lines = remarks.take()
    assert (len(lines), lines[-1]) == (101, "and 50 more such lines")
    assert remarks.take() == []


def test_what_is_named_after_files_is_named_after_uids(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox", 1_000_000)
    first, second = (inbox.store(path.read_bytes())[0] for path in dicom_peers.write_scans(tmp_path, 2))
    for file in (first, second):
        assert inbox.answered({"file": str(file), "ok": True, "copy_of": str(first), "series": None})
    entry = json.loads((inbox.answers / f"{STUDY}.1.2.json").read_text())
    assert (entry["file"], entry["copy_of"], entry["series"]) == (f"{STUDY}.1.2", f"{STUDY}.1.1", None)
    assert entry["object"]["series"] == f"{STUDY}.1"
    assert inbox.waiting() == []


def test_an_object_on_which_no_report_can_be_written_is_moved_aside(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox", 1_000_000)
    file, _ = inbox.store(dicom_peers.write_scan(tmp_path / "a.dcm", 1).read_bytes())
    assert inbox.answered({"file": str(file), "ok": True, "unwritten": ["damaged"], "unwritable": True}) is None
    stranger = dicom_peers.write_scan(inbox.received / "b.dcm", 2, StudyInstanceUID=None)
    assert inbox.answered({"file": str(stranger), "ok": True}) is None
    assert inbox.waiting() == []
    assert {path.name for path in (tmp_path / "inbox" / "aside").iterdir()} == {file.name, "b.dcm"}
    assert "StudyInstanceUID" in json.loads((inbox.answers / "b.json").read_text())["unwritten"][0]


def test_an_object_stays_until_all_of_its_answer_is_written(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox", 1_000_000)
    file, _ = inbox.store(dicom_peers.write_scan(tmp_path / "a.dcm", 1).read_bytes())
    assert inbox.answered({"file": str(file), "ok": True, "unwritten": ["no room"]}) is None
    assert json.loads((inbox.answers / f"{STUDY}.1.1.json").read_text())["unwritten"] == ["no room"]
    assert inbox.waiting() == [file]
    inbox.answers.rename(tmp_path / "aside")
    inbox.answers.write_text("no folder")
    with pytest.raises(SonoforgeError, match="cannot be written"):
        inbox.answered({"file": str(file), "ok": True})
    assert inbox.waiting() == [file]
