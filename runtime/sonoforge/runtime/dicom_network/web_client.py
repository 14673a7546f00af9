"""Fetch studies from an archive over the web: QIDO-RS and WADO-RS (PS3.18, 10.6 and 10.4).

The user gives the URL of a study, a series, an instance, or a search for studies.  Name and password, if needed, come
from the host's entry in ``~/.netrc``; they go to no other host, nor unencrypted to another machine.  (The package
dicomweb-client reads answers of any size and sends credentials over plain HTTP, so it is not used here.)
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
    """Whether a URL is that of DICOMweb studies."""
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and _STUDIES.fullmatch(parts.path) is not None


def find_instances(url: str) -> list[Instance]:
    """List the objects of a study, a series, or the studies that a search finds."""
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise SonoforgeError(f"{parts.scheme}://...: the URL holds credentials; put them into ~/.netrc")
    found = _STUDIES.fullmatch(parts.path)
    if found is None:
        raise SonoforgeError(f"{_shown(url)}: not the URL of a DICOMweb study, .../studies/...")
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
        raise SonoforgeError(f"{parts.scheme}://{parts.netloc}: no such study or series; check the URL")
    return instances


def fetch_instance(instance: Instance, folder: Path, most: int) -> int:
    """Copy one object into ``STUDY/INSTANCE.dcm`` of a folder, unless it is there, and return the bytes copied."""
    for each in (instance.study, instance.uid):
        if not is_uid(each):
            raise SonoforgeError(f"{instance.url}: a UID is not made of digits and full stops")
    target = folder / instance.study / f"{instance.uid}.dcm"
    if target.is_file():
        return 0
    headers, body = _got(instance.url, _OBJECTS, most)
    boundary = boundary_of(headers)
    objects = list(parts_of(body, boundary)) if boundary else []
    if len(objects) != 1 or identify(objects[0], instance.url).instance != instance.uid:
        raise SonoforgeError(f"{instance.url}: the archive sent {len(objects)} objects, or another one")
    atomic.write_bytes(target, objects[0])
    return len(objects[0])


def _listed(url: str) -> Iterator[dict[str, Any]]:
    """Yield the results of a search."""
    _, body = _got(url, _JSON, _MOST_LIST)
    try:
        items = json.loads(body or b"[]")  # 204 without a body where it finds nothing
    except (ValueError, RecursionError):
        items = None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise SonoforgeError(f"{_shown(url)}: the answer is not a JSON list; check that this is DICOMweb")
    yield from items


def _value(item: dict[str, Any], tag: str, url: str) -> str:
    """Return the UID in an element of a search result."""
    with contextlib.suppress(LookupError, TypeError):
        uid = str(item[tag]["Value"][0])
        if is_uid(uid):
            return uid
    raise SonoforgeError(f"{_shown(url)}: an entry has no UID ({tag}); check that this is DICOMweb")


def _shown(url: str) -> str:
    """Return a URL without its query, for messages: the search may name a patient."""
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
        raise SonoforgeError(f"{_shown(url)}: cannot be reached ({reason(getattr(error, 'reason', error))})") from None
    if len(body) > most:
        raise SonoforgeError(f"{_shown(url)}: larger than {most / 1e6:.0f} MB; raise --set import.size_limit")
    return headers, body


def _credentials(url: str) -> str:
    """Return the host's credentials from ``~/.netrc``; none if they would go unencrypted to another machine."""
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
