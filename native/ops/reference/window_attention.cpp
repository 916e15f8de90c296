#include <cmath>
#include <vector>

#include "ops/reference/reference_ops.h"

namespace smhdr::reference {

void window_attention(const AttentionArgs& a) {
  const int height = a.x.height, width = a.x.width, channels = a.x.channels;
  const int heads = a.weights.heads, depth = channels / heads;
  const int rows = height / kWindow, columns = width / kWindow;
  Buffer y = Buffer::like(a.x, channels);
  layer_norm(a.x, a.weights.norm, y.view);
  a.trace.record("norm1", y.view);
  for (int64_t p = 0; p < a.x.pixels(); ++p) {
    float* pixel = y.view.data + p * channels;
    double factor = 1;
    if (a.mask_mode == MaskMode::map) factor = a.mask[p];
    if (a.mask_mode == MaskMode::importance) {
      double mean = 0;
      for (int c = 0; c < channels; ++c) mean += pixel[c];
      factor = sigmoid(mean / channels);
    }
    for (int c = 0; c < channels; ++c) pixel[c] = static_cast<float>(pixel[c] * factor);
  }

  // Windows of the shifted image, one row of 64 tokens each: [batch, windows, 64, C].
  Buffer tokens(a.x.batch, rows * columns, kWindowTokens, channels),
      mixed(a.x.batch, rows * columns, kWindowTokens, channels),
      projected(a.x.batch, rows * columns, kWindowTokens, channels),
      qkv(a.x.batch, rows * columns, kWindowTokens, 3 * channels);
  const auto place = [&](int window, int token, int& py, int& px) {
    py = window / columns * kWindow + token / kWindow;
    px = window % columns * kWindow + token % kWindow;
  };
  for (int b = 0; b < a.x.batch; ++b)
    for (int w = 0; w < rows * columns; ++w)
      for (int t = 0; t < kWindowTokens; ++t) {
        int py, px;
        place(w, t, py, px);
        const float* pixel = y.view.at(b, (py + a.shift) % height, (px + a.shift) % width);
        for (int c = 0; c < channels; ++c) tokens.view.at(b, w, t)[c] = pixel[c];
      }
  linear(tokens.view, a.weights.qkv_weight, a.weights.qkv_bias, qkv.view);

  std::vector<double> logits(kWindowTokens);
  for (int b = 0; b < a.x.batch; ++b)
    for (int w = 0; w < rows * columns; ++w)
      for (int h = 0; h < heads; ++h)
        for (int i = 0; i < kWindowTokens; ++i) {
          int iy, ix, jy, jx;
          place(w, i, iy, ix);
          const float* q = qkv.view.at(b, w, i) + h * depth;
          double largest = -INFINITY, total = 0;
          for (int j = 0; j < kWindowTokens; ++j) {
            place(w, j, jy, jx);
            const float* k = qkv.view.at(b, w, j) + channels + h * depth;
            double sum = 0;
            for (int d = 0; d < depth; ++d) sum += double(q[d]) * k[d];
            logits[j] = sum / std::sqrt(double(depth)) + a.weights.bias_table[bias_row(i, j) * heads + h];
            if (a.shift && (shift_region(iy, height) != shift_region(jy, height) ||
                            shift_region(ix, width) != shift_region(jx, width)))
              logits[j] -= 100;
            largest = std::fmax(largest, logits[j]);
          }
          for (double& logit : logits) total += logit = std::exp(logit - largest);
          for (int d = 0; d < depth; ++d) {
            double sum = 0;
            for (int j = 0; j < kWindowTokens; ++j)
              sum += logits[j] * qkv.view.at(b, w, j)[2 * channels + h * depth + d];
            mixed.view.at(b, w, i)[h * depth + d] = static_cast<float>(sum / total);
          }
        }
  linear(mixed.view, a.weights.proj_weight, a.weights.proj_bias, projected.view);
  Tensor windows{projected.view.data, a.x.batch * rows * columns, 1, kWindowTokens, channels};
  a.trace.record("attn", windows);

  for (int b = 0; b < a.x.batch; ++b)
    for (int w = 0; w < rows * columns; ++w)
      for (int t = 0; t < kWindowTokens; ++t) {
        int py, px;
        place(w, t, py, px);
        py = (py + a.shift) % height;
        px = (px + a.shift) % width;
        for (int c = 0; c < channels; ++c)
          a.out.at(b, py, px)[c] = a.x.at(b, py, px)[c] + projected.view.at(b, w, t)[c] * (a.keep ? a.keep[b] : 1.0f);
      }
}

}  // namespace smhdr::reference
