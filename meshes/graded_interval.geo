// SPDX-License-Identifier: MIT
// (0, 1) in 24 cells whose sizes grow geometrically, the first 1/20 of the last.
Point(1) = {0, 0, 0};
Point(2) = {1, 0, 0};
Line(1) = {1, 2};
Transfinite Curve{1} = 25 Using Progression 20^(1/23);
Physical Curve("interval") = {1};
