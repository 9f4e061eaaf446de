# SPDX-License-Identifier: MIT
"""The study of steady states on equations that no case file made, beside SciPy's root finder and a closed form."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from mpi4py import MPI
from own_objects import double_well_field, node_weights, ring, shifted_field, shifted_rate, states
from scipy.optimize import root

import fem_selection as fs
from fem_selection.errors import InvalidInput


@pytest.fixture(scope="module")
def space():
    """A quarter of a ring, coarse."""
    return ring(MPI.COMM_SELF, 2)


@pytest.fixture(scope="module")
def report(space):
    """The study of the equation with one steady state."""
    return fs.studies.steady(shifted_field(space), states(space), fs.SteadySettings(starts=1, snapshots=31))


def test_isolated_state_is_that_of_scipy(space, report):
    """σ(K f + b) = 0 solved by SciPy on the dense matrix. Fails if the settings or the starts do not reach the search,
    if a limit is of another sample, or if norms, singular values or the derivative in b are not those of L²(Y)."""
    places, triangles = report.mesh
    weights = node_weights(places, triangles)
    rate, matrix = shifted_rate(places, weights)
    expected = root(rate, np.zeros(len(places)), tol=1e-13)
    assert expected.success

    def norm(f):
        return np.sqrt(weights @ f**2)

    (state,) = report.states
    found = space.gather(state.state[:, None])[:, 0]
    np.testing.assert_allclose(found, expected.x, atol=1e-9)
    assert state.isolated and state.norm == pytest.approx(norm(expected.x)) and report.residual == state.residual < 1e-9
    np.testing.assert_allclose(state.preactivation_range, np.arctanh(0.25), rtol=1e-9)
    turned = np.linalg.solve(matrix, np.ones(len(places)))
    assert state.sensitivity_to_constant_bias == pytest.approx(norm(turned), rel=1e-8)
    singular = np.linalg.svd(np.sqrt(weights)[:, None] * matrix / np.sqrt(weights), compute_uv=False)
    np.testing.assert_allclose(report.singular_values, singular, rtol=1e-9)
    assert report.numerical_rank == report.num_nodes == len(places) and report.null_space_dimension == 0
    first = space.gather(states(space))
    for limit, start in zip(report.limits, first.T, strict=True):
        assert limit.outcome == "steady" and limit.nearest_state == 0 and limit.preactivation_distance < 1e-6
        np.testing.assert_allclose(space.gather(limit.state[:, None])[:, 0], expected.x, atol=1e-6)
        assert limit.distance_from_initial == pytest.approx(norm(expected.x - start), rel=1e-6)
    assert report.time == max(limit.time for limit in report.limits)
    assert report.approach.shape == (31, 2) and report.approach_times[-1] == 1e6
    np.testing.assert_allclose(report.approach[0], [norm(found - f) for f in first.T], rtol=1e-6)


def test_double_well(space):
    """f' = σ(∫ f) is constant over Y: f goes to f^I + (±1 − ∫ f^I) / |Y|, by the sign of ∫ f^I. Fails if a steady state
    is missed, if they are not told apart, or if limits are set beside the wrong ones."""
    initial = states(space)
    report = fs.studies.steady(double_well_field(space), initial, fs.SteadySettings(starts=2, states=3), seed=5)
    weights = node_weights(*report.mesh)
    means = weights @ space.gather(initial)
    assert means[0] < 0 < means[1]
    levels = [state.preactivation_range[0] for state in report.states]
    np.testing.assert_allclose(sorted(levels), [-1.0, 0.0, 1.0], atol=1e-9)
    assert report.zeros.kind == "points" and "3 steady states found" in report.verdict
    for limit, mean in zip(report.limits, means, strict=True):
        expected = abs(np.sign(mean) - mean) / np.sqrt(weights.sum())
        assert limit.distance_from_initial == pytest.approx(expected, rel=1e-6)
        assert levels[limit.nearest_state] == pytest.approx(np.sign(mean))
    assert report.picard.equation == "K f = 0 - b" and report.picard.holds


def test_files(report, space, tmp_path):
    """Fails if a file is left out, is written unasked, or holds other numbers than the report; if entries that were
    not found are written; or if a report holds what cannot be pickled."""
    path = report.write(tmp_path / "all", space=space, about={"title": "ring"}, comm=MPI.COMM_SELF)
    assert {p.name for p in (tmp_path / "all" / "figures").iterdir()} == {"steady_states.png", "approach.png"}
    assert (tmp_path / "all" / "steady.bp").exists() or (tmp_path / "all" / "steady.xdmf").exists()
    content = json.loads(path.read_text())
    assert content["title"] == "ring" and content["verdict"] == report.verdict and content["picard"] is None
    np.testing.assert_array_equal(content["kernel"]["singular_values"], report.singular_values)
    assert content["states"][0]["norm"] == report.states[0].norm and "state" not in content["states"][0]
    assert "projection" not in content["limits"][0] and content["limits"][1]["time"] == report.limits[1].time
    assert list(report.shown) == ["steady 1", "selected 1", "selected 2"]
    copy = pickle.loads(pickle.dumps(report))
    again = copy.write(tmp_path / "again", figures=False, about={"title": "ring"}, comm=MPI.COMM_SELF)
    assert again.read_text() == path.read_text()
    assert [p.name for p in (tmp_path / "again").iterdir()] == ["report.json"]


def test_faults(space):
    """Fails if states of another space are taken, or an equation that depends on time is said to have steady states."""
    with pytest.raises(InvalidInput, match="initial states of shape"):
        fs.studies.steady(shifted_field(space), states(space)[1:])
    moving = double_well_field(space)
    moving = fs.SelectionField(space, moving.kernel, moving.bias, activation=moving.activation, refresh=lambda t: None)
    with pytest.raises(InvalidInput, match="depends on time"):
        fs.studies.steady(moving, states(space))
