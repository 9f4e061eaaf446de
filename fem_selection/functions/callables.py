# SPDX-License-Identifier: MIT
"""A user's Python function, called once with UFL symbols: the UFL scalar that it returns, or one error that helps.

UFL's own symbols turn into numbers where Python asks for one, `float(s)`, by a recursion that does not end in practice;
a `Symbol` refuses.  UFL calls every expression true and compares by structure, so that `s and …`, `while s`, and
`if s == 0` take one way without a word: the expression is therefore compared with the function's values at numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import basix.ufl
import ufl
from ufl.classes import ComplexValue, Condition, ConstantValue, Expr, MultiIndex
from ufl.core.terminal import Terminal
from ufl.corealg.traversal import unique_pre_traversal

from fem_selection.errors import InvalidInput
from fem_selection.typing import UflExpression

__all__ = ["Symbol", "call_with_symbols", "check_at_numbers", "suggest_ufl"]

_CELLS = {1: "interval", 2: "triangle", 3: "tetrahedron"}
_IN_UFL = {
    **{name: f"ufl.{name}" for name in ("exp", "sin", "cos", "tan", "sinh", "cosh", "tanh", "sqrt", "sign", "erf")},
    **{"log": "ufl.ln", "arcsin": "ufl.asin", "arccos": "ufl.acos", "arctan": "ufl.atan", "arctan2": "ufl.atan2"},
    **{"asin": "ufl.asin", "acos": "ufl.acos", "atan": "ufl.atan", "atan2": "ufl.atan2", "power": "**", "pow": "**"},
    **{"max": "ufl.max_value", "maximum": "ufl.max_value", "min": "ufl.min_value", "minimum": "ufl.min_value"},
    **{"where": "ufl.conditional", "heaviside": "ufl.conditional", "fabs": "abs", "dot": "ufl.dot"},
}


class Symbol(ufl.Constant):
    """A UFL scalar or vector that stands for an argument of a user's function and never becomes a number.

    Args:
        name: Its name in messages.
        size: Number of components of a vector; None for a scalar.
    """

    def __init__(self, name: str, size: int | None = None) -> None:
        cell, d = _CELLS[size or 1], size or 1
        mesh = ufl.Mesh(basix.ufl.element("Lagrange", cell, 1, shape=(d,)), ufl_id=-d)
        super().__init__(mesh, shape=() if size is None else (size,))
        self._name = name

    def __str__(self) -> str:
        return self._name

    def __float__(self) -> float:
        """Refuse: a symbol has no value.

        Raises:
            TypeError: always.
        """
        raise TypeError(f"the UFL symbol {self._name} has no value")

    def __complex__(self) -> complex:
        """Refuse, as `float` does."""
        return complex(float(self))

    def evaluate(self, *arguments: Any, **named: Any) -> float:
        """Refuse, as `float` does.

        Args:
            arguments: Those of UFL's method; not used.
            named: Likewise.
        """
        return float(self)


def call_with_symbols(
    function: Callable[..., Any], *arguments: Any, what: str, symbols: Collection[UflExpression] = ()
) -> UflExpression:
    """Return the UFL scalar that a function makes of its arguments.

    Args:
        function: What the user gave.
        arguments: Numbers, and UFL symbols.
        what: What the function is, at the beginning of a message.
        symbols: Further symbols that the result may contain.

    Raises:
        InvalidInput: if the function cannot be called with UFL symbols, or returns anything but a real scalar of them.
    """
    called = f"it is called once, with {_listed(arguments)}"
    if not callable(function):
        raise InvalidInput(f"{what}: expected a function of UFL symbols such as ufl.tanh, got {function!r}")
    try:
        result = function(*arguments)
    except InvalidInput as error:  # a formula, which says itself what is wrong with it
        raise InvalidInput(f"{what}: {error}") from error
    except Exception as error:
        raise InvalidInput(
            f"{what}: the function failed with {type(error).__name__} ({_first_line(error)}); {called}, not with "
            f"numbers or arrays: {suggest_ufl(function)}"
        ) from error
    try:
        expression = ufl.as_ufl(result)
    except Exception as error:
        given = "None (is a `return` missing?)" if result is None else f"an object of type {type(result).__name__}"
        raise InvalidInput(
            f"{what}: the function returns {given} where a UFL scalar was expected; {called}: {suggest_ufl(function)}"
        ) from error
    if isinstance(expression, Condition):
        raise InvalidInput(
            f"{what}: the function returns the condition {expression}, which is no number: "
            "write ufl.conditional(condition, 1.0, 0.0)"
        )
    if not isinstance(expression, Expr) or expression.ufl_shape or expression.ufl_free_indices:
        shape = getattr(expression, "ufl_shape", None)
        raise InvalidInput(f"{what}: the function returns a UFL object of shape {shape}; expected a scalar; {called}")
    _check_terminals(expression, [a for a in arguments if isinstance(a, Expr)] + list(symbols), what)
    return expression


def check_at_numbers(
    function: Callable[..., Any],
    evaluate: Callable[..., float],
    points: Iterable[Mapping[str, float]],
    *,
    what: str,
) -> None:
    """Raise an error if a function of numbers has other values than the expression that it made of symbols.

    Args:
        function: The function; points at which it fails, as ufl.ln does at −1, are left out.
        evaluate: The expression as a function of the same numbers.
        points: The arguments by name, in their order.
        what: What the function is, at the beginning of a message.

    Raises:
        InvalidInput: if the two differ.
    """
    for point in points:
        try:
            called = float(ufl.as_ufl(function(*point.values())))
            known = evaluate(*point.values())
        except Exception:  # of the user's function: it need not accept numbers
            continue
        if math.isfinite(called) and not abs(called - known) <= 1e-6 * max(abs(called), 1.0):
            where = ", ".join(f"{name} = {number:g}" for name, number in point.items())
            raise InvalidInput(
                f"{what}: at {where} the function returns {called:g}, its UFL expression has the value {known:g}: "
                "Python's `==`, `and`, `or`, `not` and `while` do not look at the value of a symbol; write "
                f"ufl.conditional(ufl.eq({next(iter(point))}, 0.0), yes, no), with ufl.lt, ufl.And and so on"
            )


def suggest_ufl(function: Callable[..., Any]) -> str:
    """Return what to write instead of the functions of `math` and NumPy that a function names, as a phrase."""
    code = getattr(function, "__code__", None)
    names = dict.fromkeys(getattr(code, "co_names", ())) if code is not None else ()
    other = [f"{_IN_UFL[name]} instead of {name}" for name in names if name in _IN_UFL]
    branches = "ufl.conditional(ufl.gt(s, 0.0), yes, no) instead of `if`, `and` and `or`"
    return f"write {', '.join([*other, branches])}" if other else f"write ufl.tanh, ufl.exp and so on, and {branches}"


def _check_terminals(expression: UflExpression, symbols: list[UflExpression], what: str) -> None:
    for e in unique_pre_traversal(expression):
        if isinstance(e, ComplexValue):
            raise InvalidInput(f"{what}: the function returns a complex number, {e}; expected a real expression")
        if isinstance(e, ConstantValue) and _is_nan(e):
            raise InvalidInput(f"{what}: the expression contains a number that is NaN")
        if isinstance(e, Terminal) and not isinstance(e, ConstantValue | MultiIndex) and e not in symbols:
            raise InvalidInput(
                f"{what}: the expression depends on {e}, a {type(e).__name__}; it may depend on its arguments "
                f"{', '.join(map(str, symbols))} and numbers alone"
            )


def _is_nan(e: UflExpression) -> bool:
    value = getattr(e, "_value", 0.0)
    return isinstance(value, float) and math.isnan(value)


def _listed(arguments: tuple[Any, ...]) -> str:
    names = [f"the UFL {'vector' if a.ufl_shape else 'symbol'} {a}" if isinstance(a, Expr) else "t" for a in arguments]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:120]
