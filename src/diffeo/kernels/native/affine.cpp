// y = x exp(s) + t with s = b tanh(a / b): ../affine.py.
#include "coupling.h"

namespace diffeo {

template <class T_> struct Affine {
  using T = T_;
  using V = Vec<T>;
  static constexpr int num_params = 2, scratch = 0;

  T bound;
  bool inverse;

  void value(V x, const V* p, V*, V& y, V& l) const {
    const V s = tanh<T>(p[0] / bound) * bound;
    l = inverse ? -s : s;
    y = inverse ? (x - p[1]) * exp<T>(l) : x * exp<T>(l) + p[1];
  }

  V pull(V x, const V* p, V*, V grad_y, V grad_l, V* grad_p) const {
    const V bend = tanh<T>(p[0] / bound), s = bend * bound, g = grad_y * exp<T>(inverse ? -s : s);
    grad_p[0] = (inverse ? g * (p[1] - x) - grad_l : g * x + grad_l) * (T(1) - bend * bend);
    grad_p[1] = inverse ? -g : grad_y;
    return g;
  }
};

std::tuple<Tensor, Tensor> affine(const Tensor& x, const Tensor& params, double log_scale, bool inverse, bool by_row) {
  return by_dtype(x, [&](auto zero) {
    using T = decltype(zero);
    return values(Affine<T>{static_cast<T>(log_scale), inverse}, x, params, by_row);
  });
}

std::tuple<Tensor, Tensor> affine_backward(const Tensor& x, const Tensor& params, const Tensor& grad_y, const Tensor& grad_logdet,
                                           double log_scale, bool inverse, bool by_row) {
  return by_dtype(x, [&](auto zero) {
    using T = decltype(zero);
    return pulls(Affine<T>{static_cast<T>(log_scale), inverse}, x, params, grad_y, grad_logdet, by_row);
  });
}

std::tuple<Tensor, Tensor, Tensor> affine_coupling(
    const Tensor& x, const std::optional<Tensor> context, const Tensors weights, const Tensors biases,
    const std::vector<int64_t> cuts, double log_scale, bool inverse, bool keep) {
  return by_dtype(x, [&](auto zero) {
    using T = decltype(zero);
    const Affine<T> map{static_cast<T>(log_scale), inverse};
    return Couplings<Affine<T>>(map, x, context, weights, biases, cuts).forward(keep);
  });
}

std::tuple<Tensor, Tensor, Tensors, Tensors> affine_coupling_backward(
    const Tensor& grad_y, const Tensor& grad_logdet, const Tensor& x, const std::optional<Tensor> context, const Tensors weights,
    const Tensors biases, const Tensor& kept, const std::vector<int64_t> cuts, double log_scale, bool inverse,
    bool want_input, bool want_net) {
  return by_dtype(x, [&](auto zero) {
    using T = decltype(zero);
    const Affine<T> map{static_cast<T>(log_scale), inverse};
    return Couplings<Affine<T>>(map, x, context, weights, biases, cuts)
        .backward(grad_y, grad_logdet, kept, want_input, want_net);
  });
}

STABLE_TORCH_LIBRARY_FRAGMENT(diffeo, m) {
  m.def("affine(Tensor x, Tensor params, float log_scale, bool inverse, bool by_row) -> (Tensor, Tensor)");
  m.def("affine_backward(Tensor x, Tensor params, Tensor grad_y, Tensor grad_logdet, float log_scale, bool inverse, "
        "bool by_row) -> (Tensor, Tensor)");
  m.def("affine_coupling(Tensor x, Tensor? context, Tensor[] weights, Tensor[] biases, int[] cuts, "
        "float log_scale, bool inverse, bool keep) -> (Tensor, Tensor, Tensor)");
  m.def("affine_coupling_backward(Tensor grad_y, Tensor grad_logdet, Tensor x, Tensor? context, Tensor[] weights, "
        "Tensor[] biases, Tensor kept, int[] cuts, float log_scale, bool inverse, "
        "bool want_input, bool want_net) -> (Tensor, Tensor, Tensor[], Tensor[])");
}

STABLE_TORCH_LIBRARY_IMPL(diffeo, CPU, m) {
  m.impl("affine", TORCH_BOX(&affine));
  m.impl("affine_backward", TORCH_BOX(&affine_backward));
  m.impl("affine_coupling", TORCH_BOX(&affine_coupling));
  m.impl("affine_coupling_backward", TORCH_BOX(&affine_coupling_backward));
}

}  // namespace diffeo
