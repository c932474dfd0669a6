// PyTorch's operators: what is done with tensors, before and after the work on numbers in memory.
#include "../coupling/cpu.h"
#include "sweep.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <array>
#include <optional>
#include <tuple>

namespace diffeo {

using torch::stable::Tensor;
using Tensors = std::vector<Tensor>;

template <class T> T* data_of(const Tensor& t) { return static_cast<T*>(t.data_ptr()); }

Tensor new_tensor(const Tensor& like, std::initializer_list<int64_t> sizes) {
  return torch::stable::new_empty(like, {sizes.begin(), sizes.size()});
}

// An operator's argument `str`, which is the operator's to delete. Taken as std::string, PyTorch's
// own conversion (ToImpl<std::string>, up to 2.13 at least) leaks 32 bytes a call.
std::string taken(StringHandle text) {
  size_t length = 0;
  const char* data = nullptr;
  STABLE_TORCH_ERROR_CODE_CHECK(torch_string_length(text, &length));
  STABLE_TORCH_ERROR_CODE_CHECK(torch_string_c_str(text, &data));
  const std::string copy(data, length);
  STABLE_TORCH_ERROR_CODE_CHECK(torch_delete_string(text));
  return copy;
}

// Calls make(float) or make(double) for the dtype of x.
template <class Make> auto by_dtype(const Tensor& x, const Make& make) {
  using torch::headeronly::ScalarType;
  if (x.scalar_type() == ScalarType::Double) return make(double());
  STD_TORCH_CHECK(x.scalar_type() == ScalarType::Float, "diffeo: float32 or float64 tensors");
  return make(float());
}

// ---- Entry by entry
// -------------------------------------------------------------------------------------------------

// (B, *S) as (B, M, N): up to two axes as they are, of three the last two together (an image's
// pixels).
Strides strides_of(const Tensor& t, int64_t axes) {
  auto stride = [&](int64_t axis) { return t.stride(axis); };
  const int64_t p = t.dim() > axes ? stride(axes) : 0;
  switch (axes) {
    case 1: return {stride(0), 0, 0, p};
    case 2: return {stride(0), 0, stride(1), p};
    case 3: return {stride(0), stride(1), stride(2), p};
    default: return {stride(0), stride(1), stride(3), p};
  }
}

template <class T> Walk<T> walk(const Tensor& t, int64_t axes) {
  return {data_of<T>(t), strides_of(t, axes)};
}

// Tensors whose axes cannot be seen that way are copied; few are.
Tensor viewable(const Tensor& t, int64_t axes) {
  const bool pixels_collapse = axes < 4 || t.size(2) == 1 || t.stride(2) == t.stride(3) * t.size(3);
  return pixels_collapse ? t : torch::stable::contiguous(t);
}

void check_shapes(const Tensor& x, const Tensor& params, int num_params) {
  STD_TORCH_CHECK(x.dim() >= 1 && x.dim() <= 4, "diffeo: 1 to 4 axes, got ", x.dim());
  bool same = params.dim() == x.dim() + 1 && params.size(x.dim()) == num_params &&
              params.scalar_type() == x.scalar_type();
  for (int64_t i = 0; same && i < x.dim(); ++i) same = params.size(i) == x.size(i);
  STD_TORCH_CHECK(same, "diffeo: parameters must have the dtype and shape of x and, as last axis, ",
                  num_params, " an entry");
}

Event event_of(const Tensor& x, int width) {
  const int64_t axes = x.dim(), rows = x.size(0);
  int64_t m = axes > 2 ? x.size(1) : 1, n = axes == 2 ? x.size(1) : axes > 2 ? x.size(2) : 1;
  if (axes == 4) n *= x.size(3);
  return {rows, m, n, axes < 3 && (rows >= width || n < width)};
}

std::tuple<Tensor, Tensor> elementwise(const Tensor& x_, const Tensor& params_,
                                       StringHandle map_name, Settings settings, bool by_row) {
  const std::string name = taken(map_name);
  return by_dtype(x_, [&](auto zero) {
    using T = decltype(zero);
    const auto map = make_map<T>(name, settings);
    check_shapes(x_, params_, map->num_params);
    const int64_t axes = x_.dim();
    const Tensor x = viewable(x_, axes), params = viewable(params_, axes),
                 y = viewable(torch::stable::empty_like(x), axes);
    const Tensor logdet = by_row ? new_tensor(x, {x.size(0)}) : torch::stable::empty_like(y);
    sweep_values<T>(*map, event_of(x, Lanes<T>::W), walk<T>(x, axes), walk<T>(params, axes),
                    walk<T>(y, axes), walk<T>(logdet, by_row ? 1 : axes), by_row);
    return std::make_tuple(y, logdet);
  });
}

std::tuple<Tensor, Tensor> elementwise_backward(const Tensor& grad_y_, const Tensor& grad_logdet_,
                                                const Tensor& x_, const Tensor& params_,
                                                StringHandle map_name, Settings settings,
                                                bool by_row) {
  const std::string name = taken(map_name);
  return by_dtype(x_, [&](auto zero) {
    using T = decltype(zero);
    const auto map = make_map<T>(name, settings);
    check_shapes(x_, params_, map->num_params);
    const int64_t axes = x_.dim();
    const Tensor x = viewable(x_, axes), params = viewable(params_, axes),
                 grad_y = viewable(grad_y_, axes);
    const Tensor grad_logdet = by_row ? grad_logdet_ : viewable(grad_logdet_, axes);
    const Tensor grad_x = viewable(torch::stable::empty_like(x), axes);
    const Tensor grad_params = viewable(torch::stable::empty_like(params), axes);
    sweep_vjps<T>(*map, event_of(x, Lanes<T>::W), walk<T>(x, axes), walk<T>(params, axes),
                  walk<T>(grad_y, axes), walk<T>(grad_logdet, by_row ? 1 : axes),
                  walk<T>(grad_x, axes), walk<T>(grad_params, axes), by_row);
    return std::make_tuple(grad_x, grad_params);
  });
}

// ---- Whole coupling layers
// ------------------------------------------------------------------------------------------

// A linear layer (O, I), or a convolution (O, I, 1, 1) or (O, I, 3, 3) in any layout whose pixels
// lie evenly.
template <class T> Layer<T> layer_of(const Tensor& weight, const Tensor& bias) {
  const Matrix<T> first(data_of<T>(weight), weight.size(0), weight.size(1), weight.stride(0),
                        weight.stride(1));
  Layer<T> layer{first, data_of<T>(bias)};
  if (weight.dim() == 4)
    layer.pixels = weight.size(2) * weight.size(3), layer.pixel = weight.stride(3);
  return layer;
}

// Inputs lie side by side, pixel by pixel.
Tensor gradient_like(const Tensor& weight) {
  if (weight.dim() == 2) return new_tensor(weight, {weight.size(0), weight.size(1)});
  const Tensor dense =
      new_tensor(weight, {weight.size(0), weight.size(2), weight.size(3), weight.size(1)});
  return torch::stable::transpose(torch::stable::transpose(dense, 2, 3), 1, 2);
}

bool is_layer(const Tensor& weight, const Tensor& bias, const Tensor& x) {
  const bool linear = weight.dim() == 2 && x.dim() == 2;
  const bool convolution =
      weight.dim() == 4 && x.dim() == 4 && weight.size(2) == weight.size(3) &&
      (weight.size(2) == 1 || (weight.size(2) == 3 && weight.stride(2) == 3 * weight.stride(3)));
  return (linear || convolution) && bias.dim() == 1 && bias.size(0) == weight.size(0) &&
         bias.stride(0) == 1 && weight.scalar_type() == x.scalar_type() &&
         bias.scalar_type() == x.scalar_type();
}

template <class T>
std::vector<Layer<T>> layers_of(const Tensors& weights, const Tensors& biases, const Tensor& x) {
  std::vector<Layer<T>> all;
  for (size_t i = 0; i < weights.size(); ++i) {
    STD_TORCH_CHECK(is_layer(weights[i], biases.at(i), x),
                    "diffeo: weights and biases do not fit together, or to x");
    all.push_back(layer_of<T>(weights[i], biases[i]));
  }
  return all;
}

std::vector<Order> orders_of(const std::vector<int64_t>& numbers, int64_t features) {
  STD_TORCH_CHECK(features && numbers.size() % features == 0,
                  "diffeo: each feature once for each coupling layer");
  std::vector<Order> all;
  for (auto at = numbers.begin(); at != numbers.end(); at += features)
    all.emplace_back(at, at + features);
  return all;
}

template <class T> Events<T> events_of(const Tensor& t) {
  const bool image = t.dim() == 4;
  return {data_of<T>(t),
          t.size(0),
          t.size(1),
          t.stride(0),
          t.stride(1),
          image ? t.stride(2) : 0,
          image ? t.stride(3) : 0};
}

Tensor context_of(const std::optional<Tensor>& context, const Tensor& x) {
  const bool fits = x.dim() == 2 || (x.dim() == 4 && !context);
  STD_TORCH_CHECK(
      fits && (!context || (context->dim() == 2 && context->scalar_type() == x.scalar_type())),
      "diffeo: x (B, D) and perhaps a context (B, C) of the same dtype, or x (B, C, H, W)");
  return context ? *context : new_tensor(x, {x.size(0), 0});
}

Grid grid_of(const Tensor& x) { return x.dim() == 4 ? Grid(x.size(2), x.size(3)) : Grid(); }

// How many numbers `coupling_keep` keeps: `outputs` are those of all layers of all networks.
int64_t coupling_kept_size(const Tensor& x, const std::vector<int64_t> outputs, int64_t layers) {
  STD_TORCH_CHECK(x.dim() == 2 || x.dim() == 4, "diffeo: x (B, D) or (B, C, H, W)");
  return kept_for(grid_of(x), x.size(0), x.size(1), outputs, layers).size();
}

// What was handed over, as numbers in memory.
template <class T> struct Call {
  std::unique_ptr<Map<T>> map;
  Couplings<T> layers;

  Call(const Tensor& x, const Tensor& context, const Tensors& weights, const Tensors& biases,
       const std::vector<int64_t>& orders, const std::string& name, const Settings& settings)
      : map(make_map<T>(name, settings)),
        layers(*map, grid_of(x), events_of<T>(x), events_of<T>(context),
               layers_of<T>(weights, biases, x), orders_of(orders, x.size(1))) {}
};

template <class T> T* kept_of(const Tensor& kept, const Couplings<T>& layers) {
  STD_TORCH_CHECK(kept.is_contiguous() && kept.numel() >= layers.layout.size() &&
                      kept.element_size() == sizeof(T),
                  "diffeo: too little is kept");
  return data_of<T>(kept);
}

// y and the log-det by event; in `kept`, if given, what backward wants.
template <class T>
std::tuple<Tensor, Tensor> forward(const Call<T>& call, const Tensor& x,
                                   const std::optional<Tensor>& kept, bool reversed = false) {
  const Tensor y = torch::stable::empty_like(x),
               logdet = torch::stable::new_zeros(x, {x.sizes().data(), 1});
  call.layers.forward(events_of<T>(y), data_of<T>(logdet),
                      kept ? kept_of<T>(*kept, call.layers) : nullptr, reversed);
  return {y, logdet};
}

std::tuple<Tensor, Tensor> keep(const Tensor& x, const std::optional<Tensor>& context_,
                                const Tensors& weights, const Tensors& biases,
                                const std::optional<Tensor>& kept,
                                const std::vector<int64_t>& orders, const std::string& name,
                                const Settings& settings, bool reversed = false) {
  return by_dtype(x, [&](auto zero) {
    using T = decltype(zero);
    const Tensor context = context_of(context_, x);
    return forward<T>({x, context, weights, biases, orders, name, settings}, x, kept, reversed);
  });
}

std::tuple<Tensor, Tensor> coupling(const Tensor& x, const std::optional<Tensor> context,
                                    const Tensors weights, const Tensors biases,
                                    const std::vector<int64_t> orders, StringHandle map_name,
                                    Settings settings) {
  return keep(x, context, weights, biases, std::nullopt, orders, taken(map_name), settings);
}

std::tuple<Tensor, Tensor> coupling_keep(const Tensor& x, const std::optional<Tensor> context,
                                         const Tensors weights, const Tensors biases,
                                         const Tensor& kept, const std::vector<int64_t> orders,
                                         StringHandle map_name, Settings settings, bool reversed) {
  return keep(x, context, weights, biases, kept, orders, taken(map_name), settings, reversed);
}

// The gradients by x, context, weights and biases; the last two are empty without `want_net`. What
// was not kept is made again.
std::tuple<Tensor, Tensor, Tensors, Tensors> coupling_backward(
    const Tensor& grad_y, const Tensor& grad_logdet_, const Tensor& x,
    const std::optional<Tensor> context_, const Tensors weights, const Tensors biases,
    const std::optional<Tensor> kept_, const std::vector<int64_t> orders, StringHandle map_name,
    Settings settings, bool want_input, bool want_net) {
  const std::string name = taken(map_name);
  return by_dtype(x, [&](auto zero) {
    using T = decltype(zero);
    const Tensor context = context_of(context_, x),
                 grad_logdet = torch::stable::contiguous(grad_logdet_);
    const Call<T> call(x, context, weights, biases, orders, name, settings);
    const Tensor kept = kept_ ? *kept_ : new_tensor(x, {call.layers.layout.size()});
    if (!kept_) forward<T>(call, x, kept);
    const Tensor grad_x = torch::stable::empty_like(x),
                 grad_context = new_tensor(x, {context.size(0), context.size(1)});
    Tensors by_weights, by_biases;
    for (size_t i = 0; want_net && i < weights.size(); ++i) {
      by_weights.push_back(gradient_like(weights[i]));
      by_biases.push_back(new_tensor(x, {biases[i].size(0)}));
    }
    call.layers.backward(events_of<T>(grad_y), data_of<T>(grad_logdet),
                         kept_of<T>(kept, call.layers), events_of<T>(grad_x),
                         events_of<T>(grad_context), layers_of<T>(by_weights, by_biases, x),
                         want_input);
    return std::make_tuple(grad_x, grad_context, by_weights, by_biases);
  });
}

STABLE_TORCH_LIBRARY_FRAGMENT(diffeo, m) {
  m.def(
      "elementwise(Tensor x, Tensor params, str map, float[] settings, bool by_row) -> (Tensor, "
      "Tensor)");
  m.def(
      "elementwise_backward(Tensor grad_y, Tensor grad_logdet, Tensor x, Tensor params, str map, "
      "float[] settings, bool by_row) "
      "-> (Tensor, Tensor)");
  m.def(
      "coupling(Tensor x, Tensor? context, Tensor[] weights, Tensor[] biases, int[] orders, str "
      "map, "
      "float[] settings) -> (Tensor, Tensor)");
  m.def("coupling_kept_size(Tensor x, int[] outputs, int layers) -> int");
  m.def(
      "coupling_keep(Tensor x, Tensor? context, Tensor[] weights, Tensor[] biases, Tensor(a!) "
      "kept, int[] orders, "
      "str map, float[] settings, bool reversed) -> (Tensor, Tensor)");
  m.def(
      "coupling_backward(Tensor grad_y, Tensor grad_logdet, Tensor x, Tensor? context, Tensor[] "
      "weights, Tensor[] biases, "
      "Tensor? kept, int[] orders, str map, float[] settings, bool want_input, bool want_net) "
      "-> (Tensor, Tensor, Tensor[], Tensor[])");
}

STABLE_TORCH_LIBRARY_IMPL(diffeo, CPU, m) {
  m.impl("elementwise", TORCH_BOX(&elementwise));
  m.impl("elementwise_backward", TORCH_BOX(&elementwise_backward));
  m.impl("coupling", TORCH_BOX(&coupling));
  m.impl("coupling_kept_size", TORCH_BOX(&coupling_kept_size));
  m.impl("coupling_keep", TORCH_BOX(&coupling_keep));
  m.impl("coupling_backward", TORCH_BOX(&coupling_backward));
}

}  // namespace diffeo
