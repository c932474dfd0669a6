// An elementwise map as the kernels see it: W entries side by side with their parameters, nothing
// of tensors. A new one is a file with a struct and a line `static const Registered<MyMap>
// registered("my_map");`.
#pragma once

#include "lanes.h"

#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace diffeo {

using Settings =
    std::vector<double>;  // what of a map is fixed, in the order in which Python hands it over

template <class T> struct Map {
  int num_params = 0, scratch = 0;  // numbers of type Vec<T> that it wants to work on

  virtual ~Map() = default;
  virtual void value(Vec<T> x, const Vec<T>* params, Vec<T>* scratch, Vec<T>& y,
                     Vec<T>& logdet) const = 0;
  // The gradient by x; those by the parameters go to grad_params. Maps without leave it out.
  virtual Vec<T> vjp(Vec<T> x, const Vec<T>* params, Vec<T>* scratch, Vec<T> grad_y,
                     Vec<T> grad_logdet, Vec<T>* grad_params) const {
    throw std::runtime_error("diffeo: a map without gradients");
  }
};

template <class T> using MakeMap = std::unique_ptr<Map<T>> (*)(const Settings&);
template <class T> std::map<std::string, MakeMap<T>>& all_maps() {
  static std::map<std::string, MakeMap<T>> makers;
  return makers;
}

template <template <class> class M> struct Registered {
  explicit Registered(const char* name) { add<float>(name), add<double>(name); }
  template <class T> static void add(const char* name) {
    all_maps<T>()[name] = [](const Settings& settings) -> std::unique_ptr<Map<T>> {
      return std::make_unique<M<T>>(settings);
    };
  }
};

template <class T>
std::unique_ptr<Map<T>> make_map(const std::string& name, const Settings& settings) {
  const auto found = all_maps<T>().find(name);
  if (found == all_maps<T>().end())
    throw std::runtime_error("diffeo: no compiled map is called " + name);
  return found->second(settings);
}

}  // namespace diffeo
