// The rational-quadratic spline: reference.py has the equations, and the same in PyTorch.
//
// The bin of an entry is found by comparing and blending while knots are summed up, so lanes never
// branch. Backward computes everything again from x and the parameters.
#include "../native/map.h"

namespace diffeo {

enum Edges { UNIT = 0, FREE = 1, PERIODIC = 2 };

template <class T> struct RQSpline final : Map<T> {
  using V = Vec<T>;
  using M = Mask<T>;
  using Map<T>::num_params;

  int bins, edges;
  T low, high, least, gain, bound;
  bool inverse;

  explicit RQSpline(const Settings& s)
      : bins(s.at(0)), edges(s.at(1)), low(s.at(2)), high(s.at(3)),
        least((s.at(3) - s.at(2)) * s.at(4) / bins), gain((s.at(3) - s.at(2)) * (1 - s.at(4))),
        bound(s.at(5)), inverse(s.at(6)) {
    num_params = 3 * bins + (edges == UNIT ? -1 : edges == FREE ? 1 : 0);
    this->scratch = 4 * bins;
  }

  struct Bin {
    M number;        // 0 ... K − 1
    V x0, y0, w, h;  // left knot, width, height
    V w_left, h_left, w_right, h_right;
    V raw0, raw1;  // the raw parameters of the derivatives at the two knots
    V s, s_left, s_right, squash0, squash1, d0, d1;  // slopes; tanh of raw / bound; derivatives
    M first, last;
  };

  // softmax(p) · gain: what a bin has beyond the least size.
  void sizes(const V* p, V* out) const {
    V top = p[0];
    for (int i = 1; i < bins; ++i) top = at_least<T>(p[i], top);
    V sum{};
    for (int i = 0; i < bins; ++i) sum += out[i] = exp<T>(p[i] - top);
    const V scale = gain / sum;
    for (int i = 0; i < bins; ++i) out[i] *= scale;
  }

  V raw(const V* p, int knot) const {
    const V* raw = p + 2 * bins;
    if (edges == FREE) return raw[knot];
    if (edges == PERIODIC) return raw[knot % bins];
    return knot == 0 || knot == bins ? V{} : raw[knot - 1];
  }

  Bin find(V at, const V* p, V* widths, V* heights) const {
    sizes(p, widths);
    sizes(p + bins, heights);
    const int end = bins - 1;
    Bin b;
    b.number = M{};
    b.x0 = b.y0 = all<T>(low);
    b.w = widths[0], b.h = heights[0], b.w_left = widths[end], b.h_left = heights[end];
    b.w_right = widths[bins > 1 ? 1 : 0], b.h_right = heights[bins > 1 ? 1 : 0];
    b.raw0 = raw(p, 0), b.raw1 = raw(p, 1);
    V x = b.x0, y = b.y0;
    for (int i = 0; i < end; ++i) {
      x += widths[i] + least;
      y += heights[i] + least;
      const M beyond = at >= (inverse ? y : x);
      const int next = i + 2 < bins ? i + 2 : 0;
      b.number -= beyond;
      b.x0 = pick<T>(beyond, x, b.x0), b.y0 = pick<T>(beyond, y, b.y0);
      b.w_left = pick<T>(beyond, widths[i], b.w_left),
      b.h_left = pick<T>(beyond, heights[i], b.h_left);
      b.w = pick<T>(beyond, widths[i + 1], b.w), b.h = pick<T>(beyond, heights[i + 1], b.h);
      b.w_right = pick<T>(beyond, widths[next], b.w_right),
      b.h_right = pick<T>(beyond, heights[next], b.h_right);
      b.raw0 = pick<T>(beyond, raw(p, i + 1), b.raw0),
      b.raw1 = pick<T>(beyond, raw(p, i + 2), b.raw1);
    }
    b.w += least, b.h += least, b.w_left += least, b.h_left += least, b.w_right += least,
        b.h_right += least;
    b.first = b.number == 0, b.last = b.number == end;
    derivatives(b);
    return b;
  }

  void derivatives(Bin& b) const {
    b.s = b.h / b.w, b.s_left = b.h_left / b.w_left, b.s_right = b.h_right / b.w_right;
    if (edges == FREE)
      b.s_left = pick<T>(b.first, b.s, b.s_left), b.s_right = pick<T>(b.last, b.s, b.s_right);
    b.squash0 = tanh<T>(b.raw0 / bound), b.squash1 = tanh<T>(b.raw1 / bound);
    b.d0 = T(2) * b.s_left * b.s / (b.s_left + b.s) * exp<T>(b.squash0 * bound);
    b.d1 = T(2) * b.s_right * b.s / (b.s_right + b.s) * exp<T>(b.squash1 * bound);
    if (edges == UNIT)
      b.d0 = pick<T>(b.first, all<T>(1), b.d0), b.d1 = pick<T>(b.last, all<T>(1), b.d1);
  }

  V log_slope(const Bin& b, V xi, V q, V den) const {
    const V over = b.s / den, xi1 = T(1) - xi;
    return log<T>(over * over * (b.d1 * xi * xi + T(2) * b.s * q + b.d0 * xi1 * xi1));
  }

  // Where in its bin the entry lies: ξ of x, or of the x that y belongs to.
  V locate(const Bin& b, V at) const {
    if (!inverse) return clamp<T>((at - b.x0) / b.w, 0, 1);
    const V v = clamp<T>((at - b.y0) / b.h, 0, 1), t = b.d0 + b.d1 - T(2) * b.s;
    const V a = b.s - b.d0 + v * t, c = b.d0 - v * t;
    const V r = root<T>(at_least<T>(c * c + T(4) * a * b.s * v,
                                    all<T>(T(1e-30))));  // rounding may take it below zero
    // Two forms of the same root, each free of cancellation on its side; where c < 0, a > 0.
    return clamp<T>(pick<T>(c < T(0), (r - c) / (T(2) * a), T(2) * b.s * v / (c + r)), 0, 1);
  }

  M inside(V x) const { return (x >= low) & (x <= high); }

  void value(V x, const V* p, V* scratch_, V& y, V& l) const override {
    const M in = inside(x);
    const V at = pick<T>(in, x, all<T>(T(0.5) * (low + high)));
    const Bin b = find(at, p, scratch_, scratch_ + bins);
    const V xi = locate(b, at), q = xi * (T(1) - xi), den = b.s + (b.d0 + b.d1 - T(2) * b.s) * q;
    const V slope = log_slope(b, xi, q, den);
    const V there = inverse ? b.x0 + b.w * xi : b.y0 + b.h * (b.s * xi * xi + b.d0 * q) / den;
    y = pick<T>(in, there, x);
    l = pick<T>(in, inverse ? -slope : slope, V{});
  }

  // Derivatives at fixed parameters (slope = dy/dx, l_x) and at fixed ξ (the others), of y and of l
  // = log dy/dx.
  struct Partials {
    V slope, l_x, y_s, y_d0, y_d1, l_s, l_d0, l_d1, share;
  };

  Partials partials(const Bin& b, V xi) const {
    const V xi1 = T(1) - xi, q = xi * xi1, t = b.d0 + b.d1 - T(2) * b.s;
    const V inv_den = T(1) / (b.s + t * q);
    const V p = b.d1 * xi * xi + T(2) * b.s * q + b.d0 * xi1 * xi1, inv_p = T(1) / p;
    const V r = (b.s * xi * xi + b.d0 * q) * inv_den, h_den = b.h * inv_den;
    const V two_q = T(2) * q, two_q_den = two_q * inv_den, over = b.s * inv_den;
    const V l_xi =
        T(2) * ((b.d1 * xi + b.s * (xi1 - xi) - b.d0 * xi1) * inv_p - t * (xi1 - xi) * inv_den);
    return {over * over * p,
            l_xi / b.w,
            h_den * (xi * xi - r * (T(1) - two_q)),
            h_den * q * (T(1) - r),
            -h_den * q * r,
            T(2) / b.s + two_q * inv_p - T(2) * (T(1) - two_q) * inv_den,
            xi1 * xi1 * inv_p - two_q_den,
            xi * xi * inv_p - two_q_den,
            r};
  }

  V vjp(V x, const V* p, V* scratch_, V grad_value, V grad_logdet, V* grad_p) const override {
    const M in = inside(x);
    const V at = pick<T>(in, x, all<T>(T(0.5) * (low + high)));
    V *widths = scratch_, *heights = widths + bins, *g_w = heights + bins, *g_h = g_w + bins;
    const Bin b = find(at, p, widths, heights);
    const V xi = locate(b, at);
    const Partials d = partials(b, xi);
    V g_y = pick<T>(in, grad_value, V{}), g_l = pick<T>(in, grad_logdet, V{}), grad_in;
    if (inverse) {
      // The log-det of the inverse is −l(x(y), θ): chain through x, then ∂x/∂θ = −(∂y/∂θ) /
      // (∂y/∂x).
      grad_in = (g_y - g_l * d.l_x) / d.slope;
      g_y = -grad_in, g_l = -g_l;
    } else {
      grad_in = g_y * d.slope + g_l * d.l_x;
    }
    const V g_x = g_y * d.slope + g_l * d.l_x;
    gradient_of_sizes(b, d, xi, g_x, g_y, g_l, grad_p, g_w, g_h);
    softmax_gradient(widths, g_w, grad_p);
    softmax_gradient(heights, g_h, grad_p + bins);
    return pick<T>(in, grad_in, grad_value);
  }

  // What the slope s receives through the harmonic mean with a neighbour t, of the gradient by the
  // logarithm of the mean.
  static V through(V g, V s, V t) { return g * t / (s * (s + t)); }

  void gradient_of_sizes(const Bin& b, const Partials& d, V xi, V g_x, V g_y, V g_l, V* grad_p,
                         V* g_w, V* g_h) const {
    V g0 = (g_y * d.y_d0 + g_l * d.l_d0) * b.d0,
      g1 = (g_y * d.y_d1 + g_l * d.l_d1) * b.d1;  // by log d0, log d1
    if (edges == UNIT) g0 = pick<T>(b.first, V{}, g0), g1 = pick<T>(b.last, V{}, g1);
    V own = g_y * d.y_s + g_l * d.l_s + through(g0, b.s, b.s_left) + through(g1, b.s, b.s_right);
    V left = through(g0, b.s_left, b.s), right = through(g1, b.s_right, b.s);
    if (edges == FREE) {  // an end derivative is the slope of its only bin times the factor
      own = pick<T>(b.first, own + left, own), own = pick<T>(b.last, own + right, own);
      left = pick<T>(b.first, V{}, left), right = pick<T>(b.last, V{}, right);
    }
    // A slope is h / w.
    const V own_h = own / b.w, left_h = left / b.w_left, right_h = right / b.w_right;
    const V here_w = -g_x * xi - own_h * b.s, here_h = g_y * d.share + own_h;
    const V left_w = -left_h * b.s_left, right_w = -right_h * b.s_right;
    M before = b.number - 1, after = b.number + 1;
    if (edges == PERIODIC)
      before = b.first ? M{} + (bins - 1) : before, after = b.last ? M{} : after;
    for (int i = 0; i < bins; ++i) {
      const M i_ = M{} + i, is_left = before == i_, is_right = after == i_,
              is_here = b.number == i_;
      // Knots are sums of the sizes before them.
      g_w[i] = pick<T>(b.number > i_, -g_x, V{}) + pick<T>(is_here, here_w, V{}) +
               pick<T>(is_left, left_w, V{}) + pick<T>(is_right, right_w, V{});
      g_h[i] = pick<T>(b.number > i_, g_y, V{}) + pick<T>(is_here, here_h, V{}) +
               pick<T>(is_left, left_h, V{}) + pick<T>(is_right, right_h, V{});
    }
    raw_gradients(b, g0 * (T(1) - b.squash0 * b.squash0), g1 * (T(1) - b.squash1 * b.squash1),
                  grad_p + 2 * bins);
  }

  void raw_gradients(const Bin& b, V g0, V g1, V* out) const {
    const int count = num_params - 2 * bins, shift = edges == UNIT ? 1 : 0;
    for (int i = 0; i < count; ++i) {
      const M knot = M{} + (i + shift), right_knot = b.number + 1;
      const M is1 = edges == PERIODIC && i == 0 ? b.last : right_knot == knot;
      out[i] = pick<T>(b.number == knot, g0, V{}) + pick<T>(is1, g1, V{});
    }
  }

  void softmax_gradient(const V* size, const V* g, V* out) const {
    V mean{};
    for (int i = 0; i < bins; ++i) mean += size[i] * g[i];
    mean /= gain;
    for (int i = 0; i < bins; ++i) out[i] = size[i] * (g[i] - mean);
  }
};

// The derivative of the inverse's log-det by y, seen as a map of its own.
template <class T> struct RQSplineLogdetGrad final : Map<T> {
  using V = Vec<T>;

  const RQSpline<T> spline;

  explicit RQSplineLogdetGrad(const Settings& s) : spline(s) {
    this->num_params = spline.num_params, this->scratch = spline.scratch;
  }

  void value(V y, const V* p, V* scratch_, V& grad, V& l) const override {
    const Mask<T> in = spline.inside(y);
    const V at = pick<T>(in, y, all<T>(T(0.5) * (spline.low + spline.high)));
    const auto bin = spline.find(at, p, scratch_, scratch_ + spline.bins);
    const auto d = spline.partials(bin, spline.locate(bin, at));
    grad = pick<T>(in, -d.l_x / d.slope, V{});
    l = V{};
  }
};

static const Registered<RQSpline> registered("rq_spline");
static const Registered<RQSplineLogdetGrad> registered_logdet_grad("rq_spline_logdet_grad");

}  // namespace diffeo
