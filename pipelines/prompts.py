"""
Prompt templates: a `system` block of instructions, and a `user` block that places finished sections.

A section reaches the template as a mark that says nothing but its name; the text takes the mark's
place after rendering. So nothing in an event can meet Jinja, and what was counted is what is sent.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from ai import tokens
from penstock.errors import Invalid
from penstock.expressions import Template, compile_template
from pipelines.context import Assembled
from schemas.entries import Prompt, Receipt, SectionReceipt

__all__ = ["Problem", "PromptTemplate", "build_prompt", "load_template"]

CONTEXT = "context"
"""The name that places all sections at once."""
_SYSTEM, _USER = "system", "user"
_MARK = re.compile("\ue000([a-z0-9_]+)\ue001")


class Problem(NamedTuple):
    """
    Something a template may not do.
    """

    line: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PromptTemplate:
    """
    A compiled prompt template.
    """

    template: Template

    @classmethod
    def load(cls, folder: Path, name: str) -> PromptTemplate:
        """
        Read *name* from *folder*; raises `Invalid` (`ExpressionError` for its Jinja) with file and line.
        """
        return cls(template=load_template(folder, name))

    @property
    def placed(self) -> tuple[str, ...]:
        """
        Names the user block prints, in written order.
        """
        return self.template.placed(_USER) if _USER in self.template.blocks else ()

    @property
    def attributes(self) -> frozenset[tuple[str, ...]]:
        """
        Paths into a name of the user block, e.g. `("ticket", "subject")`; each is an error.
        """
        return self.template.attributes(_USER) if _USER in self.template.blocks else frozenset()

    @property
    def system_names(self) -> frozenset[str]:
        """
        Names the system block uses; each is an error.
        """
        return self.template.roots(_SYSTEM) if _SYSTEM in self.template.blocks else frozenset()

    def problems(self, sections: Collection[str]) -> list[Problem]:
        """
        Return everything that is wrong with it for a context of *sections*, in written order.
        """
        missing = [block for block in (_SYSTEM, _USER) if block not in self.template.blocks]
        if missing:
            return [Problem(1, f"it needs a block {block!r}") for block in missing]
        found = [*self._in_system(), *self._unknown(sections), *self._touched(sections), *self._unplaced(sections)]
        return sorted(found)

    def _in_system(self) -> Iterator[Problem]:
        for name in self.system_names:
            line = self.template.line_of(name, _SYSTEM)
            yield Problem(
                line, f"the system block holds instructions only, and uses {name!r}: place it in the user block"
            )

    def _unknown(self, sections: Collection[str]) -> Iterator[Problem]:
        for name in self.template.roots(_USER) - {*sections, CONTEXT}:
            known = ", ".join([CONTEXT, *sections])
            yield Problem(self.template.line_of(name, _USER), f"it uses {name!r}; there are {known}")

    def _touched(self, sections: Collection[str]) -> Iterator[Problem]:
        for path in self.attributes:
            if path[0] in {*sections, CONTEXT}:
                message = f"{path[0]!r} is finished text and has no field {'.'.join(path[1:])!r}: place it whole"
                yield Problem(self.template.line_of(path[0], _USER), message)
        for name in self.template.altered(_USER) - {path[0] for path in self.attributes}:
            if name in {*sections, CONTEXT}:
                message = f"{name!r} is finished, counted text: place it as {{{{ {name} }}}}, without filters"
                yield Problem(self.template.line_of(name, _USER), message)

    def _unplaced(self, sections: Collection[str]) -> Iterator[Problem]:
        if CONTEXT in self.placed:
            for name in dict.fromkeys(self.placed):
                if name in sections:
                    yield Problem(self.template.line_of(name, _USER), f"{name!r} is already part of {{{{ context }}}}")
            return
        for name in sections:
            if name not in self.placed:
                yield Problem(1, f"it does not place section {name!r}: add {{{{ {name} }}}} or {{{{ context }}}}")


def load_template(folder: Path, name: str) -> Template:
    """
    Read and compile any template of *folder*; raises `Invalid`.
    """
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise Invalid(f"template {name!r} is outside {folder.name!r}")
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise Invalid(f"template {name!r} cannot be read from {folder.name!r}: {type(exc).__name__}") from exc
    return compile_template(source, f"{folder.name}/{name}")


def build_prompt(template: PromptTemplate, assembled: Assembled) -> tuple[Prompt, Receipt]:
    """
    Place *assembled* in *template*; raises `Invalid` when a section would stand there twice.
    """
    system, rendered = _laid_out(template, tuple((name, bool(text)) for name, text in assembled.texts.items()))
    user, placed, around = _filled(rendered, assembled, template.template.name)
    kept = {receipt.name: receipt.kept for receipt in assembled.receipts}
    # exact: a section begins and ends a line, and no token reaches over its edges (tests/pipelines/test_prompts.py)
    total = sum(map(tokens.count, (system, *around))) + sum(kept[name] for name in placed)
    sections = tuple(_as_placed(receipt, placed) for receipt in assembled.receipts)
    used = sum(receipt.kept for receipt in sections)
    prompt = Prompt(system=system, user=user, tokens=total, nonce=assembled.nonce)
    return prompt, Receipt(budget=assembled.budget, used=used, instructions=total - used, sections=sections)


@lru_cache(maxsize=1024)
def _laid_out(template: PromptTemplate, sections: tuple[tuple[str, bool], ...]) -> tuple[str, str]:
    """
    Return the system text, and the user text with a mark where each section that has text goes.

    Nothing else of an event reaches the template, so it is the same for every event with these sections.
    """
    system = template.template.render_block(_SYSTEM, {}).strip()
    marks = {name: f"\ue000{name}\ue001" if text else "" for name, text in sections}
    marks[CONTEXT] = "".join(marks.values())
    return system, template.template.render_block(_USER, marks).strip()


def _filled(rendered: str, assembled: Assembled, name: str) -> tuple[str, list[str], list[str]]:
    """
    Put texts in the place of marks, each on lines of its own; return also whose, and the texts around them.
    """
    between, *rest = _MARK.split(rendered)
    parts, placed, around = [], list(rest[::2]), [between]
    for section, after in zip(rest[::2], rest[1::2], strict=True):
        if around[-1] and not around[-1].endswith("\n"):
            around[-1] += "\n"
        parts += [around[-1], assembled.texts[section]]
        around.append(_after(after))
    if len(set(placed)) < len(placed):
        twice = next(section for section in placed if placed.count(section) > 1)
        raise Invalid(f"section {twice!r} would stand in the prompt twice", where=name, hint="place it once")
    return "".join((*parts, around[-1])), placed, around


def _after(text: str) -> str:
    text = text.lstrip("\n")
    return f" {text}" if text.startswith("/") else text


def _as_placed(receipt: SectionReceipt, placed: list[str]) -> SectionReceipt:
    if receipt.name in placed or not receipt.kept:
        return receipt
    return receipt.model_copy(update={"kept": 0, "units_kept": 0, "note": "the template did not place it"})
