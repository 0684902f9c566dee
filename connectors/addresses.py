"""
Where requests go: paths with escaped parts, and never another host.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, urljoin, urlsplit

from penstock.errors import NotFound, Rejected, Unavailable

_PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_MOST = 500  # characters of one part of a path
_LONGEST_LINKS = 64 * 1024  # characters of a Link header
_PARAMETER = re.compile(r'\s*;\s*([^\s=;,"<>]*)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,;"<>]*)))?')
"""Name and value, quoted or plain. It looks at each character once or twice, whatever a system writes."""


def names_in(record: str, patterns: Mapping[str, str]) -> dict[str, str]:
    """
    Return the named groups of the first of *patterns* that is all of *record*.
    """
    for pattern in patterns.values():
        if found := re.fullmatch(pattern, record):
            return found.groupdict()
    return {}


def path_of(template: str, names: Mapping[str, str]) -> str:
    """
    Return *template* with every `{name}` filled in and percent-encoded.

    Raises `NotFound` for a part that no path can have: no record has such an id.
    """

    def fill(found: re.Match[str]) -> str:
        text = names.get(found[1])
        if text is None or text in ("", ".", "..") or len(text) > _MOST or "\x00" in text:
            raise NotFound(f"There can be no {template!r} with {found[1]} = {text!r}.")
        return quote(text, safe="")

    return _PLACEHOLDER.sub(fill, template)


def absolute(base: str, url: str) -> str:
    """
    Return *url* under *base*; raises `Rejected` for another host: our credential stays at home.

    A path is below that of *base*, also where a system that names the next page says all of it.
    """
    if url.startswith("/") and not url.startswith("//"):
        path = urlsplit(base).path
        told = path and url.startswith((path + "/", path + "?"))
        return (base.removesuffix(path) if told else base) + url
    full = urljoin(base + "/", url)
    if _origin(full) != _origin(base):
        raise Rejected(f"The system pointed to {_origin(full)!r}, which is not {_origin(base)!r}; nothing was sent.")
    return full


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2].lower()}"


def links(header: str) -> dict[str, str]:
    """
    Return the targets of a `Link` header by their `rel`, in lower case: RFC 8288.

    Raises `Unavailable` for one that is too long to be one: pages that it may name are not passed over.
    """
    if len(header) > _LONGEST_LINKS:
        raise Unavailable(f"The system's Link header has {len(header):,} characters; {_LONGEST_LINKS:,} are read.")
    found: dict[str, str] = {}
    at = 0
    while (start := header.find("<", at)) >= 0 and (end := header.find(">", start)) >= 0:
        at = end + 1
        relations: str | None = None
        while parameter := _PARAMETER.match(header, at):
            at = parameter.end()
            if relations is None and parameter[1].lower() == "rel":
                relations = parameter[2] or parameter[3] or ""
        for relation in (relations or "").lower().split():
            found[relation] = header[start + 1 : end]
    return found
