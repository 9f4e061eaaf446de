# SPDX-License-Identifier: MIT
"""A case file made into objects: the learning problem, the equation alone, its kernel, a saved run."""
