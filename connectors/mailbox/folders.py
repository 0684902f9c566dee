"""
What is done in folders with a connection, on its thread.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from imapclient import IMAPClient
from imapclient.exceptions import IMAPClientAbortError, IMAPClientError

from penstock.errors import NotFound

LARGEST = 8 * 1024 * 1024  # bytes of one mail that are fetched
GLANCE = 256 * 1024  # bytes of one mail among many
FOLDERS = 40  # that are looked through for a mail that was moved
_APPENDED = re.compile(rb"\[APPENDUID (\d+) (\d+)\]", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """
    One mail as it lies in a folder.
    """

    uid: int
    raw: bytes
    """Empty when the server does not give it."""
    whole: bool
    came: datetime | None
    """In UTC."""


def select(client: IMAPClient, folder: str, *, write: bool = False) -> tuple[int, int]:
    """
    Select a folder; return its UIDVALIDITY and the next UID. Raises `NotFound`.
    """
    try:
        found = client.select_folder(folder, readonly=not write)
    except IMAPClientAbortError:
        raise
    except IMAPClientError as error:
        if client.folder_exists(folder):
            raise
        raise NotFound(f"there is no folder {folder!r}: {' '.join(str(error).split())[:100]}") from None
    return int(found[b"UIDVALIDITY"]), int(found.get(b"UIDNEXT") or 1)


def sizes(client: IMAPClient, uids: Sequence[int]) -> dict[int, int]:
    """
    Return the bytes of mails by UID; those that are gone are left out.
    """
    found = client.fetch(list(uids), ["RFC822.SIZE"]) if uids else {}
    return {uid: int(data.get(b"RFC822.SIZE") or 0) for uid, data in sorted(found.items())}


def fetch(client: IMAPClient, uids: Sequence[int], most: int = LARGEST) -> list[Fetched]:
    """
    Return mails of the selected folder in order, without marking them as seen; of one above *most* bytes its beginning.
    """
    if not uids:
        return []
    wanted = ["RFC822.SIZE", "INTERNALDATE", f"BODY.PEEK[]<0.{most}>"]
    return [_fetched(uid, data, most) for uid, data in sorted(client.fetch(list(uids), wanted).items())]


def fetch_each(client: IMAPClient, uids: Sequence[int]) -> list[Fetched]:
    """
    Return them, also when the server cannot give one of them: that one is empty.
    """
    with contextlib.suppress(IMAPClientError):
        found = {mail.uid: mail for mail in fetch(client, uids)}
        if len(found) == len(uids):
            return list(found.values())
    each: list[Fetched] = []
    for uid in uids:
        try:
            each += fetch(client, [uid])
        except IMAPClientAbortError:
            raise
        except IMAPClientError:
            if client.search(["UID", str(uid)]):  # it is there, and its server does not give it
                each.append(Fetched(uid=uid, raw=b"", whole=False, came=None))
    return each


def _fetched(uid: int, data: dict[bytes, Any], most: int) -> Fetched:
    raw = next((value for name, value in data.items() if name.startswith(b"BODY[]")), None) or b""
    came = data.get(b"INTERNALDATE")
    return Fetched(
        uid=uid,
        raw=raw,
        whole=bool(raw) and int(data.get(b"RFC822.SIZE") or len(raw)) <= most,
        came=came.astimezone() if came is not None else None,
    )


def above(client: IMAPClient, uid: int) -> list[int]:
    """
    Return the UIDs above *uid* in the selected folder, in order: the server gives its last one for an empty range too.
    """
    return sorted(one for one in client.search(["UID", f"{uid + 1}:*"]) if one > uid)


def since(client: IMAPClient, day: date) -> list[int]:
    """
    Return the UIDs of what came since *day*.
    """
    return sorted(client.search(["SINCE", day]))


def with_header(client: IMAPClient, name: str, text: str) -> list[int]:
    """
    Return the UIDs of mails whose header *name* holds *text*, in order; without those that wait to be expunged.
    """
    return sorted(client.search(["UNDELETED", "HEADER", name, text]))


def append(client: IMAPClient, folder: str, raw: bytes, *, flags: Sequence[bytes], at: datetime) -> int | None:
    """
    Put a mail into a folder; return its UID where the server tells it.
    """
    said = client.append(folder, raw, flags=flags, msg_time=at)
    found = _APPENDED.search(said if isinstance(said, bytes) else str(said).encode())
    return int(found[2]) if found else None


def remove(client: IMAPClient, uids: Sequence[int]) -> None:
    """
    Delete mails of the selected folder, and nothing else that people have marked as deleted there.
    """
    if uids:
        client.delete_messages(list(uids))
        if client.has_capability("UIDPLUS"):
            client.expunge(list(uids))


def where(
    client: IMAPClient, folder: str, place: tuple[int, int], message_id: str, same: Callable[[bytes], bool]
) -> Fetched:
    """
    Return a mail: where it came in, or where people have moved it; another one with its Message-ID is not *same*.

    Raises `NotFound`.
    """
    validity, _ = select(client, folder)
    if validity == place[0] and (found := fetch(client, [place[1]])) and same(found[0].raw):
        return found[0]
    if message_id:
        others = [name for flags, _, name in client.list_folders() if name != folder and b"\\Noselect" not in flags]
        for name in (folder, *others[:FOLDERS]):
            with contextlib.suppress(NotFound):
                select(client, name)
                for uid in with_header(client, "Message-ID", f"<{message_id}>"):
                    for mail in fetch(client, [uid]):
                        if same(mail.raw):
                            return mail
    raise NotFound(f"the mail {message_id or place} is in no folder any more")
