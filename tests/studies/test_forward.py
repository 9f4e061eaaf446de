# SPDX-License-Identifier: MIT
"""The study of large times on an equation that no case file made, beside SciPy's integrator and a closed form."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from mpi4py import MPI
from own_objects import bounded_field, bounded_rate, node_weights, ring, states
from scipy.integrate import solve_ivp

import fem_selection as fs
from fem_selection.errors import InvalidInput

ACCURATE = fs.ForwardSettings(until=4.0, times=5, rtol=1e-11, atol=1e-13)


@pytest.fixture(scope="module")
def space():
    """A quarter of a ring."""
    return ring(MPI.COMM_SELF)


@pytest.fixture(scope="module")
def report(space):
    """A run of the bounded equation at tight tolerances."""
    return fs.studies.forward(bounded_field(space), states(space), ACCURATE)


def test_states_and_norms_are_those_of_scipy(space, report):
    """DOP853 of SciPy on the dense matrix. Fails if the settings do not reach the integrator, if states are not those
    of the times beside them, or if a norm is not that of L²(Y)."""
    places, triangles = report.mesh
    weights = node_weights(places, triangles)
    rate, matrix = bounded_rate(places, weights)
    first = space.gather(states(space))
    found = solve_ivp(
        lambda t, f: rate(f.reshape(first.shape)).ravel(),
        (0.0, 4.0),
        first.ravel(),
        method="DOP853",
        t_eval=np.linspace(0.0, 4.0, 5),
        rtol=1e-12,
        atol=1e-13,
    )
    np.testing.assert_array_equal(report.integration.times, found.t)
    for block, norms, values in zip(report.integration.states, report.norms, found.y.T, strict=True):
        expected = values.reshape(first.shape)
        np.testing.assert_allclose(space.gather(block), expected, atol=1e-9)
        np.testing.assert_allclose(norms, np.sqrt(weights @ expected**2), rtol=1e-9)
    last = rate(found.y[:, -1].reshape(first.shape))
    np.testing.assert_allclose(report.final_rates, np.sqrt(weights @ last**2), rtol=1e-8)
    assert report.num_nodes == len(places)
    # ‖K‖ in L² is that of ω^½ K ω^{−½}, and σ has the Lipschitz constant 1
    norm = np.linalg.norm(np.sqrt(weights)[:, None] * matrix / np.sqrt(weights), 2)
    bound = report.estimates["growth"].bound
    forcing = np.sqrt(weights @ (0.25 * places[:, 0]) ** 2)
    e = np.exp(norm * report.integration.times)
    np.testing.assert_allclose(bound, np.outer(e, report.norms[0]) + (e[:, None] - 1) * forcing / norm, rtol=1e-6)


def test_time_of_a_moving_bias(space):
    """f' = cos t on a kernel of zeros: f = f^I + sin t. Fails if `horizon` is not the last time where the settings say
    none, if logarithmic times do not begin at a millionth of it, or if the field does not move."""
    kernel, bias = fs.DenseKernel(space, 1), np.zeros(space.num_local)
    field = fs.SelectionField(
        space,
        kernel,
        bias,
        activation=fs.Activation(name="linear", expression=lambda s: 1.0 * s),
        refresh=lambda t: bias.fill(np.cos(t)),
    )
    settings = fs.ForwardSettings(times=4, spacing="logarithmic", estimates=False, shown=2)
    report = fs.studies.forward(field, states(space), settings, horizon=2.0)
    times = report.integration.times
    np.testing.assert_allclose(times, [0.0, 2e-6, 2e-3, 2.0], rtol=1e-12)
    np.testing.assert_allclose(report.integration.final, states(space) + np.sin(2.0), atol=1e-7)
    assert report.estimates == {} and report.as_dict()["bounds"] == {}
    np.testing.assert_array_equal(report.shown_times, times[[0, 3]])
    assert report.shown_states.shape == (2, space.num_nodes, 2)


def test_files(report, space, tmp_path):
    """Fails if a file is left out, is written unasked, or holds other numbers than the report; if entries of the
    caller are lost; or if a report holds what cannot be pickled."""
    path = report.write(tmp_path / "all", space=space, about={"title": "ring"}, comm=MPI.COMM_SELF)
    figures = {p.name for p in (tmp_path / "all" / "figures").iterdir()}
    assert {"norms.png", "states.png"} <= figures <= {"norms.png", "states.png", "functionals.png"}
    assert (tmp_path / "all" / "states.bp").exists() or (tmp_path / "all" / "states.xdmf").exists()
    content = json.loads(path.read_text())
    assert content["title"] == "ring" and content["samples"] == 2 and content["outcome"] == "horizon"
    np.testing.assert_array_equal(content["norms"], report.norms)
    np.testing.assert_array_equal(content["bounds"]["growth"]["bound"], report.estimates["growth"].bound)
    copy = pickle.loads(pickle.dumps(report))
    again = copy.write(tmp_path / "again", figures=False, about={"title": "ring"}, comm=MPI.COMM_SELF)
    assert again.read_text() == path.read_text()
    assert [p.name for p in (tmp_path / "again").iterdir()] == ["report.json"]


def test_stopping(space):
    """Fails if a true answer of `progress` does not end the run, or if the report loses what was reached."""
    seen = []

    def progress(time, steps):
        seen.append(time)
        return steps == 3

    report = fs.studies.forward(bounded_field(space), states(space), ACCURATE, progress=progress)
    assert report.integration.outcome == "stopped" and report.integration.steps == 3 == len(seen)
    assert report.integration.times[-1] == seen[-1] < 4.0 and len(report.norms) == len(report.integration.times)
    np.testing.assert_allclose(report.shown_times[-1], seen[-1])


def test_faults(space):
    """Fails if states of another space or a horizon in the past are taken, or if the limit of steps is not that of the
    settings."""
    with pytest.raises(InvalidInput, match="initial states of shape"):
        fs.studies.forward(bounded_field(space), states(space)[1:], ACCURATE)
    with pytest.raises(InvalidInput, match="horizon"):
        fs.studies.forward(bounded_field(space), states(space), horizon=-1.0)
    short = fs.studies.forward(bounded_field(space), states(space), fs.ForwardSettings(until=9.0, max_steps=2))
    assert short.integration.outcome == "step limit" and 0 < short.integration.times[-1] < 9.0
    assert short.as_dict()["reason"].startswith("2 steps reached t = ")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "got None"),
        ([[1.0]], r"of shape \(1, 1\) for 3 nodes: expected \(3, number of samples\)"),
        (np.ones((3, 1), complex), "got an array of type complex128"),
    ],
    ids=("nothing", "a list of another length", "complex numbers"),
)
def test_initial_states_that_are_no_real_arrays_are_refused(given, said):
    """Fails if what is no array of real numbers, or of the wrong shape, gives an error of NumPy's, or loses its
    imaginary part."""
    space = fs.StateSpace(fs.interval(MPI.COMM_SELF, 2), 1)
    kernel = fs.DenseKernel(space, 1)
    field = fs.SelectionField(space, kernel, np.zeros(3), activation=fs.find_activation("tanh"))
    with pytest.raises(fs.InvalidInput, match=said):
        fs.studies.forward(field, given)
