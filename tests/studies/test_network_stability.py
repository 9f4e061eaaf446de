# SPDX-License-Identifier: MIT
"""The study `network_stability` on a network that no case file made, beside dense matrices of its layers."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from mpi4py import MPI
from own_equations import RESTLESS, SHIFTED, exponents_of_euler, leading, make_network, slope

import fem_selection as fs

SETTINGS = fs.StabilitySettings(number=3, exponents=2, samples=2)


def assess(activation: fs.Activation, comm: MPI.Intracomm, sign: float = 1.0):
    """The problem and the report of its network, with the kernel times `sign`."""
    problem = make_network(activation, comm)
    controls = sign * problem.scaled_functional.to_controls(problem.scaled_start)
    return problem, fs.studies.network_stability(problem, controls, SETTINGS)


def operators_of(problem: fs.LearningProblem) -> list[np.ndarray]:
    """The matrices of the layers' operators, on one process."""
    y, weights = problem.space.coordinates[:, 0], problem.space.weights
    times = problem.functional.stepper.grid.sample_times
    return [(1 + t) * (1 + 2 * np.outer(y, y)) * weights for t in times]


def mean_states(problem: fs.LearningProblem, activation: fs.Activation) -> list[np.ndarray]:
    """The means over all samples at the beginning of each layer, by Euler steps."""
    states, means = problem.functional.initial, []
    for operator in operators_of(problem):
        means.append(states.mean(axis=1))
        g = np.asfortranarray(operator @ states)
        value = np.empty_like(g)
        activation.value(g, value)
        states = states + problem.functional.stepper.grid.step * value
    return means


def test_layers_at_their_steady_states():
    """Where K_n f = s₀, σ(s₀) = 0, the linearization is σ'(s₀) K_n: its eigenvalues by NumPy, for each layer.

    Fails if all layers are the first one, if a layer is not linearized at its steady state, or if its distance is not
    the one from the mean of all samples.
    """
    problem, report = assess(SHIFTED, MPI.COMM_SELF)
    for layer, operator, mean in zip(report.layers, operators_of(problem), mean_states(problem, SHIFTED), strict=True):
        assert layer.at == "steady" and layer.residual < 1e-10 and layer.verdict.kind == "unstable"
        wanted = leading(0.91**1.5 * operator, 1)[0].real
        assert layer.spectrum.leading[0].real == pytest.approx(wanted, rel=1e-9)
        # the steady state differs from the mean by the least that K_n sees
        zero = 0.3 / np.sqrt(0.91)
        root = np.sqrt(problem.space.weights)
        away = np.linalg.lstsq(root[:, None] * operator / root, root * (zero - operator @ mean), rcond=1e-10)[0]
        assert layer.distance == pytest.approx(np.linalg.norm(away), rel=1e-6)
    assert [layer.time for layer in report.layers] == pytest.approx([0.0, 0.3, 0.6])
    assert "3 of 3 layers, frozen, have a steady state, unstable in 3" in report.sentence


def test_stable_layers_damp():
    """Fails if a sign is lost: with the kernel −w no layer is unstable, and little is amplified (σ' varies with y)."""
    _, report = assess(SHIFTED, MPI.COMM_SELF, sign=-1.0)
    assert "unstable in 0" in report.sentence
    assert np.max(report.exponents.state) < 0.01


def test_layers_without_a_steady_state():
    """σ has no zero: the mean state stands in, and is labelled so.

    Fails if another state is linearized at, if the means are those of one layer, or if the label is missing.
    """
    problem, report = assess(RESTLESS, MPI.COMM_SELF)
    for layer, operator, mean in zip(report.layers, operators_of(problem), mean_states(problem, RESTLESS), strict=True):
        assert layer.at == "mean" and layer.distance == 0.0
        wanted = leading(slope(RESTLESS, operator @ mean)[:, None] * operator, 1)[0].real
        assert np.max(layer.spectrum.values.real) == pytest.approx(max(wanted, 0.0), abs=1e-7)
    assert "3 are linearized at the mean state" in report.sentence
    assert {entry["label"] for entry in report.as_dict()["layers"]} == {"at the mean state, not steady"}


def test_exponents_of_the_dense_product():
    """Fails if the trajectories are not those of the first samples, or not those of the states that are given."""
    problem, report = assess(SHIFTED, MPI.COMM_SELF)
    space, operators, biases = problem.space, operators_of(problem), np.zeros((3, problem.space.num_nodes))

    def wanted(state: np.ndarray) -> np.ndarray:
        return exponents_of_euler(space, operators, biases, SHIFTED, state, 0.3)[:2]

    for sample in range(2):
        np.testing.assert_allclose(
            report.exponents.state[sample], wanted(problem.functional.initial[:, sample]), atol=1e-7
        )
    other = np.asfortranarray(5.0 * space.coordinates)
    controls = problem.scaled_functional.to_controls(problem.scaled_start)
    found = fs.studies.network_stability(problem, controls, SETTINGS, states=other)
    np.testing.assert_allclose(found.exponents.state, [wanted(other[:, 0])], atol=1e-7)


def test_the_report_is_kept_and_written(tmp_path):
    """Fails if the report holds a PETSc object, if a figure is missing, or if the file is not what `as_dict` says."""
    _, report = assess(SHIFTED, MPI.COMM_SELF)
    again = pickle.loads(pickle.dumps(report))
    assert again.as_dict()["eigenvalues"] == report.as_dict()["eigenvalues"]
    path = report.write(tmp_path / "folder", comm=MPI.COMM_SELF)
    written = json.loads(path.read_text())
    assert written["verdict"] == report.sentence and len(written["layers"]) == 3
    assert {file.name for file in (path.parent / "figures").iterdir()} == {"spectrum.png", "exponents.png"}
