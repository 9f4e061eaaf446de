# SPDX-License-Identifier: MIT
"""The study `predict` on a network that no case file made, beside a loop over its layers by NumPy."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from mpi4py import MPI
from own_equations import make_neuron
from own_networks import CLASSES, make_classifier, numpy_outputs, own_states

import fem_selection as fs
from fem_selection.errors import InvalidInput


@pytest.fixture(scope="module")
def network():
    """A problem and controls away from zero."""
    problem = make_classifier(MPI.COMM_SELF)
    return problem, problem.scaled_functional.to_controls(
        problem.scaled_start
    ) + problem.functional.control_space.random_direction(4)


def new_samples(problem: fs.LearningProblem, labels: bool = True) -> fs.SampleStates:
    """Nine samples that the problem has not seen."""
    numbers = np.arange(40, 49)
    return fs.SampleStates.from_states(own_states(problem.space, numbers), labels=numbers % 3 if labels else None)


def test_outputs_are_those_of_numpy(network):
    """Fails if the network holds other controls, samples are exchanged, or a class is named by another's name."""
    problem, controls = network
    samples = new_samples(problem)
    report = fs.studies.predict(problem, controls, samples)
    outputs = numpy_outputs(problem, controls, samples.states(np.arange(9), None))
    np.testing.assert_allclose(report.outputs, outputs, rtol=1e-12, atol=1e-13)
    predicted = outputs.argmax(axis=1)
    assert report.labels.tolist() == [CLASSES[k] for k in predicted] and len(set(predicted)) > 1
    assert report.accuracy == np.mean(predicted == samples.labels)


def test_truth_by_name(network):
    """Fails if names of true classes are not compared with those predicted, or a wrong number of them is accepted."""
    problem, controls = network
    samples = new_samples(problem, labels=False)
    assert fs.studies.predict(problem, controls, samples).accuracy is None
    truth = np.array(["ant", "bee", "emu"] * 3)
    report = fs.studies.predict(problem, controls, samples, truth=truth)
    assert report.accuracy == np.mean(report.labels == truth) < 1.0
    with pytest.raises(InvalidInput, match="4 true classes for 9 samples"):
        fs.studies.predict(problem, controls, samples, truth=truth[:4])


def test_without_a_readout_the_final_states():
    """Fails if the states of another depth, or sampled at other nodes, are returned: x ↦ x + h (w (x + h/2 …) + b)."""
    problem = make_neuron(MPI.COMM_SELF)
    controls = problem.functional.control_space.random_direction(3)
    states = np.array([[1.0, -2.0]])
    report = fs.studies.predict(problem, controls, fs.SampleStates.from_states(np.asfortranarray(states)))
    x, step = states[0], 1 / 16
    for w, b in zip(controls[:16], controls[16:], strict=True):
        x = x + step * (w * (x + 0.5 * step * (w * x + b)) + b)
    np.testing.assert_allclose(report.outputs[:, 0], x, rtol=1e-13)
    assert report.labels is None and report.accuracy is None


def test_the_report_is_kept_and_written(network, tmp_path):
    """Fails if the report holds a PETSc object, or the archive lacks an array or needs pickle."""
    problem, controls = network
    report = pickle.loads(pickle.dumps(fs.studies.predict(problem, controls, new_samples(problem))))
    path = report.write(tmp_path / "folder", figures=False, comm=MPI.COMM_SELF)
    assert path == tmp_path / "folder" / "predictions.npz"
    with np.load(path, allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["outputs"], report.outputs)
        assert arrays["labels"].tolist() == report.labels.tolist()
    said = json.loads(json.dumps(report.as_dict()))
    assert said["accuracy"] == report.accuracy and len(said["labels"]) == 9


def test_controls_that_are_no_numbers_are_refused(network):
    """Fails if NaN in a control makes labels of NaN."""
    problem, controls = network
    broken = controls.copy()
    broken[3] = np.nan
    with pytest.raises(InvalidInput, match="not finite"):
        fs.studies.predict(problem, broken, new_samples(problem))
    with pytest.raises(InvalidInput, match="seed -3"):
        fs.studies.train(problem, seed=-3)
