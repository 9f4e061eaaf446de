# SPDX-License-Identifier: MIT
"""Sweeps of which not all layers are stored: the same derivatives, and as many layers swept again as Revolve says."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from checkpoint_schedules import optimal_steps_binomial
from problems import KERNELS, MOVING_KERNELS, SCHEMES_AND_LOSSES, make_domain, make_problem

from fem_selection import parallel
from fem_selection.discretization.spaces import StateSpace
from fem_selection.dynamics import Tape, find_scheme
from fem_selection.dynamics.storage_plan import StoragePlan, plan_storage, repeated_segments
from fem_selection.errors import InvalidInput
from fem_selection.learning.extremals import Extremals
from fem_selection.learning.hessian import Hessian
from fem_selection.learning.kinks import count_at_kinks
from fem_selection.learning.verification import adjoint_identity_error
from fem_selection.learning.weak_form import measure_weak_form
from fem_selection.settings import InvalidSettings, Regularization, TapeSettings

ALL = TapeSettings(schedule="all")
SCHEDULES = {
    "memory, one checkpoint": TapeSettings(schedule="memory", checkpoints=1),
    "memory, two checkpoints": TapeSettings(schedule="memory", checkpoints=2),
    "disk": TapeSettings(schedule="disk"),
    "disk, two checkpoints": TapeSettings(schedule="disk", checkpoints=2),
}
LAYERS = 7


@pytest.fixture(params=["collocated", "compiled", "galerkin"])
def space(request, monkeypatch):
    """Seven nodes on an interval; "compiled": the smallest blocks are swept by compiled code."""
    if request.param == "compiled":
        monkeypatch.setattr("fem_selection.dynamics.stepper.SMALLEST", 1)
        monkeypatch.setattr("fem_selection.functions.programs.SMALLEST", 1)
    return StateSpace(make_domain("interval", 6), 1, mode="galerkin" if request.param == "galerkin" else "collocated")


def evaluate(space, tape, *, gauss_newton=(False, True), kernel="dense", **more):
    """Objective, gradient and products of the Hessian at a moved control; and the layers swept again, over L."""
    options = {"layers": LAYERS, "intervals": LAYERS, "samples": 5, "block": 2} | more
    kernel = (KERNELS | MOVING_KERNELS)[kernel](space, options["intervals"])
    problem = make_problem(space, tape=tape, kernel=kernel, **options)
    J, x = problem.functional, problem.moved(size=1.0)
    value, dual = J.evaluate(x)
    repeated = J.counts.repeated
    found = [np.array([value]), dual]
    for without in gauss_newton:
        hessian = Hessian(J, without)
        hessian.linearize(x)
        found += [hessian.apply(problem.control_space.random_direction(seed)) for seed in (2, 3)]
    return found, repeated, J.sweeps.of(2).plan


def assert_equal(found, wanted, tolerance=1e-14):
    """Up to the tolerance times the largest entry."""
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=0.0, atol=tolerance * max(1.0, np.abs(other).max()))


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(("scheme", "activation"), [("euler", "tanh"), ("rk4", "gelu")])
def test_the_same_derivatives(space, scheme, activation, name):
    """Fails if a state is taken up at another layer, a term is lost between two segments, or a count is wrong."""
    wanted, none, plan = evaluate(space, ALL, scheme=scheme, activation=activation)
    assert none == 0 and plan.segments == 1
    found, repeated, plan = evaluate(space, SCHEDULES[name], scheme=scheme, activation=activation)
    assert plan.segments > 1 and repeated * LAYERS == pytest.approx(plan.swept_layers - LAYERS)
    assert_equal(found, wanted)


@pytest.mark.parametrize("scheme", ["euler", "rk4"])
def test_the_same_derivatives_within_bytes(space, scheme):
    """Fails if the products of the Hessian, whose tape is larger, take the gradient's plan, or either stores all."""
    points = make_problem(space).stepper.superposition.tape_rows
    layer = 2 * Tape.bytes_of_layer(space.num_local, points, find_scheme(scheme))
    found, repeated, plan = evaluate(space, TapeSettings(memory=9 * LAYERS * layer // 10), scheme=scheme)
    assert plan.segments == 2 and repeated == pytest.approx(plan.span(0, 1).stop / LAYERS)
    assert_equal(found, evaluate(space, ALL, scheme=scheme)[0])


def test_products_of_both_kinds_share_a_file(space):
    """Fails if the exact Hessian, whose segments are shorter, has the slots of Gauss–Newton's only."""
    more = {"layers": 21, "gauss_newton": (True, False)}
    found = evaluate(space, TapeSettings(schedule="disk", memory=3000), **more)[0]
    assert_equal(found, evaluate(space, ALL, **more)[0])


@pytest.mark.parametrize("name", ["memory, two checkpoints", "disk"])
def test_sweeps_that_end_early_and_wider_blocks(space, name):
    """Fails if states of a sweep that was not carried back keep their slots, or those of a wider block overlap."""
    found = []
    for tape in (ALL, SCHEDULES[name]):
        problem = make_problem(space, layers=LAYERS, intervals=1, samples=3, block=9, tape=tape)
        J, x = problem.functional, problem.moved(size=1.0)
        wide = np.asfortranarray(np.tile(J.initial, 3) * np.linspace(0.5, 1.0, 9))
        J.set_controls(x)
        J.sweeps.of(3).forward(J.initial)
        dual = J.evaluate(x)[1]
        found.append([dual, J.evaluate_batch(x, wide, np.tile(J.targets, 3), batch_size=9)[1], J.evaluate(x)[1]])
        np.testing.assert_array_equal(found[-1][0], found[-1][2])
    assert_equal(*found)


def test_products_of_the_hessian_keep_the_limit(space):
    """Fails if they store tapes of all layers where these do not fit."""
    problem = make_problem(space, layers=LAYERS, intervals=1, tape=SCHEDULES["memory, two checkpoints"])
    hessian, counts = Hessian(problem.functional), problem.functional.counts
    hessian.linearize(problem.moved(size=1.0))
    for _ in range(2):
        before = counts.repeated
        hessian.apply(problem.control_space.random_direction(2))
        assert counts.repeated > before


@pytest.mark.slow
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("scheme", "loss"), SCHEMES_AND_LOSSES)
def test_every_scheme_loss_and_kernel(space, scheme, loss, kernel):
    """Fails if a scheme, a loss or a kernel keeps something of a sweep outside of the tape."""
    more = {"scheme": scheme, "loss": loss, "kernel": kernel, "intervals": 1}
    wanted, _, _ = evaluate(space, ALL, **more)
    for name in ("memory, one checkpoint", "disk, two checkpoints"):
        assert_equal(evaluate(space, SCHEDULES[name], **more)[0], wanted)


@pytest.mark.parametrize("parts", [("kernel",), ("bias", "readout")])
def test_parts_of_the_controls(space, parts):
    """Fails if a fixed part moves, or its derivative is missing, where layers are swept again."""
    found = evaluate(space, SCHEDULES["memory, two checkpoints"], parts=parts, intervals=1)[0]
    assert_equal(found, evaluate(space, ALL, parts=parts, intervals=1)[0])


@pytest.mark.parametrize("name", ["memory, two checkpoints", "disk"])
@pytest.mark.parametrize(
    ("kernel", "scheme", "block", "tolerance"),
    [("representer", "euler", 5, 1e-14), ("representer-all", "rk4", 5, 1e-14), ("representer-all", "rk4", 2, 1e-12)],
)
def test_anchors_that_flow_along(space, kernel, scheme, block, tolerance, name):
    """Fails if anchors are taken up at another layer than the states, or their adjoint loses a segment or a block.

    The adjoints of several blocks' anchors are summed in another order, and anchors are nearly dependent here.
    """
    options = {"kernel": kernel, "scheme": scheme, "intervals": 1, "gauss_newton": (), "block": block}
    wanted, _, _ = evaluate(space, ALL, **options)
    found, repeated, plan = evaluate(space, SCHEDULES[name], **options)
    assert plan.segments > 1 and repeated * LAYERS == pytest.approx(plan.swept_layers - LAYERS)
    assert_equal(found, wanted, tolerance)


def test_anchors_of_some_layers(space):
    """Fails if places of other layers are taken for those asked for, or more of them are kept than the plan says."""
    problem = make_problem(
        space,
        layers=LAYERS,
        intervals=LAYERS,
        kernel=MOVING_KERNELS["representer"](space, LAYERS),
        tape=SCHEDULES["disk"],
    )
    J, x = problem.functional, problem.moved(size=1.0)
    assert adjoint_identity_error(J, x) < 1e-12
    assert measure_weak_form(J, x).largest < 1e-12
    assert len(problem.stepper.kernel.places) == J.sweeps.of(2).plan.longest == 3
    final = J.final_states(x)
    separable = problem.stepper.kernel.as_separable()
    fixed = make_problem(space, layers=LAYERS, intervals=LAYERS, kernel=separable, parts=("bias", "readout"))
    fixed.stepper.bias[...] = problem.stepper.bias
    np.testing.assert_allclose(fixed.stepper.advance_without_tape(J.initial)[0], final, rtol=0.0, atol=1e-11)
    with pytest.raises(InvalidInput, match=r"tape\.schedule = 'all', or a method without the Hessian"):
        Hessian(J)


def test_what_looks_at_every_layer(space):
    """Fails if states and costates of segments are taken for those of other layers, or a tangent begins anew."""
    found = []
    for tape in (ALL, SCHEDULES["disk"]):
        problem = make_problem(
            space,
            scheme="heun",
            layers=LAYERS,
            intervals=LAYERS,
            activation="relu",
            regularization=Regularization(),
            tape=tape,
        )
        x = problem.moved(size=1.0)
        assert adjoint_identity_error(problem.functional, x) < 1e-12
        found.append([np.array(count_at_kinks(problem.functional, 0.0 * x))])
        assert found[-1][0][1] == LAYERS * 2 * 5 * space.num_local
        if space.is_collocated:
            extremals = Extremals(problem.functional)
            extremals.sweep(x)
            found[-1] += [f(n) for n in range(LAYERS) for f in (stages_of(extremals), costates_of(extremals))]
    assert_equal(*found)


def stages_of(extremals):
    """The states of a layer's Hamiltonian."""
    return lambda n: extremals.hamiltonian(n).states


def costates_of(extremals):
    """Its costates."""
    return lambda n: extremals.hamiltonian(n).costates


@pytest.mark.parametrize(("segments", "checkpoints"), [(1, 0), (2, 1), (9, 1), (10, 3), (25, 4), (40, 39), (64, 70)])
@pytest.mark.parametrize("length", [1, 5])
def test_the_schedule_is_that_of_revolve(segments, checkpoints, length):
    """Fails if more layers are swept than Revolve's binomial bound says, or the closed formula differs from it."""
    plan = StoragePlan(layers=length * segments, segments=segments, checkpoints=min(checkpoints, segments - 1))
    least = optimal_steps_binomial(segments, plan.checkpoints) if segments > 1 else 1
    assert segments + repeated_segments(segments, checkpoints) == least
    assert plan.swept_layers == length * least


def test_plans_keep_their_limits():
    """Fails if a plan takes more memory than it may, stores less than it could, or loses layers at an uneven end."""
    state, layer = 80, 160
    for layers, limit in ((1000, 160_000), (1000, 159_999), (1000, 10_000), (1003, 2_000), (1003, 400), (12, 320)):
        plan = plan_storage(layers, state, layer, settings=TapeSettings(memory=limit), free=0.0)
        assert plan.memory(state, layer) <= limit
        spans = [plan.span(k, k + 1) for k in range(plan.segments)]
        assert [n for span in spans for n in span] == list(range(layers)) and max(map(len, spans)) == plan.longest
        assert (plan.segments == 1) == (limit >= layers * layer)
        others = (
            StoragePlan(layers=layers, segments=-(-layers // k), checkpoints=min(c, -(-layers // k) - 1))
            for k in range(1, layers + 1)
            if (c := (limit - state - k * layer) // state) > 0
        )
        costs = [plan.longest * repeated_segments(p.segments, p.checkpoints) for p in (plan,)]
        costs += [p.longest * repeated_segments(p.segments, p.checkpoints) for p in others]
        assert costs[0] == min(costs)
    plan = plan_storage(10_000, state, layer, settings=TapeSettings(schedule="memory", checkpoints=20), free=0.0)
    assert plan.checkpoints == 20 and plan.swept_layers <= 4 * 10_000
    plan = plan_storage(10_000, state, layer, settings=TapeSettings(schedule="disk"), free=0.0)
    assert (plan.segments, plan.longest, plan.checkpoints, plan.on_disk) == (100, 100, 99, True)


def test_plans_use_what_they_may_take():
    """Fails if a plan on disk counts states as memory, forgets the one it holds, or segments are shorter than given."""
    state, layer = 80, 160
    for limit in (state + layer, 3 * layer, state + 3 * layer):
        plan = plan_storage(100, state, layer, settings=TapeSettings(schedule="disk", memory=limit), free=0.0)
        assert plan.memory(state, layer) <= limit < plan.memory(state, layer) + layer
        spans = [len(plan.span(k, k + 1)) for k in range(plan.segments)]
        assert max(spans) - min(spans) <= 1
    given = TapeSettings(schedule="memory", memory=5 * state + 7 * layer, checkpoints=4)
    plan = plan_storage(100, state, layer, settings=given, free=0.0)
    assert (plan.longest, plan.checkpoints) == (7, 4)
    plan = plan_storage(10_000, state, layer, settings=TapeSettings(), free=0.0)  # none is free: Revolve's log₂ L
    assert plan.memory(state, layer) < 30 * layer and plan.swept_layers < 10 * 10_000


def test_the_default_chooses_by_the_memory_there_is(space, monkeypatch):
    """Fails if the default stores all layers where they do not fit, or sweeps layers again where they fit."""
    options = {"layers": 200, "intervals": 1, "samples": 5, "block": 5}
    monkeypatch.setattr(parallel, "_free_memory_here", lambda: 1e9)
    problem = make_problem(space, **options)
    assert problem.functional.sweeps.of(5).plan.segments == 1
    wanted = problem.functional.evaluate(problem.moved(size=1.0))[1]
    monkeypatch.setattr(parallel, "_free_memory_here", lambda: 5e4)
    problem = make_problem(space, **options)
    plan = problem.functional.sweeps.of(5).plan
    state, points = 8 * 5 * space.num_local, problem.stepper.superposition.tape_rows
    assert plan.segments > 1 and plan.memory(state, state + 8 * 5 * points) <= 2.5e4
    assert_equal([problem.functional.evaluate(problem.moved(size=1.0))[1]], [wanted])
    assert problem.functional.counts.repeated == pytest.approx(plan.swept_layers / 200 - 1)


def test_memory_is_that_of_the_plan(space):
    """Fails if more than one segment's tape and the stored states are held, or blocks of each size have their own."""
    options = {"layers": 400, "intervals": 1, "samples": 41, "block": 21, "loss": "tracking"}
    peaks = {}
    for tape in (ALL, TapeSettings(schedule="memory", memory=200_000)):
        problem = make_problem(space, tape=tape, **options)
        x = problem.moved()
        problem.functional.evaluate(x)
        plan = problem.functional.sweeps.of(21).plan
        problem = make_problem(space, tape=tape, **options)
        tracemalloc.start()
        problem.functional.evaluate(x)
        peaks[tape.schedule] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        rows, points = space.num_local, problem.stepper.superposition.tape_rows
        planned = plan.memory(8 * 21 * rows, 8 * 21 * (rows + points))
        work = 8 * 21 * 40 * points + 900 * plan.longest + 60_000  # of one layer; Python's own of the tape's blocks
        assert peaks[tape.schedule] < planned + work
    assert peaks["memory"] < 0.3 * peaks["all"]


def test_settings_without_effect_are_refused():
    """Fails if a number is given that the schedule does not read."""
    for given in (
        {"schedule": "all", "memory": 10**9},
        {"checkpoints": 3},
        {"schedule": "memory", "directory": "/tmp"},
    ):
        with pytest.raises(InvalidSettings, match=r"has no effect with tape\.schedule"):
            TapeSettings(**given)


def test_what_cannot_be_stored_is_refused_at_once(space, tmp_path):
    """Fails if too little memory or a missing folder is noticed in the middle of a run, or without its key."""
    with pytest.raises(InvalidInput, match=r"tape\.memory = 100: a state and the tape of one layer of a block take"):
        make_problem(space, tape=TapeSettings(schedule="memory", memory=100))
    with pytest.raises(InvalidInput, match=r"tape\.checkpoints = 9 states and the tape of one layer"):
        make_problem(space, layers=20, tape=TapeSettings(schedule="memory", memory=1000, checkpoints=9))
    with pytest.raises(InvalidInput, match=r"tape\.directory: no file of .* can be made in .*missing"):
        make_problem(space, tape=TapeSettings(schedule="disk", directory=str(tmp_path / "missing")))
    with pytest.raises(InvalidInput, match="settings of type dict: expected TapeSettings"):
        make_problem(space, tape={"schedule": "all"})
