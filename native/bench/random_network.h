// The networks that are timed, with random weights: configuration A and the default model's.
#pragma once

#include <cmath>
#include <random>
#include <vector>

#include "smhdr/network.h"

namespace smhdr::bench {

struct NetworkSize {
  const char* name;
  int width, stages, blocks, heads;
};
constexpr NetworkSize kPublished{"smnet", 60, 4, 6, 6}, kSmall{"smnet-s", 24, 3, 2, 2};

/// Floating-point operations of a forward pass for each pixel, three exposures, counted as published (method.md section
/// 2): what exact algebra saves is counted too.
constexpr double forward_flops(const NetworkSize& size) {
  const double C = size.width, square = C * C;
  const double extractor = 3 * 9 * (6 * C + 2 * square), tail = 18 * square + 27 * C;
  const double block = 4 * square + 128 * C + 4 * square + 18 * C + 98;  // attention, MLP, local branch
  const double exposures = 4 * square + 8 * square + square / 6;         // in 12 heads
  return 2 * (extractor + size.stages * (size.blocks * block + 9 * square + exposures) +
              2 * square * (size.stages + 1) + tail);
}
static_assert(forward_flops(kPublished) == 2.0 * 1515132);
constexpr double kForwardFlops = forward_flops(kPublished);

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
  explicit RandomNetwork(const NetworkSize& size = kPublished) {
    config.width = size.width;
    config.reduced = size.width / 4;
    config.stages.assign(size.stages, {size.blocks, size.heads});
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
