#include "cpu.h"

#include "../native/parallel.h"

namespace diffeo {

template <class T> void copy(const Matrix<T>& to, const Matrix<T>& from) {
  for (int64_t i = 0; i < to.rows; ++i)
    std::copy_n(from.data + i * from.row, to.columns, to.data + i * to.row);
}

// Events to (features, positions) of a block, zero where there is no event.
template <class T> void read(const Matrix<T>& to, const Events<T>& events, const Block& block) {
  for (int64_t i = 0; i < to.rows; ++i)
    std::fill_n(to.data + i * to.row - block.layout.margin, block.layout.row, T(0));
  events.each_line(block.grid, block.first, block.last,
                   [&](int64_t position, const Matrix<T>& line) {
                     transpose(to.across(position, position + line.rows), line);
                   });
}

// And back.
template <class T> void write(const Events<T>& events, const Matrix<T>& from, const Block& block) {
  events.each_line(block.grid, block.first, block.last,
                   [&](int64_t position, const Matrix<T>& line) {
                     transpose(line, from.across(position, position + line.rows));
                   });
}

template <class T> void add(T* to, const T* from, int64_t count) {
  for (int64_t i = 0; i < count; i += Lanes<T>::W) {
    const int64_t lanes = std::min<int64_t>(Lanes<T>::W, count - i);
    store<T>(to + i, load(to + i, lanes) + load(from + i, lanes), lanes);
  }
}

template <class T>
Coupling<T>::Coupling(const Map<T>& map_, Order order_, std::vector<Layer<T>> layers,
                      int64_t features, int64_t context)
    : map(map_), order(std::move(order_)), net(std::move(layers)),
      size_b(net.outputs() / map.num_params) {
  size_a = net.inputs() - context;
  bool fits = size_a + size_b == features && size_b * map.num_params == net.outputs();
  for (size_t i = 1; i < net.layers.size(); ++i)
    fits = fits && net.layers[i].inputs() == net.layers[i - 1].outputs();
  if (!fits) throw std::runtime_error("diffeo: weights and biases do not fit together, or to x");
  std::vector<bool> seen(features);
  for (const int64_t i : order)
    if (i >= 0 && i < features) seen[i] = true;
  if (std::count(seen.begin(), seen.end(), true) != features)
    throw std::runtime_error("diffeo: each feature of x once");
}

template <class T>
Matrix<T> Coupling<T>::input(const Matrix<T>& state, const Matrix<T>& context, const Layout& layout,
                             T* memory) const {
  const Matrix<T> in = layout.at(memory, net.inputs());
  auto take = [&](int64_t i, const T* from) {
    std::copy_n(from - layout.margin, layout.row, in.data + i * in.row - layout.margin);
  };
  for (int64_t i = 0; i < size_a; ++i) take(i, conditioning(state, i));
  for (int64_t i = 0; i < context.rows; ++i) take(size_a + i, context.data + i * context.row);
  return in;
}

template <class T>
void Coupling<T>::forward(const Block& block, const Matrix<T>& state, const Matrix<T>& context,
                          const Matrix<T>& next, T* outputs, T* logdet, const T* mask,
                          T* memory) const {
  const Layout& layout = block.layout;
  T* by_position = memory;
  net.forward(input(state, context, layout, memory + layout.row), outputs, block.grid, layout,
              mask);
  const Matrix<T> given = net.output(outputs, net.layers.size() - 1, layout);
  std::vector<Vec<T>> params(map.num_params), scratch(map.scratch);
  for (int64_t at = 0; at < state.columns; at += Lanes<T>::W) {
    const Vec<T> here = mask ? load(mask + at) : all<T>(1);
    Vec<T> total{}, y, l;
    for (int64_t n = 0; n < size_b; ++n) {
      for (int p = 0; p < map.num_params; ++p) params[p] = load(&given(n * map.num_params + p, at));
      map.value(load(transformed(state, n) + at), params.data(), scratch.data(), y, l);
      store(transformed(next, n) + at, pick<T>(here > T(0), y, Vec<T>{}));
      total += l;
    }
    store(by_position + at, pick<T>(here > T(0), total, Vec<T>{}));
  }
  if (!block.grid.image()) return add(logdet, by_position, layout.used);
  const Matrix<T> by_event(by_position, block.last - block.first, block.grid.positions());
  sum_rows(logdet, by_event.across(0, by_event.columns - block.grid.reach()), true);
}

template <class T>
void Coupling<T>::backward(const Block& block, const Matrix<T>& state, const Matrix<T>& context,
                           T* outputs, const Matrix<T>& grad, const Matrix<T>& grad_context,
                           const T* grad_logdet, const T* mask, const Layer<T>* sums, bool add,
                           bool want_input, T* memory) const {
  const Layout& layout = block.layout;
  const int64_t positions = block.grid.positions();
  T *by_position = memory, *joined = memory + layout.row,
    *spare = joined + layout.size(net.inputs());
  std::fill_n(by_position, layout.row, T(0));
  for (int64_t i = 0; i < block.last - block.first; ++i)
    std::fill_n(by_position + i * positions, positions, grad_logdet[i]);
  const Matrix<T> given = net.output(outputs, net.layers.size() - 1, layout);
  const Matrix<T> by_params = layout.at(spare, net.outputs());
  layout.clear_margins(by_params);
  std::vector<Vec<T>> params(map.num_params), scratch(map.scratch), by(map.num_params);
  for (int64_t at = 0; at < state.columns; at += Lanes<T>::W) {
    const Vec<T> here = mask ? load(mask + at) : all<T>(1), by_logdet = load(by_position + at);
    for (int64_t n = 0; n < size_b; ++n) {
      for (int p = 0; p < map.num_params; ++p) params[p] = load(&given(n * map.num_params + p, at));
      T* target = transformed(grad, n) + at;
      store(target, map.vjp(load(transformed(state, n) + at), params.data(), scratch.data(),
                            load(target), by_logdet, by.data()));
      for (int p = 0; p < map.num_params; ++p)
        store(&by_params(n * map.num_params + p, at), pick<T>(here > T(0), by[p], Vec<T>{}));
    }
  }
  const Matrix<T> in = input(state, context, layout, joined);
  const Matrix<T> first = net.backward(by_params, in, outputs, block.grid, layout, sums, add,
                                       spare + layout.size(net.outputs()));
  if (!want_input) return;
  const Layer<T>& layer =
      net.layers.front();  // the gradient by what it reads takes the place of that
  product(in, layer.weight.t(), first, {}, layer.shifts(block.grid.after));
  for (int64_t i = 0; i < size_a; ++i)
    diffeo::add(conditioning(grad, i), in.data + i * in.row, in.columns);
  for (int64_t i = 0; i < context.rows; ++i)
    diffeo::add(grad_context.data + i * grad_context.row, in.data + (size_a + i) * in.row,
                in.columns);
}

Kept kept_for(const Grid& grid, int64_t events, int64_t features,
              const std::vector<int64_t>& outputs, size_t layers) {
  const int64_t size = block_size(grid, events);
  const Layout layout(grid, size);
  Kept kept{(events + size - 1) / size, layout.size(features), std::vector<int64_t>(layers)};
  const size_t depth = layers ? outputs.size() / layers : 0;
  for (size_t i = 0; i < depth * layers; ++i) kept.outputs[i / depth] += layout.size(outputs[i]);
  return kept;
}

template <class T>
Couplings<T>::Couplings(const Map<T>& map_, const Grid& grid_, const Events<T>& x_,
                        const Events<T>& context_, const std::vector<Layer<T>>& linear,
                        const std::vector<Order>& orders)
    : map(map_), grid(grid_), x(x_), context(context_), size(block_size(grid, x.count)) {
  const size_t depth = orders.empty() ? 0 : linear.size() / orders.size();
  if (!depth || linear.size() != depth * orders.size())
    throw std::runtime_error("diffeo: equally many weights and biases a coupling layer");
  if (context.count != x.count) throw std::runtime_error("diffeo: a context for each event");
  std::vector<int64_t> outputs;
  for (const Layer<T>& layer : linear) outputs.push_back(layer.outputs());
  layout = kept_for(grid, x.count, x.features, outputs, orders.size());
  for (size_t i = 0; i < orders.size(); ++i) {
    std::vector<Layer<T>> network(linear.begin() + i * depth, linear.begin() + (i + 1) * depth);
    layers.emplace_back(map, orders[i], std::move(network), x.features, context.features);
  }
  if (!grid.image()) return;
  mask.resize(whole().row);
  for (int64_t i = 0; i < size; ++i)
    for (int64_t y = 0; y < grid.height; ++y)
      std::fill_n(mask.begin() + i * grid.positions() + y * (grid.width + 1), grid.width, T(1));
}

template <class T>
void Couplings<T>::forward(const Events<T>& y, T* logdet, T* kept, bool reversed) const {
  const int64_t blocks = layout.blocks, state_size = layout.state,
                context_size = whole().size(context.features);
  const size_t last = layers.size() - 1;
  const Memory<T> states(kept ? 0 : blocks * state_size), contexts(blocks * context_size);
  int64_t passing = 0, memory = 0;
  for (const Coupling<T>& layer : layers) {
    memory = std::max(memory, layer.memory(whole()));
    passing = std::max(passing, layer.net.outputs_size(whole()));
  }
  parallel_for(blocks, 1, [&](int64_t begin, int64_t end) {
    T *scratch = thread_memory<T>(memory + passing), *outputs = scratch + memory;
    for (size_t i = 0; i < layers.size();
         ++i)  // layers outside: their weights then stay in the cache
      for (int64_t number = begin; number < end; ++number) {
        const Block block = block_of(number);
        auto slot = [&](size_t i) {
          return kept ? kept + layout.offset(reversed ? last + 1 - i : i, number)
                      : states.get() + number * state_size;
        };
        const Matrix<T> state = block.layout.at(slot(i), x.features),
                        next = block.layout.at(slot(i + 1), x.features);
        const Matrix<T> given =
            block.layout.at(contexts.get() + number * context_size, context.features);
        if (i == 0) read(state, x, block), read(given, context, block);
        if (kept) block.layout.clear_margins(next), copy(next, state);
        T* made =
            kept ? kept + layout.offset(reversed ? last - i : i, number) + state_size : outputs;
        layers[i].forward(block, state, given, next, made, logdet + block.first,
                          grid.image() ? mask.data() : nullptr, scratch);
        if (i + 1 == layers.size()) write(y, next, block);
      }
  });
}

// Gradients by weights and biases, of each group of blocks its own. Rows of weights go up to a full
// vector, but for those of the first group that may be where the results will be.
template <class T> struct Sums {
  const std::vector<Layer<T>>& results;
  std::vector<std::vector<Layer<T>>> groups;
  Memory<T> memory;

  Sums(const std::vector<Layer<T>>& results_, int64_t count)
      : results(results_), groups(count, results_) {
    int64_t numbers = 0;
    for (const Layer<T>& layer : results) numbers += weights(layer) + full(layer.outputs());
    T* place = memory.grow(count * numbers);
    for (int64_t number = 0; number < count; ++number)
      for (Layer<T>& layer : groups[number]) {
        if (number == 0 && layer.inputs() % Lanes<T>::W == 0) continue;
        const int64_t row = full(layer.inputs());
        const Layer<T> padded{{place, layer.outputs(), row, layer.pixels * row},
                              place + weights(layer),
                              layer.pixels,
                              row};
        place = padded.bias + full(layer.outputs());
        layer = padded;
      }
  }
  static int64_t full(int64_t count) {
    return (count + Lanes<T>::W - 1) / Lanes<T>::W * Lanes<T>::W;
  }
  static int64_t weights(const Layer<T>& layer) {
    return layer.outputs() * layer.pixels * full(layer.inputs());
  }

  // The groups' sums, added up in their order, to the results.
  void finish() const {
    share(results.size(), [&](int64_t i) {
      if (groups.size() == 1 && groups[0][i].weight.data == results[i].weight.data)
        return;  // there already
      for (int64_t pixel = 0; pixel < results[i].pixels; ++pixel)
        for (int64_t row = 0; row < results[i].outputs(); ++row)
          add_up(
              results[i].inputs(),
              [&](const Layer<T>& layer) { return &layer.weight_of(pixel)(row, 0); }, i);
      add_up(results[i].outputs(), [](const Layer<T>& layer) { return layer.bias; }, i);
    });
  }
  template <class Place> void add_up(int64_t count, const Place& place, int64_t i) const {
    for (int64_t at = 0; at < count; at += Lanes<T>::W) {
      const int64_t lanes = std::min<int64_t>(Lanes<T>::W, count - at);
      Vec<T> sum = load(place(groups[0][i]) + at, lanes);
      for (size_t number = 1; number < groups.size(); ++number)
        sum += load(place(groups[number][i]) + at, lanes);
      store<T>(place(results[i]) + at, sum, lanes);
    }
  }
};

template <class T>
void Couplings<T>::backward(const Events<T>& grad_y, const T* grad_logdet, T* kept,
                            const Events<T>& grad_x, const Events<T>& grad_context,
                            const std::vector<Layer<T>>& by_layers, bool want_input) const {
  const int64_t blocks = layout.blocks, state_size = layout.state,
                context_size = whole().size(context.features);
  const int64_t wanted =
      (x.count * grid.positions() + 255) / 256;  // groups: each has sums of its own to add up
  const int64_t groups =
      blocks < 2 ? 1 : std::clamp<int64_t>(wanted, 2, std::min<int64_t>(blocks, 16));
  const size_t depth = layers.front().net.layers.size();
  const Sums<T> sums(by_layers, groups);
  const Memory<T> grads(blocks * state_size), contexts(2 * blocks * context_size);
  int64_t memory = 0;
  for (const Coupling<T>& layer : layers) memory = std::max(memory, layer.memory(whole()));
  share(groups, [&](int64_t group) {
    T* scratch = thread_memory<T>(memory);
    const int64_t begin_block = blocks * group / groups, end_block = blocks * (group + 1) / groups;
    for (size_t i = layers.size(); i-- > 0;)
      for (int64_t number = begin_block; number < end_block; ++number) {
        const Block block = block_of(number);
        T* slot = kept + layout.offset(i, number);
        const Matrix<T> state = block.layout.at(slot, x.features);
        const Matrix<T> grad = block.layout.at(grads.get() + number * state_size, x.features);
        const Matrix<T> given =
            block.layout.at(contexts.get() + 2 * number * context_size, context.features);
        const Matrix<T> by_context =
            block.layout.at(contexts.get() + (2 * number + 1) * context_size, context.features);
        if (i + 1 == layers.size()) {
          read(grad, grad_y, block), read(given, context, block);
          std::fill_n(by_context.data, context_size - block.layout.margin, T(0));
        }
        layers[i].backward(block, state, given, slot + state_size, grad, by_context,
                           grad_logdet + block.first, grid.image() ? mask.data() : nullptr,
                           by_layers.empty() ? nullptr : &sums.groups[group][i * depth],
                           number > begin_block, i || want_input, scratch);
        if (i == 0) write(grad_x, grad, block), write(grad_context, by_context, block);
      }
  });
  sums.finish();
}

template struct Couplings<float>;
template struct Couplings<double>;

}  // namespace diffeo
