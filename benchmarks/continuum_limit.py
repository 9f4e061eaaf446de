# SPDX-License-Identifier: MIT
"""Residual networks of width N and depth L sampled from one kernel, and their distance from the PDE's solution.

    uv run --group bench python benchmarks/continuum_limit.py [--draws D]

    x_{l+1} = x_l + (T/L) σ(A_l x_l + b_l),   A_l = w(t_l, y_i, y_j) m_j   →   ∂_t f = σ(∫ w(t, y, z) f(t, z) dz + b)

The networks are NumPy's (`peers/residual_network.py`), the solution is the package's: elements of degree 6 and adaptive
steps, itself set beside Gauss–Nyström with SciPy's DOP853.  Errors are the largest over the nodes.

*Width*: composite rules of order p, error O(N^-p); depth is left out, for networks and solution have the same 16 RK4
layers.  Nodes drawn at random, equal weights, 4 RK4 layers: N^{-1/2} in the root mean square over draws and nodes.
*Depth*: Euler layers 1/L, Heun and RK4 blocks their orders, weights frozen within a layer, kernels that jump in t;
width is left out by a Gauss rule of 32 points.  *Both*: Euler layers on trapezoids, L = N²/4.

*Weights independent from layer to layer* do not have this limit.

1. Kernel w + ξ_l, ξ_l = s ζ_l φ(y, z), ζ_l independent and normal.  With steps T/L, states approach, like L^{-1/2} in
   the root mean square, ∂_t f = E σ(K f + b + s ζ Φ f): the equation of the mean kernel w if σ is linear, another one
   if it is not.
2. Gaussian weights A_ij ~ N(0, 1/N), new in each layer, no bias.  With steps (T/L)^{1/2} each neuron diffuses, and two
   draws on the same nodes stay apart however large N and L are: by (2 (q(T) − q(0)))^{1/2} in the root mean square,
   q' = E tanh(q^{1/2} Z)².  ‖x‖²/N has the limit q, the states have none.  With steps T/L the weights average out, and
   in the limit the network does nothing.
3. One such matrix in all layers: a limit in depth, none in width.  As a kernel, A_ij / m_j, its L² norm is about
   N^{1/2}.

Observed orders are those of the finest pair of sizes, in random experiments least-squares slopes over all sizes.  The
last line is the largest deviation of an observed order from the declared one.

References:
    A. Cohen, R. Cont, A. Rossier, R. Xu, Scaling properties of deep residual networks, ICML 2021, arXiv:2105.12245.
    P. Marion, A. Fermanian, G. Biau, J.-P. Vert, Scaling ResNets in the large-depth regime, arXiv:2206.06929.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from common import PEERS, machine, print_table, save_results, versions
from matplotlib.figure import Figure

import fem_selection as fs
from fem_selection.plots.style import COLOURS, WIDTH, create_axes, styled

sys.path.insert(0, str(PEERS))

import residual_network as peer
from ours_continuum import Solution, by_stepper

LAYERS = 16
JUMP = 1 / 3
ROUND_OFF, AGREEMENT = 1e-13, 1e-11
NOISE = 2.0
SEED = 20190518


@dataclass(frozen=True)
class Study:
    """Errors of one family at growing sizes.

    Attributes:
        name: What is sampled, and how.
        sizes: What the order refers to: panels of a rule (N is proportional to them up to one node), layers, or N.
        errors: At these sizes.
        declared: The order that theory says.
        is_random: Whether the order is a least-squares slope over all sizes.
        limit: What the errors tend to, if that is positive and known; there is no order then.
    """

    name: str
    sizes: tuple[int, ...]
    errors: tuple[float, ...]
    declared: float
    is_random: bool = False
    limit: float = 0.0

    @property
    def orders(self) -> np.ndarray:
        """Between consecutive sizes."""
        return -np.diff(np.log(self.errors)) / np.diff(np.log(self.sizes))

    @property
    def observed(self) -> float:
        """The order of the finest pair, or the slope."""
        slope = -np.polyfit(np.log(self.sizes), np.log(self.errors), 1)[0]
        return float(slope if self.is_random else self.orders[-1])


def witnesses(solution: Solution, exact: np.ndarray) -> dict[str, float]:
    """What has to agree, in the largest difference over the nodes."""
    found = {"solution, and Gauss–Nyström with DOP853": abs(exact - peer.nystrom(solution.nodes)).max()}
    between = np.linspace(0, 1, 1001)
    found["the same between the nodes"] = abs(solution.at(exact, between) - peer.nystrom(between)).max()
    for degree, name in enumerate(("midpoints", "trapezoid", "Simpson"), 0):
        family = "lagrange" if degree else "dg"
        space = fs.StateSpace(fs.interval(fs.Ensemble().space_comm, 20), degree, family)
        y, m = space.gather(space.coordinates)[:, 0], space.gather(space.weights)
        network = peer.residual_network(y, m, 25)
        layers = space.gather(by_stepper(space, "euler", 25))[:, 0]
        found[f"Euler layers of the solver, and the network: {name}"] = abs(network - layers).max()
    return {name: float(value) for name, value in found.items()}


# ── networks sampled from one kernel ──────────────────────────────────────────────────────────────────────────────────


def study_width(solution: Solution) -> list[Study]:
    """Composite rules; networks and solution have the same layers."""
    layered = solution.layered(LAYERS)
    studies = []
    for rule, (order, *_) in peer.RULES.items():
        panels = (8, 16, 32, 64) if order == 2 else (4, 8, 16, 32)
        errors = []
        for n in panels:
            y, m = peer.composite(rule, n)
            errors.append(float(abs(peer.residual_network(y, m, LAYERS, "RK4") - solution.at(layered, y)).max()))
        studies.append(Study(rule, panels, tuple(errors), order))
    return studies


def study_random_nodes(solution: Solution, draws: int) -> Study:
    """Independent nodes, uniform in (0, 1), with weights 1/N; networks and solution have the same 4 RK4 layers."""
    layered = solution.layered(4)
    widths, errors = (16, 32, 64, 128, 256, 512), []
    for n in widths:
        squares = []
        for draw in range(draws):
            y = np.random.default_rng([SEED, n, draw]).random(n)
            x = peer.residual_network(y, np.full(n, 1 / n), 4, "RK4")
            squares.append(np.mean((x - solution.at(layered, y)) ** 2))
        errors.append(float(np.sqrt(np.mean(squares))))
    return Study(f"random nodes, {draws} draws", widths, tuple(errors), 0.5, is_random=True)


def jumping(late: bool) -> peer.Kernel:
    """Either side of a kernel that turns its sign and shrinks at a time."""
    return (lambda t, y, z: -0.5 * peer.kernel(t, y, z)) if late else peer.kernel


def study_depth(solution: Solution, exact: np.ndarray) -> list[Study]:
    """Blocks of all orders on one Gauss rule."""
    y, m = peer.gauss(32)
    smooth, jumped = solution.at(exact, y), {}
    for when in (JUMP, 0.5):
        pieces = (jumping(False), 0.0, when), (jumping(True), when, peer.HORIZON)
        jumped[when] = solution.at(solution.adaptive(*pieces), y)

    def jump(t, y, z):
        return jumping(t >= JUMP)(t, y, z)

    def piecewise(layers: int) -> np.ndarray:
        early = peer.residual_network(y, m, layers // 2, "RK4", w=jumping(False), span=(0.0, 0.5))
        return peer.residual_network(y, m, layers // 2, "RK4", w=jumping(True), span=(0.5, 1.0), start=early)

    def network(block: str, **options) -> Callable[[int], np.ndarray]:
        return lambda layers: peer.residual_network(y, m, layers, block, **options)

    doubled, quadrupled = (
        (8, 16, 32, 64),
        (4, 16, 64, 256),
    )  # 4^k/3: the jump keeps its place in a layer
    plan = [
        ("Euler", network("Euler"), doubled, 1, smooth),
        ("Heun", network("Heun"), doubled, 2, smooth),
        ("RK4", network("RK4"), doubled, 4, smooth),
        ("Euler, weights frozen at the layer's middle", network("Euler", frozen=0.5), doubled, 1, smooth),
        ("RK4, weights frozen at the layer's begin", network("RK4", frozen=0.0), doubled, 1, smooth),
        ("RK4, weights frozen at the layer's middle", network("RK4", frozen=0.5), doubled, 2, smooth),
        ("Euler, a jump of w inside a layer", network("Euler", w=jump), quadrupled, 1, jumped[JUMP]),
        ("RK4, a jump of w inside a layer", network("RK4", w=jump), quadrupled, 1, jumped[JUMP]),
        ("RK4, a jump of w between layers", piecewise, doubled, 4, jumped[0.5]),
    ]
    return [
        Study(name, sizes, tuple(float(abs(make(n) - target).max()) for n in sizes), order)
        for name, make, sizes, order, target in plan
    ]


def study_both(solution: Solution, exact: np.ndarray) -> Study:
    """The plain network with width and depth together."""
    panels, errors = (8, 16, 32, 64), []
    for n in panels:
        y, m = peer.composite("trapezoid", n)
        errors.append(float(abs(peer.residual_network(y, m, n * n // 4) - solution.at(exact, y)).max()))
    return Study("trapezoid, Euler, L = N²/4", panels, tuple(errors), 2)


# ── weights independent from layer to layer ───────────────────────────────────────────────────────────────────────────


def study_disturbed(draws: int) -> list[Study]:
    """Kernel plus noise: root mean square distances from the averaged equation and from the mean kernel's."""
    y, m = peer.gauss(24)
    depths = (64, 128, 256, 512, 1024, 2048)
    averaged, mean, linear = peer.averaged(y, NOISE), peer.averaged(y, 0.0), peer.averaged(y, 0.0, is_linear=True)
    apart = float(np.sqrt(m @ (averaged - mean) ** 2))
    states = [peer.disturbed_network(y, m, n, draws, NOISE, SEED) for n in depths]
    linear_states = [peer.disturbed_network(y, m, n, draws, NOISE / 4, SEED, is_linear=True) for n in depths]

    def distances(found: list[np.ndarray], target: np.ndarray) -> tuple[float, ...]:
        return tuple(float(np.sqrt(np.mean(m @ (x - target[:, None]) ** 2))) for x in found)

    return [
        Study("w + ξ, tanh: from E σ's equation", depths, distances(states, averaged), 0.5, True),
        Study("w + ξ, tanh: from the equation with w", depths, distances(states, mean), 0.0, True, apart),
        Study("w + ξ, identity: from the equation with w", depths, distances(linear_states, linear), 0.5, True),
    ]


def study_gaussian(draws: int) -> list[Study]:
    """Root mean square distances of two draws on the same nodes, N = L; the wider, the fewer pairs it takes."""
    sizes = (16, 32, 64, 128, 256)
    squares: dict[str, list[float]] = {}
    for n in sizes:
        found: dict[str, list[float]] = {}
        for pair in range(max(4, 4 * draws // n)):
            one, other = (peer.gaussian_networks(n, n, SEED, 2 * pair + k) for k in (0, 1))
            for name in one:
                found.setdefault(name, []).append(float(np.mean((one[name] - other[name]) ** 2)))
        for name, values in found.items():
            squares.setdefault(name, []).append(float(np.mean(values)))
    q_start, q_end = peer.mean_square()
    spread = float(np.sqrt(2 * (q_end - q_start)))

    def study(name: str, title: str, order: float, limit: float = 0.0) -> Study:
        return Study(title, sizes, tuple(np.sqrt(squares[name]).tolist()), order, True, limit)

    return [
        study("diffusive", "Gaussian A, new in each layer, steps 1/√L", 0.0, spread),
        study("averaging", "Gaussian A, new in each layer, steps 1/L", 0.5),
        study("one matrix", "Gaussian A, one for all layers, steps 1/L", 0.0),
    ]


# ── tables, figure ────────────────────────────────────────────────────────────────────────────────────────────────────


def tabulate(studies: Sequence[Study], title: str, what: str) -> None:
    """One row for each study: errors at its sizes, order of each pair, observed and declared order or limit."""
    rows = []
    for study in studies:
        errors = " ".join(f"{error:.1e}" for error in study.errors)
        pairs = " ".join(f"{order:5.2f}" for order in study.orders)
        row = [study.name, f"{study.sizes[0]}–{study.sizes[-1]}", errors, pairs]
        if study.limit:
            rows.append([*row, f"{study.errors[-1]:.4f}", f"→ {study.limit:.4f}"])
        else:
            rows.append([*row, f"{study.observed:.3f}", f"{study.declared:g}"])
    print_table(["", what, "errors", "orders", "observed", "declared"], rows, title)


@styled
def draw(width: Sequence[Study], depth: Sequence[Study], independent: Sequence[Study]) -> Figure:
    """Errors over width, over depth, and what independent weights do; lines have the declared orders or limits."""
    figure, axes = create_axes(1, 3, 1.4 * WIDTH, height=4.2)
    colours = [COLOURS[name] for name in ("blue", "vermilion", "green", "ink", "muted")]
    panels = (
        (axes[0, 0], width, "panels of the rule; random nodes: N", "error, depth left out", (4, 16, 64, 256)),
        (axes[0, 1], depth, "layers L", "error, width left out", (4, 16, 64, 256)),
        (axes[0, 2], independent, "layers L; Gaussian: L = N", "root mean square distance", (16, 64, 256, 1024)),
    )
    for panel, studies, label, quantity, ticks in panels:
        for k, study in enumerate(studies):
            sizes, end = np.array(study.sizes), study.limit or study.errors[-1]
            found = f"→ {study.limit:.3f}" if study.limit else f"{round(study.observed, 2) + 0.0:.2f}"
            look = {"color": colours[k % 5], "markersize": 4, "markerfacecolor": "none" if k > 4 else colours[k]}
            panel.loglog(sizes, study.errors, "osD^vo"[k], label=f"{study.name}: {found}", **look)
            line = end * (sizes / sizes[-1]) ** -study.declared
            panel.loglog(sizes, line, ":" if study.limit else "--", color=look["color"], linewidth=0.9)
        panel.set(xlabel=label, ylabel=quantity)
        panel.set_xticks(ticks, [str(n) for n in ticks])
        panel.set_xticks([], minor=True)
        panel.legend(loc="upper center", bbox_to_anchor=(0.48, -0.15), handletextpad=0.2)
    return figure


def main() -> None:
    """Run all studies, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=256, metavar="D", help="of random nodes, 256 by default")
    draws = parser.parse_args().draws
    if draws < 2:
        parser.error("--draws must be at least 2")
    solution = Solution()
    exact = solution.adaptive()
    agreement = witnesses(solution, exact)
    print_table(["the same, in two ways", "difference"], [[n, f"{v:.1e}"] for n, v in agreement.items()])
    faults = [name for name, v in agreement.items() if not v < (ROUND_OFF if "layers" in name else AGREEMENT)]
    if faults:
        raise SystemExit(f"too different: {'; '.join(faults)}")

    width = [*study_width(solution), study_random_nodes(solution, draws)]
    depth = [*study_depth(solution, exact), study_both(solution, exact)]
    independent = [*study_disturbed(draws), *study_gaussian(draws)]
    tabulate(width, "networks sampled from w: width", "panels, N")
    tabulate(depth, "networks sampled from w: depth", "layers")
    tabulate(independent, "weights independent from layer to layer, or from neuron to neuron", "layers")

    studies = [*width, *depth, *independent]
    worst = max((s for s in studies if not s.limit), key=lambda s: abs(s.observed - s.declared))
    results = {
        "machine": machine(),
        "versions": versions("fem-selection", "numpy", "scipy"),
        "agreement": agreement,
        "studies": [{**vars(s), "orders": s.orders.tolist(), "observed": s.observed} for s in studies],
        "deviation": abs(worst.observed - worst.declared),
    }
    save_results("continuum_limit", results, draw(width, [*depth[:3], depth[5], depth[7]], independent))
    print(f"\nlargest deviation of an order: {worst.name}")
    print(f"deviation {results['deviation']:.3f}")


if __name__ == "__main__":
    main()
