// Coupling layers of vectors and images in one go: layer after layer, events go in blocks that fit
// into the cache through the network and, while the parameters are at hand, through the map;
// backwards the same.
//
// Blocks, and the groups of blocks that gradients of weights are summed over, depend on shapes
// alone: the same bits for any number of threads.
#pragma once

#include "../native/map.h"
#include "network.h"

#include <bit>

namespace diffeo {

// The features (columns of vectors, channels of images) of an event: those that condition, then
// those that are transformed.
using Order = std::vector<int64_t>;

// A batch of events in memory: (B, D) or (B, C, H, W), with any strides.
template <class T> struct Events {
  T* data;
  int64_t count, features, event, feature, y, x;  // how many; strides

  // Calls visit(position, (positions, features)) for what lies evenly in memory: some vectors, or a
  // row of an image.
  template <class Visit>
  void each_line(const Grid& grid, int64_t first, int64_t last, const Visit& visit) const {
    if (!grid.image())
      return visit(0, Matrix<T>(data + first * event, last - first, features, event, feature));
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
  Order order;
  Network<T> net;
  int64_t size_a, size_b;

  // Raises std::runtime_error where the layers do not fit together, or to x and context.
  Coupling(const Map<T>& map, Order order, std::vector<Layer<T>> layers, int64_t features,
           int64_t context);

  T* conditioning(const Matrix<T>& m, int64_t i) const { return m.data + order[i] * m.row; }
  T* transformed(const Matrix<T>& m, int64_t i) const { return m.data + order[size_a + i] * m.row; }

  // What the network reads: the conditioning part and the context.
  Matrix<T> input(const Matrix<T>& state, const Matrix<T>& context, const Layout& layout,
                  T* memory) const;
  // The transformed part of `state` goes to `next`, log-dets are added to those of the events.
  void forward(const Block& block, const Matrix<T>& state, const Matrix<T>& context,
               const Matrix<T>& next, T* outputs, T* logdet, const T* mask, T* memory) const;
  // `grad`, by what came out, becomes that by what went in, as far as it is wanted; that by the
  // context is added.
  void backward(const Block& block, const Matrix<T>& state, const Matrix<T>& context, T* outputs,
                const Matrix<T>& grad, const Matrix<T>& grad_context, const T* grad_logdet,
                const T* mask, const Layer<T>* sums, bool add, bool want_input, T* memory) const;

  int64_t memory(const Layout& layout) const {
    return layout.row + layout.size(net.inputs()) + layout.size(net.outputs()) + net.memory(layout);
  }
};

// How many events go in a block. Images are shared out evenly among a power of two of blocks, of
// 256 positions at least.
inline int64_t block_size(const Grid& grid, int64_t events) {
  if (!grid.image()) return 32;
  const int64_t blocks = int64_t(1)
                         << std::bit_width(static_cast<uint64_t>(events * grid.positions() / 256));
  const int64_t used = std::max<int64_t>(1, std::min(blocks, events));
  return std::max<int64_t>(1, (events + used - 1) / used);
}

// Where in memory lies what backward wants: of each layer, block by block, its input and what its
// network hands on; then the result, block by block.
struct Kept {
  int64_t blocks, state;         // how many; the numbers of a block's events
  std::vector<int64_t> outputs;  // the numbers that the network of each layer hands on, of a block

  int64_t offset(size_t layer, int64_t block) const {
    int64_t numbers = block * slot(layer);
    for (size_t i = 0; i < layer; ++i) numbers += blocks * slot(i);
    return numbers;
  }
  int64_t size() const { return offset(outputs.size(), blocks); }

 private:
  int64_t slot(size_t layer) const { return state + (layer < outputs.size() ? outputs[layer] : 0); }
};

// For `layers` coupling layers, whose networks have so many outputs in each of their layers, one
// network after the other.
Kept kept_for(const Grid& grid, int64_t events, int64_t features,
              const std::vector<int64_t>& outputs, size_t layers);

// Layers one after the other.
template <class T> struct Couplings {
  const Map<T>& map;
  Grid grid;
  Events<T> x, context;
  std::vector<Coupling<T>> layers;
  int64_t size;  // events of a block
  Kept layout;
  std::vector<T> mask;  // 1 at positions within an image and 0 between; empty for vectors

  Couplings(const Map<T>& map, const Grid& grid, const Events<T>& x, const Events<T>& context,
            const std::vector<Layer<T>>& linear, const std::vector<Order>& orders);

  // y and its log-dets; `kept` may be null. If `reversed`, it is kept as the layers that lead back
  // would keep it, in their order.
  void forward(const Events<T>& y, T* logdet, T* kept, bool reversed) const;
  // The gradients. Those by weights and biases go to `by_layers`, which may be empty; without
  // `want_input` nothing goes through the first network to its input.
  void backward(const Events<T>& grad_y, const T* grad_logdet, T* kept, const Events<T>& grad_x,
                const Events<T>& grad_context, const std::vector<Layer<T>>& by_layers,
                bool want_input) const;

 private:
  Block block_of(int64_t number) const {
    return {grid, number * size, std::min(x.count, (number + 1) * size)};
  }
  Layout whole() const { return {grid, size}; }
};

}  // namespace diffeo
