# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Is this network optimal?
#
# This demo trains a network on handwritten digits as an optimal control problem (`digits_optimal.toml`) and then asks
# it every condition that an optimum satisfies:
#
# * the variational one: the $L^2$ gradient vanishes, and with it the residual of the state-costate-control system;
# * the second-order one: the lowest eigenvalue of the Hessian, $J''(u)\,v = \lambda M v$, is positive;
# * Pontryagin's: at each depth the control minimises the Hamiltonian, neuron by neuron and globally,
#   $$H(t, f, p, w, b) = \sum_j \langle p_j, \sigma(K f_j + b)\rangle
#       + \tfrac{\alpha_w}{2}\|w\|^2 + \tfrac{\alpha_b}{2}\|b\|^2,$$
#   and $H$ is constant along the trajectory, up to $O(\Delta t)$;
# * the representer form: a stationary kernel is $w = -\frac{1}{\alpha_w}\sum_j q_j \otimes f_j$, so its rank is at most
#   the number of samples.
#
# Symbols: $f_j(t, y)$ the state of image $j$ at depth $t$ and neuron $y$, $p_j$ its costate, $w, b$ kernel and bias,
# $q_j = \sigma'(K f_j + b)\,p_j$.

# %%
from pathlib import Path

import fem_selection as fs

# %% [markdown]
# ## The network
#
# 1437 images as functions on the unit square, 64 neurons, ten layers, tanh. L-BFGS until the gradient has fallen by
# $3 \cdot 10^{-4}$.

# %%
case = fs.load_case(Path(__file__).parent / "digits_optimal.toml")
problem = fs.build_problem(case)
lmvm = fs.OptimizerSettings(method="lmvm", max_iterations=2000, gradient_tolerance=3e-4, memory=20)
report = fs.minimize(problem.scaled_functional, problem.scaled_start, lmvm)
control = problem.scaled_functional.to_controls(report.scaled_solution)
accuracy = problem.accuracy(problem.test, control)
if problem.ensemble.is_root:
    print(f"objective {report.objective:.5f} after {report.iterations} iterations, test accuracy {accuracy:.4f}")

# %% [markdown]
# ## The certificate
#
# `certify` takes any control. The Hamiltonian is not convex in the control, so each of the 640 minimisations (64
# neurons at ten depths) begins at several points: here at the present control and at zero; by default at multiples of
# the costates and at random ones too. The gap that it finds is a lower bound of the true one.

# %%
found = fs.studies.certify(problem, control, fs.CertificateSettings(starts=2, eigenvalue_tolerance=1e-2))
certificate = found.certificate


def show(name: str, found: fs.learning.OptimalityCertificate) -> None:
    """Print the numbers of a certificate."""
    print(f"{name}: objective {found.objective:.5f}")
    print(f"  |gradient|              {found.gradient_norm:.2e}")
    print(f"  maximum-principle gap   {found.maximum_principle_gap:.2e}")
    print(f"  drift of H              {found.hamiltonian_drift:.4f}")
    print(f"  lowest Hessian value    {found.lowest_hessian_eigenvalue:.5f}")
    print(f"  rank of the kernels     {found.kernel_rank}")


if problem.ensemble.is_root:
    show("trained", certificate)
    print("\n".join(found.verdict))
    Path("runs").mkdir(exist_ok=True)
    found.draw(Path("runs"))  # certificate.png; `found.write(folder)` writes the numbers too

# %% [markdown]
# ## A control that is not optimal
#
# The same control, stretched by a tenth, costs 1.5 % more; Pontryagin's conditions notice it by eight decades.

# %%
from fem_selection.learning import Extremals

extremals = Extremals(problem.functional)
value, _ = extremals.sweep(1.1 * control)
wrong = extremals.minimize(fs.adjoint.Search(starts=2))
if problem.ensemble.is_root:
    print(f"stretched: objective {value:.5f}, maximum-principle gap {wrong.gap:.2e}, drift of H {wrong.drift:.4f}")

# %% [markdown]
# ## What is asserted
#
# The gap is of the size of the squared gradient, here below $10^{-8}$; a tenth more of the control opens one of
# $10^{-2}$. The lowest eigenvalue, 0.0014, lies below the regularization's 0.01: curvature of tanh, seen through the
# costates, uses up most of what the penalty gives, but not all of it: the control is a strict local minimiser.

# %%
assert certificate.maximum_principle_gap < 1e-7
assert wrong.gap > 1e4 * certificate.maximum_principle_gap
assert 0.0 < certificate.lowest_hessian_eigenvalue < 0.01

# %% [markdown]
# ## What to try next
#
# * `fem-selection train demos/digits_optimal.toml` and then `fem-selection certify DIR` do the same in a run's folder.
# * `demos/gap.toml`: a stationary point with a positive Hessian that Pontryagin's principle refutes.
#
# ## References
#
# P. Markowich, S. Portaro, PDE models for deep neural networks: learning theory, calculus of variations and optimal
# control, arXiv:2411.06290.
