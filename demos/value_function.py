# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # The value function of a network of two neurons
#
# This demo shows, for a network that is small enough to know everything about it,
#
# * the value function of its learning problem by finite elements, with a witness by dynamic programming;
# * optimal controls as a feedback: trajectories from any state, not from one;
# * the optimum by gradients from several starts, and a local optimum 16 % worse, that gradients cannot leave;
# * the kink of the value function, which separates the states that go one way round from those that go the other.
#
# ## The problem
#
# Two cells of area $a_1 = a_2 = \tfrac12$ are two neurons; with one sample the state is a point $x = (x_1, x_2)$ of the
# plane. The kernel is a matrix $w(t)$, the bias a vector $b(t)$, and $\sigma = \tanh$:
#
# $$\partial_t x_i = \sigma\Big(\sum_k w_{ik} a_k x_k + b_i\Big), \quad x(0) = (0.8, 0.5), \qquad
#     J(w, b) = \int_0^T \sum_i a_i \Big(\frac{\alpha_w}{2} \sum_k a_k w_{ik}^2 + \frac{\alpha_b}{2} b_i^2\Big) dt
#     + \frac{\mu}{2} \sum_i a_i (x_i(T) - g_i)^2$$
#
# with $T = 2$, $\alpha_w = 0.1$, $\alpha_b = 20$, $\mu = 4$ and the target $g = (-0.8, -0.6)$. The bias is dear, and
# the kernel acts the less the nearer $x$ is to the origin: the straight way to the target leads through a place where
# nothing can be moved, and both ways round are better.
#
# The value $V(t, x)$ is the least cost from depth $t$ and state $x$ on. With the Hamiltonian, minimised over the
# controls,
#
# $$H(x, \xi) = \min_{w, b} \sum_i \Big\{ \xi_i\, \sigma(s_i) + a_i \Big(\frac{\alpha_w}{2} \sum_k a_k w_{ik}^2
#     + \frac{\alpha_b}{2} b_i^2\Big) \Big\}, \qquad s_i = \sum_k w_{ik} a_k x_k + b_i,$$
#
# it is the viscosity solution of $\partial_t V + H(x, \nabla V) = 0$ with
# $V(T, x) = \tfrac{\mu}{2} \sum_i a_i (x_i - g_i)^2$.

# %%
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import fem_selection as fs
from fem_selection import hjb, plots
from fem_selection.plots.style import COLOURS, WIDTH, create_axes, styled

problem = fs.build_problem(fs.load_case(Path(__file__).parent / "hjb.toml"))
ensemble, functional = problem.ensemble, problem.functional
reduced = hjb.ReducedProblem.from_functional(functional)
start = reduced.start

# %% [markdown]
# ## The value function by finite elements
#
# Continuous, piecewise linear functions on triangles, steps of order two backward in $t$, on 24 × 24 and 48 × 48 cells
# of a box around initial and target state, and the extrapolation of the two to width zero. A viscosity of order $h|v|$,
# $v$ the optimal velocity, along the edges of every triangle makes each new nodal value a mean of its neighbours with
# running costs added, which selects the viscosity solution among all functions that solve the equation almost
# everywhere. At each node a limiter scales it by $|\sum_j (V_i - V_j)| / \sum_j |V_i - V_j|$ over the neighbours $j$,
# which is 1 at extrema and $O(h)$ where $V$ is smooth: second order there, and first order at kinks. At the box's
# boundary nothing is prescribed: where the optimal velocity points inside the scheme is one-sided, and where it points
# outside $V$ is taken to go on constantly, an error that `box_influence` measures with a larger box.

# %%
box = hjb.Grid.uniform(*hjb.default_box(start, reduced.targets.ravel()), 48)
found = hjb.refine(reduced, box, levels=2, comm=ensemble.world)
influence = hjb.box_influence(reduced, replace(box, cells=(24, 24)), comm=ensemble.world)

# %% [markdown]
# ## A witness
#
# Dynamic programming, $V(t, x) = \min_{w, b} \{\Delta t\, R(w, b) + V(t + \Delta t, x + \Delta t\, v)\}$ with $R$ the
# running cost, on the same grids and with nothing in common but them. It is of order one, so that the difference of two
# grids estimates the error of the finer one.

# %%
coarse_witness, witness = (
    hjb.solve_by_dynamic_programming(reduced, replace(box, cells=(n, n)), comm=ensemble.world) for n in (24, 48)
)
value_of_witness = float(witness.value(0.0, start[None])[0])
error_of_witness = abs(value_of_witness - float(coarse_witness.value(0.0, start[None])[0]))

# %% [markdown]
# ## The open loop
#
# L-BFGS for the controls of 48 layers, from zero and from three random controls. The gradient vanishes at the end of
# each, and they end at two different values.

# %%
descent = fs.OptimizerSettings(method="lmvm", max_iterations=2000, gradient_tolerance=1e-6, memory=20)
directions = [size * functional.control_space.random_direction(1 + k) for k, size in enumerate((10.0, 1.0, 3.0))]
starts = [problem.scaled_start, *(problem.scaled_functional.to_scaled(x) for x in directions)]
reports = sorted(
    (fs.minimize(problem.scaled_functional, x, descent) for x in starts), key=lambda report: report.objective
)
best, worse = reports[0], reports[-1]


def path(x: np.ndarray) -> np.ndarray:
    """The states of a control at the layers' boundaries, from the member of the ensemble that has the sample."""
    states = fs.learning.solve_triple(functional, problem.scaled_functional.to_controls(x)).states
    return ensemble.world.bcast(np.array(states))[:, :, 0]


best_path, worse_path = path(best.scaled_solution), path(worse.scaled_solution)

# %% [markdown]
# ## The feedback
#
# At each $t$ and $x$ the controls that minimise the Hamiltonian at $\xi = \nabla V(t, x)$. They are run from the
# nominal state and from others on the circle around the origin through it: $x(0) = \varrho\,(\cos\theta, \sin\theta)$.

# %%
radius, nominal = float(np.hypot(*start)), float(np.degrees(np.arctan2(start[1], start[0])))


def on_circle(degrees: np.ndarray) -> np.ndarray:
    angles = np.radians(degrees)
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=-1)


perturbed = np.array([0.0, 10.0, 20.0, 50.0, 60.0, 75.0, 90.0])
loop = hjb.simulate(reduced, found.improved, np.concatenate([start[None], on_circle(perturbed)]), steps=200)

# %% [markdown]
# ## Both ways round
#
# Each of the two local optima is followed along the circle, the initial state moved by a few degrees at a time and the
# last control handed on. That gives the cost of either way round, whether it is the better one or not.

# %%
angles = np.arange(nominal % 12.0, 90.0, 12.0)  # the nominal one among them
columns = ensemble.samples(1)


def follow(control: np.ndarray, degrees: np.ndarray) -> list[float]:
    """The local optima along the circle, beginning with a control that belongs to the first angle."""
    costs = []
    for x in on_circle(degrees):
        moved = fs.Functional(
            functional.control_space,
            functional.stepper,
            functional.cost,
            initial=np.asfortranarray(x[:, None][:, columns]),
            targets=functional.targets,
            num_samples=1,
            regularization=functional.regularization,
            weight=functional.weight,
        )
        lmvm = fs.OptimizerSettings(max_iterations=300, gradient_tolerance=0.0, absolute_tolerance=1e-4, memory=20)
        report = fs.minimize(fs.ScaledFunctional(moved), control, lmvm)
        control = report.scaled_solution
        costs.append(report.objective)
    return costs


middle = int(np.argmin(np.abs(angles - nominal)))
ways = [
    np.array(
        [*follow(report.scaled_solution, angles[middle::-1])[:0:-1], *follow(report.scaled_solution, angles[middle:])]
    )
    for report in (best, worse)
]

if ensemble.is_root:
    print(f"open loop, from {len(reports)} starts   {', '.join(f'{r.objective:.6f}' for r in reports)}")
    print(f"V(0, x(0)), 48 x 48 cells  {found.values[-1]:.4f}  estimated error {found.error_estimate:.4f}")
    print(f"  extrapolated             {found.extrapolated:.4f}")
    print(f"  larger box               changes it by {influence.difference:.4f}")
    print(f"dynamic programming        {value_of_witness:.4f}  estimated error {error_of_witness:.4f}")
    print(f"cost of the feedback       {loop.costs[0]:.6f}")
    for degrees, cost, value in zip(
        perturbed, loop.costs[1:], found.improved.value(0.0, loop.states[0, 1:]), strict=True
    ):
        print(f"  from {degrees:2.0f} degrees          {cost:.4f}    V {value:.4f}")


# %% [markdown]
# ## Figures
#
# The first shows the value function at $t = 0$ and $t = 1$ as level sets, and the trajectories of the feedback over it.

# %%
if ensemble.is_root:
    Path("runs").mkdir(exist_ok=True)
    shown, value = [0, 20], found.improved  # t = 0 and t = 1 of 41 snapshots
    levels = np.maximum(value.values[shown], 0.0)  # costs are; extrapolation undershoots
    figure = plots.plot_value(
        box.axes,
        levels,
        value.times[shown],
        trajectory_times=loop.times,
        trajectories=loop.states,
        target=reduced.targets[:, 0],
        labels=["$x_1$", "$x_2$"],
    )
    plots.save(figure, Path("runs") / "value_function.png")

# %% [markdown]
# The second shows, left, $V(0, \cdot)$ along the circle: the lesser of the costs of both ways, with a kink where they
# are equal. Right, the trajectories of the feedback, coloured by the way they go, with the two local optima from the
# nominal state.

# %%
gap_of_ways = ways[0] - ways[1]
crossing = int(np.argmax(gap_of_ways > 0.0))
kink = float(np.interp(0.0, gap_of_ways[crossing - 1 : crossing + 1], angles[crossing - 1 : crossing + 1]))
turned = np.unwrap(np.arctan2(loop.states[:, :, 1], loop.states[:, :, 0]), axis=0)
clockwise = turned[-1] < turned[0]


@styled
def draw() -> Figure:
    blue, red, green, muted = (COLOURS[name] for name in ("blue", "vermilion", "green", "muted"))
    degrees = np.linspace(0.0, 90.0, 181)
    section = on_circle(degrees)
    figure, axes = create_axes(1, 2, WIDTH, height=3.2)
    left, right = axes[0]
    for cost, colour, name in zip(ways, (blue, red), ("clockwise", "counterclockwise"), strict=True):
        left.plot(angles, cost, "o-", color=colour, markersize=4.0, linewidth=0.6, label=f"open loop, {name}")
    left.plot(degrees, found.finest.value(0.0, section), ":", color=green, label="finite elements, 48 cells")
    left.plot(degrees, found.improved.value(0.0, section), color=green, label="extrapolated")
    left.plot(degrees, witness.value(0.0, section), "--", color=muted, linewidth=1.0, label="dynamic programming")
    left.axvline(kink, color=muted, linewidth=0.6, linestyle=":")
    left.axvline(nominal, color=COLOURS["rule"], linewidth=0.8, zorder=0)
    left.text(nominal - 1.0, 0.04, "$x(0)$", ha="right")
    left.text(kink + 1.0, 0.04, "kink")
    left.set(
        xlabel=r"angle $\theta$ of the initial state, degrees", ylabel=r"cost, $V(0, \varrho(\cos\theta, \sin\theta))$"
    )
    left.set(xlim=(0.0, 90.0), ylim=(0.0, 1.32), xticks=range(0, 91, 15))
    left.legend(fontsize=7, loc="upper left", ncols=1)

    circle = on_circle(np.linspace(0.0, 360.0, 361))
    right.plot(circle[:, 0], circle[:, 1], color=muted, linewidth=0.6, linestyle=":")
    for j in range(loop.states.shape[1]):
        colour = blue if clockwise[j] else red
        style = {"color": colour, "linewidth": 2.0 if j == 0 else 1.0, "label": "feedback" if j == 0 else None}
        right.plot(loop.states[:, j, 0], loop.states[:, j, 1], **style)
        right.plot(*loop.states[0, j], "o", color=colour, markersize=5.0 if j == 0 else 3.0)
    for states, colour, name in ((best_path, blue, "best"), (worse_path, red, "worse")):
        style = {"marker": "o", "markersize": 4.0, "markerfacecolor": "white", "linestyle": ""}
        right.plot(states[::4, 0], states[::4, 1], color=colour, **style, label=f"open loop, {name} optimum")
    ray = on_circle(np.array([kink]))[0]
    right.plot([0.0, 1.2 * ray[0]], [0.0, 1.2 * ray[1]], color=muted, linewidth=0.6, linestyle=":")
    right.annotate("kink", 1.2 * ray, (2, 2), textcoords="offset points")
    right.plot(0.0, 0.0, "+", color=COLOURS["ink"], markersize=6.0)
    right.plot(*reduced.targets[:, 0], "x", color=COLOURS["ink"], markersize=6.0)
    right.annotate("target", reduced.targets[:, 0], (-3, -12), textcoords="offset points", ha="center")
    right.annotate("$x(0)$", start, (7, -3), textcoords="offset points")
    right.set(xlabel="$x_1$", ylabel="$x_2$", aspect="equal", xlim=(-1.15, 1.25), ylim=(-1.05, 1.5))
    right.legend(fontsize=7, loc="upper left")
    return figure


if ensemble.is_root:
    plots.save(draw(), Path("runs") / "value_function_kink.png")

# %% [markdown]
# ## What is asserted
#
# The two local optima to what L-BFGS leaves of them. Value function, extrapolation and dynamic programming differ from
# the better one by less than the error that each of them states, and along the circle the extrapolation differs from
# the lesser of both ways by less than the error of the unextrapolated mesh, at the kink too. The feedback is as good as
# the open loop up to a thousandth: its excess is the square of the error of $\nabla V$, and the open loop's 48 constant
# controls cost something as well. It goes the way round that the kink says.

# %%
assert abs(best.objective - 0.534279) < 1e-6
assert abs(worse.objective - 0.620012) < 1e-6
assert abs(found.values[-1] - best.objective) < found.error_estimate
assert abs(found.extrapolated - best.objective) < found.error_estimate / 3  # what the extrapolation changes
assert abs(value_of_witness - best.objective) < 1.5 * error_of_witness
assert np.max(np.abs(found.improved.value(0.0, on_circle(angles)) - np.minimum(*ways))) < found.error_estimate
assert abs(loop.costs[0] - best.objective) < 1e-3
assert np.array_equal(clockwise, [nominal < kink, *(perturbed < kink)])

# %% [markdown]
# ## What to try next
#
# * `fem-selection hjb demos/hjb.toml`: the same on 96 × 96 cells, with a report and $V(t, x)$ for ParaView; from Python
#   `fs.studies.hjb(problem, fs.HjbSettings(cells=96))`.
# * `--set regularization.bias=0.1`: a cheap bias moves the state anywhere, and the straight way is open.
# * `--set domain.cells=1 --set data.samples=2 --set "data.initial=1 - 1.5*s" --set "data.target=0.2 + 0.6*s"`: one
#   neuron and two samples, whose Hamiltonian does not decouple.
# * three ranks, `mpiexec -n 3 python demos/value_function.py`.
#
# ## References
#
# M. Crandall, P.-L. Lions, Two approximations of solutions of Hamilton–Jacobi equations, Math. Comp. 43 (1984) 1.
# J.-L. Guermond, B. Popov, SIAM J. Numer. Anal. 54 (2016) 2466 (viscosity on edges). G. R. Barrenechea, E. Burman,
# F. Karakatsani, Numer. Math. 135 (2017) 521 (its limiter). M. Falcone, R. Ferretti, Semi-Lagrangian approximation
# schemes for linear and Hamilton–Jacobi equations, SIAM 2013.
