// A golden case: weights, inputs and expected values of the network, as PyTorch computed them.
#pragma once

#include <string>
#include <vector>

#include "safetensors.h"
#include "smhdr/network.h"

namespace smhdr::test {

/// NCHW to channels-last, channels [first, first + count).
inline std::vector<float> channels_last(const StoredTensor& t, int64_t first, int64_t count) {
  const int64_t b = t.shape[0], c = t.shape[1], area = t.shape[2] * t.shape[3];
  std::vector<float> out(b * area * count);
  for (int64_t i = 0; i < b; ++i)
    for (int64_t p = 0; p < area; ++p)
      for (int64_t k = 0; k < count; ++k) out[(i * area + p) * count + k] = t.values[(i * c + first + k) * area + p];
  return out;
}

struct Golden {
  bool found = false;
  std::map<std::string, StoredTensor> weights, data;
  ParameterMap parameters;
  NetworkConfig config;
  std::vector<std::vector<float>> exposures;
  ForwardInput input;
  std::vector<float> mask_map;
  int batch = 0, height = 0, width = 0;

  Golden(const std::string& config_name, const std::string& name) {
    weights = read_safetensors(golden_folder() + "/" + config_name + "_weights.safetensors");
    data = read_safetensors(golden_folder() + "/" + config_name + "_" + name + ".safetensors");
    if (weights.empty() || data.empty()) return;
    for (auto& [key, t] : weights) parameters[key] = {t.shape, t.values.data()};
    const auto inferred = NetworkConfig::infer(parameters);
    if (!inferred.ok()) return;
    config = inferred.value();
    found = true;
    const StoredTensor& stored = data.at("input");
    batch = static_cast<int>(stored.shape[0]);
    height = static_cast<int>(stored.shape[2]);
    width = static_cast<int>(stored.shape[3]);
    for (int64_t i = 0; i < stored.shape[1] / 6; ++i) exposures.push_back(channels_last(stored, 6 * i, 6));
    for (auto& e : exposures) input.exposures.push_back(picture(e.data(), 6));
    if (data.count("mask_map")) mask_map = channels_last(data.at("mask_map"), 0, 1);
  }
  Golden(const Golden&) = delete;

  template <typename T>
  View<T> picture(T* values, int channels) const {
    return {values, batch, height, width, channels};
  }
  /// 0 none, 1 the mask map, 2 the importance map, in every stage.
  void set_mask(int mode) {
    input.mask.mode.assign(mode == 0 ? 0 : config.stages.size(), mode);
    input.mask.map = mask_map.data();
  }
};

}  // namespace smhdr::test
