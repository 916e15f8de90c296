// What works on each pixel alone: LayerNorm, linear layers, the MLP, and the folding of exposures.
#include <cmath>

#include "ops/reference/reference_ops.h"

namespace smhdr::reference {

double gelu(double x) { return 0.5 * x * (1.0 + std::erf(x / std::sqrt(2.0))); }
double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

void layer_norm(ConstTensor x, NormWeights weights, Tensor out) {
  const int channels = x.channels;
  for (int64_t p = 0; p < x.pixels(); ++p) {
    const float* in = x.data + p * channels;
    double mean = 0, variance = 0;
    for (int c = 0; c < channels; ++c) mean += in[c];
    mean /= channels;
    for (int c = 0; c < channels; ++c) variance += (in[c] - mean) * (in[c] - mean);
    const double scale = 1.0 / std::sqrt(variance / channels + double(kNormEpsilon));
    for (int c = 0; c < channels; ++c)
      out.data[p * channels + c] = static_cast<float>((in[c] - mean) * scale * weights.gain[c] + weights.bias[c]);
  }
}

void linear(ConstTensor x, const float* weight, const float* bias, Tensor out) {
  for (int64_t p = 0; p < x.pixels(); ++p)
    for (int o = 0; o < out.channels; ++o) {
      double sum = bias ? bias[o] : 0.0;
      for (int i = 0; i < x.channels; ++i) sum += double(weight[o * x.channels + i]) * x.data[p * x.channels + i];
      out.data[p * out.channels + o] = static_cast<float>(sum);
    }
}

void mlp(const MlpArgs& a) {
  const int channels = a.x.channels;
  Buffer normalised = Buffer::like(a.x, channels), hidden = Buffer::like(a.x, a.weights.hidden),
         result = Buffer::like(a.x, channels);
  ConstTensor input = a.x;
  if (a.weights.norm.gain) {
    layer_norm(a.x, a.weights.norm, normalised.view);
    input = normalised.view;
  }
  linear(input, a.weights.fc1_weight, a.weights.fc1_bias, hidden.view);
  for (int64_t i = 0; i < hidden.view.size(); ++i) hidden.view.data[i] = static_cast<float>(gelu(hidden.view.data[i]));
  linear(hidden.view, a.weights.fc2_weight, a.weights.fc2_bias, result.view);
  const int64_t image = a.x.image(0).size();
  for (int64_t i = 0; i < result.view.size(); ++i) {
    float sum = result.view.data[i] * (a.keep ? a.keep[i / image] : 1.0f);
    if (a.residual) sum += a.x.data[i];
    if (a.add) sum += a.add[i];
    a.out.data[i] = sum;
  }
}

void share_sums(ImageSums* sums, std::vector<std::vector<double>>& images) {
  if (!sums) return;
  if (sums->mode == ImageSums::Mode::record) {
    sums->values.assign(images[0].size(), 0.0);
    for (const auto& image : images)
      for (size_t i = 0; i < image.size(); ++i) sums->values[i] += image[i] / double(images.size());
  }
  for (auto& image : images) image = sums->values;
}

void fold_exposure(ConstTensor features, int exposures, int slot, Tensor out) {
  const int width = out.channels / exposures;
  for (int64_t p = 0; p < out.pixels(); ++p)
    for (int j = 0; j < width; ++j) {
      double sum = 0;
      for (int g = 0; g < exposures; ++g) sum += features.data[p * features.channels + g * width + j];
      out.data[p * out.channels + slot * width + j] = static_cast<float>(sum / exposures);
    }
}

}  // namespace smhdr::reference
