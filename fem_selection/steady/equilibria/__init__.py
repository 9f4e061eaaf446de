# SPDX-License-Identifier: MIT
"""Steady states of the selection equation, σ(K f + b) = 0: where they are, and which of them the dynamics select."""
