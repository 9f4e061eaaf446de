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


def test_classes_in_their_own_type():
    """Fails if classes that are numbers come back as text, classes left out as anything but their numbers, or classes
    that are too few, equal or of two kinds are accepted."""
    functional = make_classifier(MPI.COMM_SELF).functional
    for classes, expected in (((10, 20, 35), {10, 20, 35}), ((), {0, 1, 2}), ((b"a", b"b", b"c"), {b"a", b"b", b"c"})):
        problem = fs.LearningProblem.from_functional(functional, labels=np.arange(15) % 3, classes=classes)
        controls = problem.functional.control_space.random_direction(4)
        found = fs.studies.predict(problem, controls, new_samples(problem))
        assert set(found.labels.tolist()) <= expected and len(problem.classes) == 3
        assert found.accuracy == np.mean(found.labels == np.array(sorted(expected))[np.arange(40, 49) % 3])
    for classes in (("a", "b"), ("a", "b", "a"), ("a", "b", 3), (None, 1, 2)):
        with pytest.raises(InvalidInput, match="classes"):
            fs.LearningProblem.from_functional(functional, labels=np.arange(15) % 3, classes=classes)


def test_classes_that_the_network_does_not_know(network):
    """Fails if an unknown class is compared with a known one, left out of the accuracy, or not named."""
    problem, controls = network
    samples = new_samples(problem)
    known = fs.studies.predict(problem, controls, samples)
    truth = known.labels.astype("U5")
    truth[:2] = "zebra"
    report = fs.studies.predict(problem, controls, samples, truth=truth)
    assert report.accuracy == 7 / 9 and report.unknown == ("zebra",) and report.as_dict()["unknown_labels"] == ["zebra"]
    assert report.sentences[1] == "the network does not know the label zebra: 2 samples, counted as wrong"
    with pytest.raises(InvalidInput, match="the labels are numbers and the classes text"):
        fs.studies.predict(problem, controls, samples, truth=np.arange(9))


def test_samples_of_another_mesh_are_refused(network):
    """Fails if states on other nodes are multiplied by the kernel of these, or end in an error of NumPy's."""
    problem, controls = network
    other = make_classifier(MPI.COMM_SELF, cells=3)
    nodes = problem.space.num_nodes
    with pytest.raises(InvalidInput, match=f"on the mesh of the network of shape .*expected \\({nodes}, number of"):
        fs.studies.predict(problem, controls, new_samples(other))


def test_controls_that_are_no_numbers_are_refused(network):
    """Fails if NaN in a control makes labels of NaN."""
    problem, controls = network
    broken = controls.copy()
    broken[3] = np.nan
    with pytest.raises(InvalidInput, match="not finite"):
        fs.studies.predict(problem, broken, new_samples(problem))
    for study in (fs.studies.certify, fs.studies.network_stability):
        with pytest.raises(InvalidInput, match="not finite"):
            study(problem, broken)
    with pytest.raises(InvalidInput, match="seed = -3"):
        fs.studies.train(problem, seed=-3)
