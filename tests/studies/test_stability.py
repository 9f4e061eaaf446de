# SPDX-License-Identifier: MIT
"""The studies `stability` and `branches` on an equation that no case file made, beside dense matrices and formulas."""

from __future__ import annotations

import json
import pickle
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from mpi4py import MPI
from own_equations import (
    SWING,
    dense_operator,
    exponents_of_euler,
    leading,
    make_mean_field,
    make_parallelogram,
    make_swing,
    slope,
    swing_kernel,
)
from scipy.optimize import brentq

import fem_selection as fs

SETTINGS = fs.StabilitySettings(number=3, exponents=2, samples=2)
DEPTH = fs.DepthGrid(layers=3, horizon=1.5)
BRANCHES = fs.StabilitySettings(parameter="mu", range=(0.5, 2.0), step=0.2, exponents=0)


def assess(comm: MPI.Intracomm, **changes):
    """The report of the swing, from a start beside its steady state, with a finer space and two trajectories."""
    field, state = make_swing(comm)
    y = field.space.coordinates
    given = {
        "finer": lambda: make_swing(comm, 12),
        "initial": np.asfortranarray(np.hstack([np.sin(y[:, :1]), y[:, 1:2]])),
        "depth": DEPTH,
        "scheme": fs.find_scheme("euler"),
    }
    start = state + 0.01 * np.cos(5 * y[:, 0])
    return fs.studies.stability(field, start, SETTINGS, **{**given, **changes})


@pytest.fixture(scope="module")
def report():
    """The study of the steady state at the swing."""
    return assess(MPI.COMM_SELF)


def dense_swing(cells: int) -> tuple[fs.SelectionField, np.ndarray]:
    """The linearization at the steady state as a matrix."""
    field, _ = make_swing(MPI.COMM_SELF, cells)
    slopes = np.where(field.space.coordinates[:, 0] > 0.71, -0.6, 1.4)
    return field, slopes[:, None] * dense_operator(field.space, swing_kernel)


def test_eigenvalues_of_the_dense_matrix(report):
    """Fails if the slopes are those of the start, if a weight is missing, or if other eigenvalues lead."""
    _, matrix = dense_swing(6)
    wanted = leading(matrix, 1)
    assert report.residual < 1e-10
    assert report.eigenvalues[0] == pytest.approx(wanted[0], abs=1e-9)
    known = np.linalg.eigvals(matrix)
    assert all(np.min(np.abs(known - value)) < 1e-9 for value in report.eigenvalues)
    assert report.verdict.kind == "unstable" and report.unstable == np.sum(known.real > 1e-8)
    assert report.growth_rate_measured == pytest.approx(wanted[0].real, rel=1e-3)


def test_error_bars_are_differences_to_finer_spaces(report):
    """The first eigenvalue lies apart; the eigenfunctions of the other two are nearly parallel, so that both count.

    Fails if the finer space is the same one, if a difference of neighbouring meshes passes for the error, if the order
    is not observed, or if the third space is not asked.
    """
    middle, finest = (np.linalg.eigvals(dense_swing(cells)[1]) for cells in (12, 24))
    nearest = [np.min(np.abs(middle - value)) for value in report.eigenvalues]
    assert report.error_bars[0] == pytest.approx(1.25 * 2 * nearest[0], abs=1e-9)  # order one is assumed
    assert np.all(report.error_bars > 2.4 * np.array(nearest)) and min(nearest) > 1e-3
    assert report.unstable_on_finer_space == report.unstable
    assert "49 and 169 nodes" in report.bars.sentence and "no order is observed" in report.details["error bars"]
    comm = MPI.COMM_SELF  # objects in place of what makes them
    made = assess(comm, finer=make_swing(comm, 12), third=make_swing(comm, 24))
    coarse = report.eigenvalues[0]
    near, far = (values[np.argmin(np.abs(values - coarse))] for values in (middle, finest))
    ratio = abs(coarse - near) / abs(near - far)
    assert made.bars.ratios[0] == pytest.approx(ratio, rel=1e-4)
    wanted = max(abs(coarse - near), abs(coarse - far)) + abs(near - far) / (min(max(ratio, 1.5), 4.0) - 1)
    assert made.error_bars[0] == pytest.approx(1.25 * wanted, abs=1e-9)


def test_exponents_of_the_dense_product(report):
    """Fails if the layers are those of another depth or scheme, or if the samples are not the given ones."""
    field, _ = dense_swing(6)
    operator, y = dense_operator(field.space, swing_kernel), field.space.coordinates
    for sample, state in enumerate((np.sin(y[:, 0]), y[:, 1])):
        wanted = exponents_of_euler(field.space, [operator] * 3, [field.bias] * 3, SWING, state, 0.5)
        np.testing.assert_allclose(report.exponents.state[sample], wanted[:2], atol=1e-5)  # of forty sweeps


def test_the_report_is_kept_and_written(report, tmp_path):
    """Fails if the report holds a PETSc object, if a figure is missing, or if the file is not what `as_dict` says."""
    again = pickle.loads(pickle.dumps(report))
    assert again.as_dict()["eigenvalues"] == report.as_dict()["eigenvalues"]
    path = report.write(tmp_path / "new" / "folder", comm=MPI.COMM_SELF)
    written = json.loads(path.read_text())
    assert written["verdict"] == report.verdict.sentence and written["unstable"] == report.unstable
    assert "bifurcations" not in written and written["bifurcations_declined"] is None
    figures = {file.name for file in (path.parent / "figures").iterdir()}
    assert figures == {"spectrum.png", "eigenfunctions.png", "growth.png", "exponents.png"}
    assert report.modes.shape == (report.spectrum.num_nodes, report.eigenvalues.size)


def test_what_is_not_given_is_declined():
    """Fails if a missing argument is an error, or if the report does not say what is missing."""
    told = []
    found = assess(
        MPI.COMM_SELF,
        finer=None,
        initial=None,
        progress=lambda phase, done, total, shown: told.append((phase, done, total)),
    )
    assert found.error_bars is None and found.error_bars_declined == "no finer space is given"
    assert found.exponents is None and "no initial states" in found.exponents_declined
    assert [done for _, done, _ in told] == [1, 2, 3, 4] and {total for *_, total in told} == {4}
    worded = assess(MPI.COMM_SELF, finer_declined="the mesh is measured data")
    assert worded.error_bars is None and worded.error_bars_declined == "the mesh is measured data"


def test_faults_are_refused():
    """Fails if Newton's method is run on an equation that depends on t, or where it cannot end at a steady state."""
    field, state = make_swing(MPI.COMM_SELF, 2)
    moving = fs.SelectionField(field.space, field.kernel, field.bias, activation=SWING, refresh=lambda t: None)
    with pytest.raises(fs.InvalidInput, match="depends on time"):
        fs.studies.stability(moving, state)
    with pytest.raises(fs.InvalidInput, match=r"the start has shape \(9, 1\), expected are"):
        fs.studies.stability(field, state[:, None])
    restless = fs.Activation(name="cosh", expression=lambda s: 1 + s * s)
    with pytest.raises(fs.InvalidInput, match=r"the start: .* give a start nearer to one"):
        fs.studies.stability(fs.SelectionField(field.space, field.kernel, field.bias, activation=restless), state)
    family, start = make_mean_field(MPI.COMM_SELF)
    with pytest.raises(fs.InvalidInput, match=r"stability\.range"):
        fs.studies.branches(family, start, fs.StabilitySettings())


@pytest.mark.parametrize(("state", "kind"), [(1e-10, "not steady"), (0.0, "unstable")])
def test_no_verdict_on_a_state_that_moves(state, kind):
    """f' = ∫ f from 1e-10 grows to 2.7e33 until t = 100, although its rate is 1e-10 at first.

    Fails if rest is judged by an absolute number, or if the reason is not in the report.
    """
    space = make_parallelogram(MPI.COMM_SELF, 2)
    kernel = fs.SeparableKernel.interpolate(space, [(1.0, 1.0)], fs.DepthGrid(layers=1))
    straight = fs.Activation(name="straight", expression=lambda s: s)
    field = fs.SelectionField(space, kernel, np.zeros(space.num_local), activation=straight)
    at = np.full(space.num_local, state)
    found = fs.studies.stability(field, at, fs.StabilitySettings(refine=False, exponents=0), state=at)
    assert found.verdict.kind == kind and (found.verdict_declined is None) == (kind == "unstable")
    assert found.residual == pytest.approx(state) and found.rest == pytest.approx(1.5e-8 * state, rel=1e-2, abs=1e-15)
    assert kind == "unstable" or "not steady" in found.as_dict()["verdict_declined"]


def test_the_pitchfork_of_a_family(tmp_path):
    """g = ∫ f obeys g' = tanh(μ g) − g: the state 0 loses its stability at μ = 1 to two others.

    Fails if the parameter does not reach the equation, if the curve that crosses is not followed, or if the diagram is
    not in the report of the state.
    """
    family, start = make_mean_field(MPI.COMM_SELF)
    found = fs.studies.stability(family(1.5), start, BRANCHES, family=family, finer_declined="not here")
    assert found.eigenvalues[0] == pytest.approx(0.5, abs=1e-10)  # μ − 1
    (pitchfork,) = found.branches.bifurcations
    assert (pitchfork.kind, pitchfork.criticality) == ("pitchfork", "supercritical")
    assert pitchfork.parameter == pytest.approx(1.0, abs=1e-6)
    ends = sorted(branch.points[-1].coordinates[0] for branch in found.branches.diagram.branches)
    size = brentq(lambda g: np.tanh(2 * g) - g, 0.1, 1.0)
    np.testing.assert_allclose(ends, [-size, 0.0, size], atol=1e-9)  # |Y| = 1: the coordinate is g itself
    path = found.write(tmp_path, comm=MPI.COMM_SELF)
    written = json.loads(path.read_text())
    assert [b["value"] for b in written["bifurcations"]] == [pitchfork.parameter] and len(written["branches"]) == 3
    assert (tmp_path / "figures" / "bifurcations.png").exists()
    assert pickle.loads(pickle.dumps(found.branches)).as_dict() == found.branches.as_dict()


def test_the_branch_is_that_of_the_assessed_state(tmp_path):
    """The state g > 0 at μ = 1.5, followed both ways; its states are saved for NumPy and ParaView.

    Fails if another branch is followed, if norms stand for states, or if a value outside of the range ends the
    assessment.
    """
    family, rest = make_mean_field(MPI.COMM_SELF)
    size = brentq(lambda g: np.tanh(1.5 * g) - g, 0.1, 1.0)
    settings = replace(BRANCHES, range=(0.75, 2.0))
    found = fs.studies.stability(
        family(1.5), rest + size, settings, state=rest + size, family=family, value=1.5, finer_declined="not here"
    )
    diagram = found.branches.diagram
    assert diagram.branches[0].points[diagram.branches[0].start].parameter == 1.5
    (fork,) = diagram.bifurcations
    assert fork.kind == "pitchfork" and fork.parameter == pytest.approx(1.0, abs=1e-8)
    found.write(tmp_path, comm=MPI.COMM_SELF, space=family(1.5).space)
    saved = np.load(tmp_path / "branches.npz", allow_pickle=False)
    for number, branch in enumerate(diagram.branches):
        mu, states = saved[f"parameter_{number}"], saved[f"states_{number}"]
        assert states.shape == (len(branch.points), family(1.5).space.num_nodes)
        for value, state in zip(mu[1:-1:9], states[1:-1:9], strict=True):
            level = state.mean()
            np.testing.assert_allclose(np.tanh(value * level) - level, 0.0, atol=1e-9)
            np.testing.assert_allclose(state, level, atol=1e-9)
        assert saved[f"unstable_{number}"].tolist() == [p.unstable for p in branch.points]
        assert list(tmp_path.glob(f"branch_{number}.*"))
    assert (tmp_path / "figures" / "branch_states.png").exists()
    outside = fs.studies.stability(
        family(3.0), rest, settings, state=rest, family=family, value=3.0, finer_declined="not here"
    )
    assert outside.branches is None and "outside of stability.range" in outside.branches_declined


def test_branches_alone():
    """Fails if the study of the branches needs more than a family, or if its start is not looked at."""
    family, start = make_mean_field(MPI.COMM_SELF)
    found = fs.studies.branches(family, start, replace(BRANCHES, range=(0.5, 0.9)))
    assert found.bifurcations == () and found.parameter == "mu"
    away = fs.Activation(name="away", expression=lambda s: 1 + s * s)

    def nothing(mu: float) -> fs.SelectionField:
        field = family(mu)
        return fs.SelectionField(field.space, field.kernel, field.bias, activation=away)

    with pytest.raises(fs.InvalidInput, match=r"at mu = 0\.5: no steady state near the start"):
        fs.studies.branches(nothing, start, BRANCHES)


def test_slopes_are_what_the_tests_say():
    """Fails if the activation's slopes at its zeros are not 1.4 and −0.6, on which the dense matrices rest."""
    np.testing.assert_allclose(slope(SWING, np.array([0.0, np.pi])), [1.4, -0.6], atol=1e-8)


def test_a_report_holds_what_json_knows_and_cannot_be_changed(report):
    """Fails if a report's dictionary holds an array, if a diagram can be emptied, or if reports are compared by parts,
    of which arrays have no truth value."""
    json.dumps(report.as_dict(), allow_nan=False)
    family, rest = make_mean_field(MPI.COMM_SELF)
    found = fs.studies.branches(family, rest, BRANCHES).diagram
    assert isinstance(found.branches, tuple) and isinstance(found.branches[0].points, tuple)
    with pytest.raises(FrozenInstanceError):
        found.branches = ()
    assert report == report and report != pickle.loads(pickle.dumps(report))
