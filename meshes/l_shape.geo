// SPDX-License-Identifier: MIT
// (-1, 1)^2 without its lower right quarter, finer towards the corner at the origin.
Point(1) = {0, 0, 0, 0.06};
Point(2) = {1, 0, 0, 0.25};
Point(3) = {1, 1, 0, 0.25};
Point(4) = {-1, 1, 0, 0.25};
Point(5) = {-1, -1, 0, 0.25};
Point(6) = {0, -1, 0, 0.25};
Line(1) = {1, 2};
Line(2) = {2, 3};
Line(3) = {3, 4};
Line(4) = {4, 5};
Line(5) = {5, 6};
Line(6) = {6, 1};
Curve Loop(1) = {1, 2, 3, 4, 5, 6};
Plane Surface(1) = {1};
Physical Surface("l_shape") = {1};
