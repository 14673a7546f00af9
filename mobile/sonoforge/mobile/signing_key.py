"""The key that signs an Android app: a person's own, or one for trying out that is made once.

Android takes a new version of an app only when the same key has signed it: whoever has the key can replace the app.
"""

from __future__ import annotations

import getpass
import logging
import os
import sys
from pathlib import Path
from typing import NamedTuple

from sonoforge.mobile.android_tools import AndroidTools
from sonoforge.runtime import atomic
from sonoforge.runtime.errors import SonoforgeError
from sonoforge.runtime.temporary import temporary_folder

log = logging.getLogger(__name__)

PASSWORD = "SONOFORGE_KEYSTORE_PASSWORD"  # noqa: S105 - the variable's name
"""Environment variable with the password of a person's own keystore."""

# What Android's own tools give their debug keys: such a key protects nothing.
_DEBUG_PASSWORD, _DEBUG_ALIAS = "android", "androiddebugkey"


class SigningKey(NamedTuple):
    """A keystore and what opens it.

    Attributes:
        keystore: File, PKCS #12 or JKS.
        password: Of the keystore and of the key in it.
        alias: Name of the key in it; empty where there is only one.
        is_debug: Whether it is the key for trying out.
    """

    keystore: Path
    password: str
    alias: str
    is_debug: bool


def own_key(keystore: Path, alias: str) -> SigningKey:
    """Return a person's own key, with the password from the environment or from the terminal.

    Raises:
        SonoforgeError: The file cannot be read, or there is nobody to ask.
    """
    try:
        with keystore.open("rb"):
            pass
    except OSError as error:
        raise SonoforgeError(
            f"{keystore}: cannot be read ({error.strerror}); give a keystore made with keytool"
        ) from error
    password = os.environ.get(PASSWORD)
    if password is None:
        if not sys.stdin.isatty():
            raise SonoforgeError(
                f"{keystore}: found no password; set {PASSWORD}, or run this in a terminal to be asked"
            )
        password = getpass.getpass(f"password of {keystore}: ")
    return SigningKey(keystore, password, alias, is_debug=False)


def debug_key(tools: AndroidTools) -> SigningKey:
    """Return this user's debug key, which is made the first time.

    Raises:
        SonoforgeError: It cannot be made.
    """
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    keystore = state / "sonoforge" / "android-debug.p12"
    if not keystore.is_file():
        with temporary_folder() as folder:
            made = folder / keystore.name
            key = ["-alias", _DEBUG_ALIAS, "-keyalg", "RSA", "-keysize", "2048", "-validity", "10000"]
            store = ["-keystore", made, "-storetype", "PKCS12", "-storepass:env", PASSWORD]
            owner = ["-dname", "CN=sonoforge debug key"]
            tools.run("keytool", ["-genkeypair", *key, *store, *owner], {PASSWORD: _DEBUG_PASSWORD})
            keystore.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            atomic.write_bytes(keystore, made.read_bytes())
            keystore.chmod(0o600)
        log.warning(
            "made a DEBUG KEY, %s: keep it, or the next app signed with another will not replace this one", keystore
        )
    log.warning(
        "signing with a DEBUG KEY, for trying out on your own phones; to give others the app, name your own with --key"
    )
    return SigningKey(keystore, _DEBUG_PASSWORD, _DEBUG_ALIAS, is_debug=True)
