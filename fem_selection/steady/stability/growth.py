# SPDX-License-Identifier: MIT
"""Growth rates measured in runs of the nonlinear equation, for comparison with the eigenvalues.

    f±(0) = f* ± ε r,   d(t) = (f₊(t) − f₋(t))/2;      z = (d, w)/(v, w),      rate = log(|z(T)|/|z(0)|)/T

The runs begin at a random function r, not at an eigenfunction: a run from the eigenfunction v just computed could only
confirm itself.  d is projected on each mode v by its left eigenfunction w, A* w = λ̄ w: in the linear equation z is
e^{λt} z(0) exactly, whatever the other modes do.  For a pair α ± iω z is complex, |z| is the envelope ε e^{αt} and arg
z turns with ω.  The difference of the two runs has no terms of second order.  The interval of a mode ends after a few
e-foldings or some periods, and before modes of faster growth have caught up, which the nonlinear terms couple.

The steps are those of the classical Runge–Kutta scheme with Δt ‖A‖ = 0.1; the error of the rate is below 1e-6 ‖A‖.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fem_selection.discretization.spaces import StateSpace
from fem_selection.dynamics.field import SelectionField
from fem_selection.dynamics.schemes import find_scheme, take_step
from fem_selection.errors import NonFinite
from fem_selection.linalg.operators import random_block, sum_over_space
from fem_selection.settings import StabilitySettings
from fem_selection.typing import Block, Complexes, Floats, Integers

__all__ = ["MAX_STEPS", "GrowthRun", "measure_growth"]

MAX_STEPS = 20_000
"""Default number of steps after which a run ends."""
_SCHEME = find_scheme("rk4")
_STEP = 0.1  # times ‖A‖
_LEAD = 5.0  # e-foldings that a faster mode may gain
_SAMPLES = 80
_SEED = 23
_SMOOTHING = 0.5  # share of r that is in the range of A, where the modes are


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
    duals: Complexes,
    norm: float,
    perturbation: float = StabilitySettings.perturbation,
    foldings: float = 3.0,
    turns: float = 4.0,
    max_steps: int = MAX_STEPS,
) -> GrowthRun:
    """Run the equation from f* ± ε r and project on each mode (collective over space).

    Args:
        field: The right-hand side; it must not depend on time.
        f: Nodal values of f*, shape (num_local, 1).
        values: Eigenvalues, none of them zero, shape (k,).
        modes: Nodal values of their eigenfunctions, complex, shape (num_local, k).
        duals: Those of their left eigenfunctions w, A* w = λ̄ w.
        norm: ‖A‖, which determines the time step.
        perturbation: ε.
        foldings: Number of e-foldings of the amplitude that a run takes.
        turns: Number of periods 2π/|λ| after which a run ends.
        max_steps: Number of steps after which a run ends; the run is then short if ‖A‖ is large compared with |λ|.

    Raises:
        NonFinite: if a run blows up.
    """
    space = field.space
    with np.errstate(divide="ignore"):
        spans = np.minimum(foldings / np.abs(values.real), 2 * np.pi * turns / np.abs(values))
        spans = np.minimum(spans, _LEAD / (values.real.max(initial=-np.inf) - values.real))
    dt = _STEP / norm
    steps = np.minimum(np.maximum(np.ceil(spans / dt), 20), max_steps).astype(np.int64)
    functionals = space.apply_mass(np.asfortranarray(np.concatenate([duals.real, duals.imag], axis=1)))
    own = np.diag(_project(space, functionals, modes))

    def coordinates(state: Block) -> Complexes:
        """Z of each mode."""
        return np.asarray(_project(space, functionals, 0.5 * (state[:, :1] - state[:, 1:]))[:, 0] / own)

    start = _random_start(field, f) if len(values) else f
    state = np.asfortranarray(np.concatenate([f + perturbation * start, f - perturbation * start], axis=1))
    series = {0: coordinates(state)}
    wanted = {int(n) for s in steps for n in _numbers(s)}
    with np.errstate(over="ignore", invalid="ignore"):
        for n in range(1, int(steps.max(initial=0)) + 1):
            state = take_step(_SCHEME, field.rate, state, step=dt)
            if n in wanted:
                series[n] = coordinates(state)
    return _evaluate(values, series, steps, dt, perturbation)


def _random_start(field: SelectionField, f: Block) -> Block:
    """r of unit norm, the same on every partition: white noise, and its image under A."""
    space = field.space
    noise = random_block(space, 1, _SEED)
    noise /= space.norm(noise)[0]
    image = field.linearize(f).apply(noise)
    size = float(space.norm(image)[0])
    return np.asfortranarray(noise if size == 0.0 else (1 - _SMOOTHING) * noise + _SMOOTHING * image / size)


def _project(space: StateSpace, functionals: Block, functions: Complexes | Floats) -> Complexes:
    """(f_j, w_i) for all functions and left eigenfunctions, shape (k, columns) (collective)."""
    k = functionals.shape[1] // 2
    parts = (functionals[:, :k] - 1j * functionals[:, k:]).T @ functions
    both = sum_over_space(space, np.stack([parts.real, parts.imag]))
    return both[0] + 1j * both[1]


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
