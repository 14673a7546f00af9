"""``sonoforge listen``: answer what machines and archives send by C-STORE, as ``classify --watch`` does files."""

from pathlib import Path

from sonoforge.runtime.cli.answer import say
from sonoforge.runtime.cli.options import Outcome
from sonoforge.runtime.jobs.listening import listen
from sonoforge.runtime.notice import NOTICE
from sonoforge.runtime.settings import ListenConfig


def main(config: ListenConfig) -> Outcome:
    """Listen until interrupted."""

    def begun(title: str, port: int, answers: Path, archive: str) -> None:
        notice = NOTICE[0].lower() + NOTICE[1:-1]
        say("listening %s@%s:%d   (%s; Ctrl-C ends)", title, config.host, port, notice)
        say("answers   %s%s", answers, f"; reports go to {archive}" if archive else "")

    port, (answers, complete) = listen(config, begun)
    return Outcome({**answers, "port": port}, exit_code=0 if complete else 2)
