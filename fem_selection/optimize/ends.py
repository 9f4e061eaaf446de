# SPDX-License-Identifier: MIT
"""Why an optimization ends at a small gradient, in words, and whether that is convergence.

A gradient that is zero at the start has no size to which later ones could be compared, and no method by gradients
leaves such a point: it may be a minimum, a saddle, or a place where the network does not depend on its controls, as at
the kernel 0 with an activation whose slope at 0 is 0.
"""

from __future__ import annotations

from dataclasses import dataclass

from fem_selection.petsc import tao_reason
from fem_selection.settings import OptimizerSettings

__all__ = ["NO_DESCENT", "NO_RADIUS", "ZERO_BATCHES", "End", "end_by_fault", "end_by_gradient", "end_by_tao"]

NO_DESCENT = -6  # TAO's reason: the line search failed
NO_RADIUS = -7  # the trust region shrank to nothing

_ELSEWHERE = (
    "begin elsewhere: give dynamics.kernel or dynamics.bias a formula that is not zero, or train from random starts "
    "(`train --starts`)"
)
_ZERO_AT_START = (
    "the gradient is zero at the start, a stationary point that no step along gradients leaves, be it a minimum or "
    f"not; if there is something to learn, {_ELSEWHERE}"
)
ZERO_BATCHES = (
    f"the gradient of every mini-batch of an epoch was zero, so that no step moved the controls; {_ELSEWHERE}"
)
_AT_BOUNDS = "the gradient points out of the bounds at the start: no step inside of them lowers the objective"


@dataclass(frozen=True)
class End:
    """The end of an optimization.

    Attributes:
        reason: Why it ended, as a sentence.
        converged: Whether a tolerance was met that means something.
    """

    reason: str
    converged: bool


def end_by_gradient(
    norm: float, settings: OptimizerSettings, *, first_norm: float, first_unprojected: float = 0.0
) -> End | None:
    """The end that the norm of the (projected) gradient means, or None if it meets no tolerance.

    Args:
        norm: The norm.
        settings: The tolerances.
        first_norm: The norm at the start of the run.
        first_unprojected: Norm of the gradient itself at the start, where bounds project it.
    """
    if norm > max(settings.absolute_tolerance, settings.gradient_tolerance * first_norm):
        return None
    if first_norm == 0 and norm == 0 and first_unprojected > 0:
        return End(reason=_AT_BOUNDS, converged=True)
    if first_norm == 0 and norm == 0:
        return End(reason=_ZERO_AT_START, converged=False)
    if norm == 0:
        return End(reason="the gradient is zero", converged=True)
    if norm <= settings.gradient_tolerance * first_norm:
        times = f"{settings.gradient_tolerance:g} times its first value"
        if norm == first_norm:
            return End(reason=f"the gradient norm at the start is below {times}; to go on, lower it", converged=True)
        return End(reason=f"the gradient norm fell below {times}", converged=True)
    if norm == first_norm:
        reason = f"the gradient norm at the start, {norm:.1e}, is below the absolute tolerance; to go on, lower it"
        return End(reason=reason, converged=True)
    return End(reason="the gradient norm fell below the absolute tolerance", converged=True)


def end_by_tao(reason: int, ratio: float) -> End:
    """The end that a converged reason of TAO means.

    Args:
        reason: The reason.
        ratio: Norm of the gradient, relative to the first.
    """
    if reason == NO_DESCENT and ratio > 1e-3:
        sentence = (
            f"the line search found no lower objective, although the gradient norm is still {ratio:.1e} of its first "
            "value: is the activation kinked, or a bound reached?"
        )
        return End(reason=sentence, converged=False)
    return End(reason=tao_reason(reason), converged=reason > 0)


def end_by_fault(fault: str, method: str, iteration: int) -> End:
    """The end that an error of TAO means.

    Args:
        fault: PETSc's sentence.
        method: The method.
        iteration: The iteration that was not finished.
    """
    meaning = next((words for sign, words in _FAULTS.items() if sign in fault), fault)
    sentence = f"PETSc's TAO broke off in iteration {iteration} of {method}: {meaning}; the best iterate is kept"
    return End(reason=f"{sentence}, another optimizer.method may go on from there", converged=False)


_FAULTS = {
    "Initial direction zero": "its direction is zero, as at the level of round-off",
    "dx * (stp-stx) >= 0.0": "its direction does not point downhill, as at the level of round-off",
}
