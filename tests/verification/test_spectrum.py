# SPDX-License-Identifier: MIT
"""Spectra of linearizations against closed forms and dense matrices, and the verdicts on them."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
import scipy.special
from cases import CELLWISE, HALVES, build_equation
from dense import identity, mass_matrix, mass_root

from fem_selection.kernels import DenseKernel, KernelOperator
from fem_selection.linalg import staircase
from fem_selection.linalg.balanced import balanced_spectrum, balancing_exponents
from fem_selection.linalg.factors import factorize
from fem_selection.linalg.krylov import leading_eigenpairs
from fem_selection.linalg.operators import (
    SymmetricPart,
    adjoint,
    products,
    random_block,
)
from fem_selection.linalg.orthonormal import orthonormalize
from fem_selection.steady.stability import spectrum as spectrum_module
from fem_selection.steady.stability.growth import measure_growth
from fem_selection.steady.stability.nonnormality import numerical_abscissa
from fem_selection.steady.stability.spectrum import analyze_spectrum
from fem_selection.steady.stability.verdict import judge

SPACES = [("interval", 9, 2, "collocated"), ("interval", 9, 2, "galerkin"), ("triangle", 4, 1, "galerkin")]


def make(kernel, activation="tanh", cells=12, parameters=None, bias="0", factors=None, **space):
    """The equation with this kernel, dense, or with these factors, separable."""
    kernels = {"kernel": kernel} if factors is None else {"representation": "separable", "factors": factors}
    dynamics = {"activation": activation, "bias": bias, **kernels}
    return build_equation(dynamics, cells=cells, space=space, parameters=parameters)


def at_zero(kernel, activation="tanh", number=6, **options):
    """The spectrum of the linearization at 0."""
    problem = make(kernel, activation, **options)
    return analyze_spectrum(problem.field, problem.space.create_block(1), number)


@pytest.mark.parametrize("key", SPACES, ids=lambda key: "-".join(map(str, key)))
def test_orthonormal_blocks_and_adjoints(spaces, key):
    """Fails if QR or the adjoint are those of another inner product than L², or if R is not the triangle of Y = Q R."""
    space = spaces(*key)
    y = random_block(space, 4, 1)
    y[:, 3] = y[:, 0] + 1e-9 * y[:, 1]
    q, r = orthonormalize(space, y)
    np.testing.assert_allclose(products(space, q, q), np.eye(4), atol=1e-12)
    np.testing.assert_allclose(q @ r, y, atol=1e-12)
    assert np.all(np.diag(r) >= 0) and np.all(np.tril(r, -1) == 0)
    stacked, triangles = orthonormalize(space, np.stack([y, 2.0 * y[:, ::-1]]))
    np.testing.assert_allclose(stacked[0], q, atol=1e-12)
    np.testing.assert_allclose(stacked[1] @ triangles[1], 2.0 * y[:, ::-1], atol=1e-12)
    operator = KernelOperator(DenseKernel.random(space, 1, 1.0, seed=3))
    a, b = random_block(space, 2, 5), random_block(space, 2, 6)
    np.testing.assert_allclose(
        products(space, operator.apply(a), b), products(space, a, adjoint(space, operator, b)), rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize("key", SPACES, ids=lambda key: "-".join(map(str, key)))
def test_factors_are_the_singular_value_decomposition(spaces, key):
    """Fails if the range that random blocks find is not all of it, or if the values are not those in L²."""
    space = spaces(*key)
    operator = KernelOperator(DenseKernel.random(space, 1, 1.0, seed=3))
    factors = factorize(space, operator)
    dense, mass, root = operator.apply(identity(space)), mass_matrix(space), mass_root(space)
    wanted = np.linalg.svd(root @ dense @ np.linalg.inv(root), compute_uv=False)
    np.testing.assert_allclose(factors.values, wanted, atol=1e-12 * wanted[0])
    rebuilt = factors.left @ np.diag(factors.values) @ factors.right.T @ mass
    np.testing.assert_allclose(rebuilt, dense, atol=1e-11)
    assert factors.is_complete


@pytest.mark.parametrize("representation", ["dense", "separable"])
@pytest.mark.parametrize("mode", ["collocated", "galerkin"])
def test_separable_spectrum_is_that_of_the_small_matrix(mode, representation):
    """w = Σ u_r ⊗ v_r: the nonzero eigenvalues are those of (∫ v_r σ' u_s), by both routes, to 1e-10.

    Fails if σ' is left out or taken at another state, or if Krylov–Schur leaves a factor of the inner product in.
    """
    kernel = "sin(3*y)*exp(z) - 2*cos(y)*z + y*y*cos(4*z)"
    factors = [["sin(3*y)", "exp(z)"], ["-2*cos(y)", "z"], ["y*y", "cos(4*z)"]]
    problem = make(kernel, degree=3, mode=mode, factors=factors if representation == "separable" else None)
    space = problem.space
    y = space.coordinates
    f = np.asfortranarray(0.3 * np.cos(2 * y))
    linearization = problem.field.linearize(f)
    u = np.asfortranarray(np.hstack([np.sin(3 * y), -2 * np.cos(y), y**2]))
    v = np.asfortranarray(np.hstack([np.exp(y), y, np.cos(4 * y)]))
    moved = space.create_block(3)
    slopes = np.broadcast_to(linearization.slope, (len(linearization.slope), 3))
    problem.field.superposition.move(slopes, None, u, out=moved, turn=None)
    small = np.linalg.eigvals(products(space, v, moved))
    small = small[np.lexsort((-small.imag, -small.real))]
    found = analyze_spectrum(problem.field, f)
    np.testing.assert_allclose(found.values, small, atol=1e-10)
    np.testing.assert_allclose(found.residuals, 0.0, atol=1e-12)
    assert (found.rank, found.rank_of_square) == (3, 3)
    krylov = leading_eigenpairs(space, linearization, 3, norm=found.norm)
    for value in small[small.real > 1e-8]:
        assert np.min(np.abs(krylov.values - value)) < 1e-10
    assert np.all(krylov.residuals < 1e-10)
    assert found.krylov_schur_difference < 1e-10


def test_numerical_range_beyond_the_factors(spaces):
    """An operator of too large a rank: Krylov–Schur alone, against LAPACK.

    Fails if the shell's variable is not undone, or if a complex pair is cut.
    """
    space = spaces("interval", 30, 2)
    kernel = DenseKernel.random(space, 1, 3.0, seed=2)
    operator = KernelOperator(kernel)
    dense = np.linalg.eigvals(operator.apply(identity(space)))
    wanted = np.sort(dense.real)[::-1]
    found = leading_eigenpairs(space, operator, 5, norm=5.0)
    assert abs(found.values.imag.sum()) < 1e-12
    np.testing.assert_allclose(found.values.real[:5], wanted[:5], atol=1e-9)
    incomplete = factorize(space, operator, max_rank=20)
    assert not incomplete.is_complete
    symmetric = leading_eigenpairs(space, SymmetricPart(space, operator), 1, norm=5.0)
    root = np.sqrt(space.weights)
    scaled = root[:, None] * operator.apply(identity(space)) / root
    assert symmetric.values[0].real == pytest.approx(np.linalg.eigvalsh(0.5 * (scaled + scaled.T))[-1], rel=1e-10)


@pytest.mark.parametrize("cells", [60, 1500])
def test_diffusion_shows_its_largest_real_parts(cells):
    """K = D Δ + 1/2 with nodal quadrature: λ_k = 1/2 − 2 D (1 − cos kπh)/h², the cosines its eigenvectors, ‖K‖ ~ h⁻².

    Fails if eigenvalues are chosen by their modulus, as those of a compact operator are, if Krylov–Schur is left alone
    with a spectrum of which the wanted part is 10⁻⁷ of ‖K‖, or if the resolvent is turned back wrongly.
    """
    problem = build_equation({"representation": "local", "multiplication": "0.5", "diffusion": "0.3"}, cells=cells)
    zero = problem.space.create_block(1)
    found = analyze_spectrum(problem.field, zero, 5)
    wanted = 0.5 - 0.6 * cells**2 * (1 - np.cos(np.pi * np.arange(5) / cells))
    np.testing.assert_allclose(found.leading.real, wanted, atol=1e-11 * found.norm)
    np.testing.assert_allclose(found.leading.imag, 0.0, atol=1e-11 * found.norm)
    assert np.all(found.residuals < 1e-10 * found.norm)
    linearization = problem.field.linearize(zero)
    abscissa = numerical_abscissa(problem.space, linearization, found.norm, factors=found.factors)
    assert abscissa == pytest.approx(0.5, abs=1e-11 * found.norm)
    assert judge(found, False).kind == "unstable"


def advected(cells, diffusion, multiplication="-1", **space):
    """K = D Δ ± ∂_y + multiplication without flux, and the state 0."""
    coefficients = {"multiplication": multiplication, "diffusion": str(diffusion), "convection": "1"}
    problem = build_equation({"representation": "local", **coefficients}, cells=cells, space=space)
    return problem, problem.space.create_block(1)


@pytest.mark.parametrize("mode", ["collocated", "galerkin"])
def test_strong_convection_far_from_normal(mode):
    """K = D Δ ± ∂_y − 1 without flux: λ_0 = −1, λ_k = −1 − 1/4D − D k²π², of condition e^{1/2D} = 10^21 in L².

    Fails if round-off of ‖K‖ in an L² basis, which that condition turns into anything, passes for eigenvalues or sets
    them to zero, or if modes are scaled back from balanced coordinates, where round-off has what e^{−1/2D} leaves.
    """
    d = 0.01
    problem, zero = advected(100, d, degree=2, mode=mode)
    found = analyze_spectrum(problem.field, zero, 5)
    wanted = -1.0 - np.array([0.0, *(1 / (4 * d) + d * (np.pi * k) ** 2 for k in range(1, 5))])
    np.testing.assert_allclose(found.leading.real, wanted, rtol=3e-3)
    np.testing.assert_allclose(found.leading.imag, 0.0, atol=1e-6)
    assert found.method == "balanced matrix" and (found.rank, found.rank_of_square) == (201, 201)
    assert np.all(found.residuals < 1e-8 * found.norm) and np.all(found.uncertainties[:5] < 0.1)
    verdict = judge(found, False)
    assert verdict.kind == "stable" and verdict.rate == pytest.approx(-1.0, abs=1e-9)
    growth = measure_growth(
        problem.field,
        zero,
        found.leading[:3],
        modes=found.modes[:, :3],
        duals=found.duals[:, :3],
        norm=found.norm,
        max_steps=500,
    )
    np.testing.assert_allclose(growth.measured.real, wanted[:3], rtol=3e-3)


def test_growth_that_convection_carries_away():
    """A bump of growth in a stream: K = D Δ ± ∂_y + m is similar to D Δ + m − 1/4D, a symmetric operator.

    Fails if eigenvalues are lost among those of round-off.
    """
    d, m = 0.01, "60*exp(-((y - 0.5)/0.3)**2)"
    problem, zero = advected(80, d, m, degree=2)
    found = analyze_spectrum(problem.field, zero, 3)
    n = 2000
    y = (np.arange(n) + 0.5) / n
    main = 60 * np.exp(-(((y - 0.5) / 0.3) ** 2)) - 1 / (4 * d) - 2 * d * n**2
    main[[0, -1]] += d * n**2  # the walls are far from the bump
    wanted = scipy.linalg.eigvalsh_tridiagonal(main, np.full(n - 1, d * n**2), select="i", select_range=(n - 6, n - 1))
    np.testing.assert_allclose(found.values.real[:6], wanted[::-1], rtol=1e-2)
    assert np.all(found.residuals < 1e-10 * found.norm)


def test_krylov_schur_of_strong_convection(monkeypatch):
    """Many nodes: what Krylov–Schur finds are numbers for which (A − λ)⁻¹ is large, and no eigenvalues.

    Fails if a verdict rests on them.
    """
    monkeypatch.setattr(spectrum_module, "_LARGEST_MATRIX", 10)
    problem, zero = advected(190, 0.003, "100*exp(-((y - 0.5)/0.2)**2) - 1", degree=2)
    found = analyze_spectrum(problem.field, zero, 3, max_rank=40)
    assert not found.is_complete and found.uncertainties[0] > 0.1 * abs(found.values[0])
    verdict = judge(found, False)
    assert verdict.kind == "undecided" and "far from normal" in verdict.sentence
    calm, zero = advected(190, 1.0, degree=2)
    found = analyze_spectrum(calm.field, zero, 3, max_rank=40)
    assert found.uncertainties.max() < 1e-3 and judge(found, False).kind == "stable"


@pytest.mark.parametrize("seed", [0, 1])
def test_balancing_makes_the_frobenius_norm_least(seed):
    """Fails if Newton's method stops at another diagonal than the least, or overflows on the way."""
    rng = np.random.default_rng(seed)
    symmetric = rng.standard_normal((30, 30))
    symmetric += symmetric.T
    exponents = np.cumsum(rng.uniform(0.0, 2.0, 30))  # e^30 between the ends
    band = np.abs(np.subtract.outer(np.arange(30), np.arange(30))) <= 2
    matrix = np.where(band, symmetric * np.exp(np.subtract.outer(exponents, exponents)), 0.0)
    found = balancing_exponents(matrix)
    np.testing.assert_allclose(found, exponents - exponents.mean(), atol=1e-2)


class Shift:
    """f ↦ (0, f_0, f_1, …) on the nodes from left to right: nilpotent, of rank N − 1."""

    def __init__(self, space):
        self.order = np.argsort(space.coordinates[:, 0])

    def apply(self, v):
        """Shifts to the right."""
        result = np.zeros_like(v, order="F")
        result[self.order[1:]] = v[self.order[:-1]]
        return result

    def apply_transpose(self, dual):
        """Shifts to the left."""
        result = np.zeros_like(dual, order="F")
        result[self.order[:-1]] = dual[self.order[1:]]
        return result


def test_balancing_keeps_the_rank(spaces):
    """Fails if entries without a counterpart are scaled away, as the least sum of squares would have it."""
    space = spaces("interval", 20, 1)
    found = balanced_spectrum(space, Shift(space), 1e-10, cosine=1e-8)
    assert (found.rank, found.rank_of_square) == (20, 19)
    np.testing.assert_allclose(found.values, 0.0, atol=1e-14)


@pytest.mark.parametrize(
    ("kernel", "multiplication", "kind"),
    [
        ("where(y < 0.5, where(z > 0.5, 1, 0), 0)", "where(y < 0.25, -1, 0)", "linear growth"),
        # the jump lies between the nodes, so that the matrix is nilpotent
        ("where(z < y - 0.025, 1, 0)", "where(y < 0.5, 0, -1)", "subexponential growth"),
        ("cos(2*pi*y)*cos(4*pi*z)", "0", "linear growth"),
    ],
)
def test_one_way_couplings_beside_a_local_part(kernel, multiplication, kind):
    """What one part of Y does to another that does nothing back: growth like t, or, of Volterra's kernel on the half
    without damping, faster than any power of t; with real parts of at most zero.

    Fails if the ranks of A and A² are those of a matrix whose couplings were scaled away, or if a local part of zero
    leads away from the factors, which know a nilpotent kernel.
    """
    dynamics = {"representation": "local + dense", "kernel": kernel, "multiplication": multiplication}
    problem = build_equation({**dynamics, "local_terms": ["multiplication"]}, cells=20, space=CELLWISE)
    verdict = judge(analyze_spectrum(problem.field, problem.space.create_block(1)), False)
    assert verdict.kind == kind


def test_verdict_unstable_with_frequency():
    """The rank-two kernel with a Hopf point at a = 0.9, at a = 1: λ = 0.05 ± i √2.0975.

    Fails if the halves are not normalised or if the sentence names another rate.
    """
    found = at_zero(HALVES, **CELLWISE, parameters={"a": 1.0})
    np.testing.assert_allclose(found.values, 0.05 + 1j * np.sqrt(2.0975) * np.array([1, -1]), atol=1e-12)
    verdict = judge(found, True)
    assert (verdict.kind, verdict.rate) == ("unstable", pytest.approx(0.05))
    assert "rate 0.05" in verdict.sentence and "frequency 1.448" in verdict.sentence


@pytest.mark.parametrize(
    ("kernel", "kind", "words"),
    [
        ("1", "unstable", "rate 1:"),
        ("-1", "stable modulo kernel", "kernel of dimension 12 of 13: numerical rank 1"),
        ("-exp(-(y - z)**2)", "stable modulo kernel", "no exponential rate is uniform"),
        ("sin(2*pi*(y - z))", "neutral", "±0.5 i on the imaginary axis"),
        ("sin(pi*y)*cos(pi*z)", "linear growth", "rank A² = 0 < rank A = 1"),
        ("where(z < y, 1, 0)", "subexponential growth", "quasi-nilpotent"),
        ("0", "neutral", "the linearization is zero"),
    ],
)
def test_verdicts_at_zero_by_kernel(kernel, kind, words):
    """Fails if noise about a zero eigenvalue passes for growth (Volterra's kernel: its computed eigenvalues
    mean nothing), if a kernel passes for a rate, or if a nilpotent part is overlooked."""
    verdict = judge(at_zero(kernel, cells=12 if "where" not in kernel else 20), True)
    assert verdict.kind == kind
    assert words in verdict.sentence


def test_verdict_where_the_slope_vanishes():
    """ReLU at a state where K f + b < 0 on half of Y: the linearization is silent there.

    Fails if the kernel of A that comes from σ' = 0 is taken for ker K.
    """
    problem = make("-1", "relu", bias="where(y < 0.5, -1, 1)")
    found = analyze_spectrum(problem.field, problem.space.create_block(1))
    assert judge(found, True).kind == "undecided"


@pytest.mark.parametrize("mode", ["collocated", "galerkin"])
def test_verdict_at_a_kink(mode):
    """ReLU where K f + b = 0 on half of Y: σ' is 0 on one side and 1 on the other, and nothing is linear.

    K = ±1: perturbations with ∫ v > 0 have the rate ±½ (for −1 those that are negative), the others rest.  Fails if
    round-off in g decides between stable and unstable.
    """
    problem = make("1", "relu", bias="where(y < 0.5, -1, 1e-14*sin(50*y))", mode=mode)
    found = analyze_spectrum(problem.field, problem.space.create_block(1))
    assert found.kinks >= 6 and judge(found, True).kind == "unstable"
    assert (found.sides.above, found.sides.below) == (pytest.approx(0.5, abs=0.05), 0.0)
    problem = make("-1", "relu", bias="where(y < 0.5, -1, 1e-14*sin(50*y))", mode=mode)
    found = analyze_spectrum(problem.field, problem.space.create_block(1))
    assert judge(found, True).kind == "undecided" and "there is no linearization" in judge(found, True).sentence
    problem = make("1", "tanh", bias="where(y < 0.5, -1, 0)", mode=mode)
    assert analyze_spectrum(problem.field, problem.space.create_block(1)).kinks == 0


def test_verdict_at_a_kink_everywhere():
    """ReLU at K f + b = 0: σ' as it is evaluated there is zero. Fails if that passes for a linearization."""
    assert judge(at_zero("-1", "relu"), True).kind == "undecided"
    assert judge(at_zero("1", "relu"), True).rate == pytest.approx(1.0)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("mode", ["collocated", "galerkin"])
def test_leaky_relu_has_a_rate_on_each_side(sign, mode):
    """K = ±u ⊗ u at 0, u = 1 + y: c' = ±∫ u σ(c u) for c = ∫ u f, so that the rates are ±‖u‖² and ±0.01 ‖u‖².

    Fails if one side's slope passes for the derivative.
    """
    found = at_zero(f"{sign}*(1 + y)*(1 + z)", "leaky_relu", cells=40, mode=mode)
    assert (found.sides.above, found.sides.below) == (
        pytest.approx(sign * 7 / 3, rel=1e-3),
        pytest.approx(sign * 0.01 * 7 / 3, rel=1e-3),
    )
    assert judge(found, True).kind == ("unstable" if sign > 0 else "stable modulo kernel")


@pytest.mark.parametrize(("power", "size"), [(2, 1e-6), (3, 1e-3)])
@pytest.mark.parametrize("mode", ["collocated", "galerkin"])
def test_verdict_at_a_multiple_zero(power, size, mode):
    """σ = s², s³ near s = 0, where Newton's method ends: σ' is small there, and its sign that of the error.

    Fails if stability or growth is read off it. At a simple zero nothing of this is claimed.
    """
    problem = make("-1", f"s**{power}", bias=str(size), mode=mode)
    found = analyze_spectrum(problem.field, problem.space.create_block(1))
    assert found.flat == 1.0 and judge(found, True).kind == "neutral"
    simple = make("-1", f"s + s**{power}", bias=str(size * 1e-4), mode=mode)
    found = analyze_spectrum(simple.field, simple.space.create_block(1))
    assert found.flat == 0.0 and judge(found, True).kind == "stable modulo kernel"


def test_verdict_with_one_node():
    """One cell: K has no kernel on this mesh; fails if one is claimed."""
    verdict = judge(at_zero("-2", cells=1, **CELLWISE), True)
    assert verdict.kind == "stable" and verdict.rate == pytest.approx(-2.0)
    assert "0 belongs to its spectrum" in verdict.sentence


def test_eigenvalues_converge_with_the_mesh():
    """The eigenvalue of a rank-one kernel, an integral: order 2p in h in collocated mode.

    Fails if the quadrature weights are not those of the mesh.
    """
    errors = []
    for cells in (4, 8, 16):
        found = at_zero("exp(-y)*cos(2*z)", cells=cells, degree=2)
        exact = (np.exp(-1) * (2 * np.sin(2) - np.cos(2)) + 1) / 5
        errors.append(abs(found.values[0].real - exact))
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.all((orders > 3.9) & (orders < 4.4))


THIRDS = "where(y < 1/3, where(z < 1/3, 0, where(z < 2/3, 1, 0)), where(y < 2/3, where(z < 2/3, 0, 1), 0))"
"""[[0, 1, 0], [0, 0, 1], [0, 0, 0]] on thirds of Y: K is this matrix divided by 3."""


@pytest.mark.parametrize("cells", [12, 60])
def test_growth_of_a_jordan_block_is_the_power_that_it_is(cells):
    """‖e^{tA}‖ ~ (t/3)²/2. Fails if staircase ranks stop at A², or if round-off of e^{tA} passes for a bound."""
    verdict = judge(at_zero(THIRDS, cells=cells, **CELLWISE), True)
    assert verdict.kind == "polynomial growth" and "like t^2" in verdict.sentence
    assert verdict.growth.power == 2 and verdict.growth.coefficient == pytest.approx(1 / 18, rel=1e-3)


def test_defective_pair_on_the_imaginary_axis():
    """A = [[R, I], [0, R]], R a rotation, on quarters of Y: e^{tA} = [[e^{tR}, t e^{tR}], [0, e^{tR}]].

    Fails if eigenvalues that round-off splits by 1e-8 pass for growth, or for a neutral pair.
    """
    rows = [[0, 1, 1, 0], [-1, 0, 0, 1], [0, 0, 0, 1], [0, 0, -1, 0]]
    cells = [f"where(z < 0.25, {r[0]}, where(z < 0.5, {r[1]}, where(z < 0.75, {r[2]}, {r[3]})))" for r in rows]
    kernel = f"4*where(y < 0.25, {cells[0]}, where(y < 0.5, {cells[1]}, where(y < 0.75, {cells[2]}, {cells[3]})))"
    verdict = judge(at_zero(kernel, cells=8, **CELLWISE), True)
    assert verdict.kind == "linear growth" and "±1 i are not semisimple" in verdict.sentence
    assert verdict.growth.coefficient == pytest.approx(1.0, rel=1e-3)
    simple = kernel.replace("where(z < 0.75, 1, 0)", "where(z < 0.75, 0, 0)").replace("0.75, 0, 1)", "0.75, 0, 0)", 1)
    assert judge(at_zero(simple, cells=8, **CELLWISE), True).kind != "unstable"


VOLTERRA = "where(z < y, 1, where(z == y, 0.5, 0))"


def test_volterra_kernel_grows_slower_than_exponentially():
    """‖e^{tV}‖ = e^{2√t + O(log t)}, beside eigenvalues h/4, h/2 of the mesh, which lie in the pseudospectrum of 0.

    Fails if they pass for growth rates, if the largest real part is called 0, or if the mesh's own growth e^{ht/2} is
    read as the continuum's.
    """
    coarse, fine = (at_zero(VOLTERRA, cells=cells) for cells in (64, 128))
    assert coarse.values.size == 0 and coarse.degenerate.radius < 0.05
    verdict = judge(coarse, True, fine)
    assert verdict.kind == "subexponential growth" and verdict.growth.power == pytest.approx(0.55, abs=0.05)
    curve = coarse.degenerate.curve
    for t in (20.0, 100.0):
        # at f = 1: Σ (t y)^k / k!², whose norm is a lower bound
        k = np.arange(80)
        terms = np.exp(k * np.log(t) - 2 * scipy.special.gammaln(k + 1))
        y = (np.arange(2000) + 0.5) / 2000
        least = np.sqrt(np.mean((y[:, None] ** k @ terms) ** 2))
        found = np.exp(np.interp(t, curve.times, np.log(curve.norms)))
        assert 0.95 * least < found < 5 * np.exp(2 * np.sqrt(t))


def test_volterra_kernel_with_a_minus_is_a_contraction():
    """−V: f(t) = J₀(2√(t y)) from 1; its symmetric part is −½ 1 ⊗ 1. Fails if round-off decides on its eigenvalues."""
    for cells in (12, 64):
        found = judge(at_zero(f"-{VOLTERRA}", cells=cells), True)
        assert found.kind == "contraction" and found.growth.law == "contraction"


def test_kernel_of_large_rank_on_many_nodes():
    """−e^{−|y−z|}: λ = −2/(1 + ω²), ω the roots of tan ω = 2ω/(ω² − 1); all singular values count on 421 nodes.

    Fails if Krylov–Schur is sent to look for eigenvalues where they accumulate.
    """
    found = at_zero("-exp(-abs(y - z))", cells=420)
    first = scipy.optimize.brentq(lambda w: 2 * w * np.cos(w) - (w * w - 1) * np.sin(w), 1.0, 1.6)
    assert found.method == "factors" and found.rank == 421
    assert found.values[-1].real == pytest.approx(-2 / (1 + first**2), rel=1e-5)
    assert found.shown[0] == 0 and judge(found, True).kind == "stable"  # the dominant eigenvalue is in the table


@pytest.mark.parametrize("sign", [-1, 1])
def test_compact_part_of_a_kernel_on_too_many_nodes(monkeypatch, sign):
    """More nodes than LAPACK is asked for: the leading triplets, and what they leave out.

    Fails if what is left out is no upper bound, if eigenvalues within it are claimed, or if nothing is reported.
    """
    monkeypatch.setattr(spectrum_module, "MAX_WHOLE", 100)
    kernel = f"{sign}*exp(-abs(y - 0.9*z))"
    found = spectrum_of(kernel, 150, max_rank=40)
    exact = spectrum_of(kernel, 150, max_rank=151)
    assert found.method == "truncated factors" and exact.method == "factors"
    left_out = exact.factors.values[found.factors.values.size]
    assert left_out < found.unresolved < 20 * left_out
    for value, bar in zip(found.leading, found.uncertainties[list(found.shown)], strict=True):
        assert np.min(np.abs(exact.values - value)) <= bar
    verdict = judge(found, True)
    assert verdict.kind == ("unstable" if sign > 0 else "stable")
    assert sign > 0 or "not resolved" in verdict.sentence


def spectrum_of(kernel, cells, max_rank):
    """The spectrum at 0, with this limit of the rank."""
    problem = make(kernel, cells=cells)
    return analyze_spectrum(problem.field, problem.space.create_block(1), max_rank=max_rank)


@pytest.mark.parametrize(
    ("a", "kind", "rate", "intervals"),
    [
        ("y - 0.5", "unstable", 0.5, [(-0.5, 0.5)]),
        ("-1 - y", "stable", -1.0, [(-2.0, -1.0)]),
        ("-y", "neutral", 0.0, [(-1.0, 0.0)]),
        ("-2", "stable", -2.0, [(-2.0, -2.0)]),
        ("where(y < 0.5, -1 - y, -4 - y)", "stable", -1.0, [(-5.0, -4.5), (-1.5, -1.0)]),
    ],
)
@pytest.mark.parametrize("cells", [32, 1500])
def test_multiplication_has_a_continuous_spectrum(a, kind, rate, intervals, cells):
    """K f = a f has the values of a as its spectrum, and no eigenvalue where a is not constant.

    Fails if the mesh's eigenvalues, one at each node, are listed, or if a gap is filled.
    """
    problem = build_equation({"representation": "local", "multiplication": a}, cells=cells)
    found = analyze_spectrum(problem.field, problem.space.create_block(1))
    verdict = judge(found, False)
    assert found.leading.size == 0
    assert verdict.kind == kind and verdict.rate == pytest.approx(rate, abs=1e-9)
    np.testing.assert_allclose(found.essential.intervals, intervals, atol=0.04)
    assert ("continuous" in verdict.sentence) == (a != "-2")


def test_eigenvalue_beside_a_continuous_spectrum():
    """K = −(1 + y) + 3 · 1⊗1: 1 = 3 ∫ dy/(λ + 1 + y) = 3 log((λ + 2)/(λ + 1)).

    Fails if the eigenvalue is lost in the interval, or numbers of the interval are listed.
    """
    dynamics = {"representation": "local + dense", "multiplication": "-1 - y", "kernel": "3"}
    problem = build_equation(dynamics, cells=64)
    found = analyze_spectrum(problem.field, problem.space.create_block(1))
    wanted = scipy.optimize.brentq(lambda v: 3 * np.log((v + 2) / (v + 1)) - 1, -0.99, 10)
    (value,) = found.leading
    assert value.real == pytest.approx(wanted, abs=1e-3) and judge(found, False).kind == "unstable"
    assert found.essential.name.startswith("continuous spectrum [-2, -1]")


@pytest.mark.parametrize("scale", ["1", "1e4", "1e-4"])
def test_blocks_on_the_axis_are_found_in_every_unit_of_time(scale):
    """Fails if a block of size three at ±i is called neutral where round-off happens to split it by little."""
    wave, one = [[0.0, 1.0], [-1.0, 0.0]], np.eye(2)
    matrix = np.kron(np.eye(3), wave) + np.kron(np.diag([1.0, 1.0], 1), one)
    kernel = f"({scale})*({blocks_of(matrix)})"
    found = judge(at_zero(kernel, "identity", cells=24, **CELLWISE), is_compact=True)
    assert found.kind == "polynomial growth" and found.growth.power == 2
    assert found.growth.coefficient == pytest.approx(0.5 * float(scale) ** 2, rel=0.02)


def test_powers_that_oscillate_are_measured_over_more_octaves():
    """Fails if the factor of t is read off a fit that failed: ‖e^{tA}‖/t is between its extremes for a dense matrix."""
    wave = np.array([[0.0, 1.0], [-1.0, 0.0]])
    matrix = scipy.linalg.block_diag(
        [[0.0, 1.0], [0.0, 0.0]], np.kron(np.eye(2), wave) + np.kron([[0, 1], [0, 0]], np.eye(2))
    )
    change = np.random.default_rng(5).normal(size=(6, 6))
    matrix = change @ matrix @ np.linalg.inv(change)
    found = judge(at_zero(blocks_of(1e4 * matrix), "identity", cells=24, **CELLWISE), is_compact=True)
    times = np.linspace(300.0, 400.0, 40)
    ratios = [np.linalg.norm(scipy.linalg.expm(t * matrix), 2) / t for t in times]
    assert found.kind == "linear growth"
    assert min(ratios) * 0.95e4 < found.growth.coefficient < max(ratios) * 1.05e4


def blocks_of(matrix):
    """A kernel that is the matrix on functions constant on equal parts of Y."""
    n = len(matrix)

    def choose(values, x):
        text = values[-1]
        for k in range(n - 2, -1, -1):
            text = f"where({x}<{k + 1}/{n},{values[k]},{text})"
        return text

    return f"{n}*{choose([choose([repr(float(value)) for value in row], 'z') for row in matrix], 'y')}"


def test_an_eigenvalue_zero_beside_an_essential_spectrum_is_named():
    """Fails if −f + e^y ∫ e^{−z} f, which leaves e^y as it is, counts as decaying at the rate 1."""
    dynamics = {
        "activation": "identity",
        "representation": "local + dense",
        "local_terms": ["multiplication"],
        "multiplication": "-1",
        "kernel": "exp(y - z)",
    }
    problem = build_equation(dynamics, cells=30)
    found = judge(analyze_spectrum(problem.field, problem.space.create_block(1), 6), is_compact=False)
    assert found.kind == "stable modulo kernel" and "dimension 1" in found.sentence


def test_a_double_eigenvalue_does_not_oscillate():
    """Fails if the imaginary part that round-off gives to a double eigenvalue is called a frequency."""
    found = judge(at_zero(blocks_of([[0.5, 1.0], [0.0, 0.5]]), "identity", cells=24, **CELLWISE), is_compact=True)
    assert found.kind == "unstable" and "oscillating" not in found.sentence


def test_the_staircase_ends():
    """Fails if a kernel whose matrix has a block at 0 as large as the mesh takes a decomposition for each node."""
    n = 200
    shift = np.diag(np.ones(n - 1), 1)
    left, sizes, right = np.linalg.svd(shift)
    rank = n - 1
    cosines = right[:rank] @ left[:, :rank]
    found = staircase.nullities_at_zero(cosines, sizes[:rank], n, cosine=1e-8)
    assert found == (1,) * staircase.DEEPEST
