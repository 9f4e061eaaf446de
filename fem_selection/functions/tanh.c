// SPDX-License-Identifier: MIT
// The hyperbolic tangent of n numbers, written so that a C compiler makes vector instructions of the loop.
//
//   tanh |x| = -e / (2 + e),   e = exp(a) - 1,   a = -2 |x| = k ln 2 + r,   |r| <= ln 2 / 2
//   e = 2^k p + (2^k - 1),     p = exp(r) - 1 = r + r^2/2! + ... + r^13/13!
//
// No cancellation near x = 0, where k = 0 and e = p: the relative error is below 3 units in the last place.

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

// one copy for each generation of processors, chosen when the library is loaded
#if defined(__x86_64__) && defined(__linux__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#if __GNUC__ >= 12
__attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#endif
#endif
void fem_selection_tanh(const double* x, double* result, size_t n)
{
  const double log2_e = 0x1.71547652b82fep+0, ln2_high = 0x1.62e42feep-1, ln2_low = 0x1.a39ef35793c76p-33;
  const double shift = 0x1.8p52; // y + shift holds the integer nearest to y in its low bits
#pragma omp simd
  for (size_t i = 0; i < n; ++i)
  {
    double a = -2.0 * fabs(x[i]);
    a = a < -40.0 ? -40.0 : a; // there the result is 1; a NaN stays one
    const double shifted = a * log2_e + shift;
    const double k = shifted - shift;
    const double r = (a - k * ln2_high) - k * ln2_low;

    uint64_t bits; // of 2^k: its exponent is k + 1023
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 1023) << 52;
    double power;
    memcpy(&power, &bits, sizeof power);

    double q = 1.0 / 6227020800.0;
    q = q * r + 1.0 / 479001600.0;
    q = q * r + 1.0 / 39916800.0;
    q = q * r + 1.0 / 3628800.0;
    q = q * r + 1.0 / 362880.0;
    q = q * r + 1.0 / 40320.0;
    q = q * r + 1.0 / 5040.0;
    q = q * r + 1.0 / 720.0;
    q = q * r + 1.0 / 120.0;
    q = q * r + 1.0 / 24.0;
    q = q * r + 1.0 / 6.0;
    q = q * r + 1.0 / 2.0;
    const double p = r + r * r * q;
    const double e = power * p + (power - 1.0);
    result[i] = copysign(-e / (2.0 + e), x[i]);
  }
}
