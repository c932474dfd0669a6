// Matrix products of the size of a block of rows, which stays in the cache, with what networks do
// before and after them.
//
// BLAS libraries are made for large matrices, take 256 bits at a time on some processors that have
// 512, and leave biases and ReLUs to passes of their own: on an AMD EPYC with AVX-512, MKL reaches
// 105 billion operations per second and core where this reaches 250.
#pragma once

#include "../native/lanes.h"

namespace diffeo {

// Numbers in memory with their strides.
template <class T> struct Matrix {
  T* data;
  int64_t rows, columns, row, column;

  Matrix(T* data_, int64_t rows_, int64_t columns_, int64_t row_, int64_t column_ = 1)
      : data(data_), rows(rows_), columns(columns_), row(row_), column(column_) {}
  Matrix(T* data_, int64_t rows_, int64_t columns_) : Matrix(data_, rows_, columns_, columns_) {}

  T& operator()(int64_t i, int64_t j) const { return data[i * row + j * column]; }
  Matrix t() const { return {data, columns, rows, column, row}; }
  Matrix part(int64_t first, int64_t last) const {
    return {data + first * row, last - first, columns, row, column};
  }
  Matrix across(int64_t first, int64_t last) const {
    return {data + first * column, rows, last - first, row, column};
  }
};

// What the sums of a product begin with, and what becomes of them: max(sum, 0), or zero where
// `gate` has no positive number.
template <class T> struct Ends {
  const T* bias = nullptr;  // of each row
  bool add = false;         // to what is there
  bool relu = false;
  const T* gate = nullptr;
  int64_t gate_row = 0;  // from one row of it to the next; none where it is the same for all
};

// A convolution is a sum of products: of one left factor after the other with the right one, seen
// from another place.
struct Shifts {
  static constexpr int64_t none = 0;
  int64_t count = 1, left = 0;  // from one left factor to the next
  const int64_t* right = &none;
};

// R rows and C vectors of the result, from row i and column j on, stay in registers while the
// product runs over the rows of b; the last vector has `count` lanes.
template <class T, int R, int C>
void product_tile(const Matrix<T>& out, const Matrix<T>& a, const Matrix<T>& b, int64_t i0,
                  int64_t j0, int count, const Ends<T>& ends, const Shifts& shifts) {
  constexpr int W = Lanes<T>::W;
  T* to = out.data + i0 * out.row + j0;
  auto lanes = [&](int j) { return j + 1 < C ? W : count; };
  Vec<T> sum[R][C];
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < C; ++j)
      sum[i][j] = ends.add    ? load(to + i * out.row + j * W, lanes(j))
                  : ends.bias ? all<T>(ends.bias[i0 + i])
                              : Vec<T>{};
  for (int64_t shift = 0; shift < shifts.count; ++shift) {
    const T *left = a.data + i0 * a.row + shift * shifts.left,
            *right = b.data + j0 + shifts.right[shift];
    for (int64_t k = 0; k < b.rows; ++k, left += a.column, right += b.row) {
      Vec<T> across[C];
#pragma GCC unroll 2
      for (int j = 0; j < C; ++j) across[j] = load(right + j * W);
#pragma GCC unroll 8
      for (int i = 0; i < R; ++i) {
        const T down = left[i * a.row];
#pragma GCC unroll 2
        for (int j = 0; j < C; ++j) sum[i][j] += down * across[j];
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < C; ++j) {
      if (ends.relu) sum[i][j] = at_least<T>(sum[i][j], Vec<T>{});
      if (ends.gate) {
        const Vec<T> gate = load(ends.gate + (i0 + i) * ends.gate_row + j0 + j * W, lanes(j));
        sum[i][j] = pick<T>(gate <= T(0), Vec<T>{}, sum[i][j]);
      }
      store(to + i * out.row + j * W, sum[i][j], lanes(j));
    }
}

// Rows from `i` on, R at a time as long as there are so many, then half as many.
template <class T, int R, int C>
void product_rows(const Matrix<T>& out, const Matrix<T>& a, const Matrix<T>& b, int64_t i,
                  int64_t j, int count, const Ends<T>& ends, const Shifts& shifts) {
  for (; i + R <= out.rows; i += R) product_tile<T, R, C>(out, a, b, i, j, count, ends, shifts);
  if constexpr (R > 1) product_rows<T, R / 2, C>(out, a, b, i, j, count, ends, shifts);
}

// out = a b, with `ends`. The columns of `out` and `b` lie side by side, and b can be read up to a
// full vector.
template <class T>
void product(const Matrix<T>& out, const Matrix<T>& a, const Matrix<T>& b, const Ends<T>& ends = {},
             const Shifts& shifts = {}) {
  constexpr int W = Lanes<T>::W,
                R = DIFFEO_BYTES == 64 ? 8 : 4;  // as many as there are registers for
  int64_t j = 0;
  for (; j + 2 * W <= out.columns; j += 2 * W)
    product_rows<T, R, 2>(out, a, b, 0, j, W, ends, shifts);
  for (; j < out.columns; j += W)
    product_rows<T, R, 1>(out, a, b, 0, j, std::min<int64_t>(W, out.columns - j), ends, shifts);
}

// sums[i] = the sum of row i, plus what is there if `add`.
template <class T> void sum_rows(T* sums, const Matrix<T>& m, bool add) {
  constexpr int64_t W = Lanes<T>::W;
  for (int64_t i = 0; i < m.rows; ++i) {
    Vec<T> part{};
    for (int64_t j = 0; j < m.columns; j += W)
      part += load(m.data + i * m.row + j, std::min(W, m.columns - j));
    T sum = add ? sums[i] : T(0);
    for (int64_t k = 0; k < W; ++k) sum += part[k];
    sums[i] = sum;
  }
}

// to[j][i] = from[i][j], four by four where both are without gaps.
template <class T> void transpose(const Matrix<T>& to, const Matrix<T>& from) {
  if (from.row == 1 && to.column == 1) {  // already there
    for (int64_t j = 0; j < from.columns; ++j)
      std::copy_n(from.data + j * from.column, from.rows, to.data + j * to.row);
    return;
  }
  if (from.column == 1 && to.row == 1) {
    for (int64_t i = 0; i < from.rows; ++i)
      std::copy_n(from.data + i * from.row, from.columns, to.data + i * to.column);
    return;
  }
  int64_t i = 0, columns = from.columns / 4 * 4;
  if (from.column == 1 && to.column == 1)
    for (; i + 4 <= from.rows; i += 4) {
      for (int64_t j = 0; j < columns; j += 4)
        Square<T>(from.data + i * from.row + j, from.row).store(to.data + j * to.row + i, to.row);
      for (int64_t j = columns; j < from.columns; ++j)
        for (int64_t k = i; k < i + 4; ++k) to(j, k) = from(k, j);
    }
  for (; i < from.rows; ++i)
    for (int64_t j = 0; j < from.columns; ++j) to(j, i) = from(i, j);
}

}  // namespace diffeo
