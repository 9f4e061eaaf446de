# SPDX-License-Identifier: MIT
"""Branches of steady states in a parameter: continuation, bifurcations, limit cycles."""
