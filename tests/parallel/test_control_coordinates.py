# SPDX-License-Identifier: MIT
"""The three coordinates x, x̂ and D x of a control: their products, their maps and the transposes, on one and two ranks.

Run by mpiexec this file computes on its ranks and prints JSON; run by pytest it launches itself.  Every number that is
printed is a defect relative to the sizes in it, so that one bound serves all.
"""

from __future__ import annotations

import numpy as np
import pytest
from ranks import print_results

MODES = ("collocated", "galerkin")
KERNELS = ("dense", "separable", "local + separable + dense")
RUNS = [(ranks, space) for ranks in (1, 2) for space in range(1, ranks + 1)]
SAMPLES, BATCHES = 7, (slice(0, 3), slice(3, 7))


def make(mode: str, kernel: str, space_ranks: int):
    """A problem with every part of a control."""
    import problems

    from fem_selection.discretization.spaces import StateSpace
    from fem_selection.parallel import Ensemble

    ensemble = Ensemble(space=space_ranks)
    space = StateSpace(problems.make_domain("interval", 6, comm=ensemble.space_comm), 1, mode=mode)
    return problems.make_problem(space, ensemble, samples=SAMPLES, kernel=problems.KERNELS[kernel](space, 2))


def maps(problem) -> dict[str, float]:
    """Defects of the products and of the maps."""
    c, world = problem.control_space, problem.ensemble.world
    x, y, d = (c.random_direction(seed) for seed in (1, 2, 3))
    scaled, other = c.to_scaled(x), c.to_scaled(y)
    lumped = c.inner(c.lumped[c.shard] * x, y)
    found = {
        "scaled product": c.inner(scaled, other) - lumped,
        "to_controls": float(np.abs(c.to_controls(scaled) / x - 1).max()),
        "dual_to_scaled": c.inner(c.dual_to_scaled(d), scaled) - c.inner(d, x),
        "dual_from_scaled": c.inner(c.dual_from_scaled(d), x) - c.inner(d, scaled),
        "dual norm": c.dual_norm(c.apply_metric(x)) / np.sqrt(c.inner(c.apply_metric(x), x)) - 1,
    }
    if c.space.is_collocated:
        found["L² product"] = c.inner(scaled, other) - c.inner(c.apply_metric(x), y)
    # any derivatives in D x, others on every member
    dual = np.random.default_rng(world.rank).normal(size=c.local_size)
    operators = c.to_operators(x, np.empty(c.local_size))
    pairing = problem.ensemble.sum(float(c.pack(operators | {"offset": own_offset(c, operators)}) @ dual))
    size = problem.ensemble.sum(float(np.abs(dual) @ np.abs(c.gather(x))))
    found["dual_to_controls"] = (c.inner(c.dual_to_controls(dual.copy()), x) - pairing) / size
    found["μ on all ranks"] = max(
        np.abs(np.subtract(o, operators["offset"])).max() for o in world.allgather(operators["offset"])
    )
    return {name: abs(value) for name, value in found.items()}


def own_offset(c, operators) -> np.ndarray:
    """μ where the layout has it, which is on the first rank of a mesh."""
    offset = c.slices["offset"]
    return operators["offset"][: offset.stop - offset.start]


def operators(problem) -> dict[str, float]:
    """Defects of D x as what a sweep multiplies by: the kernel's action, b, M c and μ."""
    from problems import smooth_states

    c = problem.control_space
    x = c.random_direction(4)
    found, wanted = c.to_operators(x, np.empty(c.local_size)), c.unpack(c.gather(x))
    block = smooth_states(c.space, slice(0, 3))
    images = []
    kernel = problem.stepper.kernel
    for assign in (lambda: kernel.assign(wanted["kernel"].copy()), lambda: c.assign_kernel(kernel, found)):
        assign()
        images.append(c.space.create_block(3))
        kernel.apply(1, block, images[-1])
    moments = c.space.apply_mass(np.asfortranarray(wanted["readout"].T)).T
    return {
        "kernel": float(np.abs(images[0] - images[1]).max() / np.abs(images[0]).max()),
        "bias": float(np.abs(found["bias"] - wanted["bias"]).max()),
        "readout": float(np.abs(found["readout"] - moments).max() / np.abs(moments).max()),
        "offset": float(np.abs(own_offset(c, found) - wanted["offset"]).max(initial=0.0)),
    }


def box(problem) -> float:
    """How far the projection on a box in x̂ is from the projection on the box in x."""
    from fem_selection.learning.problem import create_box

    c = problem.control_space
    limits = {"kernel": (-0.1, 0.2), "bias": (-0.3, 0.1)}
    lower, upper = create_box(c, limits)
    x = 30 * c.random_direction(5)
    parts = c.unpack(c.gather(x).copy())
    for name, (low, high) in limits.items():
        np.clip(parts[name], low, high, out=parts[name])
    wanted = c.pack(parts)[c.shard]
    assert problem.ensemble.any(np.any(wanted != x))
    return float(np.abs(c.to_controls(np.clip(c.to_scaled(x), lower, upper)) - wanted).max())


def batches(problem) -> dict[str, float]:
    """Defects of mini-batches: their mean against the whole, and the gradient of one against differences."""
    from problems import make_targets, smooth_states

    from fem_selection.learning import ScaledFunctional

    functional, c, ensemble = ScaledFunctional(problem.functional), problem.control_space, problem.ensemble
    scaled, direction = c.to_scaled(problem.moved()), c.to_scaled(c.random_direction(6))

    def evaluate(batch: slice, at: np.ndarray) -> tuple[float, np.ndarray]:
        size = batch.stop - batch.start
        share = ensemble.samples(size)
        own = slice(batch.start + share.start, batch.start + share.stop)
        states, targets = smooth_states(c.space, own), make_targets(c.space, "softmax", own, c.num_outputs)
        value, gradient = functional.evaluate_batch(at, states, targets, batch_size=size)
        return ensemble.sum(value), gradient.copy()

    whole, gradient = functional.evaluate(scaled)
    gradient = gradient.copy()
    parts = [(b.stop - b.start, *evaluate(b, scaled)) for b in BATCHES]
    mean = sum(size * g for size, _, g in parts) / SAMPLES
    step = 1e-5
    up, down = (evaluate(BATCHES[1], scaled + sign * step * direction)[0] for sign in (1, -1))
    slope = c.inner(parts[1][2], direction)
    before = problem.functional.counts.forward
    evaluate(BATCHES[0], scaled)
    return {
        "value": abs(sum(size * value for size, value, _ in parts) / SAMPLES / whole - 1),
        "gradient": functional.norm(mean - gradient) / functional.norm(gradient),
        "differences": abs((up - down) / (2 * step) - slope) / abs(slope),
        "count": abs(problem.functional.counts.forward - before - 3 / 7),
    }


def main() -> None:
    """Computes every case by every split of these ranks."""
    from mpi4py import MPI

    results = {}
    for space in (s for n, s in RUNS if n == MPI.COMM_WORLD.size):
        for mode in MODES:
            for kernel in KERNELS:
                problem = make(mode, kernel, space)
                found = {"maps": maps(problem), "operators": operators(problem), "box": box(problem)}
                found["batches"] = batches(make(mode, kernel, space))
                every = MPI.COMM_WORLD.allgather(found)
                for part in ("maps", "operators", "batches"):
                    found[part] = {name: max(one[part][name] for one in every) for name in found[part]}
                found["box"] = max(one["box"] for one in every)
                results[f"{space}/{mode}/{kernel}"] = found
    print_results(results)


# ── in pytest ─────────────────────────────────────────────────────────────────────────────────────────────────────────

CASES = [(*run, mode, kernel) for run in RUNS for mode in MODES for kernel in KERNELS]


@pytest.fixture(params=CASES, ids=lambda case: f"{case[1]} of {case[0]} ranks, {case[2]}, {case[3]}")
def found(request: pytest.FixtureRequest, results_on) -> dict:
    """What the ranks found of one case."""
    ranks, space, mode, kernel = request.param
    return results_on(ranks)[f"{space}/{mode}/{kernel}"]


def test_products_and_transposes(found) -> None:
    """Fails if x̂·ŷ is not Σ M_L x y (in collocated mode the L² product), if a dual is taken the other way by another
    map than the transpose of the controls' own, if a mesh's ranks count μ more than once, or a member's duals are
    lost."""
    assert found["maps"] == pytest.approx(dict.fromkeys(found["maps"], 0.0), abs=1e-14)


def test_operators_hold_what_the_controls_say(found) -> None:
    """Fails if D misses a column's weight or scales a part that has none, or c reaches the readout without the mass."""
    assert found["operators"] == pytest.approx(dict.fromkeys(found["operators"], 0.0), abs=1e-13)


def test_a_box_stays_a_box(found) -> None:
    """Fails if bounds are scaled otherwise than the controls, or a part that is free is cut."""
    assert found["box"] <= 1e-13


def test_batches(found) -> None:
    """Fails if a mini-batch has another weight than its part of the samples, if its gradient is one in x and not in x̂,
    counts the regularization twice or once for each member, or is not the derivative of its value."""
    wanted = {"value": 1e-13, "gradient": 1e-12, "differences": 1e-7, "count": 1e-14}
    assert {name: value for name, value in found["batches"].items() if not value <= wanted[name]} == {}


if __name__ == "__main__":
    main()
