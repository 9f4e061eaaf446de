# SPDX-License-Identifier: MIT
"""`fem-selection forward`: report, figures and fields, events, faults, and a run that is stopped."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from commands import Outcome, check_whose_report_is_replaced

CASE = """
title = "small"
[domain]
shape = "interval"
cells = 6
[dynamics]
activation = "tanh"
horizon = 2.0
kernel = "-cos(y - z)"
bias = "0.3"
[data]
initial = "cos(3*y + s)"
samples = 3
[forward]
times = 6
[output]
figures = false
fields = false
"""


@pytest.fixture
def forward(call_on_case: Callable[..., Outcome]) -> Callable[..., Outcome]:
    """The command on the case above, with settings, in this process."""
    return partial(call_on_case, "forward", CASE)


def test_report_holds_norms_bounds_and_hypotheses(forward):
    """Fails if a promised key is missing, a norm is another, or NaN is written into JSON."""
    status, out, _, report = forward()
    assert status == 0 and "the horizon t = 2 was reached" in out
    np.testing.assert_allclose(report["times"], np.linspace(0, 2, 6))
    assert np.shape(report["norms"]) == (6, 3)
    names = {"growth", "dependence", "energy", "potential", "preactivation", "monotonicity"}
    assert set(report["bounds"]) == names == set(report["hypotheses"])
    growth = report["bounds"]["growth"]
    assert growth["claimed"] and growth["largest_ratio"] == pytest.approx(1.0, abs=1e-7)
    assert np.all(np.array(growth["measured"]) <= np.array(growth["bound"]) * (1 + 1e-7))
    np.testing.assert_allclose(report["norms"], growth["measured"])
    broken = report["bounds"]["monotonicity"]
    assert not broken["claimed"] and broken["bound"] is None and broken["failed"] == ["σ(s) ≥ 0 for all s"]
    assert "σ(s) ≥ 0 for all s" in out
    for key in ("steps", "rejected", "evaluations", "reason", "methods", "history", "seconds", "case", "versions"):
        assert report[key] is not None


def test_figures_and_fields(forward, tmp_path):
    """Fails if a figure is left out or empty, in one direction or in two, with estimates or without."""
    shown = ("output.figures=true", "output.fields=true")
    forward(*shown)
    plane = ("domain.shape=rectangle", "domain.cells=3", "dynamics.kernel=-cos(y0 - z1)", "data.initial=cos(y0 + s)")
    forward(*shown, *plane, "forward.estimates=false", "forward.spacing=log", output="plane")
    for folder, names in (("run", {"norms", "functionals", "states"}), ("plane", {"norms", "states"})):
        figures = list((tmp_path / folder / "figures").iterdir())
        assert {p.stem for p in figures} == names
        assert all(p.stat().st_size > 5_000 for p in figures)
        assert (tmp_path / folder / "states.bp").exists() or (tmp_path / folder / "states.xdmf").exists()


def test_events_reach_the_report(forward):
    """Fails if an event of the integrator does not reach the report."""
    steady = forward(
        "dynamics.bias=0.3*cos(y)", "forward.until=1e6", "forward.steady_tolerance=1e-3", "forward.spacing=log"
    ).report
    assert steady["outcome"] == "steady" and steady["steady_time"] == steady["end"] < 1e4
    growing = forward(
        "dynamics.activation=identity", "dynamics.kernel=3", "forward.until=50", "forward.growth_bound=1e4"
    ).report
    assert growing["outcome"] == "unbounded"
    assert growing["growth"]["kind"] == "exponential" and growing["growth"]["rate"] == pytest.approx(3.0, rel=1e-3)


def test_faults_are_named_and_other_reports_kept(forward):
    """Fails if a faulty case is not refused with its key and status 2, or a foreign report is overwritten."""
    for setting, key in {
        "forward.rtol=0.0": "forward.rtol",
        "forward.method=sideways": "forward.method",
        "forward.times=1": "forward.times",
        "forward.untill=3.0": "forward.until",
        "forward.until=-1.0": "forward.until",
        "dynamics.kernel=log(-1 - y*z)": "finite",
    }.items():
        status, _, err, _ = forward(setting)
        assert status in ((2, 3) if key == "finite" else (2,)) and key in err, (setting, err)
    status, out, _, report = forward("forward.max_steps=2")
    assert (
        status == 4
        and "2 steps reached" in out
        and report["outcome"] == "step limit"
        and report["steps"] + report["rejected"] == 2
    )
    check_whose_report_is_replaced(forward)


def test_an_interrupt_leaves_a_partial_report(forward, monkeypatch):
    """Ctrl-C: a partial report and status 130. Fails if the signal kills the run or loses what was found."""
    from fem_selection.evolution import adaptive

    advance = adaptive._Run._advance

    def interrupted(self):
        advance(self)
        if self.steps == 3:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(adaptive._Run, "_advance", interrupted)
    status, out, _, report = forward("forward.until=1e4", "forward.steady_tolerance=0")
    assert status == 130 and "stopped" in out
    assert report["outcome"] == "stopped" and 0 < report["end"] < 1e4 and report["steps"] <= 4
