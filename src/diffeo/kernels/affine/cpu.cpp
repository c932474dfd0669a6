// y = x exp(s) + t with s = b tanh(a / b): reference.py has the same in PyTorch.
#include "../native/map.h"

namespace diffeo {

template <class T> struct Affine final : Map<T> {
  using V = Vec<T>;

  T bound;
  bool inverse;

  explicit Affine(const Settings& s) : bound(s.at(0)), inverse(s.at(1)) { this->num_params = 2; }

  void value(V x, const V* p, V*, V& y, V& l) const override {
    const V s = tanh<T>(p[0] / bound) * bound;
    l = inverse ? -s : s;
    y = inverse ? (x - p[1]) * exp<T>(l) : x * exp<T>(l) + p[1];
  }

  V vjp(V x, const V* p, V*, V grad_y, V grad_l, V* grad_p) const override {
    const V squash = tanh<T>(p[0] / bound), s = squash * bound,
            g = grad_y * exp<T>(inverse ? -s : s);
    grad_p[0] = (inverse ? g * (p[1] - x) - grad_l : g * x + grad_l) * (T(1) - squash * squash);
    grad_p[1] = inverse ? -g : grad_y;
    return g;
  }
};

static const Registered<Affine> registered("affine");

}  // namespace diffeo
