# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # First steps: from a mesh to an optimal control
#
# This demo shows, in the order in which the package is built,
#
# * the selection equation on an interval, and its discretisation by finite elements in the width $y$ and layers in
#   the depth $t$;
# * the forward problem for many samples at once;
# * a learning problem, its exact gradient, and the test that the gradient is right;
# * the minimisation of the objective by TAO, independent of the mesh.
#
# ## The problem
#
# On $Y = (0, 1)$, the continuum of neurons, each sample $j$ has a state $f_j(t, y)$ with
#
# $$\partial_t f_j = \sigma\Big(\int_Y w(t, y, z)\, f_j(t, z)\,dz + b(t, y)\Big), \qquad f_j(0, \cdot) = f^I_j,
# \qquad \sigma = \tanh.$$
#
# The kernel $w$ and the bias $b$ are the controls. They shall steer each $f_j$ to a target $g_j$ at depth $T = 1$ at
# little cost:
#
# $$J(w, b) = \frac{\mu}{J} \sum_j \tfrac12 \|f_j(T) - g_j\|^2
#     + \int_0^T \Big(\frac{\alpha}{2}\|w\|^2_{L^2(Y \times Y)} + \frac{\alpha}{2}\|b\|^2_{L^2(Y)}\Big)\,dt.$$

# %%
from pathlib import Path

import numpy as np

import fem_selection as fs

# %% [markdown]
# ## Space and depth
#
# An `Ensemble` splits the ranks: here all of them share the samples (`space=1`). The state space has Lagrange elements
# of degree 2 on Gauss–Lobatto–Legendre nodes, in the collocated mode, in which the weak form reduces to
# $F' = \sigma(W \operatorname{diag}(m) F + b)$ on nodal values: the residual network itself. Sixteen layers of Heun's
# scheme cover $[0, T]$.

# %%
ensemble = fs.Ensemble()
space = fs.StateSpace(fs.interval(ensemble.space_comm, cells=12), degree=2)
grid = fs.DepthGrid(layers=16, horizon=1.0)
kernel = fs.DenseKernel(space, grid.intervals)
bias = np.zeros((grid.intervals, space.num_local))
stepper = fs.Stepper(
    space, kernel, bias, activation=fs.find_activation("tanh"), scheme=fs.find_scheme("heun"), grid=grid
)

# %% [markdown]
# ## Samples
#
# Six initial states, shifted sines, are to become shifted and damped cosines. A block holds one sample in each column;
# each member of the ensemble takes its share of the columns.

# %%
num_samples = 6
y = space.coordinates[:, :1]
phase = np.linspace(0.0, 1.0, num_samples)[None, ensemble.samples(num_samples)]
initial = np.asfortranarray(np.sin(2 * np.pi * (y + 0.3 * phase)))
target = np.asfortranarray(0.5 * np.cos(2 * np.pi * (y + 0.3 * phase)))

# %% [markdown]
# ## The reduced functional and its gradient
#
# `ControlSpace` fixes what is optimised and its inner product; `Functional` maps a control to $J$ by forward sweeps
# and to $J'$ by one backward sweep of the exact discrete adjoint. `verify_gradient` measures the order of the Taylor
# remainder, which is 2 for the right derivative and 1 for a wrong one, and the adjoint identity.

# %%
controls = fs.ControlSpace(ensemble, space, kernel, grid=grid, num_outputs=0, parts=("kernel", "bias"))
regularization = fs.Regularization(kernel=0.05, bias=0.05)
functional = fs.Functional(
    controls,
    stepper,
    fs.TrackingCost(space=space),
    initial=initial,
    targets=target,
    num_samples=num_samples,
    regularization=regularization,
    weight=10.0,
)
start = np.zeros(controls.shard.stop - controls.shard.start)
certificate = fs.verify_gradient(functional, start)
if ensemble.is_root:
    print(f"Taylor order {certificate.taylor_order:.3f}, adjoint identity {certificate.adjoint_identity_error:.1e}")

# %% [markdown]
# ## Minimisation
#
# The optimizer works in $\hat x = M_L^{1/2} x$, in which the $L^2$ inner product of the controls is the Euclidean one:
# its iterations do not grow as the mesh is refined.

# %%
scaled = fs.ScaledFunctional(functional)
lmvm = fs.OptimizerSettings(method="lmvm", max_iterations=500, gradient_tolerance=1e-4, memory=20)
report = fs.minimize(scaled, scaled.to_scaled(start), lmvm)
if ensemble.is_root:
    print(f"J = {report.objective:.6f} after {report.iterations} iterations: {report.reason}")

# %% [markdown]
# ## The optimal states
#
# The figure shows the trajectories of three samples under the optimal control.

# %%
functional.set_controls(scaled.to_controls(report.scaled_solution))
shown = np.asfortranarray(np.sin(2 * np.pi * (y + 0.3 * np.array([[0.0, 0.4, 1.0]]))))
trajectory = fs.solve_forward(stepper, shown)
states = np.stack([space.gather(f) for f in trajectory.states])
coordinates = space.gather(space.coordinates)
if ensemble.is_root:
    from fem_selection import plots

    figure = plots.plot_states(coordinates, states, trajectory.times, titles=["s = 0", "s = 0.4", "s = 1"])
    folder = Path("runs")
    folder.mkdir(exist_ok=True)
    plots.save(figure, folder / "first_steps.png")

# %% [markdown]
# ## One number
#
# The minimal value belongs to the continuous problem up to the discretisation error: $J = 0.20442$ here, 0.20438 on 24
# cells and 0.20439 on 48. A relative gradient of $10^{-4}$ leaves an error of a few $10^{-6}$ in $J$, so five digits
# of the first number can be asserted on any number of ranks.

# %%
EXPECTED_OBJECTIVE = 0.20442
assert certificate.taylor_order > 1.95
assert certificate.adjoint_identity_error < 1e-12
assert abs(report.objective - EXPECTED_OBJECTIVE) < 1e-5

# %% [markdown]
# ## What to try next
#
# * `degree=1`, `cells=48`, or `mode="galerkin"`: the same $J$ up to the discretisation error.
# * another activation, `fs.Activation("cubic", lambda s: s - s**3 / 9)`.
# * the same program on three ranks: `mpiexec -n 3 python demos/first_steps.py`.
#
# ## References
#
# H. Liu, P. Markowich, Selection dynamics for deep neural networks, J. Differential Equations 269 (2020) 11540–11574,
# arXiv:1905.09076.
