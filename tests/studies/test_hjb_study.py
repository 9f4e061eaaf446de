# SPDX-License-Identifier: MIT
"""The study `hjb` on a problem that no case file made, beside its optimum in the closed form of `optima`."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from mpi4py import MPI
from optima import closed_form_value
from own_equations import SHIFTED as ANY
from own_equations import START, make_network, make_neuron

import fem_selection as fs

SETTINGS = fs.HjbSettings(cells=(48,), levels=3, lower=(-0.5,), upper=(3.5,), snapshots=21, starts=2)


def optimum(start: float = START) -> float:
    """J* for an initial state."""
    return closed_form_value(start)


@pytest.fixture(scope="module")
def report():
    """The study of the neuron."""
    return fs.studies.hjb(make_neuron(MPI.COMM_SELF), SETTINGS)


def test_all_routes_lead_to_the_closed_form(report):
    """Fails if an area, a weight or the horizon is missing on one of the routes: value function, dynamic programming,
    optimization, the feedback, and the feedback from the perturbed states."""
    found = report.refinement
    assert abs(report.value - optimum()) < found.error_estimate < 0.05
    assert abs(found.extrapolated - optimum()) < found.extrapolated_error
    assert report.witness == pytest.approx(optimum(), rel=0.1)
    assert abs(report.witness - optimum()) < report.witness_error < 0.1
    assert 0.0 < report.attained - optimum() < 2e-4
    assert report.box_verdict == "large enough" and report.agreement.verdict == "agree"
    assert len(report.objectives) == 3
    assert all(0.0 < objective - optimum() < 2e-4 for objective in report.objectives)  # of sixteen layers
    assert abs(report.closed_loop_cost - optimum()) < 1e-3
    starts = report.loop.states[0, :, 0]
    np.testing.assert_allclose(report.loop.costs, [optimum(x) for x in starts], atol=2e-3)
    np.testing.assert_allclose(starts, [1.0, 1.32, 0.68])  # 8 % of the box's side


def test_the_report_is_kept_and_written(report, tmp_path):
    """Fails if the report holds a PETSc object, if a file is missing, or if the file is not what `as_dict` says."""
    again = pickle.loads(pickle.dumps(report))
    assert again.value == report.value and again.as_dict()["perturbed"] == report.as_dict()["perturbed"]
    path = report.write(tmp_path / "folder", space=make_neuron(MPI.COMM_SELF).space, comm=MPI.COMM_SELF)
    written = json.loads(path.read_text())
    assert written["value_at_initial_state"] == report.value
    assert written["open_loop_objectives"] == list(report.objectives)
    assert written["box"] == {"lower": [-0.5], "upper": [3.5]}
    assert {file.name for file in (path.parent / "figures").iterdir()} == {"value.png", "refinement.png"}
    assert any((path.parent / f"value.{ending}").exists() for ending in ("bp", "xdmf"))


def test_without_a_witness_and_with_progress():
    """Fails if dynamic programming runs although it is not asked for, or if a part is not told."""
    told = []
    settings = fs.HjbSettings(cells=(8,), levels=1, snapshots=3, starts=0, witness=False)
    found = fs.studies.hjb(
        make_neuron(MPI.COMM_SELF), settings, progress=lambda what, done, total, shown: told.append((done, total))
    )
    assert np.isnan(found.witness) and len(found.objectives) == 1
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_problems_that_are_too_large_are_refused():
    """Fails if a problem of many nodes, or a box without the initial state, is solved."""
    with pytest.raises(fs.InvalidInput, match="no value function"):
        fs.studies.hjb(make_network(ANY, MPI.COMM_SELF))
    away = fs.HjbSettings(cells=(8,), lower=(1.5,), upper=(3.5,))
    with pytest.raises(fs.InvalidInput, match="is outside of the box"):
        fs.studies.hjb(make_neuron(MPI.COMM_SELF), away)
