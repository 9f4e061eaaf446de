# SPDX-License-Identifier: MIT
"""The package's solution of the equation that the networks of `residual_network.py` approach, at any y."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import residual_network as peer

import fem_selection as fs
from fem_selection.discretization.coefficients import function_values

CELLS, DEGREE = 64, 6


class Solution:
    """The package's: f(T, ·) as a piecewise polynomial, by adaptive steps or by RK4 layers."""

    def __init__(self) -> None:
        self.space = fs.StateSpace(fs.interval(fs.Ensemble().space_comm, CELLS), DEGREE)
        self.start = peer.initial(self.space.coordinates)
        self.nodes = np.sort(self.space.gather(self.space.coordinates)[:, 0])

    def adaptive(self, *pieces: tuple[peer.Kernel, float, float]) -> np.ndarray:
        """f(T) at the sorted nodes; each piece has its kernel and the times of its begin and end."""
        state = np.asfortranarray(self.start)
        for w, begin, end in pieces or [(peer.kernel, 0.0, peer.HORIZON)]:
            kernel, values = fs.DenseKernel(self.space, 1), np.zeros(self.space.num_local)

            def refresh(time: float, w=w, kernel=kernel, values=values) -> None:
                at = fs.DepthGrid(layers=1, stage_nodes=(time,))
                kernel.assign(fs.DenseKernel.interpolate(self.space, on_points(w), at).parameters())
                values[:] = function_values(self.space, on_points(peer.bias), time)

            field = fs.SelectionField(
                self.space, kernel, values, activation=fs.find_activation("tanh"), refresh=refresh
            )
            settings = fs.settings.StepSettings(rtol=1e-13, atol=1e-14, method="explicit", steady_tolerance=0.0)
            state = fs.evolution.integrate(field, state, np.array([begin, end]), settings=settings).final
        return self.sorted(state)

    def layered(self, layers: int) -> np.ndarray:
        """f_L at the sorted nodes by RK4 layers."""
        return self.sorted(by_stepper(self.space, "rk4", layers))

    def sorted(self, state: np.ndarray) -> np.ndarray:
        """Nodal values from left to right."""
        return self.space.gather(state)[np.argsort(self.space.gather(self.space.coordinates)[:, 0]), 0]

    def at(self, values: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The piecewise polynomial at any y, by the barycentric formula in each cell."""
        cell = np.minimum((y * CELLS).astype(int), CELLS - 1)
        local = self.nodes[: DEGREE + 1]
        scale = np.array([1.0 / np.prod(x - np.delete(local, k)) for k, x in enumerate(local)])
        distance = (y - cell / CELLS)[:, None] - local
        hit = np.abs(distance) < 1e-14
        ratio = np.where(hit.any(axis=1)[:, None], hit, scale / np.where(hit, 1.0, distance))
        nodal = values[cell[:, None] * DEGREE + np.arange(DEGREE + 1)]
        return (ratio * nodal).sum(axis=1) / ratio.sum(axis=1)


def on_points(function: Callable) -> Callable:
    """A function of numbers in one dimension as one of points with d = 1 components."""
    return lambda t, *points: function(t, *(p[0] for p in points))


def by_stepper(space: fs.StateSpace, scheme_name: str, layers: int) -> np.ndarray:
    """f_L by the package's layers, coefficients at the stage times."""
    scheme = fs.find_scheme(scheme_name)
    grid = fs.DepthGrid(layers=layers, horizon=peer.HORIZON, stage_nodes=scheme.nodes)
    kernel = fs.DenseKernel.interpolate(space, on_points(peer.kernel), grid)
    bias = np.stack([function_values(space, on_points(peer.bias), t) for t in grid.sample_times])
    stepper = fs.Stepper(space, kernel, bias, activation=fs.find_activation("tanh"), scheme=scheme, grid=grid)
    return fs.solve_forward(stepper, np.asfortranarray(peer.initial(space.coordinates)), [layers]).final
