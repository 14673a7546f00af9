"""``sonoforge listen``: answer what machines and archives send by C-STORE, as ``classify --watch`` does files.

Nothing is lost if the process is killed, and the next one continues. Answers are, for each object:

* ``answers/SOP-INSTANCE-UID.json``: its entry of ``classify --json``, ``object`` (the UIDs ``sop_class``, ``instance``,
  ``series`` and ``study``) and ``notice``; objects are named by their SOP Instance UIDs;
* a structured report and a picture (``--reports``): in ``answers/``, or with ``--send-to`` in ``outgoing/`` until the
  archive has stored them.

JSON (``--json``), at the end: ``classify``'s, and ``port``. It runs until Ctrl-C or SIGTERM.
"""

from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.jobs.listening import Listening, listen
from sonoforge.runtime.notice import NOTICE
from sonoforge.runtime.settings import ListenConfig


def main(config: ListenConfig) -> Outcome:
    """Listen until interrupted; see the top of this module for the result."""

    def begun(here: Listening) -> None:
        notice = NOTICE[0].lower() + NOTICE[1:-1]
        say("listening %s@%s:%d   (%s; Ctrl-C ends)", here.title, config.host, here.port, notice)
        say("answers   %s%s", here.answers, f"; reports go to {here.archive}" if here.archive else "")

    here, found = listen(config, begun)
    answers = found.answers if found else {}
    return Outcome({**answers, "port": here.port}, exit_code=0 if not found or found.complete else 2)
