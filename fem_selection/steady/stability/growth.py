# SPDX-License-Identifier: MIT
"""Growth rates measured in runs of the nonlinear equation, for comparison with the eigenvalues.

    f(0) = f* + ε v,   d(t) = f(t) − f°(t),   f° the run from f* itself;      rate = log(|z(T)|/|z(0)|)/T

z is the coordinate of d in the mode.  For a real eigenvalue z = (d, v)/(v, v).  For a pair α ± iω with v = v_r + i v_i
it is the complex number with d = Re (z v), so that |z| is the envelope ε e^{αt} and arg z turns with ω.  A run takes a
few e-foldings or some periods, whichever ends first.  It ends before modes of faster growth have caught up; the
nonlinear terms excite these with a share ε of the amplitude.

The steps are those of the classical Runge–Kutta scheme with Δt ‖A‖ = 0.1; the error of the rate is below 1e-6 ‖A‖.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fem_selection.discretization.spaces import StateSpace
from fem_selection.dynamics.field import SelectionField
from fem_selection.dynamics.schemes import find_scheme, take_step
from fem_selection.errors import NonFinite
from fem_selection.settings import StabilitySettings
from fem_selection.typing import Block, Complexes, Floats, Integers

__all__ = ["MAX_STEPS", "GrowthRun", "measure_growth"]

MAX_STEPS = 20_000
"""Default number of steps after which a run ends."""
_SCHEME = find_scheme("rk4")
_STEP = 0.1  # times ‖A‖
_LEAD = 5.0  # e-foldings that a faster mode may gain
_SAMPLES = 80


@dataclass(frozen=True)
class GrowthRun:
    """Perturbed runs, one for each mode.

    Attributes:
        predicted: The eigenvalues, shape (k,).
        measured: Rate and frequency as rate + i frequency, shape (k,).
        times: Times of each run, shape (k, samples).
        amplitudes: |z| / |z(0)|, shape (k, samples).
        perturbation: ε, the L² norm of the perturbations.
    """

    predicted: Complexes
    measured: Complexes
    times: Floats
    amplitudes: Floats
    perturbation: float

    @property
    def relative_errors(self) -> Floats:
        """|rate − Re λ| / |λ|, shape (k,)."""
        return np.abs(self.measured.real - self.predicted.real) / np.abs(self.predicted)


def measure_growth(
    field: SelectionField,
    f: Block,
    values: Complexes,
    *,
    modes: Complexes,
    norm: float,
    perturbation: float = StabilitySettings.perturbation,
    foldings: float = 3.0,
    turns: float = 4.0,
    max_steps: int = MAX_STEPS,
) -> GrowthRun:
    """Run the equation from f* + ε v for each mode (collective over space).

    Args:
        field: The right-hand side; it must not depend on time.
        f: Nodal values of f*, shape (num_local, 1).
        values: Eigenvalues, none of them zero, shape (k,).
        modes: Nodal values of their eigenfunctions of unit L² norm, complex, shape (num_local, k).
        norm: ‖A‖, which determines the time step.
        perturbation: ε.
        foldings: Number of e-foldings of the amplitude that a run takes.
        turns: Number of periods 2π/|λ| after which a run ends.
        max_steps: Number of steps after which a run ends; the run is then short if ‖A‖ is large compared with |λ|.

    Raises:
        NonFinite: if a run blows up.
    """
    space, k = field.space, len(values)
    with np.errstate(divide="ignore"):
        spans = np.minimum(foldings / np.abs(values.real), 2 * np.pi * turns / np.abs(values))
        spans = np.minimum(spans, _LEAD / (values.real.max(initial=-np.inf) - values.real))
    dt = _STEP / norm
    steps = np.minimum(np.maximum(np.ceil(spans / dt), 20), max_steps).astype(np.int64)
    reader = _Reader(space, modes)
    state = np.asfortranarray(np.concatenate([f + perturbation * modes.real, f], axis=1))
    series = {0: reader.coordinates(state[:, :k] - state[:, k:])}
    wanted = {int(n) for s in steps for n in _numbers(s)}
    with np.errstate(over="ignore", invalid="ignore"):
        for n in range(1, int(steps.max(initial=0)) + 1):
            state = take_step(_SCHEME, field.rate, state, step=dt)
            if n in wanted:
                series[n] = reader.coordinates(state[:, :k] - state[:, k:])
    return _evaluate(values, series, steps, dt, perturbation)


class _Reader:
    """Computes the complex coordinate z of each column in its mode, d ≈ Re z v_r − Im z v_i, by least squares."""

    def __init__(self, space: StateSpace, modes: Complexes) -> None:
        self._space = space
        self._parts = [np.asfortranarray(modes.real), np.asfortranarray(modes.imag)]
        real, imaginary = self._parts
        rr, ri, ii = (space.inner(a, b) for a, b in ((real, real), (real, imaginary), (imaginary, imaginary)))
        self._gram = np.array([[rr, -ri], [-ri, ii]])
        self._is_real = ii <= 1e-20 * rr

    def coordinates(self, difference: Block) -> Complexes:
        """z of each column (collective)."""
        d = np.asfortranarray(difference)
        a, b = self._space.inner(d, self._parts[0]), -self._space.inner(d, self._parts[1])
        (rr, ri), (_, ii) = self._gram
        determinant = np.where(self._is_real, rr, rr * ii - ri**2)
        x = np.where(self._is_real, a, ii * a - ri * b) / determinant
        y = np.where(self._is_real, 0.0, rr * b - ri * a) / determinant
        return x + 1j * y


def _numbers(steps: int) -> Integers:
    """The numbers of the steps of a run at which z is computed."""
    return np.linspace(0, steps, _SAMPLES).round().astype(np.int64)


def _evaluate(
    values: Complexes, series: dict[int, Complexes], steps: Integers, dt: float, perturbation: float
) -> GrowthRun:
    """The rates, from the coordinates z at some steps."""
    k = len(values)
    measured = np.zeros(k, complex)
    times, amplitudes = np.zeros((k, _SAMPLES)), np.zeros((k, _SAMPLES))
    for j in range(k):
        numbers = _numbers(int(steps[j]))
        z = np.array([series[int(n)][j] for n in numbers])
        if not np.all(np.isfinite(z)):
            raise NonFinite("a perturbed run")
        times[j], amplitudes[j] = numbers * dt, np.abs(z) / np.abs(z[0])
        span = float(steps[j]) * dt
        with np.errstate(divide="ignore"):
            rate = np.log(amplitudes[j, -1]) / span
        turned = float(np.unwrap(np.angle(z))[-1] - np.angle(z[0]))
        measured[j] = rate + 1j * turned / span
    return GrowthRun(predicted=values, measured=measured, times=times, amplitudes=amplitudes, perturbation=perturbation)
