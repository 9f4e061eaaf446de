# SPDX-License-Identifier: MIT
"""A formula as a sum of products, one factor in a single variable and the other without it.

    w(t, y, z) = Σ_k a_k(t) w_k(y, z)

What is linear in w, such as the integrals of a kernel that is not smooth, is then computed once for each w_k, whatever
the number of times.  Sums, products and quotients are followed; a variable inside of a function of both is not, and the
formula then counts as one that does not separate.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace

from fem_selection.functions.formula_syntax import names_in
from fem_selection.functions.formulas import Formula

__all__ = ["separate"]

_MOST = 8
_ONE = ast.Constant(1.0)

Pair = tuple[ast.expr, ast.expr]


def separate(formula: Formula, variable: str) -> list[tuple[Formula, Formula]] | None:
    """Return the pairs (a_k, w_k), eight at most; None if the formula is no such sum, or a longer one.

    Args:
        formula: The formula.
        variable: The variable of the first factors, which the second ones do not contain.
    """
    others = formula.variables - {variable}
    found = _split(formula.tree, variable, others)
    if found is None or len(found) > _MOST:
        return None
    return [(_part(formula, a), _part(formula, w)) for a, w in found]


def _part(formula: Formula, tree: ast.expr) -> Formula:
    return replace(formula, text=ast.unparse(tree), names=formula.names & names_in(tree), tree=tree)


def _split(node: ast.expr, variable: str, others: frozenset[str]) -> list[Pair] | None:
    names = names_in(node)
    if variable not in names:
        return [(_ONE, node)]
    if names.isdisjoint(others):
        return [(node, _ONE)]
    match node:
        case ast.UnaryOp(op=operation, operand=operand):
            found = _split(operand, variable, others)
            return found and [(a, ast.UnaryOp(operation, w)) for a, w in found]
        case ast.BinOp(left=left, op=operation, right=right):
            first, second = _split(left, variable, others), _split(right, variable, others)
            if first is None or second is None or len(first) * len(second) > _MOST**2:
                return None
            return _joined(first, operation, second)
    return None


def _joined(first: list[Pair], operation: ast.operator, second: list[Pair]) -> list[Pair] | None:
    match operation:
        case ast.Add():
            return first + second
        case ast.Sub():
            return first + [(a, ast.UnaryOp(ast.USub(), w)) for a, w in second]
        case ast.Mult():
            return list(_products(first, operation, second))
        case ast.Div() if len(second) == 1:
            return list(_products(first, operation, second))
    return None


def _products(first: list[Pair], operation: ast.operator, second: list[Pair]) -> Iterator[Pair]:
    for a, w in first:
        for b, v in second:
            yield _simple(a, operation, b), _simple(w, operation, v)


def _simple(left: ast.expr, operation: ast.operator, right: ast.expr) -> ast.expr:
    """The product or quotient, without factors of one."""
    if right is _ONE:
        return left
    if left is _ONE and isinstance(operation, ast.Mult):
        return right
    return ast.BinOp(left, operation, right)
