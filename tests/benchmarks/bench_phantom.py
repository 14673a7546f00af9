"""Speed of the phantom: pictures a second on one core.

Run by hand:  python tests/benchmarks/bench_phantom.py
Everything is single-threaded already; time is that of the process, so other load hardly matters.
"""

from __future__ import annotations

import time

from sonoforge.training.phantom.dataset import generate_phantom_set


def main(count: int = 200, size: int = 256, repeats: int = 3) -> None:
    """Print the pictures a second of each repeat."""
    list(generate_phantom_set(20, seed=0, size=size))  # transfer functions are made once
    for repeat in range(repeats):
        start = time.process_time()
        for _ in generate_phantom_set(count, seed=repeat, size=size):
            pass
        seconds = time.process_time() - start
        print(f"{count / seconds:.0f} pictures/s, {1000 * seconds / count:.2f} ms each, {size} x {size}")


if __name__ == "__main__":
    main()
