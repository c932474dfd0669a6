// Numbers side by side: a vector of W floats or doubles as wide as the processor's registers, and
// the functions the maps need. std::exp in a loop stays scalar, so exp, log and tanh are
// polynomials here, evaluated on all lanes at once.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>

#if defined(__AVX512F__)
#define DIFFEO_BYTES 64
#elif defined(__AVX2__)
#define DIFFEO_BYTES 32
#else
#define DIFFEO_BYTES 16
#endif

namespace diffeo {

template <class T> struct Format;

template <> struct Format<float> {
  using Int = int32_t;
  static constexpr int mantissa = 23, bias = 127;
  static constexpr int exp_terms = 7, log_terms = 5;
  static constexpr float ln2_high = 0.693145751953125f, ln2_low = 1.42860682030941723e-6f;
  static constexpr float exp_low = -87.0f, exp_high = 88.0f;
};

template <> struct Format<double> {
  using Int = int64_t;
  static constexpr int mantissa = 52, bias = 1023;
  static constexpr int exp_terms = 13, log_terms = 11;
  static constexpr double ln2_high = 0.693147180369123816490, ln2_low = 1.90821492927058770002e-10;
  static constexpr double exp_low = -708.0, exp_high = 709.0;
};

// Lanes<T>::V holds W numbers, Lanes<T>::I as many integers of the same size: comparisons yield I,
// all bits set where true.
template <class T> struct Lanes {
  using Int = typename Format<T>::Int;
  typedef T V __attribute__((vector_size(DIFFEO_BYTES)));
  typedef Int I __attribute__((vector_size(DIFFEO_BYTES)));
  static constexpr int W = DIFFEO_BYTES / sizeof(T);
};

template <class T> using Vec = typename Lanes<T>::V;
template <class T> using Mask = typename Lanes<T>::I;

template <class T> inline Vec<T> all(T value) { return value - Vec<T>{}; }
template <class T> inline Mask<T> bits(Vec<T> x) { return (Mask<T>)x; }

// From and to memory; where fewer lanes are in use, the others are zero, and stay as they are.
template <class T> inline Vec<T> load(const T* from) {
  Vec<T> out;
  std::memcpy(&out, from, sizeof out);
  return out;
}
template <class T> __attribute__((noinline)) Vec<T> load_some(const T* from, int64_t count) {
  Vec<T> out{};
  for (int i = 0; i < count; ++i) out[i] = from[i];
  return out;
}
template <class T> inline Vec<T> load(const T* from, int64_t count) {
  return count == Lanes<T>::W ? load(from) : load_some(from, count);
}
template <class T> inline void store(T* to, Vec<T> value) { std::memcpy(to, &value, sizeof value); }
template <class T> __attribute__((noinline)) void store_some(T* to, Vec<T> value, int64_t count) {
  for (int i = 0; i < count; ++i) to[i] = value[i];
}
template <class T> inline void store(T* to, Vec<T> value, int64_t count) {
  count == Lanes<T>::W ? store<T>(to, value) : store_some<T>(to, value, count);
}

// Four rows of four numbers, which become columns.
template <class T> struct Square {
  typedef T Four __attribute__((vector_size(4 * sizeof(T))));
  Four a, b, c, d;

  Square(const T* from, int64_t row) : Square(from, from + row, from + 2 * row, from + 3 * row) {}
  Square(const T* row0, const T* row1, const T* row2, const T* row3) {
    const Four w = get(row0), x = get(row1), y = get(row2), z = get(row3);
    const Four p = shuffle<0, 4, 1, 5>(w, x), q = shuffle<2, 6, 3, 7>(w, x);
    const Four r = shuffle<0, 4, 1, 5>(y, z), s = shuffle<2, 6, 3, 7>(y, z);
    a = shuffle<0, 1, 4, 5>(p, r), b = shuffle<2, 3, 6, 7>(p, r);
    c = shuffle<0, 1, 4, 5>(q, s), d = shuffle<2, 3, 6, 7>(q, s);
  }
  void store(T* to, int64_t row) const {
    put(to, a), put(to + row, b), put(to + 2 * row, c), put(to + 3 * row, d);
  }

 private:
  // The numbers at these places of both, one after the other.
  template <int... places> static Four shuffle(Four first, Four second) {
#ifdef __clang__
    return __builtin_shufflevector(first, second, places...);
#else
    typedef typename Format<T>::Int Places __attribute__((vector_size(4 * sizeof(T))));
    return __builtin_shuffle(first, second, Places{places...});
#endif
  }
  static Four get(const T* from) {
    Four out;
    std::memcpy(&out, from, sizeof out);
    return out;
  }
  static void put(T* to, Four value) { std::memcpy(to, &value, sizeof value); }
};

template <class T> inline Vec<T> pick(Mask<T> yes, Vec<T> a, Vec<T> b) { return yes ? a : b; }
// A NaN in the first argument stays.
template <class T> inline Vec<T> at_least(Vec<T> x, Vec<T> low) { return pick<T>(x < low, low, x); }
template <class T> inline Vec<T> at_most(Vec<T> x, Vec<T> high) {
  return pick<T>(x > high, high, x);
}
template <class T> inline Vec<T> clamp(Vec<T> x, T low, T high) {
  return at_most<T>(at_least<T>(x, all<T>(low)), all<T>(high));
}
template <class T> inline Vec<T> magnitude(Vec<T> x) { return pick<T>(x < T(0), -x, x); }

// By parts that compilers make one instruction of; longer loops stay scalar.
template <class T> inline Vec<T> root(Vec<T> x) {
  typedef T Part __attribute__((vector_size(DIFFEO_BYTES < 32 ? DIFFEO_BYTES : 32)));
  for (size_t at = 0; at < sizeof x; at += sizeof(Part)) {
    Part part, out;
    std::memcpy(&part, reinterpret_cast<char*>(&x) + at, sizeof part);
    for (size_t i = 0; i < sizeof(Part) / sizeof(T); ++i)
      out[i] = sizeof(T) == sizeof(float) ? __builtin_sqrtf(part[i]) : __builtin_sqrt(part[i]);
    std::memcpy(reinterpret_cast<char*>(&x) + at, &out, sizeof out);
  }
  return x;
}

// Adding 1.5 · 2^mantissa rounds to an integer and leaves it in the low bits.
template <class T> constexpr T rounder() {
  return T(3) * T(typename Format<T>::Int(1) << (Format<T>::mantissa - 1));
}

// exp(x) − 1 = q · 2^n + (2^n − 1) with x = n log 2 + r, q = r + r²/2! + r³/3! + ...; `power` is
// 2^n.
template <class T> struct Exponential {
  Vec<T> q, power;
};

template <class T> inline Exponential<T> exponential(Vec<T> x) {
  using F = Format<T>;
  x = clamp<T>(x, F::exp_low, F::exp_high);
  const Vec<T> shifted = x * T(1.44269504088896340736) + rounder<T>();
  const Vec<T> n = shifted - rounder<T>();
  const Vec<T> r = (x - n * F::ln2_high) - n * F::ln2_low;
  Vec<T> sum = all<T>(T(1));
#pragma GCC unroll 16
  for (int k = F::exp_terms; k > 1; --k) sum = T(1) + sum * r * (T(1) / T(k));
  const Mask<T> whole = bits<T>(shifted) - bits<T>(all<T>(rounder<T>()));
  return {r * sum, (Vec<T>)((whole + F::bias) << F::mantissa)};
}

template <class T> inline Vec<T> exp(Vec<T> x) {
  const auto e = exponential<T>(x);
  return e.power + e.power * e.q;
}

template <class T> inline Vec<T> expm1(Vec<T> x) {
  const auto e = exponential<T>(x);
  return e.power * e.q + (e.power - T(1));
}

// tanh(x) = (e^2x − 1) / (e^2x + 1), with full relative precision near zero.
template <class T> inline Vec<T> tanh(Vec<T> x) {
  const Vec<T> e = expm1<T>(T(2) * clamp<T>(x, T(-20), T(20)));
  return e / (e + T(2));
}

// log of positive normal numbers: x = 2^n m with m near 1, log m = 2 (s + s³/3 + s⁵/5 + ...), s =
// (m − 1) / (m + 1).
template <class T> inline Vec<T> log(Vec<T> x) {
  using F = Format<T>;
  using Int = typename F::Int;
  Mask<T> n = (bits<T>(x) >> F::mantissa) - F::bias;
  Vec<T> m = (Vec<T>)((bits<T>(x) & ((Int(1) << F::mantissa) - 1)) | bits<T>(all<T>(T(1))));
  const Mask<T> large = m > T(1.41421356237309504880);
  m = pick<T>(large, T(0.5) * m, m);
  n -= large;
  const Vec<T> count = (Vec<T>)(n + bits<T>(all<T>(rounder<T>()))) - rounder<T>();
  const Vec<T> s = (m - T(1)) / (m + T(1)), s2 = s * s;
  Vec<T> sum = all<T>(T(1) / T(2 * F::log_terms + 1));
#pragma GCC unroll 16
  for (int k = F::log_terms - 1; k >= 0; --k) sum = sum * s2 + T(1) / T(2 * k + 1);
  return count * F::ln2_high + (T(2) * s * sum + count * F::ln2_low) +
         (x - x);  // x − x: NaN for NaN and inf
}

}  // namespace diffeo
