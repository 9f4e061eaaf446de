# SPDX-License-Identifier: MIT
"""What a formula may hold: its functions, constants and operators, and the check of a syntax tree against them.

`fem_selection.functions.formulas` reads and evaluates formulas; it calls the check before anything else.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import NoReturn

from fem_selection.errors import InvalidInput

__all__ = ["COMPARISONS", "CONSTANTS", "FUNCTIONS", "OPERATORS", "Checker", "listed", "names_in", "short"]

#: Functions of a formula and their number of arguments.
FUNCTIONS: Mapping[str, int] = {
    **dict.fromkeys(("sin", "cos", "tan", "sinh", "cosh", "tanh", "exp", "log", "ln", "sqrt"), 1),
    **dict.fromkeys(("abs", "sign", "erf", "atan"), 1),
    **dict.fromkeys(("max", "min"), 2),
    "where": 3,
}
CONSTANTS: Mapping[str, float] = {"pi": math.pi, "e": math.e}
MAX_DEPTH = 100

_DESCRIPTIONS: Mapping[type[ast.AST], str] = {
    ast.Attribute: "attribute access (a dot after a name)",
    ast.Subscript: "an index in brackets",
    ast.Lambda: "lambda",
    ast.BoolOp: "'and'/'or' (nest where, or chain comparisons: 0 < y < 1)",
    ast.IfExp: "if/else (use where(condition, a, b))",
    ast.Compare: "a comparison outside the first argument of where(condition, a, b)",
    ast.NamedExpr: "an assignment",
    ast.Tuple: "a comma outside a function's arguments",
}
OPERATORS: Mapping[type[ast.operator], str] = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.Div: "truediv",
    ast.Pow: "pow",
}
COMPARISONS: Mapping[type[ast.cmpop], str] = {
    ast.Lt: "lt",
    ast.LtE: "le",
    ast.Gt: "gt",
    ast.GtE: "ge",
    ast.Eq: "eq",
    ast.NotEq: "ne",
}


class Checker:
    """Walks a tree once, refuses everything that is not allowed and collects the variables used.

    Args:
        source: The text of the formula on one line, for messages.
        indent: Number of blanks before it.
        variables: Names that may occur.

    Attributes:
        names: The variables that do occur.
    """

    def __init__(self, source: str, indent: int, variables: frozenset[str]) -> None:
        self.source, self.indent, self.variables = source, indent, variables
        self.names: set[str] = set()

    def check(self, node: ast.expr, depth: int = 1) -> None:
        """Check a tree.

        Args:
            node: The tree.
            depth: On which level of the formula it stands.

        Raises:
            InvalidInput: at the first thing that is not allowed.
        """
        if depth > MAX_DEPTH:
            self._refuse(node, f"the formula is nested deeper than {MAX_DEPTH} levels")
        match node:
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                self._check_number(node, value)
            case ast.Name(id=name):
                self._check_name(node, name)
            case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
                self.check(operand, depth + 1)
            case ast.BinOp(left=left, op=operation, right=right):
                if type(operation) not in OPERATORS:
                    hint = "; a power is written **" if isinstance(operation, ast.BitXor) else ""
                    self._refuse(node, f"only + - * / ** are allowed between two terms{hint}")
                self.check(left, depth + 1)
                self.check(right, depth + 1)
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
                self._check_call(node, name, args, depth=depth)
            case _:
                what = _DESCRIPTIONS.get(type(node), type(node).__name__.lower())
                self._refuse(node, f"{what} is not allowed in a formula")

    def _check_number(self, node: ast.expr, value: float) -> None:
        try:
            finite = math.isfinite(float(value))
        except OverflowError:
            finite = False
        if not finite:
            self._refuse(node, "the number is too large")

    def _check_name(self, node: ast.expr, name: str) -> None:
        if name in self.variables:
            self.names.add(name)
        elif name in FUNCTIONS:
            self._refuse(node, f"{name!r} is a function and needs arguments: {name}(…)")
        elif name not in CONSTANTS:
            valid = [*sorted(self.variables), *CONSTANTS, *FUNCTIONS]
            self._refuse(node, f"unknown name {name!r}", _suggestion(name, valid, "variables", self.variables))

    def _check_call(self, node: ast.expr, name: str, args: list[ast.expr], *, depth: int) -> None:
        if name not in FUNCTIONS:
            self._refuse(node, f"unknown function {name!r}", _suggestion(name, FUNCTIONS, "functions", FUNCTIONS))
        if len(args) != (count := FUNCTIONS[name]):
            self._refuse(node, f"{name} takes {count} argument{'s' * (count > 1)}, not {len(args)}")
        if name == "where":
            condition, *args = args
            if not isinstance(condition, ast.Compare):
                self._refuse(condition, "the first argument of where must be a comparison such as y < 0.5")
            if any(type(op) not in COMPARISONS for op in condition.ops):
                self._refuse(condition, "only < <= > >= == != compare two terms")
            args = [condition.left, *condition.comparators, *args]
        for arg in args:
            self.check(arg, depth + 1)

    def _refuse(self, node: ast.expr, what: str, hint: str = "") -> NoReturn:
        before = self.source.lstrip().encode()[: node.col_offset].decode()
        raise InvalidInput(f"{what} at column {self.indent + len(before) + 1} of {short(self.source)}{hint}")


def _suggestion(name: str, valid: Collection[str], kind: str, shown: Collection[str]) -> str:
    if near := get_close_matches(name, valid, n=1):
        return f"; did you mean {near[0]!r}?"
    return f"; {kind}: {listed(shown)}"


def listed(names: Collection[str]) -> str:
    """Return names in their order, or that there are none."""
    return ", ".join(sorted(names)) or "no variables"


def short(text: str) -> str:
    """Return a text in quotes, without its end if it is long."""
    return repr(text if len(text) <= 60 else f"{text[:59]}…")


def names_in(node: ast.expr) -> frozenset[str]:
    """Return the names in a tree, those of functions too."""
    return frozenset(n.id for n in ast.walk(node) if isinstance(n, ast.Name))
