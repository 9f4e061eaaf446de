# SPDX-License-Identifier: MIT
"""Linear algebra in the inner product of L²(Y): blocks, operators, coordinates, factorizations, eigenvalues."""
