// The perceptual term over VGG-19's features: forward, and back to the picture. The convolutions are the ops'.
#include <algorithm>
#include <cmath>

#include "ops/ops.h"
#include "smhdr/training.h"

namespace smhdr {
namespace {

// torchvision's vgg19().features up to relu5_1. A number is a convolution's index in it.
constexpr struct {
  int index;
  bool pooled, compared;
} kLayers[] = {{0, false, true},   {2, false, false},  {5, true, true},    {7, false, false}, {10, true, true},
               {12, false, false}, {14, false, false}, {16, false, false}, {19, true, true},  {21, false, false},
               {23, false, false}, {25, false, false}, {28, true, true}};
constexpr double kMean[] = {0.485, 0.456, 0.406}, kDeviation[] = {0.229, 0.224, 0.225};  // ImageNet's

std::vector<float> pool(const std::vector<float>& x, int& height, int& width, int channels) {
  const int h = height / 2, w = width / 2;
  std::vector<float> out(size_t(h) * w * channels);
  for (int y = 0; y < h; ++y)
    for (int i = 0; i < w * channels; ++i) {
      const int column = i / channels * 2 * channels + i % channels;
      const float* at = x.data() + size_t(2 * y) * width * channels + column;
      const float* below = at + size_t(width) * channels;
      out[size_t(y) * w * channels + i] = std::max(std::max(at[0], at[channels]), std::max(below[0], below[channels]));
    }
  height = h;
  width = w;
  return out;
}

/// The gradient goes to the first of the four that has the maximum.
std::vector<float> pool_backward(const std::vector<float>& x, int height, int width, int channels,
                                 const std::vector<float>& grad) {
  const int h = height / 2, w = width / 2;
  std::vector<float> out(x.size(), 0.0f);
  for (int y = 0; y < h; ++y)
    for (int i = 0; i < w * channels; ++i) {
      const size_t at = size_t(2 * y) * width * channels + i / channels * 2 * channels + i % channels;
      const size_t below = at + size_t(width) * channels;
      size_t best = at;
      for (size_t other : {at + channels, below, below + channels})
        if (x[other] > x[best]) best = other;
      out[best] += grad[size_t(y) * w * channels + i];
    }
  return out;
}

/// W at the feature's size: bilinear, corner pixels on corner pixels.
std::vector<float> resize(const float* weights, int height, int width, int to_height, int to_width) {
  std::vector<float> out(size_t(to_height) * to_width, 1.0f);
  if (!weights) return out;
  for (int y = 0; y < to_height; ++y)
    for (int x = 0; x < to_width; ++x) {
      const double sy = to_height > 1 ? double(y) * (height - 1) / (to_height - 1) : 0,
                   sx = to_width > 1 ? double(x) * (width - 1) / (to_width - 1) : 0;
      const int y0 = static_cast<int>(sy), x0 = static_cast<int>(sx);
      const int y1 = std::min(y0 + 1, height - 1), x1 = std::min(x0 + 1, width - 1);
      const auto row = [&](int at) {
        return weights[size_t(at) * width + x0] * (1 - (sx - x0)) + weights[size_t(at) * width + x1] * (sx - x0);
      };
      out[size_t(y) * to_width + x] = static_cast<float>(row(y0) * (1 - (sy - y0)) + row(y1) * (sy - y0));
    }
  return out;
}

std::vector<float> normalised(const float* image, int64_t pixels) {
  std::vector<float> out(pixels * 3);
  for (int64_t i = 0; i < pixels * 3; ++i)
    out[i] = static_cast<float>((mu_law(image[i]) - kMean[i % 3]) / kDeviation[i % 3]);
  return out;
}

}  // namespace

Result<VggLoss> VggLoss::create(const ParameterMap& weights) {
  VggLoss loss;
  int channels = 3;
  for (const auto& [index, pooled, compared] : kLayers) {
    const std::string name = "features." + std::to_string(index);
    const auto weight = weights.find(name + ".weight"), bias = weights.find(name + ".bias");
    const auto refuse = [&](const std::string& what) {
      return invalid_argument("vgg: expected VGG-19 under torchvision's names; " + name + ".weight [out, " +
                              std::to_string(channels) + ", 3, 3] and " + name + ".bias [out] " + what + ".");
    };
    if (weight == weights.end() || bias == weights.end()) return refuse("are not both there");
    const auto& shape = weight->second.shape;
    if (shape.size() != 4 || shape[0] < 1 || shape[1] != channels || shape[2] != 3 || shape[3] != 3 ||
        bias->second.shape != std::vector<int64_t>{shape[0]})
      return refuse("have other shapes");
    const int64_t count = shape[0] * channels * 9;
    const float *w = weight->second.data, *b = bias->second.data;
    loss.layers_.push_back({{w, w + count}, {b, b + shape[0]}, channels, static_cast<int>(shape[0]), pooled, compared});
    channels = static_cast<int>(shape[0]);
  }
  return loss;
}

VggLoss::Features VggLoss::run(Ops& ops, const std::vector<float>& image, int height, int width) const {
  Features features;
  for (const Layer& layer : layers_) {
    const std::vector<float>& last = features.empty() ? image : features.back();
    std::vector<float> pooled;
    if (layer.pooled) pooled = pool(last, height, width, layer.in);
    std::vector<float> out(size_t(height) * width * layer.out);
    const ConstTensor x{layer.pooled ? pooled.data() : last.data(), 1, height, width, layer.in};
    ops.convolution({x,
                     layer.weight.data(),
                     layer.bias.data(),
                     Padding::zero,
                     nullptr,
                     false,
                     {out.data(), 1, height, width, layer.out}});
    for (float& v : out) v = v > 0 ? v : 0;
    features.push_back(std::move(out));
  }
  return features;
}

double VggLoss::operator()(Ops& ops, ConstTensor prediction, ConstTensor truth, const float* weights, double scale,
                           Tensor grad) const {
  const int height = prediction.height, width = prediction.width;
  const int64_t area = int64_t{height} * width;
  double total = 0;
  for (int b = 0; b < prediction.batch; ++b) {
    const float* picture = prediction.at(b, 0, 0);
    const Features expected = run(ops, normalised(truth.at(b, 0, 0), area), height, width);
    const std::vector<float> input = normalised(picture, area);
    const Features got = run(ops, input, height, width);
    const float* own = weights ? weights + b * area : nullptr;
    std::vector<std::pair<int, int>> sizes;
    for (int h = height, w = width; const Layer& layer : layers_) {
      if (layer.pooled) h /= 2, w /= 2;
      sizes.push_back({h, w});
    }
    std::vector<float> g;  // of the layer's ReLU
    for (int l = static_cast<int>(layers_.size()) - 1; l >= 0; --l) {
      const Layer& layer = layers_[l];
      const auto [h, w] = sizes[l];
      g.resize(got[l].size(), 0.0f);
      if (layer.compared) {
        const std::vector<float> map = resize(own, height, width, h, w);
        const double share = 1 / (double(prediction.batch) * double(got[l].size()));
        double sum = 0;
        for (size_t i = 0; i < got[l].size(); ++i) {
          const double weight = map[i / layer.out], difference = double(got[l][i]) - expected[l][i];
          sum += std::fabs(weight * difference);
          g[i] += static_cast<float>(((difference > 0) - (difference < 0)) * std::fabs(weight) * share);
        }
        total += sum * share;
      }
      if (!grad.data) continue;
      for (size_t i = 0; i < g.size(); ++i)
        if (!(got[l][i] > 0)) g[i] = 0;
      const std::vector<float>& below = l > 0 ? got[l - 1] : input;
      std::vector<float> back(size_t(h) * w * layer.in);
      // Without gradients of weights the convolution's input is not read, only its size.
      ops.convolution_backward({{below.data(), 1, h, w, layer.in},
                                layer.weight.data(),
                                Padding::zero,
                                {g.data(), 1, h, w, layer.out},
                                nullptr,
                                nullptr,
                                {back.data(), 1, h, w, layer.in}});
      g = layer.pooled ? pool_backward(below, sizes[l - 1].first, sizes[l - 1].second, layer.in, back)
                       : std::move(back);
    }
    if (!grad.data) continue;
    float* out = grad.at(b, 0, 0);
    for (int64_t i = 0; i < area * 3; ++i)
      out[i] += static_cast<float>(scale * g[i] / kDeviation[i % 3] * mu_law_slope(picture[i]));
  }
  return total;
}

}  // namespace smhdr
