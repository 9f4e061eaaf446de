# SPDX-License-Identifier: MIT
"""Linear algebra in L²(Y) against dense matrices: orthonormal blocks, ranges, eigenvalues, norms, compression."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
from mpi4py import MPI

from fem_selection.discretization.depth import DepthGrid
from fem_selection.errors import InvalidInput, NotConverged
from fem_selection.kernels import DenseKernel, KernelOperator, SeparableKernel
from fem_selection.linalg.blas import add_product, add_scaled
from fem_selection.linalg.coordinates import IsometricCoordinates, IsometricOperator
from fem_selection.linalg.eigensolver import Limits, Metric, general_eigenpairs, symmetric_eigenpairs
from fem_selection.linalg.factors import factorize
from fem_selection.linalg.krylov import leading_by_resolvent, leading_eigenpairs
from fem_selection.linalg.norms import operator_norm, skew_part_norm, symmetric_part_maximum
from fem_selection.linalg.operators import products, random_block
from fem_selection.linalg.orthonormal import (
    orthonormal_basis,
    orthonormal_directions,
    orthonormalize,
    outside_of,
    qr_over_ranks,
    singular_directions,
)
from fem_selection.linalg.ranges import find_range
from fem_selection.linalg.singular import expand

LIMITS = Limits(tolerance=1e-12, is_relative=True, max_restarts=200, basis=16)


@pytest.fixture(params=["collocated", "galerkin"])
def space(request, spaces):
    """An interval with 13 nodes, whose mass matrix is far from a multiple of the identity."""
    return spaces("interval", 6, 2, request.param)


def root_of_mass(space):
    """The R with M = Rᵀ R, which makes L² products Euclidean."""
    return np.linalg.cholesky(space.apply_mass(np.eye(space.num_nodes, order="F"))).T


def dense_in_l2(space, operator):
    """R A R⁻¹, whose Euclidean transpose is that of the L² adjoint."""
    root = root_of_mass(space)
    return root @ operator.apply(np.eye(space.num_nodes, order="F")) @ np.linalg.inv(root)


# ── orthonormal blocks ────────────────────────────────────────────────────────────────────────────────────────────────


def test_qr_of_nearly_dependent_columns(space):
    """Fails if orthonormality is lost with the condition of Y, 10¹² here, or is not that of L²; against SciPy's QR."""
    y = random_block(space, 5, 1)
    y[:, 2] *= 1e-8
    y[:, 4] = y[:, 0] + 1e-12 * y[:, 3]
    q, r = orthonormalize(space, y)
    np.testing.assert_allclose(products(space, q, q), np.eye(5), atol=1e-13)
    np.testing.assert_allclose(q @ r, y, rtol=0, atol=1e-13 * np.abs(y).max())
    wanted = scipy.linalg.qr(root_of_mass(space) @ y, mode="r")[0][:5]
    np.testing.assert_allclose(np.diag(r)[:4], np.abs(np.diag(wanted))[:4], rtol=1e-11)
    assert r[4, 4] < 1e-11 * r[0, 0]


def test_a_stack_is_its_blocks_in_turn(space):
    """Fails if blocks of a stack are mixed, or R's diagonal has a negative entry, which has no logarithm."""
    stack = np.stack([random_block(space, 3, seed) for seed in (1, 2)])
    q, r = orthonormalize(space, stack)
    for k, block in enumerate(stack):
        one_q, one_r = orthonormalize(space, np.asfortranarray(block))
        np.testing.assert_allclose(q[k], one_q, atol=1e-13)
        np.testing.assert_allclose(r[k], one_r, atol=1e-13)
        assert np.all(np.diag(r[k]) >= 0)


def test_wide_and_empty_blocks(space):
    """Fails if more columns than nodes, as factors of a high rank are, or none, as those of zero, break the routine."""
    wide = random_block(space, space.num_nodes + 3, 4)
    q, r = orthonormalize(space, wide)
    assert q.shape == (space.num_nodes, space.num_nodes) and r.shape == (space.num_nodes, space.num_nodes + 3)
    np.testing.assert_allclose(q @ r, wide, atol=1e-12)
    q, r = orthonormal_directions(space, space.create_block(0), 1e-13)
    assert q.shape == (space.num_nodes, 0) and r.shape == (0, 0)
    q, r = orthonormal_directions(space, space.create_block(2), 1e-13)
    assert q.shape == (space.num_nodes, 0) and r.shape == (0, 2)


def test_singular_directions_are_those_of_the_dense_block(space):
    """Fails if values are not those of R Y, or directions below a tolerance are kept, or above it dropped."""
    y = random_block(space, 4, 5) * np.array([1.0, 1e-3, 1e-6, 1e-14])
    q, values, v = singular_directions(space, y)
    wanted = np.linalg.svd(root_of_mass(space) @ y, compute_uv=False)
    np.testing.assert_allclose(values, wanted, rtol=1e-8, atol=1e-15 * wanted[0])
    np.testing.assert_allclose(products(space, q, q), np.eye(4), atol=1e-13)
    np.testing.assert_allclose((q * values) @ v, y, atol=1e-13)
    for size in (1.0, 1e-20):
        kept, triangle = orthonormal_directions(space, size * y, 1e-10)
        assert kept.shape[1] == len(triangle) == 3
        np.testing.assert_allclose(kept @ triangle, size * y, rtol=0, atol=1e-10 * size * wanted[0])


def test_a_basis_of_several_blocks(space):
    """Fails if columns that are there already are added again, or what is left keeps a part in the basis."""
    first = random_block(space, 3, 1)
    second = np.asfortranarray(np.hstack([first @ np.ones((3, 1)), random_block(space, 2, 2)]))
    basis = orthonormal_basis(space, [first, space.create_block(0), second], 1e-10)
    assert basis.shape[1] == 5
    np.testing.assert_allclose(products(space, basis, basis), np.eye(5), atol=1e-13)
    for block in (first, second):
        np.testing.assert_allclose(outside_of(space, basis, block), 0.0, atol=1e-13)


def test_qr_without_a_space(rng):
    """Fails if Q R is not the block or Q not orthonormal in the Euclidean product."""
    block = rng.normal(size=(8, 3))
    q, r = qr_over_ranks(MPI.COMM_SELF, block)
    np.testing.assert_allclose(q @ r, block, atol=1e-14)
    np.testing.assert_allclose(q.T @ q, np.eye(3), atol=1e-14)


# ── ranges, factors, compression ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def of_rank_three(space):
    """K of rank 3 with known singular values 2, 0.1 and 10⁻⁵, and its factors u, s, v."""
    u, v = (orthonormalize(space, random_block(space, 3, seed))[0] for seed in (7, 8))
    s = np.array([2.0, 0.1, 1e-5])
    return KernelOperator(SeparableKernel.from_factors(space, [(np.asfortranarray(u * s), v)])), u, s, v


@pytest.mark.parametrize("width", [1, 2, 5])
def test_the_range_of_a_known_kernel(space, of_rank_three, width):
    """Fails if a direction is missed, one of round-off added, or the answer depends on the width of the blocks."""
    operator, u, _, _ = of_rank_three
    basis, is_complete = find_range(space, operator.apply, width=lambda _: width, tolerance=1e-12)
    assert is_complete and basis.shape[1] == 3
    np.testing.assert_allclose(products(space, basis, basis), np.eye(3), atol=1e-13)
    np.testing.assert_allclose(outside_of(space, basis, u), 0.0, atol=1e-8)  # round-off over 10⁻⁵ / 2


def test_a_range_ends_where_it_is_told_to(space, of_rank_three):
    """Fails if the limit, the tolerance or the caller's word is not heeded, or a part is called complete."""
    operator = of_rank_three[0]

    def search(**options):
        return find_range(space, operator.apply, **{"width": lambda _: 1, "tolerance": 1e-12} | options)

    assert [x if k else x.shape[1] for k, x in enumerate(search(limit=1))] == [2, False]
    assert [x if k else x.shape[1] for k, x in enumerate(search(tolerance=1e-3))] == [2, True]
    asked = []
    basis, is_complete = search(is_enough=lambda basis: asked.append(basis.shape[1]) or basis.shape[1] == 2)
    assert basis.shape[1] == 2 and not is_complete and asked == [1, 2]
    nothing, is_complete = find_range(space, lambda v: 0.0 * v, width=lambda _: 4, tolerance=1e-12)
    assert nothing.shape[1] == 0 and is_complete
    everything, is_complete = find_range(space, np.copy, width=lambda k: k + 1, tolerance=1e-12)
    assert everything.shape[1] == space.num_nodes and is_complete


def test_three_ways_to_singular_values(space, of_rank_three):
    """Factors, expansion and compression against the known ones. Fails if one of them works in another product."""
    operator, u, s, v = of_rank_three
    factors = factorize(space, operator)
    np.testing.assert_allclose(factors.values, s, rtol=1e-9)
    expansion = expand(IsometricOperator(coordinates=IsometricCoordinates(space), operator=operator), 1e-10, 20)
    np.testing.assert_allclose(expansion.values, s, rtol=1e-9)
    assert expansion.is_complete and expansion.nullity == space.num_nodes - 3
    dense = DenseKernel(space, 1)
    dense.assign(((u * s) @ v.T).T.copy().ravel())
    for cut, rank, missed in (({"rank": 2}, 2, 1e-5), ({"tolerance": 1e-3}, 2, 1e-5), ({"tolerance": 1e-1}, 1, 0.1)):
        compressed, error = dense.compress(**cut)
        assert compressed.rank == rank
        assert error == pytest.approx(missed, rel=1e-4)
        left, right = compressed.factors[0]
        np.testing.assert_allclose(products(space, left, left), np.diag(s[:rank]), atol=1e-12)
        np.testing.assert_allclose(left @ right.T, (u * s)[:, :rank] @ v[:, :rank].T, atol=1e-10)


@pytest.mark.parametrize("mode", ["collocated", "galerkin"])
def test_a_slowly_decaying_kernel_is_cut_at_the_tolerance(spaces, mode):
    """s_k ~ k⁻²: the range must grow. Fails if too small a range is taken for enough, so that the error is larger than
    allowed, or if the rank is larger than LAPACK's decomposition needs."""
    space = spaces("interval", 150, 1, mode)
    kernel = DenseKernel.interpolate(space, lambda t, y, z: np.exp(-np.abs(y[0] - z[0])), DepthGrid(layers=1))
    values = np.linalg.svd(dense_in_l2(space, KernelOperator(kernel)), compute_uv=False)
    tails = np.sqrt(np.cumsum(values[::-1] ** 2)[::-1])
    for tolerance in (1e-2, 1e-3):
        compressed, error = kernel.compress(tolerance=tolerance)
        needed = int(np.argmax(tails <= tolerance * tails[0]))
        assert error <= tolerance * tails[0]
        assert needed <= compressed.rank <= needed + 1
        assert error == pytest.approx(tails[compressed.rank], rel=0.1)


# ── eigenvalues ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("end, order", [("largest", slice(None, None, -1)), ("smallest", slice(None))])
@pytest.mark.parametrize("with_metric", [False, True])
def test_symmetric_eigenpairs(rng, end, order, with_metric):
    """Against LAPACK. Fails if the wrong end is found, B is forgotten, or vectors are not those of the values."""
    n, half = 30, rng.normal(size=(30, 30))
    a, b = half + half.T, np.eye(30) + 0.05 * (half @ half.T) if with_metric else np.eye(30)
    metric = Metric(apply=lambda x: b @ x, solve=lambda y: np.linalg.solve(b, y)) if with_metric else None
    values, vectors = symmetric_eigenpairs(
        MPI.COMM_SELF, lambda x: a @ x, np.ones(n), count=3, end=end, limits=LIMITS, metric=metric
    )
    np.testing.assert_allclose(values, scipy.linalg.eigh(a, b, eigvals_only=True)[order][:3], rtol=1e-10)
    np.testing.assert_allclose(a @ vectors, b @ vectors * values, atol=1e-9)
    np.testing.assert_allclose(vectors.T @ b @ vectors, np.eye(3), atol=1e-10)


@pytest.mark.parametrize("end", ["largest", "largest modulus"])
def test_general_eigenpairs(rng, end):
    """Against LAPACK. Fails if a complex pair is cut, its two vectors are mixed up, or the wrong end is found."""
    n, size = 30, np.real if end == "largest" else np.abs
    a = rng.normal(size=(n, n)) + np.diag([6.0] + [0.0] * (n - 1))
    a[1:3, 1:3] += [[9.0, 5.0], [-5.0, 9.0]]  # a complex pair that comes first
    a[3, 3] -= 40.0  # and what is largest by modulus alone
    wanted = np.linalg.eigvals(a)
    wanted = wanted[np.argsort(-size(wanted), kind="stable")]
    count = 1 if end == "largest" else 2  # either cuts the pair
    values, vectors = general_eigenpairs(
        MPI.COMM_SELF, lambda x: a @ x, np.ones(n), count=count, end=end, limits=LIMITS
    )
    assert len(values) == count + 1 and values[-1] == values[-2].conjugate() and values[-2].imag > 0
    np.testing.assert_allclose(np.sort_complex(values), np.sort_complex(wanted[: count + 1]), rtol=1e-10)
    np.testing.assert_allclose(a @ vectors, vectors * values, atol=1e-9)


def test_no_convergence_is_told_in_words(rng):
    """Fails if too few eigenpairs come back without an error, or the error does not say why."""
    a = rng.normal(size=(200, 200))
    limits = Limits(tolerance=1e-14, is_relative=True, max_restarts=1, basis=4)
    with pytest.raises(NotConverged, match=r"\d of 1 eigenpairs after 1 restarts of Krylov–Schur: the limit of rest"):
        symmetric_eigenpairs(
            MPI.COMM_SELF, lambda x: (a + a.T) @ x, np.ones(200), count=1, end="largest", limits=limits
        )
    with pytest.raises(NotConverged, match="the limit of restarts was reached"):
        general_eigenpairs(MPI.COMM_SELF, lambda x: a @ x, np.ones(200), count=1, end="largest", limits=limits)


def test_an_expansion_is_that_of_the_dense_matrix(space):
    """Fails if the adjoint is not that of L², or a part of the singular values is called complete."""
    operator = KernelOperator(DenseKernel.random(space, 1, 1.0, seed=3))
    expansion = expand(IsometricOperator(coordinates=IsometricCoordinates(space), operator=operator), 1e-10, 4)
    wanted = np.linalg.svd(dense_in_l2(space, operator), compute_uv=False)
    np.testing.assert_allclose(expansion.values, wanted[:4], rtol=1e-11)
    assert not expansion.is_complete and expansion.nullity is None
    u, v = expansion.functions(4)
    np.testing.assert_allclose(operator.apply(v), u * expansion.values, atol=1e-10)


@pytest.mark.parametrize("triplets, complete", [(200, True), (40, False)])
@pytest.mark.parametrize("mode", ["collocated", "galerkin"])
def test_an_expansion_of_many_values_is_that_of_the_dense_matrix(spaces, mode, triplets, complete):
    """Fails if LAPACK's decomposition is taken in another product, or a part of its values is called complete."""
    space = spaces("interval", 60, 1, mode)
    kernel = DenseKernel.interpolate(space, lambda t, y, z: np.exp(-np.abs(y[0] - z[0])) + y[0], DepthGrid(layers=1))
    operator = KernelOperator(kernel)
    expansion = expand(IsometricOperator(coordinates=IsometricCoordinates(space), operator=operator), 1e-10, triplets)
    wanted = np.linalg.svd(dense_in_l2(space, operator), compute_uv=False)
    np.testing.assert_allclose(expansion.values, wanted[: min(triplets, 61)], rtol=1e-11)
    assert expansion.is_complete == complete
    u, v = expansion.functions(expansion.rank)
    np.testing.assert_allclose(operator.apply(v), u * expansion.values, atol=1e-10)
    np.testing.assert_allclose(products(space, u, u), np.eye(expansion.rank), atol=1e-11)


def test_norms_are_those_of_the_dense_matrix(space):
    """Fails if A* is taken for Aᵀ, M is left out, or an eigenvalue is searched at the wrong end."""
    operator = KernelOperator(DenseKernel.random(space, 1, 1.0, seed=3))
    a = dense_in_l2(space, operator)
    norm = operator_norm(space, operator)
    assert norm == pytest.approx(np.linalg.norm(a, 2), rel=1e-9)
    largest = np.linalg.eigvalsh(0.5 * (a + a.T))[-1]
    assert symmetric_part_maximum(space, operator, norm) == pytest.approx(largest, rel=1e-9)
    assert symmetric_part_maximum(space, operator, norm, tolerance=1e-11) == pytest.approx(largest, rel=1e-10)
    assert skew_part_norm(space, operator, norm) == pytest.approx(np.linalg.norm(0.5 * (a - a.T), 2), rel=1e-7)


class _Inverse:
    """(I − a S)⁻¹ for a dense S in nodal values, which counts its uses."""

    def __init__(self, matrix, a, uses):
        self._inverse, self._uses = np.linalg.inv(np.eye(len(matrix)) - a * matrix), uses

    def apply(self, v):
        self._uses["applied"] += 1
        return np.asfortranarray(self._inverse @ v)

    def destroy(self):
        self._uses["destroyed"] += 1


def test_the_resolvent_helps_where_products_do_not(spaces):
    """D Δ and little that is not symmetric: the norm is 10⁷ times what is wanted, and few restarts find nothing.

    Fails if the resolvent is not asked for, turned back wrongly, or not released.
    """
    space = spaces("interval", 400, 1)
    n, h = space.num_nodes, 1 / 400
    order = np.argsort(space.coordinates[:, 0])
    matrix = np.zeros((n, n))
    second = (np.eye(n, k=1) - 2 * np.eye(n) + np.eye(n, k=-1)) / h**2
    second[0, 1] = second[-1, -2] = 2 / h**2  # self-adjoint with the half weights of the ends
    matrix[np.ix_(order, order)] = 5.0 * second + 0.3 * np.eye(n) + np.diag(np.full(n - 1, 0.2), 1)

    class Matrix:
        def apply(self, v):
            return np.asfortranarray(matrix @ v)

        def apply_transpose(self, dual):
            return np.asfortranarray(matrix.T @ dual)

    norm, root = np.linalg.norm(matrix, 2), np.sqrt(space.weights)[:, None]
    uses = {"applied": 0, "destroyed": 0}
    with pytest.raises(NotConverged):
        leading_eigenpairs(space, Matrix(), 2, norm=norm, max_restarts=2)
    found = leading_eigenpairs(
        space, Matrix(), 2, norm=norm, max_restarts=2, resolvents=lambda a: _Inverse(matrix, a, uses)
    )
    wanted = np.sort(np.linalg.eigvals(matrix).real)[::-1][:2]
    np.testing.assert_allclose(found.values.real[:2], wanted, atol=1e-11 * norm)
    assert uses["applied"] > 0 and uses["destroyed"] > 0
    scaled = root * matrix / root.T
    symmetric = 0.5 * (scaled + scaled.T)
    nodal = symmetric / root * root.T
    asked = {"applied": 0, "destroyed": 0}
    largest = symmetric_part_maximum(
        space, Matrix(), norm, tolerance=1e-11, max_restarts=2, resolvents=lambda a: _Inverse(nodal, a, asked)
    )
    assert largest == pytest.approx(np.linalg.eigvalsh(symmetric)[-1], abs=1e-11 * norm)
    assert asked["applied"] > 0 and asked["destroyed"] > 0


def test_the_resolvent_misses_nothing_far_to_the_right(spaces):
    """D Δ, whose eigenvalues are nearest to 1/a = ‖A‖/1000, and one eigenvalue ‖A‖/20 of its own, beyond 2/a.

    Fails if the eigenvalues nearest to 1/a pass for the rightmost ones.
    """
    space = spaces("interval", 200, 1)
    n, h = space.num_nodes, 1 / 200
    order = np.argsort(space.coordinates[:, 0])
    second = (np.eye(n, k=1) - 2 * np.eye(n) + np.eye(n, k=-1)) / h**2
    second[0, 1] = second[-1, -2] = 2 / h**2
    matrix = np.zeros((n, n))
    matrix[np.ix_(order, order)] = second
    norm = float(np.linalg.norm(matrix, 2))
    matrix += norm / 20 * np.outer(np.ones(n), space.weights)  # constants were at 0

    class Matrix:
        def apply(self, v):
            return np.asfortranarray(matrix @ v)

        def apply_transpose(self, dual):
            return np.asfortranarray(matrix.T @ dual)

    uses = {"applied": 0, "destroyed": 0}
    limits = Limits(tolerance=1e-11, is_relative=False, max_restarts=300, basis=48)
    found = leading_by_resolvent(
        space, Matrix(), 3, norm=norm, resolvents=lambda a: _Inverse(matrix, a, uses), limits=limits
    )
    assert found.values[0].real == pytest.approx(norm / 20, rel=1e-6)


def test_an_eigenvalue_problem_that_overflows_is_said_in_words():
    """Fails if a solver that meets infinite values ends in an error of PETSc rather than in one of ours."""
    limits = Limits(tolerance=1e-8, is_relative=True, max_restarts=10, basis=4)
    for value in (np.inf, np.nan):
        with pytest.raises(NotConverged, match="the eigenvalue solver stopped: "):
            symmetric_eigenpairs(
                MPI.COMM_SELF, lambda x, y=value: x * y, np.ones(8), count=1, end="largest", limits=limits
            )


def test_an_error_of_the_operator_is_that_of_the_solver():
    """Fails if Ctrl-C while an operator is applied becomes an eigenvalue problem that does not converge."""

    def interrupted(x):
        raise KeyboardInterrupt

    limits = Limits(tolerance=1e-8, is_relative=True, max_restarts=10, basis=4)
    with pytest.raises(KeyboardInterrupt):
        symmetric_eigenpairs(MPI.COMM_SELF, interrupted, np.ones(8), count=1, end="largest", limits=limits)


def test_results_in_another_layout_are_refused():
    """Fails if BLAS works on a copy and the result is lost, or if the error does not say which layout is expected."""
    ones = np.ones((3, 3), order="F")
    with pytest.raises(InvalidInput, match="Fortran order"):
        add_product(1.0, ones, np.ones((3, 2), order="F"), out=np.zeros((3, 2)))
    with pytest.raises(InvalidInput, match="contiguous"):
        add_scaled(1.0, np.ones(3), np.zeros(6)[::2])
