# SPDX-License-Identifier: MIT
"""Certificates and Pontryagin's steps are the same on 1 … 4 ranks, for every space × sample split.

Run by mpiexec this file computes on its ranks and prints JSON; run by pytest it launches itself and compares.
"""

from __future__ import annotations

import sys

import numpy as np
import pytest
from ranks import print_results, slow_beyond_two

CASES = {"softmax": {"samples": 9}, "one sample": {"samples": 1, "loss": "tracking"}, "few": {"samples": 3}}
# more ranks than many machines have cores are slow: only what is seen there alone (no layer for a member, 2 × 2)
RUNS = [(name, n, space) for n in (1, 2) for name in CASES for space in range(1, n + 1)]
RUNS += [("softmax", 3, 1), ("few", 4, 2)]


MEASURED = ("hessian_actions", "hessian_error", "objective_round_off", "gradient_round_off", "newton_contraction")
"""What round-off changes: one action more or less, and the measurements of round-off itself."""


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
    box = np.full(len(scaled.control_space.scale), 0.3)
    boxed = np.clip(scaled.to_scaled(problem.moved(size=3.0)), -scaled.to_scaled(box), scaled.to_scaled(box))
    in_a_box = assess_optimality(scaled, scaled.to_controls(boxed), (-scaled.to_scaled(box), scaled.to_scaled(box)))
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
    return {"certificate": certificate, "objectives": objectives, "in a box": summary(in_a_box)}


def summary(found) -> list[float]:
    """The numbers of a certificate that all its parts enter."""
    active = found.active_bounds or {}
    numbers = [found.gradient_norm, found.kkt_residual, found.maximum_principle_gap, found.lowest_change]
    return [float(n) for n in [*numbers, *(active[name] for name in sorted(active))]]


def compute_galerkin(space_ranks: int) -> list[float]:
    """The numbers of the certificate of a small problem in Galerkin mode, free and in a box."""
    from problems import make_domain, make_problem

    from fem_selection.discretization.spaces import StateSpace
    from fem_selection.learning import ScaledFunctional, assess_optimality
    from fem_selection.parallel import Ensemble
    from fem_selection.settings import CertificateSettings, Regularization

    ensemble = Ensemble(space=space_ranks)
    space = StateSpace(make_domain("interval", 3, comm=ensemble.space_comm), 1, mode="galerkin")
    options = {"layers": 2, "intervals": 2, "regularization": Regularization(kernel=0.2, bias=0.3, readout=0.1)}
    problem = make_problem(space, ensemble, samples=3, loss="tracking", block=8, **options)
    scaled = ScaledFunctional(problem.functional)
    x, settings = problem.moved(size=1.0), CertificateSettings(starts=2)
    box = scaled.to_scaled(np.full(len(x), 0.3))
    boxed = scaled.to_controls(np.clip(scaled.to_scaled(x), -box, box))
    free = summary(assess_optimality(scaled, x, settings=settings))
    return [*free, *summary(assess_optimality(scaled, boxed, (-box, box), settings=settings))]


def _shard_of_kernel(problem) -> np.ndarray:
    """Places in the shard of the kernel's entries."""
    flags = np.zeros(problem.control_space.local_size)
    flags[problem.control_space.slices["kernel"]] = 1
    return np.flatnonzero(flags[problem.control_space.shard])


def main() -> None:
    """Computes every case by every split of these ranks."""
    from mpi4py import MPI

    runs = [(name, space) for name, n, space in RUNS if n == MPI.COMM_WORLD.size]
    if sys.argv[1:] == ["galerkin"]:
        print_results({f"galerkin/{space}": compute_galerkin(space) for space in sorted({s for _, s in runs})})
        return
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
        elif key == "declined":
            assert here["certificate"][key].keys() == value.keys()
        elif key == "kernel_rank" or isinstance(value, str | None):
            if key != "local_minimum_reason":  # it holds numbers
                assert here["certificate"][key] == value
        elif key in MEASURED:
            continue
        else:
            np.testing.assert_allclose(here["certificate"][key], value, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(here["in a box"], reference["in a box"], rtol=1e-7, atol=1e-9)
    for method, rows in reference["objectives"].items():
        np.testing.assert_allclose(here["objectives"][method], rows, rtol=1e-6, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("space", [1, 2])
def test_same_certificate_in_galerkin_mode(results_on, space):
    """Fails if the joint minimisation of all layers sums over rows or samples of one rank alone."""
    here, reference = results_on(2, "galerkin")[f"galerkin/{space}"], results_on(1, "galerkin")["galerkin/1"]
    np.testing.assert_allclose(here, reference, rtol=1e-5, atol=1e-9)


if __name__ == "__main__":
    main()
