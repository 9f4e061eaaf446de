# SPDX-License-Identifier: MIT
"""The study `train` on a network that no case file made: the same as its phases by themselves, whole or resumed."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from mpi4py import MPI
from optima import numpy_neuron, problem_with_a_gap
from own_networks import CLASSES, CUBIC, make_classifier, numpy_objective, numpy_outputs

import fem_selection as fs
from fem_selection.errors import InvalidInput
from fem_selection.io.runs import read_columns

TWELVE = fs.OptimizerSettings(max_iterations=12, gradient_tolerance=0.0)
NONE = fs.OptimizerSettings(max_iterations=0)
ADAM = fs.StochasticSettings(epochs=4, batch=4, rate=0.05, validation=0.3)
OFTEN = fs.OutputSettings(checkpoint_every=2, figures=False, fields=False)


def make(**options) -> fs.LearningProblem:
    """The classifier on this process, with these options."""
    return make_classifier(MPI.COMM_SELF, **options)


def assert_same(actual, expected) -> None:
    """Equal but for round-off: the sums of two equal problems differ with the place of their arrays in memory."""
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-11)


def stop_at(question: int):
    """A function that answers yes from that question on."""
    asked = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) >= question

    return stop


@pytest.fixture(scope="module")
def trained():
    """A problem and what both phases made of it, with pictures."""
    problem = make()
    return problem, fs.studies.train(problem, TWELVE, ADAM, seed=3)


def test_without_a_stochastic_phase_it_is_the_minimisation():
    """Fails if the study starts elsewhere, passes other settings on, or returns x̂ in place of x."""
    problem, same = make(), make()
    result = fs.studies.train(problem, TWELVE, output=OFTEN)
    found = fs.minimize(same.scaled_functional, same.scaled_start, TWELVE)
    assert_same(result.controls, same.scaled_functional.to_controls(found.scaled_solution))
    report = result.report
    assert_same([report.objective, report.gradient_norm], [found.objective, found.gradient_norm])
    assert (report.iterations, report.evaluations, report.reason) == (12, found.evaluations, found.reason)
    assert report.objective == pytest.approx(numpy_objective(problem, result.controls), rel=1e-12)
    assert report.stochastic is None and not result.stopped
    assert report.history["iteration"].tolist() == list(range(13)) and report.stochastic_history == {}
    assert report.history["objective"][-1] == report.objective < 0.9 * report.history["objective"][0]


def test_the_stochastic_phase_is_the_descent_on_mini_batches():
    """Fails if a validation part is left among the samples that are fitted, or another iterate than its best is
    taken."""
    problem, same = make(), make()
    result = fs.studies.train(problem, NONE, ADAM, seed=3, output=OFTEN)
    fit, validation = same.hold_out(0.3, 4)
    assert (fit.num_samples, validation.num_samples) == (10, 5)
    assert {tuple(f) for f in fit.states(np.arange(10), None).T}.isdisjoint(
        tuple(f) for f in validation.states(np.arange(5), None).T
    )
    batches = same.batches(ADAM.batch, fit)
    to_controls = same.scaled_functional.to_controls

    def score(scaled: np.ndarray) -> float:
        return same.accuracy(validation, to_controls(scaled))

    found = fs.optimize.descend(same.scaled_functional, same.scaled_start, ADAM, source=batches, validate=score, seed=3)
    assert_same(result.controls, to_controls(found.scaled_solution))
    assert result.report.stochastic["best_epoch"] == found.best_epoch
    assert result.report.stochastic["steps"] == 8  # two batches of four in each epoch


def test_a_validation_part_of_ones_own():
    """Fails if another part than the given one chooses the best iterate, or training samples are taken off for it."""
    given = make().test
    problem = make(validation=given)
    result = fs.studies.train(problem, NONE, ADAM, seed=3, output=OFTEN)
    assert problem.hold_out(0.3, 4) == (problem.train, given)
    assert result.report.stochastic["steps"] == 12  # three batches of four in each epoch
    best = int(result.report.stochastic["best_epoch"])
    scores = result.report.stochastic_history["validation_accuracy"]
    assert scores[best - 1] == max(scores) == problem.accuracy(given, result.controls)


@pytest.mark.parametrize("question", [2, 3, 7, 12])
def test_resumed_it_is_the_uninterrupted_run(tmp_path, question):
    """Fails if a phase does not save its whole state: the stop comes in the first epochs, or in the optimizer."""
    whole = fs.studies.train(make(), TWELVE, ADAM, seed=3, folder=tmp_path / "whole", output=OFTEN)
    first = fs.studies.train(
        make(), TWELVE, ADAM, seed=3, folder=tmp_path / "cut", output=OFTEN, stop=stop_at(question)
    )
    assert first.stopped and first.report is None
    second = fs.studies.train(make(), TWELVE, ADAM, seed=3, folder=tmp_path / "cut", output=OFTEN, resume=True)
    assert_same(second.controls, whole.controls)
    for name in ("iterations", "evaluations", "stochastic"):
        assert getattr(second.report, name) == getattr(whole.report, name), name
    for name in ("objective", "gradient_norm"):
        assert_same(getattr(second.report, name), getattr(whole.report, name))
    assert second.report.certificate["taylor_order"] == pytest.approx(whole.report.certificate["taylor_order"], 1e-6)
    assert 0 <= second.report.adjoint_sweeps - whole.report.adjoint_sweeps <= 2
    in_epochs = question < 4
    assert second.report.resumed_from_epoch == (question if in_epochs else None)
    assert second.report.resumed_from_iteration == (0 if in_epochs else question - 5)  # questions after four epochs
    for name in ("history.csv", "stochastic.csv"):
        here, reference = (read_columns(tmp_path / folder / name) for folder in ("cut", "whole"))
        assert here.keys() == reference.keys()
        for column in here.keys() - {"seconds"}:
            assert_same(here[column], reference[column])
    assert_same(second.report.history["objective"], whole.report.history["objective"])


@pytest.mark.parametrize(
    ("options", "settings", "words"),
    [
        ({"shift": 1}, {}, "samples.train was [15, "),
        (
            {"activation": fs.Activation(name="cubic", expression=lambda s: s - s**3 / 8)},
            {},
            "dynamics.activation_values was",
        ),
        ({"cells": 3}, {}, "space.nodes was 9 and is 16"),
        ({"horizon": 1.5}, {}, "dynamics.horizon was 1.0 and is 1.5"),
        ({"parts": ("kernel", "bias")}, {}, "objective.controls was ['kernel', 'bias', 'readout']"),
        ({"bounds": {"bias": (-1.0, 1.0)}}, {}, "objective.bounds was None"),
        ({}, {"seed": 4}, "seed was 3 and is 4"),
    ],
)
def test_a_checkpoint_of_another_problem_is_refused(tmp_path_factory, checkpoint, options, settings, words):
    """Fails if a run goes on with other samples, another mesh or another equation, or the refusal does not say why."""
    with pytest.raises(InvalidInput) as refusal:
        fs.studies.train(make(**options), TWELVE, ADAM, **{"seed": 3} | settings, folder=checkpoint, resume=True)
    assert "belongs to another problem" in str(refusal.value) and words in str(refusal.value)


def test_the_best_of_several_starts_is_kept(tmp_path):
    """Fails if a worse start replaces a better one, one is not listed, the folder's checkpoint is another's, or a run
    that is resumed with one start more trains those again that were done: the neuron of `demos/gap.toml`."""
    scaled = problem_with_a_gap()
    problem = fs.LearningProblem.from_functional(scaled.functional, start_controls=np.full(10, 0.2))
    settings = fs.OptimizerSettings(max_iterations=100, gradient_tolerance=0.0, absolute_tolerance=1e-8)
    found = fs.studies.train(problem, settings, folder=tmp_path, starts=4, seed=0, output=OFTEN)
    ends = [end["objective"] for end in found.report.starts]
    assert len(ends) == 4 and found.report.objective == min(ends) < 1.23 < max(ends) == pytest.approx(
        1.243742, abs=1e-5
    )
    assert scaled.functional.evaluate(found.controls)[0] == found.report.objective
    assert numpy_neuron(found.controls[:, None], (1.0, -3.0), (-1.0, -4.0), horizon=0.1, alpha=0.02) == pytest.approx(
        found.report.objective, rel=1e-12
    )
    best = tmp_path / "starts" / str(found.report.best_start)
    assert (tmp_path / "checkpoint").read_bytes() == (best / "checkpoint").read_bytes()
    with pytest.raises(InvalidInput, match="begun with several starts"):
        fs.studies.train(problem, settings, folder=tmp_path, resume=True, output=OFTEN)
    before = scaled.functional.counts.adjoint
    more = fs.studies.train(problem, settings, folder=tmp_path, starts=5, seed=0, resume=True, output=OFTEN)
    assert [end["objective"] for end in more.report.starts][:4] == ends and len(more.report.starts) == 5
    new = more.report.starts[4]["iterations"]
    assert scaled.functional.counts.adjoint - before <= 2 * new + 20
    with pytest.raises(InvalidInput, match="starts = 0: expected a whole number, at least 1"):
        fs.studies.train(problem, settings, starts=0)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The folder of a run that was stopped."""
    folder = tmp_path_factory.mktemp("stopped")
    fs.studies.train(make(), TWELVE, ADAM, seed=3, folder=folder, output=OFTEN, stop=stop_at(2))
    return folder


def test_controls_are_found_again(tmp_path):
    """Fails if other controls than the best come out of the folder, or a problem of other dynamics gets them."""
    problem = make()
    result = fs.studies.train(problem, TWELVE, folder=tmp_path, output=OFTEN)
    np.testing.assert_array_equal(fs.load_controls(make(shift=1), tmp_path), result.controls)
    with pytest.raises(InvalidInput, match=r"dynamics.horizon was 1.0 and is 1.5"):
        fs.load_controls(make(horizon=1.5), tmp_path)


def test_a_folder_is_needed_to_resume_and_nothing_is_written_without(tmp_path, monkeypatch):
    """Fails if a file appears that nobody asked for."""
    monkeypatch.chdir(tmp_path)
    fs.studies.train(make(), NONE, ADAM, output=OFTEN)
    with pytest.raises(InvalidInput, match="give folder"):
        fs.studies.train(make(), NONE, resume=True)
    assert not list(tmp_path.iterdir())


def test_texts_lie_beside_and_an_earlier_run_is_replaced(tmp_path):
    """Fails if what a run left is taken for that of the next, or a file of somebody else is removed."""
    (tmp_path / "notes").write_text("mine")
    fs.studies.train(make(), TWELVE, ADAM, folder=tmp_path, texts={"equation.txt": "σ(s) = s − s³/9"}, output=OFTEN)
    result = fs.studies.train(make(), NONE, folder=tmp_path, output=OFTEN)
    assert result.report.stochastic_history == {} and not (tmp_path / "stochastic.csv").exists()
    assert (tmp_path / "notes").read_text() == "mine"
    assert (tmp_path / "equation.txt").read_text() == "σ(s) = s − s³/9"


def test_accuracies_are_those_of_numpy(trained):
    """Fails if accuracy, cost or confusion are of other controls, other samples, or counted the wrong way round."""
    problem, result = trained
    report, numbers = result.report, np.arange(problem.test.num_samples)
    outputs = numpy_outputs(problem, result.controls, problem.test.states(numbers, None))
    predicted, true = outputs.argmax(axis=1), problem.test.labels
    confusion = np.zeros((3, 3), dtype=int)
    for a, b in zip(true, predicted, strict=True):
        confusion[a, b] += 1
    np.testing.assert_array_equal(report.confusion, confusion)
    assert report.test_accuracy == np.mean(predicted == true) and report.classes == CLASSES
    cost = np.mean(np.log(np.exp(outputs).sum(axis=1)) - outputs[numbers, true])
    assert report.test_cost == pytest.approx(cost, rel=1e-12)
    assert report.sentences[-1] == f"test accuracy {report.test_accuracy:.4f}"
    assert report.certificate["taylor_order"] == pytest.approx(2.0, abs=0.05)


def test_work_is_that_of_this_run():
    """Fails if the sweeps of whatever was done with the functional before are counted too."""
    problem = make()
    first = fs.studies.train(problem, TWELVE, output=OFTEN).report
    second = fs.studies.train(problem, TWELVE, output=OFTEN).report
    assert (second.forward_sweeps, second.adjoint_sweeps) == (first.forward_sweeps, first.adjoint_sweeps)
    assert first.adjoint_sweeps == first.evaluations


def test_the_report_is_kept_and_written(trained, tmp_path):
    """Fails if the report holds a PETSc object, a file is missing, or `as_dict` is not what the file says."""
    problem, result = trained
    again = pickle.loads(pickle.dumps(result))
    np.testing.assert_array_equal(again.controls, result.controls)
    assert json.dumps(again.report.as_dict()) == json.dumps(result.report.as_dict())
    path = result.report.write(tmp_path / "folder", space=problem.space, about={"title": "own"}, comm=MPI.COMM_SELF)
    assert path == tmp_path / "folder" / "report.json"
    expected = json.loads(json.dumps(result.report.as_dict()))
    written = json.loads(path.read_text())
    assert written.pop("title") == "own" and written.pop("certificate").keys() == expected.pop("certificate").keys()
    assert written == expected
    figures = {p.name for p in (tmp_path / "folder" / "figures").iterdir() if p.stat().st_size > 5000}
    assert figures == {"convergence.png", "states.png", "controls.png", "confusion.png"}
    assert list((tmp_path / "folder").glob("states.*"))
    with pytest.raises(AttributeError):
        result.report.objective = 0.0


def test_a_box_holds(tmp_path):
    """Fails if bounds of x are taken for bounds of x̂, or of another part."""
    problem = make(bounds={"kernel": (-0.05, 0.05)})
    result = fs.studies.train(problem, fs.OptimizerSettings(method="blmvm", max_iterations=30), output=OFTEN)
    control_space = problem.functional.control_space
    local = control_space.gather(result.controls)
    kernel, bias = local[control_space.slices["kernel"]], local[control_space.slices["bias"]]
    assert (kernel.min(), kernel.max()) == pytest.approx((-0.05, 0.05)) and bias.max() > 0.1
    with pytest.raises(InvalidInput, match=r"bounds of 'weights': choose from kernel, bias, readout"):
        make(bounds={"weights": (0.0, 1.0)})


def test_what_does_not_fit_is_refused():
    """Fails if labels, a start or targets of the wrong number are accepted."""
    problem = make()
    with pytest.raises(InvalidInput, match=r"labels of shape \(4,\): expected \(15,\)"):
        fs.LearningProblem.from_functional(problem.functional, labels=np.arange(4))
    with pytest.raises(InvalidInput, match=r"controls of shape \(3,\) on a rank with a shard of shape \(210,\)"):
        fs.LearningProblem.from_functional(problem.functional, start_controls=np.zeros(3))
    with pytest.raises(InvalidInput, match=r"labels of shape \(3,\): expected \(15,\)"):
        fs.SampleStates.from_states(problem.functional.initial, labels=np.arange(3))


def test_progress_tells_of_both_phases():
    """Fails if a phase is silent or counts to another end."""
    told = []
    fs.studies.train(make(), TWELVE, ADAM, seed=3, output=OFTEN, progress=lambda *said: told.append(said[:3]))
    epochs = [(done, total) for phase, done, total in told if phase == "stochastic phase"]
    steps = [(done, total) for phase, done, total in told if phase == "LMVM"]
    assert epochs == [(k, 4) for k in range(1, 5)] and steps == [(k, 12) for k in range(13)]


def test_an_activation_is_known_by_its_values():
    """Fails if two activations of one name pass for the same, or one and the same for two."""
    describe = [
        fs.learning.describe_problem(make(activation=a))["dynamics"]
        for a in (
            CUBIC,
            fs.Activation(name="cubic", expression=lambda s: s * (1 - s * s / 9)),
            fs.Activation(name="cubic", expression=lambda s: s),
        )
    ]
    assert describe[0] == describe[1] != describe[2]
