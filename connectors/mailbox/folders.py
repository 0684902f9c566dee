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

from connectors.mailbox.imap import for_now
from penstock.errors import NotFound

LARGEST = 8 * 1024 * 1024  # bytes of one mail that are fetched
GLANCE = 256 * 1024  # bytes of one mail among many
NEAR = 500  # numbers around a mail that its server does not give, among which others are looked for
TRIED = 3  # of them
FOLDERS = 40  # that are looked through for a mail that was moved
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
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
    Return them, also when the server cannot give one of them, though it gives others: that one is empty.
    """
    with contextlib.suppress(IMAPClientError):
        found = {mail.uid: mail for mail in fetch(client, uids)}
        if len(found) == len(uids):
            return list(found.values())
    each: list[Fetched] = []
    odd: list[int] = []
    for uid in uids:
        try:
            each += fetch(client, [uid])
        except IMAPClientAbortError:
            raise
        except IMAPClientError as error:
            if for_now(str(error)):
                raise
            if client.search(["UID", str(uid)]):  # it is there, and its server does not give it
                odd.append(uid)
    if odd and not each:
        _gives_others(client, odd)
    each += [Fetched(uid=uid, raw=b"", whole=False, came=None) for uid in odd]
    return sorted(each, key=lambda mail: mail.uid)


def _gives_others(client: IMAPClient, uids: Sequence[int]) -> None:
    """
    Raise `IMAPClientError` when the server gives no mail beside *uids* either: then it is to blame, and not a mail.
    """
    near = client.search(["UID", f"{max(1, uids[0] - NEAR)}:{uids[-1] + NEAR}"])
    others = sorted(set(near) - set(uids), key=lambda one: abs(one - uids[0]))[:TRIED]
    for number, uid in enumerate(others, 1):
        try:
            client.fetch([uid], ["BODY.PEEK[]<0.1>"])
            return
        except IMAPClientAbortError:
            raise
        except IMAPClientError:
            if number == len(others):
                raise
    if len(uids) > 1:
        raise IMAPClientError("the server gives no mail of this folder")


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
    return sorted(client.search(f"UNDELETED HEADER {name} {quoted(text)}"))


def quoted(text: str) -> str:
    """
    Return *text* as a value of a search; imapclient leaves some that are no atoms as they are: `a(b`, `a{9}`.
    """
    return '"' + _CONTROL.sub("", text).replace("\\", "\\\\").replace('"', '\\"') + '"'


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
