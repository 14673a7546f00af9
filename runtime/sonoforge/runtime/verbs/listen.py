"""``sonoforge listen``: answer what machines and archives send by C-STORE, as ``classify --watch`` does files.

Nothing is lost if the process is killed, and the next one continues. Answers are, for each object:

* ``answers/SOP-INSTANCE-UID.json``: its entry of ``classify --json``, ``object`` (the UIDs ``sop_class``, ``instance``,
  ``series`` and ``study``) and ``notice``; objects are named by their SOP Instance UIDs;
* a structured report and a picture (``--reports``): in ``answers/``, or with ``--send-to`` in ``outgoing/`` until the
  archive has stored them.

JSON (``--json``), at the end: ``classify``'s, and ``port``. It runs until Ctrl-C or SIGTERM.
"""

from pathlib import Path

from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.jobs.listening import listen
from sonoforge.runtime.notice import NOTICE
from sonoforge.runtime.settings import ListenConfig


def main(config: ListenConfig) -> Outcome:
    """Listen until interrupted; see the top of this module for the result."""

    def begun(title: str, port: int, answers: Path, archive: str) -> None:
        notice = NOTICE[0].lower() + NOTICE[1:-1]
        say("listening %s@%s:%d   (%s; Ctrl-C ends)", title, config.host, port, notice)
        say("answers   %s%s", answers, f"; reports go to {archive}" if archive else "")

    port, (answers, complete) = listen(config, begun)
    return Outcome({**answers, "port": port}, exit_code=0 if complete else 2)
