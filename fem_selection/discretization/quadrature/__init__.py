# SPDX-License-Identifier: MIT
"""Quadrature: the points of smooth integrands, and rules for kernels that jump, kink or are singular."""
