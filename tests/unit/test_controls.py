# SPDX-License-Identifier: MIT
"""The control space: layout, L² geometry in both modes, regularization against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from mpi4py import MPI
from problems import REGULARIZATION, make_problem

from fem_selection.discretization.depth import DepthGrid
from fem_selection.errors import InvalidInput
from fem_selection.kernels import DenseKernel
from fem_selection.learning.controls import ControlSpace
from fem_selection.learning.penalty import Penalty
from fem_selection.learning.scaled import ScaledFunctional
from fem_selection.objectives.regularizers import depth_laplacian
from fem_selection.parallel import Ensemble
from fem_selection.settings import Regularization
from fem_selection.settings.names import PARTS

INTERVALS, HORIZON, OUTPUTS = 4, 2.0, 3
SUBSETS = [("kernel",), ("bias",), ("readout",), ("kernel", "readout"), ("kernel", "bias"), PARTS]


NONE = {"kernel": 0.0, "bias": 0.0, "readout": 0.0}


def make(space, parts=PARTS, num_outputs=OUTPUTS):
    """A control space of four intervals."""
    kernel = DenseKernel(space, INTERVALS)
    return ControlSpace(
        Ensemble(MPI.COMM_SELF),
        space,
        kernel,
        grid=DepthGrid(layers=8, horizon=HORIZON, intervals=INTERVALS),
        num_outputs=num_outputs,
        parts=parts,
    )


def values(space, kernel=0.0, bias=0.0, readout=0.0, offset=0.0):
    """Constant functions; an array of length INTERVALS varies in depth."""
    n = space.num_nodes
    by_interval = [np.broadcast_to(v, INTERVALS)[:, None] for v in (kernel, bias)]
    return {
        "kernel": (by_interval[0] * np.ones(n * n)).ravel(),
        "bias": by_interval[1] * np.ones(n),
        "readout": np.full((OUTPUTS, n), readout),
        "offset": np.full(OUTPUTS, offset),
    }


@pytest.mark.parametrize("parts", SUBSETS)
def test_pack_and_unpack(space, parts, rng):
    """Fails if a part lands in another part's slice, or one that is not optimized takes room."""
    controls = make(space, parts)
    n = space.num_nodes
    sizes = {"kernel": INTERVALS * n * n, "bias": INTERVALS * n, "readout": OUTPUTS * n, "offset": OUTPUTS}
    optimized = [p for p in sizes if p in parts or (p == "offset" and "readout" in parts)]
    assert controls.local_size == controls.global_size == sum(sizes[p] for p in optimized)
    given = {p: rng.normal(size=size) for p, size in sizes.items()}
    local = controls.pack(given)
    views = controls.unpack(local)
    assert {p for p, v in views.items() if v.size} == set(optimized)
    for p in optimized:
        np.testing.assert_array_equal(views[p].ravel(), given[p])
    if "bias" in parts:
        assert views["bias"].shape == (INTERVALS, n)
        views["bias"][1, 2] = 7.0
        assert 7.0 in local
    if "readout" in parts:
        assert views["readout"].shape == (OUTPUTS, n)


def test_without_a_readout(space):
    """Fails if a tracking problem keeps room for a readout."""
    controls = make(space, num_outputs=0)
    assert controls.parts == ("kernel", "bias")
    assert controls.local_size == INTERVALS * (space.num_nodes**2 + space.num_nodes)


@pytest.mark.parametrize("parts", SUBSETS)
def test_riesz_inverts_the_metric(space, parts):
    """Fails if `riesz` is not the inverse of `apply_metric`: a depth weight lost, or a consistent mass on one side."""
    controls = make(space, parts)
    x = controls.random_direction(1)
    scale = np.abs(x).max()
    np.testing.assert_allclose(controls.riesz(controls.apply_metric(x)), x, atol=1e-12 * scale)
    y = controls.random_direction(2)
    assert x @ controls.apply_metric(y) == pytest.approx(y @ controls.apply_metric(x), rel=1e-11, abs=1e-13)


def test_metric_is_the_stated_inner_product(space):
    """Fails if ⟨x, x⟩ is not Σ_c Δ (‖w_c‖² + ‖b_c‖²) + ‖c‖² + |μ|²: here T (w² + b²) + 3 (c² + μ²) on |Y| = 1, with the
    consistent and with the lumped mass."""
    controls = make(space)
    x = controls.pack(values(space, 2.0, 3.0, 0.5, 0.7))
    wanted = HORIZON * (4 + 9) + OUTPUTS * (0.25 + 0.49)
    assert x @ controls.apply_metric(x) == pytest.approx(wanted, rel=1e-12)
    assert x @ (controls.lumped * x) == pytest.approx(wanted, rel=1e-12)
    assert controls.inner(controls.apply_metric(x), x) == pytest.approx(wanted, rel=1e-12)


def test_metric_is_consistent_in_galerkin_mode(spaces, rng):
    """Fails if Galerkin mode falls back to the lumped metric: the norm of a linear bias is √(1/3) per interval."""
    for mode in ("collocated", "galerkin"):
        space = spaces("interval", 4, 2, mode)
        controls = make(space, ("bias",))
        x = controls.pack({"bias": np.tile(space.coordinates[:, 0] ** 2, INTERVALS)})
        exact = HORIZON / 5  # ∫ y⁴; nodal quadrature of degree 3 misses it by h⁴ / 480, about 1e-5
        assert x @ controls.apply_metric(x) == pytest.approx(exact, abs=1e-13 if mode == "galerkin" else 1e-4)
        assert (abs(x @ controls.apply_metric(x) - exact) < 1e-13) == (mode == "galerkin")


def test_regularization_in_l2(space):
    """Fails if a weight multiplies the wrong part, or ½ or the depth weight is missing."""
    controls = make(space)
    for name, x, wanted in (
        ("kernel", values(space, kernel=2.0), HORIZON * 4 / 2),
        ("bias", values(space, bias=3.0), HORIZON * 9 / 2),
        ("readout", values(space, readout=0.5, offset=0.7), OUTPUTS * (0.25 + 0.49) / 2),
    ):
        value, _ = Penalty(controls, Regularization(**NONE | {name: 0.3})).evaluate(controls.pack(x))
        assert value == pytest.approx(0.3 * wanted, rel=1e-12)
        others = {k: 1.0 for k in ("kernel", "bias", "readout") if k != name}
        assert Penalty(controls, Regularization(**NONE | others)).evaluate(controls.pack(x))[0] == 0.0


@pytest.mark.parametrize("part", ["kernel", "bias"])
def test_regularization_in_h1_of_depth(space, part):
    """Fails if the term is not β/2 Σ_c ‖x_{c+1} − x_c‖² / Δ: for x growing by s Δ an interval, β/2 (C − 1) Δ s²;
    constants cost nothing."""
    controls = make(space)
    length, slope = HORIZON / INTERVALS, 1.7
    term = Regularization(**NONE, **{f"{part}_depth": 0.3})
    x = controls.pack(values(space, **{part: 5.0 + slope * length * np.arange(INTERVALS)}))
    value, _ = Penalty(controls, term).evaluate(x)
    assert value == pytest.approx(0.15 * (INTERVALS - 1) * length * slope**2, rel=1e-12)
    constant, dual = Penalty(controls, term).evaluate(controls.pack(values(space, **{part: 5.0})))
    assert constant == pytest.approx(0.0, abs=1e-13)
    np.testing.assert_allclose(dual, 0.0, atol=1e-13)


def test_depth_laplacian_by_hand():
    """Fails if DᵀD has wrong end rows: three intervals of length ½ give 4 [[1, −1, 0], [−1, 2, −1], [0, −1, 1]]."""
    rows = [depth_laplacian(e[:, None], 0.5)[:, 0] for e in np.eye(3)]
    np.testing.assert_allclose(rows, 4 * np.array([[1, -1, 0], [-1, 2, -1], [0, -1, 1]]))
    assert np.all(depth_laplacian(np.ones((1, 2)), 0.5) == 0)


@pytest.mark.parametrize("parts", SUBSETS)
def test_regularization_is_quadratic(space, parts):
    """Fails if its dual is not its derivative: of a quadratic R, R(x + h) − R(x − h) = 2 ⟨R'(x), h⟩."""
    controls = make(space, parts)
    x, h = controls.random_direction(1), controls.random_direction(2)
    value, dual = Penalty(controls, REGULARIZATION).evaluate(x)
    up, down = (Penalty(controls, REGULARIZATION).evaluate(x + s * h)[0] for s in (1, -1))
    assert up - down == pytest.approx(2 * dual @ h, rel=1e-10, abs=1e-12)
    assert 2 * value == pytest.approx(dual @ x, rel=1e-12)


def test_random_directions_are_of_unit_norm_and_reproducible(space):
    """Fails if a direction is not of unit norm in x̂ = M_L^{1/2} x, not reproducible, or two seeds agree."""
    controls = make(space)
    x = controls.random_direction(5)
    assert np.sum(controls.lumped * x**2) == pytest.approx(1.0, rel=1e-12)
    np.testing.assert_array_equal(controls.random_direction(5), x)
    assert abs(np.sum(controls.lumped * x * controls.random_direction(6))) < 0.5
    np.testing.assert_array_equal(np.sort(controls.indices), np.arange(controls.global_size))


def test_vectors_own_their_values(space):
    """Fails if a PETSc vector is a view of the array it was made from."""
    controls = make(space)
    x = controls.random_direction(1)
    vector = controls.create_vector(x)
    assert vector.getSize() == controls.global_size
    vector.scale(2.0)
    np.testing.assert_array_equal(vector.array, 2 * x)
    np.testing.assert_array_equal(controls.gather(x), x)
    vector.destroy()


def test_controls_that_cannot_be_optimized_are_refused(space):
    """Fails if controls that cannot be optimized are accepted."""
    kernel, ensemble = DenseKernel(space, 2), Ensemble(MPI.COMM_SELF)
    with pytest.raises(InvalidInput, match="sampled at stage times cannot be optimized"):
        ControlSpace(
            ensemble, space, kernel, grid=DepthGrid(layers=1, horizon=1.0, stage_nodes=(0.0, 0.5)), num_outputs=1
        )
    for parts in (("kernel", "mesh"), ()):
        with pytest.raises(InvalidInput, match="choose from kernel, bias, readout"):
            ControlSpace(ensemble, space, kernel, grid=DepthGrid(layers=2), num_outputs=1, parts=parts)


def test_scaled_variable_is_invertible_and_its_gradient_the_derivative(space):
    """Fails if x̂ ↦ x and back is not the identity, or ∇Ĵ is not the derivative in x̂ (value, slope and norm)."""
    problem = make_problem(space)
    scaled = ScaledFunctional(problem.functional)
    x, h = problem.moved(), problem.control_space.random_direction(2)
    hat = scaled.to_scaled(x)
    np.testing.assert_allclose(scaled.to_controls(hat), x, rtol=1e-14)
    assert scaled.norm(hat) == pytest.approx(3.0, rel=1e-12)
    value, gradient = scaled.evaluate(hat)
    reference, dual = problem.functional.evaluate(x)
    assert value == pytest.approx(reference, rel=1e-14)
    assert gradient @ scaled.to_scaled(h) == pytest.approx(dual @ h, rel=1e-12)
