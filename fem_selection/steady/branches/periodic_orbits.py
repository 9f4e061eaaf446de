# SPDX-License-Identifier: MIT
"""Periodic orbits of the reduced equation: multiple shooting, a check that they close, Floquet multipliers.

    c_{k+1} = φ_{T/m}(c_k, μ)  (k modulo m),    ⟨c_0 − c_0°, G(c_0°)⟩ = 0

Newton's method solves these equations for the points c_k and the period T; with one more equation, a hyperplane, for μ
too.  A solution is accepted as a cycle only if

* another integrator, LSODA, started at c_0 returns to the Poincaré section through c_0 at c_0 itself, within
  `closure_tolerance` = 100 rtol (1 + max |c|) max ‖Φ‖, the global error that both integrators may have;
* it is no steady state: its extent is a thousand times that tolerance.

The Floquet multipliers are the eigenvalues of the monodromy matrix Φ(T) on the quotient by the direction of the flow,
for which Φ(T) G = G holds.  A cycle of c is one of g = K f + b.  f itself returns only if ∫ σ(g) over a period has no
part in ker K; else it drifts by `drift` in each period.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from fem_selection.errors import NotConverged
from fem_selection.steady.branches.flow import RTOL, Budget, Flow
from fem_selection.steady.equilibria.reduction import ReducedFamily
from fem_selection.typing import Complexes, Floats

__all__ = ["Guess", "PeriodicOrbit", "solve_orbit"]

SEGMENTS = 2
"""m, the number of arcs of the multiple shooting."""

_ITERATIONS = 10
_SAMPLES = 128
_GLOBAL = 100.0  # global error of a run in units of rtol, the size of the state and ‖Φ‖
_EXTENT = 1e3  # smallest extent of a cycle, in closure tolerances
_DIVISORS = (2, 3)


@dataclass(frozen=True, kw_only=True)
class Guess:
    """A guess of an orbit.

    Attributes:
        points: c_k at the times k T/m, shape (m, r).
        period: T.
        parameter: μ.
    """

    points: Floats
    period: float
    parameter: float

    def as_vector(self) -> Floats:
        """(c_0, …, c_{m−1}, T, μ), shape (m r + 2,)."""
        return np.concatenate([self.points.ravel(), [self.period, self.parameter]])

    @staticmethod
    def from_vector(y: Floats) -> Guess:
        """The guess of a vector (c_0, …, T, μ)."""
        return Guess(points=y[:-2].reshape(SEGMENTS, -1), period=float(y[-2]), parameter=float(y[-1]))


@dataclass(frozen=True, kw_only=True)
class PeriodicOrbit:
    """A cycle that closes.

    Attributes:
        guess: Points, period and parameter.
        samples: c at equal times over one period, shape (n, r).
        amplitude: (2 ⟨‖c − c̄‖²⟩)^{1/2}.
        multipliers: The Floquet multipliers but for the trivial one, by decreasing modulus, shape (rank − 1,).
        multiplier_errors: Their error bars: the error of Φ times the condition of each.
        trivial_error: |Φ(T) G − G| / |G|, 0 for an exact orbit.
        closure: Distance from c_0 at which LSODA returns to the Poincaré section.
        closure_tolerance: The distance that counts as closed.
        drift: ‖∫ σ(g) dt‖ over a period within ker K: how far f moves while g returns.
        drift_error: Error bar of `drift`.
    """

    guess: Guess
    samples: Floats
    amplitude: float
    multipliers: Complexes
    multiplier_errors: Floats
    trivial_error: float
    closure: float
    closure_tolerance: float
    drift: float
    drift_error: float

    @property
    def parameter(self) -> float:
        """μ."""
        return self.guess.parameter

    @property
    def period(self) -> float:
        """T."""
        return self.guess.period

    @property
    def unstable(self) -> int:
        """The number of multipliers outside the unit circle by more than their error bars."""
        return int(np.sum(np.abs(self.multipliers) > 1 + self.multiplier_errors))

    @property
    def is_decided(self) -> bool:
        """Whether no multiplier lies on the unit circle within its error bar."""
        return bool(np.all(np.abs(np.abs(self.multipliers) - 1) > self.multiplier_errors))

    @property
    def stability(self) -> str:
        """ "attracting", "repelling in k directions", or "not decided"."""
        if not self.is_decided:
            return "not decided: a multiplier is on the unit circle within its error bar"
        return f"repelling in {self.unstable} direction{'s' * (self.unstable > 1)}" if self.unstable else "attracting"


def solve_orbit(
    family: ReducedFamily,
    guess: Guess,
    *,
    normal: Floats | None = None,
    weights: Floats | None = None,
    budget: Budget | None = None,
) -> tuple[PeriodicOrbit, Floats]:
    """The cycle near a guess, at its parameter or, with a normal, in the hyperplane through the guess (collective).

    Args:
        family: The reduced equation as a function of the parameter.
        guess: The first points, period and parameter.
        normal: Normal of the hyperplane in the weighted space of (c_0, …, T, μ), shape (m r + 2,); None to keep μ.
        weights: Weights of the entries of (c_0, …, T, μ), of the same shape; 1 if None.
        budget: The evaluations of G that are left.

    Returns:
        The cycle, and the unit tangent of the family of cycles in the weighted space; zeros without a normal.

    Raises:
        NotConverged: with the reason, if Newton's method does not converge, or its solution is no cycle.
    """
    ones = np.ones(guess.as_vector().size)
    shooting = _Shooting(family, guess, (normal, ones if weights is None else weights), budget)
    y = guess.as_vector()
    for _ in range(_ITERATIONS):
        residual, matrix = shooting.evaluate(y)
        size = float(np.linalg.norm(residual))
        if size <= shooting.tolerance:
            break
        step = _solve(matrix, residual)
        if not np.all(np.isfinite(step)) or y[-2] - step[-2] <= 0:
            raise NotConverged("Newton's method for the cycle leaves the positive periods")
        y = y - step
    else:
        raise NotConverged(f"Newton's method for the cycle stopped with a residual of {size:.1e}")
    found = Guess.from_vector(y)
    return _accept(family, shooting, found), shooting.tangent(matrix)


class _Shooting:
    """The equations of multiple shooting, and the flow of the last iterate."""

    def __init__(
        self,
        family: ReducedFamily,
        guess: Guess,
        hyperplane: tuple[Floats | None, Floats],
        budget: Budget | None,
    ) -> None:
        self.family, (self.normal, self.weights) = family, hyperplane
        self.start = guess.as_vector()
        self.flow = Flow(family, guess.parameter, budget)
        rate = self.flow.field.rate(guess.points[0])
        self.direction = rate / max(float(np.linalg.norm(rate)), 1e-300)
        self.arcs: list[Floats] = []
        self.tolerance = 0.0

    def evaluate(self, y: Floats) -> tuple[Floats, Floats]:
        """Residual and matrix at (c_0, …, T, μ)."""
        guess, with_parameter = Guess.from_vector(y), self.normal is not None
        m, r = guess.points.shape
        if guess.parameter != self.flow.parameter:
            self.flow = Flow(self.family, guess.parameter, self.flow.budget)
        residual, matrix = np.zeros(m * r + 2), np.zeros((m * r + 2, m * r + 2))
        self.arcs = []
        for k in range(m):
            arc = self.flow.transport(guess.points[k], guess.period / m, with_parameter=with_parameter)
            rows, after = slice(k * r, k * r + r), (k + 1) % m
            residual[rows] = arc.end - guess.points[after]
            matrix[rows, rows] += arc.by_start
            matrix[rows, after * r : after * r + r] -= np.eye(r)
            matrix[rows, -2], matrix[rows, -1] = arc.by_time / m, arc.by_parameter
            self.arcs.append(arc.by_start)
        residual[-2] = self.direction @ (y[:r] - self.start[:r])
        matrix[-2, :r] = self.direction
        if self.normal is None:
            residual[-1], matrix[-1, -1] = y[-1] - self.start[-1], 1.0
        else:
            row = self.weights * self.normal
            residual[-1], matrix[-1] = row @ (y - self.start), row
        growth = max(float(np.linalg.norm(arc, 2)) for arc in self.arcs)
        self.tolerance = _GLOBAL * RTOL * (1 + float(np.max(np.abs(guess.points)))) * max(1.0, growth)
        return residual, matrix

    def tangent(self, matrix: Floats) -> Floats:
        """The unit tangent of the family in the weighted space, in the direction of the normal."""
        if self.normal is None:
            return np.zeros(len(matrix))
        right = np.zeros(len(matrix))
        right[-1] = 1.0
        tangent = _solve(matrix, right) * self.weights
        return np.asarray(tangent / np.linalg.norm(tangent))

    def monodromy(self) -> tuple[Floats, float]:
        """Φ(T), and the largest ‖Φ‖ from c_0 to one of the points."""
        product, largest = np.eye(len(self.arcs[0])), 1.0
        for arc in self.arcs:
            product = arc @ product
            largest = max(largest, float(np.linalg.norm(product, 2)))
        return product, largest


def _accept(family: ReducedFamily, shooting: _Shooting, guess: Guess) -> PeriodicOrbit:
    """The cycle of a solution, if it closes by another integrator and is no steady state."""
    flow, start, period = shooting.flow, guess.points[0], guess.period
    monodromy, growth = shooting.monodromy()
    times = np.arange(_SAMPLES) * (period / _SAMPLES)
    samples = flow.run(start, float(times[-1]), t_eval=times).y.T
    size = 1 + float(np.max(np.linalg.norm(samples, axis=1)))
    tolerance = _GLOBAL * RTOL * size * growth
    mean = samples.mean(axis=0)
    extent = float(np.max(np.linalg.norm(samples - mean, axis=1)))
    if extent <= _EXTENT * tolerance:
        raise NotConverged(f"a steady state: its extent {extent:.1e} is not above {_EXTENT * tolerance:.1e}")
    for divisor in _DIVISORS:
        early = flow.run(start, period / divisor).y[:, -1]
        if np.linalg.norm(early - start) <= max(tolerance, 1e-6 * extent):
            raise NotConverged(f"the orbit runs {divisor} times along a cycle of period {period / divisor:.9g}")
    closure = _distance_of_return(flow, start, period)
    if not closure <= tolerance:
        raise NotConverged(
            f"the orbit does not close: it returns at a distance of {closure:.1e}, above {tolerance:.1e}"
        )
    multipliers, errors, trivial = _multipliers(flow, start, monodromy, _GLOBAL * RTOL * growth)
    drift, drift_error = _drift(family, flow, samples, period)
    return PeriodicOrbit(
        guess=guess,
        samples=samples,
        amplitude=float(np.sqrt(2 * np.mean(np.sum((samples - mean) ** 2, axis=1)))),
        multipliers=multipliers,
        multiplier_errors=errors,
        trivial_error=trivial,
        closure=closure,
        closure_tolerance=tolerance,
        drift=drift,
        drift_error=drift_error,
    )


def _distance_of_return(flow: Flow, start: Floats, period: float) -> float:
    """The distance from the start at which a run by LSODA returns to the Poincaré section next to one period later."""
    rate = flow.field.rate(start)
    normal = rate / np.linalg.norm(rate)

    def section(t: float, c: Floats) -> float:
        return float(normal @ (c - start)) if t > 0.5 * period else -1.0

    section.direction = 1.0  # type: ignore[attr-defined]
    found = flow.run(start, 1.05 * period, method="LSODA", events=section, rtol=RTOL)
    if not found.t_events[0].size:
        return np.inf
    nearest = int(np.argmin(np.abs(found.t_events[0] - period)))
    return float(np.linalg.norm(found.y_events[0][nearest] - start))


def _multipliers(flow: Flow, start: Floats, monodromy: Floats, error: float) -> tuple[Complexes, Floats, float]:
    """The multipliers on the quotient by the flow's direction, their error bars, and |Φ G − G| / |G|."""
    own = flow.field.equation.own
    rate = own.T @ flow.field.rate(start)
    rate /= np.linalg.norm(rate)
    full = scipy.linalg.qr(rate[:, None])[0]
    turned = full.T @ (own.T @ monodromy @ own) @ full
    trivial = float(np.linalg.norm(turned[:, 0] - np.eye(len(rate))[0]))
    values, left, right = scipy.linalg.eig(turned[1:, 1:], left=True, right=True)
    products = np.abs(np.einsum("ik,ik->k", left.conj(), right))
    sizes = np.linalg.norm(left, axis=0) * np.linalg.norm(right, axis=0)
    errors = max(error, trivial) * sizes / np.maximum(products, 1e-300)
    order = np.argsort(-np.abs(values), kind="stable")
    return values[order], errors[order], trivial


def _drift(family: ReducedFamily, flow: Flow, samples: Floats, period: float) -> tuple[float, float]:
    """‖∫ σ(g) dt‖ over a period, outside of the span of the basis, and its change with half as many samples."""
    equation = flow.field.equation
    states = np.asfortranarray(equation.basis @ samples.T)
    rates = equation.field.rate(states)
    sizes = []
    for every in (1, 2):
        moved = np.asfortranarray(period * rates[:, ::every].mean(axis=1)[:, None])
        outside = np.asfortranarray(moved - equation.lift(family.coordinates(moved)))
        sizes.append(float(family.space.norm(outside)[0]))
    return sizes[0], abs(sizes[1] - sizes[0]) + RTOL * _GLOBAL * period


def _solve(matrix: Floats, right: Floats) -> Floats:
    try:
        return np.asarray(np.linalg.solve(matrix, right))
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.lstsq(matrix, right)[0])
