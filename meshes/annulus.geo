// SPDX-License-Identifier: MIT
// The annulus 1/2 < |y| < 1 in curved quadrilaterals, its left and its right half.
n = 5;
m = 10;
Point(1) = {0, 0, 0};
Point(2) = {0, -0.5, 0};
Point(3) = {0, -1, 0};
Point(4) = {0, 0.5, 0};
Point(5) = {0, 1, 0};
Point(6) = {0.5, 0, 0};
Point(7) = {1, 0, 0};
Point(8) = {-0.5, 0, 0};
Point(9) = {-1, 0, 0};
Circle(1) = {2, 1, 6};
Circle(2) = {6, 1, 4};
Circle(3) = {4, 1, 8};
Circle(4) = {8, 1, 2};
Circle(5) = {3, 1, 7};
Circle(6) = {7, 1, 5};
Circle(7) = {5, 1, 9};
Circle(8) = {9, 1, 3};
Line(9) = {2, 3};
Line(10) = {6, 7};
Line(11) = {4, 5};
Line(12) = {8, 9};
Curve Loop(1) = {9, 5, -10, -1};
Curve Loop(2) = {10, 6, -11, -2};
Curve Loop(3) = {11, 7, -12, -3};
Curve Loop(4) = {12, 8, -9, -4};
For k In {1:4}
  Plane Surface(k) = {k};
EndFor
Transfinite Curve{1:8} = m / 2 + 1;
Transfinite Curve{9:12} = n;
Transfinite Surface{1:4};
Recombine Surface{1:4};
Physical Surface("right") = {1, 2};
Physical Surface("left") = {3, 4};
Mesh.ElementOrder = 2;
