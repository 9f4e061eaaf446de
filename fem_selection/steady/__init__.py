# SPDX-License-Identifier: MIT
"""Steady states of the selection equation, σ(K f + b) = 0, and what becomes of states near them."""
