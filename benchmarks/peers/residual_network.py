# SPDX-License-Identifier: MIT
"""Finite residual networks and two continuum equations in NumPy and SciPy alone: the witnesses of the PDE solver.

    x_{l+1} = x_l + (T/L) σ(A_l x_l + b_l),      (A_l)_ij = w(t_l, y_i, y_j) m_j

on nodes y_i ∈ (0, 1) with weights m_i; Heun and RK4 blocks have several such stages.  The equation that they approach
is solved by Nyström's method on one Gauss rule and DOP853.  A neuron of weight zero listens to all others and is heard
by none: it evaluates the Nyström interpolant at any y.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from numpy.polynomial.legendre import leggauss
from scipy.integrate import solve_ivp

HORIZON = 1.0
BLOCKS = {
    "Euler": (1, ((),), (1.0,)),
    "Heun": (2, ((), (1.0,)), (0.5, 0.5)),
    "RK4": (4, ((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6)),
}
"""Order and Butcher tableau of a layer; Euler's is the plain residual network."""

_A, _B = 0.5 * 3**-0.5, 0.5 * 5**-0.5
RULES = {
    "midpoint": (2, (0.5,), (1.0,)),
    "trapezoid": (2, (0.0, 1.0), (1 / 2, 1 / 2)),
    "Simpson": (4, (0.0, 0.5, 1.0), (1 / 6, 2 / 3, 1 / 6)),
    "Gauss, 2 points": (4, (0.5 - _A, 0.5 + _A), (1 / 2, 1 / 2)),
    "Gauss–Lobatto, 4 points": (6, (0.0, 0.5 - _B, 0.5 + _B, 1.0), (1 / 12, 5 / 12, 5 / 12, 1 / 12)),
}
"""Order, nodes and weights on one panel (0, 1)."""

Kernel = Callable[[float, np.ndarray, np.ndarray], np.ndarray]


def kernel(t, y, z):
    """w(t, y, z): smooth, not symmetric, of no finite rank."""
    return 3.0 * np.cos(2.0 * t + 3.0 * y) / (1.0 + 4.0 * (y - z) ** 2)


def bias(t, y):
    """b(t, y)."""
    return 0.5 * np.sin(3.0 * t) - y


def initial(y):
    """f^I(y)."""
    return np.cos(3.0 * y) + y


def composite(rule: str, panels: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of a rule on equal panels; panels share the nodes at their ends."""
    _, points, weights = RULES[rule]
    y = np.add.outer(np.arange(panels), points) / panels
    m = np.broadcast_to(np.array(weights) / panels, y.shape)
    if points[0] > 0.0:
        return y.ravel(), m.ravel()
    shared = np.zeros(panels * (len(points) - 1) + 1)
    np.add.at(shared, np.add.outer(np.arange(panels) * (len(points) - 1), np.arange(len(points))), m)
    return np.append(y[:, :-1].ravel(), 1.0), shared


def gauss(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss's rule of n points on (0, 1)."""
    x, weights = leggauss(n)
    return 0.5 + 0.5 * x, 0.5 * weights


def residual_network(
    y: np.ndarray,
    m: np.ndarray,
    layers: int,
    block: str = "Euler",
    frozen: float | None = None,
    w: Kernel = kernel,
    span: tuple[float, float] = (0.0, HORIZON),
    start: np.ndarray | None = None,
) -> np.ndarray:
    """x_L, shape (N,).

    Args:
        y: Nodes.
        m: Their weights.
        layers: L, in the time `span`.
        block: A layer's stages.
        frozen: Where in a layer, from 0 to 1, the weights of all its stages are read; None: at each stage's own time.
        w: The kernel that is sampled.
        span: Times of the first and the last state.
        start: x_0; f^I at the nodes by default.
    """
    _, rows, combination = BLOCKS[block]
    step = (span[1] - span[0]) / layers
    x = initial(y) if start is None else start
    for layer in range(layers):
        slopes: list[np.ndarray] = []
        for row in rows:
            t = span[0] + (layer + (sum(row) if frozen is None else frozen)) * step
            stage = x + step * sum(a * slope for a, slope in zip(row, slopes, strict=True))
            slopes.append(np.tanh((w(t, y[:, None], y) * m) @ stage + bias(t, y)))
        x = x + step * sum(c * slope for c, slope in zip(combination, slopes, strict=True))
    return x


def nystrom(y: np.ndarray, rate: Callable[..., np.ndarray] | None = None, points: int = 48) -> np.ndarray:
    """f(T, y) at any y, to about 1e-12.

    Args:
        y: Where; these are neurons of weight zero.
        rate: ∂_t f as a function of t, of f at the points and of (nodes, Gauss nodes, their weights); the selection
            equation by default.
        points: Of the Gauss rule.
    """
    z, m = gauss(points)
    nodes = np.concatenate([z, y])

    def selection(t, x, nodes, z, m):
        return np.tanh((kernel(t, nodes[:, None], z) * m) @ x[: z.size] + bias(t, nodes))

    right = rate or selection
    found = solve_ivp(
        lambda t, x: right(t, x, nodes, z, m), (0, HORIZON), initial(nodes), method="DOP853", rtol=1e-13, atol=1e-14
    )
    return found.y[points:, -1]


# ── weights that are independent from layer to layer ──────────────────────────────────────────────────────────────────


def noise_profile(y, z):
    """φ of the disturbance ξ_l(y, z) = s ζ_l φ(y, z)."""
    return np.cos(np.pi * (y - z))


def disturbed_network(y, m, layers: int, draws: int, size: float, seed: int, is_linear: bool = False) -> np.ndarray:
    """Euler layers with the kernel w + ξ_l, ζ_l independent standard normal numbers, shape (N, draws)."""
    numbers = np.random.default_rng([seed, layers]).standard_normal((layers, draws))
    step, x = HORIZON / layers, np.repeat(initial(y)[:, None], draws, axis=1)
    phi = noise_profile(y[:, None], y) * m
    for layer in range(layers):
        t = layer * step
        g = (kernel(t, y[:, None], y) * m) @ x + bias(t, y)[:, None] + size * numbers[layer] * (phi @ x)
        x = x + step * (g if is_linear else np.tanh(g))
    return x


def averaged(y: np.ndarray, size: float, is_linear: bool = False) -> np.ndarray:
    """f(T, y) of ∂_t f = E σ(K f + b + s ζ Φ f); with s = 0 the mean kernel's equation, and for linear σ the same."""
    zeta, probabilities = hermegauss(40)
    probabilities = probabilities / probabilities.sum()

    def rate(t, x, nodes, z, m):
        heard = x[: z.size]
        g = (kernel(t, nodes[:, None], z) * m) @ heard + bias(t, nodes)
        spread = size * (noise_profile(nodes[:, None], z) * m) @ heard
        return g if is_linear else np.tanh(g[:, None] + spread[:, None] * zeta) @ probabilities

    return nystrom(y, rate)


def gaussian_networks(width: int, layers: int, seed: int, draw: int, gain: float = 1.0) -> dict[str, np.ndarray]:
    """Networks of one draw of A_ij ~ N(0, gain²/N), σ = tanh, no bias, f^I at midpoints; states after all layers.

    "diffusive": x + (T/L)^{1/2} σ(A_l x), a new A in each layer; "averaging": x + (T/L) σ(A_l x), the same A_l; "one
    matrix": x + (T/L) σ(A x), A = A_0 in all layers.
    """
    random = np.random.default_rng([seed, width, layers, draw])
    step, scale = HORIZON / layers, gain / np.sqrt(width)
    start = initial((np.arange(width) + 0.5) / width)
    diffusive = averaging = tied = start
    first: np.ndarray | None = None
    for _ in range(layers):
        a = scale * random.standard_normal((width, width))
        first = a if first is None else first
        diffusive = diffusive + np.sqrt(step) * np.tanh(a @ diffusive)
        averaging = averaging + step * np.tanh(a @ averaging)
        tied = tied + step * np.tanh(first @ tied)
    return {"diffusive": diffusive, "averaging": averaging, "one matrix": tied}


def mean_square(gain: float = 1.0) -> tuple[float, float]:
    """q(0) and q(T) of q' = E tanh(gain q^{1/2} Z)², Z standard normal: the limit of ‖x‖²/N of diffusive networks."""
    zeta, probabilities = hermegauss(80)
    probabilities = probabilities / probabilities.sum()
    z, m = gauss(48)
    start = float(m @ initial(z) ** 2)
    found = solve_ivp(
        lambda t, q: [probabilities @ np.tanh(gain * np.sqrt(q[0]) * zeta) ** 2],
        (0, HORIZON),
        [start],
        method="DOP853",
        rtol=1e-12,
    )
    return start, float(found.y[0, -1])
