# SPDX-License-Identifier: MIT
"""The stochastic phase: Adam and momentum against their formulas, resumed runs, ranks, validation, schedule, boxes.

The resume tests fail if a moment, the step's number, the place in the epoch or the random stream is not restored.
"""

from __future__ import annotations

from dataclasses import astuple, replace

import numpy as np
import pytest
from mpi4py import MPI
from problems import as_from_a_file, make_domain, make_problem, make_targets, smooth_states
from ranks import print_results

from fem_selection.data import AffineMaps
from fem_selection.discretization.spaces import StateSpace
from fem_selection.errors import InvalidInput, NonFinite
from fem_selection.learning import SampleBatches, SampleStates, ScaledFunctional
from fem_selection.optimize import EpochRow, StochasticReport, descend
from fem_selection.optimize import stochastic as module
from fem_selection.parallel import Ensemble
from fem_selection.settings import Movement, StochasticSettings

SAMPLES = 23


class Setting:
    """A softmax problem of 23 samples on an interval, its mini-batches, and a record of what a run tells."""

    def __init__(self, comm: MPI.Intracomm = MPI.COMM_SELF, space: int = 1, batch: int = 5, activation="tanh") -> None:
        self.ensemble = Ensemble(comm, space)
        mesh = make_domain("interval", 8, self.ensemble.space_comm)
        self.space = StateSpace(mesh, 1, "lagrange", mode="collocated")
        problem = make_problem(self.space, self.ensemble, samples=SAMPLES, block=4, activation=activation)
        self.scaled, self.control_space = ScaledFunctional(problem.functional), problem.control_space
        self.start = self.scaled.to_scaled(problem.moved())
        self.maps_seen: list[AffineMaps | None] = []
        everything = smooth_states(self.space, slice(0, SAMPLES))

        def states(numbers: np.ndarray, maps: AffineMaps | None) -> np.ndarray:
            self.maps_seen.append(maps)
            shift = 0.0 if maps is None else maps.shift[:, 0]
            return np.asfortranarray(everything[:, numbers] + shift)

        targets = make_targets(self.space, "softmax", slice(0, SAMPLES), 3)
        self.part = SampleStates(num_samples=SAMPLES, states=states, targets=targets, labels=np.arange(SAMPLES) % 3)
        self.source = SampleBatches(self.ensemble, self.part, batch, dimension=1, movement=Movement(shift=0.1))
        self.rows: list[EpochRow] = []
        self.saved: dict[int, tuple] = {}

    def save(self, state: dict, vectors: dict) -> None:
        """Keeps what a checkpoint would hold, by its step."""
        self.saved[state["step"]] = as_from_a_file(state, vectors)

    def run(self, settings: StochasticSettings, **more) -> StochasticReport:
        """Runs the phase from the start, with these arguments changed."""
        arguments = {"scaled_start": self.start, "source": self.source, "save": self.save, "observe": self.rows.append}
        arguments |= {"seed": SEED, "checkpoint_every": 2, **more}
        return descend(self.scaled, settings=settings, **arguments)


def stop_after(steps: int):
    """A `stop` that says yes at its call number `steps`."""
    calls = iter(range(1, 10**6))
    return lambda: next(calls) >= steps


SETTINGS = StochasticSettings(method="adam", epochs=6, rate=0.02)
SEED = 3


def numpy_gradient(space: StateSpace, x: np.ndarray, chosen: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """J'(x) on a mini-batch by complex steps, all of them at once: nothing but NumPy and the nodes' weights."""
    moved = x[:, None] + 1e-30j * np.eye(len(x))
    return numpy_objective(space, moved, chosen, shifts).imag / 1e-30


def numpy_objective(space: StateSpace, x: np.ndarray, chosen: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """J for each column of x, shape (controls, any): two layers of 0.2 for each of two controls, three classes."""
    weights, n, count = space.weights, space.num_nodes, x.shape[1]
    sizes = np.cumsum([2 * n * n, 2 * n, 3 * n])
    kernel, bias, readout, offset = np.split(x, sizes)
    w = kernel.reshape(2, n, n, count).transpose(3, 0, 2, 1)  # (control, interval, row, column)
    b, c = bias.reshape(2, n, count).transpose(2, 0, 1), readout.reshape(3, n, count).transpose(2, 0, 1)
    f = np.cos(space.coordinates[:, :1] * (1 + chosen % 3) + 0.7 * chosen) + shifts
    for layer in range(4):
        k = layer // 2
        f = f + 0.2 * np.tanh((w[:, k] * weights) @ f + b[:, k, :, None])
    o = (c * weights) @ f + offset.T[:, :, None]
    losses = np.log(np.exp(o).sum(axis=1)) - o[:, chosen % 3, np.arange(5)]
    value = 1.3 / 5 * losses.sum(axis=1)
    squares = np.einsum("cknm,n,m->ck", w**2, weights, weights), (b**2) @ weights
    jumps = np.einsum("cnm,n,m->c", (w[:, 1] - w[:, 0]) ** 2, weights, weights), (b[:, 1] - b[:, 0]) ** 2 @ weights
    value = value + 0.4 / 2 * (1e-2 * squares[0] + 2e-2 * squares[1]).sum(axis=1)
    value = value + (4e-3 * jumps[0] + 5e-3 * jumps[1]) / (2 * 0.4)
    return value + 3e-2 / 2 * (((c**2) @ weights).sum(axis=1) + (offset**2).sum(axis=0))


@pytest.mark.parametrize("method", ["adam", "momentum"])
@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_steps_follow_the_formulas(method: str, schedule: str) -> None:
    """Fails if a moment, its bias correction, the rate, a batch or its gradient is another than the module's formulas
    say: every iterate is computed again by NumPy, with J written out below and differentiated by complex steps."""
    run = Setting()
    settings = replace(SETTINGS, method=method, schedule=schedule, momentum=0.8, second_moment=0.95, epochs=3)
    found = run.run(settings)
    metric = run.control_space.lumped
    stream, x = np.random.Generator(np.random.PCG64(SEED)), run.start.copy()
    m, v, k = np.zeros_like(x), np.zeros_like(x), 0
    for _ in range(settings.epochs):
        order, shifts = stream.permutation(SAMPLES), 0.1 * stream.standard_normal(SAMPLES)
        stream.standard_normal(2 * SAMPLES)  # rotations and magnifications, which Movement(shift=0.1) leaves out
        batches = [order[5 * n : 5 * n + 5] for n in range(4)]  # 20 of 23: an incomplete batch is left out
        for chosen in batches:
            g = numpy_gradient(run.space, x / np.sqrt(metric), chosen, shifts[chosen]) / np.sqrt(metric)
            rate = settings.rate * (0.5 * (1 + np.cos(np.pi * k / 12)) if schedule == "cosine" else 1.0)
            k += 1
            m = 0.8 * m + 0.2 * g
            v = 0.95 * v + 0.05 * g**2
            step = m / (1 - 0.8**k)
            if method == "adam":
                step /= np.sqrt(v / (1 - 0.95**k)) + settings.epsilon
            x = x - rate * step
    np.testing.assert_allclose(found.scaled_solution, x, rtol=0, atol=1e-12 * np.abs(x).max())
    assert (found.epochs, found.steps, found.reason) == (3, 12, "all epochs were done")
    assert run.rows[-1].rate == pytest.approx(0.0 if schedule == "cosine" else settings.rate, abs=1e-15)


@pytest.mark.parametrize("method", ["adam", "momentum"])
def test_the_objective_falls(method: str) -> None:
    """Fails if steps go up the gradient, if a mini-batch's gradient is not one of the objective, or if an epoch has no
    row."""
    setting = Setting()
    rate = 0.05 if method == "adam" else 0.5
    found = setting.run(replace(SETTINGS, method=method, epochs=30, rate=rate))
    before = setting.scaled.evaluate(setting.start)[0]
    assert setting.scaled.evaluate(found.scaled_solution)[0] < 0.9 * before
    assert [row.epoch for row in setting.rows] == list(range(1, 31))


@pytest.mark.parametrize("method", ["adam", "momentum"])
@pytest.mark.parametrize("steps", [1, 3, 4, 6, 13])
def test_a_run_resumed_in_an_epoch_equals_the_uninterrupted_one(
    monkeypatch: pytest.MonkeyPatch, method: str, steps: int
) -> None:
    """Fails if a moment, the step's number, the place in the epoch or the random stream is lost at a cut within an
    epoch of four batches or, 4, between two."""
    monkeypatch.setattr(module, "_STEPS_BETWEEN_MESSAGES", 1)
    settings, whole, cut, rest = replace(SETTINGS, method=method), Setting(), Setting(), Setting()
    full = whole.run(settings)
    stopped = cut.run(settings, stop=stop_after(steps))
    assert (stopped.stopped, stopped.steps) == (True, steps)
    state, vectors = cut.saved[steps]
    assert (state["epoch"], state["batch"]) == divmod(steps, 4)
    found = rest.run(settings, scaled_start=np.full_like(rest.start, np.nan), resume=(state, vectors))
    np.testing.assert_array_equal(found.scaled_solution, full.scaled_solution)
    np.testing.assert_array_equal([astuple(row) for row in cut.rows + rest.rows], [astuple(row) for row in whole.rows])
    # the test can fail: another stream, or no moments, ends elsewhere
    for name in ("first_moment", "second_moment")[: 2 if method == "adam" else 1]:
        wrong = Setting().run(settings, resume=(state, {**vectors, name: np.zeros_like(vectors[name])}))
        assert np.abs(wrong.scaled_solution - full.scaled_solution).max() > 1e-6
    other = {**state, "stream": np.random.Generator(np.random.PCG64(99)).bit_generator.state}
    assert np.abs(Setting().run(settings, resume=(other, vectors)).scaled_solution - full.scaled_solution).max() > 1e-6


def test_validation_keeps_the_best_iterate_over_a_cut() -> None:
    """Fails if the last iterate is returned, if an equal score counts as better, if patience is counted anew after a
    cut, or if a run that had ended goes on."""
    scores = [0.1, 0.5, 0.4, 0.5, 0.45, 0.3, 0.9]
    whole, cut, rest = Setting(), Setting(), Setting()
    settings, seen = replace(SETTINGS, epochs=7, patience=3), []

    def validate(values):
        scores_left = iter(values)

        def score(x: np.ndarray) -> float:
            seen.append(x.copy())
            return next(scores_left)

        return score

    found = whole.run(settings, checkpoint_every=1, validate=validate(scores))
    # the second epoch is the best; an equal score later is not better, and after three worse ones it is over
    assert (found.best_epoch, found.epochs) == (2, 5)
    assert found.reason == "the validation did not improve over 3 epochs"
    np.testing.assert_array_equal(found.scaled_solution, seen[1])
    assert [row.validation_score for row in whole.rows] == scores[:5]
    cut.run(settings, checkpoint_every=1, validate=validate(scores))
    again = rest.run(settings, checkpoint_every=1, validate=validate(scores[3:]), resume=cut.saved[3 * 4])
    assert (again.best_epoch, again.epochs) == (2, 5)
    np.testing.assert_array_equal(again.scaled_solution, found.scaled_solution)
    # a run that had ended is not continued
    ended = Setting().run(settings, validate=validate([]), resume=whole.saved[5 * 4])
    assert (ended.epochs, ended.best_epoch) == (5, 2)


def test_the_box_is_kept_at_every_step() -> None:
    """Fails if steps are not projected onto the box, but the solution alone, or if the box is one of other
    coordinates."""
    setting = Setting()
    limit = setting.scaled.to_scaled(np.full(setting.control_space.local_size, 0.05))
    found = setting.run(replace(SETTINGS, rate=0.05), scaled_bounds=(-limit, limit), checkpoint_every=1)
    for _, vectors in list(setting.saved.values())[1:]:
        assert np.all(np.abs(vectors["x"]) <= limit)
    assert np.mean(np.abs(found.scaled_solution) == limit) > 0.1


def test_images_move_in_training_alone() -> None:
    """Fails if all epochs move the images alike, or if images are moved where the whole part is evaluated."""
    setting = Setting()
    setting.run(replace(SETTINGS, epochs=2))
    moved = [maps for maps in setting.maps_seen if maps is not None]
    assert len(moved) == len(setting.maps_seen) == 2
    assert not np.array_equal(moved[0].shift, moved[1].shift), "each epoch moves anew"
    setting.maps_seen.clear()
    setting.part.share(setting.ensemble)
    setting.part.subset(np.arange(4)).share(setting.ensemble)
    assert setting.maps_seen == [None, None]


def test_every_sample_is_used_once_in_an_epoch() -> None:
    """Fails if samples of an epoch are drawn with repetition, or if a last batch that is not full is used."""
    setting = Setting()
    order = []
    part = replace(setting.part, states=lambda numbers, maps: (order.extend(numbers), np.zeros((9, len(numbers))))[1])
    epoch = SampleBatches(setting.ensemble, part, 5, dimension=1).draw_epoch(np.random.default_rng(0))
    for number in range(epoch.num_batches):
        epoch.batch(number)
    assert len(order) == 20 and len(set(order)) == 20


def test_a_batch_larger_than_the_data_is_all_of_it() -> None:
    """Fails if such a batch leaves an epoch without a step."""
    setting = Setting(batch=1000)
    found = setting.run(replace(SETTINGS, epochs=2))
    assert found.steps == 2


def test_no_epochs_do_nothing_and_unknown_methods_are_refused() -> None:
    """Fails if a step is done without an epoch, or if an unknown method passes for a known one."""
    setting = Setting()
    assert setting.run(replace(SETTINGS, epochs=0)).steps == 0
    with pytest.raises(InvalidInput, match="adam, momentum"):
        setting.run(replace(SETTINGS, method="sgd"))


@pytest.mark.parametrize("batch", [5, 1000])
@pytest.mark.parametrize("epochs", [1, 30])
def test_divergence_leaves_a_finite_iterate(batch: int, epochs: int) -> None:
    """Fails if what is saved is the iterate that overflowed, also where the last step of all is the one."""
    setting = Setting(batch=batch, activation="relu")
    with pytest.raises(NonFinite):
        settings = replace(SETTINGS, epochs=epochs, rate=1e200, schedule="constant")
        setting.run(settings, checkpoint_every=1)
    _, vectors = setting.saved[max(setting.saved)]
    assert np.isfinite(setting.scaled.evaluate(vectors["best"])[0])


def test_divergence_names_layer_and_step() -> None:
    """Fails if the error of a mini-batch does not say at which layer and in which step states overflowed."""
    setting = Setting(activation="relu")
    with pytest.raises(NonFinite) as caught:
        setting.run(replace(SETTINGS, epochs=30, rate=1e200))
    assert caught.value.iteration == 2 and 1 <= caught.value.layer <= 4


def main() -> None:
    """Prints the solutions by every split, gathered."""
    world, runs = MPI.COMM_WORLD, []
    for space in (s for s in range(1, world.size + 1) if world.size % s == 0):
        setting = Setting(world, space)
        found = setting.run(replace(SETTINGS, epochs=2))
        places = world.allgather(setting.control_space.indices)
        pieces = world.allgather(setting.scaled.to_controls(found.scaled_solution))
        whole = np.empty(setting.control_space.global_size)
        for where, piece in zip(places, pieces, strict=True):
            whole[where] = piece
        runs.append({"x": whole.tolist(), "objectives": [row.objective for row in setting.rows]})
    print_results({"runs": runs})


def test_ranks_see_the_same_batches_and_iterates(results_on) -> None:
    """Fails if ranks draw different batches, if a batch's samples are lost between them, or if gradients are summed
    with other weights than on one rank."""
    alone = Setting()
    found = alone.run(replace(SETTINGS, epochs=2))
    expected = np.empty(alone.control_space.global_size)
    expected[alone.control_space.indices] = alone.scaled.to_controls(found.scaled_solution)
    results = results_on(2)["runs"]
    assert len(results) == 2
    for result in results:
        np.testing.assert_allclose(result["x"], expected, rtol=0, atol=1e-10 * np.abs(expected).max())
        np.testing.assert_allclose(result["objectives"], [row.objective for row in alone.rows], rtol=1e-10)


if __name__ == "__main__":
    main()
