# SPDX-License-Identifier: MIT
"""Scalar UFL expressions of one symbol: their derivatives, and the frequencies of sines and cosines in them.

UFL differentiates tanh to (2 cosh s / (1 + cosh 2s))², which overflows for |s| > 355 and evaluates cosh twice.  It is
replaced by the equal 1 − tanh² s.
"""

from __future__ import annotations

import ufl
from ufl.algebra import Division, Power
from ufl.algorithms.apply_algebra_lowering import apply_algebra_lowering
from ufl.algorithms.apply_derivatives import apply_derivatives
from ufl.mathfunctions import Cos, Cosh, Sin
from ufl.variable import Variable

from fem_selection.functions.interpretation import interpret
from fem_selection.functions.tails import NoExpansion, operations, variable
from fem_selection.typing import UflExpression

__all__ = ["differentiate", "exchange", "find_frequencies"]


def differentiate(e: UflExpression, symbol: UflExpression) -> UflExpression:
    """Return the derivative of an expression with respect to a symbol, as an expression of that symbol.

    Args:
        e: A UFL scalar.
        symbol: A UFL constant.
    """
    s = ufl.variable(symbol)
    derivative = apply_derivatives(apply_algebra_lowering(ufl.diff(ufl.replace(e, {symbol: s}), s)))
    return _simplify(derivative)


def exchange(e: UflExpression, this: UflExpression, *, other: UflExpression) -> UflExpression:
    """Return an expression with another one in place of every part that equals `this`.

    Args:
        e: The expression.
        this: The part.
        other: What takes its place.
    """
    if e == this:
        return other
    if not e.ufl_operands:
        return e
    return e._ufl_expr_reconstruct_(*(exchange(o, this, other=other) for o in e.ufl_operands))


def find_frequencies(e: UflExpression, symbol: UflExpression) -> set[float]:
    """Return the |k| of all sin(k s + c) and cos(k s + c); empty if the symbol s stands anywhere else.

    Args:
        e: A UFL scalar.
        symbol: The symbol s.
    """
    frequencies: set[float] = set()
    return frequencies if _collect_frequencies(e, symbol, frequencies) else set()


def _collect_frequencies(e: UflExpression, symbol: UflExpression, frequencies: set[float]) -> bool:
    """Add the frequencies to a set; return whether the symbol stands nowhere else."""
    if isinstance(e, Sin | Cos):
        try:
            inner = interpret(e.ufl_operands[0], symbol, variable(1.0, 1.0), operations=operations(1.0))
        except (NoExpansion, KeyError, OverflowError):
            return False
        if inner.rest or set(inner.terms) - {(0.0, 1.0), (0.0, 0.0)}:
            return False
        if slope := abs(inner.terms.get((0.0, 1.0), 0.0)):
            frequencies.add(slope)
        return True
    return e != symbol and all(_collect_frequencies(o, symbol, frequencies) for o in e.ufl_operands)


def _simplify(e: UflExpression) -> UflExpression:
    """Drop `variable` labels and rewrite sech² to 1 − tanh², everywhere in an expression."""
    if isinstance(e, Variable):
        return _simplify(e.ufl_operands[0])
    if not e.ufl_operands:
        return e
    e = e._ufl_expr_reconstruct_(*(_simplify(o) for o in e.ufl_operands))
    argument = _argument_of_sech_squared(e)
    return e if argument is None else 1 - ufl.tanh(argument) ** 2


def _argument_of_sech_squared(e: UflExpression) -> UflExpression | None:
    """y, if the expression is (2 cosh y / (1 + cosh 2y))², UFL's form of the derivative of tanh."""
    if not (isinstance(e, Power) and e.ufl_operands[1] == 2 and isinstance(e.ufl_operands[0], Division)):
        return None
    for part in e.ufl_operands[0].ufl_operands[0].ufl_operands:
        if isinstance(part, Cosh):
            y = part.ufl_operands[0]
            return y if e == (2.0 * ufl.cosh(y) / (ufl.cosh(2.0 * y) + 1.0)) ** 2 else None
    return None
