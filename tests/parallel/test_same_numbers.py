# SPDX-License-Identifier: MIT
"""Objective, gradient, numbering and random numbers are the same on 1 … 4 ranks, for every space × sample split.

Run by mpiexec this file computes all cases on its ranks and prints them as JSON; run by pytest it launches itself once
for each number of ranks and compares.  Sums are taken in another order on another partition: 1e-12 relative.
"""

from __future__ import annotations

import gc

import numpy as np
import pytest
from ranks import print_results, slow_beyond_two

RANKS = (1, 2, 3, 4)
SAMPLES = 7
SEEDS = (2, 3, 4)
CASES = {
    "interval-1": {"mesh": ("interval", 9), "degree": 1},
    "interval-3": {"mesh": ("interval", 6), "degree": 3, "scheme": "rk4", "loss": "tracking"},
    "interval-3-galerkin": {"mesh": ("interval", 6), "degree": 3, "mode": "galerkin", "scheme": "midpoint"},
    "interval-dg2": {"mesh": ("interval", 5), "degree": 2, "family": "dg", "loss": "logistic"},
    "rectangle-3": {"mesh": ("quadrilateral", 3), "degree": 3, "loss": "least_squares"},
    "rectangle-1-galerkin": {"mesh": ("quadrilateral", 4), "degree": 1, "mode": "galerkin", "loss": "tracking"},
    "rectangle-dg0": {"mesh": ("quadrilateral", 3), "degree": 0, "family": "dg", "scheme": "ssprk3"},
    "triangles-1": {"mesh": ("triangle", 3), "degree": 1, "scheme": "heun"},
    "triangles-3-galerkin": {"mesh": ("triangle", 3), "degree": 3, "mode": "galerkin", "loss": "logistic"},
    "triangles-dg1-galerkin": {"mesh": ("triangle", 2), "degree": 1, "family": "dg", "mode": "galerkin"},
    "separable": {"mesh": ("interval", 6), "degree": 2, "kernel": "separable", "scheme": "heun"},
    "local": {"mesh": ("triangle", 3), "degree": 1, "kernel": "local", "loss": "tracking"},
    "sum-galerkin": {
        "mesh": ("interval", 6),
        "degree": 2,
        "mode": "galerkin",
        "kernel": "local + separable + dense",
        "scheme": "midpoint",
    },
    "representer": {"mesh": ("interval", 9), "degree": 1, "kernel": "representer-all", "loss": "tracking"},
    "representer-few-galerkin": {
        "mesh": ("interval", 6),
        "degree": 2,
        "mode": "galerkin",
        "kernel": "representer",
        "scheme": "heun",
    },
    "implicit": {"mesh": ("interval", 6), "degree": 2, "scheme": "crank_nicolson", "loss": "tracking"},
    "implicit-local": {"mesh": ("triangle", 3), "degree": 1, "kernel": "local", "scheme": "implicit_euler"},
    "implicit-sum-galerkin": {
        "mesh": ("interval", 6),
        "degree": 2,
        "mode": "galerkin",
        "kernel": "local + separable + dense",
        "scheme": "implicit_midpoint",
    },
    "few-samples": {"mesh": ("interval", 6), "degree": 2, "samples": 2, "loss": "least_squares"},
    "one-sample": {"mesh": ("interval", 6), "degree": 1, "samples": 1, "loss": "tracking"},
}


def splits(name: str, ranks: int) -> list[int]:
    """Ranks per mesh with which a case runs: all divisors, but on more than two ranks (more than many machines have
    cores, where distributed mass solves are slow) Galerkin mode only as far as something new is seen."""
    divisors = [space for space in range(1, ranks + 1) if ranks % space == 0]
    if name == "implicit-sum-galerkin" and ranks > 1:  # takes as long as all the others together
        return {2: [1], 4: [2]}.get(ranks, [])
    if name.endswith("-galerkin") and ranks > 2:
        return {("triangles-3-galerkin", 3): [3], ("sum-galerkin", 3): [3], ("rectangle-1-galerkin", 4): [2]}.get(
            (name, ranks), []
        )
    return divisors


RUNS = [
    slow_beyond_two(ranks, name, ranks, space) for ranks in RANKS for name in CASES for space in splits(name, ranks)
]


# ── on every rank ─────────────────────────────────────────────────────────────────────────────────────────────────────


def compute(case: dict, space_ranks: int) -> dict:
    """What one case gives by one split: values, gradients, curvatures, numbering, shares and messages."""
    from problems import KERNELS, MOVING_KERNELS, make_domain, make_problem

    from fem_selection.discretization.numbering import hashed_normal
    from fem_selection.discretization.spaces import StateSpace
    from fem_selection.errors import NonFinite
    from fem_selection.learning.hessian import Hessian
    from fem_selection.parallel import Ensemble

    options = dict(case)
    samples = options.setdefault("samples", SAMPLES)
    ensemble = Ensemble(space=space_ranks)
    domain = make_domain(*options.pop("mesh"), comm=ensemble.space_comm)
    names = ("degree", "family", "mode")
    space = StateSpace(domain, **{k: options.pop(k) for k in names if k in options})
    own_kernel = (KERNELS | MOVING_KERNELS)[options.pop("kernel", "dense")](space, 2)
    problem = make_problem(space, ensemble, layers=2, kernel=own_kernel, **options)
    J, controls, kernel = problem.functional, problem.control_space, problem.stepper.kernel
    x = problem.moved()

    start = ordered(ensemble.space_comm, kernel.canonical_indices(), kernel.parameters())
    hashed = ordered(ensemble.space_comm, space.canonical, hashed_normal(5, space.canonical))
    value, dual = J.evaluate(x)
    gradient = controls.riesz(dual)
    vector = controls.create_vector(x)
    curvatures = []
    # where one rank of a mesh has no memory, none may keep; implicit layers, which are solved for long, once only
    limits = (2**30,) if problem.stepper.scheme.is_implicit else (2**30, 2**30 if space.comm.rank == 0 else 0)
    for memory in limits:
        hessian = Hessian(J, memory=memory)
        hessian.linearize(x)
        directions = (controls.random_direction(seed) for seed in SEEDS[: 1 if len(limits) == 1 else None])
        curvatures.append([controls.inner(h, hessian.apply(h)) for h in directions])
    result = {
        "value": value,
        "value_alone": J.value(vector),
        "norm": np.sqrt(controls.inner(dual, gradient)),
        "products": [controls.inner(dual, controls.random_direction(seed)) for seed in SEEDS],
        "curvatures": curvatures,
        "control_norm": controls.inner(x, controls.lumped[controls.shard] * x),
        "global_size": controls.global_size,
        "num_nodes": space.num_nodes,
        "coordinates": space.gather(space.coordinates).ravel().tolist(),
        "mass": space.gather(space.weights[:, None]).ravel().tolist(),
        "kernel": start,
        "hashed": hashed,
        "num_local": ensemble.world.allgather(space.num_local),
        "samples": ensemble.world.allgather(J.initial.shape[1]),
        "shards": ensemble.world.allgather(len(x)),
    }
    all_samples = ensemble.samples(samples)
    assert J.initial.shape[1] == all_samples.stop - all_samples.start

    # one sample of one member that explodes is everyone's exception, with one message
    J.initial, J.anchored = J.initial.copy(order="F"), None
    if J.initial.shape[1] and ensemble.member == 0:
        J.initial[:, 0] = 1e308
    try:
        J.evaluate(1e3 * x)
        message = "nothing was raised"
    except NonFinite as e:
        message = str(e)
    result["messages"] = ensemble.world.allgather(message)
    vector.destroy()
    return result


def ordered(comm, indices, values) -> list[float]:
    """The values of all ranks of a communicator by their canonical indices."""
    indices, values = (np.concatenate(comm.allgather(a)) for a in (indices, values))
    assert len(np.unique(indices)) == len(indices) == indices.max() + 1
    return values[np.argsort(indices)].tolist()


def communicators_left(evaluations: int) -> bool:
    """Whether evaluations on all ranks of one mesh leave communicators behind (known with MPICH alone)."""
    from counting import next_communicator
    from mpi4py import MPI
    from problems import KERNELS, make_domain, make_problem

    from fem_selection.discretization.spaces import StateSpace
    from fem_selection.parallel import Ensemble

    ensemble = Ensemble(space=MPI.COMM_WORLD.size)
    space = StateSpace(make_domain("interval", 6, comm=ensemble.space_comm), 2, mode="galerkin")
    own_kernel = KERNELS["local + separable + dense"](space, 2)
    problem = make_problem(space, ensemble, layers=2, samples=2, kernel=own_kernel)
    problem.functional.evaluate(problem.moved())
    gc.disable()
    before = next_communicator(MPI.COMM_WORLD)
    for _ in range(evaluations):
        problem.functional.evaluate(problem.moved())
    after = next_communicator(MPI.COMM_WORLD)
    gc.enable()
    return after != before


def contract_defect() -> float:
    """The largest relative difference of the array code from the assembled forms, with one mesh over all ranks."""
    from mpi4py import MPI
    from problems import make_domain, smooth_states
    from weak_forms import blocks_and_forms

    from fem_selection.discretization.spaces import StateSpace
    from fem_selection.functions.activations import ACTIVATIONS

    worst = 0.0
    for mode in ("collocated", "galerkin"):
        space = StateSpace(make_domain("interval", 6, comm=MPI.COMM_WORLD), 2, mode=mode)
        s, ds, dual = (smooth_states(space, slice(k, k + 1)) for k in (0, 3, 6))
        for computed, assembled in blocks_and_forms(space, ACTIVATIONS["tanh"], s, ds=ds, dual=dual):
            difference = np.abs(computed - assembled).max(initial=0.0)
            size = np.abs(assembled).max(initial=0.0)
            difference, size = (MPI.COMM_WORLD.allreduce(x, op=MPI.MAX) for x in (difference, size))
            worst = max(worst, difference / size)
    return worst


def compression() -> list[float]:
    """Errors and norms of compressed kernels, with one mesh over all ranks."""
    from mpi4py import MPI
    from problems import KERNELS, make_domain

    from fem_selection.discretization.depth import DepthGrid
    from fem_selection.discretization.spaces import StateSpace
    from fem_selection.kernels import DenseKernel

    found = []
    for mode in ("collocated", "galerkin"):
        space = StateSpace(make_domain("interval", 20, comm=MPI.COMM_WORLD), 2, mode=mode)
        dense = DenseKernel.interpolate(
            space, lambda t, y, z: np.exp(-8 * (y[0] - z[0] ** 2) ** 2), DepthGrid(layers=1)
        )
        for kernel in (dense, KERNELS["separable"](space, 2)):
            for cut in ({"rank": 1}, {"tolerance": 1e-3}):
                small, error = kernel.compress(**cut)
                everywhere = np.arange(space.num_nodes)
                norms = [np.linalg.norm(small.values(c, everywhere)) for c in range(small.num_intervals)]
                found += [small.rank, error, *norms]
    return found


def main() -> None:
    """Computes every case by every split of these ranks."""
    from mpi4py import MPI

    size = MPI.COMM_WORLD.size
    results = {f"{name}/{space}": compute(case, space) for name, case in CASES.items() for space in splits(name, size)}
    left = communicators_left(20) if size < 3 else None
    defect = contract_defect() if size < 4 else None
    compressed = compression() if size < 4 else None
    others = {"communicators_left": left, "contract_defect": defect, "compression": compressed}
    print_results({"results": results, **others})


# ── in pytest ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("name", "ranks", "space"), RUNS)
def test_same_numbers(results_on, name, ranks, space):
    """Fails if a value counts on two ranks or on none, a ghost is stale, a sum over samples or nodes is missing in one
    of the splits, or anything random follows dolfinx's numbering, which changes with the partition."""
    reference = results_on(1)["results"][f"{name}/1"]
    here = results_on(ranks)["results"][f"{name}/{space}"]
    assert here["value"] == pytest.approx(reference["value"], rel=1e-12)
    assert here["value_alone"] == pytest.approx(here["value"], rel=1e-12)
    assert here["norm"] == pytest.approx(reference["norm"], rel=1e-12)
    # directions have unit norm
    np.testing.assert_allclose(here["products"], reference["products"], atol=1e-12 * reference["norm"])
    np.testing.assert_allclose(here["curvatures"], reference["curvatures"], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(here["curvatures"][0], here["curvatures"][-1], rtol=1e-11)
    assert min(abs(p) for p in reference["products"]) > 1e-6 * reference["norm"]
    assert here["control_norm"] == pytest.approx(9.0, rel=1e-12)


@pytest.mark.parametrize(("name", "ranks", "space"), RUNS)
def test_same_numbering(results_on, name, ranks, space):
    """Fails if the canonical order of nodes or kernel entries, or a number drawn for one of them, changes."""
    reference = results_on(1)["results"][f"{name}/1"]
    here = results_on(ranks)["results"][f"{name}/{space}"]
    assert (here["num_nodes"], here["global_size"]) == (reference["num_nodes"], reference["global_size"])
    np.testing.assert_allclose(here["coordinates"], reference["coordinates"], atol=1e-14)
    np.testing.assert_allclose(here["mass"], reference["mass"], rtol=1e-13)
    np.testing.assert_allclose(here["kernel"], reference["kernel"], rtol=1e-13)
    assert here["hashed"] == reference["hashed"]


@pytest.mark.parametrize(("name", "ranks", "space"), RUNS)
def test_work_is_divided(results_on, name, ranks, space):
    """Fails if a rank has all nodes, all samples or the whole control vector while others share it."""
    here = results_on(ranks)["results"][f"{name}/{space}"]
    for member in range(ranks // space):
        nodes = here["num_local"][member * space : (member + 1) * space]
        assert sum(nodes) == here["num_nodes"]
        assert min(nodes) > 0
        assert max(nodes) <= 2.5 * here["num_nodes"] / space
    samples = here["samples"][::space]
    assert sum(samples) == CASES[name].get("samples", SAMPLES)
    assert max(samples) - min(samples) <= 1
    assert here["samples"] == [s for s in samples for _ in range(space)]
    assert sum(here["shards"]) == here["global_size"]
    for rank in range(space):
        shards = here["shards"][rank::space]
        assert max(shards) - min(shards) <= 1


@pytest.mark.parametrize(("name", "ranks", "space"), RUNS)
def test_an_explosion_is_everyones(results_on, name, ranks, space):
    """Fails if a state that overflows on one rank raises there alone (the others would wait forever), or with different
    messages."""
    messages = set(results_on(ranks)["results"][f"{name}/{space}"]["messages"])
    assert len(messages) == 1
    assert "is not finite" in messages.pop()


@pytest.mark.parametrize("ranks", RANKS[:2])
def test_evaluations_leave_no_communicator(results_on, ranks):
    """Fails if each evaluation duplicates a communicator: some two thousand of them abort MPI."""
    assert results_on(ranks)["communicators_left"] is False


@pytest.mark.parametrize("ranks", [slow_beyond_two(ranks) for ranks in RANKS[:3]])
def test_array_code_equals_the_forms(results_on, ranks):
    """Fails if the tabulated basis, its transpose or a mass solve loses what belongs to another rank's cells."""
    assert results_on(ranks)["contract_defect"] <= 1e-13


@pytest.mark.parametrize("ranks", [slow_beyond_two(ranks) for ranks in RANKS[1:3]])
def test_same_compression(results_on, ranks):
    """Fails if rows of other ranks are missing in a decomposition, a norm or a residual."""
    np.testing.assert_allclose(results_on(ranks)["compression"], results_on(1)["compression"], rtol=1e-8, atol=1e-12)


if __name__ == "__main__":
    main()
