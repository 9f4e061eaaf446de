# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Energy decay in a Hopfield-like network
#
# This demo shows
#
# * the selection equation over a large time, with steps that follow the solution;
# * two functionals that can only fall, each with its hypotheses checked on the data that are given;
# * a hypothesis that fails, named with what was measured, and what the functional does then.
#
# ## The problem
#
# Neurons $y \in Y = (0, 1)$, states $f(t, y)$, and a kernel $w$ and a bias $b$ that do not depend on time:
#
# $$\partial_t f = \sigma(g), \qquad g = K f + b, \qquad (K f)(y) = \int_Y w(y, z) f(z)\, dz, \qquad \sigma = \tanh.$$
#
# If $w$ is symmetric and $s\,\sigma(s) \ge 0$, the energy of Hopfield's networks falls:
#
# $$E(f) = -\tfrac12 \langle f, K f \rangle - \langle b, f \rangle, \qquad
#     \frac{dE}{dt} = -\langle g, \sigma(g) \rangle \le 0.$$
#
# If the symmetric part of $K$ is negative semidefinite, whether $w$ is symmetric or not, then with $\Sigma' = \sigma$
#
# $$\frac{d}{dt} \int_Y \Sigma(g)\, dy = \langle \sigma(g), K \sigma(g) \rangle \le 0.$$

# %%
from pathlib import Path

import numpy as np
from mpi4py import MPI

import fem_selection as fs
from fem_selection import plots
from fem_selection.evolution.estimates import estimate_run
from fem_selection.plots.style import COLOURS, WIDTH, create_axes, styled

space = fs.StateSpace(fs.interval(MPI.COMM_WORLD, cells=40), degree=2)
y = space.coordinates[:, :1]
bias = 0.4 * np.sin(2 * np.pi * y[:, 0])
shift = np.array([0.0, 0.3, 0.6])  # three samples
initial = np.asfortranarray(np.cos(2 * np.pi * (y + shift)) + shift)


def create_field(turn: float) -> fs.SelectionField:
    """A smooth inhibition of near neurons, and `turn` times a skew part."""

    def kernel(t, y, z):
        distance = y[0] - z[0]
        return -8.0 * np.exp(-(distance**2) / 0.02) + turn * np.sin(2 * np.pi * distance)

    dense = fs.DenseKernel.interpolate(space, kernel, fs.DepthGrid(layers=1))
    return fs.SelectionField(space, dense, bias, activation=fs.find_activation("tanh"))


# %% [markdown]
# ## A symmetric kernel
#
# States are kept at times that grow geometrically. The integrator chooses its own steps, the longer the slower the
# states are: $K$ is compact, and what remains of the motion is in directions in which $K$ is small.

# %%
times = np.concatenate([[0.0], np.geomspace(1e-2, 1e2, 60)])
symmetric = create_field(0.0)
run = fs.evolution.integrate(
    symmetric, initial, times, settings=fs.settings.StepSettings(rtol=1e-8, steady_tolerance=0.0)
)
print(run.reason, f"in {run.steps} steps;", *(f"{name} from t = {since:.3g}" for since, name in run.methods))
estimates = estimate_run(symmetric, run.times, run.states)

# %% [markdown]
# Every estimate comes with its hypotheses. Symmetry and definiteness are measured on the kernel by SLEPc, what concerns
# $\sigma$ is bounded for every $s$ by interval arithmetic and asymptotic expansions.

# %%
for name in ("energy", "potential"):
    for hypothesis in estimates[name].hypotheses:
        print(f"{name}: {hypothesis.statement}: {'holds' if hypothesis.holds else 'FAILS'}; {hypothesis.measured}")

# %% [markdown]
# ## A skew part
#
# It leaves the symmetric part of $K$, and with it the second estimate, as they were. The first loses its hypothesis,
# and is not claimed: $E$ may rise, and it does.

# %%
turning = create_field(12.0)
turned_run = fs.evolution.integrate(
    turning, initial, times, settings=fs.settings.StepSettings(rtol=1e-8, steady_tolerance=0.0)
)
turned = estimate_run(turning, turned_run.times, turned_run.states)
for hypothesis in turned["energy"].failed:
    print(f"not claimed: {hypothesis.statement} does not hold; {hypothesis.measured}")
rise = float(np.max(np.diff(turned["energy"].measured, axis=0)))
print(f"E rises by up to {rise:.3f} between two of the times")

# %% [markdown]
# ## The figure


# %%
@styled
def draw():
    """Both functionals for both kernels."""
    figure, axes = create_axes(1, 2, WIDTH, height=2.8)
    for panel, name, label in zip(axes[0], ("energy", "potential"), ("E(f)", "∫Σ(K f + b)"), strict=True):
        for found, colour, kind in ((estimates, "blue", "symmetric"), (turned, "vermilion", "with a skew part")):
            lines = panel.plot(times, found[name].measured, color=COLOURS[colour], linewidth=1.0)
            lines[0].set_label(kind if found[name].claimed else f"{kind}: not claimed")
        panel.set_xscale("symlog", linthresh=times[1])
        panel.set(xlabel="t", ylabel=label, xlim=(0.0, times[-1]))
        panel.legend(loc="upper right")
    return figure


if MPI.COMM_WORLD.rank == 0:
    Path("runs").mkdir(exist_ok=True)
    plots.save(draw(), Path("runs") / "energy.png")

# %% [markdown]
# ## What was shown
#
# What is claimed holds: no functional rises by more than the integrator's tolerance, 1e-8 of its size a step.

# %%
assert estimates["energy"].claimed and estimates["potential"].claimed and turned["potential"].claimed
assert max(e.excess for e in (estimates["energy"], estimates["potential"], turned["potential"])) < 1e-7
assert not turned["energy"].claimed and rise > 0.01

# %% [markdown]
# ## What to try next
#
# * `"relu"` instead of tanh: $\int \Sigma(g)$ still falls, but no longer bounds $g$ (`preactivation` says so).
# * A positive definite kernel: states leave along its eigenfunctions, and $E \to -\infty$; `run.growth` is the rate.
# * The same from a case file: `fem-selection forward demos/forward.toml`.
#
# ## References
#
# J. J. Hopfield, PNAS 81 (1984) 3088, [doi:10.1073/pnas.81.10.3088](https://doi.org/10.1073/pnas.81.10.3088).
# H. Liu, P. Markowich, J. Differential Equations 269 (2020) 11540, [arXiv:1905.09076](https://arxiv.org/abs/1905.09076).
