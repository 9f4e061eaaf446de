# SPDX-License-Identifier: MIT
"""What one does with a problem or an equation: each study takes objects and settings and returns a report."""
