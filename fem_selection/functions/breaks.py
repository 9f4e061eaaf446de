# SPDX-License-Identifier: MIT
"""Where a formula in two points y and z has a kink or a jump, read off the formula itself.

    exp(-abs(y-z))             breaks where y-z = 0        where(y+z < 1, 1, 0)     where y+z-1 = 0
    min(y, z)*max(0, y-0.5)    where y-z = 0               where(z < 0.5, 1, 0)     no break: it depends on z alone

The functions `abs`, `sign`, `max`, `min` and the comparisons of `where` break where a difference of their arguments
vanishes.  On an interval only differences that depend on both points count: a break in z alone does not move from row
to row of a matrix w(y_i, z_k), and a mesh with a vertex there serves it.  In more dimensions a mesh rarely does, and
all differences that depend on z count.  `==` and `!=` are no breaks, since no integral sees single points:
`where(y == z, c, 0)` keeps its nodal values.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import pairwise

from fem_selection.functions.formulas import Formula

__all__ = ["break_functions"]


def break_functions(formula: Formula, letters: str = "yz") -> tuple[Formula, ...]:
    """Return the functions at whose zeros a formula breaks, each once, as formulas in the same variables.

    Args:
        formula: A formula in y (y0, y1, …) and z (z0, …), and perhaps t.
        letters: The points on which a function must depend: "yz" on an interval, "z" in more dimensions.
    """
    found: dict[str, Formula] = {}
    for tree in _differences(formula.tree):
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} & formula.variables
        if {name[0] for name in names} >= set(letters):
            text = ast.unparse(tree)
            found[text] = Formula(
                text=text,
                variables=formula.variables,
                names=frozenset(names),
                parameters=formula.parameters,
                tree=tree,
            )
    return tuple(found.values())


def _differences(tree: ast.expr) -> Iterator[ast.expr]:
    """The arguments of abs and sign, and the differences of what max, min and comparisons compare."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="abs" | "sign"), args=[argument]):
                yield argument
            case ast.Call(func=ast.Name(id="max" | "min"), args=[first, second]):
                yield _minus(first, second)
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                for op, (first, second) in zip(ops, pairwise([left, *comparators]), strict=True):
                    if not isinstance(op, ast.Eq | ast.NotEq):
                        yield _minus(first, second)


def _minus(first: ast.expr, second: ast.expr) -> ast.expr:
    return ast.BinOp(left=first, op=ast.Sub(), right=second)
