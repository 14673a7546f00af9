"""Read Ed25519 keys, and check a bundle's signature: it says who vouches for what cannot be recomputed.

`SIGNATURE` holds the plain signature (RFC 8032) of the bytes of ``manifest.json``, and so of all files.  Keys are PEM
files as ``openssl genpkey -algorithm ed25519`` makes them; ``openssl pkeyutl -verify -rawin`` checks the same file.
"""

from pathlib import Path
from typing import Any

from sonoforge.runtime.bundle.files import SIGNATURE, BundleError, read_manifest, read_signature
from sonoforge.runtime.errors import SonoforgeError, refusing, require


def read_key(path: Path, *, private: bool) -> Any:
    """Read the private key that signs, or the public one that checks, from a PEM file.

    Raises:
        SonoforgeError: The file is unreadable, encrypted or of another kind, or `cryptography` is not installed.
    """
    require(f"{path}: signatures", "sign", "cryptography")
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - an extra
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415

    kind, made = "public", "openssl pkey -in PRIVATE.pem -pubout"
    if private:
        kind, made = "private", "openssl genpkey -algorithm ed25519"
    with refusing(f"{path}: not a {kind} key in PEM", f"make one with {made}", Exception):  # OpenSSL's own, too
        data = path.read_bytes()
        key = serialization.load_pem_private_key(data, None) if private else serialization.load_pem_public_key(data)
    if not isinstance(key, ed25519.Ed25519PrivateKey if private else ed25519.Ed25519PublicKey):
        raise SonoforgeError(f"{path}: a {kind} key of another kind than Ed25519; make one with {made}")
    return key


def check_signature(bundle: Path, key: Path) -> None:
    """Check a bundle's signature by a public key, see `read_key`; raise `BundleError` if they do not match."""
    public = read_key(key, private=False)
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - an extra

    try:
        public.verify(read_signature(bundle), read_manifest(bundle))
    except InvalidSignature as error:
        raise BundleError(
            f"{bundle}: {SIGNATURE} does not match the manifest and {key.name}: the bundle was changed, or another "
            "key signed it; take it from its source again"
        ) from error
