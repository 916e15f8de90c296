// Configuration A of the network (width 60, 4 stages of 6 blocks) with random weights: what is timed.
#pragma once

#include <cmath>
#include <random>
#include <vector>

#include "smhdr/network.h"

namespace smhdr::bench {

/// Floating-point operations of a forward pass for each pixel, three exposures (method.md section 2).
constexpr double kForwardFlops = 2.0 * 1515132;

inline int64_t count_of(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (int64_t size : shape) count *= size;
  return count;
}

/// Values like each parameter, all zero, with the map over them.
struct Accumulators {
  std::vector<std::vector<float>> storage;
  ParameterMap map;
  explicit Accumulators(const ParameterMap& parameters) {
    for (const auto& [name, parameter] : parameters) {
      storage.emplace_back(count_of(parameter.shape));
      map[name] = {parameter.shape, storage.back().data()};
    }
  }
  Accumulators(const Accumulators&) = delete;
};

inline std::vector<float> random_values(int64_t count, float deviation, float mean = 0) {
  static std::mt19937 bits(1);
  std::normal_distribution<float> normal(mean, deviation);
  std::vector<float> out(count);
  for (float& value : out) value = normal(bits);
  return out;
}

struct RandomNetwork {
  NetworkConfig config;
  std::vector<std::vector<float>> storage;
  ParameterMap parameters;
  RandomNetwork() {
    config.width = 60;
    config.reduced = 15;
    config.stages.assign(4, {6, 6});
    for (const auto& [name, shape] : config.parameter_shapes()) {
      storage.push_back(random_values(count_of(shape), 0.05f));
      parameters[name] = {shape, storage.back().data()};
    }
  }
  RandomNetwork(const RandomNetwork&) = delete;
};

/// Three exposures of noise.
struct RandomBracket {
  std::vector<std::vector<float>> storage;
  ForwardInput input;
  RandomBracket(int batch, int height, int width) {
    for (int i = 0; i < 3; ++i) {
      storage.emplace_back(int64_t{batch} * height * width * 6);
      uint32_t state = 1 + i;
      for (float& value : storage.back()) {
        state = state * 1664525 + 1013904223;
        value = float(state >> 8) * 0x1p-24f;
      }
      input.exposures.push_back({storage.back().data(), batch, height, width, 6});
    }
  }
  RandomBracket(const RandomBracket&) = delete;
};

}  // namespace smhdr::bench
