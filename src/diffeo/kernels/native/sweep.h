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

template <class T> T* data_of(const Tensor& t) { return static_cast<T*>(t.data_ptr()); }

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

inline Tensor new_tensor(const Tensor& like, std::initializer_list<int64_t> sizes) {
  return torch::stable::new_empty(like, {sizes.begin(), sizes.size()});
}

// Four numbers of four rows at a time change places: rows into columns.
template <class T> struct Square {
  typedef T Four __attribute__((vector_size(4 * sizeof(T))));
  typedef typename Format<T>::Int Places __attribute__((vector_size(4 * sizeof(T))));
  Four a, b, c, d;

  static Four load(const T* from) { Four out; std::memcpy(&out, from, sizeof out); return out; }
  static void store(T* to, Four value) { std::memcpy(to, &value, sizeof value); }
  void transpose() {
    const Four p = __builtin_shuffle(a, b, Places{0, 4, 1, 5}), q = __builtin_shuffle(a, b, Places{2, 6, 3, 7});
    const Four r = __builtin_shuffle(c, d, Places{0, 4, 1, 5}), s = __builtin_shuffle(c, d, Places{2, 6, 3, 7});
    a = __builtin_shuffle(p, r, Places{0, 1, 4, 5}), b = __builtin_shuffle(p, r, Places{2, 3, 6, 7});
    c = __builtin_shuffle(q, s, Places{0, 1, 4, 5}), d = __builtin_shuffle(q, s, Places{2, 3, 6, 7});
  }
};

// out[p][i] = rows[i][p]
template <class T> inline void transpose_in(const T* const* rows, Vec<T>* out, int params) {
  constexpr int W = Lanes<T>::W;
  T* flat = reinterpret_cast<T*>(out);
  if (params < 4 || W % 4) {
    for (int i = 0; i < W; ++i)
      for (int p = 0; p < params; ++p) flat[p * W + i] = rows[i][p];
    return;
  }
  for (int start = 0; start < params; start += 4) {
    const int p = std::min(start, params - 4);  // the last four may be partly done already
    for (int i = 0; i < W; i += 4) {
      using S = Square<T>;
      S s{S::load(rows[i] + p), S::load(rows[i + 1] + p), S::load(rows[i + 2] + p), S::load(rows[i + 3] + p)};
      s.transpose();
      T* to = flat + p * W + i;
      S::store(to, s.a), S::store(to + W, s.b), S::store(to + 2 * W, s.c), S::store(to + 3 * W, s.d);
    }
  }
}

// base[i · lane + p] = values[p][i]
template <class T> inline void transpose_out(const Vec<T>* values, T* base, int64_t lane, int count, int params) {
  constexpr int W = Lanes<T>::W;
  const T* flat = reinterpret_cast<const T*>(values);
  if (params < 4 || count < W || W % 4) {
    for (int i = 0; i < count; ++i)
      for (int p = 0; p < params; ++p) base[i * lane + p] = flat[p * W + i];
    return;
  }
  for (int i = 0; i < W; i += 4) {
    for (int start = 0; start < params; start += 4) {
      const int p = std::min(start, params - 4);
      using S = Square<T>;
      const T* from = flat + p * W + i;
      S s{S::load(from), S::load(from + W), S::load(from + 2 * W), S::load(from + 3 * W)};
      s.transpose();
      T* to = base + i * lane + p;
      S::store(to, s.a), S::store(to + lane, s.b), S::store(to + 2 * lane, s.c), S::store(to + 3 * lane, s.d);
    }
  }
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
    const T* rows[Lanes<T>::W];  // an entry's parameters lie side by side
    for (int i = 0; i < Lanes<T>::W; ++i) rows[i] = base + (i < count ? i : count - 1) * lane;
    transpose_in(rows, out, params);
  }
  void store(Vec<T> value) const { store_to(base, value); }
  void store(const Vec<T>* values, int params) const {
    if (lane == 1 || param != 1) {
      for (int p = 0; p < params; ++p) store_to(base + p * param, values[p]);
      return;
    }
    transpose_out(values, base, lane, count, params);
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
      : data(data_of<T>(t)), s(strides_of(t, axes)), lanes_on_rows(event.lanes_on_rows) {}
  Walk(T* data_, Strides strides, const Event& event) : data(data_), s(strides), lanes_on_rows(event.lanes_on_rows) {}

  Cursor<T> at(int64_t b, int64_t m, int64_t n, int count) const {
    return {data + b * s.b + m * s.m + n * s.n, lanes_on_rows ? s.b : s.n, s.p, count};
  }
};

// W rows are a block, and so many blocks are walked together: what lies side by side in memory is then read in one go.
constexpr int TILE = 16;

// Calls visit(row, m, n, lanes in use, block of the tile) for all entries of the rows from first to last, W at a time, and
// done(row, lanes in use, block) after each row or block of rows; a tile's rows at most where lanes run over rows.
template <class T, class Work> void cover(const Event& event, int64_t first, int64_t last, Work& work) {
  constexpr int64_t W = Lanes<T>::W;
  const bool over_rows = event.lanes_on_rows;
  const int64_t row_step = over_rows ? W : 1, step = over_rows ? 1 : W;
  auto lanes = [&](int64_t row, int64_t n) { return static_cast<int>(std::min<int64_t>(W, over_rows ? last - row : event.n - n)); };
  for (int64_t m = 0; m < event.m; ++m)
    for (int64_t n = 0; n < event.n; n += step)
      for (int64_t row = first, block = 0; row < last; row += row_step, ++block) work.visit(row, m, n, lanes(row, n), block);
  for (int64_t row = first, block = 0; row < last; row += row_step, ++block) work.done(row, over_rows ? lanes(row, 0) : 1, block);
}

// How many rows `cover` takes at once.
template <class T> int64_t tile_rows(const Event& event) { return event.lanes_on_rows ? Lanes<T>::W * TILE : 1; }

// All tiles of an event, shared among threads; start() makes what a thread works with.
template <class T, class Start> void sweep(const Event& event, int64_t cost, const Start& start) {
  const int64_t size = tile_rows<T>(event), tiles = (event.rows + size - 1) / size;
  const int64_t grain = std::max<int64_t>(1, 65536 / std::max<int64_t>(1, event.m * event.n * size * cost));
  torch::stable::parallel_for(0, tiles, grain, [&](int64_t begin, int64_t end) {
    auto work = start();
    for (int64_t tile = begin; tile < end; ++tile)
      cover<T>(event, tile * size, std::min<int64_t>(event.rows, (tile + 1) * size), work);
  });
}

template <class T> inline Vec<T> blank(Vec<T> x, int count) {  // idle lanes add nothing to a sum
  for (int i = count; i < Lanes<T>::W; ++i) x[i] = T(0);
  return x;
}

// Where values are read and written, and the work on W entries of them.
template <class Map> struct Valuing {
  using T = typename Map::T;
  const Map& map;
  const Event& event;
  Walk<T> from, given, to, change;  // x, parameters, y, log-dets
  bool by_row;
  std::vector<Vec<T>> params = std::vector<Vec<T>>(map.num_params), scratch = std::vector<Vec<T>>(map.scratch);
  std::array<Vec<T>, TILE> total{};

  void visit(int64_t row, int64_t m, int64_t n, int count, int64_t block) {
    Vec<T> y, l;
    given.at(row, m, n, count).load(params.data(), map.num_params);
    map.value(from.at(row, m, n, count).load(), params.data(), scratch.data(), y, l);
    to.at(row, m, n, count).store(y);
    if (by_row) total[block] += event.lanes_on_rows ? l : blank<T>(l, count);
    else change.at(row, m, n, count).store(l);
  }
  void done(int64_t row, int count, int64_t block) {
    if (!by_row) return;
    if (event.lanes_on_rows) {
      change.at(row, 0, 0, count).store(total[block]);
    } else {
      T sum = 0;
      for (int i = 0; i < Lanes<T>::W; ++i) sum += total[block][i];
      change.data[row * change.s.b] = sum;
    }
    total[block] = Vec<T>{};
  }
};

// The same of gradients.
template <class Map> struct Pulling {
  using T = typename Map::T;
  const Map& map;
  const Event& event;
  Walk<T> from, given, above, change, to, back;  // x, parameters, gradients by y and log-det; gradients by x and parameters
  bool by_row;
  std::vector<Vec<T>> params = std::vector<Vec<T>>(map.num_params), scratch = std::vector<Vec<T>>(map.scratch), grad = params;

  void visit(int64_t row, int64_t m, int64_t n, int count, int64_t) {
    given.at(row, m, n, count).load(params.data(), map.num_params);
    const Vec<T> l = !by_row               ? change.at(row, m, n, count).load()
                     : event.lanes_on_rows ? change.at(row, 0, 0, count).load()
                                           : all<T>(change.data[row * change.s.b]);
    const Vec<T> dx = map.pull(from.at(row, m, n, count).load(), params.data(), scratch.data(),
                               above.at(row, m, n, count).load(), l, grad.data());
    to.at(row, m, n, count).store(dx);
    back.at(row, m, n, count).store(grad.data(), map.num_params);
  }
  void done(int64_t, int, int64_t) {}
};

// y and the log-det of each entry, or summed over each row.
template <class Map> std::tuple<Tensor, Tensor> values(const Map& map, const Tensor& x_, const Tensor& params_, bool by_row) {
  using T = typename Map::T;
  const int64_t axes = x_.dim();
  check_shapes(x_, params_, map.num_params);
  const Tensor x = viewable(x_, axes), params = viewable(params_, axes);
  const Event event = event_of(x, Lanes<T>::W);
  const Tensor y = torch::stable::empty_like(x), logdet = by_row ? new_tensor(x, {event.rows}) : torch::stable::empty_like(y);
  sweep<T>(event, map.num_params, [&] {
    return Valuing<Map>{map, event, {x, axes, event}, {params, axes, event}, {y, axes, event}, {logdet, by_row ? 1 : axes, event}, by_row};
  });
  return {y, logdet};
}

// The gradients by x and by the parameters.
template <class Map>
std::tuple<Tensor, Tensor> pulls(
    const Map& map, const Tensor& x_, const Tensor& params_, const Tensor& grad_y_, const Tensor& grad_logdet_, bool by_row) {
  using T = typename Map::T;
  const int64_t axes = x_.dim();
  check_shapes(x_, params_, map.num_params);
  const Tensor x = viewable(x_, axes), params = viewable(params_, axes), grad_y = viewable(grad_y_, axes);
  const Tensor grad_logdet = by_row ? grad_logdet_ : viewable(grad_logdet_, axes);
  const Event event = event_of(x, Lanes<T>::W);
  const Tensor grad_x = torch::stable::empty_like(x), grad_params = torch::stable::empty_like(params);
  sweep<T>(event, 2 * map.num_params, [&] {
    return Pulling<Map>{map, event, {x, axes, event}, {params, axes, event}, {grad_y, axes, event},
                        {grad_logdet, by_row ? 1 : axes, event}, {grad_x, axes, event}, {grad_params, axes, event}, by_row};
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
