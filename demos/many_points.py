# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Images of 256 × 256 points, from coarse to fine
#
# This demo shows how samples with many points are learned: 65,536 numbers an image, read from a memory map, and a
# network whose layers act on functions, so that what a coarse mesh has learned is the start on the next finer one.
#
# An image is a wave of one direction under noise, twice as strong as the wave; its class is the direction, rising or
# falling. At a single point the noise hides the class; a mean over the image, with the right weight, finds it. The
# network is
#
# $$\partial_t f = \tanh\Big(\sum_{r=1}^{R} u_r(t, y) \int_Y v_r(t, z) f(t, z)\,dz + b(t, y)\Big), \qquad
#   o = \int_Y c(y) f(T, y)\,dy + \mu,$$
#
# with a kernel of rank $R$, for a dense one would have $65536^2$ numbers a layer.

# %%
import tempfile
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from mpi4py import MPI

import fem_selection as fs
from fem_selection import data, plots
from fem_selection.objectives import encode_labels
from fem_selection.plots.style import WIDTH, create_axes, styled

POINTS, TRAIN, TEST, LAYERS, RANK = 256, 60, 60, 3, 4


# %% [markdown]
# ## The images
#
# They go to a file of one array; every rank reads the images that it sweeps, and no others.


# %%
def make_images(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of shape (count, 256, 256) in single precision, and their classes."""
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    y = np.linspace(0.0, 1.0, POINTS)
    sign = np.where(labels == 1, 1.0, -1.0)[:, None, None]
    phase = draw.uniform(-1.0, 1.0, count)[:, None, None]
    waves = np.cos(2 * np.pi * (y[None, None, :] + sign * y[None, :, None]) + phase)
    return (waves + 2.0 * draw.standard_normal((count, POINTS, POINTS))).astype(np.float32), labels


# %% [markdown]
# ## The problem on a mesh of any size


# %%
def make_problem(cells: int, images: np.ndarray, labels: np.ndarray, test: tuple) -> fs.LearningProblem:
    """The classifier on a mesh of cells × cells squares, on all ranks."""
    ensemble = fs.Ensemble(MPI.COMM_WORLD)
    space = fs.StateSpace(fs.rectangle(ensemble.space_comm, cells=(cells, cells)))
    grid = fs.DepthGrid(layers=LAYERS)
    kernel = fs.SeparableKernel.random(space, LAYERS, RANK, scale=0.5, seed=1)
    train = fs.SampleStates.from_images(space, images, targets=encode_labels(labels, 2, "softmax"), labels=labels)
    judged = fs.SampleStates.from_images(space, test[0], targets=encode_labels(test[1], 2, "softmax"), labels=test[1])
    euler, tanh = fs.find_scheme("euler"), fs.find_activation("tanh")
    stepper = fs.Stepper(space, kernel, np.zeros((LAYERS, space.num_local)), activation=tanh, scheme=euler, grid=grid)
    controls = fs.ControlSpace(ensemble, space, kernel, grid=grid, num_outputs=2)
    initial, targets = train.share(ensemble)
    functional = fs.Functional(
        controls,
        stepper,
        fs.ReadoutCost(space=space, loss=fs.find_loss("softmax"), num_outputs=2),
        initial=initial,
        targets=targets,
        num_samples=TRAIN,
        regularization=fs.Regularization(kernel=1e-3, bias=1e-3, readout=1e-3),
    )
    start = fs.LearningProblem.from_functional(functional, labels=labels, test=judged)
    return start


# %% [markdown]
# ## Three levels
#
# The coarse meshes see the same functions at fewer nodes. The last level has 66,049 nodes.


# %%
@styled
def plot(images: np.ndarray, labels: np.ndarray, report: fs.studies.TrainingReport) -> Figure:
    """An image of each class, and the objective on the levels."""
    figure, axes = create_axes(1, 3, WIDTH, height=2.5, width_ratios=(1, 1, 1.6))
    for panel, (number, name) in zip(axes[0], ((1, "rising"), (0, "falling")), strict=False):
        panel.imshow(images[number], cmap="gray")
        panel.set_title(name)
        panel.set_axis_off()
    for level in report.levels:
        ends = [level["objective_at_start"], level["objective"]]
        axes[0, 2].plot([level["level"] - 0.25, level["level"] + 0.25], ends, marker="o")
    axes[0, 2].set_xticks(range(len(report.levels)), [f"{level['nodes']} nodes" for level in report.levels])
    axes[0, 2].set_ylabel("objective")
    axes[0, 2].set_title(f"test accuracy {report.test_accuracy:.2f}")
    return figure


def main(folder: Path = Path("runs")) -> float:
    """Train, draw, and return the accuracy on images that the network has not seen."""
    world = MPI.COMM_WORLD
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(world.bcast(scratch)) / "images.npy"
        images, labels = make_images(TRAIN, seed=1)
        if world.rank == 0:
            np.save(path, images)
        world.Barrier()
        test = make_images(TEST, seed=2)
        mapped = data.open_mapped(path, 2)
        problems = [make_problem(cells, mapped, labels, test) for cells in (16, 64, 256)]
        result = fs.studies.train_levels(
            problems,
            fs.OptimizerSettings(max_iterations=10, gradient_tolerance=1e-3),
            levels=fs.MultilevelSettings(iterations=(40, 20)),
            output=fs.OutputSettings(figures=False, fields=False),
        )
        world.Barrier()
    report = result.report
    assert report is not None and report.test_accuracy is not None
    if world.rank == 0:
        folder.mkdir(parents=True, exist_ok=True)
        for level in report.levels:
            print(
                f"{level['nodes']:6d} nodes: objective {level['objective_at_start']:.4f} → {level['objective']:.4f}, "
                f"{level['iterations']} iterations, {level['seconds_of_level']:.1f} s"
            )
        print(f"test accuracy {report.test_accuracy:.3f}")
        plots.save(plot(images, labels, report), folder / "many_points.png")
    # half of the classes are guessed by chance; the wave is weaker than the noise at every point
    assert report.test_accuracy >= 0.9
    return report.test_accuracy


# %%
if __name__ == "__main__":
    main()

# %% [markdown]
# ## What to try next
#
# * `TRAIN = 600`: the memory map is read in parts, and mini-batches are possible on the coarsest level.
# * `mpiexec -n 2`: each rank reads half of the images.
