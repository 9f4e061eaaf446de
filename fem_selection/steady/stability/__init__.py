# SPDX-License-Identifier: MIT
"""The linearization at a steady state: spectrum, verdict, growth in runs, non-normality, Lyapunov exponents."""
