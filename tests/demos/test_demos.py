# SPDX-License-Identifier: MIT
"""Every demo runs, on one rank and where it matters on several, and shows what it says it shows."""

from __future__ import annotations

from pathlib import Path

import pytest
from ranks import run_command_on_ranks, run_on_ranks

ROOT = Path(__file__).resolve().parents[2]


def run(name: str, case: str, folder: Path, *settings: str, ranks: int = 1) -> dict:
    """Run a command on a demo in a folder and return its report."""
    return run_command_on_ranks(ranks, name, ROOT / "demos" / case, output=folder, settings=settings)


def show(demo: str, folder: Path, *figures: str, ranks: int = 1) -> None:
    """Run a literate demo in a folder; it has to pass its own assertions and to leave its figures."""
    run_on_ranks(ranks, ROOT / "demos" / demo, folder=folder)
    for figure in figures:
        assert (folder / "runs" / figure).stat().st_size > 10_000


@pytest.mark.parametrize("ranks", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_first_steps(tmp_path: Path, ranks: int) -> None:
    """Fails if a gradient or metric is wrong, or a share of the samples is lost or counted twice: the literate demo
    asserts its own number."""
    show("first_steps.py", tmp_path, "first_steps.png", ranks=ranks)


@pytest.mark.slow
@pytest.mark.usefixtures("run_mpi")
def test_three_conditions(tmp_path: Path) -> None:
    """Fails if gradient, Pontryagin's principle and value function no longer meet at the closed form, or if the
    principle does not leave the stationary point that is not optimal."""
    show("three_conditions.py", tmp_path, "three_conditions.png", "three_conditions_gap.png", ranks=2)


@pytest.mark.slow
@pytest.mark.usefixtures("run_mpi")
def test_many_points(tmp_path: Path) -> None:
    """Fails if images of 256 × 256 points are read or interpolated wrongly, or coarse levels teach the fine nothing."""
    show("many_points.py", tmp_path, "many_points.png", ranks=2)


@pytest.mark.slow
def test_value_function(tmp_path: Path) -> None:
    """Fails if the value function, its witness, its feedback and the open loop part, or if the kink is elsewhere."""
    show("value_function.py", tmp_path, "value_function.png", "value_function_kink.png")


@pytest.mark.slow
def test_certificate(tmp_path: Path) -> None:
    """Fails if the trained digits do not pass for optimal, or if the stretched ones do."""
    show("certificate.py", tmp_path, "certificate.png")


@pytest.mark.slow
def test_hjb(tmp_path: Path) -> None:
    """The case of the value function on a coarser mesh: fails if the value is further from the optimum of the open loop
    than the error that the report states."""
    short = ("hjb.cells=48", "hjb.levels=2", "hjb.starts=1", "hjb.witness=false", "output.fields=false")
    report = run("hjb", "hjb.toml", tmp_path / "run", *short)
    difference = abs(report["value_at_initial_state"] - report["open_loop_objective"])
    assert 0.0 < difference < report["error_estimate"] < 0.1 * report["open_loop_objective"]
    assert {p.name for p in (tmp_path / "run" / "figures").iterdir()} == {"value.png", "refinement.png"}


def test_energy(tmp_path: Path) -> None:
    """Fails if a functional rises that is claimed to fall, or if the skew kernel's energy is claimed."""
    show("energy.py", tmp_path, "energy.png")


@pytest.mark.slow
def test_forward(tmp_path: Path) -> None:
    """Fails if a promised figure is missing, a claimed bound is violated, or a definite kernel is not found so."""
    report = run("forward", "forward.toml", tmp_path / "run", "forward.until=5", "output.fields=false")
    assert {p.name for p in (tmp_path / "run" / "figures").iterdir()} == {"norms.png", "functionals.png", "states.png"}
    claimed = {name for name, bound in report["bounds"].items() if bound["claimed"]}
    assert claimed == {"growth", "dependence", "energy", "potential", "preactivation"}
    assert all(report["bounds"][name]["excess"] < 1e-6 for name in claimed)


@pytest.mark.parametrize("ranks", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_relu_selection(tmp_path: Path, ranks: int) -> None:
    """Fails if the selected state leaves its closed form, or a projection its optimality conditions."""
    show("relu_selection.py", tmp_path, "relu_selection.png", ranks=ranks)


@pytest.mark.slow
def test_steady(tmp_path: Path) -> None:
    """The case of the ReLU selection: fails if the nearest state is not at 1 − h/2, if the dynamics does not end
    further away, or if a figure is missing."""
    report = run("steady", "steady.toml", tmp_path / "run")
    first = report["limits"][0]
    assert first["projection"]["distance"] == pytest.approx(1 - 0.5 / 100)
    assert first["outcome"] == "steady" and first["distance_from_initial"] == pytest.approx((10 / 3) ** 0.5, abs=0.05)
    assert {p.stem for p in (tmp_path / "run" / "figures").iterdir()} == {"steady_states", "picard", "approach"}


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 3])
def test_bifurcations(tmp_path: Path, ranks: int) -> None:
    """Fails if a branch, a bifurcation, a cycle's amplitude or a growth rate leaves its closed form."""
    show("bifurcations.py", tmp_path, "bifurcations.png", ranks=ranks)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 3])
def test_stability_demo(tmp_path: Path, ranks: int) -> None:
    """Fails if exponents of state and adjoint part, leave the dense product, or do not bound the gradients."""
    figures = ("stability_spectrum.png", "stability_exponents.png", "stability_gradients.png")
    show("stability.py", tmp_path, *figures, ranks=ranks)


@pytest.mark.slow
def test_pitchfork(tmp_path: Path) -> None:
    """The case of the pitchfork: fails if it is elsewhere, if a branch is lost, or if a promised figure is missing."""
    report = run("stability", "pitchfork.toml", tmp_path / "run")
    (found,) = report["bifurcations"]
    assert (found["kind"], found["parameter"], found["criticality"]) == ("pitchfork", "mu", "supercritical")
    assert found["value"] == pytest.approx(1.0, abs=1e-6)
    assert [branch["parent"] for branch in report["branches"]] == [None, 0, 0]
    assert report["eigenvalues"] == [[pytest.approx(0.5, abs=1e-9), 0.0]]
    assert report["growth_rate_measured"] == pytest.approx(0.5, rel=0.01)
    figures = {p.stem for p in (tmp_path / "run" / "figures").iterdir()}
    assert figures == {"spectrum", "eigenfunctions", "growth", "exponents", "bifurcations", "branch_states"}


@pytest.mark.slow
def test_hopf(tmp_path: Path) -> None:
    """The case of the Hopf point: fails if it is elsewhere, if the cycle's amplitude is no root of the distance, or if
    a promised figure is missing."""
    report = run("stability", "hopf.toml", tmp_path / "run")
    (found,) = report["bifurcations"]
    assert (found["kind"], found["parameter"]) == ("hopf", "a")
    assert found["value"] == pytest.approx(0.9, abs=1e-6)
    assert found["frequency"] == pytest.approx(2.19**0.5, abs=1e-6)
    assert found["criticality"] == "supercritical"
    assert found["normal_form"]["lyapunov_coefficient"] == pytest.approx(-0.45 * 2.19**0.5, abs=1e-7)
    assert found["cycles"]["exponent"] == pytest.approx(0.5, abs=0.01)
    assert set(found["cycles"]["stability"]) == {"attracting"} and found["departure"]["outcome"] == "cycle"
    assert report["growth_rate_measured"] == pytest.approx(0.05, rel=0.01)  # (a − 0.9)/2 at a = 1
    figures = {p.stem for p in (tmp_path / "run" / "figures").iterdir()}
    assert figures == {"spectrum", "eigenfunctions", "growth", "exponents", "bifurcations", "branch_states"}


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 3])
def test_continuum_limit(tmp_path: Path, ranks: int) -> None:
    """Fails if Euler layers are no longer the residual network, if networks sampled from a kernel lose their orders in
    width or depth, or if those with independent weights come closer than they may."""
    show("continuum_limit.py", tmp_path, "continuum_limit.png", ranks=ranks)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_limits_of_minimisers(tmp_path: Path, ranks: int) -> None:
    """Fails if optimal values or optimal controls lose their order in width or depth, or miss the closed form."""
    show("limits_of_minimisers.py", tmp_path, "limits_of_minimisers.png", ranks=ranks)


@pytest.mark.slow
def test_disk(tmp_path: Path) -> None:
    """Digits on a mesh from a file; fails if the cells of curved edges are not what the images are laid on."""
    report = run("train", "disk.toml", tmp_path / "run", "stochastic.epochs=20", "output.fields=false")
    assert report["test_accuracy"] > 0.97 and report["domain"] == "disk.msh, 191 triangle cells"


@pytest.mark.slow
def test_surface(tmp_path: Path) -> None:
    """A manifold of neurons; fails if spots do not travel, or there is no picture of the surface."""
    report = run("train", "surface.toml", tmp_path / "run", "optimizer.max_iterations=15", "output.fields=false")
    assert report["objective"] < 2.5  # 7.2 at the start
    assert (tmp_path / "run" / "figures" / "states.png").exists()


def test_digits(tmp_path: Path) -> None:
    """The main job, as the README gives it: fails if the accuracy that the case was chosen for, an exact derivative or
    a figure is lost."""
    report = run("train", "digits.toml", tmp_path / "run", "output.fields=false")
    assert report["test_accuracy"] >= 0.98
    assert report["certificate"]["taylor_order"] == pytest.approx(2.0, abs=0.05)
    assert report["certificate"]["adjoint_identity_error"] < 1e-12
    figures = {p.name for p in (tmp_path / "run" / "figures").iterdir()}
    assert figures == {"convergence.png", "states.png", "controls.png", "confusion.png"}


@pytest.mark.slow
def test_digits_in_galerkin_mode(tmp_path: Path) -> None:
    """Fails if Galerkin mode does not learn the digits; a few epochs are enough to see it."""
    short = ("space.mode=galerkin", "stochastic.epochs=25", "output.figures=false")
    report = run("train", "digits.toml", tmp_path / "run", *short, "output.fields=false")
    assert report["test_accuracy"] >= 0.93


@pytest.mark.usefixtures("run_mpi")
def test_digits_optimal_descends(tmp_path: Path) -> None:
    """Fails if 40 iterations on two ranks do not bring the objective from log 10 below 1.5, or if a sample is on both
    ranks or on none."""
    short = ("optimizer.max_iterations=40", "output.figures=false", "output.fields=false")
    report = run("train", "digits_optimal.toml", tmp_path / "run", *short, ranks=2)
    assert report["iterations"] == 40
    assert report["objective"] < 1.5
    assert report["ranks"] == 2 and sum(report["samples_per_rank"]) == 1437


@pytest.mark.slow
def test_tracking(tmp_path: Path) -> None:
    """Functions steered to functions: fails if the bumps do not arrive, which leaves the data term near its first
    value, or if the run does not converge."""
    report = run("train", "tracking.toml", tmp_path / "run", "output.fields=false")
    assert report["train_cost"] < 0.004
    assert report["converged"] and report["objective"] == pytest.approx(0.0364783, abs=1e-6)
    assert {p.name for p in (tmp_path / "run" / "figures").iterdir()} == {
        "convergence.png",
        "states.png",
        "controls.png",
    }
