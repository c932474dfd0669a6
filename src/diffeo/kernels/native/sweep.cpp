#include "sweep.h"

#include "parallel.h"

#include <array>

namespace diffeo {

// out[p][i] = rows[i][p]
template <class T> void transpose_in(const T* const* rows, Vec<T>* out, int params) {
  constexpr int W = Lanes<T>::W;
  T* flat = reinterpret_cast<T*>(out);
  if (params < 4 || W % 4) {
    for (int i = 0; i < W; ++i)
      for (int p = 0; p < params; ++p) flat[p * W + i] = rows[i][p];
    return;
  }
  for (int start = 0; start < params; start += 4) {
    const int p = std::min(start, params - 4);  // the last four may be partly done already
    for (int i = 0; i < W; i += 4)
      Square<T>(rows[i] + p, rows[i + 1] + p, rows[i + 2] + p, rows[i + 3] + p)
          .store(flat + p * W + i, W);
  }
}

// base[i · lane + p] = values[p][i]
template <class T>
void transpose_out(const Vec<T>* values, T* base, int64_t lane, int count, int params) {
  constexpr int W = Lanes<T>::W;
  const T* flat = reinterpret_cast<const T*>(values);
  if (params < 4 || count < W || W % 4) {
    for (int i = 0; i < count; ++i)
      for (int p = 0; p < params; ++p) base[i * lane + p] = flat[p * W + i];
    return;
  }
  for (int i = 0; i < W; i += 4)
    for (int start = 0; start < params; start += 4) {
      const int p = std::min(start, params - 4);
      Square<T>(flat + p * W + i, W).store(base + i * lane + p, lane);
    }
}

// W entries of a walk.
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
    if (lane == 1 && count == Lanes<T>::W) return diffeo::load(from);
    Vec<T> out;
    for (int i = 0; i < Lanes<T>::W; ++i)
      out[i] = from[(i < count ? i : count - 1) * lane];  // idle lanes repeat the last
    return out;
  }
  void store_to(T* to, Vec<T> value) const {
    if (lane == 1) return diffeo::store<T>(to, value, count);
    for (int i = 0; i < count; ++i) to[i * lane] = value[i];
  }
};

// W rows are a block, and so many blocks are walked together: what lies side by side in memory is
// then read in one go.
constexpr int TILE = 16;

// Calls visit(row, m, n, lanes in use, block of the tile) for all entries of the rows from first to
// last, W at a time, and done(row, lanes in use, block) after each row or block of rows.
template <class T, class Work>
void cover(const Event& event, int64_t first, int64_t last, Work& work) {
  constexpr int64_t W = Lanes<T>::W;
  const bool over_rows = event.lanes_on_rows;
  const int64_t row_step = over_rows ? W : 1, step = over_rows ? 1 : W;
  auto lanes = [&](int64_t row, int64_t n) {
    return static_cast<int>(std::min<int64_t>(W, over_rows ? last - row : event.n - n));
  };
  for (int64_t m = 0; m < event.m; ++m)
    for (int64_t n = 0; n < event.n; n += step)
      for (int64_t row = first, block = 0; row < last; row += row_step, ++block)
        work.visit(row, m, n, lanes(row, n), block);
  for (int64_t row = first, block = 0; row < last; row += row_step, ++block)
    work.done(row, over_rows ? lanes(row, 0) : 1, block);
}

// All tiles of an event, shared among threads; start() makes what a thread works with.
template <class T, class Start> void sweep(const Event& event, int64_t cost, const Start& start) {
  const int64_t size = event.lanes_on_rows ? Lanes<T>::W * TILE : 1,
                tiles = (event.rows + size - 1) / size;
  const int64_t grain =
      std::max<int64_t>(1, 65536 / std::max<int64_t>(1, event.m * event.n * size * cost));
  parallel_for(tiles, grain, [&](int64_t begin, int64_t end) {
    auto work = start();
    for (int64_t tile = begin; tile < end; ++tile)
      cover<T>(event, tile * size, std::min<int64_t>(event.rows, (tile + 1) * size), work);
  });
}

template <class T>
Cursor<T> at(const Walk<T>& walk, const Event& event, int64_t b, int64_t m, int64_t n, int count) {
  const Strides& s = walk.s;
  return {walk.data + b * s.b + m * s.m + n * s.n, event.lanes_on_rows ? s.b : s.n, s.p, count};
}

// Where values are read and written, and the work on W entries of them.
template <class T> struct Values {
  const Map<T>& map;
  const Event& event;
  Walk<T> x, given, to, logdet;
  bool by_row;
  std::vector<Vec<T>> params = std::vector<Vec<T>>(map.num_params),
                      scratch = std::vector<Vec<T>>(map.scratch);
  std::array<Vec<T>, TILE> total{};

  void visit(int64_t row, int64_t m, int64_t n, int count, int64_t block) {
    Vec<T> y, l;
    at(given, event, row, m, n, count).load(params.data(), map.num_params);
    map.value(at(x, event, row, m, n, count).load(), params.data(), scratch.data(), y, l);
    at(to, event, row, m, n, count).store(y);
    if (!by_row) return at(logdet, event, row, m, n, count).store(l);
    for (int i = event.lanes_on_rows ? Lanes<T>::W : count; i < Lanes<T>::W; ++i)
      l[i] = T(0);  // idle lanes add nothing to a sum
    total[block] += l;
  }
  void done(int64_t row, int count, int64_t block) {
    if (!by_row) return;
    if (event.lanes_on_rows) {
      at(logdet, event, row, 0, 0, count).store(total[block]);
    } else {
      T sum = 0;
      for (int i = 0; i < Lanes<T>::W; ++i) sum += total[block][i];
      logdet.data[row * logdet.s.b] = sum;
    }
    total[block] = Vec<T>{};
  }
};

// The same of gradients.
template <class T> struct Vjp {
  const Map<T>& map;
  const Event& event;
  Walk<T> x, given, grad_y, grad_logdet, to, back;
  bool by_row;
  std::vector<Vec<T>> params = std::vector<Vec<T>>(map.num_params),
                      scratch = std::vector<Vec<T>>(map.scratch), grad = params;

  void visit(int64_t row, int64_t m, int64_t n, int count, int64_t) {
    at(given, event, row, m, n, count).load(params.data(), map.num_params);
    const Vec<T> l = !by_row               ? at(grad_logdet, event, row, m, n, count).load()
                     : event.lanes_on_rows ? at(grad_logdet, event, row, 0, 0, count).load()
                                           : all<T>(grad_logdet.data[row * grad_logdet.s.b]);
    const Vec<T> dx = map.vjp(at(x, event, row, m, n, count).load(), params.data(), scratch.data(),
                              at(grad_y, event, row, m, n, count).load(), l, grad.data());
    at(to, event, row, m, n, count).store(dx);
    at(back, event, row, m, n, count).store(grad.data(), map.num_params);
  }
  void done(int64_t, int, int64_t) {}
};

template <class T>
void sweep_values(const Map<T>& map, const Event& event, Walk<T> x, Walk<T> params, Walk<T> to,
                  Walk<T> logdet, bool by_row) {
  sweep<T>(event, map.num_params,
           [&] { return Values<T>{map, event, x, params, to, logdet, by_row}; });
}

template <class T>
void sweep_vjps(const Map<T>& map, const Event& event, Walk<T> x, Walk<T> params, Walk<T> grad_y,
                Walk<T> grad_logdet, Walk<T> to, Walk<T> back, bool by_row) {
  sweep<T>(event, 2 * map.num_params,
           [&] { return Vjp<T>{map, event, x, params, grad_y, grad_logdet, to, back, by_row}; });
}

using F = float;
using D = double;
template void sweep_values(const Map<F>&, const Event&, Walk<F>, Walk<F>, Walk<F>, Walk<F>, bool);
template void sweep_values(const Map<D>&, const Event&, Walk<D>, Walk<D>, Walk<D>, Walk<D>, bool);
template void sweep_vjps(const Map<F>&, const Event&, Walk<F>, Walk<F>, Walk<F>, Walk<F>, Walk<F>,
                         Walk<F>, bool);
template void sweep_vjps(const Map<D>&, const Event&, Walk<D>, Walk<D>, Walk<D>, Walk<D>, Walk<D>,
                         Walk<D>, bool);

}  // namespace diffeo
