# SPDX-License-Identifier: MIT
"""Width and depth made discrete: meshes, elements, state spaces, quadrature, node numbering, layers, coefficients."""
