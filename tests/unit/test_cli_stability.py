# SPDX-License-Identifier: MIT
"""The command `stability` on cases, its report, its figures, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fem_selection.cli.stability import stability_command
from fem_selection.errors import ConfigError, InvalidInput

CASE = """
[domain]
shape = "interval"
cells = 6
[dynamics]
activation = "{activation}"
kernel = "{kernel}"
bias = "{bias}"
layers = 6
horizon = 1.5
scheme = "rk4"
[data]
initial = "0.3*cos(3*y) + s"
samples = 3
[parameters]
mu = 0.5
[stability]
{stability}
"""
DEFAULTS = {"activation": "tanh", "kernel": "-1 - y*z", "bias": "0", "stability": ""}


def write_case(folder, **changes):
    """The case with these changes; returns its file."""
    path = folder / "case.toml"
    path.write_text(CASE.format(**DEFAULTS | changes))
    return path


def assess(folder, *settings, **changes):
    """The report of the command on the case with these changes and settings."""
    assert stability_command(write_case(folder, **changes), folder / "out", list(settings)) == 0
    return json.loads((folder / "out" / "report.json").read_text())


def test_a_stable_state(tmp_path):
    """Eigenvalues with error bars, decay beside them, exponents, figures; fails if a key or figure is missing."""
    report = assess(tmp_path)
    assert report["kind"] == "stable modulo kernel" and "rank 2" in report["verdict"]
    values = np.array(report["eigenvalues"])
    assert values.shape == (2, 2) and np.all(values[:, 0] < 0)
    assert np.all(np.array(report["error_bars"]) < 2e-2) and np.all(np.array(report["error_bars"]) > 1e-5)
    assert report["growth_rate_measured"] == pytest.approx(values[0, 0], rel=1e-3)
    assert report["unstable"] == report["unstable_on_finer_space"] == 0
    assert report["transient_growth"]["largest"] == pytest.approx(1.0, abs=1e-9)
    assert np.array(report["exponents"]["state"]).shape == (3, 4)
    assert "bifurcations" not in report
    figures = {path.name for path in (tmp_path / "out" / "figures").iterdir()}
    assert figures == {"spectrum.png", "eigenfunctions.png", "growth.png", "exponents.png"}
    assert stability_command(tmp_path / "case.toml", tmp_path / "out", []) == 0  # an earlier report is replaced


def test_the_state_is_corrected_by_newton(tmp_path):
    """b = 0.4 (1 + y/2), in the range of K: the state is found from 0, its part in ker K untouched.

    Fails if the linearization is taken at the start.
    """
    report = assess(tmp_path, "output.figures=false", bias="0.4*(1 + y/2)")
    assert report["state_residual"] < 1e-11
    still = assess(tmp_path, "output.figures=false")
    np.testing.assert_allclose(report["eigenvalues"], still["eigenvalues"], atol=1e-9)  # tanh'(0) = 1 at both


def test_a_mesh_from_a_file(tmp_path):
    """K = 1 + y_0 z_0 on the unit disk has the eigenvalues π and π/4; the error bar of the second holds.

    Fails if a file, which holds one mesh, is asked for a finer one, or if the finer space is the same.
    """
    disk = Path(__file__).resolve().parents[2] / "meshes" / "disk.msh"
    path = tmp_path / "case.toml"
    path.write_text(f'[domain]\nfile = "{disk}"\n[dynamics]\nkernel = "1 + y0*z0"\n[data]\ninitial = "y1"\n')
    assert stability_command(path, tmp_path / "out", ["output.figures=false"]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["kind"] == "unstable" and report["unstable"] == report["unstable_on_finer_space"] == 2
    error = abs(report["eigenvalues"][1][0] - np.pi / 4)
    assert error < report["error_bars"][1] < 4 * error and 1e-3 < error < 0.03
    assert report["error_bars"][0] < 1e-6  # constants are in the space
    assert report["growth_rate_measured"] == pytest.approx(report["eigenvalues"][0][0], rel=1e-4)


def test_a_kernel_with_a_local_part(tmp_path):
    """Convection turns the leading pair: the run measures it, the finer mesh has it.

    Fails if the eigenvalues shown or measured are those of largest modulus, or if factors given by formulas pass for
    random ones, for which there is no finer mesh.
    """
    settings = ["dynamics.representation=local + separable", "dynamics.multiplication=-1", "dynamics.diffusion=0.05"]
    settings += [
        'dynamics.factors=[["cos(3*y)", "2*cos(3*z)"], ["sin(3*y)", "sin(2*z)"]]',
        "domain.cells=24",
        "stability.exponents=0",
    ]
    text = CASE.format(**DEFAULTS | {"bias": "0"}).replace('kernel = "-1 - y*z"\n', "")
    (tmp_path / "case.toml").write_text(text)
    assert stability_command(tmp_path / "case.toml", tmp_path / "out", [*settings, "output.figures=false"]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    real, imaginary = report["eigenvalues"][0]
    assert report["kind"] == "stable" and real == pytest.approx(-0.5257, abs=1e-3) and abs(imaginary) > 0.05
    assert report["growth_rate_measured"] == pytest.approx(real, rel=1e-2)
    assert report["error_bars"][0] < 2e-4


def test_runs_that_blow_up(tmp_path):
    """σ = (μ − 1) s + s³: the trajectories of the samples blow up, which says nothing of the steady state.

    Fails if verdict and bifurcations are lost with the exponents.
    """
    path = write_case(
        tmp_path, activation="(mu-1)*s + s**3", kernel="1", stability='parameter = "mu"\nrange = [0.5, 1.5]\nstep = 0.2'
    )
    settings = ["output.figures=false", "data.initial=5", "dynamics.horizon=40"]
    assert stability_command(path, tmp_path / "out", settings) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["exponents"] is None and "not finite" in report["exponents_declined"]
    assert report["growth_rate_measured"] == pytest.approx(-0.5, rel=1e-3) and report["growth_declined"] is None
    assert [b["kind"] for b in report["bifurcations"]] == ["pitchfork"]


def test_a_local_kernel_on_many_nodes(tmp_path):
    """K = D Δ − 1, tanh, 501 nodes, from where Newton's first step helps little.

    Fails if such a step passes for round-off, or if the state is asked for in the coordinates of branches.
    """
    settings = ["dynamics.representation=local", "dynamics.multiplication=-1", "dynamics.diffusion=0.01"]
    settings += ["domain.cells=500", "stability.exponents=0", "stability.refine=false", "output.figures=false"]
    stability = 'state = "1"\nparameter = "mu"\nrange = [0.5, 1.0]'
    text = CASE.format(**DEFAULTS | {"bias": "2*mu*y", "stability": stability}).replace('kernel = "-1 - y*z"\n', "")
    (tmp_path / "case.toml").write_text(text)
    assert stability_command(tmp_path / "case.toml", tmp_path / "out", settings) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["kind"] == "stable" and report["state_residual"] < 1e-10
    assert "rank above 400" in report["bifurcations_declined"]
    wanted = [-1.0 - 0.01 * (np.pi * k) ** 2 for k in range(4)]
    np.testing.assert_allclose([re for re, _ in report["eigenvalues"][:4]], wanted, rtol=1e-4)


def test_bifurcations_in_the_report(tmp_path):
    """Fails if the parameter of the case does not reach the branch."""
    stability = 'parameter = "mu"\nrange = [0.5, 1.5]\nstep = 0.2\nrefine = false\nexponents = 0'
    report = assess(tmp_path, activation="tanh(mu*s) - s", kernel="1", stability=stability)
    (found,) = report["bifurcations"]
    assert (found["kind"], found["parameter"]) == ("pitchfork", "mu")
    assert found["value"] == pytest.approx(1.0, abs=1e-6)
    assert report["error_bars"] is None and report["exponents"] is None
    assert (tmp_path / "out" / "figures" / "bifurcations.png").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stability": 'parameter = "nu"\nrange = [0, 1]'}, r"stability\.parameter: 'nu' is not in"),
        ({"stability": 'parameter = "mu"'}, r"stability\.range: .* give both or neither"),
        ({"stability": 'state = "x"'}, r"stability\.state: unknown name 'x'"),
        ({"stability": "number = 0"}, r"stability\.number: must be at least 1"),
        ({"bias": "t"}, "does not depend on t"),
        ({"activation": "1 + s**2"}, r"stability\.state: '0'"),
        ({"bias": "sin(20*y)"}, "stands still, but not f"),
        ({"stability": 'state = "1/y"'}, r"stability\.state: the formula .* is not finite"),
    ],
)
def test_faults_are_named(tmp_path, changes, words):
    """Fails if a fault is found only after the folder was made, or comes without its key."""
    with pytest.raises(InvalidInput, match=words) as caught:
        stability_command(write_case(tmp_path, **changes), tmp_path / "out", [])
    assert isinstance(caught.value, ConfigError | InvalidInput)
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_run(tmp_path):
    """Fails if a folder that holds no run is taken for one, and its missing case file for the fault."""
    with pytest.raises(InvalidInput, match="holds no run"):
        stability_command(tmp_path, None, [])
