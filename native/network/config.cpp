#include <numeric>

#include "smhdr/network.h"

namespace smhdr {
namespace {

using Shape = std::vector<int64_t>;

std::string text(const Shape& shape) {
  std::string out = "[";
  for (size_t i = 0; i < shape.size(); ++i) out += (i ? ", " : "") + std::to_string(shape[i]);
  return out + "]";
}

}  // namespace

std::map<std::string, Shape> NetworkConfig::parameter_shapes() const {
  std::map<std::string, Shape> shapes;
  const int64_t c = width;
  const auto put = [&](const std::string& name, Shape weight, bool bias = true) {
    if (bias) shapes[name + ".bias"] = {weight[0]};
    shapes[name + ".weight"] = std::move(weight);
  };
  const auto put_mlp = [&](const std::string& name, int64_t hidden) {
    put(name + ".fc1", {hidden, c});
    put(name + ".fc2", {c, hidden});
  };
  put("conv_first.0", {c, 6, 3, 3});
  put("conv_first.1", {c, c, 3, 3});
  put("conv_first.2", {c, c, 3, 3});
  put("patch_embed.norm", {c});
  put_mlp("mlp", c);
  for (size_t s = 0; s < stages.size(); ++s) {
    const std::string stage = std::to_string(s);
    for (int b = 0; b < stages[s].blocks; ++b) {
      const std::string block = "layers." + stage + ".residual_group.blocks." + std::to_string(b) + ".";
      put(block + "norm1", {c});
      shapes[block + "attn.relative_position_bias_table"] = {225, stages[s].heads};
      put(block + "attn.qkv", {3 * c, c});
      put(block + "attn.proj", {c, c});
      put(block + "norm2", {c});
      put_mlp(block + "mlp", mlp_ratio * c);
      put(block + "conv_cnn1", {c, 1, 3, 3});
      put(block + "conv_cnn2", {c, 1, 3, 3});
      put(block + "cab.mlp.0", {reduced, c, 1, 1});
      put(block + "cab.mlp.2", {c, reduced, 1, 1});
      put(block + "sab.conv2d", {1, 2, 7, 7});
    }
    put("layers." + stage + ".conv", {c, c, 3, 3});
    const std::string channel = "channel_layers." + stage + ".";
    put(channel + "norm1_x.body", {c});
    put(channel + "norm1_y.body", {c});
    for (const char* name : {"attn.q", "attn.k", "attn.v", "attn.project_out"})
      put(channel + name, {c, c, 1, 1}, false);
    put(channel + "norm2", {c});
    put_mlp(channel + "mlp", exposure_mlp_ratio * c);
    put_mlp("mlps." + stage, c);
  }
  put("norm", {c});
  put("conv_after_body", {c, c, 3, 3});
  put("conv_skip", {c, c, 3, 3});
  put("conv_end", {outputs(), c, 3, 3});
  if (slots) shapes["fold.weight"] = {slots, (c + slots - 1) / slots, fold_exposures, c};
  return shapes;
}

int64_t NetworkConfig::parameter_count() const {
  int64_t count = 0;
  for (const auto& [name, shape] : parameter_shapes())
    count += std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
  return count;
}

Result<NetworkConfig> NetworkConfig::infer(const ParameterMap& parameters) {
  const auto find = [&](const std::string& name, size_t rank) -> const Shape* {
    const auto it = parameters.find(name);
    return it != parameters.end() && it->second.shape.size() == rank ? &it->second.shape : nullptr;
  };
  NetworkConfig config;
  const Shape* first = find("conv_first.0.weight", 4);
  if (!first) return invalid_argument("weights: conv_first.0.weight [C, 6, 3, 3] is missing; this is no SMNet model.");
  if ((*first)[0] < 1 || (*first)[0] > 4096)
    return invalid_argument("weights: the width must be between 1 and 4096, not " + std::to_string((*first)[0]) + ".");
  config.width = static_cast<int>((*first)[0]);
  for (int s = 0;; ++s) {
    const std::string stage = "layers." + std::to_string(s) + ".residual_group.blocks.";
    StageConfig found;
    while (const Shape* table = find(stage + std::to_string(found.blocks) + ".attn.relative_position_bias_table", 2)) {
      found.heads = static_cast<int>((*table)[1]);
      ++found.blocks;
    }
    if (found.blocks == 0) break;
    if (found.heads < 1 || config.width % found.heads != 0)
      return invalid_argument("weights: stage " + std::to_string(s) + " has " + std::to_string(found.heads) +
                              " heads, which do not divide the width " + std::to_string(config.width) + ".");
    config.stages.push_back(found);
  }
  if (config.stages.empty()) return invalid_argument("weights: layers.0 is missing; this is no SMNet model.");
  const auto ratio = [&](const std::string& name, int& out) {
    if (const Shape* shape = find(name, 2)) out = static_cast<int>((*shape)[0] / config.width);
  };
  ratio("layers.0.residual_group.blocks.0.mlp.fc1.weight", config.mlp_ratio);
  ratio("channel_layers.0.mlp.fc1.weight", config.exposure_mlp_ratio);
  if (const Shape* shape = find("layers.0.residual_group.blocks.0.cab.mlp.0.weight", 4))
    config.reduced = static_cast<int>((*shape)[0]);

  if (const Shape* end = find("conv_end.weight", 4)) config.prior = (*end)[0] == 4;
  if (const Shape* shape = find("fold.weight", 4)) {
    if ((*shape)[0] < 1 || (*shape)[0] > config.width || (*shape)[2] < 1 || (*shape)[2] > 4096)
      return invalid_argument("weights: fold.weight must be [slots, channels, exposures, width], not " + text(*shape) +
                              ".");
    config.slots = static_cast<int>((*shape)[0]);
    config.fold_exposures = static_cast<int>((*shape)[2]);
  }

  if (config.prior && config.fold_exposures < 2)
    return invalid_argument(
        "weights: conv_end has four outputs, as of a network that takes a merge beside the exposures; expected a "
        "fold.weight of two or more exposures.");
  for (const auto& [name, shape] : config.parameter_shapes()) {
    const auto it = parameters.find(name);
    if (it == parameters.end() || !it->second.data)
      return invalid_argument("weights: " + name + " " + text(shape) + " is missing.");
    if (it->second.shape != shape)
      return invalid_argument("weights: " + name + " must be " + text(shape) + ", not " + text(it->second.shape) + ".");
  }
  return config;
}

}  // namespace smhdr
