#include <algorithm>
#include <vector>

#include "ops/reference/reference_ops.h"

namespace smhdr::reference {
namespace {

/// Everything up to the gates, kept for both directions.
struct Local {
  const LocalBranchArgs& a;
  const LocalBranchWeights& w = a.weights;
  const int height = a.x.height, width = a.x.width, channels = a.x.channels, reduced = w.reduced, batch = a.x.batch;
  const int64_t area = int64_t{height} * width;
  Buffer y = Buffer::like(a.x, channels), f = Buffer::like(a.x, channels), planes = Buffer::like(a.x, 2);
  std::vector<std::vector<double>> means, inner, channel_gate;
  std::vector<double> spatial_gate = std::vector<double>(a.x.pixels());

  explicit Local(const LocalBranchArgs& args)
      : a(args),
        means(batch, std::vector<double>(channels)),
        inner(batch, std::vector<double>(reduced)),
        channel_gate(batch, std::vector<double>(channels)) {
    layer_norm(a.x, w.norm, y.view);
    depthwise(y.view, w.depthwise1_weight, w.depthwise1_bias, f.view);
    for (int b = 0; b < batch; ++b)
      for (int64_t p = 0; p < area; ++p)
        for (int c = 0; c < channels; ++c) means[b][c] += f.view.image(b).data[p * channels + c] / double(area);
    share_sums(a.sums, means);
    // CCA: pooled over the image, squeezed, and counted twice.
    for (int b = 0; b < batch; ++b) {
      for (int r = 0; r < reduced; ++r) {
        double sum = w.channel1_bias[r];
        for (int c = 0; c < channels; ++c) sum += double(w.channel1_weight[r * channels + c]) * means[b][c];
        inner[b][r] = std::max(sum, 0.0);
      }
      for (int c = 0; c < channels; ++c) {
        double sum = w.channel2_bias[c];
        for (int r = 0; r < reduced; ++r) sum += double(w.channel2_weight[c * reduced + r]) * inner[b][r];
        channel_gate[b][c] = sigmoid(2 * sum);
      }
    }
    // CSA: mean and maximum over channels, 7x7, sigmoid.
    for (int64_t p = 0; p < a.x.pixels(); ++p) {
      const float* pixel = f.view.data + p * channels;
      double sum = 0;
      for (int c = 0; c < channels; ++c) sum += pixel[c];
      planes.view.data[2 * p] = static_cast<float>(sum / channels);
      planes.view.data[2 * p + 1] = *std::max_element(pixel, pixel + channels);
    }
    each_tap([&](int64_t pixel, int64_t source, int tap) {
      spatial_gate[pixel] += double(w.spatial_weight[tap]) * planes.view.data[source];
    });
    for (double& gate : spatial_gate) gate = sigmoid(gate + w.spatial_bias[0]);
  }

  /// visit(pixel, value of the planes, weight) for every tap of the 7x7 convolution that lies inside.
  template <typename Visit>
  void each_tap(Visit visit) const {
    for (int b = 0; b < batch; ++b)
      for (int py = 0; py < height; ++py)
        for (int px = 0; px < width; ++px)
          for (int i = 0; i < 2; ++i)
            for (int ky = 0; ky < 7; ++ky)
              for (int kx = 0; kx < 7; ++kx) {
                const int sy = py + ky - 3, sx = px + kx - 3;
                if (sy < 0 || sy >= height || sx < 0 || sx >= width) continue;
                visit((int64_t{b} * height + py) * width + px, ((int64_t{b} * height + sy) * width + sx) * 2 + i,
                      (i * 7 + ky) * 7 + kx);
              }
  }
};

}  // namespace

void local_branch(const LocalBranchArgs& a) {
  const Local forward(a);
  const int channels = a.x.channels;
  Buffer cca = Buffer::like(a.x, channels), csa = Buffer::like(a.x, channels), gated = Buffer::like(a.x, channels);
  for (int64_t i = 0; i < gated.view.size(); ++i) {
    const int64_t pixel = i / channels;
    cca.view.data[i] =
        static_cast<float>(forward.f.view.data[i] * forward.channel_gate[pixel / forward.area][i % channels]);
    csa.view.data[i] = static_cast<float>(forward.f.view.data[i] * forward.spatial_gate[pixel]);
    gated.view.data[i] = cca.view.data[i] + csa.view.data[i];
  }
  a.trace.record("cab", cca.view);
  a.trace.record("sab", csa.view);
  depthwise(gated.view, a.weights.depthwise2_weight, a.weights.depthwise2_bias, a.out);
  a.trace.record("conv_cnn2", a.out);
}

void local_branch_backward(const LocalBranchBackwardArgs& args) {
  LocalBranchArgs own = args.forward;
  own.sums = nullptr;
  const Local forward(own);
  const LocalBranchWeights& w = own.weights;
  const LocalBranchGradients& out = args.gradients;
  const int channels = forward.channels, reduced = forward.reduced, batch = forward.batch;
  const int64_t area = forward.area;
  const auto gate = [&](int64_t i) {
    const int64_t pixel = i / channels;
    return forward.channel_gate[pixel / area][i % channels] + forward.spatial_gate[pixel];
  };
  Buffer gated = Buffer::like(own.x, channels), grad = Buffer::like(own.x, channels);
  for (int64_t i = 0; i < gated.view.size(); ++i)
    gated.view.data[i] = static_cast<float>(forward.f.view.data[i] * gate(i));
  depthwise_backward(gated.view, w.depthwise2_weight, args.grad_out, out.depthwise2_weight, out.depthwise2_bias,
                     grad.view);

  // grad becomes that of f: directly, through the channel gate's mean, and through the spatial gate's mean and maximum.
  std::vector<std::vector<double>> grad_channel(batch, std::vector<double>(channels));
  std::vector<double> grad_spatial(own.x.pixels()), grad_planes(2 * own.x.pixels());
  for (int64_t i = 0; i < grad.view.size(); ++i) {
    const int64_t pixel = i / channels;
    const double product = double(grad.view.data[i]) * forward.f.view.data[i];
    grad_channel[pixel / area][i % channels] += product;
    grad_spatial[pixel] += product;
    grad.view.data[i] = static_cast<float>(grad.view.data[i] * gate(i));
  }
  for (int b = 0; b < batch; ++b) {
    std::vector<double> grad_inner(reduced), grad_mean(channels);
    for (int c = 0; c < channels; ++c) {
      const double g = forward.channel_gate[b][c], slope = grad_channel[b][c] * 2 * g * (1 - g);
      if (out.channel2_bias) out.channel2_bias[c] += static_cast<float>(slope);
      for (int r = 0; r < reduced; ++r) {
        if (out.channel2_weight)
          out.channel2_weight[c * reduced + r] += static_cast<float>(slope * forward.inner[b][r]);
        if (forward.inner[b][r] > 0) grad_inner[r] += slope * w.channel2_weight[c * reduced + r];
      }
    }
    for (int r = 0; r < reduced; ++r) {
      if (out.channel1_bias) out.channel1_bias[r] += static_cast<float>(grad_inner[r]);
      for (int c = 0; c < channels; ++c) {
        if (out.channel1_weight)
          out.channel1_weight[r * channels + c] += static_cast<float>(grad_inner[r] * forward.means[b][c]);
        grad_mean[c] += grad_inner[r] * w.channel1_weight[r * channels + c];
      }
    }
    for (int64_t p = 0; p < area; ++p)
      for (int c = 0; c < channels; ++c)
        grad.view.image(b).data[p * channels + c] += static_cast<float>(grad_mean[c] / double(area));
  }
  std::vector<double> grad_weight(98);
  double grad_bias = 0;
  for (int64_t p = 0; p < own.x.pixels(); ++p) {
    grad_spatial[p] *= forward.spatial_gate[p] * (1 - forward.spatial_gate[p]);
    grad_bias += grad_spatial[p];
  }
  forward.each_tap([&](int64_t pixel, int64_t source, int tap) {
    grad_weight[tap] += grad_spatial[pixel] * forward.planes.view.data[source];
    grad_planes[source] += grad_spatial[pixel] * w.spatial_weight[tap];
  });
  for (int tap = 0; out.spatial_weight && tap < 98; ++tap)
    out.spatial_weight[tap] += static_cast<float>(grad_weight[tap]);
  if (out.spatial_bias) out.spatial_bias[0] += static_cast<float>(grad_bias);
  for (int64_t p = 0; p < own.x.pixels(); ++p) {
    const float* pixel = forward.f.view.data + p * channels;
    float* g = grad.view.data + p * channels;
    for (int c = 0; c < channels; ++c) g[c] += static_cast<float>(grad_planes[2 * p] / channels);
    g[std::max_element(pixel, pixel + channels) - pixel] += static_cast<float>(grad_planes[2 * p + 1]);
  }

  Buffer grad_y = Buffer::like(own.x, channels);
  depthwise_backward(forward.y.view, w.depthwise1_weight, grad.view, out.depthwise1_weight, out.depthwise1_bias,
                     grad_y.view);
  layer_norm_backward(own.x, w.norm, grad_y.view, out.norm, grad_y.view);
  for (int64_t i = 0; i < grad_y.view.size(); ++i) args.grad_x.data[i] += grad_y.view.data[i];
}

}  // namespace smhdr::reference
