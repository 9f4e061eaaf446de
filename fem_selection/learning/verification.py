# SPDX-License-Identifier: MIT
"""Verification of the gradient of a given functional: its Taylor order and the adjoint identity are measured.

    |J(x + ε h) − J(x) − ε ⟨J'(x), h⟩| = O(ε²)            a wrong derivative gives order 1
    ⟨T δx, P⟩ = ⟨δx, T* P⟩                                 tangent T and adjoint T* of the discrete dynamics

Both are measured at a control moved away from the start in a random direction, since a wrong term may vanish at zero.
The steps ε go down to where round-off begins.  Steps so short reveal a derivative that is wrong by a ten-thousandth,
and rarely cross a kink of the activation.  A step that crosses one gives a wrong order in its direction; therefore
several directions are taken, and the median of their orders counts.  The equation may have no states at the moved
control or after one of the steps, as with implicit stages and a diffusion coefficient far below zero; then everything
is measured nearer to the start.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from mpi4py import MPI

from fem_selection.adjoint import sweep_back, sweep_tangent
from fem_selection.adjoint.anchors import AnchorsBack, AnchorsTangent, finish_back
from fem_selection.errors import NonFinite
from fem_selection.learning.functional import Functional
from fem_selection.typing import Floats, whole_number

__all__ = ["GradientCertificate", "adjoint_identity_error", "move_controls", "taylor_remainders", "verify_gradient"]


@dataclass(frozen=True)
class GradientCertificate:
    """The measured Taylor remainders and orders, and the error of the adjoint identity.

    Attributes:
        steps: ε, relative to the size of the control.
        remainders: The Taylor remainders in the direction whose order is the median.
        orders: Observed orders between consecutive steps; NaN where a remainder is at the level of round-off.
        taylor_order: The last of the orders that is not NaN; NaN if J is linear to round-off.
        adjoint_identity_error: Relative difference of the two sides of the adjoint identity.
        samples: Number of samples on which these were measured.
        is_linear: Whether all remainders vanish to round-off: the derivative is right, and there is no order.
        distance: How far from the given control all was measured, in the norm of the controls.
    """

    steps: tuple[float, ...]
    remainders: tuple[float, ...]
    orders: tuple[float, ...]
    taylor_order: float
    adjoint_identity_error: float
    samples: int
    is_linear: bool
    distance: float


_STEPS = tuple(0.01 * 0.25**k for k in range(9))
_DIRECTIONS = 3
_SHORTER = 5  # how often the distance from the start may be divided by four
_ROUND_OFF = 1e-12  # remainder, relative to the objective, that counts as round-off


def verify_gradient(
    functional: Functional, controls: Floats, seed: int = 0, *, max_samples: int = 16
) -> GradientCertificate:
    """Measure Taylor order and adjoint identity on the first samples of every member (collective).

    Args:
        functional: J; its controls are overwritten.
        controls: Shard of x, not changed; the measurements are made at a control moved away from it.
        seed: Seed of the random directions.
        max_samples: Largest number of samples of each member.

    Raises:
        NonFinite: if there are no states even at a thousandth of the first distance from `controls`.
    """
    seed = whole_number(seed, "seed", 0)
    part = _on_first_samples(functional, whole_number(max_samples, "max_samples", 1))
    space = part.control_space
    size = max(0.1, float(np.sqrt(space.ensemble.sum(float((controls**2) @ space.lumped[space.shard])))))
    for _ in range(_SHORTER):
        try:
            return _measure(part, controls, size, seed)
        except NonFinite:
            size *= 0.25
    return _measure(part, controls, size, seed)


def _measure(part: Functional, controls: Floats, size: float, seed: int) -> GradientCertificate:
    """Measure both at a control that lies at a distance `size` from the given one."""
    moved = move_controls(part, controls, size, seed=seed)
    found = []
    for number in range(_DIRECTIONS):
        direction = size * part.control_space.random_direction(seed + 2 + number)
        value, remainders = taylor_remainders(part, moved, direction, steps=_STEPS)
        floor = _ROUND_OFF * max(abs(value), 1e-300)
        orders = _orders(remainders, floor)
        known = [o for o in orders if np.isfinite(o)]
        found.append((known[-1] if known else float("nan"), remainders, orders, bool(max(remainders) <= floor)))
    found.sort(key=lambda item: np.nan_to_num(item[0], nan=-1.0))
    order, remainders, orders, is_linear = found[_DIRECTIONS // 2]
    return GradientCertificate(
        steps=_STEPS,
        remainders=tuple(remainders),
        orders=tuple(orders),
        taylor_order=order,
        adjoint_identity_error=adjoint_identity_error(part, moved, seed),
        samples=part.num_samples,
        is_linear=is_linear,
        distance=size,
    )


def move_controls(functional: Functional, controls: Floats, distance: float, *, seed: int) -> Floats:
    """Return a control at a distance from the given one, in a random direction.

    Args:
        functional: J.
        controls: Shard of x, not changed.
        distance: In the norm of the controls.
        seed: Seed of the direction.
    """
    return controls + distance * functional.control_space.random_direction(seed + 1)


def _orders(remainders: list[float], floor: float) -> list[float]:
    """log(r_k / r_{k+1}) / log(ε_k / ε_{k+1}); NaN where a remainder is below the floor."""
    ratio = np.log(_STEPS[0] / _STEPS[1])
    pairs = itertools.pairwise(remainders)
    return [float(np.log(a / b) / ratio) if min(a, b) > floor else float("nan") for a, b in pairs]


def taylor_remainders(
    functional: Functional, controls: Floats, direction: Floats, *, steps: tuple[float, ...]
) -> tuple[float, list[float]]:
    """J(x) and the remainders |J(x + εh) − J(x) − ε⟨J'(x), h⟩| (collective).

    Args:
        functional: J; its controls are overwritten.
        controls: Shard of x.
        direction: Shard of h, in x.
        steps: The steps ε.

    Returns:
        J(x), and one remainder for each step.

    Raises:
        NonFinite: as `Functional.evaluate`, at x or after one of the steps.
    """
    value, dual = functional.evaluate(controls)
    slope = functional.control_space.inner(dual, direction)
    remainders = []
    for step in steps:
        moved = functional.control_space.create_vector(controls + step * direction)
        remainders.append(float(abs(functional.value(moved) - value - step * slope)))
        moved.destroy()
    return value, remainders


def adjoint_identity_error(functional: Functional, controls: Floats, seed: int = 0) -> float:
    """|⟨T δx, P⟩ − ⟨δx, T* P⟩| relative to the left side, with P = M T δx so that nothing cancels (collective).

    δx has parts in the kernel, the bias and the initial states.  Each member uses one block of its samples.

    Args:
        functional: J; its controls are overwritten.
        controls: Shard of x.
        seed: Seed of the random δx.

    Returns:
        The largest relative difference of all members.
    """
    control_space, stepper = functional.control_space, functional.stepper
    functional.set_controls(controls)
    rng = np.random.default_rng(seed)
    block = functional.initial[:, : functional.block]
    kernel, parameters = stepper.kernel.create_direction(), rng.normal(size=stepper.kernel.num_parameters)
    kernel.assign(parameters)
    bias = rng.normal(size=stepper.bias.shape)
    initial = np.asfortranarray(rng.normal(size=block.shape))
    sweep, moved = functional.sweeps.of(block.shape[1]), initial
    anchors = AnchorsTangent(stepper, kernel, bias)
    for tape in sweep.through(block):
        anchors.through(tape.layers)
        moved = sweep_tangent(stepper, tape, moved, kernel=kernel, bias=bias)
    dual = functional.control_space.space.apply_mass(moved)
    left = float(np.vdot(dual, moved))
    pullback, bias_dual = stepper.kernel.create_pullback(), np.zeros_like(bias)
    sweep.forward(block)
    back = AnchorsBack(stepper, pullback, bias_dual)
    for tape in sweep.back():
        sweep_back(stepper, tape, dual, kernel_pullback=pullback, bias_dual=bias_dual, to_initial=True)
        back.through(tape.layers)
    finish_back(stepper, kernel_pullback=pullback, bias_dual=bias_dual)
    right = float(parameters @ stepper.kernel.parameter_dual(pullback))
    right += float(np.vdot(bias_dual, bias)) + float(np.vdot(dual, initial))
    left, right = control_space.space.comm.allreduce(left), control_space.space.comm.allreduce(right)
    return float(control_space.ensemble.world.allreduce(abs(left - right) / max(abs(left), 1e-300), op=MPI.MAX))


def _on_first_samples(functional: Functional, max_samples: int) -> Functional:
    initial, targets = functional.initial[:, :max_samples], functional.targets[:, :max_samples]
    own = initial.shape[1] if functional.control_space.space.comm.rank == 0 else 0
    return Functional(
        functional.control_space,
        functional.stepper,
        functional.cost,
        initial=initial,
        targets=targets,
        num_samples=int(functional.control_space.ensemble.world.allreduce(own)),
        regularization=functional.regularization,
        weight=functional.weight,
        block=functional.block,
        tape=functional.sweeps.settings,
    )
