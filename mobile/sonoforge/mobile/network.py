"""Names and addresses of this machine."""

from __future__ import annotations

import socket

from sonoforge.runtime.errors import SonoforgeError

HERE = ("localhost", "127.0.0.1", "::1")
"""Names that reach this machine from itself alone."""
EVERY_ADDRESS = ("0.0.0.0", "::", "")  # noqa: S104 - names of all addresses; nothing is bound here
_ELSEWHERE = {socket.AF_INET: "203.0.113.1", socket.AF_INET6: "2001:db8::1"}  # of no machine: RFC 5737 and 3849


def reachable_name(host: str) -> str:
    """Return the name or address by which other machines reach a host; nothing is sent.

    Raises:
        SonoforgeError: The host stands for every address, and this machine has no network.
    """
    if host not in EVERY_ADDRESS:
        return host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((_ELSEWHERE[family], 9))
            return str(probe.getsockname()[0])
    except OSError as error:
        raise SonoforgeError(
            f"host: {host} needs a network, but this machine is in none; join one, or give an address"
        ) from error
