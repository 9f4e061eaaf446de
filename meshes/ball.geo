// SPDX-License-Identifier: MIT
// The unit ball in tetrahedra, its upper and its lower half.
SetFactory("OpenCASCADE");
Sphere(1) = {0, 0, 0, 1, 0, Pi/2, 2*Pi};
Sphere(2) = {0, 0, 0, 1, -Pi/2, 0, 2*Pi};
BooleanFragments{ Volume{1, 2}; Delete; }{}
Physical Volume("upper") = {1};
Physical Volume("lower") = {2};
Mesh.MeshSizeMin = 0.45;
Mesh.MeshSizeMax = 0.45;
