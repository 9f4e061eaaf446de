# SPDX-License-Identifier: MIT
"""Formulas in a case file: read as a syntax tree, checked against a list of allowed names, never run as code.

    kernel = "0.1*exp(-((y - z)/0.2)**2) * where(t < 0.5, 1, -1)"

A formula holds numbers, the constants `pi` and `e`, `+ - * / **`, the functions listed in `FUNCTIONS`, comparisons
as the first argument of `where`, and the variables that the caller declares.  One interpreter walks the tree with a
table of functions: NumPy's for arrays, UFL's for expressions that enter a form.  Every number becomes a float, so that
repeated powers overflow to infinity and never become huge integers.  In Python, write UFL or NumPy functions directly.
"""

from __future__ import annotations

import ast
import keyword
import math
import operator
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fem_selection.errors import InvalidInput
from fem_selection.functions import intervals
from fem_selection.functions.formula_syntax import (
    COMPARISONS,
    CONSTANTS,
    FUNCTIONS,
    OPERATORS,
    Checker,
    listed,
    names_in,
    short,
)
from fem_selection.functions.intervals import Interval

__all__ = ["FUNCTIONS", "Formula", "coordinate_names", "is_free_name", "parse_formula"]

MAX_LENGTH = 2000


@dataclass(frozen=True)
class Formula:
    """A checked formula; `parse_formula` makes it.

    Attributes:
        text: The formula as it was written.
        variables: Names that it may use.
        names: Names that it does use.
        parameters: Names with a value of their own.
        tree: The checked syntax tree.
    """

    text: str
    variables: frozenset[str]
    names: frozenset[str]
    parameters: Mapping[str, float]
    tree: ast.expr = field(repr=False, compare=False)

    def evaluate(self, **values: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the formula's values, a new array with the common shape of all given values.

        Args:
            **values: A number or an array for each variable that the formula uses.  Values of other declared variables
                may be given too; their shapes count in the common shape.

        Raises:
            InvalidInput: A value is missing, or its name is not declared.

        Note:
            Division by zero, logarithms of negative numbers and overflow give `inf` or `nan`, as in NumPy, so that
            `where` can replace them.  A caller who needs finite values has to check for them.
        """
        self._match(values)
        arrays = {name: np.asarray(value, dtype=np.float64) for name, value in values.items()}
        with np.errstate(all="ignore"):
            result = _apply(self.tree, _numpy_table(), {**self.parameters, **arrays})
        return np.array(np.broadcast_to(result, np.broadcast_shapes(*(a.shape for a in arrays.values()))), dtype=float)

    def ufl(self, **values: Any) -> Any:
        """Return the formula as a UFL expression of the given UFL expressions or numbers.

        Raises:
            InvalidInput: A value is missing, its name is not declared, or a constant part (`1/0`, `sqrt(-1)`) is not
                a finite real number.
        """
        import ufl

        self._match(values)
        try:
            expressions = {name: ufl.as_ufl(value) for name, value in values.items()}
            constants = {name: ufl.as_ufl(value) for name, value in self.parameters.items()}
            return ufl.as_ufl(_apply(self.tree, _ufl_table(), {**constants, **expressions}))
        except (ValueError, ZeroDivisionError, OverflowError) as error:
            raise InvalidInput(f"a constant part of {self.text!r} is not a finite real number: {error}") from error

    def enclose(self, **values: Interval) -> Interval:
        """Return intervals that contain the formula's values for all values in the given intervals.

        Args:
            **values: Intervals for each variable that the formula uses; their shapes broadcast.

        Raises:
            InvalidInput: A value is missing, or its name is not declared.
        """
        self._match(values)
        table = _Table(number=intervals.point, functions=intervals.FUNCTIONS, both=intervals.both)
        constants = {name: intervals.point(value) for name, value in self.parameters.items()}
        found: Interval = _apply(self.tree, table, {**constants, **values})
        return found

    @property
    def terms(self) -> list[Formula]:
        """The terms of which the formula is the sum or difference, up to their signs."""
        found: list[ast.expr] = []
        rest = [self.tree]
        while rest:
            match rest.pop():
                case ast.BinOp(left=left, op=ast.Add() | ast.Sub(), right=right):
                    rest += [right, left]
                case ast.UnaryOp(operand=operand):
                    rest.append(operand)
                case node:
                    found.append(node)
        return [replace(self, names=self.names & names_in(node), tree=node) for node in found]

    def _match(self, values: Mapping[str, object]) -> None:
        if missing := sorted(self.names - values.keys()):
            raise InvalidInput(f"{self.text!r} needs a value for {', '.join(missing)}")
        if unknown := sorted(values.keys() - self.variables):
            raise InvalidInput(f"{', '.join(unknown)} given to {self.text!r}, a formula in {listed(self.variables)}")


def parse_formula(text: str, variables: Collection[str], parameters: Mapping[str, float] | None = None) -> Formula:
    """Return the formula in `text`, a function of `variables`.

    Args:
        text: At most 2000 characters, nested at most 100 levels deep (a sum of n terms has n levels).
        variables: Names that may occur beside the constants and functions; they hide a constant of the same name.
        parameters: Further names, each with its value; variables hide them.

    Raises:
        InvalidInput: The text is no formula, or uses a name or a construct that is not allowed; the message gives
            the column and the nearest valid name.
    """
    if len(text) > MAX_LENGTH:
        raise InvalidInput(f"a formula has at most {MAX_LENGTH} characters, this one {len(text)}")
    source = " ".join(text.splitlines()) if text.strip() else ""
    if not source:
        raise InvalidInput("the formula is empty; write 0 for zero")
    if (place := source.find("#")) >= 0:  # Python's parser would ignore the rest of the text
        raise InvalidInput(f"'#' at column {place + 1} is not allowed in a formula")
    indent = len(source) - len(source.lstrip())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's parser warns about 1if 1else 2, which is refused below
            tree = ast.parse(source.lstrip(), mode="eval").body
    except SyntaxError as error:
        place = indent + (error.offset or 1)
        raise InvalidInput(f"not a formula, at column {place} of {short(text)}: {error.msg}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise InvalidInput(f"not a formula, {short(text)}: {error or 'nested too deeply'}") from error
    declared = frozenset(variables)
    values = {name: float(value) for name, value in (parameters or {}).items() if name not in declared}
    checker = Checker(source, indent, declared | values.keys())
    checker.check(tree)
    return Formula(
        text=text, variables=declared, names=frozenset(checker.names - values.keys()), parameters=values, tree=tree
    )


def is_free_name(name: str, variables: Collection[str] = ()) -> bool:
    """Return whether a parameter may have this name: an identifier that means nothing else in a formula.

    Args:
        name: The name.
        variables: Names of variables that the formulas declare.
    """
    return name.isidentifier() and not keyword.iskeyword(name) and name not in {*FUNCTIONS, *CONSTANTS, *variables}


def coordinate_names(letter: str, dimension: int) -> tuple[str, ...]:
    """Return the names of a point's coordinates in a formula: `y0, y1, …`, and in one dimension also `y`.

    Args:
        letter: The letter of the point, "y" or "z".
        dimension: Number of its coordinates.
    """
    names = tuple(f"{letter}{axis}" for axis in range(dimension))
    return (letter, *names) if dimension == 1 else names


# --- evaluating -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Table:
    """What the operators, comparisons and functions of a formula mean for one kind of value."""

    number: Callable[[float], Any]
    functions: Mapping[str, Callable[..., Any]]
    both: Callable[[Any, Any], Any]


def _apply(node: ast.expr, table: _Table, values: Mapping[str, Any]) -> Any:
    """Return the value of a checked tree."""

    def visit(child: ast.expr) -> Any:
        return _apply(child, table, values)

    match node:
        case ast.Constant(value=int() | float() as number):
            return table.number(float(number))
        case ast.Name(id=name):
            return values[name] if name in values else table.number(CONSTANTS[name])
        case ast.UnaryOp(op=operation, operand=operand):
            return -visit(operand) if isinstance(operation, ast.USub) else visit(operand)
        case ast.BinOp(left=left, op=operation, right=right):
            return table.functions[OPERATORS[type(operation)]](visit(left), visit(right))
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            terms = [visit(term) for term in (left, *comparators)]
            pairs = zip(ops, terms, terms[1:], strict=False)
            first, *more = [table.functions[COMPARISONS[type(op)]](a, b) for op, a, b in pairs]
            for condition in more:
                first = table.both(first, condition)
            return first
        case ast.Call(func=ast.Name(id=name), args=args):
            return table.functions[name](*(visit(arg) for arg in args))
    raise AssertionError(f"unchecked {type(node).__name__}")


def _numpy_table() -> _Table:
    from scipy.special import erf

    functions: dict[str, Callable[..., Any]] = {
        name: getattr(np, name) for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh", "exp", "log", "sqrt", "sign")
    }
    functions |= {name: getattr(operator, name) for name in (*OPERATORS.values(), *COMPARISONS.values())}
    functions |= {"ln": np.log, "abs": np.abs, "erf": erf, "atan": np.arctan, "max": np.maximum, "min": np.minimum}
    return _Table(number=np.float64, functions=functions | {"where": np.where}, both=np.logical_and)


def _ufl_table() -> _Table:
    import ufl

    def real(function: Callable[..., Any]) -> Callable[..., Any]:
        def checked(*args: Any) -> Any:
            value = ufl.as_ufl(function(*args))
            if isinstance(value, ufl.constantvalue.ComplexValue):
                raise ValueError("it is complex")
            if isinstance(value, ufl.constantvalue.FloatValue) and not math.isfinite(float(value)):
                raise ValueError("it overflows")
            return value

        return checked

    def power(base: Any, exponent: Any) -> Any:
        if isinstance(exponent, ufl.constantvalue.FloatValue) and not isinstance(base, ufl.constantvalue.ConstantValue):
            value = float(exponent)
            if value.is_integer() and abs(value) <= 16:  # an integer tells UFL the polynomial degree
                return base ** int(value)
        return base**exponent

    functions: dict[str, Callable[..., Any]] = {
        name: real(getattr(ufl, name))
        for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh", "exp", "ln", "sqrt", "sign", "erf", "atan")
    }
    functions |= {name: real(getattr(operator, name)) for name in OPERATORS.values()}
    functions |= {name: getattr(ufl, name) for name in COMPARISONS.values()}
    functions |= {"log": functions["ln"], "abs": abs, "max": ufl.max_value, "min": ufl.min_value}
    return _Table(number=ufl.as_ufl, functions=functions | {"pow": real(power), "where": ufl.conditional}, both=ufl.And)
