# SPDX-License-Identifier: MIT
"""`fem-selection steady`: report, figures, fields and faults."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from commands import Outcome, check_whose_report_is_replaced

from fem_selection.errors import InvalidInput
from fem_selection.plots import plot_approach, plot_picard, plot_steady_states

CASE = """
title = "small"
[domain]
shape = "interval"
cells = 6
[dynamics]
activation = "tanh"
kernel = "-min(y, z)"
bias = "y - y**2/2"
[data]
initial = "s*y"
samples = 2
[steady]
starts = 1
horizon = 100.0
[output]
figures = false
fields = false
"""


@pytest.fixture
def steady(call_on_case: Callable[..., Outcome]) -> Callable[..., Outcome]:
    """The command on the case above, with settings, in this process."""
    return partial(call_on_case, "steady", CASE)


@pytest.mark.parametrize(
    "settings", [("dynamics.activation=relu", "dynamics.bias=-2"), ("dynamics.bias=0", "data.initial=0")]
)
def test_all_start_where_they_end(steady, settings):
    """Fails if a figure of distances that are all zero has a logarithmic axis."""
    status, out, err, report = steady(*settings, "output.figures=true")
    assert status == 0 and "Traceback" not in err and "steady" in out
    assert report["time"] == 0.0 and report["residual"] < 1e-14


def test_report_of_a_linear_equation(steady):
    """b = K 1 with K f = ∫ min(y, z) f dz: fails if a promised key is missing or a number is of something else."""
    status, out, _, report = steady("domain.cells=40", "steady.triplets=30")
    assert status == 0
    assert report["residual"] < 1e-10 and report["residual"] == max(s["residual"] for s in report["states"])
    k = np.arange(1, 6)
    np.testing.assert_allclose(report["picard_ratios"][:5], np.sqrt(2) / ((k - 0.5) * np.pi), rtol=0.02)
    assert report["picard"]["holds"] and "seems to hold" in out and report["verdict"].startswith("the steady states")
    assert report["picard"]["minimal_norm"] == pytest.approx(1.0, rel=0.02)
    assert report["zeros"]["points"] == [0.0] and report["kernel"]["numerical_rank"] == 30
    (state,) = report["states"]
    assert state["null_space_dimension"] is None and state["sensitivity_to_constant_bias"] is None
    assert "undecided" in report["declined"]["sensitivity"]
    assert report["time"] is None and [entry["outcome"] for entry in report["limits"]] == ["not steady"] * 2
    assert f"residual {report['residual']:.10g} (the largest of the steady states)" in out
    assert "time none (no sample became steady)" in out


def test_report_of_several_states(steady):
    """Fails if the three roots, their families or the limits of the two samples are not told apart."""
    three = ("dynamics.activation=tanh(2*s) - s", "dynamics.kernel=1", "dynamics.bias=0", "data.initial=s + y - 1")
    _, out, _, report = steady(*three)
    levels = sorted(state["preactivation_range"][0] for state in report["states"])
    np.testing.assert_allclose(levels, [-0.957504024, 0, 0.957504024], atol=1e-8)
    assert "3 steady states found" in out
    ends = [report["states"][entry["nearest_state"]]["preactivation_range"][0] for entry in report["limits"]]
    np.testing.assert_allclose(ends, [-0.957504024, 0.957504024], atol=1e-8)
    assert all(entry["preactivation_distance"] < 1e-6 for entry in report["limits"])
    assert 10 < report["time"] < 100


def test_report_of_relu_and_of_no_states(steady):
    """Fails if the projection is missing, or a σ without zeros is said to have steady states."""
    relu = ("dynamics.activation=relu", "dynamics.kernel=-1", "dynamics.bias=1", "data.initial=3*s*y")
    report = steady(*relu).report
    first, second = report["limits"]
    assert first["projection"]["distance"] == pytest.approx(1.0) and first["distance_from_projection"] < 1e-6
    assert second["projection"]["distance"] == 0.0 and second["time"] == first["time"]
    assert report["zeros"]["segments"] == [[None, 0.0]] and report["states"] == []
    _, out, _, report = steady("dynamics.activation=softplus")
    assert report["residual"] is None and report["picard_ratios"] is None
    assert "there are no steady states" in out and "σ has no zero" in report["declined"]["states"]


def test_figures_and_fields(steady, tmp_path):
    """Fails if a figure is left out or empty, in one direction or in two."""
    shown = ("output.figures=true", "output.fields=true")
    steady(*shown)
    plane = ("domain.shape=rectangle", "domain.cells=3", "dynamics.kernel=-1", "dynamics.bias=1", "data.initial=y1*s")
    steady(*shown, *plane, output="plane")
    for folder in ("run", "plane"):
        figures = list((tmp_path / folder / "figures").iterdir())
        assert {p.stem for p in figures} == {"steady_states", "picard", "approach"}
        assert all(p.stat().st_size > 5_000 for p in figures)
        assert (tmp_path / folder / "steady.bp").exists() or (tmp_path / folder / "steady.xdmf").exists()


def test_faults_are_named_and_other_reports_kept(steady):
    """Fails if a faulty case is not refused with its key and status 2, or a foreign report is overwritten."""
    for setting, words in {
        "steady.tolerance=2.0": "steady.tolerance",
        "steady.triplets=0": "steady.triplets",
        "steady.state=3": "did you mean steady.states",
        "dynamics.bias=t": "dynamics.bias: steady states need",
    }.items():
        status, _, err, _ = steady(setting)
        assert status == 2 and words in err, (setting, err)
    check_whose_report_is_replaced(steady)


def test_figures_from_arrays():
    """Fails if a figure holds other data than it was given, or shapes that do not fit pass."""
    y = np.array([0.5, 0.0, 1.0])
    figure = plot_steady_states(y, np.array([[2.0, 1.0, 3.0]] * 6), [str(k) for k in range(6)])
    lines = figure.axes[0].get_lines()
    assert len(lines) == 6 and len({(line.get_color(), line.get_linestyle()) for line in lines}) == 6
    np.testing.assert_array_equal(lines[0].get_ydata(), [1.0, 2.0, 3.0])
    box = np.stack(np.meshgrid(*[[0.0, 0.5, 1.0]] * 3), axis=-1).reshape(-1, 3)
    plot_steady_states(box, np.array([box[:, 0]]), ["one"]).savefig(io.BytesIO(), dpi=20)
    picard = plot_picard(np.array([1.0, 0.1]), np.array([0.0, 0.2]), np.array([0.0, 2.0]), verdict="holds")
    np.testing.assert_array_equal(picard.axes[0].get_lines()[2].get_ydata(), [1e-18, 2.0])
    way = plot_approach(np.array([0.0, 1.0, 10.0]), np.array([[2.0], [1.0], [np.nan]]), ["sample"])
    np.testing.assert_array_equal(way.axes[0].get_lines()[0].get_xdata(), [1.0, 10.0])
    for draw in (
        lambda: plot_steady_states(y, np.zeros((2, 3)), ["one"]),
        lambda: plot_picard(np.zeros(2), np.zeros(3), np.zeros(2)),
        lambda: plot_approach(np.zeros(2), np.zeros((3, 1)), ["one"]),
    ):
        with pytest.raises(InvalidInput):
            draw()
