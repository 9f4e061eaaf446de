# SPDX-License-Identifier: MIT
"""The reduced vector field at one value of the parameter, fast on single states, with derivatives up to the third.

    G(c) = V* σ(K V c + b) − (1 − P) c,
    B(u, v) = V* σ''(g) (K V u)(K V v),   C(u, v, w) = V* σ‴(g) (K V u)(K V v)(K V w)

B and C are the second and third derivatives of G at a state c, g = K V c + b, as multilinear forms.  UFL differentiates
σ, so that they are exact to round-off wherever σ is three times differentiable.  `Derivatives.taylor_defect` compares
them with difference quotients of G: where σ has a kink at g, the two disagree, whatever the step.
"""

from __future__ import annotations

import numpy as np

from fem_selection.linalg.coordinates import IsometricCoordinates
from fem_selection.linalg.operators import sum_over_space
from fem_selection.steady.equilibria.reduction import ReducedEquation
from fem_selection.typing import Complexes, Floats

__all__ = ["Derivatives", "ReducedVectorField"]

_LARGEST = 4_000_000  # entries of an array that every rank holds
_STEPS = (2e-2, 1e-2, 5e-3, 2.5e-3, *(10.0**-k for k in range(3, 13)))
"""Steps of the difference quotients, in units of 1 / max |K V u|: the last ones for σ that bend within a short way."""
_STENCIL = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
_SECOND = np.array([-1.0, 16.0, -30.0, 16.0, -1.0]) / 12.0
_OUTER = np.array([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0])
_THIRD = np.array([1.0, -8.0, 13.0, -13.0, 8.0, -1.0]) / 8.0


class ReducedVectorField:
    """G and G' at single states c.

    Args:
        equation: The reduced equation at one value of the parameter.

    Note:
        All methods are collective over space and return the same bits on every rank.  `ReducedEquation` computes the
        same numbers through the operators of the package; here few arrays are multiplied, for integrators that call G
        thousands of times.  On several ranks every rank holds these arrays whole, if they are not large, so that
        `local_rate` and `local_rate_and_jacobian` need no message; their last bits may differ from rank to rank.
    """

    def __init__(self, equation: ReducedEquation) -> None:
        coordinates = IsometricCoordinates(equation.field.space)
        self.equation, self.space = equation, equation.field.space
        self.moved = coordinates.at_points(equation.moved)
        self.bias = coordinates.at_points(np.asfortranarray(equation.field.bias[:, None]))[:, 0]
        self.test = np.ascontiguousarray((coordinates.weights[:, None] * coordinates.at_points(equation.basis)).T)
        self._is_whole = False
        if self.space.comm.size > 1 and self.space.num_nodes * self.moved.shape[1] <= _LARGEST:
            gather = self.space.comm.allgather
            self.moved, self.bias = np.concatenate(gather(self.moved)), np.concatenate(gather(self.bias))
            self.test, self._is_whole = np.concatenate(gather(self.test), axis=1), True
        self._activation, self._gauge = equation.field.activation, equation.gauge
        self._has_gauge = bool(np.any(equation.gauge))

    def rate(self, c: Floats) -> Floats:
        """G(c), shape (r,)."""
        return self.shared(self.local_rate(c))

    def rate_and_jacobian(self, c: Floats) -> tuple[Floats, Floats]:
        """G(c), shape (r,), and G'(c), shape (r, r)."""
        rate, jacobian = self.local_rate_and_jacobian(c)
        return self.shared(rate), self.shared(jacobian)

    def shared(self, result: Floats) -> Floats:
        """The result of the first rank, on every rank."""
        if self._is_whole:
            result = np.ascontiguousarray(result)
            self.space.comm.Bcast(result)
        return result

    def local_rate(self, c: Floats) -> Floats:
        """G(c), shape (r,), without a message if this rank holds all arrays."""
        g = self.preactivation(c)
        value = np.empty_like(g)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            self._activation.value(g, value)
            result = self.summed(self.test @ value)
        return result - self._gauge @ c if self._has_gauge else result

    def local_rate_and_jacobian(self, c: Floats) -> tuple[Floats, Floats]:
        """G(c), shape (r,), and G'(c), shape (r, r), without a message if this rank holds all arrays."""
        g = self.preactivation(c)
        value, slope = np.empty_like(g), np.empty_like(g)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            self._activation.value_and_derivative(g, value, slope)
            both = self.test @ np.column_stack([value, slope[:, None] * self.moved])
            both = self.summed(both)
        rate, jacobian = both[:, 0], both[:, 1:]
        return (rate - self._gauge @ c, jacobian - self._gauge) if self._has_gauge else (rate, jacobian)

    def summed(self, array: Floats) -> Floats:
        """The sum of an array over the ranks; the array itself if this rank holds all arrays."""
        return array if self._is_whole else sum_over_space(self.space, array)

    def preactivation(self, c: Floats) -> Floats:
        """g = K V c + b where σ is evaluated, at the nodes or the quadrature points of this rank."""
        return np.asarray(self.moved @ c + self.bias)

    def at(self, c: Floats) -> Derivatives:
        """The second and third derivatives of G at a state."""
        return Derivatives(self, c)


class Derivatives:
    """B and C at one state; the arguments may be complex.

    Args:
        field: G.
        c: The state, shape (r,).
    """

    def __init__(self, field: ReducedVectorField, c: Floats) -> None:
        g = field.preactivation(c)
        second, third = np.empty_like(g), np.empty_like(g)
        activation = field.equation.field.activation
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            activation.second_derivative(g, second)
            activation.third_derivative(g, third)
        self.field, self._c, self._second, self._third = field, c, second, third

    def quadratic(self, u: Complexes | Floats, v: Complexes | Floats) -> Complexes:
        """B(u, v), shape (r,), complex.

        Args:
            u: Shape (r,).
            v: Shape (r,).
        """
        moved = self.field.moved
        return self._tested(self._second * (moved @ u) * (moved @ v))

    def cubic(self, u: Complexes | Floats, v: Complexes | Floats, w: Complexes | Floats) -> Complexes:
        """C(u, v, w), shape (r,), complex.

        Args:
            u: Shape (r,).
            v: Shape (r,).
            w: Shape (r,).
        """
        moved = self.field.moved
        return self._tested(self._third * (moved @ u) * (moved @ v) * (moved @ w))

    def quadratic_by_differences(self, u: Floats, step: float) -> Floats:
        """B(u, u) by difference quotients of G, without derivatives of σ.

        Args:
            u: A direction, shape (r,).
            step: The step, relative to 1 / max |K V u|.
        """
        h = self._length(u, step)
        return sum(w * self.field.rate(self._c + s * h * u) for s, w in zip(_STENCIL, _SECOND, strict=True)) / h**2

    def cubic_by_differences(self, u: Floats, step: float) -> Floats:
        """C(u, u, u) by difference quotients of G, without derivatives of σ.

        Args:
            u: A direction, shape (r,).
            step: The step, relative to 1 / max |K V u|.
        """
        h = self._length(u, step)
        return sum(w * self.field.rate(self._c + s * h * u) for s, w in zip(_OUTER, _THIRD, strict=True)) / h**3

    def taylor_defect(self, directions: list[Floats]) -> tuple[float, float]:
        """The largest differences of B(u, u) and of C(u, u, u) from their difference quotients (collective).

        Args:
            directions: Directions u, each of shape (r,).

        Returns:
            Both differences, each relative to ‖K V u‖² or ‖K V u‖³ in the largest norm, at the best of some steps.
        """
        worst = [0.0, 0.0]
        for u in directions:
            size = 1.0 / self._length(u, 1.0)
            exact = self.quadratic(u, u).real, self.cubic(u, u, u).real
            for k, quotient in enumerate((self.quadratic_by_differences, self.cubic_by_differences)):
                errors = [float(np.max(np.abs(quotient(u, step) - exact[k]))) for step in _STEPS]
                worst[k] = max(worst[k], min((e for e in errors if np.isfinite(e)), default=np.inf) / size ** (k + 2))
        return worst[0], worst[1]

    def _length(self, u: Floats, step: float) -> float:
        largest = float(np.max(np.abs(self.field.moved @ u), initial=0.0))
        largest = max(self.field.space.comm.allgather(largest))
        return step / largest if largest > 0 else step

    def _tested(self, values: Complexes | Floats) -> Complexes:
        field = self.field
        with np.errstate(over="ignore", invalid="ignore"):
            result = field.test @ np.column_stack([values.real, values.imag])
        result = field.shared(field.summed(result))
        return np.asarray(result[:, 0] + 1j * result[:, 1])
