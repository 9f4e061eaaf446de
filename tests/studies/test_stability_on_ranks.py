# SPDX-License-Identifier: MIT
"""The studies of stability and of the value function are the same on one rank and on two, with objects of the user's.

Run by mpiexec this file computes on its ranks and prints the numbers as JSON; run by pytest it launches itself.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from ranks import print_results


def main() -> None:
    """Runs the studies, writes their reports, and prints numbers and names of files."""
    from mpi4py import MPI
    from own_equations import SHIFTED, make_mean_field
    from test_hjb_study import SETTINGS, make_neuron
    from test_network_stability import assess as assess_network
    from test_stability import BRANCHES, assess

    import fem_selection as fs

    world = MPI.COMM_WORLD
    state = assess(world)
    family, start = make_mean_field(world)
    branches = fs.studies.branches(family, start, BRANCHES)
    network = assess_network(SHIFTED, world)[1]
    neuron = make_neuron(world)
    value = fs.studies.hjb(neuron, SETTINGS)
    results = {
        "eigenvalues": [*state.eigenvalues.real, *state.eigenvalues.imag],
        "modes": np.abs(state.modes).ravel().tolist(),
        "error_bars": state.error_bars.tolist(),
        "growth": state.growth.measured.real.tolist(),
        "exponents": state.exponents.state.ravel().tolist(),
        "bifurcations": [found.parameter for found in branches.bifurcations],
        "layers": [[layer.distance, *layer.spectrum.leading.real] for layer in network.layers],
        "amplification": network.exponents.amplification.ravel().tolist(),
        "value": [value.value, value.witness, value.closed_loop_cost, *value.objectives],
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(world.bcast(name))
        for study, report in {"state": state, "branches": branches, "network": network}.items():
            report.write(folder / study)
        value.write(folder / "hjb", space=neuron.space)
        world.barrier()
        files = world.bcast(sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*") if path.is_file()))
        world.barrier()
    results["files"] = [file for file in files if not file.startswith("hjb/value.")]
    results["fields"] = any(file.startswith("hjb/value.") for file in files)
    results["ranks"] = world.size
    print_results(results)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2])
def test_same_reports(results_on, ranks):
    """Fails if a study lacks a sum over the ranks, if a rank takes a decision of its own, if samples of another rank
    are missing in a mean, or if all ranks write one file at once."""
    here, reference = results_on(ranks), results_on(1)
    assert (here["ranks"], reference["ranks"]) == (ranks, 1)
    assert here["files"] == reference["files"] and here["fields"] and reference["fields"]
    wanted = {"state/report.json", "branches/figures/bifurcations.png", "network/figures/spectrum.png"}
    assert wanted <= set(here["files"])
    for key in ("eigenvalues", "error_bars", "growth", "bifurcations", "layers"):
        np.testing.assert_allclose(here[key], reference[key], atol=1e-8)
    np.testing.assert_allclose(here["modes"], reference["modes"], atol=1e-6)
    np.testing.assert_allclose(here["exponents"], reference["exponents"], atol=1e-5)  # of forty sweeps
    np.testing.assert_allclose(here["amplification"], reference["amplification"], rtol=1e-7)
    np.testing.assert_allclose(here["value"], reference["value"], rtol=1e-7)


if __name__ == "__main__":
    main()
