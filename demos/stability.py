# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # How stable is a trained network?
#
# This demo trains the digits network (`digits.toml`) shortly and shows what `fem-selection stability DIR` computes:
#
# * each layer's frozen equation: its steady state, the spectrum of the linearization there, and a verdict;
# * the finite-time Lyapunov exponents of the whole network, for states and for their adjoints: how much perturbations
#   of an image grow on their way through the layers, and gradients on their way back (do they vanish or explode?);
# * that the two are the same numbers, and that the gradients of the loss obey them.
#
# ## The problem
#
# An image is a function $f^I$ on the unit square $Y$; its state $f(t, y)$ at depth $t \in [0, T]$ and neuron $y$ obeys
#
# $$\partial_t f = \sigma(g), \qquad g = K(t) f + b(t), \qquad (K f)(y) = \int_Y w(t, y, z)\, f(t, z)\, dz,
#     \qquad \sigma = \tanh,$$
#
# with a kernel $w$ and a bias $b$ that were learned and are constant in each of ten layers of length $\Delta t = 0.2$,
# one step of Euler's method. Perturbations $v$ of the state and the costate $p$, which carries the derivative of the
# loss, obey
#
# $$\partial_t v = A v, \qquad -\partial_t p = A^* p, \qquad A(t) = \sigma'(g(t))\, K(t),$$
#
# $A^*$ the adjoint in $L^2(Y)$. Let $\Phi$ be the map from $v(0)$ to $v(T)$, here the product of the ten layers'
# $I + \Delta t\, A_n$. Its singular values $s_1 \ge s_2 \ge \dots$ in $L^2$ are those of $\Phi^*$, the map from
# $p(T)$ to $p(0)$, and
#
# $$\lambda_i = \tfrac{1}{T} \log s_i$$
#
# are the finite-time Lyapunov exponents, one set for each image.

# %%
from pathlib import Path

import numpy as np

import fem_selection as fs
from fem_selection import plots, steady
from fem_selection.adjoint import sweep_back
from fem_selection.plots.style import COLOURS, WIDTH, create_axes, styled

# %% [markdown]
# ## The network
#
# 64 neurons, ten layers. Twenty-five epochs of Adam instead of the 250 of the case file; all 64 exponents of twelve
# images.

# %%
short = ["stochastic.epochs=25", "stability.exponents=64", "stability.samples=12", "parallel.space=1"]
case = fs.load_case(Path(__file__).parent / "digits.toml", short)
problem = fs.build_problem(case)
batches = problem.batches(case.stochastic.batch)
adam = fs.optimize.descend(
    problem.scaled_functional, problem.scaled_start, case.stochastic, source=batches, seed=case.seed
)
control = problem.scaled_functional.to_controls(adam.scaled_solution)
accuracy = problem.accuracy(problem.test, control)
is_root = problem.ensemble.is_root
if is_root:
    print(f"test accuracy {accuracy:.4f}")

# %% [markdown]
# ## Layer by layer
#
# A layer's $(w, b)$, held fixed for all times, is an autonomous equation. `network_stability` looks for its steady
# state $f^*$, $K f^* + b = 0$, from the mean over all images' states; where Newton's method finds none it takes the
# mean state itself, and says so: `at` is "steady" or "mean".

# %%
found = fs.studies.network_stability(problem, control, case.stability)
if is_root:
    print("layer  linearized  from the mean  leading eigenvalue  growing  verdict")
    for layer in found.layers:
        growing = int(np.sum(layer.spectrum.values.real > 0))
        print(f"{layer.interval:5d}  {layer.at:10s}  {layer.distance:13.2f}  {layer.spectrum.values[0]:18.2f}  "
              f"{growing:7d}  {layer.verdict.kind}")  # fmt: skip
    print(found.sentence)

# %% [markdown]
# In words: each layer by itself has a steady state, and each is unstable in about half of all directions, with rates of
# about ten: if one layer went on for ever, states near $f^*$ would leave it like $e^{10\, t}$. But each acts for 0.2
# only, the next one has other unstable directions, and the images are not at $f^*$, where $\sigma' = 1$: along their
# trajectories $\tanh$ has saturated at most neurons, and its mean slope is far below 1.

# %%
space, stepper = problem.space, problem.functional.stepper
problem.functional.set_controls(control)
images = np.asfortranarray(problem.train.states(np.arange(12), None))


def preactivation(n, block, bias=0.0):
    """K_n applied to a block, and a bias."""
    g = np.zeros_like(block, order="F")
    stepper.kernel.apply(n, block, g)
    return g + bias


states, slopes = images, []
for n in range(stepper.grid.layers):
    value = np.tanh(preactivation(n, states, stepper.bias[n][:, None]))
    slopes.append(1.0 - value**2)
    states = np.asfortranarray(states + stepper.grid.step * value)
slope = float(np.mean(slopes))
if is_root:
    print(f"mean of tanh' over layers, neurons and images: {slope:.3f}")

# %% [markdown]
# No spectrum of one layer says what the network does. The exponents do.
#
# ## The whole depth
#
# `found.exponents` holds them twice: `state` from a sweep forward by the layers' tangents, `adjoint` from one back by
# the layers' adjoints, the code that computes gradients. They are the same numbers, and it depends on neither: $\Phi$
# and $\Phi^*$ have the same singular values. (Measured in the direction of increasing $t$, in which costates are never
# computed, the adjoint's would be the negatives.)

# %%
exponents = found.exponents
duality = float(np.max(np.abs(exponents.state - exponents.adjoint)))
if is_root:
    outermost = exponents.state[:3, [0, -1]].round(3).tolist()
    print(f"largest and smallest exponents of the first three images: {outermost}")
    print(f"amplification by up to {exponents.amplification.max():.2f}, damping to {exponents.amplification.min():.3f}")
    print(f"state and adjoint differ by {duality:.1e}")

# %% [markdown]
# A witness: for the first image, the product of the ten dense matrices $I + \Delta t\, \sigma'(g_n) K_n$ and its
# singular values by LAPACK, in the inner product of the nodal weights $m$: $s_i = s_i(m^{1/2}\, \Phi\, m^{-1/2})$.

# %%
product, identity = np.eye(space.num_nodes), np.eye(space.num_nodes, order="F")
for n in range(stepper.grid.layers):
    product = product + stepper.grid.step * slopes[n][:, :1] * (preactivation(n, identity) @ product)
root = np.sqrt(space.weights)
values = np.linalg.svd(root[:, None] * product / root, compute_uv=False)
witness = float(np.max(np.abs(np.log(values) / exponents.horizon - exponents.state[0])))
if is_root:
    print(f"from the dense product by {witness:.1e}")

# %% [markdown]
# ## Do gradients vanish or explode?
#
# The costate $p(T)$ of each image is the derivative of its cross-entropy; the adjoint sweep carries it back to $p(0)$.
# The quotient of the norms must lie between $e^{\lambda_{64} T}$ and $e^{\lambda_1 T}$, whatever the loss.

# %%
tape = stepper.tape(images.shape[1])
final = stepper.advance(images, tape)
_, dual = problem.functional.cost.evaluate(final, problem.train.targets[:, :12], 1.0)
at_end = space.norm(space.riesz(dual))
sweep_back(stepper, tape, dual, kernel_pullback=None, bias_dual=None, to_initial=True)
measured = space.norm(space.riesz(dual)) / at_end
largest, smallest = exponents.amplification[:, 0], exponents.amplification[:, -1]
if is_root:
    print("gradients grow on their way back by", measured.round(2))
    print("bounds from above                  ", largest.round(2))

# %% [markdown]
# So they do neither: at most they grow by a factor of a few. How far is it to where they would? All controls are
# multiplied by $\theta$: at $\theta = 0$ each layer is the identity and all exponents vanish, the advantage of
# residual networks; beyond the trained network, $\theta = 1$, the range widens to both sides. Up to there the largest
# singular value need not grow with $\theta$: larger controls also saturate $\tanh$.

# %%
SCALES = np.array([0.0, 0.25, 0.5, 1.0, 2.0, 4.0])
spread = []
for scale in SCALES:
    problem.functional.set_controls(scale * control)
    spread.append(steady.finite_time_exponents(stepper, images, space.num_nodes).state * exponents.horizon)
problem.functional.set_controls(control)
highest, lowest = (np.array([f(logs) for logs in spread]) for f in (np.max, np.min))
if is_root:
    for scale, high, low in zip(SCALES, highest, lowest, strict=True):
        print(f"theta = {scale:4.2f}: singular values from {np.exp(low):.3g} to {np.exp(high):.3g}")

# %% [markdown]
# ## The figures
#
# `stability_spectrum.png` and `stability_exponents.png` are those of the command; the third shows the measured
# gradients between their bounds, and the widening range.


# %%
@styled
def draw():
    """Gradients between their bounds; singular values over the scale of the controls."""
    figure, grid = create_axes(1, 2, WIDTH, height=2.8)
    left, right = grid[0]
    numbers = np.arange(len(measured))
    left.vlines(numbers, smallest, largest, color=COLOURS["blue"], linewidth=1.0, label="from $s_{64}$ to $s_1$")
    left.plot(numbers, measured, "o", color=COLOURS["vermilion"], markersize=3.5, label="gradient of the loss")
    left.set(xlabel="image", ylabel=r"$\|p(0)\| / \|p(T)\|$", yscale="log")
    left.set_ylim(None, 4.0 * largest.max())
    left.legend(loc="upper left", ncols=2, columnspacing=1.0)
    right.plot(SCALES, highest, "o-", color=COLOURS["blue"], label=r"$\log s_1$, largest of all images")
    right.plot(SCALES, lowest, "o-", color=COLOURS["green"], label=r"$\log s_{64}$, smallest")
    right.axvline(1.0, color=COLOURS["muted"], linestyle=":", label="trained")
    right.set(xlabel=r"controls, times $\theta$")
    right.legend()
    return figure


if is_root:
    folder = Path("runs")
    folder.mkdir(exist_ok=True)
    times = np.array([layer.time for layer in found.layers])
    steady_layers = [layer.at == "steady" for layer in found.layers]
    spectra = [layer.spectrum.leading for layer in found.layers]
    plots.save(plots.plot_layer_spectra(times, spectra, steady_layers), folder / "stability_spectrum.png")
    figure = plots.plot_exponents(exponents.state, exponents.adjoint, exponents.horizon)
    plots.save(figure, folder / "stability_exponents.png")
    plots.save(draw(), folder / "stability_gradients.png")

# %% [markdown]
# ## What is asserted
#
# With all 64 vectors in the block two sweeps give the exponents to round-off, times the condition of $\Phi$, some
# hundreds: 1e-10 is generous. The bound on the gradients is a theorem about the discrete network and may be violated
# by round-off alone.

# %%
assert accuracy > 0.9 and slope < 0.3
assert all(layer.at == "steady" and layer.verdict.kind == "unstable" for layer in found.layers)
assert duality < 1e-10 and witness < 1e-10
assert np.all(measured <= largest * (1 + 1e-10)) and np.all(measured >= smallest * (1 - 1e-10))
assert np.max(np.abs(spread[0])) < 1e-12
assert highest[-1] > highest[3] > 0 > lowest[3] > lowest[-1]

# %% [markdown]
# ## What to try next
#
# * The full network: `fem-selection train demos/digits.toml --output runs/digits`, then
#   `fem-selection stability runs/digits`.
# * `"dynamics.scheme=rk4"` among the settings: is the range of exponents one of the equation or of Euler's method?
# * `digits_optimal.toml`, whose regularization is $10^4$ times as large: how much smaller are the exponents?
#
# ## References
#
# G. Benettin et al., Meccanica 15 (1980) 9, [doi:10.1007/BF02128236](https://doi.org/10.1007/BF02128236).
# Y. Bengio, P. Simard, P. Frasconi, IEEE Trans. Neural Networks 5 (1994) 157,
# [doi:10.1109/72.279181](https://doi.org/10.1109/72.279181).
# H. Liu, P. Markowich, J. Differential Equations 269 (2020) 11540, [arXiv:1905.09076](https://arxiv.org/abs/1905.09076).
