# SPDX-License-Identifier: MIT
"""Parts of the value function's solver: grid, box, scalar minimiser, faults by name, command, figures, fields."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from commands import with_settings
from mpi4py import MPI
from scipy.interpolate import RegularGridInterpolator

from fem_selection.cases.learning import build_problem
from fem_selection.config import dump_case, load_case, parse_case
from fem_selection.errors import ConfigError, InvalidInput, NotConverged
from fem_selection.functions.activations import find_activation
from fem_selection.hjb import Grid, ReducedProblem, default_box, refine, solve_by_dynamic_programming, solve_value
from fem_selection.hjb.scalar import find_minimizer
from fem_selection.hjb.value import ValueFunction, _March
from fem_selection.io.values import write_value
from fem_selection.plots import plot_refinement, plot_value, save

DEMO = Path(__file__).resolve().parents[2] / "demos" / "hjb.toml"
SHORT = ("hjb.cells=8", "hjb.levels=2", "hjb.starts=1", "hjb.snapshots=5", "dynamics.layers=8")


def reduced_problem(*settings: str) -> ReducedProblem:
    """The reduced problem of the demo with these settings, on this process."""
    problem = build_problem(load_case(DEMO, settings), MPI.COMM_SELF)
    return ReducedProblem.from_functional(problem.functional, problem.scaled_bounds)


# ── grid ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_interpolation_is_that_of_scipy(rng, dimension):
    """Fails if strides or weights of two directions are exchanged: SciPy's interpolant, outside of the box too."""
    grid = Grid.uniform([-1.0, 0.0, 2.0][:dimension], [1.0, 0.5, 5.0][:dimension], [4, 7, 3][:dimension])
    values = rng.normal(size=(*grid.shape, 2))
    points = rng.uniform(np.array(grid.lower) - 0.3, np.array(grid.upper) + 0.3, size=(200, dimension))
    expected = RegularGridInterpolator(grid.axes, values, bounds_error=False, fill_value=None)(points)
    np.testing.assert_allclose(grid.interpolate(values, points), expected, atol=1e-12)
    np.testing.assert_allclose(grid.interpolate(values[..., 0], points), expected[:, 0], atol=1e-12)
    np.testing.assert_array_equal(grid.number(grid.nodes), np.arange(len(grid.nodes)))
    larger = grid.enlarged(2)
    np.testing.assert_allclose(larger.widths, grid.widths)
    assert larger.contains(points[0]) and not grid.contains(np.array(grid.upper) + 1e-9)


def test_default_box_leaves_room_around_states_and_targets():
    """Fails if a state comes to lie near the boundary: the box is wider by 3/4 of the extent, and by 1/2 at least."""
    lower, upper = default_box(np.array([0.0, 1.0]), np.array([2.0, 1.0]))
    np.testing.assert_allclose((lower, upper), ([-1.5, 0.5], [3.5, 1.5]))


@pytest.mark.parametrize("cells", [(4, 1), (4,)])
def test_bad_grids_are_refused(cells):
    """Fails if a direction with one cell or a list that is too short makes a grid."""
    with pytest.raises(InvalidInput, match="at least two cells"):
        Grid(lower=(0.0, 0.0), upper=(1.0, 1.0), cells=cells)


# ── the scalar minimum ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["identity", "tanh", "sine", "relu", "leaky_relu", "softplus", "gelu"])
def test_no_sampled_point_beats_the_scalar_minimiser(rng, name):
    """Fails if a branch is followed beyond a jump of s*, or if the table ends: no sampled s is better, near and far."""
    kappa = np.concatenate([rng.normal(size=200) * 3, [0.0, 1e-12, 2e4, -2e4]])
    sigma = find_activation(name)
    s = find_minimizer(sigma)(kappa)

    def objective(s):
        value = np.empty_like(s)
        with np.errstate(over="ignore"):  # in branches that are not chosen
            sigma.value(s, value)
        return kappa * value + 0.5 * s * s

    found = objective(s)
    for part in np.linspace(-1.05, 1.05, 8401):
        trial = part * 1.2 * np.abs(kappa)
        assert np.all(found <= objective(trial) + 1e-10 * (1 + np.abs(found)))


# ── faults ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("settings", "keys"),
    [
        (("domain.cells=4",), ["domain.cells", "data.samples"]),
        (("space.degree=1", "domain.cells=1"), ["space.degree"]),
        (("space.mode=galerkin",), ["space.mode"]),
        (("regularization.kernel=0",), ["regularization.kernel"]),
        (("dynamics.layers=4", "dynamics.control_intervals=2"), ["dynamics.control_intervals"]),
        (("regularization.bias_depth=0.1",), ["regularization.bias_depth"]),
        (("objective.controls=['kernel']", "dynamics.bias=0.1"), ["dynamics.bias"]),
        (("objective.kernel_bounds=[-1, 1]", "optimizer.method=blmvm"), ["objective.kernel_bounds"]),
        (("domain.cells=1", "data.samples=2", "dynamics.activation=relu"), ["dynamics.activation"]),
        (("space.mode=galerkin", "regularization.bias=0"), ["space.mode", "regularization.bias"]),
    ],
)
def test_faults_name_their_keys(settings, keys):
    """Fails if a problem is reduced that is another one than the case's, or if the message lacks what to change."""
    with pytest.raises(InvalidInput) as caught:
        reduced_problem(*settings)
    assert all(key in str(caught.value) for key in keys)


def test_witness_stays_within_bounds():
    """Fails if values beyond the box are extrapolated: with the identity, whose states reach the box's end at once,
    they grow without bound."""
    problem = reduced_problem("domain.cells=1", "dynamics.activation=identity", "dynamics.layers=20")
    grid = Grid.uniform(*default_box(problem.start, problem.targets.ravel()), 32)
    values = solve_by_dynamic_programming(problem, grid, comm=MPI.COMM_SELF).values
    assert values.min() >= 0.0 and values.max() <= problem.terminal_cost(grid.nodes).max() + 1e-12


def test_fixed_parts_are_left_out():
    """Fails if the weight of a control that is not optimised still enters γ."""
    problem = reduced_problem("objective.controls=['kernel']")
    assert (problem.alpha_kernel, problem.alpha_bias) == (0.1, None)
    assert problem.features(np.ones((3, 2))).shape == (3, 2, 1)
    H, velocity, _ = problem.hamiltonian(np.zeros((1, 2)), np.ones((1, 2)))  # the kernel has nothing to act on
    np.testing.assert_array_equal((H[0], *velocity[0]), 0.0)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        (["hjb.cells=10"], "hjb.cells: [10] cannot be halved 2 times"),
        (["hjb.lower=[0.0]"], "hjb.upper: hjb.lower alone makes no box"),
        (["hjb.lower=[0.0, 0.0]", "hjb.upper=[1.0]"], "hjb.upper: has 1 entries and hjb.lower 2"),
        (["hjb.lower=[1.0]", "hjb.upper=[1.0]"], "hjb.upper: [1.0] must be above"),
        (["hjb.snapshots=1"], "hjb.snapshots"),
        (["hjb.cell=4"], "hjb.cell: unknown key; did you mean hjb.cells?"),
    ],
)
def test_faults_of_the_hjb_table(settings, fault):
    """Fails if a value of [hjb] that cannot be is left for the solver to find, or is told without its key."""
    with pytest.raises(ConfigError) as caught:
        load_case(DEMO, settings)
    assert caught.value.faults[0].startswith(fault)


def test_the_hjb_table_is_written_back():
    """Fails if a key of [hjb] is lost, or changes its type, when the case is dumped and read."""
    import tomllib

    settings = ["hjb.cells=[32, 16]", "hjb.lower=[-2, -2.0]", "hjb.upper=[2.0, 2.0]", "hjb.witness=false"]
    case = load_case(DEMO, settings)
    assert parse_case(tomllib.loads(dump_case(case))) == case
    assert case.hjb.cells == (32, 16) and not case.hjb.witness


# ── command, fields, figures ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "extra",
    [
        (),
        pytest.param(("domain.cells=1",), marks=pytest.mark.slow),
        ("domain.cells=3", "hjb.cells=4"),
        pytest.param(("hjb.witness=false", "hjb.levels=1"), marks=pytest.mark.slow),
    ],
)
def test_command_leaves_report_fields_and_figures(call, tmp_path, extra):
    """Fails if the report lacks a number, or if a dimension of the state breaks the command."""
    status, out, err, report = call("hjb", DEMO, "--output", tmp_path, *with_settings(*SHORT, *extra))
    assert status == 0, out + err
    keys = {
        *("value_at_initial_state", "extrapolated_value", "error_estimate", "observed_orders", "cells", "values"),
        *("witness_value", "open_loop_objective", "open_loop_objectives", "closed_loop_cost", "perturbed", "box"),
        *("box_influence", "outflow_share", "seconds", "versions"),
    }
    assert keys <= set(report)
    assert (report["witness_value"] is None) == ("hjb.witness=false" in extra)
    assert report["open_loop_objectives"][0] == report["open_loop_objective"]
    assert len(report["open_loop_objectives"]) == 2
    last = out.strip().splitlines()[-2:]
    assert [line.split()[0] for line in last] == ["value_at_initial_state", "open_loop_objective"]
    assert float(last[0].split()[1]) == pytest.approx(report["value_at_initial_state"])
    assert {p.name for p in (tmp_path / "figures").iterdir()} == {"value.png", "refinement.png"}
    assert (tmp_path / "value.bp").exists() or (tmp_path / "value.xdmf").exists()


def test_command_keeps_other_reports(call, tmp_path):
    """Fails if the report of a training is overwritten, or an earlier one of this command is not."""
    (tmp_path / "report.json").write_text('{"objective": 1.0}')
    status, _, err, report = call("hjb", DEMO, "--output", tmp_path)
    assert status == 2 and "already holds" in err
    assert report == {"objective": 1.0}


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        (["hjb.lower=[2.0]", "hjb.upper=[3.0]"], "hjb.lower"),
        (["hjb.cells=[8, 8, 8]"], "hjb.cells"),
        (["domain.cells=9"], "domain.cells"),
    ],
)
def test_command_refuses_by_key(call, tmp_path, setting, key):
    """Fails if a box, a grid or a state that does not fit is refused without its key, or after the folder was made."""
    outcome = call("hjb", DEMO, "--output", tmp_path / "new", *with_settings(*setting))
    assert outcome.status == 2 and key in outcome.err
    assert not (tmp_path / "new").exists()


def test_fields_hold_the_values(tmp_path):
    """Fails if nodes are numbered otherwise than the array: XDMF's file, where it is written, is read back."""
    axes = (np.linspace(0, 1, 4), np.linspace(-1, 1, 5))
    values = np.add.outer(np.arange(2.0), np.add.outer(axes[0], 10 * axes[1]))
    path = write_value(tmp_path / "value", MPI.COMM_SELF, axes, times=np.array([0.0, 1.0]), values=values)
    assert path.exists()
    if path.suffix == ".xdmf":
        h5py = pytest.importorskip("h5py")
        with h5py.File(path.with_suffix(".h5")) as file:
            points = file["Mesh/mesh/geometry"][:]
            field = next(iter(file["Function/V"].values()))[:, 0]
        np.testing.assert_allclose(field, points[:, 0] + 10 * points[:, 1], atol=1e-12)


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_figures_in_every_dimension(tmp_path, rng, dimension):
    """Fails if a figure is empty, has too few panels, or is drawn from values of another
    shape."""
    axes = [np.linspace(-1, 1, 9)] * dimension
    values = rng.random((3, *(9,) * dimension))
    paths = rng.uniform(-1, 1, size=(11, 3, dimension))
    labels = ["$x_1$", "$x_2$", "$x_3$"][:dimension]
    times = np.linspace(0, 0.5, 3)
    given = {
        "trajectory_times": np.linspace(0, 1, 11),
        "trajectories": paths,
        "target": np.zeros(dimension),
        "labels": labels,
    }
    figure = plot_value(axes, values, times, **given)
    assert save(figure, tmp_path / "value.png").stat().st_size > 5000
    assert [panel.get_xlabel() for panel in figure.axes].count("$x_1$") == (1 if dimension == 1 else 3)
    with pytest.raises(InvalidInput, match="expected"):
        plot_value(axes, values[:, 1:], times, **given)


def test_refinement_figure():
    """Fails if values are not sorted with their cells, or if a reference that is unknown stands in the legend."""
    figure = plot_refinement(
        np.array([16, 8, 32]), np.array([0.3, 0.5, 0.2]), 0.1, others={"open loop": 0.12, "none": np.nan}
    )
    line = figure.axes[0].lines[1]
    np.testing.assert_allclose((line.get_xdata(), line.get_ydata()), ([1 / 8, 1 / 16, 1 / 32], [0.5, 0.3, 0.2]))
    names = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert names == ["finite elements", "extrapolated", "open loop"]


def test_refinement_needs_divisible_cells():
    """Fails if cells that cannot be halved twice are rounded, so that coarse nodes are no fine ones."""
    problem = reduced_problem("domain.cells=1")
    with pytest.raises(InvalidInput, match="multiples of 4"):
        refine(problem, Grid.uniform([-2.0], [2.0], 10), comm=MPI.COMM_SELF)


def test_a_march_of_tiny_steps_ends():
    """Fails if velocities that allow steps of 1e-9 of the horizon alone let the solver run without end."""
    problem, grid = reduced_problem(), Grid.uniform([-1.0] * 2, [1.0] * 2, [4, 4])
    with pytest.raises(NotConverged, match=r"1400 time steps the value function is known for the last .* the horizon"):
        solve_value(problem, grid, 2, comm=MPI.COMM_SELF, speeds=np.full(2, 1e9))


# ── time steps ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Steps:
    """A scheme, and implicit steps, that write down what they are asked for."""

    def __init__(self, bound: float, shares: tuple[float, ...], answers: tuple[bool, ...] = ()) -> None:
        self.grid, self.taken, self.tried, self.fresh = SimpleNamespace(cells=(4,)), [], [], []
        self._bound, self._shares, self._answers = bound, cycle(shares), iter(answers)
        self.implicit = SimpleNamespace(step=self._try)

    def refresh(self, *, fresh: bool) -> None:
        """Minimise, from all starts if `fresh`."""
        self.fresh.append(fresh)

    def bounds(self) -> tuple[float, float]:
        """The longest explicit step, and the share of the boundary with outflow."""
        return self._bound, next(self._shares)

    def step(self, length: float) -> None:
        """One explicit step."""
        self.taken.append(length)

    def _try(self, length: float) -> bool:
        self.tried.append(length)
        done = next(self._answers, True)
        if done:
            self.taken.append(length)
        return done


def test_the_time_of_the_largest_outflow():
    """Fails if it is the end of an interval between snapshots, or the time of another step."""
    steps = Steps(0.25, (0.1, 0.4, 0.2, 0.3))
    march = _March(steps, 1.0, None)
    march.run(1.0, 0.0)
    assert steps.taken == [0.25] * 4
    assert (march.outflow_share, march.outflow_time) == (0.4, 0.75)


def test_a_failed_implicit_step_is_halved_and_grows_again():
    """Fails if steps stay short after one failure, or the explicit step in its place takes the failed step's controls:
    T/40 = 0.025 fails, an explicit step of 0.001 follows, then half of it, then the whole."""
    steps = Steps(0.001, (0.0,), answers=(False,))
    march = _March(steps, 1.0, steps.implicit)
    march.run(0.5, 0.0)
    assert sum(steps.taken) == pytest.approx(0.5, rel=1e-12) and len(steps.tried) < 25
    assert steps.taken[:3] == pytest.approx([0.001, 0.0125, 0.025], rel=0.03)
    assert steps.fresh[:2] == [True, True]


def test_implicit_steps_are_short_near_the_end():
    """Fails if a step near T is longer than a fifth of the time since T, or not every third step minimises anew."""
    steps = Steps(0.001, (0.0,))
    march = _March(steps, 1.0, steps.implicit)
    march.run(1.0, 0.5)
    since = np.concatenate([[0.0], np.cumsum(steps.taken)])
    implicit = [k for k, length in enumerate(steps.taken) if length in steps.tried]
    assert implicit[0] == 15 and all(steps.taken[k] <= 1.05 * 0.2 * since[k] for k in implicit)
    assert steps.fresh == [k % 3 == 0 for k in range(len(steps.taken))]


def test_gradients_at_the_boundary_are_of_order_two():
    """Fails if differences at the boundary are one-sided of order one: V = x² has V' = 2 x there too."""
    grid = Grid.uniform([-1.0], [2.0], [6])
    x = grid.axes[0]
    both, times = np.stack([x**2, x**2]), np.array([0.0, 1.0])
    value = ValueFunction(grid=grid, times=times, values=both, steps=1, outflow_share=0.0, outflow_time=1.0)
    np.testing.assert_allclose(value.gradient(0.3, x[:, None])[:, 0], 2 * x, atol=1e-12)
