# SPDX-License-Identifier: MIT
"""The equation over large times: adaptive steps, events, laws of growth, cycles, rest; the theory's estimates."""

from fem_selection.evolution.adaptive import integrate
from fem_selection.evolution.ends import Integration, SampleEnd
from fem_selection.evolution.growth import Growth
from fem_selection.evolution.recurrence import ClosedOrbit
from fem_selection.evolution.rest import Rest

__all__ = ["ClosedOrbit", "Growth", "Integration", "Rest", "SampleEnd", "integrate"]
