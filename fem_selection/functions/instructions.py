# SPDX-License-Identifier: MIT
"""UFL expressions of scalars, translated to a list of instructions that arrays and C loops can follow.

The translation finds common subexpressions once, folds constants, writes x² as a square, x^½ as a root, a + (−1)·b as
a − b, ln(1 + x) as log1p and exp(x) − 1 as expm1, which lose no digits near zero.  Where the two branches of a
conditional call one expensive function with two arguments, as softplus does,

    s > 0 ? s + log1p(exp(−s)) : log1p(exp(s)),

the argument is chosen first and the function called once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import ufl.classes as c
from scipy.special import erf
from ufl import as_ufl
from ufl.algorithms import expand_indices
from ufl.algorithms.apply_algebra_lowering import apply_algebra_lowering
from ufl.corealg.traversal import unique_pre_traversal

from fem_selection.errors import InvalidInput
from fem_selection.typing import Block, UflExpression

__all__ = ["EXPENSIVE", "Instruction", "Instructions", "choose", "translate"]


def choose(condition: Block, yes: Block, no: Block, *, out: Block) -> None:
    """Write `yes` where a condition holds and `no` elsewhere: the instruction of a conditional in NumPy.

    Args:
        condition: Truth values.
        yes: Values where the condition holds.
        no: The others.
        out: Overwritten.
    """
    np.copyto(out, no)
    np.copyto(out, yes, where=condition)


UNARY: dict[type, Callable[..., Any]] = {
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
    c.Tanh: np.tanh,
    c.Erf: erf,
}
"""NumPy's function for each function of one argument."""
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


class Instruction(NamedTuple):
    """One call of a function.

    Attributes:
        function: A function of NumPy or SciPy, or `choose`.
        operands: Numbers of the values that it reads.
        value: Number of the value that it writes.
        is_truth: Whether that is a truth value.
    """

    function: Callable[..., Any]
    operands: tuple[int, ...]
    value: int
    is_truth: bool


@dataclass(frozen=True)
class Instructions:
    """Scalar expressions as a list of instructions.

    Attributes:
        code: The instructions in an order in which they can run.
        constants: The values that are numbers.
        results: For each expression, the number of its value.
        num_variables: Number of variables; they are the values 0 … num_variables − 1.
        num_values: One more than the largest number of a value.
    """

    code: tuple[Instruction, ...]
    constants: Mapping[int, float]
    results: tuple[int, ...]
    num_variables: int
    num_values: int


def translate(expressions: Sequence[UflExpression], variables: Sequence[UflExpression]) -> Instructions:
    """Translate expressions.

    Args:
        expressions: UFL scalars.
        variables: The terminals, or components of terminals, that are given values.

    Raises:
        InvalidInput: if an expression uses an operator without an array counterpart.
    """
    first = _Translation(variables)
    found = first.finish([first.translate(_in_components(e)) for e in expressions])
    while (pair := _find_mergeable(found)) is not None:
        found = _merge(found, *pair)
    return found


def _in_components(e: UflExpression) -> UflExpression:
    """An expression with inner products, norms and sums over indices written out in components."""
    lowered = apply_algebra_lowering(as_ufl(e))
    # the expansion goes along all paths, which may be very many more than there are nodes
    return expand_indices(lowered) if any(map(_has_components, unique_pre_traversal(lowered))) else lowered


def _has_components(node: UflExpression) -> bool:
    """Whether an operator makes tensors of scalars or scalars of tensors."""
    if isinstance(node, c.Indexed):
        return not isinstance(node.ufl_operands[0], c.Terminal)
    return isinstance(node, c.IndexSum | c.ComponentTensor | c.ListTensor)


class _Translation:
    """Instructions in the making; equal instructions are one."""

    def __init__(self, variables: Sequence[UflExpression]) -> None:
        self.code: dict[int, Instruction] = {}
        self.constants: dict[int, float] = {}
        self._known: dict[Any, int] = {}
        self._translated: dict[int, tuple[UflExpression, int]] = {}
        self._variables = variables
        self._num_values = len(variables)
        self._negative_of: dict[int, int] = {}

    def translate(self, e: UflExpression) -> int:
        """Emit the instructions for an expression; return the number of its value.

        An expression that others share is translated once: a tower of conditionals has few nodes and many paths.
        """
        if id(e) not in self._translated:
            self._translated[id(e)] = (e, self._translate(e))  # e is kept, so that its id stays its own
        return self._translated[id(e)][1]

    def _translate(self, e: UflExpression) -> int:
        for number, variable in enumerate(self._variables):
            if e == variable:
                return number
        if isinstance(e, c.ScalarValue | c.Zero):
            return self.constant(float(e) if isinstance(e, c.ScalarValue) else 0.0)
        if isinstance(e, c.Variable | c.Real | c.Conj):  # scalars are real here
            return self.translate(e.ufl_operands[0])
        kind = type(e)
        if kind is c.Conditional:
            return self.emit(choose, [self.translate(o) for o in e.ufl_operands])
        if kind in _CONDITIONS:
            return self.emit(_CONDITIONS[kind], [self.translate(o) for o in e.ufl_operands], is_truth=True)
        if kind is c.Ln and (rest := _without(e.ufl_operands[0], 1.0)) is not None:
            return self.emit(np.log1p, [self.translate(rest)])
        if isinstance(rest := _without(e, -1.0), c.Exp):
            return self.emit(np.expm1, [self.translate(rest.ufl_operands[0])])
        if kind in UNARY:
            return self.emit(UNARY[kind], [self.translate(o) for o in e.ufl_operands])
        if kind in _BINARY:
            return self._binary(_BINARY[kind], *(self.translate(o) for o in e.ufl_operands))
        raise InvalidInput(f"the expression uses {kind.__name__}, which has no counterpart on arrays: {e}")

    def _binary(self, function: Callable[..., Any], a: int, b: int) -> int:
        """Emit a two-operand instruction; fold constants, square for x², subtract for a + (−1)·b."""
        x, y = self.constants.get(a), self.constants.get(b)
        if x is not None and y is not None:
            return self.constant(float(function(x, y)))
        if function is np.power and y == 2.0:
            return self.emit(np.square, [a])
        if function is np.power and y == 0.5:  # C and NumPy do not agree on (-inf)^0.5 and (-0)^0.5
            return self.emit(np.sqrt, [a])
        if function is np.multiply and 1.0 in (x, y):
            return b if x == 1.0 else a
        if function is np.add:
            for this, other in ((a, b), (b, a)):
                negated = self._negative_of.get(this)
                if negated is not None:
                    return self.emit(np.subtract, [other, negated])
        result = self.emit(function, [a, b])
        if function is np.multiply and -1.0 in (x, y):
            self._negative_of[result] = b if x == -1.0 else a
        return result

    def emit(self, function: Callable[..., Any], operands: Sequence[int], is_truth: bool = False) -> int:
        """Return the number of an instruction's value; the instruction is new unless an equal one is there."""
        key = (function, *operands)
        if key not in self._known:
            value = self._known[key] = self._num_values
            self.code[value] = Instruction(function, tuple(operands), value, is_truth)
            self._num_values += 1
        return self._known[key]

    def constant(self, value: float) -> int:
        """Return the number of a value that is a number."""
        key = ("constant", value)
        if key not in self._known:
            self._known[key] = self._num_values
            self.constants[self._num_values] = value
            self._num_values += 1
        return self._known[key]

    def finish(self, results: Sequence[int]) -> Instructions:
        """The instructions that the results need."""
        needed = set(results)
        kept = []
        for instruction in reversed(self.code.values()):
            if instruction.value in needed:
                needed.update(instruction.operands)
                kept.append(instruction)
        constants = {v: x for v, x in self.constants.items() if v in needed}
        return Instructions(
            code=tuple(kept[::-1]),
            constants=constants,
            results=tuple(results),
            num_variables=len(self._variables),
            num_values=self._num_values,
        )


def _without(e: UflExpression, number: float) -> UflExpression | None:
    """The other term of a sum of two terms of which one is this number; else None."""
    if not isinstance(e, c.Sum):
        return None
    terms = list(e.ufl_operands)
    for k, term in enumerate(terms):
        if isinstance(term, c.ScalarValue) and float(term) == number:
            return terms[1 - k]
    return None


EXPENSIVE = {np.exp, np.expm1, np.log, np.log1p, np.tanh, np.sin, np.cos, erf}
"""The functions that cost more than a few products."""


def _find_mergeable(found: Instructions) -> tuple[int, Instruction, Instruction] | None:
    """A condition and two calls of one function: the first is needed where it holds alone, the second elsewhere."""
    branches = _branches(found)
    seen: dict[Any, Instruction] = {}
    for instruction in found.code:
        branch = branches.get(instruction.value)
        if instruction.function in EXPENSIVE and branch is not None:
            condition, holds = branch
            other = seen.get((instruction.function, condition, not holds))
            if other is not None:
                return (condition, instruction, other) if holds else (condition, other, instruction)
            seen[instruction.function, condition, holds] = instruction
    return None


def _branches(found: Instructions) -> dict[int, tuple[int, bool] | None]:
    """For each value, the condition, and its outcome, under which alone the value is needed; None if there is none."""
    needed: dict[int, tuple[int, bool] | None] = dict.fromkeys(found.results)

    def use(value: int, where: tuple[int, bool] | None) -> None:
        needed[value] = where if needed.get(value, where) == where else None

    for function, operands, value, _ in reversed(found.code):
        if function is choose:
            condition, yes, no = operands
            use(condition, None)
            use(yes, (condition, True))
            use(no, (condition, False))
        else:
            for operand in operands:
                use(operand, needed[value])
    return needed


def _merge(found: Instructions, condition: int, yes: Instruction, no: Instruction) -> Instructions:
    """Call the function of two instructions once, with the argument that a condition chooses."""
    code = {i.value: i for i in found.code}
    new = _Translation([None] * found.num_variables)
    known = {v: v for v in range(found.num_variables)}

    def rebuild(value: int) -> int:
        if value not in known:
            if value in found.constants:
                known[value] = new.constant(found.constants[value])
            elif value in (yes.value, no.value):
                chosen = new.emit(choose, [rebuild(v) for v in (condition, *yes.operands, *no.operands)])
                known[yes.value] = known[no.value] = new.emit(yes.function, [chosen])
            else:
                function, operands, _, is_truth = code[value]
                known[value] = new.emit(function, [rebuild(v) for v in operands], is_truth)
        return known[value]

    return new.finish([rebuild(v) for v in found.results])
