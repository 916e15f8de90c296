#include <cmath>

#include "smhdr/trainer.h"
#include "train/random.h"

namespace smhdr {

std::vector<float> initial_weights(const NetworkConfig& config, uint64_t seed) {
  const auto shapes = config.parameter_shapes();
  std::vector<float> out;
  uint64_t random = seed;
  for (const auto& [name, shape] : shapes) {
    int64_t count = 1;
    for (int64_t d : shape) count *= d;
    const bool is_bias = name.ends_with(".bias");
    const auto of = is_bias ? shapes.find(name.substr(0, name.size() - 4) + "weight") : shapes.find(name);
    const std::vector<int64_t>& weight = of->second;
    for (int64_t i = 0; i < count; ++i) {
      float value = 0;
      if (weight.size() == 4)  // a convolution
        value = static_cast<float>((2 * uniform(random) - 1) / std::sqrt(double(weight[1] * weight[2] * weight[3])));
      else if (weight.size() == 1)  // LayerNorm
        value = is_bias ? 0.0f : 1.0f;
      else if (!is_bias)
        do value = static_cast<float>(0.02 * normal(random));
        while (std::fabs(value) > 2);
      out.push_back(value);
    }
  }
  return out;
}

}  // namespace smhdr
