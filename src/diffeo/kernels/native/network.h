// Linear layers with ReLUs between, on a block of rows that stays in the cache. Matrix products are PyTorch's own.
#pragma once

#include "sweep.h"

#include <torch/csrc/inductor/aoti_torch/generated/c_shim_cpu.h>

namespace diffeo {

using Tensors = std::vector<Tensor>;

// Numbers in memory with their strides.
template <class T> struct Matrix {
  T* data;
  int64_t rows, columns, row, column;

  explicit Matrix(const Tensor& t) : Matrix(data_of<T>(t), t.size(0), t.size(1), t.stride(0), t.stride(1)) {}
  Matrix(T* data_, int64_t rows_, int64_t columns_) : Matrix(data_, rows_, columns_, columns_, 1) {}
  Matrix(T* data_, int64_t rows_, int64_t columns_, int64_t row_, int64_t column_)
      : data(data_), rows(rows_), columns(columns_), row(row_), column(column_) {}

  T& operator()(int64_t i, int64_t j) const { return data[i * row + j * column]; }
  Matrix t() const { return {data, columns, rows, column, row}; }
  Matrix part(int64_t first, int64_t last) const { return {data + first * row, last - first, columns, row, column}; }

  Tensor tensor() const {
    using namespace torch::headeronly;
    const std::array<int64_t, 2> sizes{rows, columns}, strides{row, column};
    const ScalarType dtype = sizeof(T) == sizeof(double) ? ScalarType::Double : ScalarType::Float;
    return torch::stable::from_blob(data, {sizes.data(), 2}, {strides.data(), 2}, torch::stable::Device(DeviceType::CPU), dtype);
  }
};

// out += a b. Libraries that cannot but add would scale what is to be overwritten, which takes longer than filling it.
template <class T> void add_product(const Matrix<T>& out, const Matrix<T>& a, const Matrix<T>& b) {
  const Tensor to = out.tensor(), left = a.tensor(), right = b.tensor();
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_cpu_addmm_out(to.get(), to.get(), left.get(), right.get(), 1.0, 1.0));
}

// out = a b, for an `out` without gaps.
template <class T> void product(const Matrix<T>& out, const Matrix<T>& a, const Matrix<T>& b) {
  std::fill_n(out.data, out.rows * out.columns, T(0));
  add_product(out, a, b);
}

// Loops that would stay scalar if left to the compiler: to[i] = f(to[i], other[i]), and to[i] = value.
template <class T, class F> void each_lane(int64_t count, T* to, const T* other, const F& f) {
  constexpr int64_t W = Lanes<T>::W;
  auto step = [&](int64_t i, size_t bytes) {
    Vec<T> x{}, y{};
    std::memcpy(&x, to + i, bytes), std::memcpy(&y, other + i, bytes);
    x = f(x, y);
    std::memcpy(to + i, &x, bytes);
  };
  int64_t i = 0;
  for (; i + W <= count; i += W) step(i, sizeof(Vec<T>));
  if (i < count) step(i, (count - i) * sizeof(T));
}

template <class T> void fill(T* to, int64_t count, T value) {
  each_lane(count, to, to, [=](Vec<T>, Vec<T>) { return all<T>(value); });
}

// What goes through a network is (features, rows of a block): that is how its products are fastest, and how a map wants its
// parameters, rows side by side.
template <class T> struct Layer {
  Matrix<T> weight;  // (outputs, inputs)
  const T* bias;

  Layer(const Tensor& w, const Tensor& b) : weight(w), bias(data_of<T>(b)) {}
  int64_t inputs() const { return weight.columns; }
  int64_t outputs() const { return weight.rows; }
  // Products whose results have few columns are several times as fast written the other way round.
  bool thin() const { return inputs() <= 32; }

  // out = W in + b, at least zero if `bend`. NaNs stay.
  void forward(const Matrix<T>& out, const Matrix<T>& in, bool bend) const {
    for (int64_t i = 0; i < out.rows; ++i) fill(out.data + i * out.row, out.columns, bias[i]);
    add_product(out, weight, in);
    if (bend) each_lane(out.rows * out.columns, out.data, out.data, [](Vec<T> x, Vec<T>) { return at_least<T>(x, Vec<T>{}); });
  }
};

// The gradient before a ReLU, whose output is `out`, from that behind it.
template <class T> void unbend(const Matrix<T>& grad, const Matrix<T>& out) {
  each_lane(grad.rows * grad.columns, grad.data, out.data, [](Vec<T> g, Vec<T> h) { return pick<T>(h <= T(0), Vec<T>{}, g); });
}

// sums[i] += the sum of row i
template <class T> void add_rows(T* sums, const Matrix<T>& m) {
  constexpr int64_t W = Lanes<T>::W;
  for (int64_t i = 0; i < m.rows; ++i) {
    const T* from = m.data + i * m.row;
    Vec<T> part{}, next;
    int64_t j = 0;
    for (; j + W <= m.columns; j += W) std::memcpy(&next, from + j, sizeof next), part += next;
    T sum = 0;
    for (int64_t k = 0; k < W; ++k) sum += part[k];
    for (; j < m.columns; ++j) sum += from[j];
    sums[i] += sum;
  }
}

template <class T> struct Network {
  std::vector<Layer<T>> layers;
  int64_t widest = 0, numbers = 0, all_outputs = 0;  // of the widest hidden layer; weights and biases; of all layers

  Network(const Tensors& weights, const Tensors& biases) {
    for (size_t i = 0; i < weights.size(); ++i) {
      layers.emplace_back(weights[i], biases[i]);
      if (i + 1 < weights.size()) widest = std::max(widest, layers[i].outputs());
      numbers += weights[i].numel() + biases[i].numel();
      all_outputs += layers[i].outputs();
    }
  }
  size_t depth() const { return layers.size(); }
  int64_t inputs() const { return layers.front().inputs(); }
  int64_t outputs() const { return layers.back().outputs(); }
};

inline void check_network(const Tensor& x, const Tensors& weights, const Tensors& biases, int64_t inputs, int64_t multiple) {
  bool fits = !weights.empty() && weights.size() == biases.size();
  for (size_t i = 0; fits && i < weights.size(); ++i) {
    const Tensor &w = weights[i], &b = biases[i];
    fits = w.dim() == 2 && b.dim() == 1 && w.size(1) == inputs && b.size(0) == w.size(0) && b.stride(0) == 1 &&
           w.scalar_type() == x.scalar_type() && b.scalar_type() == x.scalar_type();
    inputs = fits ? w.size(0) : 0;
  }
  STD_TORCH_CHECK(fits && inputs % multiple == 0, "diffeo: weights and biases do not fit together, or to x");
}

// Gradients of weights (of a thin layer transposed) and biases, each summed over the rows of some blocks.
template <class T> struct Sums {
  std::vector<bool> thin;
  Tensors weights, biases;  // the first group's, where the result will be
  Tensor others;            // one group a row

  Sums(const Network<T>& net, const Tensor& like, int64_t groups) : others(new_tensor(like, {groups - 1, net.numbers})) {
    for (const Layer<T>& layer : net.layers) {
      const int64_t in = layer.inputs(), out = layer.outputs();
      thin.push_back(layer.thin());
      weights.push_back(layer.thin() ? new_tensor(like, {in, out}) : new_tensor(like, {out, in}));
      biases.push_back(new_tensor(like, {out}));
    }
  }

  struct Group {
    std::vector<Matrix<T>> weights;
    std::vector<T*> biases;

    // What a layer receives from the gradient of its output, with the input it had.
    void add(size_t i, const Layer<T>& layer, const Matrix<T>& grad, const Matrix<T>& in) const {
      add_rows(biases[i], grad);
      if (layer.thin()) add_product(weights[i], in, grad.t());
      else add_product(weights[i], grad, in.t());
    }
  };

  Group group(int64_t number) const {
    Group found;
    T* place = data_of<T>(others) + (number - 1) * others.size(1);
    for (size_t i = 0; i < weights.size(); ++i) {
      Matrix<T> weight(weights[i]);
      T* bias = data_of<T>(biases[i]);
      if (number) weight.data = place, bias = place + weights[i].numel(), place = bias + biases[i].numel();
      std::fill_n(weight.data, weights[i].numel(), T(0));
      std::fill_n(bias, biases[i].numel(), T(0));
      found.weights.push_back(weight), found.biases.push_back(bias);
    }
    return found;
  }

  // Adds the other groups to the first, in their order, and hands the sums over.
  void finish(Tensors& to_weights, Tensors& to_biases) const {
    const int64_t groups = others.size(0), numbers = others.size(1);
    const T* from = data_of<T>(others);
    torch::stable::parallel_for(0, groups ? numbers : 0, 16384, [&](int64_t begin, int64_t end) {
      int64_t place = 0;
      auto add = [&](const Tensor& t) {
        const int64_t first = std::max(begin, place), count = std::min(end, place + t.numel()) - first;
        for (int64_t row = 0; row < groups; ++row)
          each_lane(count, data_of<T>(t) + first - place, from + row * numbers + first, [](Vec<T> x, Vec<T> y) { return x + y; });
        place += t.numel();
      };
      for (size_t i = 0; i < weights.size(); ++i) add(weights[i]), add(biases[i]);
    });
    for (size_t i = 0; i < weights.size(); ++i) {
      to_weights.push_back(thin[i] ? torch::stable::transpose(weights[i], 0, 1) : weights[i]);
      to_biases.push_back(biases[i]);
    }
  }
};

}  // namespace diffeo
