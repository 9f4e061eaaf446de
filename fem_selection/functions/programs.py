# SPDX-License-Identifier: MIT
"""UFL expressions of one scalar, translated to NumPy instructions that run on whole blocks.

A form assembled for every layer would evaluate σ once per quadrature point, adjacent cell and sample; NumPy evaluates
the same expression on an N × J block at a small fraction of that cost.  The translation is done once: common
subexpressions are evaluated once, arrays of intermediate values are reused, and a program allocates nothing after its
first run on a shape.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import ufl.classes as c
from scipy.special import erf
from ufl import as_ufl
from ufl.algorithms import expand_indices
from ufl.algorithms.apply_algebra_lowering import apply_algebra_lowering

from fem_selection.errors import InvalidInput
from fem_selection.functions.hyperbolic import tanh
from fem_selection.typing import Block, UflExpression

__all__ = ["BlockProgram"]

_UNARY: dict[type, Callable[..., Any]] = {
    c.Abs: np.abs,
    c.Sqrt: np.sqrt,
    c.Exp: np.exp,
    c.Ln: np.log,
    c.Sin: np.sin,
    c.Cos: np.cos,
    c.Tan: np.tan,
    c.Asin: np.arcsin,
    c.Acos: np.arccos,
    c.Atan: np.arctan,
    c.Sinh: np.sinh,
    c.Cosh: np.cosh,
    c.Tanh: tanh,
    c.Erf: erf,
}
_BINARY: dict[type, Callable[..., Any]] = {
    c.Sum: np.add,
    c.Product: np.multiply,
    c.Division: np.divide,
    c.Power: np.power,
    c.Atan2: np.arctan2,
    c.MaxValue: np.maximum,
    c.MinValue: np.minimum,
}
_CONDITIONS: dict[type, Callable[..., Any]] = {
    c.GT: np.greater,
    c.GE: np.greater_equal,
    c.LT: np.less,
    c.LE: np.less_equal,
    c.EQ: np.equal,
    c.NE: np.not_equal,
    c.AndCondition: np.logical_and,
    c.OrCondition: np.logical_or,
    c.NotCondition: np.logical_not,
}


def _choose(condition: Block, yes: Block, no: Block, out: Block) -> None:
    """`out` = `yes` where the condition holds, else `no`."""
    np.copyto(out, no)
    np.copyto(out, yes, where=condition)


def _in_components(e: UflExpression) -> UflExpression:
    """An expression with inner products, norms and sums over indices written out in components."""
    return expand_indices(apply_algebra_lowering(as_ufl(e)))


class BlockProgram:
    """Evaluates one or more scalar expressions of one or more variables on arrays of any shape.

    Args:
        expressions: UFL scalars.
        variables: The terminals, or components of terminals, that arrays replace in the expressions.

    Raises:
        InvalidInput: if an expression uses an operator without an array counterpart.
    """

    def __init__(self, expressions: Sequence[UflExpression], *variables: UflExpression) -> None:
        self._code: list[tuple[Callable[..., Any], tuple[int, ...], int, bool]] = []
        self._constants: dict[int, float] = {}
        self._known: dict[Any, int] = {}
        self._variables = variables
        self._num_values = len(variables)
        self._negative_of: dict[int, int] = {}
        self._results = [self._translate(_in_components(e)) for e in expressions]
        self._drop_unused()
        home = self._place()
        self._own = [(v, boolean) for *_, v, boolean in self._code if home[v] == v and v not in self._results]
        self._guests = [(v, h) for v, h in home.items() if h != v and h not in self._results]
        self._in_results = [[v for v, h in home.items() if h == result] for result in self._results]
        self._uncomputed = [k for k, r in enumerate(self._results) if r not in home or r in self._results[k + 1 :]]
        self._scratch: dict[tuple[tuple[int, ...], bool], list[Any]] = {}
        is_one_call = len(self._code) == 1 and not self._constants and not self._uncomputed
        self._only = self._code[0][:2] if is_one_call else None

    def __call__(self, *arrays: Block) -> None:
        """Evaluate the expressions entry by entry.

        Args:
            arrays: First one array per variable (not changed; their shapes may broadcast), then one per expression,
                all of the same shape (overwritten; none may share memory with a variable).

        Note:
            Both branches of a conditional are evaluated, also where they are not chosen, and may overflow: callers who
                mind
            the warnings use `np.errstate`.
        """
        if self._only is not None:
            function, operands = self._only
            function(*[arrays[i] for i in operands], out=arrays[-1])
            return
        count = len(self._variables)
        out = arrays[count:]
        values = self._registers(out[0])
        values[:count] = arrays[:count]
        for array, members in zip(out, self._in_results, strict=True):
            for value in members:
                values[value] = array
        for function, operands, target, _ in self._code:
            function(*[values[i] for i in operands], out=values[target])
        for number in self._uncomputed:
            out[number][...] = values[self._results[number]]

    def _registers(self, like: Block) -> list[Any]:
        """A new list of values with constants and arrays for intermediate values.

        The arrays are kept and used again, for up to eight shapes.
        """
        key = (like.shape, like.flags.f_contiguous) if self._own else ((), False)
        if key not in self._scratch:
            if len(self._scratch) >= 8:
                self._scratch.clear()
            values: list[Any] = [None] * self._num_values
            for index, constant in self._constants.items():
                values[index] = constant
            for value, boolean in self._own:
                values[value] = np.empty_like(like, dtype=bool if boolean else np.float64)
            for value, host in self._guests:
                values[value] = values[host]
            self._scratch[key] = values
        return self._scratch[key].copy()

    def _translate(self, e: UflExpression) -> int:
        """Emit the instructions for an expression; return the number of its value."""
        for number, variable in enumerate(self._variables):
            if e == variable:
                return number
        if isinstance(e, c.ScalarValue | c.Zero):
            return self._constant(float(e) if isinstance(e, c.ScalarValue) else 0.0)
        if isinstance(e, c.Variable | c.Real | c.Conj):  # scalars are real here
            return self._translate(e.ufl_operands[0])
        kind = type(e)
        if kind is c.Conditional:
            return self._emit(_choose, [self._translate(o) for o in e.ufl_operands])
        if kind in _CONDITIONS:
            return self._emit(_CONDITIONS[kind], [self._translate(o) for o in e.ufl_operands], boolean=True)
        if kind in _UNARY:
            return self._emit(_UNARY[kind], [self._translate(o) for o in e.ufl_operands])
        if kind in _BINARY:
            return self._binary(_BINARY[kind], *(self._translate(o) for o in e.ufl_operands))
        raise InvalidInput(f"the expression uses {kind.__name__}, which has no counterpart on arrays: {e}")

    def _binary(self, function: Callable[..., Any], a: int, b: int) -> int:
        """Emit a two-operand instruction; fold constants, square for x², subtract for a + (−1)·b."""
        x, y = self._constants.get(a), self._constants.get(b)
        if x is not None and y is not None:
            return self._constant(float(function(x, y)))
        if function is np.power and y == 2.0:
            return self._emit(np.square, [a])
        if function is np.multiply and 1.0 in (x, y):
            return b if x == 1.0 else a
        if function is np.add:
            for this, other in ((a, b), (b, a)):
                negated = self._negative_of.get(this)
                if negated is not None:
                    return self._emit(np.subtract, [other, negated])
        result = self._emit(function, [a, b])
        if function is np.multiply and -1.0 in (x, y):
            self._negative_of[result] = b if x == -1.0 else a
        return result

    def _place(self) -> dict[int, int]:
        """For each value, the value in whose array it is computed.

        An operand that an instruction reads for the last time is computed in the array of the instruction's result.
        """
        last: dict[int, int] = {}
        for place, (_, operands, _, _) in enumerate(self._code):
            last.update(dict.fromkeys(operands, place))
        boolean = {target: flag for _, _, target, flag in self._code}
        home = {target: target for target in boolean}
        for place in reversed(range(len(self._code))):
            function, operands, target, flag = self._code[place]
            if flag or function is _choose:
                continue
            for operand in operands:
                if last[operand] == place and not boolean.get(operand, True) and operand not in self._results:
                    home[operand] = home[target]
                    break
        return home

    def _drop_unused(self) -> None:
        """Remove instructions whose value no other instruction and no result needs."""
        needed = set(self._results)
        kept = []
        for instruction in reversed(self._code):
            if instruction[2] in needed:
                needed.update(instruction[1])
                kept.append(instruction)
        self._code = kept[::-1]

    def _emit(self, function: Callable[..., Any], operands: list[int], boolean: bool = False) -> int:
        key = (function, *operands)
        if key not in self._known:
            self._known[key] = self._num_values
            self._code.append((function, tuple(operands), self._num_values, boolean))
            self._num_values += 1
        return self._known[key]

    def _constant(self, value: float) -> int:
        key = ("constant", value)
        if key not in self._known:
            self._known[key] = self._num_values
            self._constants[self._num_values] = value
            self._num_values += 1
        return self._known[key]
