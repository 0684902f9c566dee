"""
A pretended Jira: `python -m connectors.jira.double --hook URL --secret TEXT`.

Written from the vendor's public reference: issues, their comments and changes, search, and admin webhooks.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from connectors import catalog
from connectors.double import Answered, Asked, Double, Refusal
from connectors.double_hooks import Hooks
from connectors.double_stand import main
from connectors.jira.double_search import page, searched
from connectors.jira.double_text import document, markup, refuse_document

EMAIL = "hub@acme.example"
ACCOUNT = "5b10a0effa615349cb016cd8"
TOKEN = "jira-token"  # noqa: S105  # of a pretended system
ZONE = timezone(timedelta(hours=1))  # of the account: Jira shows times in it
PRIORITIES = ("Highest", "High", "Medium", "Low", "Lowest")
_ISSUE = r"/rest/api/(?P<version>[23])/issue/(?P<key>[A-Z][A-Z0-9]*-\d+)"


class JiraDouble(Double):
    """
    One Jira site.
    """

    routes = (
        ("GET", r"/rest/api/[23]/myself", "me"),
        ("GET", r"/rest/api/2/user", "user"),
        ("GET", r"/rest/api/2/search/jql", "search"),
        ("GET", r"/rest/api/[23]/search", "gone"),
        ("GET", _ISSUE, "issue"),
        ("PUT", _ISSUE, "edit"),
        ("GET", _ISSUE + "/comment", "list_comments"),
        ("POST", _ISSUE + "/comment", "comment"),
        ("PUT", _ISSUE + r"/comment/(?P<comment>\d+)", "edit_comment"),
    )
    desk = (
        ("POST", r"/_double/issues", "open_issue"),
        ("POST", r"/_double/comments", "write_comment"),
        ("GET", r"/_double/state", "state"),
    )

    def __init__(
        self, *, hook: str | None = None, secret: str = "", token: str = TOKEN, calls: Path | None = None
    ) -> None:
        rule = catalog.manifest("jira").verify
        assert rule is not None
        super().__init__(Hooks(rule, url=hook, secret=secret), calls=calls)
        self._credential = f"{EMAIL}:{token}"
        self.people: dict[str, dict[str, Any]] = {ACCOUNT: _person(ACCOUNT, "Hub")}
        self.issues: dict[str, dict[str, Any]] = {}
        self.comments: dict[str, list[dict[str, Any]]] = {}
        """By issue, oldest first; their bodies are documents."""
        self.histories: dict[str, list[dict[str, Any]]] = {}
        """Changes by issue, newest first."""
        self.unindexed: set[str] = set()
        """Issues that a search does not show yet."""
        self.page_most = 100
        self._ids = itertools.count(10_001)

    def authenticate(self, asked: Asked) -> str | None:
        """
        Return the account a credential belongs to.
        """
        scheme, _, text = asked.headers.get("authorization", "").partition(" ")
        try:
            fits = scheme == "Basic" and base64.b64decode(text, validate=True).decode() == self._credential
        except (binascii.Error, UnicodeDecodeError):
            fits = False
        return ACCOUNT if fits else None

    def refused(self) -> Refusal:
        """
        Return what a refused credential is told.
        """
        return Refusal(401, {"message": "Client must be authenticated to access this resource.", "status-code": 401})

    def unknown(self) -> Refusal:
        """
        Return what an unknown path or issue is told.
        """
        said = "Issue does not exist or you do not have permission to see it."
        return Refusal(404, {"errorMessages": [said], "errors": {}})

    # ---- what the API does --------------------------------------------------------------------

    def me(self, _asked: Asked, actor: str) -> Answered:
        return Answered(body=self.people[actor])

    def user(self, asked: Asked, _actor: str) -> Answered:
        found = self.people.get(asked.query.get("accountId", ""))
        if found is None:
            raise Refusal(404, {"errorMessages": ["The user does not exist"], "errors": {}})
        return Answered(body=found)

    def gone(self, _asked: Asked, _actor: str) -> Answered:
        """
        Say that the search of old is no more.
        """
        raise Refusal(410, {"errorMessages": ["The requested API has been removed. Please migrate to /search/jql."]})

    def search(self, asked: Asked, _actor: str) -> Answered:
        """
        Search by JQL; without `fields` there are only ids.
        """
        jql = asked.query.get("jql", "")
        visible = [issue for key, issue in self.issues.items() if key not in self.unindexed]
        size = min(int(asked.query.get("maxResults", "50")), self.page_most)
        shown, token = page(searched(visible, jql), jql, {**asked.query, "maxResults": str(size)})
        wanted = set(filter(None, asked.query.get("fields", "").split(",")))
        found = [self._found(issue, wanted, asked.query.get("expand", "")) for issue in shown]
        return Answered(body={"issues": found, "isLast": token is None, **({"nextPageToken": token} if token else {})})

    def issue(self, asked: Asked, _actor: str, version: str, key: str) -> Answered:
        del version
        record = self._known(key)
        wanted = set(filter(None, asked.query.get("fields", "").split(","))) or set(record["fields"])
        return Answered(body=_cut(record, wanted))

    def edit(self, asked: Asked, actor: str, version: str, key: str) -> Answered:
        """
        Set fields, add and remove labels.
        """
        del version
        record, given = self._known(key), asked.json()
        fields = dict(given.get("fields") or {})
        labels = [*record["fields"]["labels"]]
        for step in (given.get("update") or {}).get("labels", []):
            if label := step.get("add"):
                labels += [label] if label not in labels else []
            labels = [label for label in labels if label != step.get("remove")]
        if "update" in given:
            fields["labels"] = labels
        self._refuse(fields)
        self.changed(key, fields, actor)
        return Answered(status=204, effect=True)

    def list_comments(self, asked: Asked, _actor: str, version: str, key: str) -> Answered:
        self._known(key)
        found = self.comments[key][:: -1 if asked.query.get("orderBy") == "-created" else 1]
        start = int(asked.query.get("startAt", "0"))
        size = min(int(asked.query.get("maxResults", "100")), 100)
        shown = [_shown(comment, version) for comment in found[start : start + size]]
        return Answered(body={"comments": shown, "startAt": start, "maxResults": size, "total": len(found)})

    def comment(self, asked: Asked, actor: str, version: str, key: str) -> Answered:
        self._known(key)
        given = asked.json()
        refuse_document(given.get("body"))
        comment = self._comment(key, given["body"], actor, internal=_internal(given))
        return Answered(status=201, body=_shown(comment, version), effect=True)

    def edit_comment(self, asked: Asked, actor: str, version: str, key: str, comment: str) -> Answered:
        self._known(key)
        found = next((one for one in self.comments[key] if one["id"] == comment), None)
        if found is None:
            raise Refusal(404, {"errorMessages": [f"Can not find a comment for the id: {comment}."], "errors": {}})
        given = asked.json()
        refuse_document(given.get("body"))
        found |= {"body": given["body"], "updated": now(), "updateAuthor": self.people[actor]}
        self._touched(key)
        self._tell_comment("comment_updated", "issue_comment_edited", key, found)
        return Answered(body=_shown(found, version), effect=True)

    # ---- what people do -----------------------------------------------------------------------

    def open_issue(self, asked: Asked) -> Answered:
        return Answered(status=201, body=self.opened(**asked.json()))

    def opened(self, *, project: str = "SUP", by: str = "person-77", at: str = "", **given: Any) -> dict[str, Any]:
        """
        Open an issue as a person does.
        """
        number = str(next(self._ids))
        key, person, time = f"{project}-{number}", self._person(by), at or now()
        fields = {
            "summary": given.get("summary", ""),
            "description": given.get("description"),
            "issuetype": {"id": "10001", "name": "Task"},
            "project": {"id": "10000", "key": project, "name": project.title()},
            "status": {"id": "1", "name": "To Do", "statusCategory": {"key": "new"}},
            "priority": {"id": "3", "name": given.get("priority", "Medium")},
            "labels": list(given.get("labels", [])),
            "duedate": None,
            "reporter": person,
            "creator": person,
            "assignee": None,
            "resolution": None,
            "created": time,
            "updated": time,
        }
        self.issues[key] = {"id": number, "key": key, "fields": fields}
        self.comments[key], self.histories[key] = [], []
        self._tell("jira:issue_created", "issue_created", key, {"user": person})
        return self.issues[key]

    def write_comment(self, asked: Asked) -> Answered:
        given = asked.json()
        comment = self.commented(given["key"], given["text"], by=given.get("by", "person-77"))
        return Answered(status=201, body=_shown(comment, "3"))

    def commented(self, key: str, text: str, *, by: str = "person-77", internal: bool = False) -> dict[str, Any]:
        """
        Let a person comment.
        """
        self._person(by)
        return self._comment(key, document(text), by, internal=internal)

    def changed(self, key: str, fields: Mapping[str, Any], by: str) -> None:
        """
        Change fields of an issue: one change in its history.
        """
        record, person = self._known(key), self._person(by)
        items = []
        for name, value in fields.items():
            before = record["fields"].get(name)
            if before == value:
                continue
            record["fields"][name] = value
            old, new = _words(before), _words(value)
            items.append({"field": name, "fieldId": name, "fieldtype": "jira", "fromString": old, "toString": new})
        if items:
            self._touched(key)
            change = {"id": str(next(self._ids)), "items": items}
            self.histories[key].insert(0, {**change, "author": person, "created": record["fields"]["updated"]})
            self._tell("jira:issue_updated", "issue_generic", key, {"user": person, "changelog": change})

    def state(self, _asked: Asked) -> Answered:
        return Answered(
            body={"issues": [{**issue, "comments": self.comments[key]} for key, issue in self.issues.items()]}
        )

    # ---- state --------------------------------------------------------------------------------

    def _known(self, key: str) -> dict[str, Any]:
        if key not in self.issues:
            raise self.unknown()
        return self.issues[key]

    def _person(self, account: str) -> dict[str, Any]:
        return self.people.setdefault(account, _person(account, account.title()))

    def _refuse(self, fields: Mapping[str, Any]) -> None:
        known = next(iter(self.issues.values()))["fields"]
        wrong = {name: f"Field '{name}' cannot be set." for name in fields if name not in known}
        priority = fields.get("priority")
        if priority is not None and priority.get("name") not in PRIORITIES:
            wrong["priority"] = "Specify the Priority (name) in string format"
        if any(" " in label for label in fields.get("labels") or ()):
            wrong["labels"] = "The label contains spaces which is invalid."
        if wrong:
            raise Refusal(400, {"errorMessages": [], "errors": wrong})

    def _found(self, issue: Mapping[str, Any], wanted: set[str], expand: str) -> dict[str, Any]:
        found = _cut(issue, wanted - {"comment"})
        if not wanted:
            return {"id": issue["id"]}
        if "comment" in wanted:
            shown = [_shown(comment, "2") for comment in self.comments[issue["key"]]]
            found["fields"]["comment"] = {
                "comments": shown,
                "total": len(shown),
                "maxResults": len(shown),
                "startAt": 0,
            }
        if expand == "changelog":
            histories = self.histories[issue["key"]]
            found["changelog"] = {"startAt": 0, "total": len(histories), "histories": histories}
        return found

    def _comment(self, key: str, body: dict[str, Any], by: str, *, internal: bool) -> dict[str, Any]:
        time, person = now(), self.people[by]
        comment = {
            "id": str(next(self._ids)),
            "author": person,
            "updateAuthor": person,
            "body": body,
            "created": time,
            "updated": time,
            "jsdPublic": not internal,
        }
        self.comments[key].append(comment)
        self._touched(key)
        self._tell_comment("comment_created", "issue_commented", key, comment)
        return comment

    def _touched(self, key: str) -> None:
        self.issues[key]["fields"]["updated"] = now()

    def _tell_comment(self, event: str, kind: str, key: str, comment: Mapping[str, Any]) -> None:
        said = {"comment": _shown(comment, "2")}
        short = {"summary", "issuetype", "project", "assignee", "priority", "status"}
        self._tell(event, None, key, said, short)
        self._tell("jira:issue_updated", kind, key, {"user": comment["updateAuthor"], **said})

    def _tell(
        self, event: str, kind: str | None, key: str, more: Mapping[str, Any], wanted: set[str] | None = None
    ) -> None:
        record = self.issues[key]
        body = {
            "timestamp": int(datetime.now(UTC).timestamp() * 1000),
            "webhookEvent": event,
            **({"issue_event_type_name": kind} if kind else {}),
            "issue": _cut(record, wanted or set(record["fields"])),
            **more,
        }
        self.hooks.emit(body, {"x-atlassian-webhook-identifier": str(uuid.uuid4())})


def now() -> str:
    """
    Return the time now as Jira shows it.
    """
    return datetime.now(ZONE).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "+0100"


def _cut(record: Mapping[str, Any], wanted: set[str]) -> dict[str, Any]:
    fields = {name: value for name, value in record["fields"].items() if name in wanted}
    return {"id": record["id"], "key": record["key"], "fields": fields}


def _shown(comment: Mapping[str, Any], version: str) -> dict[str, Any]:
    return {**comment, "body": comment["body"] if version == "3" else markup(comment["body"])}


def _internal(given: Mapping[str, Any]) -> bool:
    properties = {one["key"]: one["value"] for one in given.get("properties") or ()}
    return bool(properties.get("sd.public.comment", {}).get("internal"))


def _person(account: str, name: str) -> dict[str, Any]:
    return {"accountId": account, "accountType": "atlassian", "displayName": name, "active": True}


def _words(value: Any) -> Any:
    return value.get("name") or value.get("accountId") if isinstance(value, dict) else value


if __name__ == "__main__":
    main(JiraDouble)
