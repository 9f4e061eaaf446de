# SPDX-License-Identifier: MIT
"""Whether a case can fit into memory, from its sizes alone: an answer before a mesh is made or a formula evaluated.

Operating systems promise more memory than there is, and end a process that uses it.  So the sizes are compared with the
memory of the machines that the ranks are on.  They are lower bounds: what is refused cannot run, and what passes may
still need more.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

from fem_selection import config
from fem_selection.cases.kernel import separable_rank
from fem_selection.discretization.spaces import StateSpace
from fem_selection.dynamics import Tape, find_scheme
from fem_selection.dynamics.storage_plan import plan_storage
from fem_selection.errors import InvalidInput
from fem_selection.parallel import Ensemble, memory_of_machines

__all__ = ["require_memory"]

_NUMBER = 8  # bytes
_MATRICES = 2  # of a kernel: its parameters, and the operator
_BLOCKS = 3  # of states: the initial ones; targets or rates; one more while a formula is evaluated or a step is taken
_INTERVAL = 300  # bytes of the objects that stand for one interval of depth
_NODE = 100  # bytes of a mesh for each node


@dataclass(frozen=True)
class _Demand:
    """Bytes that some keys ask for, and what they are for, as a phrase."""

    size: float
    keys: str
    what: str


def require_memory(
    case: config.Case,
    ensemble: Ensemble,
    *,
    intervals: int,
    space: StateSpace | None = None,
    with_tape: bool = False,
) -> None:
    """Raise if the arrays of a case are larger than the memory of all machines (collective).

    Args:
        case: The case.
        ensemble: The space × sample split: each member has the mesh and the kernel, and a share of the samples.
        intervals: Number of intervals of depth for which there is a kernel.
        space: The state space, if it is there; a mesh file does not say before how many nodes it makes.
        with_tape: Whether blocks are swept forward and back.

    Raises:
        InvalidInput: with the keys that ask for most, and an estimate of what they need.
    """
    if space is None and case.domain.file is not None:
        return
    nodes = _nodes(case) if space is None else space.num_nodes
    demands = list(_demands(case, nodes, ensemble.num_members, intervals=intervals))
    if with_tape:
        demands.append(_tape(case, nodes, ensemble.num_members))
    needed, available = sum(d.size for d in demands), memory_of_machines(ensemble.world)
    if needed > available:
        largest = max(demands, key=lambda d: d.size)
        raise InvalidInput(
            f"{largest.keys}: {largest.what} would take {_gigabytes(largest.size)} of memory at least, and "
            f"{_gigabytes(needed)} in all, more than the {_gigabytes(available)} that are there"
        )


def _nodes(case: config.Case) -> int:
    """About how many nodes the space has, from below."""
    return math.prod(n * max(case.space.degree, 1) for n in case.domain.cells)


def _demands(case: config.Case, nodes: int, members: int, *, intervals: int) -> Iterator[_Demand]:
    mesh = "domain.cells" if case.domain.file is None else "domain.file"
    yield _Demand(_NODE * nodes * members, f"{mesh}, space.degree", f"a mesh of {nodes:.4g} nodes")
    yield _Demand(
        _INTERVAL * intervals * members, "dynamics.layers, dynamics.control_intervals", f"{intervals:.4g} intervals"
    )
    each = {
        "dense": nodes**2,
        "separable": 2 * separable_rank(case) * nodes,
        "local": nodes,
        "convolution": 2**case.domain.dimension * nodes,
        "representer": _anchors(case) * nodes,
    }
    keys = {
        "dense": f"{mesh}, dynamics.layers",
        "separable": f"dynamics.rank, {mesh}",
        "local": mesh,
        "convolution": mesh,
        "representer": f"dynamics.anchors, {mesh}",
    }
    for name in case.dynamics.representation:
        size = _NUMBER * _MATRICES * each[name] * intervals * members
        what = f"the {name} kernels of {nodes:.4g} nodes at {intervals:.4g} times" if intervals > 1 else ""
        yield _Demand(size, keys[name], what or f"a {name} kernel of {nodes:.4g} nodes")
    if case.data.source == "formula":
        samples = case.data.samples
        size = _NUMBER * _BLOCKS * nodes * samples
        yield _Demand(size, f"data.samples, {mesh}", f"{samples:.4g} states of {nodes:.4g} nodes")


def _tape(case: config.Case, nodes: int, members: int) -> _Demand:
    """The tapes and the stored states of one block of each member, as far as `tape.schedule` does not choose less."""
    y, samples = case.dynamics, case.data.samples if case.data.source == "formula" else 1
    width, scheme = min(case.parallel.block, -(-samples // members)), find_scheme(y.scheme)
    layer, states = width * Tape.bytes_of_layer(nodes, nodes, scheme), f"{width} samples"
    if "representer" in y.representation:  # samples that are anchors need no tapes of their own
        width = _anchors(case)
        layer, states = 2 * _NUMBER * width * nodes * scheme.num_stages, f"{width} anchors"
    share = None if case.tape.memory is None else case.tape.memory * case.parallel.space  # the mesh of all its ranks
    settings = dataclasses.replace(case.tape, memory=share)
    try:
        plan = plan_storage(y.layers, _NUMBER * width * nodes, layer, settings=settings, free=0.0)
    except InvalidInput:  # with the exact sizes the functional says so
        return _Demand(0.0, "tape.memory", "the tape")
    what = f"the tape of {plan.longest:.4g} of {y.layers:.4g} layers for {states} of {nodes:.4g} nodes"
    size = members * plan.memory(_NUMBER * width * nodes, layer)
    return _Demand(size, "tape.schedule, dynamics.layers, parallel.block", what)


def _anchors(case: config.Case) -> int:
    """The number of anchors, from below."""
    anchors = case.dynamics.anchors
    if isinstance(anchors, tuple):
        return len(anchors)
    samples = case.data.samples if case.data.source == "formula" else 1
    return min(anchors, samples) if isinstance(anchors, int) else samples


def _gigabytes(size: float) -> str:
    return f"{size / 2**30:.3g} GB"
