"""``sonoforge listen``: answer what machines and archives send by C-STORE, as ``classify --watch`` does files.

An object is on disk, in ``received/`` of the folder ``--out``, before its sender hears that it is stored, and leaves it
once its answers are on disk; see `dicom_network.inbox`. Nothing is lost if the process is killed, and the next one
continues. Answers are, for each object:

* ``answers/SOP-INSTANCE-UID.json``: its entry of ``classify --json``, ``object`` (the UIDs ``sop_class``, ``instance``,
  ``series`` and ``study``) and ``notice``; objects are named by their SOP Instance UIDs;
* a structured report and a picture (``--reports``): in ``answers/``, or with ``--send-to`` in ``outgoing/`` until the
  archive has stored them.

JSON (``--json``), at the end: ``classify``'s, and ``port``. It runs until Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import ssl
from pathlib import Path

from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.dicom_network.inbox import Inbox
from sonoforge.runtime.dicom_network.incoming import Remarks, check_title, read_archive, read_caller, tls_context
from sonoforge.runtime.dicom_network.storage import Reception, Sender, receiving
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.images.inputs import Entry
from sonoforge.runtime.inference.loading import LoadingModel
from sonoforge.runtime.notice import NOTICE
from sonoforge.runtime.settings import ListenConfig
from sonoforge.runtime.verbs.classifying import classify

log = logging.getLogger(__name__)

_HERE = ("127.0.0.1", "::1", "localhost")


def main(config: ListenConfig) -> Outcome:
    """Listen until interrupted; see the top of this module for the result."""
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
        say("listening %s@%s:%d   (%s; Ctrl-C ends)", title, config.host, port, NOTICE[0].lower() + NOTICE[1:-1])
        say("answers   %s", f"{inbox.answers}{f'; reports go to {archive}' if archive else ''}")
        if config.host not in _HERE:
            _warn(config)

        def take_out(entry: Entry) -> None:
            """Take an object out of the inbox as soon as its answers are on disk."""
            try:
                why = "" if inbox.answered(entry) else "its answer says why"
            except SonoforgeError as error:
                why = str(error)
            if why:
                remarks.add(f"{entry['file']}: stays, to be answered again at the next start; {why}")

        outcome = Outcome({})
        with contextlib.suppress(KeyboardInterrupt):  # before the first look
            outcome = classify(answers, model, take_out, lambda: _tell(remarks))
    return outcome._replace(result={**outcome.result, "port": port})


def _tls(config: ListenConfig) -> tuple[ssl.SSLContext | None, ssl.SSLContext | None]:
    """Return the TLS settings for callers and for the archive; None without TLS."""
    if not config.certificate:
        if config.key or config.authority:
            raise SonoforgeError("--key and --authority require --certificate, this side's certificate")
        return None, None
    files = (config.certificate, config.key, config.authority)
    client = tls_context(ssl.PROTOCOL_TLS_CLIENT, *files) if config.authority else None
    return tls_context(ssl.PROTOCOL_TLS_SERVER, *files), client


def _warn(config: ListenConfig) -> None:
    who = "every machine that reaches it" if not config.callers else "whoever uses one of --callers"
    how = "UNENCRYPTED" if not config.certificate else "encrypted"
    if not config.authority:
        log.warning("listening on %s: %s can send scans, %s and without a password", config.host, who, how)


def _tell(remarks: Remarks) -> None:
    for line in remarks.take():
        log.warning("%s", line)
