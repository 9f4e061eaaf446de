# SPDX-License-Identifier: MIT
"""Activation functions σ as UFL expressions, their derivatives by `ufl.diff`, and their evaluation on blocks.

An `Activation` is one UFL expression of a scalar.  Weak forms use the expression and its derivatives directly; sweeps
over blocks evaluate the same expressions, translated once into NumPy's instructions or a C loop (`functions.programs`).
To add one: `Activation(name="cubic", expression=lambda s: s**3)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, wraps
from typing import Any

import numpy as np
import numpy.typing as npt
import ufl
from ufl.corealg.traversal import unique_pre_traversal

from fem_selection.errors import InvalidInput
from fem_selection.functions.callables import Symbol, call_with_symbols, check_at_numbers
from fem_selection.functions.interpretation import interpret
from fem_selection.functions.programs import BlockProgram
from fem_selection.functions.symbolic import differentiate, exchange, find_frequencies
from fem_selection.synonyms import suggest
from fem_selection.typing import Floats, UflExpression

__all__ = ["ACTIVATIONS", "Activation", "ActivationFamily", "cached_by_expression", "find_activation"]


@dataclass(frozen=True)
class Activation:
    """A scalar function σ: R → R.

    Args:
        name: Its name in case files and reports.
        expression: Function from a UFL scalar to the UFL expression σ(s).
        symbols: UFL constants in σ; the programs take their values as arguments that follow the variables.

    Raises:
        InvalidInput: if `expression` cannot be called with a UFL symbol, or returns anything but a real UFL scalar that
            depends on it and on `symbols` alone, or takes a way of its own at some number (see `functions.callables`).

    Note:
        The properties that return programs raise InvalidInput if σ uses an operator that NumPy has no counterpart of.

    Example:
        >>> cubic = fs.Activation(name="cubic", expression=lambda s: s - s**3)
        >>> value, slope = np.empty(1), np.empty(1)
        >>> cubic.value_and_derivative(np.array([0.5]), value, slope)
        >>> print(value, slope)
        [0.375] [0.25]
    """

    name: str
    expression: Callable[[UflExpression], UflExpression] = field(compare=False)
    symbols: tuple[UflExpression, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.expression, _Member):  # its family was checked
            return
        what = f"activation {self.name!r}"
        traced = call_with_symbols(self.expression, _placeholder, what=what, symbols=self.symbols)
        if not self.symbols:
            check_at_numbers(self.expression, lambda x: _value_at(traced, {_placeholder: x}), _SOME, what=what)

    def __call__(self, s: UflExpression) -> UflExpression:
        """σ(s) in UFL."""
        return self.expression(s)

    def derivative(self, s: UflExpression, order: int = 1) -> UflExpression:
        """Return σ^(order)(s) in UFL.

        Args:
            s: Any UFL scalar.
            order: 0, 1 or 2.
        """
        return ufl.replace(self._derivatives[order], {_placeholder: s}) if order else self(s)

    @cached_property
    def _derivatives(self) -> tuple[UflExpression, UflExpression, UflExpression]:
        """σ, σ', σ'' as expressions of the placeholder."""
        expressions = [ufl.as_ufl(self.expression(_placeholder))]
        for _ in range(2):
            expressions.append(differentiate(expressions[-1], _placeholder))
        return tuple(expressions)

    def interpret(self, order: int, value: Any, operations: Mapping[str, Callable[..., Any]]) -> Any:
        """Return σ^(order) in another arithmetic, such as that of intervals (`functions.interpretation`).

        Args:
            order: 0, 1 or 2.
            value: What is put in the place of s.
            operations: The functions of the arithmetic.

        Raises:
            KeyError: if σ has an operation that there is no function for.
        """
        return interpret(self._derivatives[order], _placeholder, value, operations=operations)

    @cached_property
    def value(self) -> BlockProgram:
        """Program that writes σ(s) for a block s."""
        return self._compile(self._derivatives[:1])

    @cached_property
    def value_and_derivative(self) -> BlockProgram:
        """Program that writes σ(s) and σ'(s) for a block s and evaluates common subexpressions once."""
        return self._compile(self._derivatives[:2])

    def evaluate(self, s: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Return σ(s) and σ'(s) at points of any shape; where they are not finite no warning is given."""
        points = np.ascontiguousarray(s, dtype=np.float64)
        value, slope = np.empty_like(points), np.empty_like(points)
        with np.errstate(all="ignore"):
            self.value_and_derivative(points, value, slope)
        return value, slope

    @cached_property
    def pullback_from_value(self) -> BlockProgram | None:
        """Program that writes σ'(s) d, given σ(s) and d; None unless σ' is a function of σ alone, as for tanh."""
        value, derivative, _ = self._derivatives
        derivative = exchange(derivative, value, other=_value)
        if any(e == _placeholder for e in unique_pre_traversal(derivative)):
            return None
        return self._compile((derivative * _dual,), _value, _dual)

    @cached_property
    def value_and_two_derivatives(self) -> BlockProgram:
        """Program that writes σ(s), σ'(s) and σ''(s) for a block s."""
        return self._compile(self._derivatives)

    @cached_property
    def has_kink(self) -> bool:
        """Whether σ' jumps at zero, as for ReLU."""
        _, slope = self.evaluate([-1e-7, 1e-7])
        return bool(abs(slope[1] - slope[0]) > 1e-3)

    @cached_property
    def period(self) -> float | None:
        """A period of σ, if s enters its expression through sines and cosines of multiples of s alone; else None."""
        frequencies = find_frequencies(self._derivatives[0], _placeholder)
        if not frequencies:
            return None
        least = min(frequencies)
        multiples = all(abs(f / least - round(f / least)) < 1e-12 for f in frequencies)
        return 2 * np.pi / least if multiples else None

    @cached_property
    def second_derivative(self) -> BlockProgram:
        """Program that writes σ''(s) for a block s."""
        return self._compile(self._derivatives[2:])

    @cached_property
    def third_derivative(self) -> BlockProgram:
        """Program that writes σ‴(s) for a block s."""
        return self._compile((differentiate(self._derivatives[2], _placeholder),))

    def _compile(self, expressions: Sequence[UflExpression], *variables: UflExpression) -> BlockProgram:
        """Program of some expressions of s, or of other variables, and of the symbols."""
        given = (*(variables or (_placeholder,)), *self.symbols)
        return BlockProgram(expressions, *given, numbers=len(self.symbols), compiled=True)


def cached_by_expression[**P, T](function: Callable[P, T]) -> Callable[P, T]:
    """Keep the results of a function whose first argument is an activation.

    Two activations may have one name and different expressions, so that a cache must not look at the name.
    """

    @lru_cache(maxsize=512)
    def kept(key: _ByExpression, *others: Any, **named: Any) -> Any:
        return function(key.activation, *others, **named)  # type: ignore[arg-type]

    @wraps(function)
    def wrapped(*args: Any, **named: Any) -> Any:
        return kept(_ByExpression(args[0]), *args[1:], **named)

    return wrapped


class _ByExpression:
    """An activation that equals all others with the same expression."""

    def __init__(self, activation: Activation) -> None:
        self.activation, self._expression = activation, activation.derivative(_placeholder, 0)

    def __hash__(self) -> int:
        return hash(self._expression)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByExpression) and bool(self._expression == other._expression)


class ActivationFamily:
    """Activations that differ only in the values of parameters and share their derivatives and programs.

    Args:
        expression: Function from a UFL scalar s and the UFL scalars of the parameters to σ(s).
        names: The parameters, in the order in which `expression` takes them.

    Raises:
        InvalidInput: if `expression` is no function of UFL symbols, as for `Activation`.
    """

    def __init__(self, expression: Callable[..., UflExpression], names: Sequence[str]) -> None:
        self._expression, self._names = expression, tuple(names)
        symbols = tuple(Symbol(name) for name in names)
        self._template = Activation(name="family", expression=_Member(expression, symbols), symbols=symbols)
        what = "activation of s" + (f" and {', '.join(self._names)}" if self._names else "")
        traced = call_with_symbols(expression, _placeholder, *symbols, what=what)
        some = [0.5 + k for k in range(len(symbols))]
        values = dict(zip(symbols, some, strict=True))
        check_at_numbers(
            lambda x: expression(x, *some), lambda x: _value_at(traced, {_placeholder: x, **values}), _SOME, what=what
        )

    def at(self, name: str, values: Mapping[str, float]) -> Activation:
        """Return the activation with given values of the parameters.

        Args:
            name: Name of the new activation.
            values: The value of each parameter, by name.
        """
        numbers = [float(values[parameter]) for parameter in self._names]
        result = Activation(name=name, expression=_Member(self._expression, tuple(map(ufl.as_ufl, numbers))))
        for attribute, inputs in _PROGRAMS.items():
            program = getattr(self._template, attribute)
            result.__dict__[attribute] = None if program is None else _bind(program, inputs, numbers)

        def third_derivative(*blocks: Any) -> Any:
            """Compiled on first use: few computations need it, and it is the longest expression."""
            return _bind(self._template.third_derivative, 1, numbers)(*blocks)

        result.__dict__["third_derivative"] = third_derivative
        return result


@dataclass(frozen=True)
class _Member:
    """The function of s that the expression of a family is at given values of the parameters."""

    expression: Callable[..., UflExpression]
    parameters: tuple[UflExpression, ...]

    def __call__(self, s: UflExpression) -> UflExpression:
        """σ(s) in UFL."""
        return self.expression(s, *self.parameters)


def _bind(program: BlockProgram, inputs: int, numbers: Sequence[Any]) -> Callable[..., None]:
    """The program as a function of its first `inputs` arrays; the other variables have fixed values."""
    return lambda *arrays: program(*arrays[:inputs], *numbers, *arrays[inputs:])


_PROGRAMS = {
    **dict.fromkeys(("value", "value_and_derivative", "value_and_two_derivatives", "second_derivative"), 1),
    "pullback_from_value": 2,
}
"""The programs of an activation with their numbers of variables."""


def find_activation(name: str) -> Activation:
    """Return the built-in activation of this name.

    Raises:
        InvalidInput: if there is none; the message lists the names.
    """
    if name not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise InvalidInput(f"unknown activation {name!r}{suggest(name, ACTIVATIONS)}; known are {known}")
    return ACTIVATIONS[name]


_SOME = [{"s": number} for number in (-1.5, -1.0, 0.0, 0.75, 1.0)]
"""Where a user's function is compared with the expression that it makes."""

# A scalar terminal that stands for s in the symbolic derivatives and is replaced in every use.
_placeholder = Symbol("s")


_value, _dual = Symbol("σ"), Symbol("d")  # these stand for σ(s) and a factor


def _value_at(e: UflExpression, values: Mapping[UflExpression, float]) -> float:
    """The value of an expression at numbers in place of its symbols."""
    result = np.empty(())
    with np.errstate(all="ignore"):
        BlockProgram((e,), *values)(*map(np.array, values.values()), result)
    return float(result)


def _sigmoid(s: UflExpression) -> UflExpression:
    return 0.5 + 0.5 * ufl.tanh(0.5 * s)


def _positive(s: UflExpression) -> UflExpression:
    return ufl.gt(s, 0.0)


def _softplus(s: UflExpression) -> UflExpression:
    return ufl.conditional(_positive(s), s + ufl.ln(1 + ufl.exp(-s)), ufl.ln(1 + ufl.exp(s)))


ACTIVATIONS: dict[str, Activation] = {
    a.name: a
    for a in (
        Activation(name="identity", expression=lambda s: s),
        Activation(name="tanh", expression=ufl.tanh),
        Activation(name="relu", expression=lambda s: ufl.max_value(s, 0.0)),
        Activation(name="leaky_relu", expression=lambda s: ufl.conditional(_positive(s), s, 0.01 * s)),
        Activation(name="softplus", expression=_softplus),
        Activation(name="sigmoid", expression=_sigmoid),
        Activation(name="elu", expression=lambda s: ufl.conditional(_positive(s), s, ufl.exp(s) - 1)),
        Activation(name="gelu", expression=lambda s: 0.5 * s * (1 + ufl.erf(s / 2**0.5))),
        Activation(name="silu", expression=lambda s: s * _sigmoid(s)),
        Activation(name="sine", expression=ufl.sin),
    )
}
"""The built-in activations by name; written so that neither they nor their derivatives overflow."""
