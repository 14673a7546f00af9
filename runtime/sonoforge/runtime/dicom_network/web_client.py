"""Fetch studies from an archive over the web: QIDO-RS and WADO-RS (PS3.18, 10.6 and 10.4).

The user gives the URL of a study, a series, an instance, or a search for studies; nothing else is asked.  Name and
password, if need be, are those of the host in ``~/.netrc``, and go to no other host, nor unencrypted to another
machine.
"""

from __future__ import annotations

import base64
import contextlib
import json
import netrc
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

from sonoforge.runtime import atomic
from sonoforge.runtime.dicom_network.incoming import boundary_of, parts_of
from sonoforge.runtime.errors import SonoforgeError, reason
from sonoforge.runtime.images.dicom.derived_objects import identify, is_uid

_STUDIES = re.compile(r"(.*/studies)(?:/([^/]+)(?:/series/([^/]+)(?:/instances/([^/]+))?)?)?/?")
_JSON, _OBJECTS = "application/dicom+json", 'multipart/related; type="application/dicom"; transfer-syntax=*'
_STUDY, _SERIES, _INSTANCE = "0020000D", "0020000E", "00080018"  # tags as JSON has them (PS3.18, annex F)
_MOST_LIST = 50_000_000  # bytes
_SECONDS = 60.0
_HERE = ("localhost", "127.0.0.1", "::1")


class Instance(NamedTuple):
    """One object of an archive: its URL and its UIDs."""

    url: str
    study: str
    uid: str


def is_dicomweb(url: str) -> bool:
    """Whether a URL is one of DICOMweb's studies."""
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and _STUDIES.fullmatch(parts.path) is not None


def find_instances(url: str) -> list[Instance]:
    """Ask an archive which objects a study, a series, or the studies that a search finds hold.

    Raises:
        SonoforgeError: It cannot be asked, or finds none, or answers something else.
    """
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise SonoforgeError(f"{parts.scheme}://...: found credentials in the URL; put them into ~/.netrc")
    found = _STUDIES.fullmatch(parts.path)
    if found is None:
        raise SonoforgeError(f"{_shown(url)}: found no .../studies, expected the URL of a study in DICOMweb")
    root, study, series, instance = found.groups()
    base = urlunsplit((parts.scheme, parts.netloc, root, "", ""))
    if instance:
        return [Instance(urlunsplit(parts._replace(query="")).rstrip("/"), study, instance)]
    if study:
        within = [f"{base}/{study}/series/{series}" if series else f"{base}/{study}"]
    else:
        within = [f"{base}/{_value(item, _STUDY, url)}" for item in _listed(url)]
    instances = [
        Instance(f"{base}/{own}/series/{_value(item, _SERIES, url)}/instances/{uid}", own, uid)
        for place in within
        for item in _listed(f"{place}/instances")
        for own, uid in [(_value(item, _STUDY, url), _value(item, _INSTANCE, url))]
    ]
    if not instances:
        raise SonoforgeError(f"{parts.scheme}://{parts.netloc}: found no such study or series; check the URL")
    return instances


def fetch_instance(instance: Instance, folder: Path, most: int) -> int:
    """Copy one object into ``STUDY/INSTANCE.dcm`` of a folder, if it is not there, and return its bytes copied.

    Raises:
        SonoforgeError: It cannot be fetched, is larger than ``most`` bytes, or is another object.
    """
    for each in (instance.study, instance.uid):
        if not is_uid(each):
            raise SonoforgeError(f"{instance.url}: found what is no UID, expected one of digits and full stops")
    target = folder / instance.study / f"{instance.uid}.dcm"
    if target.is_file():
        return 0
    headers, body = _got(instance.url, _OBJECTS, most)
    boundary = boundary_of(headers)
    objects = list(parts_of(body, boundary)) if boundary else []
    if len(objects) != 1 or identify(objects[0], instance.url).instance != instance.uid:
        raise SonoforgeError(f"{instance.url}: found {len(objects)} objects or another one; expected this one")
    atomic.write_bytes(target, objects[0])
    return len(objects[0])


def _listed(url: str) -> Iterator[dict[str, Any]]:
    """Yield what a search finds."""
    _, body = _got(url, _JSON, _MOST_LIST)
    try:
        items = json.loads(body or b"[]")  # 204 and nothing, where it finds nothing
    except (ValueError, RecursionError):
        items = None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise SonoforgeError(f"{_shown(url)}: found something else than a list in JSON, expected an archive's DICOMweb")
    yield from items


def _value(item: dict[str, Any], tag: str, url: str) -> str:
    """Return the UID in an element of a search's answer."""
    with contextlib.suppress(LookupError, TypeError):
        uid = str(item[tag]["Value"][0])
        if is_uid(uid):
            return uid
    raise SonoforgeError(f"{_shown(url)}: found an entry without a UID ({tag}), expected an archive's DICOMweb")


def _shown(url: str) -> str:
    """Return a URL as messages quote it: what is searched for may be a patient."""
    return url.partition("?")[0]


def _got(url: str, accept: str, most: int) -> tuple[Message, bytes]:
    request = urllib.request.Request(url, headers={"Accept": accept})  # noqa: S310 - http and https alone, see `is_dicomweb`
    credentials = _credentials(url)
    if credentials:
        request.add_unredirected_header("Authorization", credentials)
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
            body = answer.read(most + 1)
            headers: Message = answer.headers
    except urllib.error.HTTPError as error:
        hint = "; put name and password into ~/.netrc" if error.code in (401, 403) else ""
        raise SonoforgeError(f"{_shown(url)}: answered {error.code}; check the URL{hint}") from None
    except (OSError, ValueError, EOFError) as error:
        raise SonoforgeError(f"{_shown(url)}: cannot be asked ({reason(getattr(error, 'reason', error))})") from None
    if len(body) > most:
        raise SonoforgeError(f"{_shown(url)}: found more than {most / 1e6:.0f} MB; see --size-limit")
    return headers, body


def _credentials(url: str) -> str:
    """Return what ``~/.netrc`` has for the host; nothing for one that would be told it unencrypted."""
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in _HERE:
        return ""
    try:
        found = netrc.netrc().authenticators(parts.hostname or "")
    except (OSError, netrc.NetrcParseError):
        return ""
    if not found:
        return ""
    return "Basic " + base64.b64encode(f"{found[0]}:{found[2]}".encode()).decode()
