# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Minimisers have limits: wider and deeper networks, the same optimal kernel
#
# In `demos/continuum_limit.py` the *states* of networks with given weights converge. Here the weights are optimized on
# each mesh and for each number of layers, and the optimal value and the optimal controls converge:
#
# * in depth, to a closed form, with the order of the scheme;
# * in width, with order two for elements of degree one, on a problem without a closed form.
#
# The problem is, on $Y = (0, 1)$ and $[0, 1]$ in depth,
#
# $$\min_{w, b}\ \tfrac{\mu}{2J} \sum_j \|f_j(1) - g_j\|^2 + \tfrac{\alpha}{2} \int_0^1 \|w(t)\|^2 + \|b(t)\|^2\, dt,
#     \qquad \partial_t f_j = \sigma(K f_j + b), \quad f_j(0) = f_j^I.$$

# %%
from pathlib import Path

import numpy as np
from scipy.optimize import minimize_scalar

import fem_selection as fs
from fem_selection import plots
from fem_selection.config import parse_case
from fem_selection.learning import LearningProblem, prolong_controls
from fem_selection.plots.style import COLOURS, WIDTH, create_axes, styled

is_root = fs.Ensemble().is_root
ALPHA, MU, RHO = 0.7, 3.0, 2.5


# %% [markdown]
# ## A closed form
#
# Let $\sigma$ be the identity, $J = 1$ and $g = \rho\, u$ with $u = f^I / \|f^I\|$. The optimal state stays on the ray
# through $u$, $f(t) = r(t)\, u$. At a given velocity $r'$ the cheapest controls are
# $w = r' r\, u \otimes u / (r^2 + 1)$ and $b = r' u / (r^2 + 1)$; they cost $\alpha r'^2 / 2 (r^2 + 1)$. So $r$ is a
# geodesic, $\operatorname{asinh} r$ is linear in $t$, and with $r_0 = \|f^I\|$
#
# $$J^* = \min_r\ \tfrac{\alpha}{2} (\operatorname{asinh} r - \operatorname{asinh} r_0)^2 + \tfrac{\mu}{2} (r - \rho)^2,
#     \qquad \kappa = \operatorname{asinh} r^* - \operatorname{asinh} r_0,$$
# $$w^*(t) = \kappa \tanh(\theta)\, u \otimes u, \qquad b^*(t) = \frac{\kappa}{\cosh \theta}\, u, \qquad
#     \theta = \operatorname{asinh} r_0 + \kappa t.$$
#
# With $f^I = 1 + \tfrac12 \sin 2 \pi y$ we have $r_0^2 = 9/8$, exactly so by the trapezoidal rule too.

# %%
R_0 = float(np.sqrt(9 / 8))


def cost_of(r):
    return ALPHA / 2 * (np.arcsinh(r) - np.arcsinh(R_0)) ** 2 + MU / 2 * (r - RHO) ** 2


found = minimize_scalar(cost_of, bounds=(R_0, RHO), method="bounded", options={"xatol": 1e-12})
EXACT, KAPPA = found.fun, np.arcsinh(found.x) - np.arcsinh(R_0)


def solve(tables) -> tuple[LearningProblem, float, np.ndarray]:
    """The problem of a case, its optimal value, and this rank's shard of the optimal controls, by Newton's method."""
    base = {
        "domain": {"shape": "interval"},
        "objective": {"loss": "tracking", "weight": MU, "controls": ["kernel", "bias"]},
        "optimizer": {"method": "ntr", "gradient_tolerance": 1e-10, "max_iterations": 100},
    }
    case = parse_case({**base, **tables, "domain": {**base["domain"], **tables["domain"]}})
    problem = fs.build_problem(case)
    report = fs.minimize(problem.scaled_functional, problem.scaled_start, case.optimizer)
    assert report.converged, report.reason
    return problem, report.objective, problem.scaled_functional.to_controls(report.scaled_solution)


# %% [markdown]
# ## Depth
#
# A layer of Euler's scheme has a control of its own, constant in the layer. Its distance from the exact control is
# measured at the middles of the layers,
#
# $$\Big(\sum_l \Delta t\, \big(\|w_l - w^*(t_{l + 1/2})\|^2 + \|b_l - b^*(t_{l + 1/2})\|^2\big)\Big)^{1/2}.$$


# %%
def depth_case(layers, scheme):
    return {
        "domain": {"cells": 16},
        "dynamics": {"activation": "identity", "layers": layers, "scheme": scheme, "kernel": "0.1"},
        "data": {"initial": "1 + sin(2*pi*y)/2", "target": f"{RHO / R_0!r}*(1 + sin(2*pi*y)/2)", "samples": 1},
        "regularization": {"kernel": ALPHA, "bias": ALPHA},
    }


def exact_controls(problem):
    """The shard of the exact controls at the middles of the layers."""
    space, grid = problem.space, problem.functional.control_space.grid
    u = (1 + np.sin(2 * np.pi * space.coordinates[:, 0]) / 2) / R_0
    theta = np.arcsinh(R_0) + KAPPA * (grid.times[:-1] + grid.step / 2)
    kernel = KAPPA * np.tanh(theta)[:, None, None] * u[:, None] * u
    parts = {"kernel": kernel.ravel(), "bias": (KAPPA / np.cosh(theta))[:, None] * u}
    control_space = problem.functional.control_space
    return control_space.pack(parts)[control_space.shard]


def distance(control_space, difference):
    return float(np.sqrt(control_space.inner(difference, control_space.apply_metric(difference))))


def orders(sizes, errors):
    return -np.diff(np.log(errors)) / np.diff(np.log(sizes))


LAYERS = (5, 10, 20, 40, 80)
depth, steps = {}, {}
for scheme in ("euler", "heun"):
    values, apart = [], []
    for layers in LAYERS:
        problem, value, controls = solve(depth_case(layers, scheme))
        control_space = problem.functional.control_space
        values.append(abs(value - EXACT))
        apart.append(distance(control_space, controls - exact_controls(problem)))
        if scheme == "euler" and layers in (5, 20):
            bias = control_space.unpack(control_space.gather(controls))["bias"]
            middle = np.argmin(np.abs(problem.space.coordinates[:, 0] - 0.25))
            steps[layers] = problem.functional.control_space.grid.times, bias.reshape(layers, -1)[:, middle]
    depth[scheme] = values, apart
    if is_root:
        print(f"{scheme}: |J_L - J*|", *(f"{e:.1e}" for e in values), "orders", orders(LAYERS, values).round(2))
        print(f"{scheme}: controls  ", *(f"{e:.1e}" for e in apart), "orders", orders(LAYERS, apart).round(2))

# %% [markdown]
# ## Width
#
# Four samples, $\sigma = \tanh$, eight Euler layers, no closed form. The limit of the value is extrapolated from the
# two finest meshes. The controls are carried to the finest mesh, where their distance from its own is taken.


# %%
def width_case(cells):
    return {
        "domain": {"cells": cells},
        "dynamics": {"activation": "tanh", "layers": 8, "kernel": "0.1"},
        "data": {"initial": "cos((1 + s)*y)", "target": "1.5*sin(2*y + s)", "samples": 4},
        "regularization": {"kernel": 0.05, "bias": 0.05},
    }


CELLS = (4, 8, 16, 32, 64)
solved = [solve(width_case(cells)) for cells in CELLS]
values = np.array([value for _, value, _ in solved])
limit = values[-1] + (values[-1] - values[-2]) / 3
finest, _, best = solved[-1]
width_values = np.abs(values - limit)
width_controls = []
for problem, _, controls in solved[:-1]:
    target = finest.functional.control_space
    moved = prolong_controls(problem.functional.control_space, target, controls)
    width_controls.append(distance(target, moved - best))
if is_root:
    print("width: |J_N - J|", *(f"{e:.1e}" for e in width_values), "orders", orders(CELLS, width_values).round(2))
    print(
        "width: controls ", *(f"{e:.1e}" for e in width_controls), "orders", orders(CELLS[:-1], width_controls).round(2)
    )


# %% [markdown]
# ## The figure
#
# Dashed lines have the orders of theory.


# %%
@styled
def draw():
    """Depth, the bias at one neuron, width."""
    figure, axes = create_axes(1, 3, WIDTH * 1.25, height=3.0)
    blue, red, green, ink = (COLOURS[name] for name in ("blue", "vermilion", "green", "ink"))
    left, middle, right = axes[0]

    def show(panel, sizes, errors, colour, marker, label, order):
        panel.loglog(sizes, errors, marker, color=colour, markersize=4, label=label)
        line = errors[-1] * (np.array(sizes) / sizes[-1]) ** -float(order)
        panel.loglog(sizes, line, "--", color=colour, linewidth=0.9)

    show(left, LAYERS, depth["euler"][0], blue, "o", "value, Euler: $L^{-1}$", 1)
    show(left, LAYERS, depth["euler"][1], red, "s", "controls, Euler: $L^{-1}$", 1)
    show(left, LAYERS, depth["heun"][0], green, "D", "value, Heun: $L^{-2}$", 2)
    show(left, LAYERS, depth["heun"][1], ink, "^", "controls, Heun: $L^{-2}$", 2)
    t = np.linspace(0.0, 1.0, 101)
    curve = KAPPA / np.cosh(np.arcsinh(R_0) + KAPPA * t) * 1.5 / R_0
    middle.plot(t, curve, color=ink, linewidth=1.0, label="closed form")
    for (layers, (times, bias)), colour in zip(steps.items(), (blue, red), strict=True):
        middle.stairs(bias, times, color=colour, linewidth=1.0, baseline=None, label=f"{layers} layers")
    show(right, CELLS, width_values, blue, "o", "value: $N^{-2}$", 2)
    show(right, CELLS[:-1], width_controls, red, "s", "controls: $N^{-2}$", 2)
    left.set(title="depth", xlabel="layers $L$", ylabel="distance from the limit")
    middle.set(title="optimal bias at $y = 1/4$", xlabel="depth $t$", ylabel="$b(t, y)$")
    right.set(title="width", xlabel="cells $N$")
    for panel, ticks in ((left, LAYERS), (right, CELLS)):
        panel.set_xticks(ticks, [str(n) for n in ticks])
        panel.set_xticks([], minor=True)
    for panel in (left, middle, right):
        panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), handletextpad=0.3)
    return figure


if is_root:
    Path("runs").mkdir(exist_ok=True)
    plots.save(draw(), Path("runs") / "limits_of_minimisers.png")

# %% [markdown]
# ## What was shown
#
# The observed orders are within 0.15 of one for Euler's scheme, and of two for Heun's and in width. In depth they are
# those of the finest pair; in width those of 8 and 16 cells for the value, and of 16 and 32 for the controls.

# %%
assert abs(orders(LAYERS, depth["euler"][0])[-1] - 1) < 0.15 and abs(orders(LAYERS, depth["euler"][1])[-1] - 1) < 0.15
assert abs(orders(LAYERS, depth["heun"][0])[-1] - 2) < 0.15 and abs(orders(LAYERS, depth["heun"][1])[-1] - 2) < 0.15
assert abs(orders(CELLS, width_values)[1] - 2) < 0.15 and abs(orders(CELLS[:-1], width_controls)[-1] - 2) < 0.15
