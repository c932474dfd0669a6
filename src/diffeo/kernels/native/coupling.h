// Coupling layers of vectors and images in one go: layer after layer, events go in blocks that fit into the cache through the
// network and, while the parameters are at hand, through the map; backwards the same.
//
// Blocks, and the groups of blocks that gradients of weights are summed over, depend on shapes alone: the same bits for any
// number of threads.
#pragma once

#include "map.h"
#include "network.h"

namespace diffeo {

// The features (columns of vectors, channels of images) of an event: those that condition, then those that are transformed.
using Cut = std::vector<int64_t>;

// A batch of events in memory: (B, D) or (B, C, H, W), with any strides.
template <class T> struct Events {
  T* data;
  int64_t count, features, event, feature, y, x;  // how many; strides

  // Calls visit(position, (positions, features)) for what lies evenly in memory: some vectors, or a row of an image.
  template <class Visit> void each_line(const Grid& grid, int64_t first, int64_t last, const Visit& visit) const {
    if (!grid.image()) return visit(0, Matrix<T>(data + first * event, last - first, features, event, feature));
    for (int64_t i = first; i < last; ++i)
      for (int64_t row = 0; row < grid.height; ++row)
        visit((i - first) * grid.positions() + row * (grid.width + 1),
              Matrix<T>(data + i * event + row * y, grid.width, features, x, feature));
  }
};

// A block of events on their way through the layers.
struct Block {
  const Grid& grid;
  int64_t first, last;  // events
  Layout layout{grid, last - first};
};

// One layer, on a block; what it works on is (features, positions).
template <class T> struct Coupling {
  const Map<T>& map;
  Cut cut;
  Network<T> net;
  int64_t size_a, size_b;

  // Raises std::runtime_error where the layers do not fit together, or to x and context.
  Coupling(const Map<T>& map, Cut cut, std::vector<Layer<T>> layers, int64_t features, int64_t context);

  T* conditioning(const Matrix<T>& m, int64_t i) const { return m.data + cut[i] * m.row; }
  T* transformed(const Matrix<T>& m, int64_t i) const { return m.data + cut[size_a + i] * m.row; }

  // What the network reads: the conditioning part and the context.
  Matrix<T> input(const Matrix<T>& state, const Matrix<T>& context, const Layout& layout, T* memory) const;
  // The transformed part of `state` goes to `next`, log-dets are added to those of the events.
  void forward(const Block& block, const Matrix<T>& state, const Matrix<T>& context, const Matrix<T>& next, T* outputs, T* logdet,
               const T* mask, T* memory) const;
  // `grad`, by what came out, becomes that by what went in, as far as it is wanted; that by the context is added.
  void backward(const Block& block, const Matrix<T>& state, const Matrix<T>& context, T* outputs, const Matrix<T>& grad,
                const Matrix<T>& grad_context, const T* grad_logdet, const T* mask, const Layer<T>* sums, bool add,
                bool want_input, T* memory) const;

  int64_t memory(const Layout& layout) const {
    return layout.row + layout.size(net.inputs()) + layout.size(net.outputs()) + net.memory(layout);
  }
};

// Layers one after the other.
template <class T> struct Couplings {
  const Map<T>& map;
  Grid grid;
  Events<T> x, context;
  std::vector<Coupling<T>> layers;
  int64_t size, blocks;  // events of a block, and how many blocks
  std::vector<T> mask;   // 1 at positions within an image and 0 between; empty for vectors

  Couplings(const Map<T>& map, const Grid& grid, const Events<T>& x, const Events<T>& context, const std::vector<Layer<T>>& linear,
            const std::vector<Cut>& cuts, int64_t size);

  // Numbers that backward wants: of each layer its input and what its network hands on, block by block, and the result.
  int64_t kept_size() const { return place_of(layers.size(), blocks); }

  // y and its log-dets; `kept` may be null.
  void forward(const Events<T>& y, T* logdet, T* kept) const;
  // The gradients. Those by weights and biases go to `by_layers`, which may be empty; without `want_input` nothing goes through
  // the first network to its input.
  void backward(const Events<T>& grad_y, const T* grad_logdet, T* kept, const Events<T>& grad_x, const Events<T>& grad_context,
                const std::vector<Layer<T>>& by_layers, bool want_input) const;

 private:
  Block block_of(int64_t number) const { return {grid, number * size, std::min(x.count, (number + 1) * size)}; }
  Layout whole() const { return {grid, size}; }
  int64_t place_of(size_t layer, int64_t number) const {
    auto slot = [&](size_t i) {
      return whole().size(x.features) + (i < layers.size() ? layers[i].net.outputs_size(whole()) : 0);
    };
    int64_t place = number * slot(layer);
    for (size_t i = 0; i < layer; ++i) place += blocks * slot(i);
    return place;
  }
};

}  // namespace diffeo
