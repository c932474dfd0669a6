// One way through memory for all maps. A map is a struct with
//
//   using T;  int num_params;  int scratch;       // numbers of type Vec<T> it wants to work on
//   void value(Vec<T> x, const Vec<T>* p, Vec<T>* scratch, Vec<T>& y, Vec<T>& logdet) const;
//   Vec<T> pull(Vec<T> x, const Vec<T>* p, Vec<T>* scratch, Vec<T> grad_y, Vec<T> grad_logdet, Vec<T>* grad_p) const;
//
// which know W entries side by side and nothing of tensors. Events are seen as (M, N) entries; lanes run over the rows of
// the batch, or over N where rows are few and entries many. Every row's log-det is summed by one thread in one order: the
// same bits for any number of threads.
#pragma once

#include "lanes.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <array>
#include <tuple>
#include <vector>

namespace diffeo {

using torch::stable::Tensor;

// Strides of a tensor over (batch, m, n), and over the parameters of an entry.
struct Strides { int64_t b, m, n, p; };

struct Event { int64_t rows, m, n; bool lanes_on_rows; };

// (B, *S) as (B, M, N): up to two axes as they are, of three the last two together (an image's pixels).
inline Strides strides_of(const Tensor& t, int64_t axes) {
  auto stride = [&](int64_t axis) { return t.stride(axis); };
  const int64_t p = t.dim() > axes ? stride(axes) : 0;
  switch (axes) {
    case 1: return {stride(0), 0, 0, p};
    case 2: return {stride(0), 0, stride(1), p};
    case 3: return {stride(0), stride(1), stride(2), p};
    default: return {stride(0), stride(1), stride(3), p};
  }
}

inline bool pixels_collapse(const Tensor& t) { return t.size(2) == 1 || t.stride(2) == t.stride(3) * t.size(3); }

// Tensors whose axes cannot be seen that way are copied; few are.
inline Tensor viewable(const Tensor& t, int64_t axes) {
  const bool fine = axes < 4 || (axes == 4 && pixels_collapse(t));
  return fine ? t : torch::stable::contiguous(t);
}

inline void check_shapes(const Tensor& x, const Tensor& params, int num_params) {
  bool same = params.dim() == x.dim() + 1 && params.size(x.dim()) == num_params && params.scalar_type() == x.scalar_type();
  for (int64_t i = 0; same && i < x.dim(); ++i) same = params.size(i) == x.size(i);
  STD_TORCH_CHECK(same, "diffeo: parameters must have the dtype and shape of x and, as last axis, ", num_params, " an entry");
}

inline Event event_of(const Tensor& x, int width) {
  const int64_t axes = x.dim(), rows = x.size(0);
  int64_t m = axes > 2 ? x.size(1) : 1, n = axes == 2 ? x.size(1) : axes > 2 ? x.size(2) : 1;
  if (axes == 4) n *= x.size(3);
  return {rows, m, n, axes < 3 && (rows >= width || n < width)};
}

template <class T> struct Cursor {
  T* base;
  int64_t lane, param;  // strides
  int count;            // lanes in use

  Vec<T> load() const { return load_from(base); }
  void load(Vec<T>* out, int params) const {
    if (lane == 1 || param != 1) {
      for (int p = 0; p < params; ++p) out[p] = load_from(base + p * param);
      return;
    }
    T* flat = reinterpret_cast<T*>(out);  // an entry's parameters lie side by side: a transposition
    for (int i = 0; i < Lanes<T>::W; ++i) {
      const T* row = base + (i < count ? i : count - 1) * lane;
      for (int p = 0; p < params; ++p) flat[p * Lanes<T>::W + i] = row[p];
    }
  }
  void store(Vec<T> value) const { store_to(base, value); }
  void store(const Vec<T>* values, int params) const {
    if (lane == 1 || param != 1) {
      for (int p = 0; p < params; ++p) store_to(base + p * param, values[p]);
      return;
    }
    const T* flat = reinterpret_cast<const T*>(values);
    for (int i = 0; i < count; ++i)
      for (int p = 0; p < params; ++p) base[i * lane + p] = flat[p * Lanes<T>::W + i];
  }

 private:
  Vec<T> load_from(const T* from) const {
    Vec<T> out;
    if (lane == 1 && count == Lanes<T>::W) {
      std::memcpy(&out, from, sizeof out);
      return out;
    }
    for (int i = 0; i < Lanes<T>::W; ++i) out[i] = from[(i < count ? i : count - 1) * lane];  // idle lanes repeat the last
    return out;
  }
  void store_to(T* to, Vec<T> value) const {
    if (lane == 1 && count == Lanes<T>::W) {
      std::memcpy(to, &value, sizeof value);
      return;
    }
    for (int i = 0; i < count; ++i) to[i * lane] = value[i];
  }
};

// A tensor's memory as the sweep walks it.
template <class T> struct Walk {
  T* data;
  Strides s;
  bool lanes_on_rows;

  Walk(const Tensor& t, int64_t axes, const Event& event)
      : data(static_cast<T*>(t.data_ptr())), s(strides_of(t, axes)), lanes_on_rows(event.lanes_on_rows) {}

  Cursor<T> at(int64_t b, int64_t m, int64_t n, int count) const {
    return {data + b * s.b + m * s.m + n * s.n, lanes_on_rows ? s.b : s.n, s.p, count};
  }
};

// Calls visit(row, m, n, lanes in use) for all entries, W at a time, and done(row, lanes in use) after each row or W rows.
template <class T, class Start> void sweep(const Event& event, int64_t cost, const Start& start) {
  constexpr int W = Lanes<T>::W;
  const int64_t blocks = event.lanes_on_rows ? (event.rows + W - 1) / W : event.rows;
  const int64_t entries = event.m * event.n * (event.lanes_on_rows ? W : 1);
  const int64_t grain = std::max<int64_t>(1, 65536 / std::max<int64_t>(1, entries * cost));
  torch::stable::parallel_for(0, blocks, grain, [&](int64_t begin, int64_t end) {
    auto work = start();
    for (int64_t block = begin; block < end; ++block) {
      if (event.lanes_on_rows) {
        const int64_t row = block * W;
        const int count = static_cast<int>(std::min<int64_t>(W, event.rows - row));
        for (int64_t m = 0; m < event.m; ++m)
          for (int64_t n = 0; n < event.n; ++n) work.visit(row, m, n, count);
        work.done(row, count);
      } else {
        for (int64_t m = 0; m < event.m; ++m)
          for (int64_t n = 0; n < event.n; n += W) work.visit(block, m, n, static_cast<int>(std::min<int64_t>(W, event.n - n)));
        work.done(block, 1);
      }
    }
  });
}

template <class T> struct Buffer {
  std::vector<Vec<T>> params, scratch;
  template <class Map> explicit Buffer(const Map& map) : params(map.num_params), scratch(map.scratch) {}
};

template <class T> inline Vec<T> blank(Vec<T> x, int count) {  // idle lanes add nothing to a sum
  for (int i = count; i < Lanes<T>::W; ++i) x[i] = T(0);
  return x;
}

// y and the log-det of each entry, or summed over each row.
template <class Map> std::tuple<Tensor, Tensor> values(const Map& map, const Tensor& x_, const Tensor& params_, bool by_row) {
  using T = typename Map::T;
  constexpr int W = Lanes<T>::W;
  const int64_t axes = x_.dim();
  check_shapes(x_, params_, map.num_params);
  const Tensor x = viewable(x_, axes), params = viewable(params_, axes);
  const Event event = event_of(x, W);
  Tensor y = torch::stable::empty_like(x);
  const std::array<int64_t, 1> rows{event.rows};
  Tensor logdet = by_row ? torch::stable::new_empty(x, {rows.data(), 1}) : torch::stable::empty_like(y);
  const Walk<T> from(x, axes, event), given(params, axes, event), to(y, axes, event);
  const Walk<T> change(logdet, by_row ? 1 : axes, event);

  struct Work {
    const Map& map;
    const Walk<T>&from, &given, &to, &change;
    const Event& event;
    bool by_row;
    Buffer<T> own;
    Vec<T> total{};
    void visit(int64_t row, int64_t m, int64_t n, int count) {
      Vec<T> y, l;
      given.at(row, m, n, count).load(own.params.data(), map.num_params);
      map.value(from.at(row, m, n, count).load(), own.params.data(), own.scratch.data(), y, l);
      to.at(row, m, n, count).store(y);
      if (by_row) total += event.lanes_on_rows ? l : blank<T>(l, count);
      else change.at(row, m, n, count).store(l);
    }
    void done(int64_t row, int count) {
      if (!by_row) return;
      if (event.lanes_on_rows) {
        change.at(row, 0, 0, count).store(total);
      } else {
        T sum = 0;
        for (int i = 0; i < W; ++i) sum += total[i];
        change.data[row * change.s.b] = sum;
      }
      total = Vec<T>{};
    }
  };
  sweep<T>(event, map.num_params, [&] { return Work{map, from, given, to, change, event, by_row, Buffer<T>(map)}; });
  return {y, logdet};
}

// The gradients by x and by the parameters.
template <class Map>
std::tuple<Tensor, Tensor> pulls(
    const Map& map, const Tensor& x_, const Tensor& params_, const Tensor& grad_y_, const Tensor& grad_logdet_, bool by_row) {
  using T = typename Map::T;
  constexpr int W = Lanes<T>::W;
  const int64_t axes = x_.dim();
  check_shapes(x_, params_, map.num_params);
  const Tensor x = viewable(x_, axes), params = viewable(params_, axes), grad_y = viewable(grad_y_, axes);
  const Tensor grad_logdet = by_row ? grad_logdet_ : viewable(grad_logdet_, axes);
  const Event event = event_of(x, W);
  Tensor grad_x = torch::stable::empty_like(x), grad_params = torch::stable::empty_like(params);
  const Walk<T> from(x, axes, event), given(params, axes, event), above(grad_y, axes, event);
  const Walk<T> change(grad_logdet, by_row ? 1 : axes, event), to(grad_x, axes, event), back(grad_params, axes, event);

  struct Work {
    const Map& map;
    const Walk<T>&from, &given, &above, &change, &to, &back;
    const Event& event;
    bool by_row;
    Buffer<T> own;
    std::vector<Vec<T>> grad;
    void visit(int64_t row, int64_t m, int64_t n, int count) {
      given.at(row, m, n, count).load(own.params.data(), map.num_params);
      const Vec<T> l = !by_row                 ? change.at(row, m, n, count).load()
                       : event.lanes_on_rows   ? change.at(row, 0, 0, count).load()
                                               : all<T>(change.data[row * change.s.b]);
      const Vec<T> dx = map.pull(from.at(row, m, n, count).load(), own.params.data(), own.scratch.data(),
                                 above.at(row, m, n, count).load(), l, grad.data());
      to.at(row, m, n, count).store(dx);
      back.at(row, m, n, count).store(grad.data(), map.num_params);
    }
    void done(int64_t, int) {}
  };
  sweep<T>(event, 2 * map.num_params, [&] {
    return Work{map, from, given, above, change, to, back, event, by_row, Buffer<T>(map), std::vector<Vec<T>>(map.num_params)};
  });
  return {grad_x, grad_params};
}

// Calls make(float) or make(double) for the dtype of x.
template <class Make> auto by_dtype(const Tensor& x, const Make& make) {
  using torch::headeronly::ScalarType;
  STD_TORCH_CHECK(x.dim() >= 1 && x.dim() <= 4, "diffeo: 1 to 4 axes, got ", x.dim());
  if (x.scalar_type() == ScalarType::Double) return make(double());
  STD_TORCH_CHECK(x.scalar_type() == ScalarType::Float, "diffeo: float32 or float64 tensors");
  return make(float());
}

}  // namespace diffeo
