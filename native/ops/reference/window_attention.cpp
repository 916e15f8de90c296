#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/reference/reference_ops.h"

namespace smhdr::reference {
namespace {

/// Everything between the input and the projection, kept for both directions. Windows are rows of 64 tokens:
/// [batch, windows, 64, ...].
struct Attention {
  const AttentionArgs& a;
  const int height = a.x.height, width = a.x.width, channels = a.x.channels, heads = a.weights.heads,
            depth = channels / heads, rows = height / kWindow, columns = width / kWindow, windows = rows * columns;
  Buffer y = Buffer::like(a.x, channels);  // norm(x), before the mask
  std::vector<double> factors = std::vector<double>(a.x.pixels(), 1.0);
  Buffer tokens{a.x.batch, windows, kWindowTokens, channels}, qkv{a.x.batch, windows, kWindowTokens, 3 * channels},
      mixed{a.x.batch, windows, kWindowTokens, channels};
  std::vector<double> attention =
      std::vector<double>(size_t(a.x.batch) * windows * heads * kWindowTokens * kWindowTokens);

  explicit Attention(const AttentionArgs& args) : a(args) {
    layer_norm(a.x, a.weights.norm, y.view);
    for (int64_t p = 0; p < a.x.pixels(); ++p) {
      if (a.mask_mode == MaskMode::map) factors[p] = a.mask[p];
      if (a.mask_mode == MaskMode::importance) {
        double mean = 0;
        for (int c = 0; c < channels; ++c) mean += y.view.data[p * channels + c];
        factors[p] = sigmoid(mean / channels);
      }
    }
    each_token([&](int64_t pixel, int64_t token) {
      for (int c = 0; c < channels; ++c)
        tokens.view.data[token * channels + c] = static_cast<float>(y.view.data[pixel * channels + c] * factors[pixel]);
    });
    linear(tokens.view, a.weights.qkv_weight, a.weights.qkv_bias, qkv.view);
    for (int b = 0; b < a.x.batch; ++b)
      for (int w = 0; w < windows; ++w)
        for (int h = 0; h < heads; ++h) attend(b, w, h);
  }

  const float* query(int b, int w, int t, int h) const { return qkv.view.at(b, w, t) + h * depth; }
  const float* key(int b, int w, int t, int h) const { return query(b, w, t, h) + channels; }
  const float* value(int b, int w, int t, int h) const { return query(b, w, t, h) + 2 * channels; }
  /// The softmax row of query token i.
  double* row(int b, int w, int h, int i) {
    return attention.data() + (((int64_t{b} * windows + w) * heads + h) * kWindowTokens + i) * kWindowTokens;
  }

  /// visit(pixel of x, token of the windows) for every pixel.
  template <typename Visit>
  void each_token(Visit visit) const {
    for (int b = 0; b < a.x.batch; ++b)
      for (int w = 0; w < windows; ++w)
        for (int t = 0; t < kWindowTokens; ++t) {
          const int py = (w / columns * kWindow + t / kWindow + a.shift) % height,
                    px = (w % columns * kWindow + t % kWindow + a.shift) % width;
          visit((int64_t{b} * height + py) * width + px, (int64_t{b} * windows + w) * kWindowTokens + t);
        }
  }

 private:
  void attend(int b, int w, int h) {
    const auto place = [&](int t, int& py, int& px) {
      py = w / columns * kWindow + t / kWindow;
      px = w % columns * kWindow + t % kWindow;
    };
    for (int i = 0; i < kWindowTokens; ++i) {
      int iy, ix, jy, jx;
      place(i, iy, ix);
      double* logits = row(b, w, h, i);
      double largest = -INFINITY, total = 0;
      for (int j = 0; j < kWindowTokens; ++j) {
        place(j, jy, jx);
        double sum = 0;
        for (int d = 0; d < depth; ++d) sum += double(query(b, w, i, h)[d]) * key(b, w, j, h)[d];
        logits[j] = sum / std::sqrt(double(depth)) + a.weights.bias_table[bias_row(i, j) * heads + h];
        if (a.shift && (shift_region(iy, height) != shift_region(jy, height) ||
                        shift_region(ix, width) != shift_region(jx, width)))
          logits[j] -= 100;
        largest = std::fmax(largest, logits[j]);
      }
      for (int j = 0; j < kWindowTokens; ++j) total += logits[j] = std::exp(logits[j] - largest);
      for (int j = 0; j < kWindowTokens; ++j) logits[j] /= total;
      for (int d = 0; d < depth; ++d) {
        double sum = 0;
        for (int j = 0; j < kWindowTokens; ++j) sum += logits[j] * value(b, w, j, h)[d];
        mixed.view.at(b, w, i)[h * depth + d] = static_cast<float>(sum);
      }
    }
  }
};

}  // namespace

void window_attention(const AttentionArgs& a) {
  const Attention forward(a);
  const int channels = a.x.channels;
  a.trace.record("norm1", forward.y.view);
  Buffer projected(a.x.batch, forward.windows, kWindowTokens, channels);
  linear(forward.mixed.view, a.weights.proj_weight, a.weights.proj_bias, projected.view);
  a.trace.record("attn", {projected.view.data, a.x.batch * forward.windows, 1, kWindowTokens, channels});
  const int64_t area = int64_t{a.x.height} * a.x.width;
  forward.each_token([&](int64_t pixel, int64_t token) {
    for (int c = 0; c < channels; ++c)
      a.out.data[pixel * channels + c] = a.x.data[pixel * channels + c] + projected.view.data[token * channels + c] *
                                                                              (a.keep ? a.keep[pixel / area] : 1.0f);
  });
}

void window_attention_backward(const AttentionBackwardArgs& args) {
  const AttentionArgs& a = args.forward;
  Attention forward(a);
  const int channels = a.x.channels, heads = forward.heads, depth = forward.depth, windows = forward.windows;
  const int64_t area = int64_t{a.x.height} * a.x.width;
  Buffer grad_projected(a.x.batch, windows, kWindowTokens, channels),
      grad_mixed(a.x.batch, windows, kWindowTokens, channels),
      grad_qkv(a.x.batch, windows, kWindowTokens, 3 * channels),
      grad_tokens(a.x.batch, windows, kWindowTokens, channels);
  forward.each_token([&](int64_t pixel, int64_t token) {
    for (int c = 0; c < channels; ++c)
      grad_projected.view.data[token * channels + c] =
          args.grad_out.data[pixel * channels + c] * (a.keep ? a.keep[pixel / area] : 1.0f);
  });
  linear_backward(forward.mixed.view, a.weights.proj_weight, grad_projected.view, args.gradients.proj_weight,
                  args.gradients.proj_bias, grad_mixed.view);

  const double scale = 1 / std::sqrt(double(depth));
  std::vector<double> grad_logits(kWindowTokens), table(size_t(225) * heads),
      grad_window(size_t(3) * kWindowTokens * depth);
  for (int b = 0; b < a.x.batch; ++b)
    for (int w = 0; w < windows; ++w)
      for (int h = 0; h < heads; ++h) {
        std::fill(grad_window.begin(), grad_window.end(), 0.0);
        double *grad_q = grad_window.data(), *grad_k = grad_q + kWindowTokens * depth,
               *grad_v = grad_k + kWindowTokens * depth;
        for (int i = 0; i < kWindowTokens; ++i) {
          const double* p = forward.row(b, w, h, i);
          const float* g = grad_mixed.view.at(b, w, i) + h * depth;
          double along = 0;
          for (int j = 0; j < kWindowTokens; ++j) {
            double sum = 0;
            for (int d = 0; d < depth; ++d) {
              sum += double(g[d]) * forward.value(b, w, j, h)[d];
              grad_v[j * depth + d] += p[j] * g[d];
            }
            grad_logits[j] = sum;
            along += p[j] * sum;
          }
          for (int j = 0; j < kWindowTokens; ++j) {
            const double slope = p[j] * (grad_logits[j] - along);
            table[bias_row(i, j) * heads + h] += slope;
            for (int d = 0; d < depth; ++d) {
              grad_q[i * depth + d] += slope * scale * forward.key(b, w, j, h)[d];
              grad_k[j * depth + d] += slope * scale * forward.query(b, w, i, h)[d];
            }
          }
        }
        for (int part = 0; part < 3; ++part)
          for (int t = 0; t < kWindowTokens; ++t)
            for (int d = 0; d < depth; ++d)
              grad_qkv.view.at(b, w, t)[part * channels + h * depth + d] =
                  static_cast<float>(grad_window[(size_t(part) * kWindowTokens + t) * depth + d]);
      }
  for (size_t i = 0; args.gradients.bias_table && i < table.size(); ++i)
    args.gradients.bias_table[i] += static_cast<float>(table[i]);
  linear_backward(forward.tokens.view, a.weights.qkv_weight, grad_qkv.view, args.gradients.qkv_weight,
                  args.gradients.qkv_bias, grad_tokens.view);

  Buffer grad = Buffer::like(a.x, channels);
  forward.each_token([&](int64_t pixel, int64_t token) {
    const float *g = grad_tokens.view.data + token * channels, *y = forward.y.view.data + pixel * channels;
    const double factor = forward.factors[pixel];
    double through = 0;  // the importance map is sigmoid(mean of y): its gradient reaches y too
    if (a.mask_mode == MaskMode::importance) {
      for (int c = 0; c < channels; ++c) through += double(g[c]) * y[c];
      through *= factor * (1 - factor) / channels;
    }
    for (int c = 0; c < channels; ++c)
      grad.view.data[pixel * channels + c] = static_cast<float>(g[c] * factor + through);
  });
  layer_norm_backward(a.x, a.weights.norm, grad.view, args.gradients.norm, grad.view);
  for (int64_t i = 0; i < grad.view.size(); ++i) args.grad_x.data[i] = args.grad_out.data[i] + grad.view.data[i];
}

}  // namespace smhdr::reference
