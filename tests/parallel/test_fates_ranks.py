# SPDX-License-Identifier: MIT
"""What becomes of states is said alike on one rank and on two; an error of root alone ends every rank.

Run by mpiexec this file computes on its ranks and prints the numbers as JSON; run by pytest it launches itself.
"""

from __future__ import annotations

import numpy as np
import pytest
from ranks import print_results

pytestmark = pytest.mark.slow
SIGN = "where(s>0, 1, where(s<0, -1, 0))"
HALVES = "2*where(y < 0.5, where(z < 0.5, 1, -3), where(z < 0.5, 1, -0.9))"
CASES = {
    "cycle": (HALVES, "tanh", "where(y < 0.5, 0.3, 0)", ["cycle"]),
    "blow-up": ("1", "s**2", "1 - 2*s", ["blow-up", "steady"]),
    "root": ("1", "tanh(2*s) - s", "1e-10 - 2e-10*s", ["steady", "steady"]),
    "drift": ("-1", "exp(s)", "0", ["drift"]),
    "sliding": ("-1", SIGN, "1 + y", ["steady"]),
}


def main() -> None:
    """Finds the limits of all cases, and prints outcomes, states and numbers beside them."""
    from mpi4py import MPI

    from fem_selection.cases.field import build_field
    from fem_selection.config import parse_case
    from fem_selection.parallel import act_on_root
    from fem_selection.settings import LimitSettings
    from fem_selection.steady import find_limit

    results = {}
    for name, (kernel, activation, initial, expected) in CASES.items():
        case = parse_case(
            {
                "domain": {"shape": "interval", "cells": 12},
                "space": {"family": "dg", "degree": 0},
                "dynamics": {"kernel": kernel, "activation": activation},
                "data": {"initial": initial, "samples": len(expected)},
                "parallel": {"space": MPI.COMM_WORLD.size},
            }
        )
        problem = build_field(case)
        found = find_limit(problem.field, problem.initial, LimitSettings(horizon=1e4))
        results[name] = {
            "outcomes": list(found.outcomes),
            "states": problem.space.gather(found.states).ravel().tolist(),
            "times": found.times.tolist(),
            "periods": [end.cycle.period for end in found.ends if end.cycle is not None],
            "blow_ups": [end.growth.blow_up_time for end in found.ends if end.outcome == "blow-up"],
        }

    results["apart"] = explode_apart(MPI.COMM_WORLD)

    def fail() -> None:
        raise ZeroDivisionError("on root alone")

    caught = ""
    try:
        act_on_root(MPI.COMM_WORLD, fail)
    except (ZeroDivisionError, RuntimeError) as error:
        caught = f"{type(error).__name__}: {error}"
    results["caught"] = MPI.COMM_WORLD.allgather(caught)
    print_results(results)


def explode_apart(world):
    """Four samples of s² over the ranks, each with the whole mesh: two blow up, each on a rank of its own."""
    from problems import make_domain, make_field

    from fem_selection.discretization.spaces import StateSpace
    from fem_selection.evolution import integrate
    from fem_selection.functions.activations import Activation
    from fem_selection.parallel import Ensemble

    ensemble = Ensemble(world)
    space = StateSpace(make_domain("interval", 4, ensemble.space_comm), 1)
    field = make_field(space, 1.0, 0.0, Activation(name="square", expression=lambda s: s**2))
    starts = np.array([1.0, -1.0, 0.5, -0.5])[ensemble.samples(4)]
    initial = np.asfortranarray(np.ones((space.num_local, 1)) * starts)
    run = integrate(field, initial, np.array([0.0, 5.0]), sample_comm=ensemble.sample_comm)
    final = np.concatenate(ensemble.sample_comm.allgather(run.final[0]))
    ends = [end.outcome for part in ensemble.sample_comm.allgather(run.ends) for end in part]
    return {"counts": [run.steps, run.rejected], "final": final.tolist(), "ends": ends}


def test_explosions_on_ranks_of_their_own(results_on):
    """Fails if the ranks' steps differ after the sample of one of them has ended."""
    here, reference = results_on(2)["apart"], results_on(1)["apart"]
    assert here["counts"] == reference["counts"]
    assert here["ends"] == reference["ends"] == ["blow-up", "horizon", "blow-up", "horizon"]
    np.testing.assert_allclose(np.array(here["final"])[1::2], [-1 / 6, -1 / 7], rtol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_same_fates(results_on, name):
    """Fails if a decision is a rank's own, or if a run depends on the partition."""
    here, reference = results_on(2)[name], results_on(1)[name]
    assert here["outcomes"] == reference["outcomes"] == CASES[name][3]
    tolerance = 1e-2 if name == "sliding" else 1e-5  # until ramps are put in, round-off decides the side of the jump
    for key in ("states", "times", "periods", "blow_ups"):
        np.testing.assert_allclose(here[key], reference[key], rtol=tolerance, atol=0.1 * tolerance)


def test_an_error_of_root_reaches_all(results_on):
    """Fails if the others wait for a root that has left."""
    assert results_on(2)["caught"] == [
        "ZeroDivisionError: on root alone",
        "RuntimeError: rank 0 failed with ZeroDivisionError: on root alone",
    ]


if __name__ == "__main__":
    main()
