// What works on each pixel alone: LayerNorm, linear layers, the MLP, and the folding of exposures.
#include <cmath>
#include <vector>

#include "ops/reference/reference_ops.h"

namespace smhdr::reference {

double gelu(double x) { return 0.5 * x * (1.0 + std::erf(x / std::sqrt(2.0))); }
double gelu_slope(double x) {
  return 0.5 * (1.0 + std::erf(x / std::sqrt(2.0))) + x * std::exp(-x * x / 2) / std::sqrt(2 * 3.14159265358979323846);
}
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
  const auto start = [&](int part) { return part_start(part, exposures, out.channels); };
  for (int64_t p = 0; p < out.pixels(); ++p)
    for (int j = 0; j < start(slot + 1) - start(slot); ++j) {
      double sum = 0;
      int groups = 0;
      for (int g = 0; g < exposures; ++g)
        if (start(g) + j < start(g + 1)) {
          sum += features.data[p * features.channels + start(g) + j];
          ++groups;
        }
      out.data[p * out.channels + start(slot) + j] = static_cast<float>(sum / groups);
    }
}

void layer_norm_backward(ConstTensor x, NormWeights weights, ConstTensor grad_out, NormGradients gradients,
                         Tensor grad_x) {
  const int channels = x.channels;
  std::vector<double> gain(channels), bias(channels), normalised(channels), slope(channels);
  for (int64_t p = 0; p < x.pixels(); ++p) {
    const float *in = x.data + p * channels, *g = grad_out.data + p * channels;
    double mean = 0, variance = 0;
    for (int c = 0; c < channels; ++c) mean += in[c];
    mean /= channels;
    for (int c = 0; c < channels; ++c) variance += (in[c] - mean) * (in[c] - mean);
    const double scale = 1.0 / std::sqrt(variance / channels + double(kNormEpsilon));
    double slope_mean = 0, slope_along = 0;
    for (int c = 0; c < channels; ++c) {
      normalised[c] = (in[c] - mean) * scale;
      slope[c] = double(g[c]) * weights.gain[c];
      slope_mean += slope[c] / channels;
      slope_along += slope[c] * normalised[c] / channels;
      gain[c] += g[c] * normalised[c];
      bias[c] += g[c];
    }
    for (int c = 0; c < channels; ++c)
      grad_x.data[p * channels + c] = static_cast<float>(scale * (slope[c] - slope_mean - normalised[c] * slope_along));
  }
  for (int c = 0; gradients.gain && c < channels; ++c) gradients.gain[c] += static_cast<float>(gain[c]);
  for (int c = 0; gradients.bias && c < channels; ++c) gradients.bias[c] += static_cast<float>(bias[c]);
}

void linear_backward(ConstTensor x, const float* weight, ConstTensor grad_out, float* grad_weight, float* grad_bias,
                     Tensor grad_x, bool accumulate) {
  const int in = x.channels, out = grad_out.channels;
  std::vector<double> weights(size_t(in) * out), biases(out);
  for (int64_t p = 0; p < x.pixels(); ++p) {
    const float* g = grad_out.data + p * out;
    for (int i = 0; i < in; ++i) {
      double sum = accumulate ? grad_x.data[p * in + i] : 0.0;
      for (int o = 0; o < out; ++o) {
        sum += double(g[o]) * weight[o * in + i];
        weights[size_t(o) * in + i] += double(g[o]) * x.data[p * in + i];
      }
      grad_x.data[p * in + i] = static_cast<float>(sum);
    }
    for (int o = 0; o < out; ++o) biases[o] += g[o];
  }
  for (size_t i = 0; grad_weight && i < weights.size(); ++i) grad_weight[i] += static_cast<float>(weights[i]);
  for (int o = 0; grad_bias && o < out; ++o) grad_bias[o] += static_cast<float>(biases[o]);
}

void mlp_backward(const MlpBackwardArgs& a) {
  const MlpArgs& f = a.forward;
  const MlpWeights& w = f.weights;
  const int channels = f.x.channels;
  Buffer normalised = Buffer::like(f.x, channels), hidden = Buffer::like(f.x, w.hidden),
         active = Buffer::like(f.x, w.hidden), grad = Buffer::like(f.x, channels),
         grad_hidden = Buffer::like(f.x, w.hidden);
  ConstTensor input = f.x;
  if (w.norm.gain) {
    layer_norm(f.x, w.norm, normalised.view);
    input = normalised.view;
  }
  linear(input, w.fc1_weight, w.fc1_bias, hidden.view);
  for (int64_t i = 0; i < hidden.view.size(); ++i) active.view.data[i] = static_cast<float>(gelu(hidden.view.data[i]));
  const int64_t image = f.x.image(0).size();
  for (int64_t i = 0; i < grad.view.size(); ++i)
    grad.view.data[i] = a.grad_out.data[i] * (f.keep ? f.keep[i / image] : 1.0f);
  linear_backward(active.view, w.fc2_weight, grad.view, a.gradients.fc2_weight, a.gradients.fc2_bias, grad_hidden.view);
  for (int64_t i = 0; i < hidden.view.size(); ++i)
    grad_hidden.view.data[i] = static_cast<float>(grad_hidden.view.data[i] * gelu_slope(hidden.view.data[i]));
  linear_backward(input, w.fc1_weight, grad_hidden.view, a.gradients.fc1_weight, a.gradients.fc1_bias, grad.view);
  if (w.norm.gain) layer_norm_backward(f.x, w.norm, grad.view, a.gradients.norm, grad.view);
  for (int64_t i = 0; i < grad.view.size(); ++i)
    a.grad_x.data[i] = (f.residual ? a.grad_out.data[i] : 0.0f) + grad.view.data[i];
}

void fold_exposure_backward(ConstTensor grad_out, int exposures, int slot, Tensor grad_features) {
  const auto start = [&](int part) { return part_start(part, exposures, grad_out.channels); };
  for (int64_t p = 0; p < grad_out.pixels(); ++p)
    for (int g = 0; g < exposures; ++g)
      for (int j = 0; start(g) + j < start(g + 1); ++j) {
        int groups = 0;
        for (int other = 0; other < exposures; ++other) groups += start(other) + j < start(other + 1);
        const int from = start(slot) + j;
        grad_features.data[p * grad_features.channels + start(g) + j] =
            from < start(slot + 1) ? grad_out.data[p * grad_out.channels + from] / float(groups) : 0.0f;
      }
}

}  // namespace smhdr::reference
