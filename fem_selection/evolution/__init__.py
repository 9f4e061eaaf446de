# SPDX-License-Identifier: MIT
"""The equation over large times: adaptive steps, events, growth laws, and the estimates of the theory beside them."""

from fem_selection.evolution.adaptive import Integration, integrate
from fem_selection.evolution.growth import Growth

__all__ = ["Growth", "Integration", "integrate"]
