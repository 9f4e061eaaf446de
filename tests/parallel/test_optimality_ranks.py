# SPDX-License-Identifier: MIT
"""Certificates and Pontryagin's steps are the same on 1 … 4 ranks, for every space × sample split.

Run by mpiexec this file computes on its ranks and prints JSON; run by pytest it launches itself and compares.
"""

from __future__ import annotations

import numpy as np
import pytest
from ranks import print_results, slow_beyond_two

CASES = {"softmax": {"samples": 9}, "one sample": {"samples": 1, "loss": "tracking"}, "few": {"samples": 3}}
# more ranks than many machines have cores are slow: only what is seen there alone (no layer for a member, 2 × 2)
RUNS = [(name, n, space) for n in (1, 2) for name in CASES for space in range(1, n + 1)]
RUNS += [("softmax", 3, 1), ("few", 4, 2)]


def compute(case: dict, space_ranks: int) -> dict:
    """Certificate and steps of every method for one case and one split."""
    from dataclasses import asdict

    from problems import make_domain, make_problem

    from fem_selection.discretization.spaces import StateSpace
    from fem_selection.learning import ScaledFunctional, assess_optimality
    from fem_selection.optimize import approximate_successively
    from fem_selection.parallel import Ensemble
    from fem_selection.settings import OptimizerSettings, Regularization

    ensemble = Ensemble(space=space_ranks)
    space = StateSpace(make_domain("interval", 7, comm=ensemble.space_comm), 1)
    options = {"layers": 2, "intervals": 2, "regularization": Regularization(kernel=0.2, bias=0.3, readout=0.1), **case}
    problem = make_problem(space, ensemble, **options)
    scaled = ScaledFunctional(problem.functional)
    certificate = asdict(assess_optimality(scaled, problem.moved(size=1.0)))
    start = scaled.to_scaled(problem.moved(size=0.5))
    upper = scaled.to_scaled(np.full(len(start), 1.0))
    upper[~np.isin(np.arange(len(start)), _shard_of_kernel(problem))] = np.inf
    objectives = {}
    for method, bounds in (("damped_msa", None), ("sqh", None), ("sqh", (-upper, upper))):
        rows: list = []
        settings = OptimizerSettings(method=method, max_iterations=4, starts=4, reduction=1e-9)
        approximate_successively(scaled, start, settings, scaled_bounds=bounds, observe=rows.append)
        key = method if bounds is None else f"{method} in a box"
        objectives[key] = [[r.objective, r.gradient_norm, r.maximum_principle_gap] for r in rows]
    return {"certificate": certificate, "objectives": objectives}


def _shard_of_kernel(problem) -> np.ndarray:
    """Places in the shard of the kernel's entries."""
    flags = np.zeros(problem.control_space.local_size)
    flags[problem.control_space.slices["kernel"]] = 1
    return np.flatnonzero(flags[problem.control_space.shard])


def main() -> None:
    """Computes every case by every split of these ranks."""
    from mpi4py import MPI

    runs = [(name, space) for name, n, space in RUNS if n == MPI.COMM_WORLD.size]
    results = {f"{name}/{space}": compute(CASES[name], space) for name, space in runs}
    print_results(results)


@pytest.mark.parametrize(
    ("name", "ranks", "space"), [slow_beyond_two(ranks, name, ranks, space) for name, ranks, space in RUNS]
)
def test_same_certificate_and_steps(results_on, name, ranks, space):
    """Fails if layers are exchanged wrongly between members, rows between ranks of a mesh, if random starts or choices
    among them depend on the partition, or a readout is optimised for one member's samples."""
    reference, here = results_on(1)[f"{name}/1"], results_on(ranks)[f"{name}/{space}"]
    for key, value in reference["certificate"].items():
        if key == "kkt_parts":
            assert here["certificate"][key]["control"] == pytest.approx(value["control"], rel=1e-10)
        elif key == "kernel_singular_values":
            np.testing.assert_allclose(here["certificate"][key], value, atol=1e-10)
        elif key in ("declined", "kernel_rank"):
            assert here["certificate"][key] == value
        elif key == "hessian_actions":  # round-off may take one more or less
            continue
        else:
            np.testing.assert_allclose(here["certificate"][key], value, rtol=1e-8, atol=1e-10)
    for method, rows in reference["objectives"].items():
        np.testing.assert_allclose(here["objectives"][method], rows, rtol=1e-6, atol=1e-9)


if __name__ == "__main__":
    main()
