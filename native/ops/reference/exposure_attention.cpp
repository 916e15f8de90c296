#include <cmath>
#include <vector>

#include "ops/reference/reference_ops.h"

namespace smhdr::reference {

void exposure_attention(const ExposureAttentionArgs& a) {
  const int channels = a.x.channels, slot = channels / a.exposures, heads = 4 * a.exposures, depth = channels / heads;
  const int64_t area = int64_t{a.x.height} * a.x.width;
  Buffer z = Buffer::like(a.x, channels), tiled = Buffer::like(a.x, channels), q = Buffer::like(a.x, channels),
         k = Buffer::like(a.x, channels), v = Buffer::like(a.x, channels), mixed = Buffer::like(a.x, channels),
         result = Buffer::like(a.x, channels);
  layer_norm(a.x, a.weights.norm, z.view);
  for (int64_t p = 0; p < a.x.pixels(); ++p)
    for (int c = 0; c < channels; ++c)
      tiled.view.data[p * channels + c] = z.view.data[p * channels + a.exposures / 2 * slot + c % slot];
  linear(tiled.view, a.weights.q, nullptr, q.view);
  linear(z.view, a.weights.k, nullptr, k.view);
  linear(z.view, a.weights.v, nullptr, v.view);

  std::vector<double> attention(size_t(depth) * depth);
  for (int b = 0; b < a.x.batch; ++b) {
    const float *qi = q.view.image(b).data, *ki = k.view.image(b).data, *vi = v.view.image(b).data;
    const auto norm = [&](const float* image, int channel) {
      double sum = 0;
      for (int64_t p = 0; p < area; ++p) sum += double(image[p * channels + channel]) * image[p * channels + channel];
      return std::fmax(std::sqrt(sum), 1e-12);
    };
    for (int h = 0; h < heads; ++h) {
      for (int i = 0; i < depth; ++i) {
        const int row = h * depth + i;
        double largest = -INFINITY, total = 0;
        for (int j = 0; j < depth; ++j) {
          const int column = h * depth + j;
          double sum = 0;
          for (int64_t p = 0; p < area; ++p) sum += double(qi[p * channels + row]) * ki[p * channels + column];
          attention[i * depth + j] = sum / (norm(qi, row) * norm(ki, column));
          largest = std::fmax(largest, attention[i * depth + j]);
        }
        for (int j = 0; j < depth; ++j) total += attention[i * depth + j] = std::exp(attention[i * depth + j] - largest);
        for (int j = 0; j < depth; ++j) attention[i * depth + j] /= total;
      }
      for (int64_t p = 0; p < area; ++p)
        for (int i = 0; i < depth; ++i) {
          double sum = 0;
          for (int j = 0; j < depth; ++j) sum += attention[i * depth + j] * vi[p * channels + h * depth + j];
          mixed.view.image(b).data[p * channels + h * depth + i] = static_cast<float>(sum);
        }
    }
  }
  linear(mixed.view, a.weights.out, nullptr, result.view);
  a.trace.record("attn", result.view);
  for (int64_t i = 0; i < result.view.size(); ++i) a.out.data[i] = a.x.data[i] + result.view.data[i];
}

}  // namespace smhdr::reference
