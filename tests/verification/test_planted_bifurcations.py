# SPDX-License-Identifier: MIT
"""Random kernels whose bifurcations are known: none are invented, and planted ones are found where they are.

The kernels are matrices on 24 cells, made of their eigenvalues; NumPy confirms where these pass the axis.
"""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import ufl
from mpi4py import MPI

from fem_selection.discretization.depth import DepthGrid
from fem_selection.discretization.meshes import domains
from fem_selection.discretization.spaces import StateSpace
from fem_selection.dynamics import SelectionField
from fem_selection.functions.activations import ActivationFamily, find_activation
from fem_selection.kernels import DenseKernel
from fem_selection.steady import ReducedFamily, continue_branches

CELLS = 24
FAMILIES = ("compact", "skew", "nilpotent")
PLAIN = [(family, 0) for family in FAMILIES]
SLOW = [pytest.param(family, seed, marks=pytest.mark.slow) for family in FAMILIES for seed in range(1, 10)]


@pytest.fixture(scope="module")
def space() -> StateSpace:
    """Functions constant on cells."""
    return StateSpace(domains.interval(MPI.COMM_SELF, CELLS), degree=0, family="dg")


def field_of(space: StateSpace, matrix: np.ndarray, activation) -> SelectionField:
    """The right-hand side whose K is a matrix on nodal values."""

    def coefficient(t, y, z):
        i, k = (np.floor(CELLS * np.asarray(x[0])).astype(int) for x in (y, z))
        return CELLS * matrix[i, k]

    kernel = DenseKernel.interpolate(space, coefficient, DepthGrid(layers=1))
    return SelectionField(space, kernel, np.zeros(CELLS), activation=activation)


def follow(space: StateSpace, matrix_at, lower: float, upper: float, activation_at=None):
    """The branches through the state 0 at `lower` of a matrix that depends on the parameter."""

    def field(mu: float) -> SelectionField:
        activation = find_activation("tanh") if activation_at is None else activation_at(mu)
        return field_of(space, matrix_at(mu), activation)

    family = ReducedFamily(space, field, lower=lower, upper=upper)
    return continue_branches(family, np.zeros(family.dimension), lower=lower, upper=upper, searches=2)


def random_matrix(family: str, seed: int) -> np.ndarray:
    """A random K: singular values that fall to round-off, a skew matrix of such, or a nilpotent one."""
    rng = np.random.default_rng(seed)
    u, v = (np.linalg.qr(rng.normal(size=(CELLS, CELLS)))[0] for _ in range(2))
    falling = rng.uniform(1, 3) * rng.uniform(0.1, 0.6) ** np.arange(CELLS)
    if family == "compact":
        return (u * falling) @ (u if seed % 2 else v).T * (-1) ** seed
    if family == "skew":
        half = (u * falling) @ v.T
        return half - half.T
    degree = rng.integers(2, 6)  # blocks above the diagonal, in random coordinates
    part = np.arange(CELLS) * degree // CELLS
    above = np.where(part[:, None] < part[None, :], rng.normal(size=(CELLS, CELLS)), 0.0)
    return u @ above @ u.T / CELLS**0.5


@pytest.mark.parametrize(("family", "seed"), [*PLAIN, *SLOW])
def test_none_is_invented(space, family, seed):
    """μ K has the eigenvalues of K times μ: for μ in [1, 2] none of them changes its sign.

    Fails if round-off near zero, or near the imaginary axis, passes for a crossing.
    """
    matrix = random_matrix(family, seed)
    diagram = follow(space, lambda mu: mu * matrix, 1.0, 2.0)
    assert diagram.bifurcations == () and diagram.undecided == ()
    assert [branch.ending for branch in diagram.branches] == ["the range ends"]
    assert diagram.branches[0].points[-1].parameter == 2.0
    growing = np.sum(np.linalg.eigvals(matrix).real > 1e-5) if family != "nilpotent" else 0
    assert {point.unstable for point in diagram.branches[0].points if growing == 0} <= {0}


def planted(seed: int):
    """A matrix of μ with a pair on the axis at one value and a zero eigenvalue at another, and its frequency."""
    rng = np.random.default_rng(100 + seed)
    basis = rng.normal(size=(CELLS, CELLS)) / CELLS**0.5 + 2 * np.eye(CELLS)
    first, second = rng.uniform(1.1, 1.4), rng.uniform(1.6, 1.9)
    turn, inverse = rng.uniform(0.5, 2.0), np.linalg.inv(basis)
    rest = -rng.uniform(0.5, 2.0) * 0.4 ** np.arange(CELLS - 3)
    nilpotent = np.diag([0.7, 0.7], 1) * (seed % 3 == 0)

    def at(mu: float) -> np.ndarray:
        pair = np.array([[mu - first, -turn], [turn, 0.5 * (mu - first)]])
        tail = np.diag(rest)
        tail[-3:, -3:] = nilpotent  # zero eigenvalues, defective in every third matrix
        return basis @ scipy.linalg.block_diag(pair, [[second - mu]], tail) @ inverse

    values = np.linalg.eigvals(at(first))
    assert np.max(np.abs(values[np.abs(values.imag) > 0.2].real)) < 1e-12 and np.sum(np.abs(values.imag) > 0.2) == 2
    for away in (-1e-2, 1e-2):
        assert np.min(np.abs(np.linalg.eigvals(at(second + away)) + away)) < 1e-10
    omega = float(np.max(values.imag))
    return at, first, second, omega


@pytest.mark.parametrize("seed", [0, *(pytest.param(k, marks=pytest.mark.slow) for k in range(1, 10))])
def test_planted_ones_are_found(space, seed):
    """A Hopf point and an exchange of stability, beside eigenvalues that fall to 1e-9 and a nilpotent part.

    Fails if a crossing hides among small eigenvalues, if it is moved, or if another one is reported.
    """
    at, hopf, zero, omega = planted(seed)
    diagram = follow(space, at, 1.0, 2.0)
    found = sorted(diagram.bifurcations, key=lambda b: b.parameter)
    assert [b.kind for b in found] == ["hopf", "exchange of stability"]
    for bifurcation, value in zip(found, (hopf, zero), strict=True):
        assert abs(bifurcation.parameter - value) <= max(bifurcation.uncertainty, 1e-9)
        before, after = bifurcation.witnesses
        assert before * after < 0
    assert found[0].frequency == pytest.approx(omega, abs=1e-8)
    assert diagram.undecided == ()


@pytest.mark.parametrize("seed", [0, *(pytest.param(k, marks=pytest.mark.slow) for k in range(1, 10))])
def test_planted_pitchforks_and_folds(space, seed):
    """K = u ⊗ v with random u, v of mean product m: c' = (v, σ(u c)) has a pitchfork where σ'(0) = 0, and with a
    cubic σ folds where d/dc (v, σ(u c)) = 0.

    Fails if a pitchfork passes for a fold, or one of them is missed or moved.
    """
    rng = np.random.default_rng(200 + seed)
    u, v = rng.uniform(0.5, 1.5, (2, CELLS))
    matrix = np.outer(u, v) / CELLS
    tanh = ActivationFamily(lambda s, mu: ufl.tanh(mu * s) - s, ("mu",))
    diagram = follow(space, lambda mu: matrix, 0.5, 2.0, lambda mu: tanh.at("tanh(μ s) − s", {"mu": mu}))
    (fork,) = diagram.bifurcations
    assert fork.kind == "pitchfork" and fork.parameter == pytest.approx(1.0, abs=1e-9)
    cubic = ActivationFamily(lambda s, mu: mu + s - s**3, ("mu",))
    family = ReducedFamily(
        space, lambda mu: field_of(space, matrix, cubic.at("μ + s − s³", {"mu": mu})), lower=-1.0, upper=1.0
    )
    # Σ v (μ + u x − u³ x³) = 0 turns where Σ v u = 3 x² Σ v u³
    x = np.sqrt((v @ u) / (3 * v @ u**3))
    turn = (2 / 3) * x * (v @ u) / v.sum()
    low = min(np.roots([-(v @ u**3), 0.0, v @ u, -v.sum()]).real)
    scale = float(family.coordinates(np.asfortranarray(np.ones((CELLS, 1)))).sum()) / v.sum() * np.linalg.norm(v) ** 2
    start = np.array([np.sign(scale) * low * CELLS**0.5 / np.linalg.norm(v)])
    found = continue_branches(family, start, lower=-1.0, upper=1.0, searches=0)
    assert sorted(b.kind for b in found.bifurcations) == ["fold", "fold"]
    np.testing.assert_allclose(sorted(b.parameter for b in found.bifurcations), [-turn, turn], atol=1e-9)
