# SPDX-License-Identifier: MIT
"""Estimates of the theory as instruments: hypotheses checked on the given data, bound, measured value, ratio.

| name | estimate | under |
|---|---|---|
| growth | ‖f(t)‖ ≤ e^{α(t)} ‖f^I‖ + ∫₀ᵗ e^{α(t) − α(s)} c(s) ds | σ Lipschitz |
| dependence | ‖f_j − f_k‖(t) ≤ e^{α(t)} ‖f_j^I − f_k^I‖ | σ Lipschitz |
| energy | E(f) = −½⟨f, K f⟩ − ⟨b, f⟩ does not grow | K symmetric, s σ(s) ≥ 0 |
| potential | ∫Σ(K f + b) does not grow | K + K* ≤ 0, Σ' = σ, Σ ≥ 0 |
| preactivation | ‖K f + b‖_{L¹} ≤ (∫Σ(K f^I + b) + d|Y|) / c | those, and Σ(s) ≥ c|s| − d |
| monotonicity | f does not fall anywhere | σ ≥ 0 |

If a hypothesis does not hold, the report names it with what was measured, and the estimate is not claimed.  If it holds
up to a small defect, the defect, and the error with which it is known, enter the bound.
"""

from __future__ import annotations

from collections.abc import Sequence

from fem_selection.dynamics.field import SelectionField
from fem_selection.evolution.estimates.activation_properties import Antiderivative, ScalarProperties, examine
from fem_selection.evolution.estimates.comparison import Estimate
from fem_selection.evolution.estimates.functionals import (
    estimate_energy,
    estimate_monotonicity,
    estimate_potential,
)
from fem_selection.evolution.estimates.gronwall import estimate_dependence, estimate_growth, gronwall_integrals
from fem_selection.evolution.estimates.hypotheses import Hypothesis, Premises
from fem_selection.evolution.variation import TimePieces
from fem_selection.typing import Block, Floats

__all__ = [
    "Antiderivative",
    "Estimate",
    "Hypothesis",
    "Premises",
    "ScalarProperties",
    "estimate_run",
    "examine",
]


def estimate_run(
    field: SelectionField, times: Floats, states: Sequence[Block], *, pieces: TimePieces | None = None
) -> dict[str, Estimate]:
    """Return all estimates on a run, by name (collective over the space communicator).

    Args:
        field: F.  If kernel or bias depend on time, they are set to those at other times.
        times: The times of the states, shape (num_times,); the first is that of the initial states.
        states: Nodal values, one (num_local, samples) block per time.
        pieces: The pieces of time in which kernel and bias vary little, if the run has found them already.

    Raises:
        NotConverged: if a norm of the kernel was not found.
    """
    field.move_to(float(times[0]))
    premises = Premises(field, pieces)
    integrals = gronwall_integrals(premises, times)
    field.move_to(float(times[0]))
    everything = [
        estimate_growth(premises, states, integrals),
        estimate_dependence(premises, states, integrals),
        estimate_energy(premises, times, states),
        *estimate_potential(premises, times, states),
        estimate_monotonicity(premises, times, states),
    ]
    return {estimate.name: estimate for estimate in everything}
