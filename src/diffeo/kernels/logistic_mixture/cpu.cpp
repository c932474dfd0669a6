// The mixture of logistics: reference.py has the equations, and the same in PyTorch.
//
// With σ_i = σ(z_i) (`up`; `down` is 1 − σ_i), z_i = (x − μ_i) k_i, F = Σ π_i σ_i and R = 1 − F:
// the shares u_i = π_i σ_i / F and o_i = π_i (1 − σ_i) / R give G = log F − log R, its slope P + Q
// with P = Σ k_i u_i (1 − σ_i), Q = Σ k_i o_i σ_i, and all derivatives of both.
#include "../native/map.h"

namespace diffeo {

template <class T> struct LogisticMixture final : Map<T> {
  using V = Vec<T>;
  using M = Mask<T>;

  int components;
  T log_scale, log_width, floor;
  bool inverse;

  explicit LogisticMixture(const Settings& s)
      : components(s.at(0)), log_scale(s.at(1)), log_width(s.at(2)), floor(s.at(3)),
        inverse(s.at(4)) {
    this->num_params = 2 + 3 * components;
    this->scratch = 8 * components;
  }

  // Of each component: log π, μ, k, tanh of its raw width; and at a point: σ(z), σ(−z), u, o.
  struct Mixture {
    V *log_pi, *mu, *k, *squash, *up, *down, *u, *o;
  };
  struct Curve {
    V g, p, q;
  };  // G, P, Q

  static V soft(V x, T bound) { return tanh<T>(x / bound) * bound; }

  Mixture unpack(const V* p, V* scratch) const {
    const int n = components;
    const V *logits = p + 2, *widths = logits + 2 * n;
    Mixture m{scratch,         scratch + n,     scratch + 2 * n, scratch + 3 * n,
              scratch + 4 * n, scratch + 5 * n, scratch + 6 * n, scratch + 7 * n};
    V top = logits[0], sum{};
    for (int i = 1; i < n; ++i) top = at_least<T>(logits[i], top);
    for (int i = 0; i < n; ++i) sum += exp<T>(logits[i] - top);
    const V all_of = top + log<T>(sum);
    for (int i = 0; i < n; ++i) {
      m.log_pi[i] = logits[i] - all_of;
      m.mu[i] = logits[n + i];
      m.squash[i] = tanh<T>(widths[i] / log_width);
      m.k[i] = exp<T>(-m.squash[i] * log_width);
    }
    return m;
  }

  // log F and log R, each by logsumexp: nothing cancels. Leaves σ, u and o behind.
  Curve curve(V x, const Mixture& m) const {
    const int n = components;
    V top_u = all<T>(-std::numeric_limits<T>::infinity()), top_o = top_u;
    for (int i = 0; i < n; ++i) {
      const V z = (x - m.mu[i]) * m.k[i];
      const V e = exp<T>(-magnitude<T>(z)), inverse_sum = T(1) / (T(1) + e);
      const M left = z < T(0);
      m.up[i] = pick<T>(left, e * inverse_sum, inverse_sum),
      m.down[i] = pick<T>(left, inverse_sum, e * inverse_sum);
      m.u[i] = m.log_pi[i] + pick<T>(left, z, z - z) - log<T>(T(1) + e);
      m.o[i] = m.u[i] - z;
      top_u = at_least<T>(m.u[i], top_u), top_o = at_least<T>(m.o[i], top_o);
    }
    V sum_u{}, sum_o{};
    for (int i = 0; i < n; ++i) {
      sum_u += m.u[i] = exp<T>(m.u[i] - top_u);
      sum_o += m.o[i] = exp<T>(m.o[i] - top_o);
    }
    const V per_u = T(1) / sum_u, per_o = T(1) / sum_o;
    V p{}, q{};
    for (int i = 0; i < n; ++i) {
      m.u[i] *= per_u, m.o[i] *= per_o;
      p += m.k[i] * m.u[i] * m.down[i], q += m.k[i] * m.o[i] * m.up[i];
    }
    return {(top_u - top_o) + (log<T>(sum_u) - log<T>(sum_o)), p, q};
  }

  V height(V x, const Curve& c) const { return c.g + floor * (x - c.g); }
  V slope(const Curve& c) const { return (T(1) - floor) * (c.p + c.q) + floor; }

  // Newton's method in a bracket; a lane that has converged rests, so lanes do not depend on each
  // other.
  V solve(V target, const Mixture& m) const {
    const T eps = std::numeric_limits<T>::epsilon(), rest = T(1) - floor;
    V low = all<T>(std::numeric_limits<T>::infinity()), high = -low;
    for (int i = 0; i < components;
         ++i) {  // the curve lies between the straight lines that its components alone would give
      const V line = (target + rest * m.mu[i] * m.k[i]) / (rest * m.k[i] + floor);
      low = at_most<T>(low, line), high = at_least<T>(high, line);
    }
    V x = T(0.5) * (low + high), last = high - low;
    M done{};
    for (int round = 0; round < (sizeof(T) == 4 ? 26 : 44); ++round) {
      const Curve c = curve(x, m);
      const V value = height(x, c), step = (target - value) / slope(c), to = x + step;
      const M above = value > target;
      low = pick<T>(above, low, x), high = pick<T>(above, x, high);
      // Where Newton leaves the bracket, or its steps do not halve, halve the bracket instead; a
      // step within rounding is convergence, not a failure to halve.
      const M small = magnitude<T>(step) <= T(16) * eps * (T(1) + magnitude<T>(x));
      const M good = (to >= low) & (to <= high) & ((magnitude<T>(step) <= T(0.5) * last) | small);
      const V moved = pick<T>(done, x, pick<T>(good, to, T(0.5) * (low + high)));
      last = magnitude<T>(moved - x);
      x = moved;
      done |= (good & small) | (x != x);
      bool rested = true;
      for (int i = 0; i < Lanes<T>::W; ++i) rested = rested && done[i];
      if (rested) break;
    }
    const Curve c = curve(x, m);
    return x + (target - height(x, c)) /
                   slope(c);  // a last step as it comes: the loop's may have been a bisection
  }

  void value(V at, const V* p, V* scratch, V& y, V& l) const override {
    const V scale = soft(p[0], log_scale);
    const Mixture m = unpack(p, scratch);
    if (inverse) {
      y = solve((at - p[1]) * exp<T>(-scale), m);
      l = -log<T>(slope(curve(y, m))) - scale;
    } else {
      const Curve c = curve(at, m);
      y = height(at, c) * exp<T>(scale) + p[1];
      l = log<T>(slope(c)) + scale;
    }
  }

  V vjp(V at, const V* p, V* scratch, V grad_value, V grad_logdet, V* grad_p) const override {
    const int n = components;
    const V squash = tanh<T>(p[0] / log_scale), scale = squash * log_scale, grow = exp<T>(scale);
    const Mixture m = unpack(p, scratch);
    const V x = inverse ? solve((at - p[1]) * exp<T>(-scale), m) : at;
    const Curve c = curve(x, m);
    const V d = slope(c), rest = all<T>(T(1) - floor), whole = grow * d;
    V g2{};  // G'', by x
    for (int i = 0; i < n; ++i) g2 += m.k[i] * (p_by_z(m, c, i) + q_by_z(m, c, i));
    const V l_x = rest * g2 / d;
    V g_y = grad_value, g_l = grad_logdet, grad_in = g_y * whole + g_l * l_x;
    if (inverse) {  // log-det −l(x(y), θ), ∂x/∂θ = −(∂y/∂θ) / (∂y/∂x)
      grad_in = (g_y - g_l * l_x) / whole;
      g_y = -grad_in, g_l = -g_l;
    }
    grad_p[0] = (g_y * grow * height(x, c) + g_l) * (T(1) - squash * squash);
    grad_p[1] = g_y;
    const V by_g = g_y * grow * rest, by_slope = g_l * rest / d;  // gradients by G and by its slope
    V total{};
    for (int i = 0; i < n; ++i) {
      const V kd = m.k[i] * m.down[i], ku = m.k[i] * m.up[i];
      const V by_pi =
          by_g * (m.u[i] - m.o[i]) + by_slope * (m.u[i] * (kd - c.p) + m.o[i] * (ku - c.q));
      const V here = m.u[i] * m.down[i] + m.o[i] * m.up[i];  // ∂G/∂z and ∂(P + Q)/∂k
      const V by_z = by_g * here + by_slope * (p_by_z(m, c, i) + q_by_z(m, c, i));
      const V z = (x - m.mu[i]) * m.k[i];
      total += grad_p[2 + i] = by_pi;
      grad_p[2 + n + i] = -by_z * m.k[i];
      grad_p[2 + 2 * n + i] =
          -(by_z * z + by_slope * here * m.k[i]) * (T(1) - m.squash[i] * m.squash[i]);
    }
    for (int i = 0; i < n; ++i) grad_p[2 + i] -= exp<T>(m.log_pi[i]) * total;
    return grad_in;
  }

  static V p_by_z(const Mixture& m, const Curve& c, int i) {
    return m.u[i] * m.down[i] * (m.k[i] * (m.down[i] - m.up[i]) - c.p);
  }
  static V q_by_z(const Mixture& m, const Curve& c, int i) {
    return m.o[i] * m.up[i] * (m.k[i] * (m.down[i] - m.up[i]) + c.q);
  }
};

static const Registered<LogisticMixture> registered("logistic_mixture");

}  // namespace diffeo
