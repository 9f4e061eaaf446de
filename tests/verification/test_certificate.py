# SPDX-License-Identifier: MIT
"""The certificate: small at an optimum and smaller with Δt, large at a wrong control, declined where it does not apply.

The KKT residual is held to the assembled weak forms of the equation and its adjoint.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import ufl
from optima import (
    PENALTIES,
    SHORT_OF_LAYERS,
    closed_form_problem,
    numpy_neuron,
    one_neuron,
    problem_with_a_gap,
    six_samples,
)
from problems import make_problem, observed_orders
from scipy.optimize import minimize as minimize_by_scipy

from fem_selection.adjoint.hamiltonian import Search
from fem_selection.dynamics import SCHEMES, SelectionEquation
from fem_selection.functions.activations import Activation
from fem_selection.learning import ScaledFunctional, Triple, assess_optimality, kkt_residual, solve_triple
from fem_selection.learning.certificate import kernel_ranks
from fem_selection.learning.extremals import Extremals
from fem_selection.learning.joint_hamiltonian import JointHamiltonian
from fem_selection.optimize import minimize
from fem_selection.settings import CertificateSettings, OptimizerSettings, Regularization


def optimum(scaled: ScaledFunctional, starts: int = 1) -> np.ndarray:
    """The best of several starts."""
    zero = np.zeros(scaled.control_space.local_size)
    firsts = [zero, *(scaled.to_scaled(2 * scaled.control_space.random_direction(k)) for k in range(1, starts))]
    settings = OptimizerSettings(max_iterations=1000, gradient_tolerance=1e-9, memory=20)
    found = [minimize(scaled, first, settings) for first in firsts]
    return scaled.to_controls(min(found, key=lambda report: report.objective).scaled_solution)


# ── the KKT residual ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mode", ["collocated", "galerkin"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_swept_triple_leaves_the_reduced_gradient(spaces, mode, scheme):
    """Fails if a layer of the system differs from that of the sweeps: states and costates satisfy it to round-off, and
    the control's residual is the norm of the L² gradient, H¹ term and readout included."""
    problem = make_problem(spaces("interval", 3, 2, mode), scheme=scheme)
    f, x = problem.functional, problem.moved()
    residual = kkt_residual(f, solve_triple(f, x))
    assert residual.state < 1e-12 and residual.costate < 1e-12
    dual = f.evaluate(x)[1]
    assert residual.control == pytest.approx(np.sqrt(dual @ f.control_space.riesz(dual)), rel=1e-10)


@pytest.mark.parametrize("mode", ["collocated", "galerkin"])
def test_residuals_are_those_of_the_weak_forms(spaces, mode):
    """Fails if the system that is left is not the selection equation and its adjoint: for states and costates that
    belong to nothing, with Euler layers, against the assembled forms (σ(s), φ) and (σ'(s) p, ψ)."""
    space = spaces("interval", 3, 2, mode)
    problem = make_problem(space, loss="tracking", layers=2, intervals=2, samples=1, regularization=PENALTIES)
    f, x, dt = problem.functional, problem.moved(), 0.4
    triple = solve_triple(f, x)
    wave = np.cos(5 * space.coordinates)
    states = [np.asfortranarray(s + 0.1 * n * wave) for n, s in enumerate(triple.states)]
    costates = [np.asfortranarray(p + 0.01 * (2 - n) * wave) for n, p in enumerate(triple.costates)]
    equation = SelectionEquation(space, problem.stepper.activation)
    f.set_controls(x)
    left = np.zeros(2)
    for n in range(2):
        s = np.empty_like(wave)
        problem.stepper.kernel.apply(n, states[n], s)
        s = s[:, 0] + problem.stepper.bias[n]
        rate = equation.assemble_rate(s)  # (σ(s), φ)
        d = space.apply_mass(states[n + 1] - states[n])[:, 0] - dt * rate
        left[0] += d @ space.riesz(d[:, None])[:, 0]
        back = np.zeros_like(wave)
        q = equation.assemble_adjoint(s, space.riesz(costates[n + 1])[:, 0])[:, None]
        problem.stepper.kernel.add_transpose(n, np.asfortranarray(q), dt, out=back)
        d = (costates[n] - costates[n + 1] - back)[:, 0]
        left[1] += d @ space.riesz(d[:, None])[:, 0]
    end = costates[2] - 1.3 * space.apply_mass(np.asfortranarray(states[2] - f.targets))
    left[1] += float(np.sum(end * space.riesz(end)))
    residual = kkt_residual(f, Triple(states=states, costates=costates, controls=x))
    assert (residual.state, residual.costate) == pytest.approx(tuple(np.sqrt(left / dt)), rel=1e-10)


# ── the certificate ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_at_an_optimum_everything_is_small_and_falls_with_the_step(spaces):
    """Fails if H is taken at states and costates that do not belong together: at the best of several optima the gap is
    at the level of the squared gradient, and H is constant up to O(Δt)."""
    drifts = []
    for layers in (8, 16, 32):
        scaled = closed_form_problem(spaces("interval", 3, 1), layers)
        found = assess_optimality(scaled, optimum(scaled))
        assert found.gradient_norm < 1e-6 and found.kkt_residual == pytest.approx(found.gradient_norm, rel=1e-6)
        assert 0 <= found.maximum_principle_gap < 1e-11
        assert found.lowest_hessian_eigenvalue > 0
        assert found.kernel_rank == [1] * layers  # one sample
        drifts.append(found.hamiltonian_drift)
    assert 0.9 <= observed_orders(drifts, [1 / 8, 1 / 16, 1 / 32])[-1] <= 1.4


@pytest.mark.parametrize("name", ["identity", "tanh"])
def test_gap_of_coarse_controls_falls_with_the_step(spaces, name):
    """Fails if gaps are zero for another reason than that the control is near the optimum: at the discrete optimum the
    gap is round-off for any Δt, so the optima of 4, 8 and 16 layers are asked as controls of 64 layers.  They differ
    from the fine ones by O(Δt − 1/64), and the gap, a minimum's, is the square of that."""
    space, gaps = spaces("interval", 2, 1), []
    fine = problem_of(space, name, 64)
    extremals = Extremals(fine.functional)
    for layers in (4, 8, 16):
        scaled = problem_of(space, name, layers)
        coarse = scaled.control_space.unpack(optimum(scaled))
        x = [np.repeat(coarse[part].reshape(layers, -1), 64 // layers, axis=0).ravel() for part in ("kernel", "bias")]
        extremals.sweep(np.concatenate(x))
        gaps.append(extremals.minimize(Search(starts=4)).gap)
    rates = observed_orders(gaps, [1 / layers - 1 / 64 for layers in (4, 8, 16)])
    assert min(rates) >= 1.9 and max(rates) <= 2.4


def problem_of(space, name: str, layers: int) -> ScaledFunctional:
    """The problem with a closed form, or three samples through tanh, with Euler layers."""
    if name == "identity":
        return closed_form_problem(space, layers)
    penalty = Regularization(kernel=0.3, bias=0.3)
    options = {"samples": 3, "horizon": 1.0, "parts": ("kernel", "bias"), "regularization": penalty}
    return ScaledFunctional(make_problem(space, loss="tracking", layers=layers, intervals=layers, **options).functional)


def test_best_of_several_starts_for_tanh(spaces):
    """Fails if the multi-start minimisation finds controls that are not lower: a tanh network at its best optimum."""
    scaled = six_samples(spaces("interval", 2, 1), "tracking")
    found = assess_optimality(scaled, optimum(scaled, starts=4))
    assert 0 <= found.maximum_principle_gap < 1e-9
    assert max(found.kernel_rank) <= 3  # three nodes
    assert found.local_minimum == "a local minimiser"
    assert set(found.declined) == {"kernel_rank_bound"}  # of six samples


def test_at_a_wrong_control_everything_is_large(spaces):
    """Fails if a certificate is given to anything: gradient, gap and drift of a random control and of the optimum."""
    scaled = six_samples(spaces("interval", 2, 1), "tracking")
    best = assess_optimality(scaled, optimum(scaled))
    wrong = assess_optimality(scaled, 4 * scaled.control_space.random_direction(5))
    assert wrong.gradient_norm > 0.05 and wrong.kkt_residual > 0.05
    assert wrong.maximum_principle_gap > 0.05
    assert wrong.hamiltonian_drift > 5 * best.hamiltonian_drift


def test_pontryagin_sees_what_the_gradient_does_not():
    """Fails if the search starts at the present control only: gradient 1e-8, a positive Hessian, a gap of 0.0419."""
    scaled = problem_with_a_gap()
    settings = OptimizerSettings(max_iterations=100, gradient_tolerance=0.0, absolute_tolerance=1e-8, memory=20)
    found = minimize(scaled, scaled.to_scaled(np.full(10, 0.2)), settings)
    certificate = assess_optimality(scaled, scaled.to_controls(found.scaled_solution))
    assert certificate.gradient_norm <= 1e-7
    assert certificate.lowest_hessian_eigenvalue > 0
    assert certificate.maximum_principle_gap == pytest.approx(0.041872, abs=1e-5)
    assert certificate.maximum_principle_starts == 12


@pytest.mark.parametrize(
    ("options", "bound"),
    [
        ({}, 5),
        ({"scheme": "heun"}, 10),
        ({"intervals": 2}, 10),
        ({"regularization": Regularization(kernel=0.1, bias=0.1, readout=0.1, kernel_depth=0.1)}, "H¹"),
        ({"regularization": Regularization(kernel=0.0, bias=0.1, readout=0.1)}, "regularization.kernel = 0"),
        ({"parts": ("bias", "readout")}, "not optimized"),
        ({"samples": 13}, "allow a rank of 13, and no kernel on 13 nodes has a larger one"),
    ],
)
def test_bound_of_the_rank(spaces, options, bound):
    """Fails if the representer form is claimed where it does not hold, or stages and steps of a control are forgotten:
    at a stationary point of thirteen nodes and five samples the rank is within the bound,
    and a bound that no kernel on these nodes exceeds is left out."""
    settings = {"layers": 4, "intervals": 4, "regularization": PENALTIES, **options}
    scaled = ScaledFunctional(make_problem(spaces("interval", 12, 1), **settings).functional)
    found = assess_optimality(scaled, optimum(scaled), settings=CertificateSettings(starts=1, eigenvalue_tolerance=0.1))
    if isinstance(bound, str):
        assert found.kernel_rank_bound is None and bound in found.declined["kernel_rank_bound"]
    else:
        assert found.kernel_rank_bound == bound and max(found.kernel_rank) <= bound


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"regularization": Regularization(kernel=0.1, bias=0.1, readout=0.1, kernel_depth=0.1)}, "H¹ term"),
        ({"intervals": 2}, "several steps per control"),
    ],
)
def test_what_does_not_apply_is_declined_by_name(spaces, options, reason):
    """Fails if a number is given where the principle does not hold; the other conditions are answered all the same."""
    problem = make_problem(
        spaces("interval", 2, 1), **{"layers": 4, "intervals": 4, "regularization": PENALTIES, **options}
    )
    found = assess_optimality(ScaledFunctional(problem.functional), problem.moved())
    assert found.maximum_principle_gap is None and found.hamiltonian_drift is None
    assert reason in found.declined["maximum_principle_gap"]
    assert found.kkt_residual > 0 and found.lowest_hessian_eigenvalue is not None


def test_conditions_in_a_box(spaces):
    """Fails if a multiplier has the wrong sign or bound, the Hessian is not reduced to the free entries, or the gap
    leaves the box: against a dense Hessian by differences of the gradient, and projected gradients by NumPy."""
    scaled = six_samples(spaces("interval", 2, 1), "tracking")
    upper = scaled.to_scaled(np.full(scaled.control_space.local_size, 0.2))
    settings = OptimizerSettings(method="bntr", max_iterations=500, gradient_tolerance=1e-10)
    x = minimize(scaled, 0 * upper, settings, scaled_bounds=(-upper, upper)).scaled_solution
    found = assess_optimality(scaled, scaled.to_controls(x), (-upper, upper))
    g = scaled.evaluate(x)[1]
    lower_active, upper_active = x <= -upper * (1 - 1e-12), x >= upper * (1 - 1e-12)
    held = (lower_active & (g > 1e-9)) | (upper_active & (g < -1e-9))
    assert 3 < held.sum() < len(x)
    assert np.linalg.norm(g[~held]) < 1e-8 and found.gradient_norm < 1e-8 and found.kkt_residual < 1e-8
    active = found.active_bounds
    assert (active["lower"], active["upper"], active["weak"]) == (lower_active.sum(), upper_active.sum(), 0)
    assert active["norm"] == pytest.approx(np.linalg.norm(g[held]), rel=1e-9) and active["free"] == (~held).sum()
    h, free = 1e-5, np.flatnonzero(~held)
    columns = [
        (scaled.evaluate(x + h * e)[1] - scaled.evaluate(x - h * e)[1])[free] / (2 * h) for e in np.eye(len(x))[free]
    ]
    assert found.lowest_hessian_eigenvalue == pytest.approx(np.linalg.eigvalsh(np.array(columns))[0], rel=1e-6)
    assert found.local_minimum == "a local minimiser" and found.maximum_principle == "no lower Hamiltonian found"
    assert found.maximum_principle_gap < 1e-12


def test_a_box_that_keeps_a_better_basin_out():
    """Fails if the box is left in the search for a lower Hamiltonian: the basin that refutes the stationary point of
    `demos/gap.toml` begins below w = −1; with |w| ≤ 0.5 Pontryagin's principle has less to say, and a scan by NumPy of
    each layer's Hamiltonian over the box gives the gap."""
    scaled, data = problem_with_a_gap(), {"initial": (1.0, -3.0), "target": (-1.0, -4.0), "horizon": 0.1, "alpha": 0.02}
    bound = scaled.to_scaled(np.full(10, 0.5))
    settings = OptimizerSettings(method="bntr", max_iterations=100, gradient_tolerance=0.0, absolute_tolerance=1e-9)
    report = minimize(scaled, scaled.to_scaled(np.full(10, 0.2)), settings, scaled_bounds=(-bound, bound))
    w = scaled.to_controls(report.scaled_solution)
    found = assess_optimality(scaled, w, (-bound, bound))
    grid, f, states = np.linspace(-0.5, 0.5, 100_001), np.array([1.0, -3.0]), []
    for v in w:
        states.append(f)
        f = f + 0.01 * np.tanh(v * f)
    p, gap = (f - data["target"]) / 2, 0.0
    for v, state in zip(w[::-1], states[::-1], strict=True):

        def hamiltonian(u, p=p, state=state):
            return p[0] * np.tanh(u * state[0]) + p[1] * np.tanh(u * state[1]) + 0.01 * u**2

        gap += 0.01 * (hamiltonian(v) - hamiltonian(grid).min())
        p = p * (1 + 0.01 * v / np.cosh(v * state) ** 2)
    assert found.maximum_principle_gap == pytest.approx(gap, rel=1e-6, abs=1e-12)
    assert numpy_neuron(w[:, None], **data)[0] == pytest.approx(found.objective, rel=1e-13)


def test_a_box_without_a_penalty():
    """Fails if the Hamiltonian of bounded controls is declined for want of a penalty: one linear layer, no penalty,
    |w| ≤ 0.5: H = p w f is smallest at the upper bound, for f(T) stays below its target."""
    scaled = one_neuron((1.0,), (2.0,), layers=1, horizon=1.0, alpha=0.0, activation="identity")
    found = assess_optimality(scaled, np.array([0.2]), (np.array([-0.5]), np.array([0.5])))
    assert found.maximum_principle_gap == pytest.approx(0.8 * 0.3, rel=1e-8)  # p = f(T) − 2 = −0.8
    assert found.lowest_change == pytest.approx(0.5 * (0.5**2 - 0.8**2), rel=1e-8)
    at = assess_optimality(scaled, np.array([0.5]), (np.array([-0.5]), np.array([0.5])))
    assert at.maximum_principle_gap == 0.0 and at.local_minimum == "a local minimiser"
    free = assess_optimality(scaled, np.array([0.2]))
    assert "regularization.kernel = 0" in free.declined["maximum_principle_gap"]


@pytest.mark.parametrize(("stretched", "verdict"), [(1.1, "not a local minimiser"), (1 + 1e-5, "a local minimiser")])
def test_a_control_near_a_minimum(spaces, stretched, verdict):
    """Fails if a control is called the minimiser that a Newton step away is, or a trained one is not: an optimum
    stretched by a tenth, and by a hundred-thousandth."""
    scaled = closed_form_problem(spaces("interval", 2, 1), 4)
    best = optimum(scaled)
    found = assess_optimality(scaled, stretched * best)
    assert found.local_minimum == verdict and found.newton_contraction < 0.5
    assert found.newton_distance == pytest.approx((stretched - 1) * scaled.norm(scaled.to_scaled(best)), rel=0.3)
    assert found.maximum_principle == ("not optimal" if stretched > 1.01 else "optimal up to its gradient")


def test_joint_minimisation_finds_what_rows_do(spaces):
    """Fails if a stage, a weight or the penalty is missing in the joint Hamiltonian: where rows can be minimised one by
    one, both find the same values and the same gap."""
    penalty = Regularization(kernel=0.2, bias=0.3)
    options = {
        "samples": 3,
        "loss": "tracking",
        "layers": 2,
        "intervals": 2,
        "scheme": "heun",
        "regularization": penalty,
    }
    problem = make_problem(spaces("interval", 3, 1), **options)
    x, by_rows, jointly = problem.moved(size=2.0), Extremals(problem.functional), JointHamiltonian(problem.functional)
    by_rows.sweep(x)
    jointly.sweep(x)
    one, (other, _) = by_rows.minimize(Search(starts=4)), jointly.minimize(Search(starts=4))
    np.testing.assert_allclose(other.values, one.values, rtol=1e-12)
    np.testing.assert_allclose(other.gaps, one.gaps, rtol=1e-7)


def test_certificate_in_galerkin_mode(spaces):
    """Fails if the gap in Galerkin mode is not that of the forms with full quadrature: for σ = id it is
    ‖∇_w J‖²/(2α_w) + ‖∇_b J‖²/(2α_b), with the norms of L², and at the optimum all conditions hold."""
    scaled = closed_form_problem(spaces("interval", 2, 1, "galerkin"), 3)
    x = scaled.control_space.random_direction(3)
    settings = CertificateSettings(starts=2, eigenvalue_tolerance=1e-3)
    found = assess_optimality(scaled, x, settings=settings)
    assert found.maximum_principle_gap == pytest.approx(found.gradient_norm**2 / (2 * 0.7), rel=1e-6)
    assert found.maximum_principle in ("not optimal", "optimal up to its gradient") and found.lowest_change < -0.1
    at = assess_optimality(scaled, optimum(scaled), settings=settings)
    assert at.local_minimum == "a local minimiser" and 0 <= at.maximum_principle_gap < 1e-10
    assert at.hamiltonian_drift < found.hamiltonian_drift and at.maximum_principle == "no lower Hamiltonian found"


@pytest.mark.parametrize("name", ["relu", "leaky_relu"])
def test_no_curvature_at_a_kink(name):
    """Fails if a network whose preactivations all stand at a kink of σ is given a Hessian: at w = 0 the principle has a
    gap ten times J, and inserting its minimisers lowers J."""
    scaled = one_neuron((1.0, 2.0), (3.0, 5.0), layers=4, horizon=1.0, alpha=0.01, activation=name)
    found = assess_optimality(scaled, np.zeros(4))
    assert found.local_minimum == "not decided" and found.lowest_hessian_eigenvalue is None
    assert "8 of 8 preactivations stand at a kink" in found.local_minimum_reason
    assert found.maximum_principle == "not optimal" and found.lowest_change < -0.5
    away = assess_optimality(scaled, np.full(4, 0.8))
    assert away.lowest_hessian_eigenvalue is not None


@pytest.mark.parametrize(
    ("name", "expression", "targets", "jump"),
    [
        ("sign", ufl.sign, (-1.0, -4.0), True),
        ("small kink", lambda s: 1e-4 * ufl.max_value(s, 0.0), (3.0, -1.0), True),
        ("steep", lambda s: 1e3 * ufl.tanh(s), (3.0, -1.0), False),
    ],
)
def test_no_curvature_at_a_jump_or_small_kink(name, expression, targets, jump):
    """Fails if the size of σ decides whether it has a kink, or if a σ that jumps passes for smooth since its slopes are
    the same on both sides: any w ≠ 0 then has a lower J, by NumPy's one step from the states 1 and −3."""
    activation = Activation(name=name, expression=expression)
    scaled = one_neuron((1.0, -3.0), targets, layers=2, horizon=0.1, alpha=1e-6, activation=activation)
    found = assess_optimality(scaled, np.zeros(2))
    assert ("stand at a kink or jump" in found.local_minimum_reason) == jump
    assert (found.local_minimum == "not decided") == jump


@pytest.mark.parametrize("mode", ["collocated", "galerkin"])
def test_a_hamiltonian_without_minimum_has_no_gap(spaces, mode):
    """Fails if a gap is measured although H falls without bound, or if the search for it ends in an overflow:
    σ = s³ and costates that do not vanish; along any ray H is p c³ + ½c², which one of both directions lowers."""
    activation = Activation(name="s³", expression=lambda s: s**3)
    options = {"loss": "tracking", "layers": 2, "intervals": 2, "samples": 2, "scheme": "euler"}
    weights = Regularization(kernel=1.0, bias=1.0)
    problem = make_problem(spaces("interval", 2, 1, mode), activation=activation, regularization=weights, **options)
    found = assess_optimality(ScaledFunctional(problem.functional), problem.moved(size=0.1))
    assert found.maximum_principle is None and found.maximum_principle_gap is None
    assert "falls without bound" in found.declined["maximum_principle_gap"]
    tanh = make_problem(spaces("interval", 2, 1, mode), regularization=weights, **options)
    bounded = assess_optimality(ScaledFunctional(tanh.functional), tanh.moved(size=0.1))
    assert bounded.maximum_principle_gap is not None


def test_an_open_gap_at_the_global_minimum_refutes_nothing():
    """Fails if a gap beyond some share of J refutes: four layers of 1/2, J = 0.0431634 the lowest of SciPy's BFGS from
    the 2⁴ points of a grid, gap 0.1117; the remainders of the insertions are larger, and no insertion lowers J."""
    data = {name: SHORT_OF_LAYERS[name] for name in ("initial", "target", "horizon", "alpha")}
    best = lowest_by_bfgs(data, [-0.5, 2.0], layers=4)
    assert best.fun == pytest.approx(0.0431634, abs=1e-7)
    found = assess_optimality(one_neuron(**SHORT_OF_LAYERS), best.x)
    assert found.maximum_principle_gap == pytest.approx(0.1117, abs=1e-4)
    assert found.maximum_principle == "within O(Δt)" and found.gap_remainder > found.maximum_principle_gap
    assert found.lowest_change > -found.objective_round_off and found.local_minimum == "a local minimiser"


def test_a_small_gap_refutes_where_j_falls():
    """Fails if a gap small against J passes for none: J = 204.99583 with a gap of 0.0279, and a point by SciPy at
    204.97507."""
    samples = np.array([0.0, 0.5, 1.0])
    first, last = 1 - 4 * samples + 4 * samples * (1 - samples), -1 - 3 * samples + 150 * samples * (1 - samples)
    data = {"initial": first, "target": last, "horizon": 0.1, "alpha": 0.0133333}
    here, lower = (lowest_by_bfgs(data, [w], layers=10) for w in (0.2, -4.0))
    assert here.fun == pytest.approx(204.99583, abs=1e-5) and lower.fun == pytest.approx(204.97507, abs=1e-5)
    found = assess_optimality(one_neuron(layers=10, **data), here.x)
    assert found.maximum_principle_gap < 2e-4 * found.objective
    assert found.maximum_principle == "not optimal" and found.lowest_change < 0.99 * (lower.fun - here.fun)


def lowest_by_bfgs(data: dict, grid: list[float], layers: int):
    """The lowest end of SciPy's BFGS from a grid: constant controls for more than four layers, else all points."""
    points = [[w] * layers for w in grid] if layers > 4 else list(product(grid, repeat=layers))
    ends = [
        minimize_by_scipy(lambda w: numpy_neuron(w[:, None], **data)[0], p, method="BFGS", options={"gtol": 1e-9})
        for p in points
    ]
    return min(ends, key=lambda end: end.fun)


def test_rank_of_a_kernel_of_known_rank(spaces):
    """Fails if singular values are not those of the operator in L²(Y): w = u ⊗ v + 1e-3 u' ⊗ v' has the rank 2, and the
    second relative singular value is 1e-3 for orthonormal pairs."""
    from fem_selection.kernels import DenseKernel

    space = spaces("interval", 4, 2)
    y = space.coordinates[:, 0]
    pairs = np.stack([np.ones_like(y), y - space.weights @ y], axis=1)
    pairs /= np.sqrt(space.weights @ pairs**2)
    kernel = DenseKernel(space, 1)
    w = np.outer(pairs[:, 0], pairs[:, 1]) + 1e-3 * np.outer(pairs[:, 1], pairs[:, 0])
    kernel.assign(w.T.ravel().copy())
    ranks, values = kernel_ranks(kernel)
    assert ranks == [2]
    assert values[0][1] == pytest.approx(1e-3, rel=1e-9)
