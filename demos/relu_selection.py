# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Which steady state does ReLU select?
#
# This demo shows
#
# * that the steady states of the selection equation with ReLU form a convex set, with many points on a fine mesh;
# * the point of it that is nearest to the initial state, by a projection whose optimality is checked to round-off;
# * the point that the dynamics select, which is another one, here known in closed form;
# * a state from which there is no way to the set, although the set is not empty.
#
# ## The problem
#
# On $Y = (0, 1)$ with $\sigma(s) = \max(s, 0)$, a kernel $w$ and a bias $b$ that do not depend on $t$,
#
# $$\partial_t f = \sigma(K f + b), \qquad (K f)(y) = \int_Y w(y, z)\, f(z)\,dz, \qquad f(0, \cdot) = f^I.$$
#
# Since $\sigma$ vanishes for $s \le 0$ and nowhere else, the steady states are $\{f : K f + b \le 0\}$: closed and
# convex, not a point and not an affine space. And since $\sigma \ge 0$, no $f(t, y)$ ever decreases in $t$.
#
# We take $w = -1$, $b(y) = y$ and $f^I = 0$. The steady states are those with $m := \int f \ge 1$.

# %%
from pathlib import Path

import numpy as np

import fem_selection as fs
from fem_selection import steady
from fem_selection.steady.equilibria.zero_set import find_zeros

ensemble = fs.Ensemble()
ensemble = fs.Ensemble(space=ensemble.world.size)  # one initial state: all ranks share the mesh
space = fs.StateSpace(fs.interval(ensemble.space_comm, cells=101), degree=0, family="dg")
relu = fs.find_activation("relu")


def make_field(kernel, bias):
    """The right-hand side with a kernel w(y, z) and a bias b(y)."""
    w = fs.DenseKernel.interpolate(space, lambda t, y, z: kernel(y[0], z[0]), fs.DepthGrid(layers=1))
    return fs.SelectionField(space, w, bias(space.coordinates[:, 0]) * np.ones(space.num_local), activation=relu)


field = make_field(lambda y, z: -1.0 + 0.0 * y * z, lambda y: y)
y = space.coordinates[:, 0]
initial = np.zeros((space.num_local, 1), order="F")
if ensemble.is_root:
    print(find_zeros(relu))

# %% [markdown]
# ## The nearest steady state
#
# The nearest point of $\{\int f \ge 1\}$ to $f^I = 0$ is $f = 1$, at the distance 1; on the mesh $1 - h/2$, which is
# the last midpoint. In general it is
# $f = f^I - K^* \lambda$ with a multiplier $\lambda \ge 0$ that sits where $K f + b = 0$. `project` adds such contact
# points one after another; the residuals of the optimality conditions are computed afresh.

# %%
nearest = steady.project(field, initial[:, 0])
if ensemble.is_root:
    print(f"distance {nearest.distance:.6f}, {nearest.contacts} contact point")
    print(f"violation {nearest.violation:.1e}, stationarity {nearest.stationarity:.1e}, "
          f"complementarity {nearest.complementarity:.1e}")  # fmt: skip

# %% [markdown]
# ## The selected steady state
#
# With $m(t) = \int f$ the equation reads $\partial_t f = \max(y - m, 0)$. Hence
#
# $$m' = \int_m^1 (y - m)\,dy = \tfrac12 (1 - m)^2, \qquad m(t) = 1 - \frac{1}{1 + t/2},$$
#
# and the neuron $y$ grows until $m(t) = y$. Integration gives the limit
#
# $$f(\infty, y) = -2 y - 2 \log(1 - y),$$
#
# which has $\int f = 1$, as it must, but is far from 1: $\|f(\infty) - 1\|^2 = 7/3$.

# %%
limit = steady.find_limit(field, initial, fs.settings.LimitSettings(steady_tolerance=1e-8))
selected = limit.states[:, 0]
exact = -2.0 * y - 2.0 * np.log1p(-y)
away = space.norm(np.asfortranarray((selected - nearest.state)[:, None]))[0]
if ensemble.is_root:
    print(f"{limit.outcomes[0]}: {limit.reasons[0]}")
    print(f"‖selected − nearest‖ = {away:.4f}, √(7/3) = {np.sqrt(7 / 3):.4f}")

# %% [markdown]
# ## A smooth kernel: few contact points
#
# With $w = -e^{-16 (y - z)^2}$ and $b = \cos 5 y$ the steady states have no closed form. The nearest of them touches
# the constraint at a few points only, and its multiplier is a sum of point masses: as a function it would have no bound
# as the mesh is refined. The dynamics stop as soon as $K f + b \le 0$ everywhere, in a wider region.

# %%
smooth = make_field(lambda y, z: -np.exp(-16.0 * (y - z) ** 2), lambda y: np.cos(5.0 * y))
smooth_nearest = steady.project(smooth, initial[:, 0])
smooth_limit = steady.find_limit(smooth, initial, fs.settings.LimitSettings(steady_tolerance=1e-7))
smooth_away = space.norm(smooth_limit.states)[0]
if ensemble.is_root:
    print(f"nearest at {smooth_nearest.distance:.4f} with {smooth_nearest.contacts} contact points, "
          f"selected at {smooth_away:.4f}")  # fmt: skip

# %% [markdown]
# ## A state that does not find its way
#
# With $w = 1$ and $b = -1$ the steady states are $\int f \le 1$, and the nearest to $f^I = 2$ is again 1. But $f$
# cannot decrease: $g = \int f - 1$ obeys $g' = g$, and the state explodes.

# %%
growing = make_field(lambda y, z: 1.0 + 0.0 * y * z, lambda y: -1.0 + 0.0 * y)
explosion = steady.find_limit(growing, initial + 2.0)
if ensemble.is_root:
    print(f"{explosion.outcomes[0]}: {explosion.reasons[0]}")

# %% [markdown]
# ## The figure
#
# Left: the two steady states of the first equation, and the closed form. Middle: those of the smooth kernel. Right:
# the distance of $f(t)$ from the selected state, which falls algebraically, as $m$ does.

# %%
columns = np.asfortranarray(
    np.column_stack([y, nearest.state, selected, exact, smooth_nearest.state, smooth_limit.states[:, 0]])
)
table = space.gather(columns)
if ensemble.is_root:
    from matplotlib.figure import Figure

    table = table[np.argsort(table[:, 0])]
    figure = Figure(figsize=(8.4, 2.7), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    left.plot(table[:, 0], table[:, 1], color="#0072B2", label="nearest")
    left.plot(table[:, 0], table[:, 2], color="#D55E00", label="selected")
    left.plot(table[::10, 0], table[::10, 3], "k.", label="closed form")
    left.set(xlabel="$y$", ylabel="$f(y)$", title="$w = -1$, $b = y$")
    middle.plot(table[:, 0], table[:, 4], color="#0072B2", label="nearest")
    middle.plot(table[:, 0], table[:, 5], color="#D55E00", label="selected")
    middle.set(xlabel="$y$", title=r"$w = -e^{-16 (y - z)^2}$, $b = \cos 5 y$")
    times, distances = limit.snapshot_times[1:], limit.distances[1:, 0]
    right.loglog(times, np.where(distances > 0, distances, np.nan), color="#D55E00")
    right.set(xlabel="$t$", title=r"$\|f(t) - f(\infty)\|$, $w = -1$")
    for axes in (left, middle, right):
        axes.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False)
    middle.legend(frameon=False)
    folder = Path("runs")
    folder.mkdir(exist_ok=True)
    figure.savefig(folder / "relu_selection.png", dpi=150)

# %% [markdown]
# ## One number
#
# In the middle, $f(\infty, \tfrac12) = 2 \log 2 - 1$. Midpoint rules have order two away from the singular end: on 101
# cells the error is a few $10^{-5}$, and the run stops at $\|\partial_t f\| = 10^{-8}$, far later than $y = 1/2$ does,
# at $t = 2$.

# %%
at_the_middle = [float(v) for part in ensemble.world.allgather(selected[np.abs(y - 0.5) < 1e-9]) for v in part]
EXPECTED = 2.0 * np.log(2.0) - 1.0
assert abs(at_the_middle[0] - EXPECTED) < 2e-4
assert max(nearest.violation, nearest.stationarity, nearest.complementarity) < 1e-10
assert max(smooth_nearest.violation, smooth_nearest.stationarity, smooth_nearest.complementarity) < 1e-10
assert abs(nearest.distance - (1.0 - 0.5 / 101)) < 1e-9
assert nearest.distance < space.norm(limit.states)[0]
assert smooth_nearest.distance < smooth_away
assert explosion.outcomes == ("unbounded",)
assert abs(explosion.growth_rates[0] - 1.0) < 1e-3

# %% [markdown]
# ## What to try next
#
# * the same from a case file: `fem-selection steady demos/steady.toml`, and with `--set dynamics.activation=tanh`: the
#   steady states then solve $K f = -b$, a Fredholm equation of the first kind, without a solution here;
# * a kernel that is not smooth, `-np.exp(-np.abs(y - z))`: how many contact points are there?
# * ReLU mirrored, `fs.Activation("mirrored", lambda s: ufl.max_value(-s, 0.0))`: its half line is found from values.
#
# ## References
#
# H. Liu, P. Markowich, Selection dynamics for deep neural networks, J. Differential Equations 269 (2020) 11540–11574,
# arXiv:1905.09076.
