"""
Expressions and templates: what they mean, and that nothing escapes or explodes.
"""

from __future__ import annotations

from typing import Any

import pytest

from penstock import sandbox
from penstock.errors import Invalid, PenstockError
from penstock.expressions import (
    EvaluationError,
    ExpressionError,
    MissingField,
    compile_expression,
    compile_template,
)
from penstock.sandbox import MAX_STEPS, MAX_TEXT, Meter

EVENT = {
    "id": "e1",
    "data": {
        "status": "new",
        "items": [3, 1, 2],
        "keys": "kept",
        "priority": None,
        "orders": [{"id": "A-1", "total": 12.5}, {"id": "A-2", "total": 7}],
        "at": "2026-11-24T09:30:00Z",
        "text": "line one\nline two",
    },
}


def evaluate(text: str, **scope: Any) -> Any:
    return compile_expression(text).evaluate({"event": EVENT, **scope})


MEANINGS = [
    ("event.data.status != 'spam'", True),
    ("event.data.status in ['new', 'open']", True),
    ("event.data.items", [3, 1, 2]),  # a field, not a method
    ("event.data.keys", "kept"),
    ("event.data['status']", "new"),
    ("event.data.items[0] + 1", 4),
    ("event.data.items[-1]", 2),
    ("event.data.items[1:]", [1, 2]),
    ("event.data.items | sort | first", 1),
    ("event.data.items | sum", 6),
    ("event.data.orders | sum(attribute='total')", 19.5),
    ("event.data.orders | join(', ', attribute='id')", "A-1, A-2"),
    ("event.data.orders[0].total > 10 and not event.data.priority", True),
    ("event.data.missing | default('none')", "none"),
    ("event.data.missing.deeper | default('none')", "none"),
    ("event.data.priority | default('low')", "low"),  # null counts as not there
    ("event.data.missing is defined", False),
    ("event.data.priority is none", True),
    ("event.data.at | date", "2026-11-24"),
    ("'2026-01-05T13:00:00.250+0100' | unix_ms", 1767614400250),
    ("'2026-01-05T12:00:00' | unix_ms", 1767614400000),  # no zone is UTC
    ("'a\r\nb\n\nc' | lines", ["a", "b", "", "c"]),
    ("event.data.text | quote", "> line one\n> line two"),
    ("'a' ~ 1 ~ none ~ true", "a1true"),
    ("'x' if event.data.priority else 'y'", "y"),
    ("{'a': event.data.status}", {"a": "new"}),
    ("[1, 2] + [3]", [1, 2, 3]),
    ("7 // 2", 3),
    ("7 % 4", 3),
    ("-event.data.items[0]", -3),
    ("'9' | int + 1", 10),
    ("'word' | int", 0),
    ("2.567 | round(1)", 2.6),
    ("'abcdef' | truncate(4)", "abc…"),
    ("event.data.items | max", 3),
    ("[] | max", None),
    ("[] | first", None),
    ("{'b': 1} | items", [["b", 1]]),
    ("[1, '1', 1] | unique", [1, "1"]),
    ("'<b>' | e", "&lt;b&gt;"),
    ("'a\nb' | indent(2)", "a\n  b"),
    ("{'ü': [1, none]} | tojson", '{"ü":[1,null]}'),
]


@pytest.mark.parametrize(("text", "expected"), MEANINGS)
def test_expressions_mean_what_they_say(text: str, expected: Any) -> None:
    """An expression gives the JSON value a reader would expect."""
    assert evaluate(text) == expected


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("event.data.nothing == 1", "event.data.nothing"),
        ("event.data.nothing.deeper == 1", "event.data.nothing"),
        ("event.data.priority.name", "event.data.priority.name"),  # null has no fields
        ("event.data.orders[0].nothing > 1", "nothing"),
        ("not event.data.nothing", "event.data.nothing"),
        ("event.data.nothing or true", "event.data.nothing"),
        ("[event.data.nothing]", "event.data.nothing"),
        ("event.data.nothing", "event.data.nothing"),
        ("event.data.nothing | upper", "event.data.nothing"),
        ("record.status", "record"),
        ("event.data.status.upper", "event.data.status.upper"),  # text has no fields either
    ],
)
def test_a_missing_field_is_named(text: str, path: str) -> None:
    """Using a field that is not there raises MissingField with its dotted path."""
    with pytest.raises(MissingField) as raised:
        evaluate(text)

    assert raised.value.path == path
    assert text in str(raised.value)


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("event.data.status = 'a'", 19, "compare with =="),
        ("event.data.status == ", 22, "ends too early"),
        ("event.a and x()", 14, "calls are not allowed"),
        ("event.a | shout", 11, "no filter 'shout'"),
        ("event.a is weird", 9, "no test 'weird'"),
        ("a b", 3, "unexpected 'b'"),
        ("a !", 3, "unexpected char"),
        ("2 ** 9", 1, "'**' is not allowed"),
        ("{{ event.a }}", 12, "bare, without {{ }}"),
        ("_private", 1, "underscore"),
        ("", 1, "empty"),
        ("   ", 1, "empty"),
    ],
)
def test_a_mistake_has_its_column(text: str, column: int, words: str) -> None:
    """ExpressionError says in words what is wrong, and at which column."""
    with pytest.raises(ExpressionError) as raised:
        compile_expression(text)

    assert words in str(raised.value)
    assert raised.value.column == column
    assert isinstance(raised.value, Invalid)


def test_roots_and_paths() -> None:
    """An expression tells which names it starts from and which fields it reads."""
    expression = compile_expression("output.confidence < 0.75 or event.data['a b'].c in event.data.list[0].d")

    assert expression.roots == {"event", "output"}
    assert expression.paths == {
        ("output", "confidence"),
        ("event", "data", "a b", "c"),
        ("event", "data", "list"),
    }


class Host:
    """An object of the host, with something worth stealing."""

    api_key = "stolen"

    def __str__(self) -> str:
        return self.api_key

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


ESCAPES = [
    # attributes of objects
    "event.__class__", "event['__class__']", "''.__class__.__mro__", "().__class__.__bases__[0]",
    "event.__init__.__globals__", "event.data.items.append(1)", "event.data.items.__len__()", "[].__class__",
    "{}.__class__", "1.0.__class__", "true.__class__", "none.__class__", "event.data.__dict__",
    "event.data.status.format", "event.data.status.__add__", "event.get('id')", "event.data.items.sort()",
    "event.pop('id')", "event.data.update({})", "event.data.clear()", "'%s' % event", "'{0.__class__}'.format(event)",
    "'{0.__class__}'.format_map(event)", "event | attr('__class__')", "event | attr('get')",
    "event.data.items | map(attribute='__class__')", "event | map('upper') | list",
    "event.data.orders | sort(attribute='__class__')", "event.data.orders | sum(attribute='__class__.__name__')",
    "event.data.orders | join(attribute='__init__.__globals__')", "event | selectattr('x')", "event | groupby('x')",
    # globals and special names
    "range(10)", "lipsum()", "cycler(1)", "joiner()", "namespace(a=1)", "dict(a=1)", "self", "self.__init__",
    "self._TemplateReference__context", "super()", "super", "loop", "caller", "varargs", "kwargs", "g", "config",
    "request.application.__globals__", "get_flashed_messages.__globals__", "url_for", "__import__('os')", "open('x')",
    "_", "__builtins__", "true.__init__.__globals__", "cycler.__init__.__globals__.os.popen('id').read()",
    "lipsum.__globals__['os']", "joiner.__init__.__globals__", "namespace.__init__.__globals__",
    # names the sandbox itself uses
    "event | _each(1)", "event | _weighed", "event | _concat", "_result", "context", "environment", "missing",
    "resolve('event')", "undefined(name='x')",
    # host objects that slip into the data
    "host", "host.api_key", "host ~ ''", "host | string", "host | tojson", "[host]", "{'a': host}", "hosts[0]",
    "hosts[0].api_key", "hosts | join", "hosts | first", "hosts | sort", "hosts | tojson", "held", "held.host",
    "held.host.api_key", "held | string", "host | default('x')", "hosts | unique", "host | e", "host | quote",
]  # fmt: skip


@pytest.mark.parametrize("text", ESCAPES)
def test_no_expression_escapes(text: str) -> None:
    """No expression reaches an object, a function or an internal; it is refused or names a missing field."""
    scope = {"host": Host(), "hosts": [Host(), Host()], "held": {"host": Host()}}

    with pytest.raises(PenstockError) as raised:
        evaluate(text, **scope)

    assert "stolen" not in str(raised.value)


TEMPLATE_ESCAPES = [
    "{% include 'x' %}", "{% import 'x' as y %}", "{% from 'x' import y %}", "{% extends 'x' %}",
    "{% macro a() %}{% endmacro %}", "{% call a() %}{% endcall %}", "{% filter upper %}x{% endfilter %}",
    "{% set ns.a = 1 %}", "{% set x %}{{ host }}{% endset %}", "{% autoescape false %}x{% endautoescape %}",
    "{% with a = 1 %}{% endwith %}", "{% do event.pop('id') %}", "{{ self.user() }}", "{{ super() }}",
    "{% for x in event recursive %}{{ loop(x) }}{% endfor %}", "{% for x in [1] %}{{ loop.__class__ }}{% endfor %}",
    "{% for x in [1] %}{{ loop.cycle(1) }}{% endfor %}", "{% for x in [1] %}{{ loop }}{% endfor %}",
    "{% for x in [1] %}{{ loop._iterable }}{% endfor %}", "{% for x in [1] %}{{ loop.nextitem }}{% endfor %}",
    "{{ host }}", "{% for h in hosts %}{{ h }}{% endfor %}", "{% for h in hosts %}{{ h.api_key }}{% endfor %}",
    "{% for h in host %}x{% endfor %}", "{% set a = host %}{{ a }}", "{% if host == 1 %}{{ host.api_key }}{% endif %}",
    "{% for _x in [1] %}{% endfor %}", "{% set _result = 1 %}", "{% print(host) %}", "{% debug %}",
    "{{ hosts }}", "{{ held }}", "{{ ''.join(hosts) }}", "{% block x scoped %}{{ host }}{% endblock %}",
]  # fmt: skip


@pytest.mark.parametrize("source", TEMPLATE_ESCAPES)
def test_no_template_escapes(source: str) -> None:
    """No template reaches an object, another template or an internal."""
    scope = {"event": EVENT, "host": Host(), "hosts": [Host()], "held": {"host": Host()}}

    with pytest.raises(PenstockError) as raised:
        compile_template(source, "t.j2").render(scope)

    assert "stolen" not in str(raised.value)


def test_the_corpus_is_large_enough() -> None:
    """At least 53 escapes and 20 bombs are tried."""
    assert len(set(ESCAPES)) >= 53
    assert len(set(BOMBS)) + len(set(TEMPLATE_BOMBS)) >= 20


BOMBS = [
    "'a' * 10**9", "'a' * 1000000000", "[0] * 1000000000", "10**10**10", "9**9**9", "'%1000000000d' % 1",
    "'a' | center(1000000000)", "'a' | indent(1000000000) | indent(1000000000)", "x | wordwrap(1)", "x | slice(10**9)",
    "x | batch(1)", "range(1000000000)", "lipsum(1000000000)", "'a'.ljust(1000000000)", "x | format(1)",
    "x | replace('a', x)", "x | replace('', x)", "x | join(x)", "(x ~ x) ~ (x ~ x) ~ (x ~ x) ~ (x ~ x)",
    "x + x + x + x + x + x + x + x", "many | join(x)", "many | sort | sort | sort | sort | unique | unique | unique",
    "9223372036854775807 * 9223372036854775807", "1e308 * 1e308", "9" * 1990, "(" * 990 + "1" + ")" * 990,
    "[" * 990, "a" + ".a" * 900, "-" * 1900 + "1", "not " * 450 + "1", "1 or " * 390 + "1", "{1:" * 600,
    "1" + " if 1 else 1" * 160, "1" + " ~ 1" * 450, "x" + "[0:]" * 400, "x" + " | upper" * 240,
    "many" + " == many" * 200, "'a' in x" + " and 'b' not in x" * 110, "deep" + " == deep" * 60,
    "-1 | round(-1000000000)", "1 | round(1000000000)", "'1' ~ '0' * 99", "x | e | e | e | e | e | e | e",
]  # fmt: skip

TEMPLATE_BOMBS = [
    "{% for a in many %}{% for b in many %}{% for c in many %}{% endfor %}{% endfor %}{% endfor %}",
    "{% for a in many %}{% for b in many %}{% for c in many %}x{% endfor %}{% endfor %}{% endfor %}",
    "{% for a in many %}{% for b in many %}{% if a == b and x == x %}{% endif %}{% endfor %}{% endfor %}",
    "{% for a in many %}{{ x }}{% endfor %}",
    "{% for a in many %}{% set y = x ~ x %}{% endfor %}",
    "{% for a in many if a != x %}{% for b in many if b != x %}{% endfor %}{% endfor %}",
    "{% set a = 'aaaaaaaaaa' %}" + "{% set a = a ~ a %}" * 40,
    "{% set a = [1] %}" + "{% set a = a + a %}" * 40,
    "{% set a = [1] %}" + "{% set a = [a, a] %}" * 40 + "{{ a }}",
    "{% for a in many %}" * 19 + "{% endfor %}" * 19,
    "{% for a in many %}" * 40 + "{% endfor %}" * 40,
    "{% if x %}" * 500 + "{% endif %}" * 500,
    "{{ x | replace('a', x) }}",
    "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
    "{% block a %}" * 300 + "{% endblock %}" * 300,
    "{{ x }}" * 30_000,
    "a" * 300_000,
]


@pytest.fixture
def spent(monkeypatch: pytest.MonkeyPatch) -> list[Meter]:
    """Every meter an evaluation uses."""
    meters: list[Meter] = []

    class Watched(Meter):
        def __init__(self, steps: int = MAX_STEPS) -> None:
            super().__init__(steps)
            meters.append(self)

    monkeypatch.setattr(sandbox, "Meter", Watched)
    return meters


DEEP: list[Any] = []
for _ in range(200):
    DEEP = [DEEP]
MATERIAL = {"x": "a" * 200_000, "many": ["b" * 50] * 2_000, "deep": DEEP}


def contained(meters: list[Meter], result: Any) -> bool:
    """Whether the work done and the value made stayed within the caps, one step past them at most."""
    small = not isinstance(result, str | list) or len(result) <= MAX_TEXT
    return small and all(meter.left > -2 * MAX_STEPS for meter in meters)


@pytest.mark.parametrize("text", BOMBS, ids=range(len(BOMBS)))
def test_no_expression_explodes(text: str, spent: list[Meter]) -> None:
    """An expression ends within its steps and its size, with a value or an error of ours."""
    try:
        result = compile_expression(text).evaluate(MATERIAL)
    except PenstockError:
        result = None

    assert contained(spent, result)


@pytest.mark.parametrize("source", TEMPLATE_BOMBS, ids=range(len(TEMPLATE_BOMBS)))
def test_no_template_explodes(source: str, spent: list[Meter]) -> None:
    """A template ends within its steps and its size, with text or an error of ours."""
    try:
        result = compile_template(source, "t.j2").render(MATERIAL)
    except PenstockError:
        result = ""

    assert contained(spent, result)
    assert all(meter.left < MAX_STEPS for meter in spent)  # the meter was really running


def test_loops_cost_what_their_body_holds() -> None:
    """A loop is charged before it runs, items times body, so an empty inner loop cannot spin."""
    source = "{% for a in many %}{% for b in many %}{% endfor %}{% endfor %}"

    with pytest.raises(EvaluationError, match="steps"):
        compile_template(source, "t.j2").render({"many": list(range(1_000))})


def test_event_text_is_never_a_template() -> None:
    """Jinja inside a value stays text."""
    hostile = "{{ 7 * 7 }}{% for a in b %}"

    assert compile_template("{{ event.text }}", "t.j2").render({"event": {"text": hostile}}) == hostile


def test_values_print_as_people_and_json_write_them() -> None:
    """Null prints as nothing, true as true, a list as JSON."""
    template = compile_template("{{ none }}|{{ true }}|{{ [1, 'a'] }}|{{ 1.5 }}", "t.j2")

    assert template.render({}) == '|true|[1,"a"]|1.5'


SOURCE = """{# a comment #}
{% block system %}
Be brief.
{% endblock %}
{% block user %}
{{ ticket }}
{% if orders %}
{{ orders }}
{% endif %}
{% for o in event.data.orders %}{{ loop.index }} {{ o.id }} {% endfor %}
{{ history | upper }}{{ customer.name }}
{% endblock %}
"""


def test_a_template_tells_what_it_places() -> None:
    """Blocks, names printed whole, names altered and paths reached into are known before rendering."""
    template = compile_template(SOURCE, "templates/x.j2")

    assert template.blocks == ("system", "user")
    assert template.roots("system") == set()
    assert template.roots("user") == {"ticket", "orders", "event", "history", "customer"}
    assert template.placed("user") == ("ticket", "orders")
    assert template.altered("user") == {"history", "customer"}
    assert template.attributes("user") == {("event", "data", "orders"), ("customer", "name")}
    assert template.line_of("orders", "user") == 7


def test_blocks_render_alone() -> None:
    """render_block gives one block, tag lines leaving no blank lines behind."""
    template = compile_template(SOURCE, "templates/x.j2")
    scope = {"ticket": "T", "orders": "", "event": EVENT, "history": "h", "customer": {"name": "N"}}

    assert template.render_block("system", scope) == "Be brief.\n"
    assert template.render_block("user", scope) == "T\n1 A-1 2 A-2 HN\n"


def test_a_template_mistake_has_file_and_line() -> None:
    """ExpressionError of a template names file and line."""
    with pytest.raises(ExpressionError, match=r"templates/x\.j2:3: ") as raised:
        compile_template("a\nb\n{{ c | shout }}\n", "templates/x.j2")

    assert raised.value.line == 3


def test_compiled_expressions_are_shared() -> None:
    """The same text is compiled once."""
    assert compile_expression("event.id") is compile_expression("event.id")
