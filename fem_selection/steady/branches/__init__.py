# SPDX-License-Identifier: MIT
"""Branches of steady states in a parameter: the reduced equation, continuation, bifurcations, cycles."""
