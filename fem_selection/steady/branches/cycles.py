# SPDX-License-Identifier: MIT
"""Families of limit cycles that leave a Hopf point, followed with their Floquet multipliers.

    c(t) ≈ c₀ + 2 Re (z q e^{iωt}),      amplitude ≈ C |μ − μ₀|^{1/2}

The first cycle is sought in the hyperplane of a given small amplitude, with μ and T unknown.  Nothing is assumed about
the side of μ₀ on which it lies, so that the family confirms or refutes the first Lyapunov coefficient.  Steps in
pseudo-arclength follow the family, also where it turns back in μ.  Every cycle has to close (`periodic_orbits`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fem_selection.errors import NotConverged
from fem_selection.steady.branches.flow import Budget
from fem_selection.steady.branches.hopf import HopfPoint
from fem_selection.steady.branches.periodic_orbits import SEGMENTS, Guess, PeriodicOrbit, solve_orbit
from fem_selection.steady.equilibria.reduction import ReducedFamily
from fem_selection.typing import Floats

__all__ = ["CycleFamily", "Cycles", "follow_cycles", "measure_cycles"]

_FIRST = 0.005  # of the range: distance from μ₀ at which the first cycle is expected
_FARTHEST = 1 / 12  # of the range: largest step in μ
_TURN = 0.9  # cosine of the largest angle between tangents
_PERIOD_WEIGHT = 0.1  # weight of T over that at the Hopf point, beside states and μ over the range
_SHORTEST = 1e-4  # of the first step
_LONG, _LARGE = 30.0, 1e3  # the period, over the first one, and the amplitude at which a family ends
_UNRESOLVED = 1e-4  # closure tolerance over amplitude at which cycles are no longer resolved
_VERTICAL = 1e-8  # of the range: a family of several cycles that stays as close to μ₀ is that of a center


@dataclass(frozen=True, kw_only=True)
class CycleFamily:
    """The cycles that leave a Hopf point.

    Attributes:
        hopf: The Hopf point with its normal form.
        orbits: The cycles in the order along the family, the smallest first.
        ending: Why the family ends, as a phrase.
        declined: Why there are no cycles, or None.
    """

    hopf: HopfPoint
    orbits: tuple[PeriodicOrbit, ...]
    ending: str
    declined: str | None

    @property
    def parameters(self) -> Floats:
        """μ of each cycle."""
        return np.array([orbit.parameter for orbit in self.orbits])

    @property
    def amplitudes(self) -> Floats:
        """The amplitude of each cycle."""
        return np.array([orbit.amplitude for orbit in self.orbits])

    @property
    def exponent(self) -> float:
        """Slope of log amplitude over log |μ − μ₀| of the two smallest cycles; NaN if they do not tell."""
        return _slope(np.abs(self.parameters - self.hopf.parameter), self.amplitudes)

    @property
    def changes(self) -> tuple[tuple[str, float, float], ...]:
        """Where the number of multipliers outside the unit circle changes: the kind, and μ before and after."""
        return tuple(
            (_change(a, b), a.parameter, b.parameter)
            for a, b in pairwise(self.orbits)
            if a.is_decided and b.is_decided and a.unstable != b.unstable
        )


@dataclass(frozen=True)
class Cycles:
    """Cycles at given values of the parameter near a Hopf point.

    Attributes:
        parameters: The values μ.
        amplitudes: The amplitude at each value; NaN where no cycle was found.
        exponent: Slope of log amplitude over log |μ − μ₀| of the two nearest cycles; NaN with fewer than two.
        orbits: The cycle at each value, or None.
    """

    parameters: Floats
    amplitudes: Floats
    exponent: float
    orbits: tuple[PeriodicOrbit | None, ...]


def follow_cycles(family: ReducedFamily, hopf: HopfPoint, number: int, *, budget: Budget | None = None) -> CycleFamily:
    """Follow the cycles from a Hopf point until they leave the range of the family or end otherwise (collective).

    Args:
        family: The reduced equation as a function of the parameter.
        hopf: The Hopf point.
        number: Largest number of cycles.
        budget: The evaluations of G that are left; those of one computation if None.
    """
    follower = _Follower(family, hopf, Budget() if budget is None else budget)
    try:
        follower.begin()
    except NotConverged as error:
        return CycleFamily(hopf=hopf, orbits=(), ending="", declined=f"beside the Hopf point: {error}")
    ending = follower.follow(number)
    return CycleFamily(hopf=hopf, orbits=tuple(follower.orbits), ending=ending, declined=None)


def measure_cycles(family: ReducedFamily, hopf: HopfPoint, distances: tuple[float, ...]) -> Cycles:
    """The cycles at some distances from a Hopf point, on the side that its normal form predicts (collective).

    Args:
        family: The reduced equation as a function of the parameter.
        hopf: The Hopf point.
        distances: The distances |μ − μ₀|.

    Note:
        The nearest cycle is sought where the normal form predicts it, each further one where the square-root law
        predicts it from the one before.  `follow_cycles` finds cycles wherever they are.
    """
    orbits: list[PeriodicOrbit | None] = [None] * len(distances)
    before: PeriodicOrbit | None = None
    for k in np.argsort(distances).tolist() if hopf.side else ():
        mu = hopf.parameter + hopf.side * distances[k]
        if before is None:
            guess = _predict(hopf, hopf.amplitude_constant * np.sqrt(distances[k]), mu)
        else:
            center = before.samples.mean(axis=0)
            stretch = np.sqrt(distances[k] / abs(before.parameter - hopf.parameter))
            period = before.period * hopf.period_at(mu) / hopf.period_at(before.parameter)
            guess = Guess(points=center + stretch * (before.guess.points - center), period=period, parameter=mu)
        try:
            orbits[k], _ = solve_orbit(family, guess)
        except NotConverged:
            continue
        before = orbits[k]
    amplitudes = np.array([np.nan if orbit is None else orbit.amplitude for orbit in orbits])
    nearest = np.argsort(distances)
    return Cycles(
        parameters=hopf.parameter + (hopf.side or 1) * np.asarray(distances),
        amplitudes=amplitudes,
        exponent=_slope(np.asarray(distances)[nearest], amplitudes[nearest]),
        orbits=tuple(orbits),
    )


def _slope(distances: Floats, amplitudes: Floats) -> float:
    """Slope of log amplitude over log distance between the first two."""
    if len(distances) < 2 or not np.all(distances[:2] > 0):
        return float("nan")
    return float(np.diff(np.log(amplitudes[:2]))[0] / np.diff(np.log(distances[:2]))[0])


def _predict(hopf: HopfPoint, amplitude: float, parameter: float) -> Guess:
    """The cycle of a given amplitude in the plane of q."""
    phases = np.exp(2j * np.pi * np.arange(SEGMENTS) / SEGMENTS)
    points = hopf.coordinates + amplitude * np.real(phases[:, None] * hopf.eigenvector)
    return Guess(points=points, period=hopf.period_at(parameter), parameter=parameter)


def _change(a: PeriodicOrbit, b: PeriodicOrbit) -> str:
    """What happens between two cycles, by the multiplier nearest to the unit circle."""
    nearest = min((*a.multipliers, *b.multipliers), key=lambda m: abs(abs(m) - 1))
    if abs(nearest.imag) > 1e-3 * abs(nearest):
        return "a pair of multipliers crosses the unit circle (torus)"
    return "a multiplier passes −1 (period doubling)" if nearest.real < 0 else "a multiplier passes 1"


class _Follower:
    """Follows one family of cycles step by step."""

    def __init__(self, family: ReducedFamily, hopf: HopfPoint, budget: Budget) -> None:
        self.family, self.hopf, self.budget = family, hopf, budget
        r = hopf.coordinates.size
        of_points = np.full(SEGMENTS * r, SEGMENTS**-0.5)
        self.weights = np.concatenate([of_points, [_PERIOD_WEIGHT / hopf.period, 1.0 / family.scale]])
        self.orbits: list[PeriodicOrbit] = []
        self.tangent: Floats = np.zeros(0)
        self.step = 0.0

    def begin(self) -> None:
        """Find the first cycle, of a small amplitude, wherever its parameter is."""
        constant = self.hopf.amplitude_constant
        amplitude = constant * np.sqrt(_FIRST * self.family.scale) if np.isfinite(constant) and constant > 0 else 0.05
        for _ in range(4):
            guess = _predict(self.hopf, amplitude, self.hopf.parameter)
            rest = np.tile(self.hopf.coordinates, SEGMENTS)
            normal = np.zeros(self.weights.size)
            normal[:-2] = (guess.points.ravel() - rest) * self.weights[:-2]
            self.step = float(np.linalg.norm(normal))
            try:
                self._solve(guess, normal / self.step)
                return
            except NotConverged as error:
                failure, amplitude = error, 0.3 * amplitude
        raise failure

    def follow(self, number: int) -> str:
        """Append cycles until the family ends, and return why it does."""
        shortest = _SHORTEST * self.step
        while len(self.orbits) < number:
            last, tangent = self.orbits[-1], self.tangent
            if reason := self._end(last):
                return reason
            step = min(self.step, _FARTHEST / max(abs(tangent[-1]), 1e-300))
            guess = Guess.from_vector(last.guess.as_vector() + step * tangent / self.weights)
            if not self.family.lower <= guess.parameter <= self.family.upper:
                return self._end_at_bound(guess)
            try:
                self._solve(guess, tangent)
                fits = float(self.tangent @ tangent) >= _TURN
            except NotConverged as error:
                fits, failure = False, str(error)
            else:
                failure = "the family bends too sharply"
            if fits:
                self.step = 1.5 * step
                continue
            if len(self.orbits) > 1 and self.orbits[-1] is not last:
                self.orbits.pop()
            self.tangent, self.step = tangent, 0.4 * step
            if self.step < shortest:
                return f"no next cycle is found: {failure}"
        return "the limit of cycles is reached"

    def _solve(self, guess: Guess, normal: Floats) -> None:
        orbit, tangent = solve_orbit(self.family, guess, normal=normal, weights=self.weights, budget=self.budget)
        self.orbits.append(orbit)
        self.tangent = tangent

    def _end(self, last: PeriodicOrbit) -> str:
        """The reason to end at the last cycle, or ""."""
        if last.closure_tolerance > _UNRESOLVED * last.amplitude or last.period > _LONG * self.hopf.period:
            errors = f"errors grow to {last.closure_tolerance:.1e} within it"
            return f"the period is {last.period:.3g} and {errors}, as near a homoclinic orbit"
        if last.amplitude > _LARGE:
            return f"the amplitude exceeds {_LARGE:g}"
        if len(self.orbits) > 2 and np.ptp([o.parameter for o in self.orbits]) < _VERTICAL * self.family.scale:
            return "cycles of every amplitude at the same value of the parameter: a center"
        if len(self.orbits) > 2 and last.amplitude < 0.3 * self.orbits[0].amplitude:
            return "the amplitude falls to zero: another Hopf point"
        return ""

    def _end_at_bound(self, beyond: Guess) -> str:
        """Append the cycle on the bound of the range that the family is about to pass."""
        last = self.orbits[-1].guess
        bound = self.family.upper if beyond.parameter > self.family.upper else self.family.lower
        part = (bound - last.parameter) / (beyond.parameter - last.parameter)
        if part > 1e-6:
            y = last.as_vector() + part * (beyond.as_vector() - last.as_vector())
            y[-1] = bound
            try:
                self.orbits.append(solve_orbit(self.family, Guess.from_vector(y), budget=self.budget)[0])
            except NotConverged as error:
                return f"no cycle is found at the end of the range: {error}"
        return "the range ends"
