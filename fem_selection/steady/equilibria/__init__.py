# SPDX-License-Identifier: MIT
"""Steady states of the selection equation, σ(K f + b) = 0: how to find them, and which of them the dynamics reach."""
