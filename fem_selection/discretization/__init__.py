# SPDX-License-Identifier: MIT
"""Discrete width and depth: meshes, elements, state spaces, quadrature, node numbering, layers, coefficients."""

from __future__ import annotations

from fem_selection.lazy import attach

_HOMES = {
    "DepthGrid": "depth",
    "Domain": "domains",
    "Family": "elements",
    "KernelSource": "coefficients",
    "MeshCells": "mesh_files",
    "MeshDescription": "mesh_files",
    "Mode": "elements",
    "QuadraturePoints": "quadrature",
    "Source": "coefficients",
    "StateSpace": "spaces",
    "UflKernel": "coefficients",
    "box": "domains",
    "canonical_numbering": "numbering",
    "create_element": "elements",
    "create_measure": "elements",
    "describe": "mesh_files",
    "files_of_mesh": "mesh_files",
    "from_mesh": "domains",
    "function_values": "coefficients",
    "hashed_normal": "numbering",
    "interval": "domains",
    "kernel_values": "coefficients",
    "read_gmsh": "mesh_files",
    "read_xdmf": "mesh_files",
    "rectangle": "domains",
    "used_coordinates": "mesh_files",
}

__all__ = list(_HOMES)

__getattr__, __dir__ = attach(__name__, _HOMES)
