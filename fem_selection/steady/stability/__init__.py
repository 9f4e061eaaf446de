# SPDX-License-Identifier: MIT
"""The linearization at a steady state: its spectrum, what that means, growth in runs, Lyapunov exponents."""
