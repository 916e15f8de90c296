#include <algorithm>
#include <vector>

#include "ops/reference/reference_ops.h"

namespace smhdr::reference {

void local_branch(const LocalBranchArgs& a) {
  const int height = a.x.height, width = a.x.width, channels = a.x.channels, reduced = a.weights.reduced;
  const LocalBranchWeights& w = a.weights;
  Buffer y = Buffer::like(a.x, channels), f = Buffer::like(a.x, channels), cca = Buffer::like(a.x, channels),
         csa = Buffer::like(a.x, channels), gated = Buffer::like(a.x, channels), map = Buffer::like(a.x, 2);
  layer_norm(a.x, w.norm, y.view);
  depthwise(y.view, w.depthwise1_weight, w.depthwise1_bias, f.view);

  const int64_t area = int64_t{height} * width;
  std::vector<std::vector<double>> means(a.x.batch, std::vector<double>(channels));
  for (int b = 0; b < a.x.batch; ++b)
    for (int64_t p = 0; p < area; ++p)
      for (int c = 0; c < channels; ++c) means[b][c] += f.view.image(b).data[p * channels + c] / double(area);
  share_sums(a.sums, means);

  for (int b = 0; b < a.x.batch; ++b) {
    // CCA: pooled over the image, squeezed, and counted twice.
    std::vector<double> inner(reduced), gate(channels);
    const std::vector<double>& pooled = means[b];
    const float* image = f.view.image(b).data;
    for (int r = 0; r < reduced; ++r) {
      double sum = w.channel1_bias[r];
      for (int c = 0; c < channels; ++c) sum += double(w.channel1_weight[r * channels + c]) * pooled[c];
      inner[r] = std::max(sum, 0.0);
    }
    for (int c = 0; c < channels; ++c) {
      double sum = w.channel2_bias[c];
      for (int r = 0; r < reduced; ++r) sum += double(w.channel2_weight[c * reduced + r]) * inner[r];
      gate[c] = sigmoid(2 * sum);
    }
    for (int64_t p = 0; p < area; ++p)
      for (int c = 0; c < channels; ++c)
        cca.view.image(b).data[p * channels + c] = static_cast<float>(image[p * channels + c] * gate[c]);
  }

  // CSA: mean and maximum over channels, 7x7, sigmoid.
  for (int64_t p = 0; p < a.x.pixels(); ++p) {
    const float* pixel = f.view.data + p * channels;
    double sum = 0;
    for (int c = 0; c < channels; ++c) sum += pixel[c];
    map.view.data[2 * p] = static_cast<float>(sum / channels);
    map.view.data[2 * p + 1] = *std::max_element(pixel, pixel + channels);
  }
  for (int b = 0; b < a.x.batch; ++b)
    for (int py = 0; py < height; ++py)
      for (int px = 0; px < width; ++px) {
        double sum = w.spatial_bias[0];
        for (int i = 0; i < 2; ++i)
          for (int ky = 0; ky < 7; ++ky)
            for (int kx = 0; kx < 7; ++kx) {
              const int sy = py + ky - 3, sx = px + kx - 3;
              if (sy < 0 || sy >= height || sx < 0 || sx >= width) continue;
              sum += double(w.spatial_weight[(i * 7 + ky) * 7 + kx]) * map.view.at(b, sy, sx)[i];
            }
        const double gate = sigmoid(sum);
        for (int c = 0; c < channels; ++c)
          csa.view.at(b, py, px)[c] = static_cast<float>(f.view.at(b, py, px)[c] * gate);
      }
  a.trace.record("cab", cca.view);
  a.trace.record("sab", csa.view);
  for (int64_t i = 0; i < gated.view.size(); ++i) gated.view.data[i] = cca.view.data[i] + csa.view.data[i];
  depthwise(gated.view, w.depthwise2_weight, w.depthwise2_bias, a.out);
  a.trace.record("conv_cnn2", a.out);
}

}  // namespace smhdr::reference
