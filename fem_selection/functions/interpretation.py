# SPDX-License-Identifier: MIT
"""UFL expressions of one scalar, evaluated with other operations than those on numbers: intervals, expansions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ufl.classes as c
from ufl.algorithms.apply_algebra_lowering import apply_algebra_lowering

from fem_selection.functions import intervals
from fem_selection.typing import UflExpression

__all__ = ["INTERVALS", "interpret"]

INTERVALS: Mapping[str, Callable[..., Any]] = {
    **intervals.FUNCTIONS,
    "number": intervals.point,
    "both": intervals.both,
    "negate": intervals.negate,
}
"""The operations on intervals."""

_NAMES: dict[type, str] = {
    c.Sum: "add", c.Product: "mul", c.Division: "truediv", c.Power: "pow", c.Abs: "abs", c.Sqrt: "sqrt", c.Exp: "exp",
    c.Ln: "log", c.Sin: "sin", c.Cos: "cos", c.Tan: "tan", c.Atan: "atan", c.Sinh: "sinh", c.Cosh: "cosh",
    c.Tanh: "tanh", c.Erf: "erf", c.MaxValue: "max", c.MinValue: "min", c.Conditional: "where", c.GT: "gt", c.GE: "ge",
    c.LT: "lt", c.LE: "le", c.EQ: "eq", c.NE: "ne", c.AndCondition: "both", c.NotCondition: "negate",
}  # fmt: skip


def interpret(
    expression: UflExpression, variable: UflExpression, value: Any, *, operations: Mapping[str, Callable[..., Any]]
) -> Any:
    """Return the value of a scalar expression in another arithmetic.

    Args:
        expression: A UFL scalar of one variable.
        variable: The terminal that stands for it.
        value: What is put in its place.
        operations: Functions by the names that formulas use, and `number`, which makes a value of a float.

    Raises:
        KeyError: if the expression has an operation that there is no function for.
    """
    known: dict[UflExpression, Any] = {variable: value}

    def visit(e: UflExpression) -> Any:
        if e not in known:
            if isinstance(e, c.ScalarValue | c.Zero):
                known[e] = operations["number"](float(e) if isinstance(e, c.ScalarValue) else 0.0)
            elif isinstance(e, c.Variable | c.Real | c.Conj):
                known[e] = visit(e.ufl_operands[0])
            elif isinstance(e, c.OrCondition):
                a, b = (operations["negate"](visit(o)) for o in e.ufl_operands)
                known[e] = operations["negate"](operations["both"](a, b))
            elif type(e) in _NAMES:
                function = operations[_NAMES[type(e)]]
                known[e] = function(*(visit(o) for o in e.ufl_operands))
            else:
                raise KeyError(type(e).__name__)
        return known[e]

    return visit(apply_algebra_lowering(expression))
