"""``sonoforge listen`` with DCMTK: every object is answered, also where the process is killed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pynetdicom", reason="DICOM over the network is an extra: pip install 'sonoforge[dicom-net]'")
pytest.importorskip("highdicom", reason="structured reports are an extra: pip install 'sonoforge[dicom]'")

from highdicom.sr import srread
from pydicom import dcmread
from pydicom.uid import ComprehensiveSRStorage, SecondaryCaptureImageStorage

import dicom_peers
from dicom_files import PLANTED
from dicom_peers import listening, said, storescp, storescu, wait_for, write_scan, write_scans
from program import refused, sonoforge
from sonoforge.runtime.dicom_network.inbox import Archive, Inbox, Remarks
from sonoforge.runtime.dicom_network.storage import Sender
from sonoforge.runtime.notice import NOTICE

LARGE = 10_000_000_000


def answers(inbox: Path) -> dict[str, dict[str, Any]]:
    """Every answer by the UID of its object."""
    return {path.stem: json.loads(path.read_text()) for path in (inbox / "answers").glob("*.json")}


def test_what_waits_is_answered_as_classify_does_and_sent_on(bundle: Path, tmp_path: Path) -> None:
    dicom_peers.needs("storescu", "echoscu", "storescp")
    inbox, archive, port = tmp_path / "inbox", tmp_path / "archive", dicom_peers.free_port()
    first, second, third = write_scans(tmp_path / "scans", 3)
    Inbox(inbox, LARGE).store(first.read_bytes())  # received by a process that was killed then
    options = ("--out", inbox, "--bundle", bundle, "--send-to", f"ARCHIVE@127.0.0.1:{port}", "--keep")
    with listening(tmp_path / "log", *options) as listener, storescp(archive, port):
        broken = write_scan(tmp_path / "broken.dcm", 9, PixelData=b"\0\0")
        code, out = said(storescu(listener.port, second, third, broken))
        assert code == 0, out
        wait_for(lambda: len(answers(inbox)) == 4 and len(list(archive.iterdir())) == 6)
        wait_for(lambda: not list((inbox / "outgoing").iterdir()))
        taken = refused("listen", "--port", listener.port, "--out", tmp_path / "other", "--bundle", bundle)
        assert f"127.0.0.1:{listener.port}: cannot be bound" in taken
        assert f"{inbox}: another process answers here" in refused("listen", "--port", "0", "--out", inbox)
        assert listener.end() == 2  # as one object could not be answered
        log = listener.log
    assert PLANTED not in log and dicom_peers.STUDY not in log
    assert list((inbox / "received").iterdir()) == []
    kept = sorted((inbox / "scans").iterdir())
    assert [dcmread(path).SOPInstanceUID for path in kept] == [path.stem for path in kept]
    found = answers(inbox)
    assert found[f"{dicom_peers.STUDY}.1.9"]["error"]["code"] == "truncated"
    plain = sonoforge("classify", first, second, third, "--bundle", bundle, "--json").json["results"]
    for number, entry in enumerate(plain, start=1):
        uid = f"{dicom_peers.STUDY}.1.{number}"
        for key in ("label", "probabilities", "set", "verdict", "findings", "trust", "quality", "dicom"):
            assert found[uid][key] == entry[key], key
        assert (found[uid]["file"], found[uid]["notice"]) == (uid, NOTICE)
        assert found[uid]["object"]["study"] == dicom_peers.STUDY
    sent = [dcmread(path) for path in archive.iterdir()]
    assert {(str(each.PatientName), each.StudyInstanceUID) for each in sent} == {(PLANTED, dicom_peers.STUDY)}
    reports = [srread(path) for path in archive.iterdir() if dcmread(path).SOPClassUID == ComprehensiveSRStorage]
    about = [report.content.get_image_measurement_groups()[0].source_images[0] for report in reports]
    pictures = [each for each in sent if each.SOPClassUID == SecondaryCaptureImageStorage]
    of = {each.SourceImageSequence[0].ReferencedSOPInstanceUID for each in pictures}
    assert (
        of == {each.referenced_sop_instance_uid for each in about} == {f"{dicom_peers.STUDY}.1.{n}" for n in (1, 2, 3)}
    )
    assert len({each.SeriesInstanceUID for each in pictures}) == 1
    assert all(NOTICE in each.SeriesDescription and each.pixel_array.shape[1] >= 120 for each in pictures)


def test_an_object_on_which_no_report_can_be_written_is_answered_once(bundle: Path, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    received = Inbox(inbox, LARGE).received
    write_scan(received / "stranger.dcm", 1, StudyInstanceUID=None)
    plain = write_scan(tmp_path / "plain.dcm", 2, Modality=None, SOPClassUID="1.2.840.10008.5.1.4.1.1.6")
    Inbox(inbox, LARGE).store(plain.read_bytes())
    with listening(tmp_path / "log", "--out", inbox, "--bundle", bundle) as listener:
        wait_for(lambda: not list(received.iterdir()))
        listener.end()
        (line,) = (line for line in listener.log.splitlines() if "moved to aside/" in line)
    assert "stranger.dcm" in line and PLANTED not in listener.log
    assert [path.name for path in (inbox / "aside").iterdir()] == ["stranger.dcm"]
    assert set(answers(inbox)) == {"stranger", f"{dicom_peers.STUDY}.1.2"}
    assert len(list((inbox / "answers").glob("*.dcm"))) == 2  # a report and a picture
    with listening(tmp_path / "log", "--out", inbox, "--bundle", bundle) as listener:
        assert listener.end() == 0
        assert "stranger" not in listener.log


def test_reports_wait_for_an_archive_that_is_away(tmp_path: Path) -> None:
    dicom_peers.needs("storescp")
    outgoing, remarks = tmp_path / "outgoing", Remarks()
    archive = Archive("ARCHIVE", "127.0.0.1", dicom_peers.free_port())
    write_scan(outgoing.parent / "a.dcm", 1)
    outgoing.mkdir()
    write_scan(outgoing / "1.dcm", 1, SOPClassUID=SecondaryCaptureImageStorage)
    (outgoing / "2.dcm").write_bytes(b"damaged")
    sender = Sender(outgoing, archive, "SONOFORGE", None, remarks)
    assert not sender.send() and not sender.send()
    assert remarks.take() == [f"{archive}: cannot be reached; 2 reports wait to be sent again"]  # once
    with storescp(tmp_path / "archive", archive.port):
        assert not sender.send()
        assert [path.name for path in outgoing.iterdir()] == ["2.dcm"]
        (said,) = remarks.take()
        assert said == f"{archive}: did not take a report (InvalidDicomError); 1 reports wait to be sent again"
        (outgoing / "2.dcm").unlink()
        write_scan(outgoing / "3.dcm", 3, SOPClassUID=SecondaryCaptureImageStorage)
        assert sender.send()
        assert remarks.take() == [f"{archive}: accepts reports again"]
    assert len(list((tmp_path / "archive").iterdir())) == 2


def test_settings_that_cannot_be_are_refused(tmp_path: Path) -> None:
    for flags, words in (
        (("--set", "dicom.ae_title=much too long a title"), "--set dicom.ae_title: 'much too long a title'"),
        (("--send-to", "PACS"), "--send-to: 'PACS' is not TITLE@HOST:PORT"),
        (("--callers", "A@b"), "--callers: 'A@b' is not TITLE or TITLE@ADDRESS"),
        (("--authority", "a.pem"), "--key and --authority require --certificate"),
        (("--reports", "pdf"), "--reports must be one of sr, sc, not 'pdf'"),
    ):
        assert words in refused("listen", *flags, "--out", tmp_path)


@pytest.mark.slow
def test_500_objects_of_8_senders_at_once_are_answered_over_three_kills(bundle: Path, tmp_path: Path) -> None:
    dicom_peers.needs("storescu")
    inbox = tmp_path / "inbox"
    scans = write_scans(tmp_path / "scans", 500)
    left = {number: scans[number::8] for number in range(8)}
    port = dicom_peers.free_port()
    options = ("--out", inbox, "--bundle", bundle, "--port", port)
    begun = time.monotonic()
    for stop_at in (60, 200, 350, 500):  # answers, after which the process is killed; at last it is not
        with listening(tmp_path / "log", *options) as listener:
            wait_for(lambda: dicom_peers.listens(port))
            senders = {number: storescu(port, "-v", *files) for number, files in left.items() if files}
            wait_for(lambda stop_at=stop_at: len(list((inbox / "answers").glob("*.json"))) >= stop_at, 600)
            if stop_at < 500:
                listener.kill()
            for number, sender in senders.items():  # each goes on after the last that was acknowledged
                _, out = said(sender)
                acknowledged = out.count("Received Store Response (Success)")
                left[number] = left[number][acknowledged:]
            if stop_at == 500:
                wait_for(lambda: not list((inbox / "received").iterdir()))
                assert listener.end() == 0
    print(f"{time.monotonic() - begun:.0f} s for 500 objects, three kills among them")
    assert not any(left.values())
    found = answers(inbox)
    assert set(found) == {f"{dicom_peers.STUDY}.1.{number}" for number in range(1, 501)}
    assert all(entry["ok"] for entry in found.values())
    written = [dcmread(path, stop_before_pixels=True) for path in (inbox / "answers").glob("*.dcm")]
    assert len(written) == 1000 and len({each.SOPInstanceUID for each in written}) == 1000
    assert not [path for path in inbox.rglob("*") if "sonoforge-tmp" in path.name]
    assert PLANTED not in (tmp_path / "log").read_text()
