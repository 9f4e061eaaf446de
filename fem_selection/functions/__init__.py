# SPDX-License-Identifier: MIT
"""What a user writes as a formula or in UFL, and how it is evaluated on blocks."""
