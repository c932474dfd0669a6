// Coupling layers of vectors in one go: layer after layer, rows go in blocks that fit into the cache through the network and,
// while the parameters are at hand, through the map; backwards the same.
//
// Blocks, and the groups of blocks that gradients of weights are summed over, depend on shapes alone: the same bits for any
// number of threads.
#pragma once

#include "network.h"

#include <optional>

namespace diffeo {

// Which columns condition and which are transformed: from `a` and from `b` on, each `step` from the one before.
struct Cut { int64_t a, b, step; };

// Memory of a thread that outlives the call: asking the system for it each time takes a tenth of a pass.
template <class T> T* thread_memory(size_t count) {
  static thread_local std::vector<T> memory;
  if (memory.size() < count) memory.resize(count);
  return memory.data();
}

template <class T> void copy(const Matrix<T>& from, const Matrix<T>& to) {
  for (int64_t i = 0; i < to.rows; ++i)
    for (int64_t j = 0; j < to.columns; ++j) to(i, j) = from(i, j);
}

template <class T> void add(const Matrix<T>& from, const Matrix<T>& to) {
  for (int64_t i = 0; i < to.rows; ++i)
    for (int64_t j = 0; j < to.columns; ++j) to(i, j) += from(i, j);
}

// One layer, on a block of rows. Events and contexts are (rows, columns), all else is (features, rows).
template <class Map> struct Coupling {
  using T = typename Map::T;
  const Map& map;
  Cut cut;
  Network<T> net;
  int64_t size_a, size_b;

  Coupling(const Map& map_, Cut cut_, const Tensors& weights, const Tensors& biases, const Tensor& x, int64_t context)
      : map(map_), cut(cut_), net(weights, biases), size_b(net.outputs() / map.num_params) {
    size_a = x.size(1) - size_b;
    check_network(x, weights, biases, size_a + context, map.num_params);
    auto within = [&](int64_t first, int64_t count) { return count == 0 || (first >= 0 && first + (count - 1) * cut.step < x.size(1)); };
    STD_TORCH_CHECK(cut.step >= 1 && within(cut.a, size_a) && within(cut.b, size_b), "diffeo: columns outside of x");
  }

  Matrix<T> a(const Matrix<T>& m) const { return {m.data + cut.a * m.column, m.rows, size_a, m.row, cut.step * m.column}; }
  Matrix<T> b(const Matrix<T>& m) const { return {m.data + cut.b * m.column, m.rows, size_b, m.row, cut.step * m.column}; }

  Event event(int64_t rows) const { return {rows, 1, size_b, rows >= Lanes<T>::W || size_b < Lanes<T>::W}; }
  static Walk<T> entries(const Matrix<T>& m, const Event& event) { return {m.data, {m.row, 0, m.column, 0}, event}; }
  Walk<T> params(const Matrix<T>& m, const Event& event) const { return {m.data, {1, 0, map.num_params * m.row, m.row}, event}; }
  static Walk<T> by_row(T* numbers, const Event& event) { return {numbers, {1, 0, 0, 0}, event}; }

  // What the network reads: conditioning columns and context.
  Matrix<T> input(const Matrix<T>& x, const Matrix<T>& context, T* place) const {
    const Matrix<T> to(place, net.inputs(), x.rows);
    copy(a(x), to.part(0, size_a).t());
    copy(context, to.part(size_a, net.inputs()).t());
    return to;
  }

  // The transformed columns of x become those of y; log-dets are added to `logdet`. `outputs` are where layers write to.
  void forward(const Matrix<T>& x, const Matrix<T>& context, const std::vector<Matrix<T>>& outputs, const Matrix<T>& y, T* logdet,
               T* memory) const {
    Matrix<T> h = input(x, context, memory);
    for (size_t i = 0; i < net.depth(); ++i) {
      net.layers[i].forward(outputs[i], h, i + 1 < net.depth());
      h = outputs[i];
    }
    const Event event = this->event(x.rows);
    T* own = memory;  // the input has been used by now
    Valuing<Map> work{map, event, entries(b(x), event), params(h, event), entries(b(y), event), by_row(own, event), true};
    run(event, work);
    for (int64_t i = 0; i < x.rows; ++i) logdet[i] += own[i];
  }

  // `grad`, by y, becomes that by x, as far as it is wanted; gradients by the context and, where wanted, by the network are added.
  void backward(const Matrix<T>& x, const Matrix<T>& context, const std::vector<Matrix<T>>& outputs, const Matrix<T>& grad,
                const Matrix<T>& grad_context, T* grad_logdet, T* memory, int64_t block, const typename Sums<T>::Group* sums,
                bool want_input) const {
    const Event event = this->event(x.rows);
    Matrix<T> g = place(memory, net.depth() - 1, x.rows, block);
    Pulling<Map> work{map, event, entries(b(x), event), params(outputs.back(), event), entries(b(grad), event),
                      by_row(grad_logdet, event), entries(b(grad), event), params(g, event), true};
    run(event, work);
    for (size_t i = net.depth(); i-- > 0;) {
      const Layer<T>& layer = net.layers[i];
      const Matrix<T> in = i ? outputs[i - 1] : input(x, context, memory);
      if (sums) sums->add(i, layer, g, in);
      if (i == 0 && !want_input) return;
      const Matrix<T> next = i ? place(memory, i - 1, x.rows, block) : in;  // the input has been used by now
      product(next, layer.weight.t(), g);
      if (i) unbend(next, in);
      g = next;
    }
    add(g.part(0, size_a).t(), a(grad));
    add(g.part(size_a, net.inputs()).t(), grad_context);
  }

  // Memory of a block: its input or log-dets, and outputs of hidden layers and of the last.
  int64_t memory() const { return std::max<int64_t>(1, net.inputs()) + 2 * net.widest + net.outputs(); }
  Matrix<T> place(T* memory, size_t layer, int64_t rows, int64_t block) const {
    const int64_t before = std::max<int64_t>(1, net.inputs()) + (layer + 1 == net.depth() ? 2 : layer % 2) * net.widest;
    return {memory + block * before, net.layers[layer].outputs(), rows};
  }

  template <class Work> static void run(const Event& event, Work& work) {
    const int64_t size = tile_rows<T>(event);
    for (int64_t row = 0; row < event.rows; row += size) cover<T>(event, row, std::min(event.rows, row + size), work);
  }
};

// Layers one after the other.
template <class Map> struct Couplings {
  using T = typename Map::T;
  const Map& map;
  const Tensor x, context;  // (B, D), (B, C)
  std::vector<Coupling<Map>> layers;
  int64_t rows, block, blocks, memory = 0;  // of a block: so many rows that their parameters take a quarter of a megabyte

  Couplings(const Map& map_, const Tensor& x_, const std::optional<Tensor>& context_, const Tensors& weights, const Tensors& biases,
            const std::vector<int64_t>& cuts)
      : map(map_), x(x_), context(context_ ? *context_ : new_tensor(x, {x.size(0), 0})), rows(x.size(0)) {
    const size_t count = cuts.size() / 3, depth = count ? weights.size() / count : 0;
    STD_TORCH_CHECK(x.dim() == 2 && context.dim() == 2 && context.size(0) == rows && context.scalar_type() == x.scalar_type(),
                    "diffeo: x (B, D) and a context (B, C) of the same dtype");
    STD_TORCH_CHECK(depth && cuts.size() == 3 * count && weights.size() == count * depth && biases.size() == count * depth,
                    "diffeo: three numbers and equally many weights and biases a coupling layer");
    for (size_t i = 0; i < count; ++i) {
      auto own = [&](const Tensors& all) { return Tensors(all.begin() + i * depth, all.begin() + (i + 1) * depth); };
      layers.emplace_back(map, Cut{cuts[3 * i], cuts[3 * i + 1], cuts[3 * i + 2]}, own(weights), own(biases), x, context.size(1));
    }
    int64_t outputs = 1;
    for (const auto& layer : layers) outputs = std::max(outputs, layer.net.outputs()), memory = std::max(memory, layer.memory());
    block = std::clamp<int64_t>(65536 / outputs / 16 * 16, 32, 128);
    blocks = (rows + block - 1) / block;
  }

  // What backward wants of a layer lies one layer after the other: what its network hands on, (outputs, rows) block by block, and
  // what it makes of its input, (rows, D), but for the last.
  int64_t kept_size(size_t i) const { return rows * (layers[i].net.all_outputs + (i + 1 < layers.size() ? x.size(1) : 0)); }
  T* kept_of(const Tensor& kept, size_t layer) const {
    T* place = data_of<T>(kept);
    for (size_t i = 0; i < layer; ++i) place += kept_size(i);
    return place;
  }
  Matrix<T> kept_result(const Tensor& kept, size_t i) const {
    return {kept_of(kept, i) + rows * layers[i].net.all_outputs, rows, x.size(1)};
  }
  std::vector<Matrix<T>> kept_outputs(const Tensor& kept, size_t i, int64_t first, int64_t last) const {
    std::vector<Matrix<T>> found;
    T* place = kept_of(kept, i) + first * layers[i].net.all_outputs;
    for (const Layer<T>& part : layers[i].net.layers) {
      found.emplace_back(place, part.outputs(), last - first);
      place += part.outputs() * (last - first);
    }
    return found;
  }

  std::vector<Matrix<T>> passing(const Coupling<Map>& layer, T* memory, int64_t rows_) const {
    std::vector<Matrix<T>> found;
    for (size_t i = 0; i < layer.net.depth(); ++i) found.push_back(layer.place(memory, i, rows_, block));
    return found;
  }

  // Calls visit(first row, last row) for some blocks. Layers are outside of this loop: their weights then stay in the cache.
  template <class Visit> void each_block(int64_t begin, int64_t end, const Visit& visit) const {
    for (int64_t i = begin; i < end; ++i) visit(i * block, std::min(rows, (i + 1) * block));
  }

  // y, its log-det by row and, if `keep`, what backward wants, in one piece: many would be given back to the system after each step.
  std::tuple<Tensor, Tensor, Tensor> forward(bool keep) const {
    const Tensor y = new_tensor(x, {rows, x.size(1)}), logdet = torch::stable::new_zeros(x, {&rows, 1});
    int64_t size = 0;
    for (size_t i = 0; keep && i < layers.size(); ++i) size += kept_size(i);
    const Tensor kept = new_tensor(x, {size});
    torch::stable::parallel_for(0, blocks, 1, [&](int64_t begin, int64_t end) {
      T* own = thread_memory<T>(block * memory);
      for (size_t i = 0; i < layers.size(); ++i) {
        const Matrix<T> from = i == 0 ? Matrix<T>(x) : keep ? kept_result(kept, i - 1) : Matrix<T>(y);
        const Matrix<T> to = keep && i + 1 < layers.size() ? kept_result(kept, i) : Matrix<T>(y);
        each_block(begin, end, [&](int64_t first, int64_t last) {
          if (to.data != from.data) copy(from.part(first, last), to.part(first, last));
          const auto outputs = keep ? kept_outputs(kept, i, first, last) : passing(layers[i], own, last - first);
          layers[i].forward(from.part(first, last), Matrix<T>(context).part(first, last), outputs, to.part(first, last),
                            data_of<T>(logdet) + first, own);
        });
      }
    });
    return {y, logdet, kept};
  }

  // The gradients by x, context, weights and biases. Without `want_input` nothing goes through the first network to its input,
  // and without `want_net` gradients of weights and biases are left out.
  std::tuple<Tensor, Tensor, Tensors, Tensors> backward(const Tensor& grad_y, const Tensor& grad_logdet_, const Tensor& kept,
                                                        bool want_input, bool want_net) const {
    const std::array<int64_t, 2> like_context{rows, context.size(1)};
    const Tensor grad = new_tensor(x, {rows, x.size(1)}), grad_context = torch::stable::new_zeros(x, {like_context.data(), 2});
    const Tensor grad_logdet = torch::stable::contiguous(grad_logdet_);
    const int64_t groups = std::min<int64_t>(16, (rows + 255) / 256);  // each has sums of its own to fill and to add up
    std::vector<Sums<T>> sums;
    for (size_t i = 0; want_net && i < layers.size(); ++i) sums.emplace_back(layers[i].net, x, groups);
    torch::stable::parallel_for(0, groups, 1, [&](int64_t begin, int64_t end) {
      T* own = thread_memory<T>(block * memory);
      for (int64_t number = begin; number < end; ++number) {
        const int64_t begin_block = blocks * number / groups, end_block = blocks * (number + 1) / groups;
        each_block(begin_block, end_block, [&](int64_t first, int64_t last) {
          copy(Matrix<T>(grad_y).part(first, last), Matrix<T>(grad).part(first, last));
        });
        for (size_t i = layers.size(); i-- > 0;) {
          const auto group = want_net ? sums[i].group(number) : typename Sums<T>::Group();
          const Matrix<T> from = i ? kept_result(kept, i - 1) : Matrix<T>(x);
          each_block(begin_block, end_block, [&](int64_t first, int64_t last) {
            layers[i].backward(from.part(first, last), Matrix<T>(context).part(first, last), kept_outputs(kept, i, first, last),
                               Matrix<T>(grad).part(first, last), Matrix<T>(grad_context).part(first, last),
                               data_of<T>(grad_logdet) + first, own, block, want_net ? &group : nullptr, i || want_input);
          });
        }
      }
    });
    Tensors grad_weights, grad_biases;
    for (Sums<T>& sum : sums) sum.finish(grad_weights, grad_biases);
    return {grad, grad_context, grad_weights, grad_biases};
  }
};

}  // namespace diffeo
