# SPDX-License-Identifier: MIT
"""Kernels and biases that depend on time: pulses are not stepped over, against closed forms and SciPy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from cases import build_equation
from scipy.integrate import quad

from fem_selection.discretization.depth import DepthGrid
from fem_selection.dynamics import SelectionField
from fem_selection.evolution import integrate
from fem_selection.evolution.estimates import estimate_run
from fem_selection.evolution.variation import divide_time
from fem_selection.functions.activations import find_activation
from fem_selection.kernels import DenseKernel
from fem_selection.settings import StepSettings

ROOT_PI = np.sqrt(np.pi)
SETTINGS = StepSettings(growth_bound=np.inf)


def final(dynamics, until):
    """The largest and the least final value from f^I = 1, and the run."""
    problem = build_equation({"activation": "identity", **dynamics}, cells=8)
    one = np.ones((problem.space.num_local, 1), order="F")
    run = integrate(problem.field, one, np.array([0.0, until]), settings=SETTINGS)
    return run.final.max(), run.final.min(), run


@pytest.mark.parametrize(
    ("bias", "until", "integral"),
    [
        ("exp(-((t-500)/0.5)**2)", 1e3, 0.5 * ROOT_PI),
        ("exp(-((t-500)/0.001)**2)", 1e3, 0.001 * ROOT_PI),
        ("exp(-((t-77.7-y)/0.02)**2)", 1e3, 0.02 * ROOT_PI),
        ("where(abs(t-333.3) < 0.01, 1, 0)", 1e4, 0.02),
        ("3*cos(t) + exp(-((t-50)/0.02)**2)", 1e2, 3 * np.sin(100) + 0.02 * ROOT_PI),
        ("t*exp(-t)", 1e3, 1.0),
    ],
)
def test_pulses_of_the_bias_are_not_stepped_over(bias, until, integral):
    """Fails if a step is longer than what the formula does within it: 1 in place of 1 + ∫b."""
    high, low, run = final({"kernel": "0", "bias": bias}, until)
    assert high == pytest.approx(1 + integral, abs=1e-6) and low == pytest.approx(1 + integral, abs=1e-6)
    assert run.pieces.complete and not run.pieces.sampled and run.steps < 400


def test_pulses_of_the_kernel_are_not_stepped_over():
    """w = e^{−((t−300)/0.1)²} (1 + z): the mean of (1+z) f is followed in closed form.

    Fails if the steps, long by then, pass over the pulse of the kernel.
    """
    high, _, _ = final({"kernel": "exp(-((t-300)/0.1)**2)*(1 + z)", "bias": "0"}, 1e3)
    area = quad(lambda t: np.exp(-((t / 0.1) ** 2)), -1, 1, epsabs=1e-13)[0]
    assert high == pytest.approx(np.exp(1.5 * area), rel=1e-7)


def pulse_in_python(space, centre, width):
    """A bias that a function of one's own sets."""
    bias = np.zeros(space.num_local)

    def refresh(time):
        bias[:] = np.exp(-(((time - centre) / width) ** 2))

    kernel = DenseKernel.interpolate(space, 0.0, DepthGrid(layers=1))
    return SelectionField(space, kernel, bias, activation=find_activation("identity"), refresh=refresh)


def test_functions_without_formulas_are_sampled(spaces):
    """Fails if a pulse wider than the samples is missed, if the sampling is not said, or if the longest step that the
    user sets is not kept."""
    space = spaces("interval", 4, 1)
    one = np.ones((space.num_local, 1), order="F")
    wide = integrate(pulse_in_python(space, 510.0, 4.0), one, np.array([0.0, 1e3]), settings=SETTINGS)
    assert wide.final[0, 0] == pytest.approx(1 + 4 * ROOT_PI, abs=1e-6) and wide.pieces.sampled
    narrow = StepSettings(max_step=0.05)
    run = integrate(pulse_in_python(space, 7.04, 0.05), one, np.array([0.0, 10.0]), settings=narrow)
    assert run.final[0, 0] == pytest.approx(1 + 0.05 * ROOT_PI, abs=1e-6)
    assert run.history["steps"].max() <= 0.05 * 1.01


def test_pieces_hold_half_of_each_terms_change():
    """Fails if a small term hides behind a large one, or a piece holds more than it may."""
    problem = build_equation({"kernel": "0", "bias": "1e3*cos(t) + exp(-((t-5)/0.02)**2)*y"}, cells=8)
    pieces = divide_time(problem.field, 0.0, 10.0)
    t = np.linspace(pieces.edges[:-1], pieces.edges[1:], 50)
    for term, whole in ((1e3 * np.cos(t), 2e3), (np.exp(-(((t - 5) / 0.02) ** 2)), 1.0)):
        assert np.ptp(term, axis=0).max() <= 0.5 * whole
    assert pieces.shortest < 0.02 and pieces.longest_step(0.0, 10.0) <= 2 * np.diff(pieces.edges)[0]
    step = pieces.longest_step(4.0, 5.0)
    assert step <= 2 * np.diff(pieces.edges)[np.searchsorted(pieces.edges, 4.0 + 0.99 * step) - 1]


def bounds(dynamics, until, times=11):
    """The growth estimate from f^I = 1."""
    problem = build_equation({"activation": "identity", **dynamics}, cells=8)
    one = np.ones((problem.space.num_local, 1), order="F")
    run = integrate(problem.field, one, np.linspace(0.0, until, times), settings=SETTINGS)
    return estimate_run(problem.field, run.times, run.states, pieces=run.pieces)["growth"], run.times


@pytest.mark.parametrize(
    ("dynamics", "until", "exact"),
    [
        ({"kernel": "0", "bias": "1 + cos(t)"}, 200.0, lambda t: 1 + t + np.sin(t)),
        ({"kernel": "0", "bias": "exp(-((t-33)/0.05)**2)"}, 100.0, lambda t: 1 + 0.05 * ROOT_PI * (t > 35)),
        ({"kernel": "(1 + cos(3*t))/2", "bias": "0"}, 8.0, lambda t: np.exp(t / 2 + np.sin(3 * t) / 6)),
        ({"kernel": "where(t < 2.2, 1, 0)", "bias": "0"}, 5.0, lambda t: np.exp(np.minimum(t, 2.2))),
    ],
)
def test_bounds_are_integrated_from_above(dynamics, until, exact):
    """Equality holds in each, so that the bound is the solution. Fails if it is below it, or far above it: three Gauß
    points between two times give 11.5 in place of 20.9 for 1 + cos t."""
    growth, times = bounds(dynamics, until)
    assert growth.claimed
    excess = growth.bound[:, 0] / exact(times) - 1
    assert np.all(excess >= -1e-9) and np.all(excess <= 1e-5)
    assert np.all(growth.ratio <= 1 + 1e-6) and growth.allowance < 1e-4 * growth.bound.max()


@pytest.mark.slow
def test_bounds_against_quadrature():
    """A kernel and a bias that both move: ‖K‖ = 1 + sin(2t)/2 and ‖b‖ = |t cos t| by SciPy's quadrature between kinks.
    Fails if the factor within the integral belongs to another time."""
    growth, times = bounds({"kernel": "1 + 0.5*sin(2*t)", "bias": "t*cos(t)"}, 4.0, times=5)

    def alpha(t):
        return t + 0.25 * (1 - np.cos(2 * t))

    for time, bound in zip(times[1:], growth.bound[1:, 0], strict=True):
        ends = [0.0, *(kink for kink in (np.pi / 2,) if kink < time), time]
        parts = [
            quad(lambda s: np.exp(-alpha(s)) * abs(s * np.cos(s)), a, b, epsabs=1e-13)[0]
            for a, b in itertools.pairwise(ends)
        ]
        exact = np.exp(alpha(time)) * (1 + sum(parts))
        assert -1e-11 * exact <= bound - exact <= growth.allowance + 1e-8 * exact
    assert growth.hypotheses[1].holds and growth.hypotheses[1].defect < 1e-5
