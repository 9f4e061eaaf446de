# SPDX-License-Identifier: MIT
"""Large times and steady states of equations that no case file made are the same on 1 and 2 ranks, reports included.

Run by mpiexec this file calls the studies, writes their reports and prints their numbers as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from ranks import print_results

RANKS = [2, pytest.param(3, marks=pytest.mark.slow)]


def main() -> None:
    """Runs the studies and prints what their reports hold."""
    from mpi4py import MPI
    from own_objects import bounded_field, ring, shifted_field, states

    import fem_selection as fs
    from fem_selection.errors import InvalidInput

    world = MPI.COMM_WORLD
    folder = Path(sys.argv[1])
    space = ring(world)
    forward = fs.studies.forward(bounded_field(space), states(space), fs.ForwardSettings(until=4.0, times=5))
    forward.write(folder / "forward", space=space)
    coarse = ring(world, 2)
    steady = fs.studies.steady(shifted_field(coarse), states(coarse), fs.SteadySettings(starts=1))
    steady.write(folder / "steady", space=coarse)
    refused = 0
    wrong = states(coarse)[world.rank :]  # wrong on all ranks but the first
    for study in (fs.studies.forward, fs.studies.steady):
        try:
            study(shifted_field(coarse), wrong)
        except InvalidInput:
            refused += 1
    print_results(
        {
            "refused": world.allreduce(refused),
            "final": space.gather(forward.integration.final).tolist(),
            "shown": [forward.shown_states.tolist(), steady.shown_everywhere.tolist()],
            "mesh": [forward.mesh[0].tolist(), sorted(sorted(t) for t in forward.mesh[1].tolist())],
            "forward": json.loads((folder / "forward" / "report.json").read_text()),
            "steady": json.loads((folder / "steady" / "report.json").read_text()),
            "files": sorted(str(p.relative_to(folder)) for p in folder.rglob("*.png")),
        }
    )


@pytest.mark.parametrize("ranks", RANKS)
def test_same_reports(results_on, tmp_path_factory, ranks):
    """Fails if a report holds a number of one rank alone, if a figure or a field is written by some ranks only and the
    others wait, or if an array of nodal values does not fit the nodes of its rank."""
    base = tmp_path_factory.getbasetemp()
    here, reference = (results_on(n, str(base / f"studies_{n}")) for n in (ranks, 1))
    assert here["refused"] == 2 * ranks and here["files"] == reference["files"] and len(here["files"]) >= 4
    np.testing.assert_allclose(here["mesh"][0], reference["mesh"][0], atol=1e-14)
    assert here["mesh"][1] == reference["mesh"][1]
    np.testing.assert_allclose(here["final"], reference["final"], atol=1e-8)
    for ours, theirs in zip(here["shown"], reference["shown"], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    ours, theirs = here["forward"], reference["forward"]
    assert ours.keys() == theirs.keys() and ours["steps"] == theirs["steps"] and ours["nodes"] == theirs["nodes"]
    np.testing.assert_allclose(ours["norms"], theirs["norms"], rtol=1e-8)
    np.testing.assert_allclose(ours["final_rates"], theirs["final_rates"], rtol=1e-6)
    ours, theirs = here["steady"], reference["steady"]
    assert ours.keys() == theirs.keys() and ours["verdict"] == theirs["verdict"]
    for key in ("singular_values", "numerical_rank", "nodes"):
        np.testing.assert_allclose(ours["kernel"][key], theirs["kernel"][key], rtol=1e-9)
    for one, other in zip(ours["states"], theirs["states"], strict=True):
        for key in ("preactivation_range", "norm", "sensitivity_to_constant_bias"):
            np.testing.assert_allclose(one[key], other[key], rtol=1e-8)
    for one, other in zip(ours["limits"], theirs["limits"], strict=True):
        assert one["outcome"] == other["outcome"] == "steady" and one["nearest_state"] == other["nearest_state"]
        np.testing.assert_allclose(one["distance_from_initial"], other["distance_from_initial"], rtol=1e-6)


if __name__ == "__main__":
    main()
