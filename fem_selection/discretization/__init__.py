# SPDX-License-Identifier: MIT
"""Discrete width and depth: meshes, elements, state spaces, quadrature, node numbering, layers, coefficients."""

from __future__ import annotations

from fem_selection.lazy import attach

_HOMES = {
    "DepthGrid": "depth",
    "Domain": "meshes.domains",
    "Family": "elements",
    "KernelSource": "coefficients",
    "MeshCells": "meshes.mesh_files",
    "MeshDescription": "meshes.mesh_files",
    "Mode": "elements",
    "QuadraturePoints": "quadrature.points",
    "Source": "coefficients",
    "StateSpace": "spaces",
    "UflKernel": "coefficients",
    "box": "meshes.domains",
    "canonical_numbering": "numbering",
    "create_element": "elements",
    "create_measure": "elements",
    "describe": "meshes.mesh_files",
    "files_of_mesh": "meshes.mesh_files",
    "from_mesh": "meshes.domains",
    "function_values": "coefficients",
    "hashed_normal": "numbering",
    "interval": "meshes.domains",
    "kernel_values": "coefficients",
    "read_gmsh": "meshes.mesh_files",
    "read_xdmf": "meshes.mesh_files",
    "rectangle": "meshes.domains",
    "used_coordinates": "meshes.mesh_files",
}

__all__ = list(_HOMES)

__getattr__, __dir__ = attach(__name__, _HOMES)
