# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Residual networks whose limit is the selection equation, and some that have another one, or none
#
# This demo shows
#
# * that the solver with Euler layers on collocated elements *is* a residual network, to round-off;
# * networks of width $N$ and depth $L$ sampled from one kernel: they converge to the solution of the equation, in
#   $1/N$ with the order of the quadrature, or like $N^{-1/2}$ if the neurons are placed at random, and in $1/L$ with
#   the order of a layer;
# * networks whose weights are independent from layer to layer: they do not converge to it.
#
# ## The problem
#
# Neurons $y \in Y = (0, 1)$, depth $t \in [0, T]$ with $T = 1$, states $f(t, y)$ from $f^I(y)$ at $t = 0$, a kernel
# $w$, a bias $b$ and $\sigma = \tanh$:
#
# $$\partial_t f(t, y) = \sigma\Big(\int_Y w(t, y, z)\, f(t, z)\,dz + b(t, y)\Big), \qquad f(0, \cdot) = f^I.$$
#
# A residual network has $N$ neurons $y_i$, each with a weight $m_i$ that is its share of $Y$, and $L$ layers. Sampled
# from the kernel, it reads
#
# $$x_{l+1} = x_l + \tfrac{T}{L}\, \sigma(A_l x_l + b_l), \qquad (A_l)_{ij} = w(t_l, y_i, y_j)\, m_j, \qquad
#     (b_l)_i = b(t_l, y_i), \qquad t_l = l\, T / L.$$

# %%
from pathlib import Path

import numpy as np

import fem_selection as fs
from fem_selection import plots
from fem_selection.discretization.coefficients import function_values
from fem_selection.plots.style import COLOURS, WIDTH, create_axes, styled

ensemble = fs.Ensemble()
world = ensemble.world
ensemble = fs.Ensemble(space=world.size)  # one initial state: all ranks share the mesh
HORIZON = 1.0


def w(t, y, z):
    return 3.0 * np.cos(2.0 * t + 3.0 * y) / (1.0 + 4.0 * (y - z) ** 2)


def b(t, y):
    return 0.5 * np.sin(3.0 * t) - y


def f_initial(y):
    return np.cos(3.0 * y) + y


# %% [markdown]
# ## The network
#
# It is a few lines of NumPy, and knows nothing of finite elements. Several networks with the same weights but other
# biases may be the columns of $x$; `shift` is what is added to the biases, shape $(L, \text{columns})$.


# %%
def network(y, m, layers, shift=None):
    """x_L, shape (N, columns)."""
    step = HORIZON / layers
    shift = np.zeros((layers, 1)) if shift is None else shift
    x = np.repeat(f_initial(y)[:, None], shift.shape[1], axis=1)
    for layer in range(layers):
        t = layer * step
        x = x + step * np.tanh((w(t, y[:, None], y) * m) @ x + b(t, y)[:, None] + shift[layer])
    return x


# %% [markdown]
# ## The solver
#
# With a scheme of one stage, Euler's, a step is a layer; Heun and RK4 make blocks of two and of four. Coefficients are
# sampled at the times of the stages.


# %%
def create_space(cells, degree):
    return fs.StateSpace(fs.interval(ensemble.space_comm, cells), degree)


def solve(space, scheme_name, layers, activation=None):
    """f_L at this rank's nodes."""
    scheme = fs.find_scheme(scheme_name)
    grid = fs.DepthGrid(layers=layers, horizon=HORIZON, stage_nodes=scheme.nodes)
    kernel = fs.DenseKernel.interpolate(space, lambda t, y, z: w(t, y[0], z[0]), grid)
    bias = np.stack([function_values(space, lambda t, y: b(t, y[0]), t) for t in grid.sample_times])
    stepper = fs.Stepper(
        space, kernel, bias, activation=activation or fs.find_activation("tanh"), scheme=scheme, grid=grid
    )
    return fs.solve_forward(stepper, np.asfortranarray(f_initial(space.coordinates)), [layers]).final


# %% [markdown]
# On elements of degree 2 with nodal quadrature the weak form reduces to the network with the nodes and weights of
# Simpson's rule. The two share no code.

# %%
space = create_space(20, 2)
y, m = space.gather(space.coordinates)[:, 0], space.gather(space.weights)
difference = float(np.abs(space.gather(solve(space, "euler", 25)) - network(y, m, 25)).max())
if ensemble.is_root:
    print(f"solver and network differ by {difference:.1e}")

# %% [markdown]
# ## Width
#
# All networks are read at the nine neurons $y = k/8$. To see the width alone, networks and solution have the same 16
# Euler layers; the solution has elements of degree 6, whose quadrature has order 12. Elements of degree $p$ have a rule
# of order $2p$: trapezoid and Simpson.

# %%
LISTENERS = np.arange(9) / 8


def read(space, state):
    """The values at y = k/8, from left to right."""
    y = space.gather(space.coordinates)[:, 0]
    nearest = np.abs(y[:, None] - LISTENERS).argmin(axis=0)
    assert np.abs(y[nearest] - LISTENERS).max() < 1e-12
    return space.gather(state)[nearest, 0]


def rates(sizes, errors):
    return -np.diff(np.log(errors)) / np.diff(np.log(sizes))


fine = create_space(16, 6)
layered = read(fine, solve(fine, "euler", 16))
width = {}
for name, degree, cells in (("trapezoid", 1, (8, 16, 32, 64)), ("Simpson", 2, (4, 8, 16, 32))):
    spaces = [create_space(n, degree) for n in cells]
    errors = [np.abs(read(s, solve(s, "euler", 16)) - layered).max() for s in spaces]
    width[name] = [s.num_nodes for s in spaces], errors
    if ensemble.is_root:
        print(f"{name}: errors", *(f"{e:.1e}" for e in errors), "orders", rates(cells, errors).round(2))

# %% [markdown]
# Neurons may also be placed at random, independent and uniform in $(0, 1)$, with equal weights $1/N$: a Monte Carlo
# rule. Nine more of weight zero, which listen to all others and are heard by none, stand at $y = k/8$. The root mean
# square is over 128 draws, of which each rank takes its share.

# %%
DRAWS = 128
sizes, errors = [16, 32, 64, 128, 256], []
for n in sizes:
    squares = 0.0
    for draw in range(world.rank, DRAWS, world.size):
        nodes = np.append(np.random.default_rng([1, n, draw]).random(n), LISTENERS)
        weights = np.append(np.full(n, 1 / n), np.zeros(9))
        squares += np.mean((network(nodes, weights, 16)[n:, 0] - layered) ** 2)
    errors.append(np.sqrt(world.allreduce(squares) / DRAWS))
width["random"] = sizes, errors
random_slope = -np.polyfit(np.log(sizes), np.log(errors), 1)[0]
if ensemble.is_root:
    print("random: errors", *(f"{e:.1e}" for e in errors), f"slope {random_slope:.2f}")

# %% [markdown]
# ## Depth
#
# Now the width is left out: all have the elements of degree 6. The solution has 200 RK4 layers.

# %%
solution = read(fine, solve(fine, "rk4", 200))
layers = (8, 16, 32, 64)
depth = {}
for name in ("euler", "heun", "rk4"):
    depth[name] = layers, [np.abs(read(fine, solve(fine, name, n)) - solution).max() for n in layers]
    if ensemble.is_root:
        print(f"{name}: errors", *(f"{e:.1e}" for e in depth[name][1]), "orders", rates(*depth[name]).round(2))

# %% [markdown]
# ## Biases that are independent from layer to layer
#
# Everything above is about *one* kernel and *one* bias, which all networks sample. Now let the biases be
# $b_l + s\, \zeta_l$ with independent standard normal numbers $\zeta_l$ and $s = 2$. With steps $T/L$ the noise
# averages out, but after $\sigma$, not before it: states approach, like $L^{-1/2}$ in the root mean square,
#
# $$\partial_t f = \bar\sigma(K f + b), \qquad \bar\sigma(g) = \mathbb{E}\, \sigma(g + s\, \zeta),$$
#
# a selection equation with a flatter activation. Only a linear $\sigma$ would have $\bar\sigma = \sigma$. (Noise in the
# kernel does the same, and the average then depends on $f$ too: see `benchmarks/continuum_limit.py`.) An activation is
# a UFL expression; here the expectation is a sum by Gauss and Hermite.

# %%
import ufl
from numpy.polynomial.hermite_e import hermegauss

NOISE = 2.0
zeta, probability = hermegauss(40)
probability = probability / probability.sum()
flat = fs.Activation(
    name="flat",
    expression=lambda g: sum(float(p) * ufl.tanh(g + NOISE * float(z)) for z, p in zip(zeta, probability, strict=True)),
)
coarse = create_space(4, 6)
y, m = coarse.gather(coarse.coordinates)[:, 0], coarse.gather(coarse.weights)
without_noise = coarse.gather(solve(coarse, "rk4", 100))
averaged = coarse.gather(solve(coarse, "rk4", 100, flat))
apart = float(np.sqrt(m @ (without_noise - averaged) ** 2)[0])

depths = [64, 128, 256, 512, 1024]
from_averaged, from_given = [], []
for n in depths:
    x = network(y, m, n, NOISE * np.random.default_rng([2, n]).standard_normal((n, 256)))
    from_averaged.append(np.sqrt(np.mean(m @ (x - averaged) ** 2)))
    from_given.append(np.sqrt(np.mean(m @ (x - without_noise) ** 2)))
noise_slope = -np.polyfit(np.log(depths), np.log(from_averaged), 1)[0]
if ensemble.is_root:
    print(f"distance from the equation with E σ: slope {noise_slope:.2f}")
    print(f"from that with σ: {from_given[-1]:.3f} at last; the two equations are {apart:.3f} apart")

# %% [markdown]
# ## Gaussian weights
#
# The usual initialisation, $A_{ij} \sim N(0, 1/N)$, new in each layer, samples no kernel: $A_{ij} / m_j$ has entries of
# size $\sqrt N$. Set $b = 0$.
#
# * Steps $T/L$: the layers average out to $\mathbb{E}\, \sigma = 0$, and in the limit the network does nothing.
# * Steps $\sqrt{T/L}$: each neuron diffuses, $dx = \sqrt{v(q)}\, dB$ with $v(q) = \mathbb{E} \tanh(\sqrt q\, Z)^2$, $Z$
#   standard normal, and $q = \lim |x|^2 / N$ solves $q' = v(q)$. Two draws on the same neurons then end at the root
#   mean square distance $\sqrt{2\,(q(T) - q(0))}$ of one another, however large $N$ and $L$ are. Averages such as
#   $|x|^2/N$ have a limit; the states have none.


# %%
def gaussian_network(n, step, random):
    """x_L with N = L = n neurons and layers."""
    x = f_initial((np.arange(n) + 0.5) / n)
    for _ in range(n):
        x = x + step * np.tanh(random.standard_normal((n, n)) @ x / np.sqrt(n))
    return x


gaussian_sizes = [16, 32, 64, 128]
distances = {"diffusive": [], "averaging": []}
for n in gaussian_sizes:
    pairs = 1024 // n
    for k, (name, step) in enumerate((("diffusive", np.sqrt(HORIZON / n)), ("averaging", HORIZON / n))):
        squares = 0.0
        for pair in range(world.rank, pairs, world.size):
            one, other = (gaussian_network(n, step, np.random.default_rng([3, k, n, pair, i])) for i in (0, 1))
            squares += np.mean((one - other) ** 2)
        distances[name].append(np.sqrt(world.allreduce(squares) / pairs))

q_initial = float(m @ f_initial(y) ** 2)
q = q_initial
for _ in range(1000):
    q += HORIZON / 1000 * float(probability @ np.tanh(np.sqrt(q) * zeta) ** 2)
spread = np.sqrt(2.0 * (q - q_initial))
averaging_slope = -np.polyfit(np.log(gaussian_sizes), np.log(distances["averaging"]), 1)[0]
if ensemble.is_root:
    print("two draws, steps √(T/L):", *(f"{d:.3f}" for d in distances["diffusive"]), f"in the limit {spread:.3f}")
    print("two draws, steps T/L:", *(f"{d:.3f}" for d in distances["averaging"]), f"slope {averaging_slope:.2f}")

# %% [markdown]
# ## The figure
#
# Dots are networks; dashed lines have the orders of theory, dotted ones are limits that are not zero.


# %%
@styled
def draw():
    """Width, depth, and independent weights."""
    figure, axes = create_axes(1, 3, WIDTH * 1.25, height=3.4)
    blue, red, green, ink = (COLOURS[name] for name in ("blue", "vermilion", "green", "ink"))
    left, middle, right = axes[0]

    def show(panel, sizes, errors, colour, marker, label, order):
        panel.loglog(sizes, errors, marker, color=colour, markersize=4, label=label)
        if order is not None:
            line = errors[-1] * (np.array(sizes) / sizes[-1]) ** -float(order)
            panel.loglog(sizes, line, "--", color=colour, linewidth=0.9)

    show(left, *width["trapezoid"], blue, "o", "trapezoid: $N^{-2}$", 2)
    show(left, *width["Simpson"], red, "s", "Simpson: $N^{-4}$", 4)
    show(left, *width["random"], green, "D", "random: $N^{-1/2}$", 0.5)
    for name, colour, marker, order in (("euler", blue, "o", 1), ("heun", red, "s", 2), ("rk4", green, "D", 4)):
        label = {"euler": "Euler", "heun": "Heun", "rk4": "RK4"}[name]
        show(middle, *depth[name], colour, marker, f"{label}: $L^{{-{order}}}$", order)
    show(right, depths, from_averaged, blue, "o", r"biases, from equation with $\bar\sigma$", 0.5)
    show(right, depths, from_given, red, "s", r"biases, from equation with $\sigma$", None)
    show(right, gaussian_sizes, distances["averaging"], green, "D", r"Gaussian, two draws, steps $T/L$", 0.5)
    show(right, gaussian_sizes, distances["diffusive"], ink, "^", r"Gaussian, two draws, steps $\sqrt{T/L}$", None)
    right.axhline(apart, color=red, linestyle=":", linewidth=0.9)
    right.axhline(spread, color=ink, linestyle=":", linewidth=0.9)
    left.set(title="sampled from one kernel", xlabel="width $N$", ylabel="error")
    middle.set(title="sampled from one kernel", xlabel="depth $L$")
    right.set(title="independent from layer to layer", xlabel="depth $L$ (Gaussian: $N = L$)", ylabel="distance")
    for panel, ticks in ((left, (8, 16, 32, 64, 128, 256)), (middle, layers), (right, (16, 64, 256, 1024))):
        panel.set_xticks(ticks, [str(n) for n in ticks])
        panel.set_xticks([], minor=True)
        panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), handletextpad=0.2)
    return figure


if ensemble.is_root:
    Path("runs").mkdir(exist_ok=True)
    plots.save(draw(), Path("runs") / "continuum_limit.png")

# %% [markdown]
# ## What was shown
#
# * Solver and network are the same sums in another order: $10^{-13}$ is some hundred times their round-off.
# * Observed orders of the finest pairs lie in $[p - 0.1,\, p + 0.4]$; here they are within 0.04 of $p$.
# * The slopes of random experiments have a standard deviation of 0.03 (random neurons) and 0.02 (the others), by a
#   bootstrap over the draws: 0.1 is more than three of these. The seeds are fixed, so that the numbers are the same on
#   any number of ranks.
# * Where a distance has a limit that is not zero, the largest size is set beside it: that of the biases has a standard
#   deviation of 0.3 %, that of the Gaussian weights of 2.4 %. Three of these are 1 % and 8 %.

# %%
assert difference < 1e-13
for sizes, errors, order in (((32, 64), width["trapezoid"][1], 2), ((16, 32), width["Simpson"][1], 4)):
    assert -0.1 < rates(sizes, errors[-2:])[0] - order < 0.4
for name, order in (("euler", 1), ("heun", 2), ("rk4", 4)):
    assert -0.1 < rates(*depth[name])[-1] - order < 0.4
assert abs(random_slope - 0.5) < 0.1 and abs(noise_slope - 0.5) < 0.1 and abs(averaging_slope - 0.5) < 0.1
assert abs(from_given[-1] / apart - 1.0) < 0.01 and abs(distances["diffusive"][-1] / spread - 1.0) < 0.08

# %% [markdown]
# ## What to try next
#
# * Weights read at the middle of a layer, `fs.DepthGrid(layers)` without `stage_nodes`: Heun and RK4 are then of
#   order 2, for a kernel that is constant within a layer is another kernel.
# * A kernel that jumps at $t = 1/3$, inside a layer: order 1 for all; at $t = 1/2$, between two layers: no loss.
# * One Gaussian matrix for all layers: a limit in depth for each draw, none in width.
# * All of these, and noise in the kernel, are in `benchmarks/continuum_limit.py`.
#
# ## References
#
# H. Liu, P. Markowich, Selection dynamics for deep neural networks, J. Differential Equations 269 (2020) 11540–11574,
# [arXiv:1905.09076](https://arxiv.org/abs/1905.09076).
# R. Kress, Linear Integral Equations, [doi:10.1007/978-1-4614-9593-2](https://doi.org/10.1007/978-1-4614-9593-2),
# chapter 12 (Nyström's method).
# A. Cohen, R. Cont, A. Rossier, R. Xu, Scaling properties of deep residual networks, ICML 2021,
# [arXiv:2105.12245](https://arxiv.org/abs/2105.12245) (ordinary and stochastic differential equations as limits).
# P. Marion, A. Fermanian, G. Biau, J.-P. Vert, Scaling ResNets in the large-depth regime,
# [arXiv:2206.06929](https://arxiv.org/abs/2206.06929) (steps $1/L$ and $1/\sqrt{L}$).
