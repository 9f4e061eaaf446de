# SPDX-License-Identifier: MIT
"""The figures hold the data they were given, in the right place, and survive runs that went wrong."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from fem_selection.errors import InvalidInput, SelectionWarning
from fem_selection.plots import (
    as_plain_text,
    plot_bifurcations,
    plot_branch_states,
    plot_confusion,
    plot_controls,
    plot_convergence,
    plot_states,
    save,
)
from fem_selection.plots import draw as draw_file
from fem_selection.plots.fields import take_slice, tensor_grid
from fem_selection.plots.style import colour_scale, depth_scale

RNG = np.random.default_rng(7)


def history(num_rows: int) -> dict[str, np.ndarray]:
    """Columns of a deterministic phase."""
    rows = np.arange(num_rows)
    return {"iteration": rows, "objective": 2.0 * 0.8**rows, "gradient_norm": 0.5**rows}


def stochastic(num_epochs: int) -> dict[str, np.ndarray]:
    """Columns of a stochastic phase, validated at every third epoch."""
    epochs = np.arange(num_epochs)
    validation = np.where(epochs % 3 == 0, 0.5, np.nan)
    return {
        "epoch": epochs,
        "objective": 1.0 + epochs,
        "validation_accuracy": validation,
    }


def shuffled_grid(*sides: np.ndarray) -> np.ndarray:
    """The points of a tensor grid in random order."""
    points = np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1).reshape(-1, len(sides))
    return RNG.permutation(points)


def draw(figure: Figure) -> None:
    """Lay out and rasterise: some faults of a figure come to light only then."""
    figure.savefig(io.BytesIO(), dpi=20)


def ylabels(figure: Figure) -> list[str]:
    """The labels of the vertical axes, panel by panel."""
    return [axes.get_ylabel() for axes in figure.axes]


# --- convergence ------------------------------------------------------------------------------------------------------


def test_convergence_draws_objective_and_gradient_norm() -> None:
    """Fails if a panel draws another column than its label says, or not on a logarithmic axis."""
    given = history(25)
    figure = plot_convergence(given, None)
    assert ylabels(figure) == ["objective", "gradient norm"]
    for axes, name in zip(figure.axes, ("objective", "gradient_norm"), strict=True):
        assert axes.get_yscale() == "log"
        np.testing.assert_array_equal(axes.lines[0].get_ydata(), given[name])


def test_objective_of_small_range_or_either_sign_is_linear() -> None:
    """Fails if an objective that changes sign, or hardly changes, is drawn on a logarithmic axis, which cannot show
    it."""
    for objective in (np.linspace(1, 2, 5), np.linspace(1, -1, 5)):
        figure = plot_convergence(history(5) | {"objective": objective})
        assert [axes.get_yscale() for axes in figure.axes] == ["linear", "log"]


def test_stochastic_phase_stands_on_the_left_and_unknown_accuracies_are_passed_over() -> None:
    """Fails if epochs stand to the right of iterations, if an unknown accuracy is drawn, or if a phase or column that
    is not there gets a panel."""
    figure = plot_convergence(history(25), stochastic(7))
    panels = {axes.get_ylabel() + axes.get_xlabel(): axes for axes in figure.axes}
    accuracy, norm = panels["accuracyepoch"], panels["gradient normiteration"]
    figure.canvas.draw()
    assert accuracy.get_position().x1 < norm.get_position().x0
    (validation,) = accuracy.lines
    np.testing.assert_array_equal(validation.get_xdata(), [0, 3, 6])
    without = {name: stochastic(7)[name] for name in ("epoch", "objective")}
    of_cost = {**without, "validation_cost": np.array([3e4, 2e4, 1e4, 5e3, 2e3, 1e3, 5e2])}
    figure = plot_convergence(history(25), of_cost)
    (cost,) = [axes for axes in figure.axes if axes.get_ylabel() == "validation cost"]
    assert not isinstance(cost.yaxis.get_major_formatter(), PercentFormatter)
    assert ylabels(plot_convergence(history(25), without)) == ["objective", "objective", "gradient norm"]
    assert ylabels(plot_convergence(history(0), without)) == ["objective"]
    assert ylabels(plot_convergence(history(3), stochastic(0))) == ["objective", "gradient norm"]


@pytest.mark.parametrize("num_rows", [0, 1, 50])
@pytest.mark.parametrize("value", [None, 0.0, np.nan, -np.inf])
@pytest.mark.filterwarnings("error")
def test_convergence_of_degenerate_histories(num_rows: int, value: float | None) -> None:
    """Fails if an empty, constant or non-finite history makes Matplotlib raise or warn."""
    columns, epochs = history(num_rows), stochastic(num_rows)
    if value is not None:
        columns |= {name: np.full(num_rows, value) for name in ("objective", "gradient_norm")}
        epochs |= {name: np.full(num_rows, value) for name in ("objective", "validation_accuracy")}
    draw(plot_convergence(columns, epochs))


def test_gradient_norm_of_zero_is_shown() -> None:
    """Fails if a gradient norm of zero, which a logarithmic axis cannot hold, leaves no mark."""
    figure = plot_convergence(history(4) | {"gradient_norm": np.array([1.0, 0.1, np.nan, 0.0])})
    _, mark = figure.axes[1].lines
    np.testing.assert_array_equal(mark.get_xdata(), [3])


def test_convergence_names_the_missing_column() -> None:
    """Fails if a missing column raises KeyError, or if columns of two lengths are drawn."""
    with pytest.raises(InvalidInput, match="gradient_norm"):
        plot_convergence({"iteration": np.arange(2), "objective": np.arange(2)})
    with pytest.raises(InvalidInput, match="shapes"):
        plot_convergence(history(3) | {"objective": np.ones(2)})


# --- confusion --------------------------------------------------------------------------------------------------------


def test_confusion_shows_counts_and_shares_of_the_true_class() -> None:
    """Fails if shares are taken of the predicted class, if a class without samples divides by zero, or if true and
    predicted change places."""
    matrix = np.array([[3, 1], [0, 0]])
    figure = plot_confusion(matrix, ["a", "b"], 0.75)
    axes = figure.axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.75, 0.25], [0.0, 0.0]])
    assert {(int(t.get_position()[1]), int(t.get_position()[0])): t.get_text() for t in axes.texts} == {
        (0, 0): "3",
        (0, 1): "1",
        (1, 0): "0",
        (1, 1): "0",
    }
    assert axes.get_title() == "accuracy 75.0%"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")


@pytest.mark.parametrize("num_classes", [0, 1, 12, 120])
@pytest.mark.filterwarnings("error")
def test_confusion_of_any_size(num_classes: int) -> None:
    """Fails if no class, one or very many make Matplotlib raise or warn."""
    names = [f"class {i}" for i in range(num_classes)]
    draw(plot_confusion(np.zeros((num_classes, num_classes), dtype=int), names, np.nan))


def test_confusion_refuses_labels_of_another_number() -> None:
    """Fails if a matrix is drawn with fewer labels than classes."""
    with pytest.raises(InvalidInput, match="labels"):
        plot_confusion(np.zeros((2, 2), dtype=int), ["a"], 1.0)


# --- states -----------------------------------------------------------------------------------------------------------


def test_states_on_a_line_are_sorted_and_coloured_by_depth() -> None:
    """Fails if nodes are joined in the order of the mesh, if two depths share a colour, or if a sample stands under
    another's title."""
    y = RNG.permutation(np.linspace(-1, 1, 9))
    states = np.stack([np.stack([y + t, y**2 - t], axis=1) for t in (0.0, 0.5, 1.0)])
    figure = plot_states(y[:, None], states, np.array([0.0, 0.5, 1.0]), titles=["p", "q"])
    assert len(figure.axes) == 2 + 1
    assert [axes.get_title() for axes in figure.axes[:2]] == ["p", "q"]
    assert [len(axes.lines) for axes in figure.axes[:2]] == [3, 3]
    assert len({line.get_color() for line in figure.axes[0].lines}) == 3
    line = figure.axes[1].lines[2]
    np.testing.assert_array_equal(line.get_xdata(), np.sort(y))
    np.testing.assert_allclose(line.get_ydata(), np.sort(y) ** 2 - 1.0)


def test_states_on_a_graded_grid_hold_the_nodal_values() -> None:
    """Fails if rows and columns of the picture, or samples and layers, change places."""
    first, second = np.array([0.0, 0.1, 0.5, 1.0]), np.array([0.0, 0.7, 1.0])
    points = shuffled_grid(first, second)
    field = lambda x, y, t, j: x + 10 * y + 100 * t + 1000 * j  # noqa: E731
    states = np.stack([np.stack([field(*points.T, t, j) for j in range(3)], axis=1) for t in (0.0, 1.0)])
    figure = plot_states(points, states, np.array([0.0, 1.0]), titles=list("abc"))
    assert len(figure.axes) == 3 * 2 + 1
    assert [axes.get_ylabel() for axes in figure.axes[:6:2]] == list("abc")
    for sample in range(3):
        for layer in range(2):
            (mesh,) = figure.axes[2 * sample + layer].collections
            picture, corners = np.asarray(mesh.get_array()), mesh.get_coordinates()
            np.testing.assert_allclose(picture, field(corners[..., 0], corners[..., 1], layer, sample))
            cuts = (picture.shape[0] - 1) // 2, (picture.shape[1] - 1) // 3
            nodes = field(first[None, :], second[:, None], layer, sample)
            np.testing.assert_allclose(picture[:: cuts[0], :: cuts[1]], nodes)


def test_states_of_both_signs_share_one_scale_about_zero() -> None:
    """Fails if two panels have scales of their own, or if zero is not in the middle."""
    points = shuffled_grid(np.linspace(0, 1, 3), np.linspace(0, 1, 3))
    states = RNG.uniform(-1, 1, (2, 9, 2))
    states[1, 4, 1] = -5.0
    norms = [a.collections[0].norm for a in plot_states(points, states, np.arange(2), titles=["a", "b"]).axes[:4]]
    assert {(norm.vmin, norm.vmax) for norm in norms} == {(-5.0, 5.0)}


def test_colour_scale_of_each_kind_of_values() -> None:
    """Fails if values of both signs are not centred, if a trace of negative ones centres the rest, or if no, equal or
    unknown values give an empty range."""
    bounds = lambda *values: (lambda norm: (norm.vmin, norm.vmax))(colour_scale(np.array(values))[1])  # noqa: E731
    assert bounds(-1.0, 2.0) == (-2.0, 2.0)
    assert bounds(1.0, 2.0, np.nan) == (1.0, 2.0)
    assert bounds(-1e-6, 2.0) == (-1e-6, 2.0)
    for low, high in (bounds(), bounds(np.nan), bounds(0.0), bounds(3.0, 3.0)):
        assert low < high


def test_tensor_grids_are_found_up_to_round_off() -> None:
    """Fails if round-off hides a grid, if a missing or doubled point or a cloud passes for one, or if the order is not
    that of the axes."""
    points = shuffled_grid(np.array([0.0, 0.1, 1.0]), np.array([-2.0, 5.0]))
    points += 1e-13 * RNG.uniform(-1, 1, points.shape)
    order, shape = tensor_grid(points) or pytest.fail("not detected")
    assert shape == (3, 2)
    np.testing.assert_allclose(points[order].reshape(3, 2, 2)[:, 1], [[0, 5], [0.1, 5], [1, 5]], atol=1e-12)
    assert tensor_grid(points[:-1]) is None
    assert tensor_grid(points[[0, 1, 2, 3, 4, 4]]) is None
    assert tensor_grid(RNG.uniform(size=(6, 2))) is None


def test_slices_hold_values_of_their_plane() -> None:
    """Fails if a slice shows values of another plane than the level that it names, on a grid or in a cloud."""
    points = shuffled_grid(*3 * [np.linspace(0, 1, 5)])
    plane, values, level = take_slice(points, points)
    assert level == 0.5
    assert plane.shape == (25, 2)
    np.testing.assert_array_equal(values, np.c_[plane, np.full(25, 0.5)])
    cloud = RNG.uniform(size=(300, 3))
    plane, values, level = take_slice(cloud, cloud)
    np.testing.assert_allclose(values, np.c_[plane, np.full(len(plane), level)], atol=1e-12)


@pytest.mark.parametrize(
    ("num_nodes", "dimension"),
    [
        *((0, 1), (1, 2), (7, 1), (7, 3)),
        *(pytest.param(*p, marks=pytest.mark.slow) for p in ((0, 2), (0, 3), (1, 1), (1, 3), (7, 2))),
    ],
)
@pytest.mark.filterwarnings("error")
def test_degenerate_states_and_controls(dimension: int, num_nodes: int) -> None:
    """Fails if no nodes, one, nodes on a line or unknown values make Matplotlib raise or warn."""
    scattered, aligned = (
        RNG.uniform(size=(num_nodes, dimension)),
        np.tile(np.linspace(0, 1, num_nodes)[:, None], dimension),
    )
    for points in (scattered, aligned)[: dimension if num_nodes > 1 else 1]:
        for layers, samples in ((0, 0), (1, 1)):
            states = np.ones((layers, num_nodes, samples))
            draw(plot_states(points, states, np.arange(layers), titles=["x"] * samples))
        broken = np.full((2, num_nodes, 1), np.nan)
        broken[0, ::2] = 1.0
        draw(plot_states(points, broken, np.arange(2), titles=["x"]))
        for depths in (0, 1):
            kernels = np.full((depths, num_nodes, num_nodes), np.nan)
            draw(plot_controls(kernels, np.zeros((depths, num_nodes)), np.arange(depths), coordinates=points))


def test_states_refuse_shapes_that_do_not_fit() -> None:
    """Fails if states are drawn over coordinates, times or titles of another number."""
    states = np.zeros((2, 5, 3))
    with pytest.raises(InvalidInput, match="coordinates"):
        plot_states(np.zeros((4, 2)), states, np.arange(2), titles=list("abc"))
    with pytest.raises(InvalidInput, match="times"):
        plot_states(np.zeros((5, 2)), states, np.arange(3), titles=list("abc"))
    with pytest.raises(InvalidInput, match="titles"):
        plot_states(np.zeros((5, 2)), states, np.arange(2), titles=["a"])


# --- controls ---------------------------------------------------------------------------------------------------------


def test_controls_are_sorted_by_coordinate_and_share_a_scale() -> None:
    """Fails if rows and columns of a kernel are exchanged or in the order of the mesh, if depths have scales of their
    own, or if a title names another depth."""
    y = RNG.permutation(np.linspace(0, 1, 6))
    times = np.linspace(0, 1, 7)
    kernels = np.stack([t + y[:, None] - 2 * y[None, :] for t in times])
    biases = np.stack([t * y for t in times])
    figure = plot_controls(kernels, biases, times, coordinates=y[:, None])
    upper, lower = figure.axes[:4], figure.axes[4:8]
    nodes = np.sort(y)
    for axes, below, shown in zip(upper, lower, (0, 2, 4, 6), strict=True):
        t = times[shown]
        (mesh,) = axes.collections
        np.testing.assert_allclose(mesh.get_array(), t + nodes[:, None] - 2 * nodes[None, :], atol=1e-15)
        assert (mesh.norm.vmin, mesh.norm.vmax) == (-2.0, 2.0)
        np.testing.assert_allclose(below.lines[-1].get_ydata(), t * nodes)
        assert axes.get_title() == f"$t = {t:.3g}$"


def test_large_kernels_show_every_nth_node() -> None:
    """Fails if a kernel of a thousand nodes is drawn in full, if its coordinates are not thinned with it, or if the
    bias is."""
    y = np.linspace(0, 1, 1030)
    figure = plot_controls(np.add.outer(y, -y)[None], y[None], np.zeros(1), coordinates=y)
    (mesh,) = figure.axes[0].collections
    np.testing.assert_array_equal(mesh.get_array(), np.add.outer(y[::3], -y[::3]))
    assert mesh.get_coordinates().max() == 1.0
    assert figure.axes[1].lines[-1].get_ydata().shape == (1030,)


def test_biases_over_the_plane_are_pictures() -> None:
    """Fails if a bias over the plane is drawn over one coordinate, or if rows and columns of the picture are
    exchanged."""
    points = shuffled_grid(np.linspace(0, 1, 3), np.linspace(0, 1, 4))
    figure = plot_controls(
        RNG.normal(size=(2, 12, 12)), np.stack([points[:, 0], -points[:, 1]]), np.arange(2), coordinates=points
    )
    (mesh,) = figure.axes[3].collections
    np.testing.assert_allclose(mesh.get_array(), -mesh.get_coordinates()[..., 1], atol=1e-15)
    assert (mesh.norm.vmin, mesh.norm.vmax) == (-1.0, 1.0)


def test_controls_refuse_shapes_that_do_not_fit() -> None:
    """Fails if kernels that are not square are drawn."""
    with pytest.raises(InvalidInput, match="kernels"):
        plot_controls(np.zeros((2, 3, 4)), np.zeros((2, 3)), np.arange(2), coordinates=np.zeros((3, 1)))


def test_depths_that_grow_by_factors_are_coloured_by_their_logarithm() -> None:
    """Fails if early lines of a long run all have the first colour, or if even depths are no longer coloured evenly."""
    times = np.array([0.0, 1e-2, 1.0, 1e2, 1e4])
    _, norm = depth_scale(times)
    assert np.all(np.diff([float(norm(t)) for t in times]) > 0.1) and float(norm(1e4)) == 1.0
    _, even = depth_scale(np.linspace(0.0, 2.0, 5))
    np.testing.assert_allclose([float(even(t)) for t in np.linspace(0.0, 2.0, 5)], np.linspace(0, 1, 5))


# --- style and files --------------------------------------------------------------------------------------------------


def test_style_leaves_the_callers_settings_alone() -> None:
    """Fails if drawing changes Matplotlib's settings for the caller's own figures."""
    before = dict(matplotlib.rcParams)
    plot_convergence(history(3))
    assert dict(matplotlib.rcParams) == before


def test_save_writes_a_png(tmp_path: Path) -> None:
    """Fails if the suffix is not added, if the file is no PNG, or if a partial file stays beside it."""
    written = save(plot_convergence(history(3)), tmp_path / "figure")
    assert written == tmp_path / "figure.png"
    assert written.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert list(tmp_path.iterdir()) == [written]


def test_save_that_fails_leaves_the_older_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if the figure is written in place, or if the partial file stays behind."""
    path = tmp_path / "figure.png"
    path.write_bytes(b"older")
    figure = plot_convergence(history(3))

    write = Path.write_bytes

    def fill_the_disk(self: Path, data: bytes) -> int:
        write(self, data[:4])
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", fill_the_disk)
        with pytest.raises(OSError, match="no space"):
            save(figure, path)
        with pytest.raises(OSError, match=r"no space.*figure\.png"):  # a disk that is full is no fault of the figure
            draw_file(path, plot_convergence, history(3))
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(InvalidInput, match="xyz"):
        save(figure, tmp_path / "figure.xyz")


def test_a_matplotlibrc_does_not_reach_figures(tmp_path: Path) -> None:
    """LaTeX that is not installed, a font that is not there, another size and backend; fails if one of them changes a
    pixel of a figure, or if the user's settings are lost."""
    one = draw_and_read(tmp_path)
    rc = {"text.usetex": True, "font.family": ["Nonexistent"], "figure.dpi": 30, "savefig.bbox": "tight"}
    with matplotlib.rc_context(rc), warnings.catch_warnings():
        warnings.simplefilter("error")
        assert draw_and_read(tmp_path) == one
        assert matplotlib.rcParams["text.usetex"] and matplotlib.rcParams["font.family"] == ["Nonexistent"]


def draw_and_read(folder: Path) -> bytes:
    """The bytes of a figure with text of users."""
    draw_file(folder / "figure.png", plot_confusion, np.eye(2, dtype=int), ["a $", "b_{"], 0.5)
    return (folder / "figure.png").read_bytes()


ODD_NAMES = (
    *("$", "50 $", "$x_", "{$}", "$^$", "\\alpha$", "a_b", "%", "\\", "back\\", "#&~^"),
    *("", "  ", "a\nb", "nul\x00", "\x1b[31mred", "\ud800", "\u2028", "x" * 300, "\u05e9\u05dc\u05d5\u05dd", "e\u0301"),
)


def test_names_of_any_kind_are_drawn(tmp_path: Path) -> None:
    """Fails if a name that users give to a class or a parameter is read as mathematics or LaTeX, breaks a line, or does
    not get its place; nothing is warned of."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        names = [*ODD_NAMES, *map(str, range(31 - len(ODD_NAMES)))]  # without counts in the cells, for speed
        draw_file(tmp_path / "c.png", plot_confusion, np.eye(31, dtype=int), names, 1.0)
        for name in ODD_NAMES:
            plot_bifurcations(name, [], [], unstable=[], marks=[]).draw_without_rendering()
        plane = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
        for name in ("back\\", "$"):  # before a formula in the same label
            figure = plot_branch_states(name, plane, [np.zeros(1)], states=[np.ones((1, 4))], unstable=[np.zeros(1)])
            figure.draw_without_rendering()
    shown = [as_plain_text(name) for name in ODD_NAMES]
    assert shown[:3] == [r"\$", r"50 \$", r"\$x_"] and max(map(len, shown)) <= 30
    assert "a\\nb" in shown and "(empty)" in shown and all(text.isprintable() for text in shown)


def test_characters_without_a_glyph_are_told_of_once(tmp_path: Path) -> None:
    """Fails if each of them is a warning of its own, or one that does not name the figure."""
    names = ["\U00010a00 \U00010a01", "\U00010a02"]  # Kharoshthi
    with pytest.warns(SelectionWarning, match=r"c\.png: no font of this machine has the characters") as told:
        draw_file(tmp_path / "c.png", plot_confusion, np.eye(2, dtype=int), names, 1.0)
    assert len(told) == 1 and (tmp_path / "c.png").exists()


@pytest.mark.parametrize("at", ["plot", "save"])
def test_a_figure_that_fails_is_a_warning(tmp_path: Path, at: str) -> None:
    """Fails if what goes wrong in matplotlib is raised, is told without figure and reason, or leaves a figure of an
    earlier run, which would pass for this one's."""
    (tmp_path / "f.png").write_bytes(b"earlier")

    def plot() -> Figure:
        if at == "plot":
            raise FileNotFoundError("a font that was uninstalled")
        figure = Figure()
        figure.suptitle("$_$")
        return figure

    with pytest.warns(SelectionWarning, match=r"f\.png could not be drawn: (FileNotFoundError|ValueError): "):
        draw_file(tmp_path / "f.png", plot)
    assert not list(tmp_path.iterdir())


# ── branches ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_unstable_stretches_of_a_branch_are_dashed() -> None:
    """Fails if stability is drawn with another style, or if a stretch ends before the next one begins."""
    mu, level = np.arange(5.0), np.arange(5.0) ** 2
    figure = plot_bifurcations("mu", [mu], [level], unstable=[np.array([0, 0, 1, 1, 0])], marks=[("fold", 2.0, 4.0)])
    lines = figure.axes[0].lines[:3]
    assert [line.get_linestyle() for line in lines] == ["-", "--", "-"]
    assert [list(line.get_xdata()) for line in lines] == [[0, 1, 2], [2, 3, 4], [4]]
    figure = plot_bifurcations("mu", [mu], [mu], unstable=[np.array([0, 0, 1, 1, 1])], marks=[("hopf", 1.25, 1.25)])
    assert [list(line.get_xdata()) for line in figure.axes[0].lines[:2]] == [[0, 1, 1.25], [1.25, 2, 3, 4]]


def test_states_of_branches_are_drawn_by_stability() -> None:
    """Fails if an unstable state is solid, if the nodes are not sorted, or if branches share one axes."""
    nodes = np.array([[0.5], [0.0], [1.0]])
    states = [np.array([[2.0, 1.0, 3.0], [5.0, 4.0, 6.0]]), np.zeros((1, 3))]
    parameters, unstable = [np.array([0.0, 1.0]), np.array([0.5])], [np.array([0, 2]), np.array([0])]
    figure = plot_branch_states("mu", nodes, parameters, states=states, unstable=unstable)
    first = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 3]
    assert [list(line.get_ydata()) for line in first] == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    assert [line.get_linestyle() for line in first] == ["-", "--"]
    assert len(figure.axes) == 3  # two branches and the colour bar
    draw(figure)
    square = shuffled_grid(np.linspace(0, 1, 3), np.linspace(0, 1, 3))
    draw(plot_branch_states("mu", square, [np.arange(2.0)], states=[RNG.normal(size=(2, 9))], unstable=[np.zeros(2)]))
    with pytest.raises(InvalidInput, match="a branch of shapes"):
        plot_branch_states("mu", nodes, parameters, states=states[::-1], unstable=unstable)
