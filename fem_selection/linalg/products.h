// SPDX-License-Identifier: MIT
// Products of small matrices, C = alpha op(A) op(B) + beta C in Fortran order, for processors with AVX-512.
//
// A BLAS copies both factors into its own layout, which pays for large matrices, and SciPy's uses half of the width of
// the vectors on some processors.  Here B, a block of states that already lies in the cache, is read where it is; A
// alone is copied, PANEL rows at a time.  A tile of PANEL x COLUMNS numbers of C stays in registers during the sum:
//
//   tile += A[panel, k] B[k, columns]      for each k, VECTORS vectors times COLUMNS numbers
//
// On an AMD Zen 5 it takes half of the time of dgemm: 118 GFlop/s against 58 for 64 rows and 128 columns, 110 against
// 50 for 512 rows, 96 against 50 for factors of rank 16.  With the shorter vectors of AVX2 the same tiles take 1.3
// times as long as dgemm, and NEON was not measured: there `sweep.c` calls dgemm.
//
// Each entry of C is one sum in the order of k, DEPTH terms at a time, whatever tile the entry belongs to: the result
// of a column does not depend on the columns beside it.

#include <stddef.h>
#include <string.h>

#ifdef __AVX512F__
#define LANES 8   // numbers in a register
#define VECTORS 4 // 4 x 6 of the 32 registers hold the tile
#define COLUMNS 6
#define PANEL (LANES * VECTORS)
#define DEPTH 256

typedef double lanes __attribute__((vector_size(LANES * sizeof(double))));

// a matrix of which entry (i, j) is at[i * down + j * right]
struct matrix
{
  const double* at;
  ptrdiff_t down, right;
};

// copy `rows` rows and `depth` columns of A; rows of zeros fill the last vector
static void pack(struct matrix a, int rows, int depth, int padded, double* panel)
{
  for (int k = 0; k < depth; ++k)
  {
    const double* column = a.at + k * a.right;
    if (a.down == 1)
      memcpy(panel, column, (size_t)rows * sizeof(double));
    else
      for (int i = 0; i < rows; ++i) panel[i] = column[i * a.down];
    for (int i = rows; i < padded; ++i) panel[i] = 0.0;
    panel += padded;
  }
}

// the sums of one tile, column after column: `vectors` and `columns` are constants wherever this is called, so that the
// tile stays in registers
static inline __attribute__((always_inline)) void add_up(int vectors, int columns, int depth, const double* panel,
                                                         struct matrix b, lanes* sums)
{
  lanes sum[COLUMNS][VECTORS];
#pragma GCC unroll 8
  for (int j = 0; j < columns; ++j)
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) sum[j][v] = (lanes){0.0};
  for (int k = 0; k < depth; ++k)
  {
    lanes a[VECTORS];
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) a[v] = ((const lanes*)panel)[k * vectors + v];
#pragma GCC unroll 8
    for (int j = 0; j < columns; ++j)
    {
      const double factor = b.at[k * b.down + j * b.right];
#pragma GCC unroll 8
      for (int v = 0; v < vectors; ++v) sum[j][v] += a[v] * factor;
    }
  }
#pragma GCC unroll 8
  for (int j = 0; j < columns; ++j)
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) sums[j * vectors + v] = sum[j][v];
}

// `add_up` for each number of vectors and of columns; whole tiles know where the rows of B are contiguous
static void add_up_any(int vectors, int columns, int depth, const double* panel, struct matrix b, lanes* sums)
{
#define CASE(V, N) case 8 * V + N: add_up(V, N, depth, panel, b, sums); break;
#define CASES(V) CASE(V, 1) CASE(V, 2) CASE(V, 3) CASE(V, 4) CASE(V, 5) CASE(V, 6)
  if (vectors == VECTORS && columns == COLUMNS && b.right == 1)
  {
    add_up(VECTORS, COLUMNS, depth, panel, (struct matrix){b.at, b.down, 1}, sums);
    return;
  }
  switch (8 * vectors + columns)
  {
    CASES(1) CASES(2) CASES(3) CASES(4)
  }
#undef CASES
#undef CASE
}

// c = alpha sum + beta c for a column of a tile
static void finish(int rows, double alpha, const double* sum, double beta, double* c)
{
  if (beta == 0.0) // c may hold anything
#pragma omp simd
    for (int i = 0; i < rows; ++i) c[i] = alpha * sum[i];
  else
#pragma omp simd
    for (int i = 0; i < rows; ++i) c[i] = alpha * sum[i] + beta * c[i];
}

// C (rows x columns) = alpha A B + beta C, A: rows x depth, B: depth x columns
static void small_product(int rows, int columns, int depth, double alpha, struct matrix a, struct matrix b, double beta,
                          double* c, int ldc)
{
  double panel[PANEL * DEPTH] __attribute__((aligned(64)));
  lanes sums[COLUMNS * VECTORS];
  for (int first = 0; first < depth; first += DEPTH)
  {
    const int terms = depth - first < DEPTH ? depth - first : DEPTH;
    for (int row = 0; row < rows; row += PANEL)
    {
      const int height = rows - row < PANEL ? rows - row : PANEL, vectors = (height + LANES - 1) / LANES;
      const struct matrix own = {a.at + row * a.down + first * a.right, a.down, a.right};
      pack(own, height, terms, vectors * LANES, panel);
      for (int column = 0; column < columns; column += COLUMNS)
      {
        const int width = columns - column < COLUMNS ? columns - column : COLUMNS;
        const struct matrix part = {b.at + first * b.down + column * b.right, b.down, b.right};
        add_up_any(vectors, width, terms, panel, part, sums);
        for (int j = 0; j < width; ++j)
          finish(height, alpha, (const double*)(sums + j * vectors), first > 0 ? 1.0 : beta,
                 c + row + (ptrdiff_t)(column + j) * ldc);
      }
    }
  }
}

// the same for arrays of any strides, given by their addresses; C is in Fortran order
void fem_selection_product(int rows, int columns, int depth, double alpha, const double *a, ptrdiff_t a_down,
                           ptrdiff_t a_right, const double *b, ptrdiff_t b_down, ptrdiff_t b_right, double beta,
                           double *c)
{
  small_product(rows, columns, depth, alpha, (struct matrix){a, a_down, a_right},
                (struct matrix){b, b_down, b_right}, beta, c, rows);
}
#endif
