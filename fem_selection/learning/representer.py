# SPDX-License-Identifier: MIT
"""The representer form of a stationary kernel: its rank, and what the rank is at most.

    α_w w = −Σ q ⊗ f   over the samples and the stages of all steps on which the kernel acts

Hence the rank is at most J · stages · steps per control, if nothing else enters the equation.
"""

from __future__ import annotations

import numpy as np

from fem_selection.kernels.dense import DenseKernel
from fem_selection.kernels.representer import RepresenterKernel
from fem_selection.kernels.separable import SeparableKernel
from fem_selection.learning.functional import Functional
from fem_selection.typing import Floats

__all__ = ["kernel_ranks", "rank_bound", "separable_ranks"]

_TOLERANCE = 1e-6  # of the largest singular value


def kernel_ranks(kernel: DenseKernel) -> tuple[list[int], list[list[float]]]:
    """The numerical rank of each interval's kernel at a relative 1e-6, and its first 64 singular values (collective).

    These are the singular values of the integral operator in L²(Y), hence of the matrix M_L^{1/2} W M_L^{1/2}; they are
    relative to the largest.
    """
    space = kernel.space
    own, root = np.sqrt(space.weights), np.sqrt(np.concatenate(space.comm.allgather(space.weights)))
    found = []
    for w in kernel.weights:
        rows = space.comm.allgather(own[:, None] * w * root)
        found.append(np.linalg.svd(np.concatenate(rows), compute_uv=False))
    return _counted(found)


def separable_ranks(kernel: SeparableKernel) -> tuple[list[int], list[list[float]]]:
    """The same of a kernel that is given by its factors, without its values at pairs of nodes (collective)."""
    compressed, _ = kernel.compress(rank=kernel.rank)
    return _counted([kernel.space.inner(u, u) for u, _ in compressed.factors])


def _counted(found: list[Floats]) -> tuple[list[int], list[list[float]]]:
    ranks, values = [], []
    for singular in found:
        top = max(float(singular[0]), 1e-300)
        ranks.append(int(np.sum(singular > _TOLERANCE * top)))
        values.append([float(s) for s in singular[:64] / top])
    return ranks, values


def rank_bound(functional: Functional, is_bounded: bool) -> tuple[int | None, str]:
    """The bound of the kernels' rank at a stationary point; None, and the reason, if there is none.

    Args:
        functional: J.
        is_bounded: Whether the controls were found under a box.
    """
    r, stepper = functional.regularization, functional.stepper
    steps = stepper.grid.layers // stepper.grid.intervals
    bound, nodes = functional.num_samples * stepper.scheme.num_stages * steps, functional.control_space.space.num_nodes
    if isinstance(stepper.kernel, RepresenterKernel):
        bound = min(bound, stepper.kernel.rank)
    on_nodes = f"{nodes} node{'s' * (nodes > 1)}"
    always = f"samples, stages and steps allow a rank of {bound}, and no kernel on {on_nodes} has a larger one"
    reasons = {
        "a box: an active bound adds to the kernel what no sample does": is_bounded,
        "an H¹ term in depth adds the neighbouring layers' kernels": r.kernel_depth > 0,
        "regularization.kernel = 0: stationarity says nothing of the kernel's rank": not r.kernel > 0,
        "the kernel is not optimized": "kernel" not in functional.control_space.parts,
        always: bound >= nodes,
    }
    if any(reasons.values()):
        return None, "; ".join(reason for reason, holds in reasons.items() if holds)
    return bound, ""
