"""Answer what machines and archives send by C-STORE, as ``classify --watch`` does files.

An object is on disk, in ``received/`` of the folder ``out``, before its sender hears that it is stored, and leaves it
once its answers are on disk; see `dicom_network.inbox`.
"""

import contextlib
import dataclasses
import logging
import ssl
from collections.abc import Callable
from pathlib import Path

from sonoforge.runtime.dicom_network.inbox import Inbox, Remarks, check_title, read_archive, read_caller, tls_context
from sonoforge.runtime.dicom_network.storage import Reception, Sender, receiving
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.inputs import Entry
from sonoforge.runtime.inference.loading import LoadingModel
from sonoforge.runtime.jobs.classifying import Classified, classify
from sonoforge.runtime.settings import ListenConfig

log = logging.getLogger(__name__)

_HERE = ("127.0.0.1", "::1", "localhost")


def listen(config: ListenConfig, begun: Callable[[str, int, Path, str], None]) -> tuple[int, Classified]:
    """Listen until interrupted; return the port, and what was answered.

    ``begun`` is called once senders can connect, with this side's AE title, its port, the folder of answers and the
    archive that reports go to, empty for none.
    """
    title = check_title(config.ae_title, "ae_title")
    callers = tuple(read_caller(text) for text in config.callers)
    archive = read_archive(config.send_to) if config.send_to else None
    server_tls, client_tls = _tls(config)
    inbox = Inbox(Path(config.out), round(config.room * 1e9), config.keep)
    remarks = Remarks()
    reports = str(inbox.outgoing if archive else inbox.answers)
    answers = dataclasses.replace(
        config.answers,
        watch=str(inbox.received),
        sr=reports if "sr" in config.reports else "",
        sc=reports if "sc" in config.reports else "",
    )
    model = LoadingModel(answers.bundle or None, answers.file, answers.threads)
    reception = Reception(title, callers, config.most * 1_000_000, config.associations, server_tls)
    with contextlib.ExitStack() as stack:
        stack.enter_context(inbox.alone())
        stack.callback(_tell, remarks)
        if archive:
            sender = Sender(inbox.outgoing, archive, title, client_tls, remarks)
            sender.start()
            stack.callback(sender.end)
        port = stack.enter_context(receiving((config.host, config.port), reception, inbox, remarks))
        begun(title, port, inbox.answers, str(archive or ""))
        if config.host not in _HERE and not config.authority:
            who = "whoever uses one of --callers" if callers else "every machine that reaches it"
            how = "encrypted" if config.certificate else "UNENCRYPTED"
            log.warning("listening on %s: %s can send scans, %s and without a password", config.host, who, how)

        def take_out(entry: Entry) -> None:
            """Take an object out of the inbox as soon as its answers are on disk."""
            try:
                why = "" if inbox.answered(entry) else "its answer says why"
            except SonoforgeError as error:
                why = str(error)
            if why and Path(entry["file"]).exists():
                remarks.add(f"{entry['file']}: stays, to be answered again at the next start; {why}")
            elif why:
                remarks.add(f"{entry['file']}: moved to aside/, as no report on it can be written; {why}")

        found: Classified = {}, True
        with contextlib.suppress(KeyboardInterrupt):  # before the first look
            found = classify(answers, model, take_out, lambda: _tell(remarks))
    return port, found


def _tls(config: ListenConfig) -> tuple[ssl.SSLContext | None, ssl.SSLContext | None]:
    """Return the TLS settings for callers and for the archive; None without TLS."""
    if not config.certificate:
        if config.key or config.authority:
            raise SonoforgeError("--key and --authority require --certificate, this side's certificate")
        return None, None
    files = (config.certificate, config.key, config.authority)
    client = tls_context(ssl.PROTOCOL_TLS_CLIENT, *files) if config.authority else None
    return tls_context(ssl.PROTOCOL_TLS_SERVER, *files), client


def _tell(remarks: Remarks) -> None:
    for line in remarks.take():
        log.warning("%s", line)
