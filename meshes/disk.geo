// SPDX-License-Identifier: MIT
// The disk of radius 1, its inner half and the ring around it, with curved cells at every circle.
SetFactory("OpenCASCADE");
Disk(1) = {0, 0, 0, 0.5};
Disk(2) = {0, 0, 0, 1};
BooleanFragments{ Surface{1, 2}; Delete; }{}
Physical Surface("core") = {1};
Physical Surface("ring") = {2};
Mesh.MeshSizeMin = 0.22;
Mesh.MeshSizeMax = 0.22;
Mesh.ElementOrder = 2;
