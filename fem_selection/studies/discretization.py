# SPDX-License-Identifier: MIT
"""What a report says of the discretization errors that `learning.discretization_error` estimates."""

from __future__ import annotations

from fem_selection.learning.discretization_error import DiscretizationEstimate

__all__ = ["sentence_of", "shown_difference", "shown_error"]


def shown_error(e: DiscretizationEstimate) -> str:
    """The estimate for a table, with how far two ways to it are apart, or why it is declined."""
    if e.error is None:
        return f"declined: {e.declined}"
    apart = "" if e.spread is None else f"; two ways to it are {e.spread:.1g} apart, no bound"
    return f"about {e.error:.3g} (J − its limit, by order {e.order}{apart})"


def shown_difference(e: DiscretizationEstimate) -> str:
    """The difference to the next finer level for a table, by dual weights and measured, or why it is declined."""
    if e.measured_difference is None:
        return "declined likewise" if e.declined == e.measured_declined else f"declined: {e.measured_declined}"
    weighted = "" if e.weighted_difference is None else f"{e.weighted_difference:.3g} by dual weights, "
    return f"{weighted}{e.measured_difference:.3g} measured"


def sentence_of(e: DiscretizationEstimate) -> str:
    """The estimate as a sentence, with what limits it; it must not be declined."""
    assert e.error is not None
    side, what = "above" if e.error > 0 else "below", "layers" if e.parameter == "depth" else "cells"
    after = ""
    if e.spread is not None:
        after = f"; two ways to it are {e.spread:.1g} apart, which is no bound"
        if e.spread > abs(e.error):
            after += f", and more than it: these {what} are too few for order {e.order}, or the terms cancel"
    if e.why_not_of_value is not None:
        after += f"; the optimal value's error is another: {e.why_not_of_value}"
    if e.error == 0:
        return f"discretization: J at these controls hardly depends on the number of {what}{after}"
    size = f"about {abs(e.error):.3g}"
    return f"discretization: J at these controls is {size} {side} its limit of infinitely many {what}{after}"
