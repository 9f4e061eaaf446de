# SPDX-License-Identifier: MIT
"""Explicit Runge–Kutta schemes as data: Butcher tableaux with a declared order.

    G_i = F_n + Δt Σ_{j<i} a_ij R_j,   R_i = σ(K G_i + b),   F_{n+1} = F_n + Δt Σ_i b_i R_i

Forward Euler is the residual network itself: one stage, one layer. One test holds every scheme to its order.

References:
    Hairer, Nørsett, Wanner, Solving Ordinary Differential Equations I, doi:10.1007/978-3-540-78862-1, II.1.
    Shu, Osher, J. Comput. Phys. 77 (1988) 439, doi:10.1016/0021-9991(88)90177-5 (SSPRK3).
"""

from __future__ import annotations

from dataclasses import dataclass

from fem_selection.errors import InvalidInput

__all__ = ["SCHEMES", "Scheme", "find_scheme"]


@dataclass(frozen=True)
class Scheme:
    """An explicit Runge–Kutta scheme.

    Attributes:
        name: Its name in case files.
        order: Its order of convergence in Δt.
        a: Strictly lower triangular coefficients, row i of length i.
        b: Weights of the stages.
    """

    name: str
    order: int
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.a) != len(self.b) or any(len(row) != i for i, row in enumerate(self.a)):
            raise InvalidInput(f"scheme {self.name!r}: row i of a must have i entries, and b one per row")

    @property
    def num_stages(self) -> int:
        """Number of evaluations of the right-hand side per layer."""
        return len(self.b)

    @property
    def nodes(self) -> tuple[float, ...]:
        """The nodes c_i = Σ_j a_ij."""
        return tuple(sum(row) for row in self.a)


SCHEMES: dict[str, Scheme] = {
    s.name: s
    for s in (
        Scheme("euler", 1, ((),), (1.0,)),
        Scheme("midpoint", 2, ((), (0.5,)), (0.0, 1.0)),
        Scheme("heun", 2, ((), (1.0,)), (0.5, 0.5)),
        Scheme("ssprk3", 3, ((), (1.0,), (0.25, 0.25)), (1 / 6, 1 / 6, 2 / 3)),
        Scheme("rk4", 4, ((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6)),
    )
}
"""The built-in schemes by name."""


def find_scheme(name: str) -> Scheme:
    """The built-in scheme of that name.

    Raises:
        InvalidInput: if there is none; the message lists the names.
    """
    if name not in SCHEMES:
        raise InvalidInput(f"unknown scheme {name!r}; known are {', '.join(SCHEMES)}")
    return SCHEMES[name]
