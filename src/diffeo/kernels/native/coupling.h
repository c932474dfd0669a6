// Coupling layers of vectors in one go: layer after layer, rows go in blocks that fit into the cache through the network and,
// while the parameters are at hand, through the map; backwards the same.
//
// Blocks, and the groups of blocks that gradients of weights are summed over, depend on shapes alone: the same bits for any
// number of threads.
#pragma once

#include "map.h"
#include "network.h"

namespace diffeo {

// Which columns condition and which are transformed: from `a` and from `b` on, each `step` from the one before.
struct Cut { int64_t a, b, step; };

// One layer, on a block of rows: `state` is (columns, rows), rows up to a full vector.
template <class T> struct Coupling {
  const Map<T>& map;
  Cut cut;
  Network<T> net;
  int64_t size_a, size_b;

  // Raises std::runtime_error where the layers do not fit together, or to x and context.
  Coupling(const Map<T>& map, Cut cut, std::vector<Layer<T>> layers, int64_t columns, int64_t context);

  Matrix<T> a(const Matrix<T>& m) const { return {m.data + cut.a * m.row, size_a, m.columns, cut.step * m.row}; }
  Matrix<T> b(const Matrix<T>& m) const { return {m.data + cut.b * m.row, size_b, m.columns, cut.step * m.row}; }

  // What the network reads: conditioning columns and context.
  Matrix<T> input(const Matrix<T>& state, const Matrix<T>& context, T* memory) const;
  // The transformed columns of `state` go to `next`, their log-dets are added to those of the first `rows`.
  void forward(const Matrix<T>& state, const Matrix<T>& context, const Matrix<T>& next, T* outputs, T* logdet, int64_t rows,
               T* memory) const;
  // `grad`, by what came out, becomes that by what went in, as far as it is wanted; that by the context is added.
  void backward(const Matrix<T>& state, const Matrix<T>& context, T* outputs, const Matrix<T>& grad, const Matrix<T>& grad_context,
                const T* grad_logdet, int64_t rows, const Layer<T>* sums, bool add, bool want_input, T* memory) const;

  int64_t memory() const { return net.inputs() + net.outputs() + net.memory(); }  // by row
};

// Layers one after the other.
template <class T> struct Couplings {
  const Map<T>& map;
  Matrix<T> x, context;  // (B, D), (B, C)
  std::vector<Coupling<T>> layers;
  int64_t block, blocks, memory = 0, widest = 1;

  Couplings(const Map<T>& map, Matrix<T> x, Matrix<T> context, const std::vector<Layer<T>>& linear, const std::vector<Cut>& cuts);

  // Numbers that backward wants: of each layer its input and what its network hands on, block by block, and the result.
  int64_t kept_size() const { return place_of(layers.size(), 0) + full_rows() * x.columns; }

  // y and its log-dets; `kept` may be null.
  void forward(const Matrix<T>& y, T* logdet, T* kept) const;
  // The gradients. Those by weights and biases go to `by_layers`, which may be empty; without `want_input` nothing goes through
  // the first network to its input.
  void backward(const Matrix<T>& grad_y, const T* grad_logdet, T* kept, const Matrix<T>& grad_x, const Matrix<T>& grad_context,
                const std::vector<Layer<T>>& by_layers, bool want_input) const;

 private:
  struct Block { int64_t first, rows, full; };
  Block block_of(int64_t number) const {
    const int64_t first = number * block, rows = std::min(block, x.rows - first);
    return {first, rows, Network<T>::full(rows)};
  }
  int64_t full_rows() const { return Network<T>::full(x.rows); }
  int64_t place_of(size_t layer, int64_t row) const {
    int64_t place = 0;
    for (size_t i = 0; i < layer; ++i) place += full_rows() * (x.columns + layers[i].net.all_outputs);
    return place + row * (x.columns + (layer < layers.size() ? layers[layer].net.all_outputs : 0));
  }
};

}  // namespace diffeo
