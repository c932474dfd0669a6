// Linear layers, or convolutions of 1x1 and 3x3 pixels, with ReLUs between, on a block of events.
// What goes through is (features, positions): that is how a map wants its parameters, positions
// side by side.
#pragma once

#include "product.h"

#include <array>
#include <vector>

namespace diffeo {

// What an event is: a vector has one position, an image one for each pixel. After each row of
// pixels, and after the last row, lie zeros, which serve as the border of both neighbours.
struct Grid {
  int64_t height = 0, width = 0;  // none: vectors
  std::array<int64_t, 9> before{},
      after{};  // from a position to those of the pixels around it, row by row; and the reverse

  Grid() = default;
  Grid(int64_t height_, int64_t width_) : height(height_), width(width_) {
    for (int64_t i = 0; i < 9; ++i)
      before[i] = (i / 3 - 1) * (width + 1) + i % 3 - 1, after[i] = -before[i];
  }
  bool image() const { return height > 0; }
  int64_t positions() const { return image() ? (height + 1) * (width + 1) : 1; }
  int64_t reach() const { return image() ? width + 2 : 0; }
};

// The memory of a block of events: positions in full vectors, and before each feature's and after
// the last's as many zeros as a convolution may reach for.
struct Layout {
  static constexpr int64_t LINE = 16;  // numbers: a full vector of any kind
  int64_t used, margin, row;           // positions from the first to the last that is no border

  Layout(const Grid& grid, int64_t events)
      : used(events * grid.positions() - grid.reach()), margin(full(grid.reach())),
        row(margin + full(events * grid.positions())) {}
  static int64_t full(int64_t count) { return (count + LINE - 1) / LINE * LINE; }
  int64_t size(int64_t features) const { return features * row + margin; }
  template <class T> Matrix<T> at(T* memory, int64_t features) const {
    return {memory + margin, features, full(used), row};
  }
  // Zeros where nothing else is written.
  template <class T> void clear_margins(const Matrix<T>& m) const {
    for (int64_t i = 0; margin && i < m.rows; ++i) {
      std::fill_n(m.data + i * row - margin, margin, T(0));
      std::fill(m.data + i * row + m.columns, m.data + (i + 1) * row - margin, T(0));
    }
  }
};

// A linear layer or a convolution, or the gradients by one.
template <class T> struct Layer {
  Matrix<T> weight;  // (outputs, inputs), of the first of the pixels that it sees
  T* bias;
  int64_t pixels = 1,
          pixel = 0;  // how many it sees, and from the weights of one to those of the next

  int64_t inputs() const { return weight.columns; }
  int64_t outputs() const { return weight.rows; }
  Matrix<T> weight_of(int64_t i) const {
    return {weight.data + i * pixel, weight.rows, weight.columns, weight.row, weight.column};
  }
  Shifts shifts(const std::array<int64_t, 9>& around) const {
    return pixels == 1 ? Shifts() : Shifts{pixels, pixel, around.data()};
  }
};

template <class T> struct Network {
  std::vector<Layer<T>> layers;
  int64_t widest = 0, all_outputs = 0;  // of any layer; of all layers

  explicit Network(std::vector<Layer<T>> layers_) : layers(std::move(layers_)) {
    for (const Layer<T>& layer : layers)
      widest = std::max(widest, layer.outputs()), all_outputs += layer.outputs();
  }
  int64_t inputs() const { return layers.front().inputs(); }
  int64_t outputs() const { return layers.back().outputs(); }

  // The outputs of a layer among those of all, which lie one after the other.
  Matrix<T> output(T* outputs, size_t layer, const Layout& layout) const {
    for (size_t i = 0; i < layer; ++i) outputs += layout.size(layers[i].outputs());
    return layout.at(outputs, layers[layer].outputs());
  }
  int64_t outputs_size(const Layout& layout) const {
    return all_outputs * layout.row + layers.size() * layout.margin;
  }

  // `mask`, where there are borders, is positive within and zero on them.
  void forward(Matrix<T> in, T* outputs, const Grid& grid, const Layout& layout,
               const T* mask) const {
    for (size_t i = 0; i < layers.size(); ++i) {
      const Matrix<T> out = output(outputs, i, layout);
      const bool last = i + 1 == layers.size();
      layout.clear_margins(out);
      product(out, layers[i].weight, in,
              {.bias = layers[i].bias, .relu = !last, .gate = last ? nullptr : mask},
              layers[i].shifts(grid.before));
      in = out;
    }
  }

  // From the gradient of the last output, in place, to that of the first layer's output, which is
  // returned; and, if `sums`, those by weights and biases, added to what is there if `add`.
  Matrix<T> backward(Matrix<T> grad, const Matrix<T>& in, T* outputs, const Grid& grid,
                     const Layout& layout, const Layer<T>* sums, bool add, T* memory) const {
    T *flipped = memory, *spare = memory + flipped_size(layout);
    T* const other = spare + layout.size(widest);
    for (size_t i = layers.size(); i-- > 0;) {
      const Matrix<T> own_in = i ? output(outputs, i - 1, layout) : in;
      if (sums) gradients(sums[i], grad, own_in, grid, layout, add, flipped);
      if (i == 0) break;
      const Matrix<T> next = layout.at(spare, own_in.rows);
      layout.clear_margins(next);
      product(next, layers[i].weight.t(), grad, {.gate = own_in.data, .gate_row = own_in.row},
              layers[i].shifts(grid.after));
      spare = spare == other ? other - layout.size(widest) : other;
      grad = next;
    }
    return grad;
  }

  int64_t flipped_size(const Layout& layout) const {
    return (layout.margin + layout.used + layout.margin) * Layout::full(std::max(inputs(), widest));
  }
  int64_t memory(const Layout& layout) const {
    return flipped_size(layout) + 2 * layout.size(widest);
  }  // of backward

 private:
  static void gradients(const Layer<T>& to, const Matrix<T>& grad, const Matrix<T>& in,
                        const Grid& grid, const Layout& layout, bool add, T* memory) {
    const int64_t margin = to.pixels == 1 ? 0 : layout.margin,
                  reach = to.pixels == 1 ? 0 : grid.reach();
    const Matrix<T> flipped(memory, margin + layout.used + reach, in.rows,
                            Layout::full(in.rows));  // positions first
    transpose(flipped, Matrix<T>(in.data - margin, in.rows, flipped.rows, in.row));
    const Matrix<T> used = grad.across(0, layout.used);
    for (int64_t i = 0; i < to.pixels; ++i) {
      const int64_t from = margin + (to.pixels == 1 ? 0 : grid.before[i]);
      product(to.weight_of(i), used, flipped.part(from, from + layout.used), {.add = add});
    }
    sum_rows(to.bias, used, add);
  }
};

}  // namespace diffeo
