#include "coupling.h"

#include "parallel.h"

namespace diffeo {

template <class T> void copy(const Matrix<T>& to, const Matrix<T>& from) {
  for (int64_t i = 0; i < to.rows; ++i) std::copy_n(from.data + i * from.row, to.columns, to.data + i * to.row);
}

// (rows, columns) of a tensor to (columns, rows) of a block; lanes beyond the rows are zero.
template <class T> void read(const Matrix<T>& block, const Matrix<T>& rows) {
  for (int64_t i = 0; i < block.rows && rows.rows < block.columns; ++i)
    std::fill(block.data + i * block.row + rows.rows, block.data + (i + 1) * block.row, T(0));
  transpose(block, rows);
}

// And back.
template <class T> void write(const Matrix<T>& rows, const Matrix<T>& block) {
  transpose(rows, Matrix<T>(block.data, block.rows, rows.rows, block.row));
}

template <class T>
Coupling<T>::Coupling(const Map<T>& map_, Cut cut_, std::vector<Layer<T>> layers, int64_t columns, int64_t context)
    : map(map_), cut(cut_), net(std::move(layers)), size_b(net.outputs() / map.num_params) {
  size_a = net.inputs() - context;
  bool fits = size_a + size_b == columns && size_b * map.num_params == net.outputs();
  for (size_t i = 1; i < net.layers.size(); ++i) fits = fits && net.layers[i].inputs() == net.layers[i - 1].outputs();
  if (!fits) throw std::runtime_error("diffeo: weights and biases do not fit together, or to x");
  auto within = [&](int64_t first, int64_t count) {
    return count == 0 || (first >= 0 && first + (count - 1) * cut.step < columns);
  };
  if (cut.step < 1 || !within(cut.a, size_a) || !within(cut.b, size_b)) throw std::runtime_error("diffeo: columns outside of x");
}

template <class T> Matrix<T> Coupling<T>::input(const Matrix<T>& state, const Matrix<T>& context, T* memory) const {
  if (context.rows == 0) return a(state);
  const Matrix<T> both(memory, net.inputs(), state.columns);
  copy(both.part(0, size_a), a(state));
  copy(both.part(size_a, net.inputs()), context);
  return both;
}

template <class T>
void Coupling<T>::forward(const Matrix<T>& state, const Matrix<T>& context, const Matrix<T>& next, T* outputs, T* logdet,
                          int64_t rows, T* memory) const {
  net.forward(input(state, context, memory), outputs);
  const Matrix<T> given = net.output(outputs, net.layers.size() - 1, state.columns), from = b(state), to = b(next);
  std::vector<Vec<T>> params(map.num_params), scratch(map.scratch);
  for (int64_t row = 0; row < rows; row += Lanes<T>::W) {
    Vec<T> total{}, y, l;
    for (int64_t n = 0; n < size_b; ++n) {
      for (int p = 0; p < map.num_params; ++p) params[p] = load(&given(n * map.num_params + p, row));
      map.value(load(&from(n, row)), params.data(), scratch.data(), y, l);
      store(&to(n, row), y);
      total += l;
    }
    const int64_t count = std::min<int64_t>(Lanes<T>::W, rows - row);
    store<T>(logdet + row, load(logdet + row, count) + total, count);
  }
}

template <class T>
void Coupling<T>::backward(const Matrix<T>& state, const Matrix<T>& context, T* outputs, const Matrix<T>& grad,
                           const Matrix<T>& grad_context, const T* grad_logdet, int64_t rows, const Layer<T>* sums, bool add,
                           bool want_input, T* memory) const {
  const Matrix<T> given = net.output(outputs, net.layers.size() - 1, state.columns), from = b(state), to = b(grad);
  T* spare = memory + net.inputs() * state.columns;
  const Matrix<T> by_params(spare, net.outputs(), state.columns);
  spare += net.outputs() * state.columns;
  std::vector<Vec<T>> params(map.num_params), scratch(map.scratch), by(map.num_params);
  for (int64_t row = 0; row < rows; row += Lanes<T>::W) {
    const Vec<T> by_logdet = load(grad_logdet + row, std::min<int64_t>(Lanes<T>::W, rows - row));
    for (int64_t n = 0; n < size_b; ++n) {
      for (int p = 0; p < map.num_params; ++p) params[p] = load(&given(n * map.num_params + p, row));
      T* place = &to(n, row);
      store(place, map.pull(load(&from(n, row)), params.data(), scratch.data(), load(place), by_logdet, by.data()));
      for (int p = 0; p < map.num_params; ++p) store(&by_params(n * map.num_params + p, row), by[p]);
    }
  }
  const Matrix<T> first = net.backward(by_params, input(state, context, memory), outputs, rows, sums, add, spare);
  if (!want_input) return;
  const Matrix<T> by_input = net.layers.front().weight.t();  // (inputs, outputs)
  product(a(grad), by_input.part(0, size_a), first, {.add = true});
  if (context.rows) product(grad_context, by_input.part(size_a, net.inputs()), first, {.add = true});
}

template <class T>
Couplings<T>::Couplings(const Map<T>& map_, Matrix<T> x_, Matrix<T> context_, const std::vector<Layer<T>>& linear,
                        const std::vector<Cut>& cuts)
    : map(map_), x(x_), context(context_) {
  const size_t depth = cuts.empty() ? 0 : linear.size() / cuts.size();
  if (!depth || linear.size() != depth * cuts.size())
    throw std::runtime_error("diffeo: equally many weights and biases a coupling layer");
  if (context.rows != x.rows) throw std::runtime_error("diffeo: x (B, D) and a context (B, C)");
  for (size_t i = 0; i < cuts.size(); ++i) {
    std::vector<Layer<T>> own(linear.begin() + i * depth, linear.begin() + (i + 1) * depth);
    layers.emplace_back(map, cuts[i], std::move(own), x.columns, context.columns);
    memory = std::max(memory, layers[i].memory());
    widest = std::max(widest, layers[i].net.all_outputs);
  }
  block = 32;
  blocks = (x.rows + block - 1) / block;
}

template <class T> void Couplings<T>::forward(const Matrix<T>& y, T* logdet, T* kept) const {
  const Memory<T> states(kept ? 0 : full_rows() * x.columns), contexts(full_rows() * context.columns);
  parallel_for(blocks, 1, [&](int64_t begin, int64_t end) {
    T *own = thread_memory<T>(block * (memory + widest)), *passing = own + block * memory;
    for (size_t i = 0; i < layers.size(); ++i)  // layers outside: their weights then stay in the cache
      for (int64_t number = begin; number < end; ++number) {
        const auto [first, rows, full] = block_of(number);
        auto state_of = [&](size_t layer) {
          return Matrix<T>(kept ? kept + place_of(layer, first) : states.get() + first * x.columns, x.columns, full);
        };
        const Matrix<T> state = state_of(i), next = state_of(i + 1);
        const Matrix<T> given(contexts.get() + first * context.columns, context.columns, full);
        if (i == 0) read(state, x.part(first, first + rows)), read(given, context.part(first, first + rows));
        if (kept) copy(next, state);
        layers[i].forward(state, given, next, kept ? state.data + x.columns * full : passing, logdet + first, rows, own);
        if (i + 1 == layers.size()) write(y.part(first, first + rows), next);
      }
  });
}

// Gradients by weights and biases, of each group of blocks its own; the first group's are the results.
template <class T> struct Sums {
  const std::vector<Layer<T>>& results;
  int64_t groups, numbers = 0;
  Memory<T> others;

  Sums(const std::vector<Layer<T>>& results_, int64_t groups_) : results(results_), groups(groups_) {
    for (const Layer<T>& layer : results) numbers += layer.numbers();
    others.grow((groups - 1) * numbers);
  }

  std::vector<Layer<T>> group(int64_t number) const {
    if (number == 0) return results;
    std::vector<Layer<T>> found;
    T* place = others.get() + (number - 1) * numbers;
    for (const Layer<T>& layer : results) {
      found.push_back({{place, layer.outputs(), layer.inputs()}, place + layer.outputs() * layer.inputs()});
      place += layer.numbers();
    }
    return found;
  }

  // Adds the other groups to the first, in their order.
  void finish() const {
    parallel_for(groups > 1 ? results.size() : 0, 1, [&](int64_t begin, int64_t end) {
      for (int64_t number = 1; number < groups; ++number) {
        const std::vector<Layer<T>> more = group(number);
        for (int64_t i = begin; i < end; ++i) {
          add(results[i].weight.data, more[i].weight.data, results[i].outputs() * results[i].inputs());
          add(results[i].bias, more[i].bias, results[i].outputs());
        }
      }
    });
  }
  static void add(T* to, const T* from, int64_t count) {
    for (int64_t i = 0; i < count; i += Lanes<T>::W) {
      const int64_t lanes = std::min<int64_t>(Lanes<T>::W, count - i);
      store<T>(to + i, load(to + i, lanes) + load(from + i, lanes), lanes);
    }
  }
};

template <class T>
void Couplings<T>::backward(const Matrix<T>& grad_y, const T* grad_logdet, T* kept, const Matrix<T>& grad_x,
                            const Matrix<T>& grad_context, const std::vector<Layer<T>>& by_layers, bool want_input) const {
  const int64_t groups = blocks < 2 ? 1 : std::clamp<int64_t>((x.rows + 255) / 256, 2, 16);  // each has sums of its own to add up
  const size_t depth = layers.front().net.layers.size();
  const Sums<T> sums(by_layers, groups);
  const Memory<T> grads(full_rows() * x.columns), contexts(2 * full_rows() * context.columns);
  parallel_for(groups, 1, [&](int64_t begin, int64_t end) {
    T* own = thread_memory<T>(block * memory);
    for (int64_t group = begin; group < end; ++group) {
      const std::vector<Layer<T>> to = sums.group(group);
      const int64_t begin_block = blocks * group / groups, end_block = blocks * (group + 1) / groups;
      for (size_t i = layers.size(); i-- > 0;)
        for (int64_t number = begin_block; number < end_block; ++number) {
          const auto [first, rows, full] = block_of(number);
          T* slot = kept + place_of(i, first);
          const Matrix<T> state(slot, x.columns, full), grad(grads.get() + first * x.columns, x.columns, full);
          const Matrix<T> given(contexts.get() + 2 * first * context.columns, context.columns, full);
          const Matrix<T> by_context(given.data + context.columns * full, context.columns, full);
          if (i + 1 == layers.size()) {
            read(grad, grad_y.part(first, first + rows));
            read(given, context.part(first, first + rows));
            std::fill_n(by_context.data, context.columns * full, T(0));
          }
          layers[i].backward(state, given, slot + x.columns * full, grad, by_context, grad_logdet + first, rows,
                             by_layers.empty() ? nullptr : &to[i * depth], number > begin_block, i || want_input, own);
          if (i == 0) write(grad_x.part(first, first + rows), grad), write(grad_context.part(first, first + rows), by_context);
        }
    }
  });
  sums.finish();
}

template struct Couplings<float>;
template struct Couplings<double>;

}  // namespace diffeo
