"""The one family of errors that a user meets.

Each message is one line: which file, what was found, what was expected, what to do about it.
"""


class SonoforgeError(Exception):
    """Wrong usage or bad input; the command line prints the message and exits with code 2."""

    exit_code = 2


class GateError(SonoforgeError):
    """The work ran, but failed its own gate (parity, leakage); the command line exits with code 1."""

    exit_code = 1
