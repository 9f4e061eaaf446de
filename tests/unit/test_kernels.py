# SPDX-License-Identifier: MIT
"""The contract of kernels, for every kernel, and the dense kernel against independent routes to K f."""

from __future__ import annotations

import numpy as np
import pytest
import ufl
from dolfinx import fem
from mpi4py import MPI
from problems import KERNELS, LINEAR_KERNELS, smooth_states

from fem_selection.discretization.coefficients import UflKernel, kernel_values
from fem_selection.discretization.depth import DepthGrid
from fem_selection.discretization.elements import create_element
from fem_selection.discretization.meshes import domains
from fem_selection.errors import InvalidInput
from fem_selection.functions.formulas import parse_formula
from fem_selection.kernels import (
    DenseKernel,
    Kernel,
    KernelDirection,
    LocalKernel,
    SeparableKernel,
    SumKernel,
)
from fem_selection.kernels.base import OperatorByParameters
from fem_selection.settings.names import LOCAL_TERMS

INTERVALS = 3
SPACES = [
    ("interval", 4, 2, "collocated"),
    ("interval", 4, 2, "galerkin"),
    ("triangle", 2, 3, "galerkin"),
    ("interval", 3, 1, "galerkin", "dg"),
]
MODES = SPACES[:2]


@pytest.fixture(scope="module", params=SPACES, ids=lambda key: "-".join(map(str, key)))
def space(request, spaces):
    """Elements of both families, on intervals and triangles."""
    return spaces(*request.param)


@pytest.fixture(params=KERNELS)
def make(request, space):
    """A function (seed, intervals) to a kernel of each kind."""
    return lambda seed=1, intervals=INTERVALS: KERNELS[request.param](space, intervals, seed)


def apply(kernel, interval, block):
    """K f."""
    out = np.full(block.shape, np.nan, order="F")
    kernel.apply(interval, block, out)
    return out


def transpose(kernel, interval, dual):
    """The transpose of K on a dual."""
    out = np.zeros(dual.shape, order="F")
    kernel.add_transpose(interval, dual, 1.0, out=out)
    return out


# ── the contract ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_kernel_has_the_protocol(make):
    """Fails if a kernel lacks a method or its parameters do not survive `assign`, or are not a copy."""
    kernel = make()
    assert isinstance(kernel, Kernel)
    theta = kernel.parameters()
    assert theta.shape == (kernel.num_parameters,)
    theta *= 2.0
    assert not np.array_equal(kernel.parameters(), theta)
    kernel.assign(theta)
    np.testing.assert_array_equal(kernel.parameters(), theta)


def test_kernel_is_linear_in_the_block(make, space):
    """Fails if `apply` is not linear, or treats the columns of a block differently."""
    kernel = make()
    f, g = smooth_states(space, slice(0, 3)), smooth_states(space, slice(5, 8))
    for c in range(INTERVALS):
        combined = apply(kernel, c, np.asfortranarray(2 * f - 3 * g))
        np.testing.assert_allclose(combined, 2 * apply(kernel, c, f) - 3 * apply(kernel, c, g), rtol=1e-12, atol=1e-12)
        one = apply(kernel, c, np.asfortranarray(f[:, 1:2]))
        np.testing.assert_allclose(one[:, 0], apply(kernel, c, f)[:, 1], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", KERNELS)
def test_linear_in_the_parameters_or_not(space, name):
    """Fails if K(θ) is not linear in θ where it says so, or says so where it is not, or an interval reads another
    interval's parameters."""
    first, second, mixed = (KERNELS[name](space, INTERVALS, seed) for seed in (1, 2, 3))
    f = smooth_states(space, slice(0, 3))
    assert first.is_linear == (name in LINEAR_KERNELS)
    assert not np.allclose(apply(first, 0, f), apply(first, 1, f))
    theta = first.parameters()
    for view in first.by_interval(theta):
        assert view.shape[0] == INTERVALS
        view[1] = 0.0
    mixed.assign(theta)
    np.testing.assert_array_equal(apply(mixed, 1, f), 0.0)
    np.testing.assert_array_equal(apply(mixed, 2, f), apply(first, 2, f))
    mixed.assign(2 * first.parameters() - 3 * second.parameters())
    for c in range(INTERVALS):
        wanted = 2 * apply(first, c, f) - 3 * apply(second, c, f)
        same = np.allclose(apply(mixed, c, f), wanted, rtol=1e-12, atol=1e-12)
        assert same == first.is_linear


def test_direction_is_the_derivative_of_the_operator(make, space):
    """Fails if K'(θ)δθ is not the derivative of K, its transpose not its adjoint, it does not add, or it belongs to
    parameters that the kernel had earlier.  K is a polynomial of degree two in θ at most, so that central differences
    are exact to round-off."""
    kernel, theta, h = make(3), make(1).parameters(), make(2).parameters()
    direction = kernel.create_direction()
    assert isinstance(direction, KernelDirection)
    direction.assign(h)
    kernel.assign(theta)
    f, q = smooth_states(space, slice(0, 3)), smooth_states(space, slice(4, 7), 1.0)
    moved, ends = apply(direction, 1, f), []
    np.testing.assert_allclose(np.vdot(moved, q), np.vdot(f, transpose(direction, 1, q)), rtol=1e-12)
    for target in (
        lambda out: direction.apply(1, f, out, keep=True),
        lambda out: direction.add_transpose(1, f, 0.5, out=out),
    ):
        out = q.copy(order="F")
        target(out)
        assert not np.allclose(out, q)
        again = np.zeros_like(q, order="F")
        target(again)
        np.testing.assert_allclose(out, q + again, rtol=1e-12, atol=1e-12)
    for sign in (1, -1):
        kernel.assign(theta + sign * h)
        ends.append(apply(kernel, 1, f))
    np.testing.assert_allclose(moved, (ends[0] - ends[1]) / 2, rtol=1e-11, atol=1e-11)


def test_second_pullback_is_the_derivative_of_the_pullback(make, space):
    """Fails if ∂²_θθ⟨K F, Q⟩ δθ lacks a factor or belongs to another interval; exact, since the pullback is affine."""
    kernel, h = make(1), make(2).parameters()
    theta, direction = kernel.parameters(), kernel.create_direction()
    direction.assign(h)
    f, q = smooth_states(space, slice(0, 3)), smooth_states(space, slice(4, 7), 1.0)
    found, ends = kernel.create_pullback(), []
    direction.add_second_pullback(1, q, f, scale=0.5, out=found)
    for sign in (1, -1):
        kernel.assign(theta + sign * h)
        pullback = kernel.create_pullback()
        kernel.add_pullback(1, q, f, scale=0.5, out=pullback)
        ends.append(kernel.parameter_dual(pullback))
    wanted = (ends[0] - ends[1]) / 2
    np.testing.assert_allclose(kernel.parameter_dual(found), wanted, atol=1e-12 * np.abs(ends[0]).max())
    assert np.any(wanted != 0.0) != kernel.is_linear


@pytest.mark.parametrize("samples", [3, 100])
def test_transpose_is_the_adjoint(make, space, samples):
    """Fails if ⟨K F, Q⟩ ≠ ⟨F, Kᵀ Q⟩, or the transpose does not add, or belongs to earlier parameters."""
    kernel, f = make(), smooth_states(space, slice(0, samples))
    q = smooth_states(space, slice(4, 4 + samples), 1.0)
    transpose(kernel, 1, q)
    kernel.assign(make(2).parameters())
    for c in range(INTERVALS):
        left, right = np.vdot(apply(kernel, c, f), q), np.vdot(f, transpose(kernel, c, q))
        assert left == pytest.approx(right, rel=1e-12)
    out = f.copy(order="F")
    kernel.apply(1, q, out, keep=True)
    np.testing.assert_allclose(out, f + apply(kernel, 1, q), rtol=1e-13, atol=1e-13)
    out = f.copy(order="F")
    kernel.add_transpose(1, q, 0.5, out=out)
    np.testing.assert_allclose(out, f + 0.5 * transpose(kernel, 1, q), rtol=1e-13, atol=1e-13)


def test_pullback_is_the_derivative_in_the_parameters(make, space):
    """Fails if the summed pullbacks are not ∂_θ Σ_c ⟨K(θ_c) F, Q⟩."""
    kernel, h = make(1), make(2).parameters()
    direction = kernel.create_direction()
    direction.assign(h)
    f, q = smooth_states(space, slice(0, 3)), smooth_states(space, slice(4, 7), 1.0)
    pullback = kernel.create_pullback()
    scales = (1.0, -2.0, 0.5)
    for c, scale in enumerate(scales):
        kernel.add_pullback(c, q, f, scale=scale, out=pullback)
        kernel.add_pullback(c, f, f, scale=scale, out=pullback)  # a second one adds
    dual = kernel.parameter_dual(pullback)
    assert dual.shape == (kernel.num_parameters,)
    factor, buffer = kernel.operator_factor(), np.ones(kernel.num_parameters)
    assert factor is None or space.is_collocated
    if factor is not None:
        shared = kernel.create_pullback(buffer)
        shared += pullback
        np.testing.assert_allclose(factor * buffer, dual, rtol=1e-15)
        direction.assign_operator(factor * h)
        again = make(2)
        again.assign_operator(factor * h)
        np.testing.assert_array_equal(apply(again, 1, f), apply(make(2), 1, f))
        np.testing.assert_allclose(again.parameters(), h, rtol=1e-15)
    elif isinstance(kernel, OperatorByParameters):
        with pytest.raises(TypeError, match="use assign"):
            kernel.assign_operator(h)
    wanted = sum(scale * np.vdot(apply(direction, c, f), q + f) for c, scale in enumerate(scales))
    assert dual @ h == pytest.approx(wanted, rel=1e-12)

    theta, step = kernel.parameters(), 1e-3
    ends = []
    for sign in (1, -1):
        kernel.assign(theta + sign * step * h)
        ends.append(sum(scale * np.vdot(apply(kernel, c, f), q + f) for c, scale in enumerate(scales)))
    assert dual @ h == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-10)


def test_metric_is_symmetric_positive_and_inverted_by_riesz(make):
    """Fails if the Gram matrix of kernels is not symmetric positive definite or `riesz` is not its inverse."""
    kernel = make(1)
    u, v = kernel.parameters(), make(2).parameters()
    assert u @ kernel.apply_mass(v) == pytest.approx(v @ kernel.apply_mass(u), rel=1e-12)
    assert u @ kernel.apply_mass(u) > 0
    scale = np.abs(u).max()
    np.testing.assert_allclose(kernel.riesz(kernel.apply_mass(u)), u, atol=1e-12 * scale)
    np.testing.assert_allclose(kernel.apply_mass(kernel.riesz(u)), u, atol=1e-12 * scale)
    assert np.all(kernel.lumped_mass() > 0)
    assert kernel.lumped_mass().shape == (kernel.num_parameters,)


def test_canonical_indices_are_distinct(make):
    """Fails if two parameters share their place in the order that random directions and checkpoints follow."""
    kernel = make()
    indices = kernel.canonical_indices()
    assert indices.shape == (kernel.num_parameters,)
    assert len(np.unique(indices)) == kernel.num_parameters == kernel.num_global_parameters
    assert (indices.min(), indices.max()) == (0, kernel.num_global_parameters - 1)


# ── the separable kernel ──────────────────────────────────────────────────────────────────────────────────────────────


def as_dense(kernel):
    """The dense kernel with the values Σ_r u_r(y_i) v_r(z_k), on one rank."""
    dense = DenseKernel(kernel.space, kernel.num_intervals)
    dense.assign(np.stack([(u @ v.T).T for u, v in kernel.factors]).ravel())
    return dense


def test_separable_kernel_is_the_dense_one_of_its_values(space):
    """Fails if a factor meets the wrong mass or a pair is lost."""
    kernel = SeparableKernel.random(space, INTERVALS, 3, scale=1.0, seed=1)
    dense, f = as_dense(kernel), smooth_states(space, slice(0, 4))
    for c in range(INTERVALS):
        np.testing.assert_allclose(apply(kernel, c, f), apply(dense, c, f), rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(transpose(kernel, c, f), transpose(dense, c, f), rtol=1e-12, atol=1e-13)


def test_separable_kernel_of_functions(spaces):
    """Fails if factors are exchanged, sampled at other times, or a formula is read in another variable than y."""
    space, grid = spaces("interval", 4, 2, "collocated"), DepthGrid(layers=4, horizon=2.0, intervals=2)
    factors = [(parse_formula("t*sin(y)", ("t", "y")), 2.0), (lambda t, y: y[0], lambda t, y: np.exp(t * y[0]))]
    kernel = SeparableKernel.interpolate(space, factors, grid)
    y = space.coordinates[:, 0]
    for (u, v), t in zip(kernel.factors, (0.5, 1.5), strict=True):
        np.testing.assert_allclose(u, np.column_stack([t * np.sin(y), y]), rtol=1e-14)
        np.testing.assert_allclose(v, np.column_stack([np.full_like(y, 2.0), np.exp(t * y)]), rtol=1e-14)


@pytest.mark.parametrize("mode", ["collocated", "galerkin"])
def test_random_separable_kernel_has_the_stated_scale(spaces, mode):
    """Fails if K f grows with the rank or with refinement, factors are of different norms, or the seed is ignored."""
    for cells in (40, 160):
        space = spaces("interval", cells, 1, mode)
        f = smooth_states(space, slice(0, 1))
        for rank in (2, 8):
            kernel = SeparableKernel.random(space, 100, rank, scale=0.5, seed=1)
            values = np.stack([apply(kernel, c, f) for c in range(100)])
            assert values.std() == pytest.approx(0.5 * space.norm(f)[0], rel=0.25)
            norms = np.array([[np.sum(space.norm(np.asfortranarray(g)) ** 2) for g in pair] for pair in kernel.factors])
            assert norms[:, 0].mean() == pytest.approx(norms[:, 1].mean(), rel=0.35)
    other = SeparableKernel.random(space, 100, 8, scale=0.5, seed=2)
    assert not np.array_equal(kernel.parameters(), other.parameters())


def test_separable_kernel_needs_a_rank(spaces):
    """Fails if a kernel without factors is made, which would be zero without a word."""
    with pytest.raises(InvalidInput, match="rank of a separable kernel = 0: expected a whole number, at least 1"):
        SeparableKernel(spaces("interval", 4, 2, "collocated"), 1, 0)


def roots(space):
    """S with M = S² of the consistent mass matrix, on one rank."""
    mass = space.mass_columns
    values, vectors = np.linalg.eigh(np.diag(mass) if space.is_collocated else mass.toarray())
    return (vectors * np.sqrt(values)) @ vectors.T


def test_compression_is_the_truncated_singular_value_decomposition(space):
    """Fails if singular values are taken in another inner product than L²(Y × Y), the error is not that of the result,
    or more are kept than a tolerance needs: against LAPACK's decomposition of M^{1/2} W M^{1/2}."""
    y = space.coordinates
    w = np.exp(-4 * (y[:, None, 0] - y[None, :, 0] ** 2) ** 2 + y[None, :, -1])
    dense, s = DenseKernel(space, 2), roots(space)
    dense.assign(np.stack([w.T, 0.01 * w]).ravel())
    for tolerance in (0.3, 1e-2, 1e-6):
        kernel, error = dense.compress(tolerance)
        again, error_again = kernel.compress(tolerance=1e-14)
        errors = []
        for c, matrix in enumerate(dense.weights):
            exact = np.linalg.svd(s @ matrix @ s, compute_uv=False)
            tails = np.sqrt(np.append(np.cumsum(exact[::-1] ** 2)[::-1], 0.0))
            u, v = kernel.factors[c]
            kept = np.count_nonzero(np.abs(u).max(axis=0))
            assert kept == max(1, np.flatnonzero(tails <= tolerance * tails[0])[0])
            errors.append(np.linalg.norm(s @ (matrix - u @ v.T) @ s))
            assert errors[-1] <= tolerance * tails[0]
            assert errors[-1] == pytest.approx(tails[kept], rel=1e-6, abs=1e-13 * tails[0])
            for gram in (u.T @ space.apply_mass(u), v.T @ space.apply_mass(v)):
                np.testing.assert_allclose(np.diag(gram)[:kept], exact[:kept], rtol=1e-6)
                np.testing.assert_allclose(gram - np.diag(np.diag(gram)), 0.0, atol=1e-12 * exact[0])
        assert error == pytest.approx(max(errors), rel=1e-9)
        assert again.rank == kernel.rank and error_again < 1e-13
    kernel, error = dense.compress(rank=2)
    assert kernel.rank == 2
    tails = [np.linalg.svd(s @ m @ s, compute_uv=False)[2:] for m in dense.weights]
    assert error == pytest.approx(max(np.linalg.norm(t) for t in tails), rel=1e-9)


def test_compression_of_separable_kernels(space):
    """Fails if factors that are not orthogonal, or dependent, are cut as they stand: against the dense route."""
    parts = SeparableKernel.random(space, 2, 3, scale=1.0, seed=4).factors
    kernel = SeparableKernel.from_factors(
        space, [(np.column_stack([u, u[:, :1]]), np.column_stack([v, 2 * v[:, :1]])) for u, v in parts]
    )
    assert kernel.rank == 4
    for cut in ({"rank": 2}, {"tolerance": 0.5}, {"tolerance": 1e-9}):
        (a, error_a), (b, error_b) = kernel.compress(**cut), as_dense(kernel).compress(**cut)
        assert a.rank == b.rank
        np.testing.assert_allclose(as_dense(a).parameters(), as_dense(b).parameters(), atol=1e-9)
        assert error_a == pytest.approx(error_b, rel=1e-8, abs=1e-12)
    assert a.rank == 3 and error_a < 1e-12


def test_compression_of_nothing_and_to_nothing(space):
    """Fails if the zero kernel is divided by its norm, or a cut is asked for that says nothing or too much."""
    kernel, error = DenseKernel(space, 2).compress(1e-3)
    assert (kernel.rank, kernel.num_intervals, error) == (1, 2, 0.0)
    for wrong in ({}, {"rank": 2, "tolerance": 0.1}, {"rank": 0}, {"tolerance": -1.0}):
        with pytest.raises(InvalidInput, match="compression to"):
            kernel.compress(**wrong)


# ── the local kernel ──────────────────────────────────────────────────────────────────────────────────────────────────

LOCAL_SPACES = [
    ("interval", 4, 3, "collocated"),
    ("interval", 4, 2, "galerkin"),
    ("quadrilateral", 2, 2, "collocated"),
    ("triangle", 2, 1, "collocated"),
    ("triangle", 2, 2, "galerkin"),
    ("hexahedron", 1, 1, "collocated"),
]


@pytest.fixture(scope="module", params=LOCAL_SPACES, ids=lambda key: "-".join(map(str, key)))
def local_space(request, spaces):
    """Spaces with gradients, in one to three dimensions."""
    return spaces(*request.param)


def test_local_kernel_is_its_form(local_space):
    """Fails if (K f, φ) or its derivative in the coefficients is not the assembled form of the space's own measure: a
    sign, a direction, other quadrature points, a reference gradient that is not mapped."""
    space = local_space
    kernel = KERNELS["local"](space, 1, 3)
    functions = [space.function(values) for values in kernel.coefficients[0]]
    a, *beta, diffusion = functions
    f, g = (smooth_states(space, slice(k, k + 2)) for k in (0, 5))
    kf, phi = apply(kernel, 0, f), ufl.TestFunction(space.V)
    pullback, dual = kernel.create_pullback(), 0.0
    kernel.add_pullback(0, space.apply_mass(g), f, scale=1.0, out=pullback)
    derivatives = np.split(kernel.parameter_dual(pullback), len(functions))
    for j in range(2):
        u, v = space.function(f[:, j]), space.function(g[:, j])

        def form(u, v, a=a, beta=beta, diffusion=diffusion):
            convection = sum(b * u.dx(k) for k, b in enumerate(beta))
            return (a * u * v + convection * v - diffusion * ufl.dot(ufl.grad(u), ufl.grad(v))) * space.dx

        wanted = fem.assemble_vector(fem.form(form(u, phi))).array
        np.testing.assert_allclose(space.apply_mass(kf)[:, j], wanted, atol=1e-12 * np.abs(wanted).max())
        dual += np.array([fem.assemble_vector(fem.form(ufl.derivative(form(u, v), c, phi))).array for c in functions])
    np.testing.assert_allclose(derivatives, dual, atol=1e-12 * np.abs(dual).max())


def test_local_kernel_differentiates(spaces):
    """Fails if a coefficient has the wrong sign or power, or the boundary is not the natural one: K f is
    (a + β ∂ + D ∂²) f for polynomials that the elements hold, with ∂f = 0 at both ends."""
    space = spaces("interval", 4, 4, "galerkin")
    y = space.coordinates[:, 0]
    kernel = LocalKernel.interpolate(
        space, {"multiplication": 2.0, "convection": 0.5, "diffusion": 0.1}, DepthGrid(layers=1)
    )
    f = y**2 * (3 - 2 * y)
    wanted = 2 * f + 0.5 * 6 * y * (1 - y) + 0.1 * 6 * (1 - 2 * y)
    found = apply(kernel, 0, np.asfortranarray(f[:, None]))[:, 0]
    np.testing.assert_allclose(found, wanted, atol=1e-11)
    only = LocalKernel.interpolate(space, {"diffusion": lambda t, y: 1 + y[0]}, DepthGrid(layers=1))
    flux = space.apply_mass(apply(only, 0, smooth_states(space, slice(0, 3))))
    np.testing.assert_allclose(flux.sum(axis=0), 0.0, atol=1e-12)


def test_local_kernel_of_one_coefficient_for_all_directions(spaces):
    """Fails if one convection coefficient is not taken for every direction, or a list in another order."""
    space = spaces("quadrilateral", 2, 2, "collocated")
    grid = DepthGrid(layers=1)
    one = LocalKernel.interpolate(space, {"convection": 2.0}, grid)
    two = LocalKernel.interpolate(space, {"convection": [2.0, 0.5]}, grid)
    assert one.names == two.names == ("convection_0", "convection_1")
    f = np.asfortranarray(space.coordinates @ [[1.0], [10.0]])
    np.testing.assert_allclose(apply(one, 0, f), 22.0, rtol=1e-12)
    np.testing.assert_allclose(apply(two, 0, f), 7.0, rtol=1e-12)
    with pytest.raises(InvalidInput, match="3 coefficients where 2"):
        LocalKernel.interpolate(space, {"convection": [1.0, 2.0, 3.0]}, grid)


def test_inner_product_of_local_coefficients(spaces):
    """Fails if a coefficient is weighed by a wrong power of the length."""
    space = spaces("interval", 4, 2, "galerkin")
    kernel = LocalKernel.interpolate(space, dict.fromkeys(LOCAL_TERMS, 1.0), DepthGrid(layers=1), length=0.5)
    one = kernel.parameters()
    for weighed in (kernel.apply_mass(one), kernel.lumped_mass()):
        np.testing.assert_allclose(weighed.reshape(3, -1).sum(axis=1), [1.0, 4.0, 16.0], rtol=1e-12)


def test_local_kernels_that_make_no_sense(spaces):
    """Fails if a gradient is taken of functions that jump, or unknown terms pass."""
    with pytest.raises(InvalidInput, match=r"convection and diffusion of family 'dg'.*continuous elements"):
        LocalKernel(spaces("interval", 3, 1, "galerkin", "dg"), 1)
    space = spaces("interval", 4, 2, "collocated")
    for terms in ((), ("reaction",), ("diffusion", "diffusion")):
        with pytest.raises(InvalidInput, match="choose from"):
            LocalKernel(space, 1, terms)
    with pytest.raises(InvalidInput, match="must be positive"):
        LocalKernel(space, 1, length=0.0)


# ── sums ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_sum_is_the_sum(space):
    """Fails if a part is left out, twice there, or reads the parameters of another."""
    parts = [KERNELS[name](space, 2, 3) for name in ("local", "separable", "dense")]
    kernel, f = parts[0] + parts[1] + parts[2], smooth_states(space, slice(0, 3))
    assert isinstance(kernel, SumKernel) and len(kernel.parts) == 3
    np.testing.assert_array_equal(kernel.parameters(), np.concatenate([part.parameters() for part in parts]))
    others = [KERNELS[name](space, 2, 4) for name in ("local", "separable", "dense")]
    kernel.assign(np.concatenate([part.parameters() for part in others]))
    for act in (apply, transpose):
        np.testing.assert_allclose(act(kernel, 1, f), sum(act(part, 1, f) for part in others), rtol=1e-12, atol=1e-12)
    assert not kernel.is_linear and (parts[0] + parts[2]).is_linear


def test_sparse_operator_is_the_local_part(spaces):
    """Fails if L, (K_local f, φ) = L f, is divided by the mass, lacks a part of the sum, or is not renewed."""
    for mode in ("collocated", "galerkin"):
        space = spaces("interval", 4, 2, mode)
        first, second = (KERNELS["local"](space, 2, seed) for seed in (1, 2))
        kernel, f = first + DenseKernel(space, 2) + second, smooth_states(space, slice(0, 1))
        assert (first + DenseKernel(space, 2)).sparse_operator(1) is first.sparse_operator(1)
        assert (DenseKernel(space, 2) + SeparableKernel(space, 2, 1)).sparse_operator(1) is None
        for factor in (1.0, -2.0):
            kernel.assign(factor * kernel.parameters())
            matrix = kernel.sparse_operator(1)
            x, y = matrix.createVecRight(), matrix.createVecLeft()
            x.array[:] = f[:, 0]
            matrix.mult(x, y)
            np.testing.assert_allclose(y.array, space.apply_mass(apply(kernel, 1, f))[:, 0], rtol=1e-11, atol=1e-12)
            assert kernel.sparse_operator(1).handle == matrix.handle


def test_sums_that_make_no_sense(space):
    """Fails if parts of other intervals, or the same part twice, are added."""
    kernel = DenseKernel(space, 2)
    with pytest.raises(InvalidInput, match="same number"):
        kernel + DenseKernel(space, 3)
    with pytest.raises(InvalidInput, match="added to itself"):
        kernel + kernel


# ── the dense kernel ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_norm_of_constant_kernels(space):
    """Fails if ⟨1, 1⟩ in L²(Y × Y) is not |Y|² for every interval, by the metric or by the lumped one."""
    kernel = DenseKernel.interpolate(space, 1.0, DepthGrid(layers=INTERVALS))
    one = kernel.parameters()
    assert one @ kernel.apply_mass(one) == pytest.approx(INTERVALS, rel=1e-12)
    assert one @ (kernel.lumped_mass() * one) == pytest.approx(INTERVALS, rel=1e-12)


def test_norm_of_a_product_is_the_product_of_norms(space):
    """Fails if rows and columns of W meet the wrong mass: ‖u ⊗ v‖ = ‖u‖ ‖v‖, and ⟨u ⊗ v, v ⊗ u⟩ = (u, v)²."""
    f = smooth_states(space, slice(0, 2))
    kernel = DenseKernel(space, 1)
    uv, vu = (np.outer(f[:, a], f[:, 1 - a]).T.ravel() for a in (0, 1))
    assert uv @ kernel.apply_mass(uv) == pytest.approx(np.prod(space.norm(f)) ** 2, rel=1e-12)
    cross = space.inner(f[:, :1], f[:, 1:])[0]
    assert uv @ kernel.apply_mass(vu) == pytest.approx(cross**2, rel=1e-12)
    kernel.assign(uv)
    np.testing.assert_allclose(
        apply(kernel, 0, np.asfortranarray(f[:, :1]))[:, 0], f[:, 0] * cross, rtol=1e-12, atol=1e-13
    )


@pytest.mark.parametrize("key", [("interval", 4, 2, "collocated"), ("quadrilateral", 2, 1, "collocated")])
def test_sources_agree(spaces, key):
    """Fails if a callable, a UFL kernel or a formula is sampled at other points, times or with y and z exchanged."""
    space, grid = spaces(*key), DepthGrid(layers=4, horizon=2.0, intervals=2)
    last = space.domain.dimension - 1
    text = f"(1 + t)*exp(-(y0 - z0)**2)*sin(y{last}) + z{last}"
    names = ("t", *(f"{a}{k}" for a in "yz" for k in range(space.domain.dimension)))
    sources = [
        lambda t, y, z: (1 + t) * np.exp(-((y[0] - z[0]) ** 2)) * np.sin(y[last]) + z[last],
        UflKernel(expression=lambda t, y, z: (1 + t) * ufl.exp(-((y[0] - z[0]) ** 2)) * ufl.sin(y[last]) + z[last]),
        parse_formula(text, names),
    ]
    y = space.coordinates
    for source in sources:
        kernel = DenseKernel.interpolate(space, source, grid)
        assert kernel.num_intervals == 2
        for w, t in zip(kernel.weights, (0.5, 1.5), strict=True):
            difference = y[:, None, 0] - y[None, :, 0]
            wanted = (1 + t) * np.exp(-(difference**2)) * np.sin(y[:, None, last]) + y[None, :, last]
            np.testing.assert_allclose(w, wanted, rtol=1e-14, atol=1e-15)


def test_constant_sources_agree(spaces):
    """Fails if a constant kernel depends on whether it is a number, a callable, UFL or a formula."""
    space = spaces("interval", 4, 2, "collocated")
    sources = [
        2.5,
        lambda t, y, z: 2.5,
        UflKernel(expression=lambda t, y, z: ufl.as_ufl(2.5)),
        parse_formula("2.5", ()),
    ]
    for source in sources:
        np.testing.assert_array_equal(kernel_values(space, source), np.full((space.num_local, space.num_nodes), 2.5))


@pytest.mark.parametrize(
    "expression",
    [
        lambda t, y, z: 2.5,
        lambda t, y, z: ufl.exp(-ufl.inner(y - z, y - z)),
        lambda t, y, z: ufl.exp(-ufl.dot(y - z, y - z)),
    ],
    ids=["number", "inner", "dot"],
)
def test_ufl_kernels_as_users_write_them(spaces, expression):
    """Fails if a UFL kernel in vector notation, or one that is a plain number, is not understood."""
    space = spaces("quadrilateral", 2, 1, "collocated")
    y = space.coordinates
    wanted = np.exp(-np.sum((y[:, None] - y[None]) ** 2, axis=-1)) if expression(0, *_vectors(space)) != 2.5 else 2.5
    values = kernel_values(space, UflKernel(expression=expression))
    np.testing.assert_allclose(values, np.broadcast_to(wanted, values.shape), rtol=1e-14)


def _vectors(space):
    return ufl.SpatialCoordinate(space.domain.mesh), ufl.SpatialCoordinate(space.domain.mesh)


def test_values_that_do_not_fill_a_kernel_are_refused(spaces):
    """Fails if a callable that is not vectorised gives a kernel of the wrong shape."""
    with pytest.raises(InvalidInput, match="do not fill"):
        kernel_values(spaces("interval", 4, 2, "collocated"), lambda t, y, z: np.ones(4))


@pytest.mark.parametrize("key", MODES)
def test_matrix_is_the_kernel(spaces, key):
    """Fails if the PETSc matrix is a copy, is transposed, or times the moments M f is not K f."""
    space = spaces(*key)
    kernel = DenseKernel.random(space, 2, 1.0, seed=3)
    f = smooth_states(space, slice(0, 1))
    matrix = kernel.matrix(1)
    moments, result = matrix.createVecRight(), matrix.createVecLeft()
    moments.array[:] = space.apply_mass(f)[:, 0]
    matrix.mult(moments, result)
    np.testing.assert_allclose(result.array, apply(kernel, 1, f)[:, 0], rtol=1e-12, atol=1e-13)

    matrix.setValue(3, 5, 42.0)
    matrix.assemble()
    assert kernel.weights[1][3, 5] == 42.0
    matrix.destroy()
    kernel.assign(kernel.parameters())  # renews the operator
    renewed = kernel.matrix(1)
    renewed.mult(moments, result)
    np.testing.assert_allclose(result.array, apply(kernel, 1, f)[:, 0], rtol=1e-12, atol=1e-13)
    renewed.destroy()


@pytest.mark.parametrize("key", MODES)
def test_action_is_the_double_integral(spaces, key):
    """Fails if (K f, v) is not ∫∫ w(y, z) f(z) v(y) dy dz as dolfinx integrates it on the mesh of Y × Y: the wrong
    mass, y and z exchanged, or a wrong node order."""
    space = spaces(*key)
    cells, p = key[1], key[2]

    def w(t, y, z):
        return np.exp(y[0]) * np.cos(2 * z[0]) + y[0] * z[0] ** 3

    product = domains.rectangle(MPI.COMM_SELF, (cells, cells)).mesh
    V = fem.functionspace(product, create_element("quadrilateral", "lagrange", p))
    metadata = dict(space.dx.metadata())
    dx = ufl.Measure("dx", domain=product, metadata=metadata)
    kernel, f, v = (fem.Function(V) for _ in range(3))
    kernel.interpolate(lambda x: w(0, x[:1], x[1:2]))
    f.interpolate(lambda x: np.sin(1 + x[1]))
    v.interpolate(lambda x: np.cos(3 * x[0]) + x[0])
    wanted = fem.assemble_scalar(fem.form(kernel * f * v * dx))

    dense = DenseKernel.interpolate(space, w, DepthGrid(layers=1))
    y = space.coordinates
    kf = apply(dense, 0, np.asfortranarray(np.sin(1 + y)))
    assert space.inner(kf, np.asfortranarray(np.cos(3 * y) + y))[0] == pytest.approx(wanted, rel=1e-12)


def test_action_converges_to_the_integral(spaces):
    """Fails if K f is not ∫ w f dz: at degree 6 the nodal values agree with a Gauss rule to 1e-10."""
    z, weights = np.polynomial.legendre.leggauss(30)
    z, weights = 0.5 + z / 2, weights / 2
    for mode in ("collocated", "galerkin"):
        space = spaces("interval", 4, 6, mode)
        y = space.coordinates[:, 0]
        wanted = (np.exp(y[:, None] * z) * np.sin(2 * z + 1)) @ weights
        kernel = DenseKernel.interpolate(space, lambda t, y, z: np.exp(y[0] * z[0]), DepthGrid(layers=1))
        computed = apply(kernel, 0, np.asfortranarray(np.sin(2 * y[:, None] + 1)))
        np.testing.assert_allclose(computed[:, 0], wanted, atol=1e-10)


def test_random_operator_has_the_stated_scale(spaces):
    """Fails if entries of A = W M are not of standard deviation scale / √N on a graded mesh, or the seed is ignored."""
    space = spaces("interval", 30, 1, "collocated")
    kernel = DenseKernel.random(space, 4, 0.5, seed=1)
    operator = np.stack([w * space.weights for w in kernel.weights])
    expected = 0.5 / np.sqrt(space.num_nodes)
    assert operator.std() == pytest.approx(expected, rel=5 / np.sqrt(2 * operator.size))
    assert not np.array_equal(DenseKernel.random(space, 4, 0.5, seed=2).parameters(), kernel.parameters())
