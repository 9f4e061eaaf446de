// SPDX-License-Identifier: MIT
// Elementary functions without branches, so that a C compiler makes vector instructions of loops that call them.
//
// Every function is exact to 4 units in the last place, and keeps NaN, infinities, signed zeros and subnormal numbers.
//   exp x = 2^k exp r,  x = k ln 2 + r,  |r| <= ln 2 / 2,  exp r by its Taylor series
//   log x = k ln 2 + log m,  x = 2^k m,  log m = 2 artanh f,  f = (m - 1) / (m + 1),  artanh by its Taylor series
//   sin x = (-1)^k sin r,  x = k pi + r,  |r| <= pi / 2
//   erf x by its Taylor series up to 1; beyond, 1 - exp(-x^2) erfcx x with a polynomial in (x - 3) / (x + 3)
// All Taylor series end where the next term is below half a unit in the last place.

#include <math.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

INLINE double from_bits(uint64_t bits)
{
  double x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

INLINE uint64_t to_bits(double x)
{
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

// adding and subtracting it rounds to an integer, which the low bits of the sum then hold
#define ROUNDING 0x1.8p52

// 2^k for an integer k between -1022 and 1023
INLINE double power_of_two(double k) { return from_bits((to_bits(k + ROUNDING) + 1023) << 52); }

#define LN2_HIGH 0x1.62e42feep-1
#define LN2_LOW 0x1.a39ef35793c76p-33

// The series below are sums of even and of odd terms: a processor works on both at the same time.

// (exp r - 1 - r) / r^2 for |r| <= ln 2 / 2
INLINE double exp_rest(double r)
{
  const double z = r * r;
  double even = 1.0 / 479001600.0, odd = 1.0 / 6227020800.0;
  even = even * z + 1.0 / 3628800.0;
  odd = odd * z + 1.0 / 39916800.0;
  even = even * z + 1.0 / 40320.0;
  odd = odd * z + 1.0 / 362880.0;
  even = even * z + 1.0 / 720.0;
  odd = odd * z + 1.0 / 5040.0;
  even = even * z + 1.0 / 24.0;
  odd = odd * z + 1.0 / 120.0;
  even = even * z + 1.0 / 2.0;
  odd = odd * z + 1.0 / 6.0;
  return even + r * odd;
}

// a = k ln 2 + r: the integer k nearest to a / ln 2, and r
INLINE double nearest_power(double a) { return (a * 0x1.71547652b82fep+0 + ROUNDING) - ROUNDING; }
INLINE double rest_of_power(double a, double k) { return (a - k * LN2_HIGH) - k * LN2_LOW; }

INLINE double fs_exp(double x)
{
  double a = x < -760.0 ? -760.0 : x; // the result is 0 below and infinite above
  a = a > 720.0 ? 720.0 : a;
  const double k = nearest_power(a), r = rest_of_power(a, k);
  const double half = (k * 0.5 + ROUNDING) - ROUNDING; // 2^k itself may be no normal number
  return (1.0 + (r + r * r * exp_rest(r))) * power_of_two(half) * power_of_two(k - half);
}

INLINE double fs_expm1(double x)
{
  double a = x < -40.0 ? -40.0 : x; // the result is -1 below
  a = a > 720.0 ? 720.0 : a;
  const double k = nearest_power(a), r = rest_of_power(a, k);
  const double p = r + r * r * exp_rest(r);
  const double half = (k * 0.5 + ROUNDING) - ROUNDING; // 2^k itself may be no normal number
  const double other = power_of_two(k - half);
  // (2^other p + 2^other - 2^-half) 2^half; p itself where k = 0
  return copysign((other * p + (other - power_of_two(-half))) * power_of_two(half), x);
}

INLINE double fs_tanh(double x)
{
  double a = -2.0 * fabs(x);
  a = a < -40.0 ? -40.0 : a; // there the result is 1
  const double k = nearest_power(a), r = rest_of_power(a, k);
  const double power = power_of_two(k);
  const double p = r + r * r * exp_rest(r);
  const double e = power * p + (power - 1.0); // exp a - 1 without cancellation: p itself where k = 0
  return copysign(-e / (2.0 + e), x);
}

// artanh f = f + f^3 / 3 + ...: the series behind f, over f, for |f| <= 0.172; z = f^2
INLINE double artanh_rest(double z)
{
  const double w = z * z;
  double even = 2.0 / 21.0, odd = 2.0 / 19.0;
  even = even * w + 2.0 / 17.0;
  odd = odd * w + 2.0 / 15.0;
  even = even * w + 2.0 / 13.0;
  odd = odd * w + 2.0 / 11.0;
  even = even * w + 2.0 / 9.0;
  odd = odd * w + 2.0 / 7.0;
  even = even * w + 2.0 / 5.0;
  odd = odd * w + 2.0 / 3.0;
  return (even * z + odd) * z;
}

// log x + c for normal x > 0 and a small c
INLINE double log_plus(double x, double c)
{
  // k such that m = 2^-k x lies between sqrt(1/2) and sqrt 2
  const uint64_t shifted = to_bits(x) - 0x3fe6a09e667f3bcdull;
  const double k = from_bits((uint64_t)0x4330000000000000ull | ((shifted >> 52) ^ 0x800)) - (0x1p52 + 2048.0);
  const double m = from_bits((shifted & 0x000fffffffffffffull) + 0x3fe6a09e667f3bcdull);
  const double f = m - 1.0, s = f / (2.0 + f), square = 0.5 * f * f;
  return k * LN2_HIGH - ((square - (s * (square + artanh_rest(s * s)) + (k * LN2_LOW + c))) - f);
}

INLINE double fs_log(double x)
{
  const int tiny = x < 0x1p-1022;
  double y = log_plus(tiny ? x * 0x1p54 : x, 0.0);
  y = tiny ? y - 54.0 * 0x1.62e42fefa39efp-1 : y;
  y = x == 0.0 ? -INFINITY : y;
  y = x < 0.0 ? NAN : y;
  return x < INFINITY ? y : x; // NaN too
}

INLINE double fs_log1p(double x)
{
  const double u = 1.0 + x;
  const double lost = x < 1.0 ? x - (u - 1.0) : 1.0 - (u - x);
  double y = copysign(log_plus(u, lost / u), x);
  y = x == -1.0 ? -INFINITY : y;
  y = x < -1.0 ? NAN : y;
  return x < INFINITY ? y : x;
}

// sin(k pi + r) with k pi in three parts; the sign of sin r by the parity of k
INLINE double sin_of_rest(double k, double r)
{
  const double z = r * r, w = z * z;
  double even = -1.0 / 121645100408832000.0, odd = 1.0 / 51090942171709440000.0;
  even = even * w - 1.0 / 1307674368000.0;
  odd = odd * w + 1.0 / 355687428096000.0;
  even = even * w - 1.0 / 39916800.0;
  odd = odd * w + 1.0 / 6227020800.0;
  even = even * w - 1.0 / 5040.0;
  odd = odd * w + 1.0 / 362880.0;
  even = even * w - 1.0 / 6.0;
  odd = odd * w + 1.0 / 120.0;
  const double y = r + r * z * (even + odd * z);
  return from_bits(to_bits(y) ^ (to_bits(k + ROUNDING) << 63));
}

#define PI_HIGH 0x1.921fb54000000p+1
#define PI_MIDDLE 0x1.10b4611800000p-29
#define PI_LOW 0x1.313198a000000p-60
#define PI_LAST 0x1.701b839a25205p-91
#define LARGEST_ANGLE 0x1p20

INLINE double fs_sin(double x)
{
  const double k = (x * 0x1.45f306dc9c883p-2 + ROUNDING) - ROUNDING;
  const double r = (((x - k * PI_HIGH) - k * PI_MIDDLE) - k * PI_LOW) - k * PI_LAST;
  return x == 0.0 ? x : sin_of_rest(k, r);
}

INLINE double fs_cos(double x)
{
  const double k = (fabs(x) * 0x1.45f306dc9c883p-2 - 0.5 + ROUNDING) - ROUNDING; // cos x = -sin(x - pi/2 ... )
  const double h = k + 0.5;
  const double r = (((fabs(x) - h * PI_HIGH) - h * PI_MIDDLE) - h * PI_LOW) - h * PI_LAST;
  return -sin_of_rest(k, r);
}

INLINE double fs_erf(double x)
{
  const double a = fabs(x) > 6.0 ? 6.0 : fabs(x), z = a * a;
  const double w = z * z;
  double even = 1.0 / (355687428096000.0 * 35.0), odd = 1.0 / (20922789888000.0 * 33.0);
  even = even * w + 1.0 / (1307674368000.0 * 31.0);
  odd = odd * w + 1.0 / (87178291200.0 * 29.0);
  even = even * w + 1.0 / (6227020800.0 * 27.0);
  odd = odd * w + 1.0 / (479001600.0 * 25.0);
  even = even * w + 1.0 / (39916800.0 * 23.0);
  odd = odd * w + 1.0 / (3628800.0 * 21.0);
  even = even * w + 1.0 / (362880.0 * 19.0);
  odd = odd * w + 1.0 / (40320.0 * 17.0);
  even = even * w + 1.0 / (5040.0 * 15.0);
  odd = odd * w + 1.0 / (720.0 * 13.0);
  even = even * w + 1.0 / (120.0 * 11.0);
  odd = odd * w + 1.0 / (24.0 * 9.0);
  even = even * w + 1.0 / (6.0 * 7.0);
  odd = odd * w + 1.0 / (2.0 * 5.0);
  even = even * w + 1.0 / (1.0 * 3.0);
  const double p = even - z * odd;
  const double c = 0x1.20dd750429b6dp+0; // 2 / sqrt(pi)
  const double near = c * a - c * a * (z * p);

  const double t = (a - 3.0) / (a + 3.0);
  const double u = t * t;
  double even_far = -0x1.b521f5e62b937p-23, odd_far = -0x1.20ffd2643b2abp-22;
  even_far = even_far * u + 0x1.4e75dccc737abp-20;
  odd_far = odd_far * u + 0x1.1b86fc353f5b6p-19;
  even_far = even_far * u - 0x1.0bafe44deb848p-17;
  odd_far = odd_far * u - 0x1.af7cf3e087bcfp-17;
  even_far = even_far * u + 0x1.0cac3a11fe28fp-14;
  odd_far = odd_far * u + 0x1.7ba0ce14ddbbep-15;
  even_far = even_far * u - 0x1.39084c8034bb3p-11;
  odd_far = odd_far * u + 0x1.73101ea1b3803p-11;
  even_far = even_far * u + 0x1.17c838eec7b56p-8;
  odd_far = odd_far * u - 0x1.8fa58eb5e1d42p-6;
  even_far = even_far * u + 0x1.258b13b017934p-4;
  odd_far = odd_far * u - 0x1.336ffbef08b18p-3;
  even_far = even_far * u + 0x1.f6ff204105976p-3;
  odd_far = odd_far * u - 0x1.4e102b9cf8513p-2;
  even_far = even_far * u + 0x1.6e9827d229d2dp-3;
  const double q = even_far + t * odd_far;
  const double far = 1.0 - fs_exp(-z) * q;
  const double y = a < 1.0 ? near : far;
  return copysign(x != x ? x : y, x);
}
