# SPDX-License-Identifier: MIT
"""Meshes of Y: intervals, rectangles and boxes, and meshes read from files, checked and distributed."""
