# SPDX-License-Identifier: MIT
"""Limit cycles near a Hopf point, found by runs; their amplitude grows like the square root of |μ − μ₀|.

    amplitude² = 2 ⟨‖c(t) − c̄‖²⟩  over whole periods,      amplitude ~ |μ − μ₀|^{1/2}  for a supercritical point

The runs solve the reduced equation c' = V* σ(K V c + b), which leaves out the drift of f within ker K.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fem_selection.dynamics.schemes import find_scheme, take_step
from fem_selection.steady.branches.bifurcations import Bifurcation
from fem_selection.steady.branches.continuation import solve_steady
from fem_selection.steady.equilibria.reduction import ReducedEquation, ReducedFamily
from fem_selection.typing import Floats

__all__ = ["Cycles", "measure_cycles"]

_SCHEME = find_scheme("rk4")
_STEPS_PER_PERIOD = 60
_PERIODS = 4  # length of a window
_WINDOWS = 400
_SETTLED = 1e-3


@dataclass(frozen=True)
class Cycles:
    """Limit cycles at several values of the parameter near a Hopf point.

    Attributes:
        parameters: The values μ, the farthest from μ₀ first.
        amplitudes: The amplitude at each value; NaN if the run did not settle.
        exponent: Slope of log amplitude over log |μ − μ₀| of the two nearest cycles; NaN with fewer than two.
    """

    parameters: Floats
    amplitudes: Floats
    exponent: float


def measure_cycles(
    family: ReducedFamily, hopf: Bifurcation, distances: tuple[float, ...], *, largest: float = 1e3
) -> Cycles:
    """Run the reduced equation to its cycle at some distances from a Hopf point, on the side of more instability.

    Args:
        family: The reduced equation as a function of the parameter.
        hopf: A Hopf point.
        distances: The distances |μ − μ₀|, decreasing.
        largest: Norm of c at which a run is given up.

    Raises:
        NotConverged: if Newton's method finds no steady state at one of the values.

    Note:
        Collective over space.  Each run begins where the square-root law predicts the cycle from the one before.
    """
    parameters = hopf.parameter + hopf.side * np.asarray(distances)
    amplitudes = np.full(len(parameters), np.nan)
    guess = 0.1
    for k, mu in enumerate(parameters.tolist()):
        equation = family.at(mu)
        steady = solve_steady(family, hopf.point.coordinates, mu)
        values, vectors = np.linalg.eig(equation.jacobian(steady))
        mode = vectors[:, int(np.argmax(values.real))].real
        start = steady + guess * mode / np.linalg.norm(mode)
        amplitudes[k] = _settle(equation, start, hopf.frequency, float(values.real.max()), largest)
        if np.isfinite(amplitudes[k]) and k + 1 < len(parameters):
            guess = float(amplitudes[k]) * np.sqrt(distances[k + 1] / distances[k])
    logs = np.log(amplitudes[-2:]), np.log(np.abs(parameters[-2:] - hopf.parameter))
    exponent = float(np.diff(logs[0])[0] / np.diff(logs[1])[0]) if len(parameters) > 1 else np.nan
    return Cycles(parameters=parameters, amplitudes=amplitudes, exponent=exponent)


def _settle(equation: ReducedEquation, start: Floats, frequency: float, rate: float, largest: float) -> float:
    """The amplitude at which a run settles; NaN if it does not settle within its windows.

    Perturbations of the cycle decay at about twice the rate at which those of the steady state grow.  The change from
    one window to the next therefore gives an estimate of the remaining change.
    """
    dt = 2 * np.pi / frequency / _STEPS_PER_PERIOD
    count = _STEPS_PER_PERIOD * _PERIODS
    hann = np.sin(np.pi * (np.arange(count) + 0.5) / count) ** 2
    weights = hann / hann.sum()
    state, before = start, np.nan
    for _ in range(_WINDOWS):
        run = np.empty((count, start.size))
        for n in range(count):
            run[n] = state
            state = take_step(_SCHEME, equation.rate, state, step=dt)
        if not np.all(np.isfinite(state)) or np.linalg.norm(state) > largest:
            return np.nan
        mean = weights @ run
        amplitude = float(np.sqrt(2 * weights @ np.sum((run - mean) ** 2, axis=1)))
        left = abs(amplitude - before) / max(1e-12, 1 - np.exp(-2 * rate * count * dt))
        if left <= _SETTLED * amplitude:
            return amplitude
        before = amplitude
    return np.nan
