// Linear layers with ReLUs between, on a block of rows. What goes through is (features, rows): that is how a map wants its
// parameters, rows side by side.
#pragma once

#include "product.h"

#include <vector>

namespace diffeo {

// A linear layer, or the gradients by one.
template <class T> struct Layer {
  Matrix<T> weight;  // (outputs, inputs)
  T* bias;

  int64_t inputs() const { return weight.columns; }
  int64_t outputs() const { return weight.rows; }
  int64_t numbers() const { return outputs() * (inputs() + 1); }
};

template <class T> struct Network {
  std::vector<Layer<T>> layers;
  int64_t widest = 0, all_outputs = 0;  // of any layer; of all layers

  explicit Network(std::vector<Layer<T>> layers_) : layers(std::move(layers_)) {
    for (const Layer<T>& layer : layers) widest = std::max(widest, layer.outputs()), all_outputs += layer.outputs();
  }
  int64_t inputs() const { return layers.front().inputs(); }
  int64_t outputs() const { return layers.back().outputs(); }

  // The outputs of a layer among those of all, which lie one after the other.
  Matrix<T> output(T* outputs, size_t layer, int64_t rows) const {
    for (size_t i = 0; i < layer; ++i) outputs += layers[i].outputs() * rows;
    return {outputs, layers[layer].outputs(), rows};
  }

  void forward(Matrix<T> in, T* outputs) const {
    for (size_t i = 0; i < layers.size(); ++i) {
      const Matrix<T> out = output(outputs, i, in.columns);
      product(out, layers[i].weight, in, {.bias = layers[i].bias, .bend = i + 1 < layers.size()});
      in = out;
    }
  }

  // From the gradient of the last output, in place, to that of the first layer's output, which is returned; and, if `sums`,
  // those by weights and biases over the first `rows` columns, added to what is there if `add`.
  Matrix<T> backward(Matrix<T> grad, const Matrix<T>& in, T* outputs, int64_t rows, const Layer<T>* sums, bool add,
                     T* memory) const {
    T *flipped = memory, *spare = memory + widest_input() * grad.columns;
    for (size_t i = layers.size(); i-- > 0;) {
      const Matrix<T> own_in = i ? output(outputs, i - 1, grad.columns) : in;
      if (sums) {
        const Matrix<T> rows_first(flipped, rows, own_in.rows, full(own_in.rows));
        transpose(rows_first, Matrix<T>(own_in.data, own_in.rows, rows, own_in.row));
        product(sums[i].weight, grad, rows_first, {.add = add});
        sum_rows(sums[i].bias, Matrix<T>(grad.data, grad.rows, rows, grad.row), add);
      }
      if (i == 0) break;
      const Matrix<T> next(spare, own_in.rows, grad.columns);
      product(next, layers[i].weight.t(), grad, {.gate = own_in.data});
      spare = i + 1 < layers.size() ? grad.data : spare + widest * grad.columns;
      grad = next;
    }
    return grad;
  }

  static int64_t full(int64_t count) { return (count + Lanes<T>::W - 1) / Lanes<T>::W * Lanes<T>::W; }
  int64_t widest_input() const { return full(std::max(inputs(), widest)); }
  int64_t memory() const { return widest_input() + 2 * widest; }  // of backward, by row
};

}  // namespace diffeo
