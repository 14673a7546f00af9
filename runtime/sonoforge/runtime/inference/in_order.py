"""Answer many files, several at a time but in order, so that an interruption loses none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from sonoforge.runtime.images.inputs import Entry, silent_libraries

_MOST_WORKERS = 8  # default limit on decoded images in memory, on however many cores
_BLOCK = 16  # files per worker whose lines are printed together: few enough to watch, enough to keep all cores busy


def workers_for(files: int, threads: int) -> int:
    """Return how many files to answer at a time on this machine, with so many threads for each."""
    if files < 2:
        return 1
    from sonoforge.runtime.machine import cores  # noqa: PLC0415 - one file does not wait for it

    return max(1, min(cores() // threads, _MOST_WORKERS))


def answers_in_order(
    answer: Callable[[str], Entry], keep: Callable[[Entry], None], files: Sequence[str], workers: int
) -> Iterator[Entry]:
    """Yield the answer for each file, in order, working on several at a time; ``keep`` each as soon as it is known.

    Silencing the decoders silences all of stderr, so a whole block of files is answered before any of it is yielded.
    On Ctrl-C, the finished part of the block is yielded before the interruption is raised again.
    """
    if workers == 1:
        for file in files:
            with silent_libraries():
                entry = answer(file)
            keep(entry)
            yield entry
        return
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - one file does not wait for it

    pool = ThreadPoolExecutor(workers)
    try:
        for begin in range(0, len(files), _BLOCK * workers):
            futures = [pool.submit(answer, file) for file in files[begin : begin + _BLOCK * workers]]
            finished, interrupted = [], False
            with silent_libraries():
                try:
                    for future in futures:
                        entry = future.result()
                        keep(entry)
                        finished.append(entry)
                except KeyboardInterrupt:
                    interrupted = True
            yield from finished
            if interrupted:
                raise KeyboardInterrupt
    finally:
        pool.shutdown(cancel_futures=True)
