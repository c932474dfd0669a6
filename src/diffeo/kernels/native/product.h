// Matrix products of the size of a block of rows, which stays in the cache, with what networks do before and after them.
//
// BLAS libraries are made for large matrices, take 256 bits at a time on some processors that have 512, and leave biases and
// ReLUs to passes of their own: on an AMD EPYC with AVX-512, MKL reaches 105 billion operations per second and core where
// this reaches 250.
#pragma once

#include "lanes.h"

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
  Matrix part(int64_t first, int64_t last) const { return {data + first * row, last - first, columns, row, column}; }
};

// What the sums of a product begin with, and what becomes of them: max(sum, 0), or zero where `gate` has no positive number.
template <class T> struct Ends {
  const T* bias = nullptr;  // of each row
  bool add = false;         // to what is there
  bool bend = false;
  const T* gate = nullptr;  // laid out as the result
};

// R rows and C vectors of the result stay in registers while the product runs over `depth`; the last vector has `count` lanes.
template <class T, int R, int C>
void product_tile(T* out, const Matrix<T>& like, const T* a, const Matrix<T>& a_like, const T* b, int64_t b_row, int64_t depth,
                  int count, const Ends<T>& ends) {
  constexpr int W = Lanes<T>::W;
  auto lanes = [&](int j) { return j + 1 < C ? W : count; };
  Vec<T> sum[R][C];
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < C; ++j)
      sum[i][j] = ends.add ? load(out + i * like.row + j * W, lanes(j)) : ends.bias ? all<T>(ends.bias[i]) : Vec<T>{};
  for (int64_t k = 0; k < depth; ++k, a += a_like.column, b += b_row) {
    Vec<T> right[C];
#pragma GCC unroll 2
    for (int j = 0; j < C; ++j) right[j] = load(b + j * W);
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) {
      const T left = a[i * a_like.row];
#pragma GCC unroll 2
      for (int j = 0; j < C; ++j) sum[i][j] += left * right[j];
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < C; ++j) {
      const int64_t place = i * like.row + j * W;
      if (ends.bend) sum[i][j] = at_least<T>(sum[i][j], Vec<T>{});
      if (ends.gate) sum[i][j] = pick<T>(load(ends.gate + place, lanes(j)) <= T(0), Vec<T>{}, sum[i][j]);
      store(out + place, sum[i][j], lanes(j));
    }
}

// Rows from `i` on, R at a time as long as there are so many, then half as many.
template <class T, int R, int C>
void product_rows(const Matrix<T>& out, const Matrix<T>& a, const Matrix<T>& b, int64_t i, int64_t j, int count,
                  const Ends<T>& ends) {
  for (; i + R <= out.rows; i += R) {
    const int64_t place = i * out.row + j;
    const Ends<T> own{ends.bias ? ends.bias + i : nullptr, ends.add, ends.bend, ends.gate ? ends.gate + place : nullptr};
    product_tile<T, R, C>(out.data + place, out, a.data + i * a.row, a, b.data + j, b.row, b.rows, count, own);
  }
  if constexpr (R > 1) product_rows<T, R / 2, C>(out, a, b, i, j, count, ends);
}

// out = a b, with `ends`. The columns of `out` and `b` lie side by side, and b can be read up to a full vector.
template <class T> void product(const Matrix<T>& out, const Matrix<T>& a, const Matrix<T>& b, const Ends<T>& ends = {}) {
  constexpr int W = Lanes<T>::W, R = DIFFEO_BYTES == 64 ? 8 : 4;  // as many as there are registers for
  int64_t j = 0;
  for (; j + 2 * W <= out.columns; j += 2 * W) product_rows<T, R, 2>(out, a, b, 0, j, W, ends);
  for (; j < out.columns; j += W) product_rows<T, R, 1>(out, a, b, 0, j, std::min<int64_t>(W, out.columns - j), ends);
}

// sums[i] = the sum of row i, plus what is there if `add`.
template <class T> void sum_rows(T* sums, const Matrix<T>& m, bool add) {
  constexpr int64_t W = Lanes<T>::W;
  for (int64_t i = 0; i < m.rows; ++i) {
    Vec<T> part{};
    for (int64_t j = 0; j < m.columns; j += W) part += load(m.data + i * m.row + j, std::min(W, m.columns - j));
    T sum = add ? sums[i] : T(0);
    for (int64_t k = 0; k < W; ++k) sum += part[k];
    sums[i] = sum;
  }
}

// to[j][i] = from[i][j], four by four where both are without gaps.
template <class T> void transpose(const Matrix<T>& to, const Matrix<T>& from) {
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
