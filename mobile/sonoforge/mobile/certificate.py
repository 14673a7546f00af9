"""Make a certificate for https in a local network, where no public authority vouches for an address.

Needs the extra phone.

A browser keeps an app for offline use only over https with a certificate that the phone trusts.  A private authority
signs it and its key is discarded at once, so trusting that authority means trusting only this server.
"""

import datetime
import ipaddress
import os
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sonoforge.mobile import HERE
from sonoforge.runtime import atomic

_VALID = datetime.timedelta(days=365)  # iOS takes at most 825
_LEFT = datetime.timedelta(days=1)  # with less time left, a new one is made
_BEHIND = datetime.timedelta(days=1)  # how late a phone's clock may be
_LONGEST_NAME = 64  # of a subject, in X.520


_OTHER_USES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("crl_sign", "encipher_only", "decipher_only"),
)
_SIGNS_CERTIFICATES = x509.KeyUsage(key_cert_sign=True, **dict.fromkeys(_OTHER_USES, False))


class Certificate(NamedTuple):
    """A server's certificate and key on disk."""

    file: Path  # PEM: its key, itself, its authority; readable by its owner alone
    authority: bytes  # PEM, for a phone to trust
    fingerprint: str  # SHA-256 of the server's certificate, as browsers show it


def certificate_for(name: str) -> Certificate:
    """Return this machine's certificate for a name or address, making one if needed."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    file = state / "sonoforge" / f"https-{name.replace(':', '-')}.pem"
    if not _is_valid(file):
        with atomic.replacing(file) as stream:
            Path(stream.name).chmod(0o600)
            stream.write(_make(name))
    own, authority = x509.load_pem_x509_certificates(file.read_bytes())
    fingerprint = own.fingerprint(hashes.SHA256()).hex(":").upper()
    return Certificate(file, authority.public_bytes(serialization.Encoding.PEM), fingerprint)


def _is_valid(file: Path) -> bool:
    """Whether a file holds a key and its certificate, valid for some time yet."""
    try:
        data = file.read_bytes()
        own, _ = x509.load_pem_x509_certificates(data)
        is_pair = serialization.load_pem_private_key(data, None).public_key() == own.public_key()
    except (OSError, ValueError):
        return False
    return is_pair and own.not_valid_after_utc - _LEFT > datetime.datetime.now(datetime.timezone.utc)


def _make(name: str) -> bytes:
    """Return a new key, its certificate and its authority's certificate, in PEM."""

    def general_name(one: str) -> x509.GeneralName:
        try:
            return x509.IPAddress(ipaddress.ip_address(one))
        except ValueError:
            return x509.DNSName(one)

    signing, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = f"sonoforge at {name}"
    identifier = x509.SubjectKeyIdentifier.from_public_key(signing.public_key())
    authority = (
        _begun(issuer, issuer, signing)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_SIGNS_CERTIFICATES, critical=True)
        .add_extension(identifier, critical=False)
        .sign(signing, hashes.SHA256())
    )
    certificate = (
        _begun(name, issuer, own)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([general_name(one) for one in (name, *HERE)]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(signing, hashes.SHA256())
    )
    key = own.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return (
        key + certificate.public_bytes(serialization.Encoding.PEM) + authority.public_bytes(serialization.Encoding.PEM)
    )


def _begun(subject: str, issuer: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    """Start an unsigned certificate for this key."""
    of, by = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:_LONGEST_NAME])]) for text in (subject, issuer))
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder(by, of, key.public_key(), x509.random_serial_number())
    return builder.not_valid_before(now - _BEHIND).not_valid_after(now + _VALID)
