# SPDX-License-Identifier: MIT
"""Problems about bounds: coefficients that move in time, constants of σ, hypotheses, zeros, and exponents."""

from __future__ import annotations

import numpy as np
import pytest
from gallery import Answer, blocks, problem, states
from scipy.integrate import quad, solve_ivp

CELLS = {"family": "dg", "degree": 0}


def claimed(answer: Answer) -> dict[str, bool]:
    """Which estimates are claimed; none of those may be missed."""
    estimates = answer.report.estimates
    assert all(e.excess < 1e-7 for e in estimates.values() if e.claimed)
    return {name: estimate.claimed for name, estimate in estimates.items()}


@problem(
    "forward",
    bias="exp(-((t-500)/0.5)**2)",
    activation="identity",
    initial="1",
    settings={"until": 1e3, "times": 11},
    says="the pulse raises f from 1 to 1 + √π/2 = 1.8862, and the bound with it",
    route="closed form: f = 1 + ∫b",
)
def pulse_in_a_long_run(answer: Answer):
    """Fails if a step passes over the pulse."""
    run, growth = answer.report.integration, answer.report.estimates["growth"]
    exact = 1 + 0.5 * np.sqrt(np.pi)
    np.testing.assert_allclose(answer.everywhere(run.final), exact, atol=1e-6)
    assert exact * (1 - 1e-9) <= growth.bound[-1, 0] <= exact * (1 + 1e-5)
    return run.outcome


@problem(
    "forward",
    bias="where(abs(t-333.3) < 0.01, 1, 0)*(1 + y)",
    activation="identity",
    initial="0",
    settings={"until": 1e4, "times": 3},
    says="a rectangular pulse of length 0.02 is not missed",
    route="closed form: f = 0.02 (1 + y)",
)
def short_rectangle(answer: Answer):
    """Fails if a jump in time is passed over."""
    final = answer.everywhere(answer.report.integration.final)[:, 0]
    np.testing.assert_allclose(final, 0.02 * (1 + answer.y), atol=1e-6)
    return "found"


@problem(
    "forward",
    bias="1 + cos(t)",
    activation="identity",
    initial="0",
    settings={"until": 2e2},
    says="‖f‖ = t + sin t, and the bound of growth is that, from above",
    route="closed form: f = ∫b",
)
def bound_of_an_oscillating_bias(answer: Answer):
    """Fails if the integral of ‖b‖ is not resolved: 11.54 in place of 20.91 at t = 20."""
    report, growth = answer.report, answer.report.estimates["growth"]
    t = report.integration.times
    np.testing.assert_allclose(report.norms[:, 0], t + np.sin(t), atol=1e-4)
    assert np.all(growth.bound[1:, 0] >= (t + np.sin(t))[1:] * (1 - 1e-9))
    np.testing.assert_allclose(growth.bound[1:, 0], (t + np.sin(t))[1:], rtol=1e-5)
    return growth.claimed


@problem(
    "forward",
    kernel="exp(-((t-40)/0.05)**2)*(1 + z)",
    activation="identity",
    initial="1",
    settings={"until": 1e2, "times": 3, "estimates": False},
    says="a pulse of the kernel multiplies the mean by e^{3 √π/40}",
    route="quadrature: the weighted mean m obeys m' = 3/2 p(t) m",
)
def pulse_of_a_kernel(answer: Answer):
    """Fails if steps look at the bias alone."""
    area = quad(lambda t: np.exp(-((t / 0.05) ** 2)), -1, 1, epsabs=1e-13)[0]
    final = answer.everywhere(answer.report.integration.final)
    np.testing.assert_allclose(final, np.exp(1.5 * area), rtol=1e-4)  # the mesh integrates z² by the trapezoidal rule
    return "found"


@problem(
    "forward",
    kernel="-1",
    activation="log(1+exp(s))-log(2)",
    initial="2 + y",
    settings={"until": 5.0},
    says="|σ'| ≤ 1, some Σ is not negative, and all estimates but monotonicity are claimed",
    route="closed form: σ' = 1/(1 + e^{−s}); SciPy's DOP853 for g' = −σ(g), g = −∫f",
)
def softplus_by_its_formula(answer: Answer):
    """Fails if constants of σ are samples that overflow."""
    growth = answer.report.estimates["growth"]
    assert growth.constants["lipschitz"] == pytest.approx(1.0, rel=2e-6)
    g = solve_ivp(lambda t, g: -(np.logaddexp(0, g) - np.log(2)), (0, 5), [-2.5], rtol=1e-11, atol=1e-12).y[0, -1]
    final = answer.everywhere(answer.report.integration.final)[:, 0]
    assert answer.weights @ final == pytest.approx(-g, abs=1e-6)
    return claimed(answer)


@problem(
    "forward",
    kernel="-exp(-(y-z)**2) + 9e-7*sin(y-z)",
    initial="cos(5*y)",
    settings={"until": 10.0},
    says="the energy is not claimed: the kernel is not symmetric",
    route="closed form: the skew part is 9e-7 sin(y − z)",
)
def nearly_symmetric(answer: Answer):
    """Fails if a part of 10⁻⁶ counts as round-off."""
    energy = answer.report.estimates["energy"]
    y, weights = answer.y, answer.weights
    root = np.sqrt(weights)
    skew = np.linalg.norm(9e-7 * root[:, None] * np.sin(y[:, None] - y[None, :]) * root, 2)
    (symmetry,) = energy.failed
    assert symmetry.defect * energy.constants["kernel_norm"] == pytest.approx(skew, rel=1e-3)
    return energy.claimed


@problem(
    "forward",
    kernel="1e200*cos(y-z)",
    initial="1",
    settings={"until": 2.0},
    says="σ saturates, f = 1 + t; the norm 1e200 is found, the bound is infinite",
    route="closed form: tanh(1e200 …) = 1",
)
def kernel_whose_square_overflows(answer: Answer):
    """Fails if a norm overflows into a traceback or into NaN."""
    report = answer.report
    np.testing.assert_allclose(answer.everywhere(report.integration.final), 3.0, rtol=1e-9)
    assert 0.9e200 < report.estimates["growth"].constants["kernel_norm"] < 1e200
    return claimed(answer)


@problem(
    "steady",
    kernel="-1",
    activation="tanh(s-25)",
    initial="0",
    says="the steady states solve ∫f = −25, and the run ends at f = −25",
    route="closed form: g = −∫f obeys g' = −tanh(g − 25)",
)
def zero_far_from_the_origin(answer: Answer):
    """Fails if zeros of σ are not looked for where states go."""
    (limit,) = answer.report.limits
    np.testing.assert_allclose(answer.everywhere(limit.state), -25.0, atol=1e-6)
    (state,) = answer.report.states
    np.testing.assert_allclose(state.preactivation_range, 25.0, atol=1e-9)
    return answer.report.zeros.kind


@problem(
    "steady",
    kernel="-1",
    activation="1/(1+exp(-s))",
    initial="0",
    settings={"horizon": 1e3},
    says="there are no steady states, which is proved",
    route="closed form: 1/(1 + e^{−s}) > 0",
)
def sigmoid_has_no_zero(answer: Answer):
    """Fails if none is said of samples, or not said although it is proved."""
    zeros = answer.report.zeros
    assert answer.report.verdict.startswith("there are no steady states")
    return zeros.kind, zeros.proved


@problem(
    "steady",
    kernel=blocks([[1, 0], [0, -1]]),
    activation="sine",
    initial=states([1e-6, 0.3]),
    space=CELLS,
    says="the run selects g = (π, 0), which is among the states",
    route="closed form: g₁' = sin g₁ from 1e-6, g₂' = −sin g₂ from −0.3",
)
def selected_state_among_many(answer: Answer):
    """Fails if the largest number of states is reached before the one that the run tends to."""
    (limit,) = answer.report.limits
    halves = np.where(answer.y < 0.5, np.pi, 0.0)
    np.testing.assert_allclose(answer.everywhere(limit.state), halves, atol=1e-6)
    assert limit.nearest_state == 0 and limit.preactivation_distance < 1e-6
    return limit.outcome


@problem(
    "stability",
    kernel=blocks([[-30, 0], [0, -1]]),
    activation="identity",
    initial="0",
    state="0",
    space=CELLS,
    settings={"exponents": 2, "refine": False},
    says="no perturbation grows: the exponents are 0, −1 and −30",
    route="closed form: eigenvalues of A and the null space",
)
def exponents_of_a_stiff_system(answer: Answer):
    """Fails if ten Euler layers, which give +6.9, are taken for the equation."""
    exponents = answer.report.exponents
    np.testing.assert_allclose(exponents.state, 0.0, atol=1e-9 + exponents.error)
    return exponents.scheme
