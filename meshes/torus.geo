// SPDX-License-Identifier: MIT
// A torus in R^3 with radii 1 and 0.4: a surface without a boundary, a manifold of neurons.
SetFactory("OpenCASCADE");
Torus(1) = {0, 0, 0, 1, 0.4};
Physical Surface("torus") = {1};
Mesh.MeshSizeMin = 0.3;
Mesh.MeshSizeMax = 0.3;
Mesh.ElementOrder = 2;
