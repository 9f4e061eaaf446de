# SPDX-License-Identifier: MIT
"""The deterministic phase: each method, resumed runs, bounds, options, and iteration counts on refined meshes.

The resume tests fail if the quasi-Newton memory is lost or a pair of it is wrong: a cold start from the same iterate is
run beside and must differ by far.  The counts fail if the optimizer works in the coefficients x instead of x̂.
"""

from __future__ import annotations

import gc
import itertools
import weakref
from dataclasses import replace

import numpy as np
import pytest
from petsc4py import PETSc
from problems import as_from_a_file, make_domain, make_problem

from fem_selection.discretization.spaces import StateSpace
from fem_selection.errors import InvalidInput, NonFinite
from fem_selection.learning.scaled import ScaledFunctional
from fem_selection.optimize import tao as tao_module
from fem_selection.optimize.report import IterationRow, OptimizationReport
from fem_selection.optimize.tao import minimize
from fem_selection.settings import OptimizerSettings, Regularization
from fem_selection.settings.names import NEWTON, PONTRYAGIN, TAO

ENDLESS = {"gradient_tolerance": 0.0, "absolute_tolerance": 0.0}


def tracking(cells: int = 8, layers: int = 5, weight: float = 1e-2, grading: float = 1.0) -> ScaledFunctional:
    """Eight smooth samples on an interval that are to become other smooth functions; the controls start from zero."""
    space = StateSpace(make_domain("interval", cells, grading=grading), 1, "lagrange", mode="collocated")
    problem = make_problem(
        space,
        loss="tracking",
        layers=layers,
        intervals=layers,
        samples=8,
        horizon=1.0,
        block=8,
        weight=1.0,
        regularization=Regularization(kernel=weight, bias=weight, readout=weight, kernel_depth=0.0, bias_depth=0.0),
    )
    return ScaledFunctional(problem.functional)


def zero(functional: ScaledFunctional) -> np.ndarray:
    """Controls that are zero."""
    return np.zeros(functional.control_space.local_size)


def box(functional: ScaledFunctional, limit: float) -> tuple[np.ndarray, np.ndarray]:
    """|x| ≤ limit as bounds of x̂."""
    upper = functional.to_scaled(np.full(functional.control_space.local_size, limit))
    return -upper, upper


class Recorder:
    """Rows of the history, and everything that was saved, as it would come back from a file."""

    def __init__(self) -> None:
        self.rows: list[IterationRow] = []
        self.saved: dict[int, tuple] = {}

    def save(self, state: dict, vectors: dict) -> None:
        """Keeps what a checkpoint would hold, by its iteration."""
        self.saved[state["iteration"]] = as_from_a_file(state, vectors)

    def run(self, functional: ScaledFunctional, settings: OptimizerSettings, **more) -> OptimizationReport:
        """Minimizes from zero controls, with these arguments changed."""
        start = more.pop("scaled_start", zero(functional))
        return minimize(functional, start, settings, save=self.save, observe=self.rows.append, **more)

    @property
    def objectives(self) -> np.ndarray:
        """The objective's column of the history."""
        return np.array([row.objective for row in self.rows])


@pytest.mark.parametrize("method", TAO)
def test_each_method_reaches_the_tolerance(method: str) -> None:
    """Fails if a method ends elsewhere than at the minimum they share, by another criterion than it names, or leaves
    out a row of the history."""
    functional, recorder = tracking(weight=3e-2), Recorder()
    found = recorder.run(functional, OptimizerSettings(method=method, max_iterations=300, gradient_tolerance=1e-5))
    assert found.converged and not found.stopped
    assert found.reason == "the gradient norm fell below 1e-05 times its first value"
    value, gradient = functional.evaluate(found.scaled_solution)
    assert value == pytest.approx(found.objective, rel=1e-14)
    assert functional.norm(gradient) <= 1e-5 * recorder.rows[0].gradient_norm
    assert [row.iteration for row in recorder.rows] == list(range(found.iterations + 1))
    assert found.objective == min(recorder.objectives)
    assert found.objective == pytest.approx(0.0121639, rel=1e-5)  # the same minimum by every method


@pytest.mark.parametrize("method", ["nls", "ntr"])
def test_gauss_newton_reaches_the_same_minimum(method: str) -> None:
    """Fails if `hessian` chooses nothing, or Gauss–Newton steps lead elsewhere: the minimum of the exact Hessian, with
    fewer adjoint sweeps, for its linearizations need none."""
    settings, ends = OptimizerSettings(method=method, max_iterations=200, gradient_tolerance=1e-6), []
    for hessian in ("exact", "gauss_newton"):
        functional = tracking(weight=0.1)
        report = minimize(functional, zero(functional), replace(settings, hessian=hessian))
        counts = functional.functional.counts
        assert report.converged, report.reason
        ends.append((report.objective, counts.adjoint - report.evaluations))
    assert ends[0][0] == pytest.approx(ends[1][0], rel=1e-8)
    assert ends[0][1] > 0 and ends[1][1] == 0


@pytest.mark.parametrize("method", ["blmvm", "bqnls", "bnls", "bntr"])
def test_bounds_are_kept_and_active(method: str) -> None:
    """Fails if a bound is crossed, if none or all are active, or if a descent direction that stays in the box is
    left."""
    functional = tracking(weight=3e-2)
    lower, upper = box(functional, 0.5)
    settings = OptimizerSettings(method=method, max_iterations=400, gradient_tolerance=1e-5, memory=20)
    found = minimize(functional, zero(functional), settings, scaled_bounds=(lower, upper))
    x = found.scaled_solution
    assert np.all(lower <= x) and np.all(x <= upper)
    at_lower, at_upper = x == lower, x == upper
    assert 0.1 < np.mean(at_lower | at_upper) < 0.9
    # first-order conditions: no descent direction that stays in the box
    gradient = functional.evaluate(x)[1]
    free = ~(at_lower | at_upper)
    size = functional.norm(functional.evaluate(zero(functional))[1])
    assert functional.norm(gradient[free]) < 1e-4 * size
    assert np.all(gradient[at_lower] > -1e-4 * size) and np.all(gradient[at_upper] < 1e-4 * size)


@pytest.mark.parametrize("method", ["lmvm", "cg"])
def test_methods_without_bounds_refuse_them(method: str) -> None:
    """Fails if bounds are dropped in silence, or if the error names no method that keeps them."""
    functional = tracking()
    with pytest.raises(InvalidInput, match=r"blmvm.*bqnls"):
        minimize(functional, zero(functional), OptimizerSettings(method=method), scaled_bounds=box(functional, 1.0))


@pytest.mark.parametrize(
    ("method", "limit", "memory"),
    [
        ("lmvm", None, 5),
        ("lmvm", None, 20),
        ("blmvm", 1.0, 5),
        ("blmvm", None, 5),
        ("bqnls", 1.0, 5),
        ("bqnls", None, 5),
    ],
)
@pytest.mark.parametrize("cut", [3, 14])
def test_a_resumed_run_follows_the_uninterrupted_one(method: str, limit: float | None, memory: int, cut: int) -> None:
    """Fails if the pairs of the quasi-Newton memory are lost or come back in another order: without them the method
    takes other steps."""
    whole, rest, cold = Recorder(), Recorder(), Recorder()
    functional = tracking(weight=1e-3)
    bounds = None if limit is None else box(functional, limit)
    settings = OptimizerSettings(method=method, max_iterations=cut + 20, **ENDLESS, memory=memory)
    full = whole.run(functional, settings, scaled_bounds=bounds, checkpoint_every=1)
    state, vectors = whole.saved[cut]
    found = rest.run(tracking(weight=1e-3), settings, scaled_bounds=bounds, resume=(state, vectors))
    assert [row.iteration for row in rest.rows] == list(range(cut + 1, cut + 21))
    np.testing.assert_allclose(rest.objectives, whole.objectives[cut + 1 :], rtol=1e-8)
    assert (found.iterations, found.evaluations) == (full.iterations, full.evaluations)
    # without its memory the method takes other steps
    last = vectors[f"x{len(state['objectives']) - 1}"]
    cold.run(functional, replace(settings, max_iterations=20), scaled_bounds=bounds, scaled_start=last)
    assert np.max(np.abs(cold.objectives[1:] / whole.objectives[cut + 1 :] - 1)) > 1e-3


def test_a_run_cut_several_times_is_the_same_run() -> None:
    """Fails if a cut before there is a pair, or soon after another cut, loses what the next steps need."""
    whole, settings = Recorder(), OptimizerSettings(method="lmvm", max_iterations=30, **ENDLESS, memory=5)
    whole.run(tracking(weight=1e-3), settings, checkpoint_every=1)
    objectives, saved = [], None
    for end in (0, 1, 2, 9, 17, 30):
        part = Recorder()
        limit = replace(settings, max_iterations=end)
        part.run(tracking(weight=1e-3), limit, resume=saved, checkpoint_every=1)
        objectives += list(part.objectives)
        saved = part.saved[end]
    np.testing.assert_allclose(objectives, whole.objectives, rtol=1e-8)


def test_cg_resumes_from_its_last_iterate() -> None:
    """Fails if a resumed run of conjugate gradients, which keep no memory, begins at the start or repeats an
    iteration."""
    whole, rest = Recorder(), Recorder()
    settings = OptimizerSettings(method="cg", max_iterations=12, **ENDLESS)
    whole.run(tracking(), settings, checkpoint_every=1)
    rest.run(tracking(), settings, resume=whole.saved[6])
    assert rest.rows[0].iteration == 7
    assert rest.rows[0].objective < whole.rows[6].objective


def test_the_iteration_limit_counts_from_the_beginning() -> None:
    """Fails if a resumed run gets the whole limit again, or if a limit of zero iterates."""
    first, again = Recorder(), Recorder()
    found = first.run(tracking(), OptimizerSettings(method="lmvm", max_iterations=6, **ENDLESS))
    assert (found.iterations, found.reason, found.converged) == (6, "the iteration limit was reached", False)
    beyond = again.run(tracking(), OptimizerSettings(method="lmvm", max_iterations=6, **ENDLESS), resume=first.saved[6])
    assert (beyond.iterations, again.rows, beyond.objective) == (6, [], found.objective)
    none = Recorder().run(tracking(), OptimizerSettings(method="lmvm", max_iterations=0))
    assert (none.iterations, none.evaluations) == (0, 1)


def test_reasons_in_words() -> None:
    """Fails if the reason is PETSc's number or the sentence of another, or if a run that was asked to stop counts as
    converged."""
    found = Recorder().run(tracking(), OptimizerSettings(gradient_tolerance=0.0, absolute_tolerance=1e-2))
    assert found.reason == "the gradient norm fell below the absolute tolerance"
    calls = iter([False, False, True])
    found = Recorder().run(tracking(), OptimizerSettings(method="lmvm", max_iterations=50), stop=lambda: next(calls))
    assert (found.reason, found.stopped, found.converged, found.iterations) == ("stopped by the user", True, False, 2)


def test_round_off_ends_a_run_with_a_sentence() -> None:
    """Fails if a run that can go no lower counts as converged, or ends with an error of the line search."""
    found = Recorder().run(tracking(weight=1e-1), OptimizerSettings(method="cg", max_iterations=2000, **ENDLESS))
    assert found.reason == "the line search found no lower objective: the gradient is at the level of round-off"
    assert found.gradient_norm < 1e-8 and not found.converged


def test_a_checkpoint_is_there_from_iteration_0_and_every_few() -> None:
    """Fails if nothing is saved before the first step or at the end, or not at the interval asked for."""
    recorder = Recorder()
    recorder.run(tracking(), OptimizerSettings(method="lmvm", max_iterations=8, **ENDLESS), checkpoint_every=3)
    assert list(recorder.saved) == [0, 3, 6, 8]


def test_the_best_iterate_is_kept() -> None:
    """Fails if the last iterate is returned: unit steps without a line search end above an earlier objective."""
    recorder = Recorder()
    settings = OptimizerSettings(method="lmvm", max_iterations=11, **ENDLESS, options={"tao_ls_type": "unit"})
    found = recorder.run(tracking(weight=1e-3), settings)
    lowest = int(np.argmin(recorder.objectives))
    assert lowest < 11, "every step went down: this problem tests nothing"
    assert found.objective == recorder.objectives[lowest]
    assert tracking(weight=1e-3).evaluate(found.scaled_solution)[0] == found.objective


def test_options_take_effect_and_do_not_leak() -> None:
    """Fails if an option of one run does not reach TAO, or stays in PETSc's database for the next."""
    before = PETSc.Options().getAll()
    plain, armijo, again = Recorder(), Recorder(), Recorder()
    settings = OptimizerSettings(method="lmvm", max_iterations=12, **ENDLESS)
    plain.run(tracking(weight=1e-3), settings)
    armijo.run(tracking(weight=1e-3), replace(settings, options={"tao_ls_type": "armijo"}))
    assert np.max(np.abs(plain.objectives - armijo.objectives)) > 1e-8
    again.run(tracking(weight=1e-3), settings)
    np.testing.assert_allclose(again.objectives, plain.objectives, rtol=1e-11)  # round-off depends on alignment
    assert PETSc.Options().getAll() == before


@pytest.mark.parametrize("method", TAO)
def test_misspelt_options_are_named(method: str) -> None:
    """Fails if an option that the method does not read is passed over, as PETSc does, or if a good one is named with
    it."""
    options = {"tao_ls_tpye": "armijo", **({} if method == "ntr" else {"-tao_ls_type": "armijo"})}
    with pytest.raises(InvalidInput, match=rf"{method} knows no option tao_ls_tpye$"):
        Recorder().run(tracking(), OptimizerSettings(method=method, max_iterations=3, options=options))


def test_the_memory_is_what_was_asked_for() -> None:
    """Fails if TAO keeps a number of pairs of its own: the first step that an eleventh pair can change is the
    eleventh."""
    ten, eleven = Recorder(), Recorder()
    ten.run(tracking(weight=1e-3), OptimizerSettings(method="lmvm", max_iterations=16, **ENDLESS, memory=10))
    eleven.run(tracking(weight=1e-3), OptimizerSettings(method="lmvm", max_iterations=16, **ENDLESS, memory=11))
    np.testing.assert_allclose(ten.objectives[:12], eleven.objectives[:12], rtol=1e-11)
    assert abs(ten.objectives[12] - eleven.objectives[12]) > 1e-10


def test_a_non_finite_objective_names_the_iteration_after_saving(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if such an objective loses its layer or iteration, or if the best iterate is not saved before the error
    comes out."""
    functional, recorder = tracking(), Recorder()
    evaluate = functional.functional.evaluate

    def break_later(shard: np.ndarray) -> tuple[float, np.ndarray]:
        if recorder.rows and recorder.rows[-1].iteration >= 4:
            raise NonFinite("the objective", layer=3)
        return evaluate(shard)

    monkeypatch.setattr(functional.functional, "evaluate", break_later)
    with pytest.raises(NonFinite, match=r"layer 3 in iteration [56]$"):
        settings = OptimizerSettings(method="lmvm", max_iterations=20, **ENDLESS)
        recorder.run(functional, settings, checkpoint_every=100)
    state, vectors = recorder.saved[max(recorder.saved)]
    assert state["best_objective"] == recorder.rows[4].objective
    monkeypatch.undo()
    assert functional.evaluate(vectors["best"])[0] == recorder.rows[4].objective


@pytest.mark.parametrize("method", TAO)
def test_states_at_the_start_alone(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if a trial without states is accepted, however small its step, or if the search has no end."""
    functional, recorder = tracking(), Recorder()
    evaluate, start = functional.functional.evaluate, zero(functional)

    def at_start(shard: np.ndarray) -> tuple[float, np.ndarray]:
        if np.any(shard != start):
            raise NonFinite("the objective")
        return evaluate(shard)

    monkeypatch.setattr(functional.functional, "evaluate", at_start)
    settings = OptimizerSettings(method=method, max_iterations=60, gradient_tolerance=1e-5)
    if method == "ntr":  # whose radius shrinks on, an iteration each time
        found = recorder.run(functional, settings)
        assert not found.converged and "shortened" in found.reason
        np.testing.assert_array_equal(found.scaled_solution, start)
    else:
        with pytest.raises(NonFinite, match=r"in iteration \d+$"):
            recorder.run(functional, settings)
    assert len(set(recorder.objectives)) == 1


def test_an_error_that_a_garbage_collection_drops_is_known() -> None:
    """Fails if PETSc's error without a cause hides that a callback raised: Python drops the error of a callback if a
    garbage collection at that moment prints it."""
    functional = tracking()
    settings = OptimizerSettings(method="lmvm", max_iterations=3, **ENDLESS)
    run = tao_module._Minimizer(functional, settings, None, None, None, None, 1)
    with pytest.raises(NonFinite, match="the objective"), run._faults_in_words():
        run.raised = NonFinite("the objective")
        raise PETSc.Error(101)


def test_a_run_that_ends_without_states_is_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if the error of a trial keeps PETSc's solver, and by it the functional with its mesh and communicators."""
    functional = tracking()
    evaluations = iter([functional.functional.evaluate(zero(functional))])

    def at_start(shard: np.ndarray) -> tuple[float, np.ndarray]:
        for value, gradient in evaluations:
            return value, gradient.copy()
        raise NonFinite("the objective")

    monkeypatch.setattr(functional.functional, "evaluate", at_start)
    with pytest.raises(NonFinite):
        Recorder().run(functional, OptimizerSettings(method="lmvm", max_iterations=60, gradient_tolerance=1e-5))
    monkeypatch.undo()
    left = weakref.ref(functional)
    del functional, at_start
    gc.collect()
    assert left() is None


@pytest.mark.parametrize(
    ("method", "name", "why"),
    [
        ("blmvm", "tao_type", "optimizer.method"),
        ("lmvm", "TAO_TYPE", "optimizer.method"),
        ("lmvm", "tao_max_it", "optimizer.max_iterations"),
        ("cg", "--tao_gatol", "optimizer.absolute_tolerance"),
        ("lmvm", "tao_lmvm_mat_lmvm_hist_size", "optimizer.memory"),
        ("bqnls", "tao_bqnls_mat_lmvm_hist_size", "optimizer.memory"),
        ("lmvm", "tao_fd_gradient", "exact"),
        ("lmvm", "tao_view", "report.json"),
        ("nls", "pc_type", "Riesz map"),
        ("bntr", "tao_bnk_pc_type", "Riesz map"),
        ("ntr", "ksp_rtol", "Newton's equation"),
    ],
)
def test_options_that_contradict_the_case_are_refused(method: str, name: str, why: str) -> None:
    """Fails if an option of PETSc changes the method, its end or its derivatives beside the key that states them, or
    is overwritten without a word; the spelling does not matter to PETSc."""
    with pytest.raises(InvalidInput, match=rf"{name.lstrip('-').lower()} cannot be set: .*{why}"):
        OptimizerSettings(method=method, options={name: 1})


@pytest.mark.parametrize("method", PONTRYAGIN)
def test_a_method_without_petsc_refuses_its_options(method: str) -> None:
    """Fails if an option is accepted that nothing reads."""
    with pytest.raises(InvalidInput, match=rf"{method} is no method of PETSc.*tao_ls_type"):
        OptimizerSettings(method=method, options={"tao_ls_type": "armijo"})


def test_all_faults_of_options_come_at_once() -> None:
    """Fails if the first fault hides the others."""
    with pytest.raises(InvalidInput) as error:
        OptimizerSettings(options={"tao_type": 1, "tao_max_it": 1, "tao ls": 1, "tao_ls_type": 1, "-TAO_ls_type": 2})
    assert all(
        word in str(error.value) for word in ("tao_type", "tao_max_it", "'tao ls'", "tao_ls_type is given twice")
    )
    with pytest.raises(InvalidInput) as error:
        options = {"tao_ls_type": "none", "tao_ls_max_funcs": "few", "tao_lss": 1}
        Recorder().run(tracking(), OptimizerSettings(options=options))
    for words in ("tao_ls_type: Unable to find", "tao_ls_max_funcs: Input string few", "knows no option tao_lss"):
        assert words in str(error.value)


def test_monitors_are_turned_on_and_off_by_booleans(capfd: pytest.CaptureFixture[str]) -> None:
    """Fails if PETSc takes `true` for the name of a viewer, or an option that is false for one that is set."""
    for given, is_on in ((True, True), (False, False)):
        Recorder().run(tracking(), OptimizerSettings(max_iterations=1, options={"tao_monitor": given}))
        assert ("Function value" in capfd.readouterr().out) is is_on


def test_options_that_stood_before_come_back() -> None:
    """Fails if a run removes from PETSc's database what the user's program had put there."""
    database, name = PETSc.Options(), "tao_lmvm_mat_lmvm_hist_size"
    database.setValue(name, 7)
    try:
        Recorder().run(tracking(), OptimizerSettings(max_iterations=1))
        assert database.getInt(name) == 7
    finally:
        database.delValue(name)


@pytest.mark.parametrize("method", TAO)
def test_steps_without_states_are_shortened(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial further than a tenth of the way from every point known has no states: fails if that ends the run, if the
    optimum is another, or if a resumed run takes other steps."""
    free = tracking(weight=3e-2)
    settings = OptimizerSettings(method=method, max_iterations=300, gradient_tolerance=1e-5)
    optimum = Recorder().run(free, settings)
    radius, known = 0.1 * np.linalg.norm(optimum.scaled_solution), [zero(free)]
    functional, recorder, lengths = tracking(weight=3e-2), Recorder(), []
    evaluate = functional.functional.evaluate

    def observe(row: IterationRow) -> None:
        recorder.rows.append(row)
        lengths.append(len(known))

    def limited(shard: np.ndarray) -> tuple[float, np.ndarray]:
        scaled = functional.to_scaled(shard)
        if min(np.linalg.norm(scaled - x) for x in known) > radius:
            raise NonFinite("the objective")
        known.append(scaled.copy())
        return evaluate(shard)

    monkeypatch.setattr(functional.functional, "evaluate", limited)
    found = minimize(functional, zero(functional), settings, save=recorder.save, observe=observe, checkpoint_every=1)
    assert found.converged and "shortened, for no finite states" in found.reason
    np.testing.assert_allclose(found.objective, optimum.objective, rtol=1e-7)
    if method in ("lmvm", "blmvm", "bqnls"):
        again, middle = Recorder(), found.iterations // 2
        del known[lengths[middle] :]
        again.run(functional, settings, resume=recorder.saved[middle])
        assert again.rows[0].iteration == middle + 1
        np.testing.assert_allclose(again.objectives, recorder.objectives[middle + 1 :], rtol=1e-9)


def test_errors_of_callbacks_come_out_as_they_are() -> None:
    """Fails if an error that a callback raises comes out of PETSc as another one."""

    def full(state: dict, vectors: dict) -> None:
        raise InvalidInput("the disk is full")

    functional = tracking()
    with pytest.raises(InvalidInput, match="the disk is full"):
        minimize(functional, zero(functional), OptimizerSettings(method="lmvm", max_iterations=5), save=full)


@pytest.mark.parametrize("method", NEWTON)
@pytest.mark.parametrize("mode", ["collocated", "galerkin"])
def test_newton_converges_superlinearly(method: str, mode: str) -> None:
    """Fails if the Hessian is not that of the objective, or its equation is solved too coarsely near the end."""
    space = StateSpace(make_domain("interval", 6), 2, "lagrange", mode=mode)
    regularization = Regularization(kernel=3e-2, bias=3e-2, readout=3e-2)
    problem = make_problem(space, loss="tracking", layers=5, intervals=5, regularization=regularization)
    functional, recorder = ScaledFunctional(problem.functional), Recorder()
    found = recorder.run(
        functional, OptimizerSettings(method=method, max_iterations=30, gradient_tolerance=1e-8, absolute_tolerance=0.0)
    )
    assert found.converged and found.iterations <= 12
    norms = [row.gradient_norm for row in recorder.rows]
    rates = [b / a for a, b in itertools.pairwise(norms)]
    assert rates[-1] < 1e-2 and rates[-1] < rates[-2] < rates[-3]


# ── iteration counts to a fixed relative tolerance ────────────────────────────────────────────────────────────────────


def counts(method: str, limit: float | None, weight: float, meshes: list[tuple[int, float, int]]) -> list[int]:
    """Iterations to 1e-4 on meshes given as (cells, grading, layers)."""
    result = []
    for cells, grading, layers in meshes:
        functional = tracking(cells, layers, weight, grading)
        bounds = None if limit is None else box(functional, limit)
        settings = OptimizerSettings(
            method=method, max_iterations=500, gradient_tolerance=1e-4, absolute_tolerance=0.0, memory=20
        )
        found = minimize(functional, zero(functional), settings, scaled_bounds=bounds)
        assert found.converged, found.reason
        if bounds is not None:
            active = np.mean((found.scaled_solution == bounds[0]) | (found.scaled_solution == bounds[1]))
            assert active > 0.02, "no bound is active: this problem tests nothing"
        result.append(found.iterations)
    return result


MESHES = {
    "uniform": [(8, 1.0, 10), (32, 1.0, 10), (128, 1.0, 10)],
    "graded": [(8, 20.0, 10), (32, 20.0, 10), (128, 20.0, 10)],
    "layers": [(16, 1.0, 5), (16, 1.0, 20), (16, 1.0, 80)],
}


# uniform meshes are the easier ones
@pytest.mark.parametrize("meshes", [pytest.param("uniform", marks=pytest.mark.slow), "graded", "layers"])
@pytest.mark.parametrize(
    ("method", "limit", "weight"),
    # shares of active bounds: 5 % with (1, 3e-2), 25 % with (1, 1e-2), 75 % with (0.5, 3e-2), where blmvm's counts grow
    [
        ("lmvm", None, 1e-2),
        ("blmvm", 1.0, 3e-2),
        ("blmvm", 1.0, 1e-2),
        ("bqnls", 1.0, 3e-2),
        ("bqnls", 1.0, 1e-2),
        ("bqnls", 0.5, 3e-2),
    ],
)
def test_iterations_do_not_grow_on_finer_meshes_and_with_layers(
    method: str, limit: float | None, weight: float, meshes: str
) -> None:
    """Fails if the optimizer sees the coefficients x, whose inner product depends on mesh and layers, and not x̂."""
    found = counts(method, limit, weight, MESHES[meshes])
    assert max(found[1:]) <= max(1.2 * found[0], found[0] + 3), found
