"""
A pretended GitHub: `python -m connectors.github.double --hook URL --secret TEXT`.

Written from the vendor's public reference: issues, their comments and labels, and repository webhooks.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from connectors import catalog
from connectors.double import Answered, Asked, Double, Refusal
from connectors.double_hooks import Hooks
from connectors.double_stand import main, moment

LOGIN = "penstock-bot"
TOKEN = "github-token"  # noqa: S105  # of a pretended system
PLAN = 1_000_000  # requests an hour, so that only faults slow a test down
LONGEST_BODY = 65_536  # characters
_REPO = r"/repos/(?P<owner>[^/]+)/(?P<repo>[^/]+)"
_ISSUE = _REPO + r"/issues/(?P<number>\d+)"
_COMMENT = _REPO + r"/issues/comments/(?P<comment>\d+)"


class GithubDouble(Double):
    """
    GitHub with the repositories it was given.
    """

    routes = (
        ("GET", r"/user", "me"),
        ("GET", r"/users/(?P<login>[^/]+)", "person"),
        ("GET", _REPO, "repository"),
        ("GET", _ISSUE, "issue"),
        ("PATCH", _ISSUE, "edit_issue"),
        ("GET", _ISSUE + "/comments", "list_comments"),
        ("POST", _ISSUE + "/comments", "comment"),
        ("PATCH", _COMMENT, "edit_comment"),
        ("DELETE", _COMMENT, "delete_comment"),
        ("POST", _ISSUE + "/labels", "label"),
    )
    desk = (
        ("POST", r"/_double/issues", "open_issue"),
        ("POST", r"/_double/adopt", "adopt_payload"),
        ("POST", r"/_double/comments", "write_comment"),
        ("GET", r"/_double/state", "state"),
    )

    def __init__(
        self,
        *,
        hook: str | None = None,
        secret: str = "",
        token: str = TOKEN,
        login: str = LOGIN,
        calls: Path | None = None,
    ) -> None:
        rule = catalog.manifest("github").verify
        assert rule is not None
        super().__init__(Hooks(rule, url=hook, secret=secret), calls=calls)
        self._token = token
        self.login = login
        self.repositories: dict[str, dict[str, Any]] = {}
        self.issues: dict[tuple[str, int], dict[str, Any]] = {}
        self.comments: dict[tuple[str, int], list[dict[str, Any]]] = {}
        """By issue, oldest first."""
        self._ids = itertools.count(70_001)

    def authenticate(self, asked: Asked) -> str | None:
        """
        Return the login a token belongs to.
        """
        if not asked.headers.get("user-agent"):
            raise Refusal(403, {"message": "Request forbidden by administrative rules."})
        scheme, _, token = asked.headers.get("authorization", "").partition(" ")
        return self.login if scheme.lower() in ("bearer", "token") and token == self._token else None

    def refused(self) -> Refusal:
        """
        Return what a refused token is told.
        """
        return Refusal(401, {"message": "Bad credentials"})

    def unknown(self) -> Refusal:
        """
        Return what an unknown path is told.
        """
        return Refusal(404, {"message": "Not Found"})

    def extra_headers(self) -> Mapping[str, str]:
        """
        Return the rate headers.
        """
        return {"x-ratelimit-limit": str(PLAN), "x-ratelimit-remaining": str(PLAN - 1)}

    # ---- what the API does --------------------------------------------------------------------

    def me(self, _asked: Asked, actor: str) -> Answered:
        return Answered(body=_user(actor))

    def person(self, _asked: Asked, _actor: str, login: str) -> Answered:
        return Answered(
            body={**_user(login), "name": login.title(), "company": None, "created_at": "2019-05-15T15:19:25Z"}
        )

    def repository(self, _asked: Asked, _actor: str, owner: str, repo: str) -> Answered:
        found = self.repositories.get(f"{owner}/{repo}")
        if found is None:
            raise self.unknown()
        return Answered(body=found)

    def issue(self, _asked: Asked, _actor: str, **place: str) -> Answered:
        return Answered(body=self._issue(**place))

    def edit_issue(self, asked: Asked, actor: str, **place: str) -> Answered:
        """
        Change title, text or state.
        """
        issue, given = self._issue(**place), asked.json()
        changes = {
            name: {"from": issue[name]} for name in ("title", "body") if given.get(name, issue[name]) != issue[name]
        }
        state = given.get("state", issue["state"])
        issue |= {name: given[name] for name in ("title", "body") if name in given} | {"updated_at": moment()}
        if changes:
            self._tell("issues", "edited", issue, actor, {"changes": changes})
        if state != issue["state"]:
            issue |= {"state": state, "closed_at": moment() if state == "closed" else None}
            self._tell("issues", "closed" if state == "closed" else "reopened", issue, actor, {})
        return Answered(body=issue, effect=True)

    def list_comments(self, asked: Asked, _actor: str, **place: str) -> Answered:
        """
        List comments, oldest first, with a Link header.
        """
        found = self.comments[self._key(self._issue(**place))]
        size = max(1, min(int(asked.query.get("per_page", "30")), 100))
        page, last = int(asked.query.get("page", "1")), max(1, -(-len(found) // size))
        near = {"prev": page - 1, "next": page + 1, "last": last, "first": 1}
        shown = {rel: at for rel, at in near.items() if 1 <= at <= last and at != page}
        link = ", ".join(
            f'<{asked.base}{asked.path}?per_page={size}&page={at}>; rel="{rel}"' for rel, at in shown.items()
        )
        return Answered(body=found[(page - 1) * size : page * size], headers={"link": link} if link else {})

    def comment(self, asked: Asked, actor: str, **place: str) -> Answered:
        """
        Comment on an issue.
        """
        comment = self._comment(self._issue(**place), _text(asked), actor)
        return Answered(status=201, body=comment, effect=True)

    def edit_comment(self, asked: Asked, actor: str, *, owner: str, repo: str, comment: str) -> Answered:
        """
        Change a comment of one's own.
        """
        issue, found = self._find(f"{owner}/{repo}", int(comment))
        if found["user"]["login"] != actor:
            raise Refusal(403, {"message": "Must have admin rights to Repository."})
        before, found["body"], found["updated_at"] = found["body"], _text(asked), moment()
        self._tell("issue_comment", "edited", issue, actor, {"comment": found, "changes": {"body": {"from": before}}})
        return Answered(body=found, effect=True)

    def delete_comment(self, _asked: Asked, actor: str, *, owner: str, repo: str, comment: str) -> Answered:
        """
        Delete a comment.
        """
        issue, found = self._find(f"{owner}/{repo}", int(comment))
        self.comments[self._key(issue)].remove(found)
        self._tell("issue_comment", "deleted", issue, actor, {"comment": found})
        return Answered(status=204, effect=True)

    def label(self, asked: Asked, actor: str, **place: str) -> Answered:
        """
        Add labels; each new one is an event.
        """
        issue, names = self._issue(**place), asked.json().get("labels")
        if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
            raise Refusal(422, {"message": "Validation Failed"})
        known = {label["name"] for label in issue["labels"]}
        for name in dict.fromkeys(name for name in names if name not in known):
            label = {"id": next(self._ids), "name": name, "color": "ededed"}
            issue["labels"].append(label)
            issue["updated_at"] = moment()
            self._tell("issues", "labeled", issue, actor, {"label": label})
        return Answered(body=issue["labels"], effect=True)

    # ---- what people do -----------------------------------------------------------------------

    def open_issue(self, asked: Asked) -> Answered:
        return Answered(status=201, body=self.opened(**asked.json()))

    def opened(self, *, repository: str = "acme/widgets", author: str = "mira", **given: Any) -> dict[str, Any]:
        """
        Open an issue as a person does.
        """
        self._repository(repository)
        number = int(given.get("number") or len(self.issues) + 1)
        now = moment()
        issue: dict[str, Any] = {
            "id": next(self._ids),
            "number": number,
            "title": given.get("title", ""),
            "body": given.get("body"),
            "user": _user(author),
            "labels": [{"id": next(self._ids), "name": name, "color": "ededed"} for name in given.get("labels", [])],
            "state": "open",
            "locked": False,
            "assignees": [],
            "milestone": None,
            "comments": 0,
            "created_at": now,
            "updated_at": now,
            "closed_at": None,
            "author_association": "NONE",
            "html_url": f"https://github.com/{repository}/issues/{number}",
            "repository_full_name": repository,
        }
        self.issues[repository, number] = issue
        self.comments[repository, number] = []
        self._tell("issues", "opened", issue, author, {})
        return issue

    def adopt_payload(self, asked: Asked) -> Answered:
        self.adopt(asked.json())
        return Answered(status=204)

    def adopt(self, payload: Mapping[str, Any]) -> None:
        """
        Take over the repository and issue of a delivery, so that both exist here; tells nobody.
        """
        name = payload["repository"]["full_name"]
        self.repositories.setdefault(name, dict(payload["repository"]))
        issue = {**payload["issue"], "repository_full_name": name}
        issue["state"] = issue.get("state") or "open"
        key = (name, int(issue["number"]))
        self.issues.setdefault(key, issue)
        self.comments.setdefault(key, [])

    def write_comment(self, asked: Asked) -> Answered:
        given = asked.json()
        issue = self.issues[given["repository"], int(given["number"])]
        return Answered(status=201, body=self._comment(issue, given["body"], given.get("author", "mira")))

    def state(self, _asked: Asked) -> Answered:
        shown = [{**issue, "comment_list": self.comments[key]} for key, issue in self.issues.items()]
        return Answered(body={"issues": shown})

    # ---- state --------------------------------------------------------------------------------

    def _repository(self, name: str) -> dict[str, Any]:
        if name not in self.repositories:
            self.repositories[name] = {
                "id": next(self._ids),
                "name": name.partition("/")[2],
                "full_name": name,
                "owner": _user(name.partition("/")[0]),
                "private": False,
                "description": None,
                "topics": [],
                "language": "Python",
                "open_issues_count": 0,
                "html_url": f"https://github.com/{name}",
            }
        return self.repositories[name]

    def _issue(self, *, owner: str, repo: str, number: str) -> dict[str, Any]:
        issue = self.issues.get((f"{owner}/{repo}", int(number)))
        if issue is None:
            raise self.unknown()
        return issue

    def _key(self, issue: Mapping[str, Any]) -> tuple[str, int]:
        return issue["repository_full_name"], int(issue["number"])

    def _find(self, repository: str, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
        for key, found in self.comments.items():
            for comment in found:
                if key[0] == repository and comment["id"] == number:
                    return self.issues[key], comment
        raise self.unknown()

    def _comment(self, issue: dict[str, Any], body: str, actor: str) -> dict[str, Any]:
        now, number = moment(), next(self._ids)
        comment = {
            "id": number,
            "user": _user(actor),
            "body": body,
            "created_at": now,
            "updated_at": now,
            "author_association": "NONE",
            "html_url": f"{issue['html_url']}#issuecomment-{number}",
        }
        self.comments[self._key(issue)].append(comment)
        issue |= {"comments": issue.get("comments", 0) + 1, "updated_at": now}
        self._tell("issue_comment", "created", issue, actor, {"comment": comment})
        return comment

    def _tell(self, event: str, action: str, issue: Mapping[str, Any], actor: str, more: Mapping[str, Any]) -> None:
        body = {
            "action": action,
            "issue": issue,
            **more,
            "repository": self.repositories[issue["repository_full_name"]],
            "sender": _user(actor),
        }
        self.hooks.emit(body, {"x-github-event": event, "x-github-delivery": str(uuid.uuid4())})


def _user(login: str) -> dict[str, Any]:
    number = sum(login.encode()) + 1000
    kind = "Bot" if login.endswith("[bot]") else "User"
    return {"login": login, "id": number, "type": kind, "html_url": f"https://github.com/{login}"}


def _text(asked: Asked) -> str:
    body = asked.json().get("body")
    if not isinstance(body, str) or not body.strip() or len(body) > LONGEST_BODY:
        message = "Body cannot be blank" if not body else f"Body is too long (maximum is {LONGEST_BODY} characters)"
        raise Refusal(422, {"message": "Validation Failed", "errors": [{"field": "body", "message": message}]})
    return body


if __name__ == "__main__":
    main(GithubDouble)
