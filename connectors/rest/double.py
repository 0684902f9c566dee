"""
A pretended order system for `connector: rest`: `python -m connectors.rest.double --hook URL --secret TEXT`.

It is nobody's product. Orders are placed, changed and remarked on; its webhooks are Standard Webhooks, and its lists go
by pages.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from connectors.double import Answered, Asked, Double, Refusal
from connectors.double_hooks import Hooks
from connectors.double_stand import main, moment
from connectors.verification import Verify

TOKEN = "orders-token"  # noqa: S105  # of a pretended system
HUB = "hub"  # whose token it is
RULE = Verify(secret="webhook_secret", way="standard-webhooks")  # noqa: S106  # the name of a setting
STATUSES = ("new", "packed", "shipped")
PAGE = 100


class RestDouble(Double):
    """
    One order system.
    """

    routes = (
        ("GET", r"/me", "me"),
        ("GET", r"/orders", "changes"),
        ("GET", r"/orders/(?P<order>\d+)", "order"),
        ("PATCH", r"/orders/(?P<order>\d+)", "change"),
        ("GET", r"/orders/(?P<order>\d+)/remarks", "list_remarks"),
        ("POST", r"/orders/(?P<order>\d+)/remarks", "add_remark"),
    )
    desk = (("POST", r"/_double/orders", "place_order"),)

    def __init__(self, *, hook: str | None = None, secret: str = "", calls: Path | None = None) -> None:
        super().__init__(Hooks(RULE, url=hook, secret=secret), calls=calls)
        self.orders: dict[str, dict[str, Any]] = {}
        self.said: dict[str, list[dict[str, Any]]] = {}
        """Remarks by order, oldest first."""
        self._last = 1000

    def authenticate(self, asked: Asked) -> str | None:
        """
        Return who holds the token.
        """
        return HUB if asked.headers.get("authorization") == f"Bearer {TOKEN}" else None

    # ---- what the API does --------------------------------------------------------------------

    def me(self, _asked: Asked, actor: str) -> Answered:
        return Answered(body={"id": actor, "name": "The hub"})

    def order(self, _asked: Asked, _actor: str, order: str) -> Answered:
        return Answered(body=self._known(order))

    def changes(self, asked: Asked, _actor: str) -> Answered:
        """
        List orders by the time of their last change, a page at a time.
        """
        since, after = asked.query.get("since", ""), asked.query.get("after", "")
        ordered = sorted(self.orders.values(), key=_place)
        found = [order for order in ordered if order["updated_at"] >= since and _place(order) > after]
        page, rest = found[:PAGE], found[PAGE:]
        more = f"{asked.base}/orders?since={since}&after={_place(page[-1])}" if rest else None
        return Answered(body={"orders": page, "next": more})

    def change(self, asked: Asked, actor: str, order: str) -> Answered:
        """
        Change fields of an order.
        """
        record, given = self._known(order), asked.json()
        if set(given) - {"status", "text"} or given.get("status", "new") not in STATUSES:
            raise Refusal(422, {"error": "there is no such field or status"})
        changed = [name for name, value in given.items() if record[name] != value]
        if changed:
            self.changed(order, {name: given[name] for name in changed}, by=actor)
        return Answered(body=record, effect=bool(changed))

    def list_remarks(self, asked: Asked, _actor: str, order: str) -> Answered:
        """
        List the remarks on an order, newest first.
        """
        self._known(order)
        start = int(asked.query.get("start", "0"))
        listed = self.said[order][::-1]
        more = f"{asked.base}{asked.path}?start={start + PAGE}" if len(listed) > start + PAGE else None
        return Answered(body={"remarks": listed[start : start + PAGE], "next": more})

    def add_remark(self, asked: Asked, actor: str, order: str) -> Answered:
        """
        Add a remark.
        """
        self._known(order)
        text = asked.json().get("text")
        if not isinstance(text, str) or not text:
            raise Refusal(422, {"error": "a remark has a text"})
        return Answered(status=201, body=self.remarked(order, text, by=actor), effect=True)

    # ---- what people do -----------------------------------------------------------------------

    def place_order(self, asked: Asked) -> Answered:
        return Answered(status=201, body=self.placed(**asked.json()))

    def placed(self, *, text: str = "", by: str = "ines", at: str | None = None, told: bool = True) -> dict[str, Any]:
        """
        Place an order; unless *told*, no webhook tells of it.
        """
        number, now = str(self._next()), at or moment()
        order = {"id": number, "text": text, "status": "new", "version": 1, "created_at": now, "updated_at": now}
        self.orders[number] = {**order, "changed": [], "by": by}
        self.said[number] = []
        if told:
            self._tell("placed", self.orders[number])
        return self.orders[number]

    def changed(self, order: str, fields: Mapping[str, Any], *, by: str) -> None:
        """
        Change *fields* of an order.
        """
        record = self.orders[order]
        record |= {**fields, "by": by, "changed": sorted(fields), "version": record["version"] + 1}
        record["updated_at"] = moment()
        self._tell("changed", record)

    def remarked(self, order: str, text: str, *, by: str) -> dict[str, Any]:
        """
        Leave a remark on an order.
        """
        made = {"id": str(self._next()), "text": text, "by": by, "at": moment()}
        self.said[order].append(made)
        self._tell("remarked", self.orders[order], made)
        return made

    # ---- state --------------------------------------------------------------------------------

    def _next(self) -> int:
        self._last += 1
        return self._last

    def _known(self, order: str) -> dict[str, Any]:
        if order not in self.orders:
            raise Refusal(404, {"error": "there is no such order"})
        return self.orders[order]

    def _tell(self, what: str, order: Mapping[str, Any], remark: Mapping[str, Any] | None = None) -> None:
        told = {"type": f"order.{what}", "order": dict(order), "remark": remark}
        self.hooks.emit(told, {})


def _place(order: Mapping[str, Any]) -> str:
    """
    Return where an order stands in the list of changes.
    """
    digits = re.sub(r"\D", "", order["updated_at"])
    return f"{digits}.{int(order['id']):09}"


if __name__ == "__main__":
    main(RestDouble)
