// SPDX-License-Identifier: MIT
// A block of samples through the layers of an explicit Runge-Kutta scheme, and its duals back, in one call.
//
//   forward   G_i = F + dt sum_{j<i} a_ij R_j,   S_i = K G_i + b,   R_i = sigma(S_i),   F' = F + dt sum_i b_i R_i
//   back      I_i = b_i P + sum_{j>i} a_ji Gbar_j,   Q_i = sigma'(S_i) I_i,   Gbar_i = dt K^T Q_i,
//             d/dK += dt Q_i (x) G_i,   d/db += dt Q_i 1,   P <- P + sum_i Gbar_i
//
// These are the equations of dynamics/stepper.py and adjoint/backward.py, where the derivation is.  Blocks are rows x
// samples in Fortran order.  Everything between two matrix products is done on RUN numbers at a time, which stay in
// the first cache.

#include <stddef.h>
#include <string.h>
#include "products.h" // of linalg/

#define RUN ((size_t)1024)

typedef void (*gemm)(const char*, const char*, const int*, const int*, const int*, const double*, const double*,
                     const int*, const double*, const int*, const double*, double*, const int*);
typedef void (*one_to_one)(size_t, const double*, double*);
typedef void (*one_to_two)(size_t, const double*, double*, double*);
typedef void (*two_to_one)(size_t, const double*, const double*, double*);

// a part of K: left right^T of some rank, or the matrix `left` if the rank is 0; each interval has its own
struct part
{
  int rank;
  const double *left, *right, *transposed; // transposed: of the matrix, or NULL
  ptrdiff_t left_stride, right_stride;     // numbers from one interval to the next
  double *left_dual, *right_dual;          // derivatives that are added to, or NULL
  ptrdiff_t dual_stride;
};

struct dynamics
{
  int rows, stages, num_parts;
  const struct part* parts;
  const double *a, *b, *bias; // a: stages x stages, b: stages, bias: intervals x rows
  const int* intervals;       // of all layers x stages
  double step;
  void *gemm, *value, *value_and_derivative, *pullback; // pullback: NULL if the tape holds sigma', else it holds sigma
};

// where the blocks of the layers from `begin` on are; a stride of zero uses a block again in every layer
struct tape
{
  int begin;
  const double* first;             // F_begin
  double *states, *inner, *slopes; // F_{begin+1} ...; G_2 ...; sigma or sigma' of all stages (NULL: not kept)
  ptrdiff_t state_stride, inner_stride, slope_stride;
};

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

static void multiply(const struct dynamics* d, char ta, char tb, int m, int n, int k, double alpha, const double* a,
                     int lda, const double* b, int ldb, double beta, double* c, int ldc)
{
#ifdef __AVX512F__
  const struct matrix of_a = {a, ta == 'T' ? lda : 1, ta == 'T' ? 1 : lda};
  const struct matrix of_b = {b, tb == 'T' ? ldb : 1, tb == 'T' ? 1 : ldb};
  if (k > 0)
  {
    small_product(m, n, k, alpha, of_a, of_b, beta, c, ldc);
    return;
  }
#endif
  ((gemm)d->gemm)(&ta, &tb, &m, &n, &k, &alpha, a, &lda, b, &ldb, &beta, c, &ldc);
}

// y = base + scale sum_j c_j x_j; y may be base
static void combine(size_t n, const double* base, double scale, const double* c, size_t count, const double* x,
                    size_t stride, double* y)
{
  for (size_t j = 0; j < count; ++j)
  {
    const double factor = scale * c[j];
    const double* other = x + j * stride;
    if (factor == 0.0) continue;
#pragma omp simd
    for (size_t k = 0; k < n; ++k) y[k] = base[k] + factor * other[k];
    base = y;
  }
  if (base != y) memcpy(y, base, n * sizeof(double));
}

// s += bias in every column; the run begins at this row
static void add_bias(size_t n, const double* bias, size_t rows, size_t row, double* s)
{
  for (size_t k = 0; k < n; row = 0)
  {
    const size_t length = least(rows - row, n - k);
#pragma omp simd
    for (size_t i = 0; i < length; ++i) s[k + i] += bias[row + i];
    k += length;
  }
}

// sum += scale q, over the columns; the run begins at this row
static void sum_columns(size_t n, const double* q, size_t rows, size_t row, double scale, double* sum)
{
  for (size_t k = 0; k < n; row = 0)
  {
    const size_t length = least(rows - row, n - k);
#pragma omp simd
    for (size_t i = 0; i < length; ++i) sum[row + i] += scale * q[k + i];
    k += length;
  }
}

// s = K g
static void apply(const struct dynamics* d, int interval, int samples, const double* g, double* s, double* moments)
{
  const int rows = d->rows;
  for (int p = 0; p < d->num_parts; ++p)
  {
    const struct part* k = d->parts + p;
    const double* left = k->left + interval * k->left_stride;
    const double keep = p > 0;
    if (k->rank == 0)
    {
      multiply(d, 'N', 'N', rows, samples, rows, 1.0, left, rows, g, rows, keep, s, rows);
      continue;
    }
    const double* right = k->right + interval * k->right_stride;
    multiply(d, 'T', 'N', k->rank, samples, rows, 1.0, right, rows, g, rows, 0.0, moments, k->rank);
    multiply(d, 'N', 'N', rows, samples, k->rank, 1.0, left, rows, moments, k->rank, keep, s, rows);
  }
}

// the derivative in the parameters, and target = keep target + dt K^T q unless the target is NULL
static void pull_back(const struct dynamics* d, int interval, int samples, const double* g, const double* q,
                      double keep, double* target, double* moments)
{
  const int rows = d->rows;
  const double dt = d->step;
  for (int p = 0; p < d->num_parts; ++p)
  {
    const struct part* k = d->parts + p;
    const double* left = k->left + interval * k->left_stride;
    double* dual = k->left_dual == NULL ? NULL : k->left_dual + interval * k->dual_stride;
    const double kept = p > 0 ? 1.0 : keep;
    if (k->rank == 0)
    {
      if (dual != NULL) multiply(d, 'N', 'T', rows, rows, samples, dt, q, rows, g, rows, 1.0, dual, rows);
      if (target == NULL) continue;
      if (k->transposed != NULL)
        multiply(d, 'N', 'N', rows, samples, rows, dt, k->transposed + interval * k->left_stride, rows, q, rows, kept,
                 target, rows);
      else
        multiply(d, 'T', 'N', rows, samples, rows, dt, left, rows, q, rows, kept, target, rows);
      continue;
    }
    const double* right = k->right + interval * k->right_stride;
    if (dual != NULL)
    {
      multiply(d, 'T', 'N', k->rank, samples, rows, 1.0, right, rows, g, rows, 0.0, moments, k->rank);
      multiply(d, 'N', 'T', rows, k->rank, samples, dt, q, rows, moments, k->rank, 1.0, dual, rows);
    }
    if (dual == NULL && target == NULL) continue;
    multiply(d, 'T', 'N', k->rank, samples, rows, 1.0, left, rows, q, rows, 0.0, moments, k->rank);
    if (dual != NULL)
      multiply(d, 'N', 'T', rows, k->rank, samples, dt, g, rows, moments, k->rank, 1.0,
               k->right_dual + interval * k->dual_stride, rows);
    if (target != NULL)
      multiply(d, 'N', 'N', rows, samples, k->rank, dt, right, rows, moments, k->rank, kept, target, rows);
  }
}

static const double* state_of(const struct tape* t, int n)
{
  return n == t->begin ? t->first : t->states + (n - t->begin - 1) * t->state_stride;
}

// from F_begin to F_end; rates: a block for each stage, s: a block, moments: largest rank x samples
void fem_selection_forward(const struct dynamics* d, const struct tape* t, int samples, int begin, int end,
                           double* rates, double* s, double* moments)
{
  const size_t size = (size_t)d->rows * (size_t)samples, rows = (size_t)d->rows;
  const int taped = t->slopes != NULL;
  for (int n = begin; n < end; ++n)
  {
    const int at = n - t->begin;
    const double* state = state_of(t, n);
    double* next_state = t->states + at * t->state_stride;
    double* inner = t->inner + at * t->inner_stride;
    double* slopes = taped ? t->slopes + at * t->slope_stride : NULL;
    double* r = taped && d->pullback != NULL ? slopes : rates; // one block for both
    for (int i = 0; i < d->stages; ++i)
    {
      const double* stage = i == 0 ? state : inner + (size_t)(i - 1) * size;
      const int interval = d->intervals[n * d->stages + i], is_last = i + 1 == d->stages;
      apply(d, interval, samples, stage, s, moments);
      double* next = is_last ? next_state : inner + (size_t)i * size;
      const double* weights = is_last ? d->b : d->a + (size_t)(i + 1) * (size_t)d->stages;
      for (size_t k = 0; k < size; k += RUN)
      {
        const size_t m = least(RUN, size - k);
        double* own = r + (size_t)i * size + k;
        add_bias(m, d->bias + (size_t)interval * rows, rows, k % rows, s + k);
        if (taped && d->pullback == NULL)
          ((one_to_two)d->value_and_derivative)(m, s + k, own, slopes + (size_t)i * size + k);
        else
          ((one_to_one)d->value)(m, s + k, own);
        combine(m, state + k, d->step, weights, (size_t)i + 1, r + k, size, next + k);
      }
    }
  }
}

// the dual p of F_end back to the tape's first layer, and to its state unless that is F_0 and `to_first` is zero
// pulled: a block for each stage, q, mixed: blocks, met: a block for each stage of each layer of the tape, or NULL
void fem_selection_back(const struct dynamics* d, const struct tape* t, int samples, int end, double* p,
                        double* bias_dual, int to_first, double* pulled, double* q, double* mixed, double* const* met,
                        double* moments)
{
  const size_t size = (size_t)d->rows * (size_t)samples, rows = (size_t)d->rows;
  const int is_single = d->stages == 1 && d->b[0] == 1.0;
  for (int n = end - 1; n >= t->begin; --n)
  {
    const int at = n - t->begin;
    const double* state = state_of(t, n);
    const double *inner = t->inner + at * t->inner_stride, *slopes = t->slopes + at * t->slope_stride;
    const int to_state = n > 0 || to_first;
    for (int i = d->stages - 1; i >= 0; --i)
    {
      const double* stage = i == 0 ? state : inner + (size_t)(i - 1) * size;
      const int interval = d->intervals[n * d->stages + i];
      for (size_t k = 0; k < size; k += RUN)
      {
        const size_t m = least(RUN, size - k);
        const double *incoming = p + k, *slope = slopes + (size_t)i * size + k;
        if (!is_single)
        {
          memset(mixed + k, 0, m * sizeof(double));
          combine(m, mixed + k, d->b[i], (const double[]){1.0}, 1, p + k, size, mixed + k);
          for (int j = i + 1; j < d->stages; ++j)
            combine(m, mixed + k, d->a[j * d->stages + i], (const double[]){1.0}, 1, pulled + (size_t)j * size + k, size,
                    mixed + k);
          incoming = mixed + k;
        }
        if (met != NULL)
          memcpy(met[at * d->stages + i] + k, incoming, m * sizeof(double));
        if (d->pullback != NULL)
          ((two_to_one)d->pullback)(m, slope, incoming, q + k);
        else
        {
#pragma omp simd
          for (size_t j = 0; j < m; ++j) q[k + j] = slope[j] * incoming[j];
        }
        if (bias_dual != NULL)
          sum_columns(m, q + k, rows, k % rows, d->step, bias_dual + (size_t)interval * rows);
      }
      // the first stage is the last to be met: its term is added to the dual at once
      double* target = i > 0 ? pulled + (size_t)i * size : to_state ? p : NULL;
      pull_back(d, interval, samples, stage, q, i > 0 ? 0.0 : 1.0, target, moments);
    }
    for (int j = 1; j < d->stages; ++j)
      for (size_t k = 0; k < size; k += RUN)
        combine(least(RUN, size - k), p + k, 1.0, (const double[]){1.0}, 1, pulled + (size_t)j * size + k, size, p + k);
  }
}
