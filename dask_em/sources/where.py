"""Conditions on rows, such as ``"depth < 1000 and year >= 2010"``, as values."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from dask_em.errors import InputError

__all__ = [
    "Comparison",
    "Condition",
    "Every",
    "Literal",
    "Name",
    "Not",
    "Null",
    "OneOf",
    "Operand",
    "Some",
    "parse_where",
]

Literal: TypeAlias = bool | int | float | str

COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip
KNOWN = (
    "comparisons (<, <=, >, >=, ==, !=) of columns with numbers, texts or columns, in and not in "
    "with a list, isnull(column), notnull(column), and, or, not and brackets are understood; a "
    "column whose name is not a word stands in `backquotes`"
)


class Condition:
    """What a row must fulfil. Where it compares a null, the row does not."""

    def names(self) -> set[str]:
        """The columns that it is about."""
        return set(_names(self))


@dataclass(frozen=True)
class Name:
    """A column."""

    name: str


Operand: TypeAlias = Name | Literal


@dataclass(frozen=True)
class Comparison(Condition):
    """One value beside another."""

    left: Operand
    operator: str  # of COMPARISONS
    right: Operand


@dataclass(frozen=True)
class OneOf(Condition):
    """A column has one of some values."""

    column: Name
    values: tuple[Literal, ...]


@dataclass(frozen=True)
class Null(Condition):
    """A column has no value."""

    column: Name


@dataclass(frozen=True)
class Not(Condition):
    """The opposite."""

    condition: Condition


@dataclass(frozen=True)
class Every(Condition):
    """All of some conditions."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True)
class Some(Condition):
    """One of some conditions."""

    conditions: tuple[Condition, ...]


def parse_where(text: str) -> Condition:
    """The condition that a text means. Nothing is evaluated.

    Parameters
    ----------
    text : str
        In the grammar of Python: comparisons of columns with numbers, texts or columns, ``in``,
        ``isnull(column)``, ``notnull(column)``, ``and``, ``or``, ``not``.

    Raises
    ------
    InputError
        Which names what is not understood.
    """
    quoted = _Quoted()
    try:
        tree = ast.parse(quoted.replaced(text).strip(), mode="eval")
    except (SyntaxError, ValueError) as error:
        raise InputError(
            f"where={text!r} cannot be understood ({getattr(error, 'msg', error)}); {KNOWN}"
        ) from None
    return _Parser(text, quoted).condition(tree.body)


class _Quoted:
    """Names in backquotes, which Python's grammar does not know."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def replaced(self, text: str) -> str:
        return re.sub(r"`([^`]+)`", self._replace, text)

    def _replace(self, found: re.Match[str]) -> str:
        stand_in = f"_quoted_{len(self._names)}_"
        self._names[stand_in] = found[1]
        return stand_in

    def name(self, word: str) -> str:
        return self._names.get(word, word)


class _Parser:
    """From Python's syntax tree to conditions."""

    def __init__(self, text: str, quoted: _Quoted) -> None:
        self._text, self._quoted = text, quoted

    def condition(self, node: ast.expr) -> Condition:
        match node:
            case ast.BoolOp(op=ast.And(), values=values):
                return Every(tuple(map(self.condition, values)))
            case ast.BoolOp(values=values):
                return Some(tuple(map(self.condition, values)))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return Not(self.condition(operand))
            case ast.Compare():
                return self._chain(node)
            case ast.Call(func=ast.Name(id=("isnull" | "notnull") as called), args=[argument]):
                null = Null(self._column(argument))
                return null if called == "isnull" else Not(null)
            case ast.Name(id=word):
                # a column of truth values may stand alone
                return Comparison(Name(self._quoted.name(word)), "==", True)
        raise self._error(node)

    def _chain(self, node: ast.Compare) -> Condition:
        lefts = [node.left, *node.comparators]
        links = tuple(
            self._link(left, operator, right)
            for left, operator, right in zip(lefts, node.ops, node.comparators, strict=False)
        )
        return links[0] if len(links) == 1 else Every(links)

    def _link(self, left: ast.expr, operator: ast.cmpop, right: ast.expr) -> Condition:
        if isinstance(operator, ast.In | ast.NotIn):
            if not isinstance(right, ast.List | ast.Tuple | ast.Set):
                raise self._error(right)
            values = tuple(map(self._literal, right.elts))
            found = OneOf(self._column(left), values)
            return found if isinstance(operator, ast.In) else Not(found)
        if type(operator) not in COMPARISONS:
            raise self._error(left, "`is` is not understood: write isnull(column), or ==")
        sides = self._operand(left), self._operand(right)
        if not any(isinstance(side, Name) for side in sides):
            raise self._error(left, "no column is compared")
        return Comparison(sides[0], COMPARISONS[type(operator)], sides[1])

    def _operand(self, node: ast.expr) -> Operand:
        return self._column(node) if isinstance(node, ast.Name) else self._literal(node)

    def _column(self, node: ast.expr) -> Name:
        if not isinstance(node, ast.Name):
            raise self._error(node)
        return Name(self._quoted.name(node.id))

    def _literal(self, node: ast.expr) -> Literal:
        match node:
            case ast.Constant(value=bool() | int() | float() | str() as value):
                return value
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return -value
        raise self._error(node)

    def _error(self, node: ast.expr, why: str | None = None) -> InputError:
        part = ast.unparse(node)
        why = why or f"{self._quoted.replaced(part)!r} is not understood there"
        return InputError(f"where={self._text!r}: {why}; {KNOWN}")


def _names(part: Any) -> Iterator[str]:
    match part:
        case Name(name):
            yield name
        case Comparison(left, _, right):
            yield from _names(left)
            yield from _names(right)
        case OneOf(column, _) | Null(column):
            yield column.name
        case Not(condition):
            yield from _names(condition)
        case Every(conditions) | Some(conditions):
            for condition in conditions:
                yield from _names(condition)
