// A coupling layer of vectors in one go: rows go in blocks that fit into the cache, each through the network and, while the
// parameters are at hand, through the map; backwards the same.
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

template <class Map> struct Coupling {
  using T = typename Map::T;
  const Map& map;
  const Cut cut;
  const Network<T> net;
  const Tensor x, context;  // (B, D), (B, C)
  const int64_t size_b, size_a;
  const Event event;  // of the transformed columns
  const int64_t block, blocks;  // rows, so many that their parameters take a quarter of a megabyte

  Coupling(const Map& map_, Cut cut_, const Tensor& x_, const std::optional<Tensor>& context_, const Tensors& weights, const Tensors& biases)
      : map(map_), cut(cut_), net((check(map_, cut_, x_, context_, weights, biases), Network<T>(weights, biases))), x(x_),
        context(context_ ? *context_ : new_tensor(x, {x.size(0), 0})), size_b(net.outputs() / map.num_params),
        size_a(x.size(1) - size_b), event{x.size(0), 1, size_b, x.size(0) >= Lanes<T>::W || size_b < Lanes<T>::W},
        block(std::clamp<int64_t>(65536 / net.outputs() / 16 * 16, 32, 128)), blocks((event.rows + block - 1) / block) {}

  static void check(const Map& map, const Cut& cut, const Tensor& x, const std::optional<Tensor>& context, const Tensors& weights,
                    const Tensors& biases) {
    STD_TORCH_CHECK(x.dim() == 2 && !weights.empty(), "diffeo: x (B, D) and at least one layer");
    const bool joins = !context || (context->dim() == 2 && context->size(0) == x.size(0) && context->scalar_type() == x.scalar_type());
    STD_TORCH_CHECK(joins, "diffeo: a context (B, C) of the dtype of x");
    const int64_t size_b = weights.back().size(0) / map.num_params, size_a = x.size(1) - size_b;
    check_network(x, weights, biases, size_a + (context ? context->size(1) : 0), map.num_params);
    auto within = [&](int64_t first, int64_t count) {
      return count == 0 || (first >= 0 && first + (count - 1) * cut.step < x.size(1));
    };
    STD_TORCH_CHECK(cut.step >= 1 && within(cut.a, size_a) && within(cut.b, size_b), "diffeo: columns outside of x");
  }

  // The conditioning, or transformed, columns of a tensor like x.
  Matrix<T> a(const Tensor& t) const { return columns(t, cut.a, size_a); }
  Matrix<T> b(const Tensor& t) const { return columns(t, cut.b, size_b); }
  Matrix<T> columns(const Tensor& t, int64_t first, int64_t count) const {
    return {data_of<T>(t) + first * t.stride(1), t.size(0), count, t.stride(0), cut.step * t.stride(1)};
  }

  Walk<T> walk(const Matrix<T>& m) const { return {m.data, {m.row, 0, m.column, 0}, event}; }
  // Parameters of the rows from `first` on, seen as those of all rows.
  Walk<T> walk(const Matrix<T>& params, int64_t first) const {
    return {params.data - first * params.row, {params.row, 0, map.num_params, 1}, event};
  }

  // Memory for a block: its input, and outputs of hidden layers and of the last.
  T* memory() const { return thread_memory<T>(block * (net.inputs() + 2 * net.widest + net.outputs())); }
  T* place(T* memory, size_t layer) const {
    return memory + block * (net.inputs() + (layer + 1 == net.depth() ? 2 * net.widest : layer % 2 * net.widest));
  }

  // What the network reads: conditioning columns and context side by side.
  Matrix<T> input(T* memory, int64_t first, int64_t last) const {
    const Matrix<T> from = a(x).part(first, last), more = Matrix<T>(context).part(first, last);
    const Matrix<T> to(memory, last - first, net.inputs());
    for (int64_t i = 0; i < to.rows; ++i) {
      for (int64_t j = 0; j < size_a; ++j) to(i, j) = from(i, j);
      for (int64_t j = 0; j < more.columns; ++j) to(i, size_a + j) = more(i, j);
    }
    return to;
  }

  template <class Work> void run(int64_t first, int64_t last, Work& work) const {
    const int64_t size = tile_rows<T>(event);
    for (int64_t row = first; row < last; row += size) cover<T>(event, row, std::min(last, row + size), work);
  }

  // y, its log-det by row and, if `keep`, the outputs of all layers, which backward wants.
  std::tuple<Tensor, Tensor, Tensors> forward(bool keep) const {
    const Tensor y = new_tensor(x, {x.size(0), x.size(1)}), logdet = new_tensor(x, {x.size(0)});
    Tensors kept;
    for (const Layer<T>& layer : net.layers)
      if (keep) kept.push_back(new_tensor(x, {event.rows, layer.outputs()}));
    torch::stable::parallel_for(0, blocks, 1, [&](int64_t begin, int64_t end) {
      T* memory = this->memory();
      const Walk<T> from = walk(b(x)), to = walk(b(y)), change(logdet, 1, event);
      Valuing<Map> work{map, event, from, from, to, change, true};
      for (int64_t first = begin * block; first < std::min(event.rows, end * block); first += block) {
        const int64_t last = std::min(event.rows, first + block);
        Matrix<T> h = input(memory, first, last);
        for (size_t i = 0; i < net.depth(); ++i) {
          const Layer<T>& layer = net.layers[i];
          const Matrix<T> out = keep ? Matrix<T>(kept[i]).part(first, last) : Matrix<T>(place(memory, i), last - first, layer.outputs());
          layer.forward(out, h, i + 1 < net.depth());
          h = out;
        }
        work.given = walk(h, first);
        run(first, last, work);
        pass(a(x), a(y), first, last);
      }
    });
    return {y, logdet, kept};
  }

  void pass(const Matrix<T>& from, const Matrix<T>& to, int64_t first, int64_t last) const {
    for (int64_t i = first; i < last; ++i)
      for (int64_t j = 0; j < size_a; ++j) to(i, j) = from(i, j);
  }

  // The gradients by x, context, weights and biases. Without `want_input` nothing goes through the network to its input, and
  // without `want_net` its own gradients are left out.
  std::tuple<Tensor, Tensor, Tensors, Tensors> backward(const Tensor& grad_y, const Tensor& grad_logdet, const Tensors& kept,
                                                        bool want_input, bool want_net) const {
    const Tensor grad_x = new_tensor(x, {x.size(0), x.size(1)}), grad_context = new_tensor(context, {x.size(0), context.size(1)});
    const int64_t groups = std::min<int64_t>(16, (blocks + 1) / 2);
    Sums<T> sums(net, x, groups, want_net);
    torch::stable::parallel_for(0, groups, 1, [&](int64_t begin, int64_t end) {
      T* memory = this->memory();
      const Walk<T> from = walk(b(x)), above = walk(b(grad_y)), to = walk(b(grad_x)), change(grad_logdet, 1, event);
      Pulling<Map> work{map, event, from, from, above, change, to, from, true};
      for (int64_t number = begin; number < end; ++number) {
        const auto group = sums.group(number);
        const int64_t start = blocks * number / groups * block, stop = std::min(event.rows, blocks * (number + 1) / groups * block);
        for (int64_t first = start; first < stop; first += block) {
          const int64_t last = std::min(stop, first + block);
          Matrix<T> grad(place(memory, net.depth() - 1), last - first, net.outputs());
          work.given = walk(Matrix<T>(kept.back()).part(first, last), first);
          work.back = walk(grad, first);
          run(first, last, work);
          pass(a(grad_y), a(grad_x), first, last);
          for (size_t i = net.depth(); i-- > 0;) {
            const Layer<T>& layer = net.layers[i];
            const Matrix<T> in = i ? Matrix<T>(kept[i - 1]).part(first, last) : input(memory, first, last);
            if (want_net) {
              add_rows(group.biases[i], grad);
              if (layer.thin()) add_product(group.weights[i], in.t(), grad);
              else add_product(group.weights[i], grad.t(), in);
            }
            if (i == 0 && !want_input) break;
            const Matrix<T> next(i ? place(memory, i - 1) : memory, in.rows, in.columns);
            if (i) {
              product(next, grad, layer.weight);
              unbend(next, in);
            } else {
              // The other way round: its columns are few.
              const Matrix<T> turned(next.data, next.columns, next.rows);
              product(turned, layer.weight.t(), grad.t());
              give(turned.t(), a(grad_x), Matrix<T>(grad_context), first);
            }
            grad = next;
          }
        }
      }
    });
    sums.finish();
    for (size_t i = 0; i < sums.weights.size(); ++i)
      if (net.layers[i].thin()) sums.weights[i] = torch::stable::transpose(sums.weights[i], 0, 1);
    return {grad_x, grad_context, sums.weights, sums.biases};
  }

  void give(const Matrix<T>& grad, const Matrix<T>& grad_a, const Matrix<T>& grad_context, int64_t first) const {
    for (int64_t i = 0; i < grad.rows; ++i) {
      for (int64_t j = 0; j < size_a; ++j) grad_a(first + i, j) += grad(i, j);
      for (int64_t j = 0; j < grad_context.columns; ++j) grad_context(first + i, j) = grad(i, size_a + j);
    }
  }
};

}  // namespace diffeo
