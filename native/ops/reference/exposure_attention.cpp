#include <cmath>
#include <vector>

#include "ops/reference/reference_ops.h"

namespace smhdr::reference {

namespace {

/// The reference's slot: its first channel and how many it has.
struct Slot {
  int first, size;
  explicit Slot(const ExposureAttentionArgs& a)
      : first(part_start(a.exposures / 2, a.exposures, a.x.channels)),
        size(part_start(a.exposures / 2 + 1, a.exposures, a.x.channels) - first) {}
  int channel(int c) const { return first + c % size; }
};

}  // namespace

void exposure_attention(const ExposureAttentionArgs& a) {
  const int channels = a.x.channels, heads = exposure_heads(channels, a.exposures);
  const Slot slot(a);
  const int64_t area = int64_t{a.x.height} * a.x.width;
  Buffer z = Buffer::like(a.x, channels), tiled = Buffer::like(a.x, channels), q = Buffer::like(a.x, channels),
         k = Buffer::like(a.x, channels), v = Buffer::like(a.x, channels), mixed = Buffer::like(a.x, channels),
         result = Buffer::like(a.x, channels);
  layer_norm(a.x, a.weights.norm, z.view);
  for (int64_t p = 0; p < a.x.pixels(); ++p)
    for (int c = 0; c < channels; ++c) tiled.view.data[p * channels + c] = z.view.data[p * channels + slot.channel(c)];
  linear(tiled.view, a.weights.q, nullptr, q.view);
  linear(z.view, a.weights.k, nullptr, k.view);
  linear(z.view, a.weights.v, nullptr, v.view);

  // Products of q and k and their norms over the pixels: per image, or (ImageSums) from the Gram matrix of z.
  std::vector<std::vector<double>> grams(a.x.batch, std::vector<double>(size_t(channels) * channels));
  if (a.sums) {
    for (int b = 0; b < a.x.batch; ++b)
      for (int64_t p = 0; p < area; ++p)
        for (int i = 0; i < channels; ++i)
          for (int j = 0; j < channels; ++j)
            grams[b][i * channels + j] +=
                double(z.view.image(b).data[p * channels + i]) * z.view.image(b).data[p * channels + j] / double(area);
    share_sums(a.sums, grams);
  }
  for (int b = 0; b < a.x.batch; ++b) {
    const float *qi = q.view.image(b).data, *ki = k.view.image(b).data, *vi = v.view.image(b).data;
    // sum over pixels of (left row of weights . z) (right row . z); the query's rows read the reference's channels.
    const auto inner = [&](const float* left, int row, bool left_query, const float* right, int column,
                           bool right_query) {
      const float* image_left = left_query ? qi : ki;
      const float* image_right = right_query ? qi : ki;
      double sum = 0;
      if (!a.sums) {
        for (int64_t p = 0; p < area; ++p)
          sum += double(image_left[p * channels + row]) * image_right[p * channels + column];
        return sum;
      }
      const auto source = [&](int c, bool query) { return query ? slot.channel(c) : c; };
      for (int i = 0; i < channels; ++i)
        for (int j = 0; j < channels; ++j)
          sum += double(left[row * channels + i]) * right[column * channels + j] *
                 grams[b][source(i, left_query) * channels + source(j, right_query)];
      return sum;
    };
    const auto norm = [&](const float* weights, int row, bool query) {
      return std::fmax(std::sqrt(std::fmax(inner(weights, row, query, weights, row, query), 0.0)), 1e-12);
    };
    for (int h = 0; h < heads; ++h) {
      const int start = part_start(h, heads, channels), depth = part_start(h + 1, heads, channels) - start;
      std::vector<double> attention(size_t(depth) * depth);
      for (int i = 0; i < depth; ++i) {
        const int row = start + i;
        double largest = -INFINITY, total = 0;
        for (int j = 0; j < depth; ++j) {
          const int column = start + j;
          attention[i * depth + j] = inner(a.weights.q, row, true, a.weights.k, column, false) /
                                     (norm(a.weights.q, row, true) * norm(a.weights.k, column, false));
          largest = std::fmax(largest, attention[i * depth + j]);
        }
        for (int j = 0; j < depth; ++j)
          total += attention[i * depth + j] = std::exp(attention[i * depth + j] - largest);
        for (int j = 0; j < depth; ++j) attention[i * depth + j] /= total;
      }
      for (int64_t p = 0; p < area; ++p)
        for (int i = 0; i < depth; ++i) {
          double sum = 0;
          for (int j = 0; j < depth; ++j) sum += attention[i * depth + j] * vi[p * channels + start + j];
          mixed.view.image(b).data[p * channels + start + i] = static_cast<float>(sum);
        }
    }
  }
  linear(mixed.view, a.weights.out, nullptr, result.view);
  a.trace.record("attn", result.view);
  for (int64_t i = 0; i < result.view.size(); ++i) a.out.data[i] = a.x.data[i] + result.view.data[i];
}

void exposure_attention_backward(const ExposureAttentionBackwardArgs& args) {
  const ExposureAttentionArgs& a = args.forward;
  const int channels = a.x.channels, heads = exposure_heads(channels, a.exposures);
  const Slot slot(a);
  const int64_t area = int64_t{a.x.height} * a.x.width;
  Buffer z = Buffer::like(a.x, channels), tiled = Buffer::like(a.x, channels), q = Buffer::like(a.x, channels),
         k = Buffer::like(a.x, channels), v = Buffer::like(a.x, channels), mixed = Buffer::like(a.x, channels),
         grad_mixed = Buffer::like(a.x, channels), grad_q = Buffer::like(a.x, channels),
         grad_k = Buffer::like(a.x, channels), grad_v = Buffer::like(a.x, channels),
         grad_z = Buffer::like(a.x, channels), grad_tiled = Buffer::like(a.x, channels);
  layer_norm(a.x, a.weights.norm, z.view);
  for (int64_t p = 0; p < a.x.pixels(); ++p)
    for (int c = 0; c < channels; ++c) tiled.view.data[p * channels + c] = z.view.data[p * channels + slot.channel(c)];
  linear(tiled.view, a.weights.q, nullptr, q.view);
  linear(z.view, a.weights.k, nullptr, k.view);
  linear(z.view, a.weights.v, nullptr, v.view);

  // out's gradient of `mixed` needs no value of it; its own weight gradient does, below.
  linear_backward(mixed.view, a.weights.out, args.grad_out, nullptr, nullptr, grad_mixed.view);
  for (int b = 0; b < a.x.batch; ++b) {
    const float *qi = q.view.image(b).data, *ki = k.view.image(b).data, *vi = v.view.image(b).data,
                *gi = grad_mixed.view.image(b).data;
    const auto dot = [&](const float* left, int l, const float* right, int r) {
      double sum = 0;
      for (int64_t p = 0; p < area; ++p) sum += double(left[p * channels + l]) * right[p * channels + r];
      return sum;
    };
    for (int h = 0; h < heads; ++h) {
      const int start = part_start(h, heads, channels), depth = part_start(h + 1, heads, channels) - start;
      std::vector<double> query_norm(depth), key_norm(depth), cosine(depth * depth), attention(depth * depth),
          grad_dot(depth * depth), grad_query_norm(depth), grad_key_norm(depth);
      for (int i = 0; i < depth; ++i) {
        query_norm[i] = std::fmax(std::sqrt(dot(qi, start + i, qi, start + i)), 1e-12);
        key_norm[i] = std::fmax(std::sqrt(dot(ki, start + i, ki, start + i)), 1e-12);
      }
      for (int i = 0; i < depth; ++i) {
        double largest = -INFINITY, total = 0, along = 0;
        std::vector<double> grad_attention(depth);
        for (int j = 0; j < depth; ++j) {
          cosine[i * depth + j] = dot(qi, start + i, ki, start + j) / (query_norm[i] * key_norm[j]);
          largest = std::fmax(largest, cosine[i * depth + j]);
        }
        for (int j = 0; j < depth; ++j) total += attention[i * depth + j] = std::exp(cosine[i * depth + j] - largest);
        for (int j = 0; j < depth; ++j) {
          attention[i * depth + j] /= total;
          grad_attention[j] = dot(gi, start + i, vi, start + j);
          along += attention[i * depth + j] * grad_attention[j];
        }
        for (int j = 0; j < depth; ++j) {
          const double slope = attention[i * depth + j] * (grad_attention[j] - along);
          grad_dot[i * depth + j] = slope / (query_norm[i] * key_norm[j]);
          grad_query_norm[i] -= slope * cosine[i * depth + j] / query_norm[i];
          grad_key_norm[j] -= slope * cosine[i * depth + j] / key_norm[j];
        }
      }
      for (int64_t p = 0; p < area; ++p)
        for (int i = 0; i < depth; ++i) {
          const int64_t at = p * channels + start + i;
          double to_q = grad_query_norm[i] * qi[at] / query_norm[i], to_k = grad_key_norm[i] * ki[at] / key_norm[i],
                 to_v = 0, value = 0;
          for (int j = 0; j < depth; ++j) {
            const int64_t other = p * channels + start + j;
            to_q += grad_dot[i * depth + j] * ki[other];
            to_k += grad_dot[j * depth + i] * qi[other];
            to_v += attention[j * depth + i] * gi[other];
            value += attention[i * depth + j] * vi[other];
          }
          grad_q.view.image(b).data[at] = static_cast<float>(to_q);
          grad_k.view.image(b).data[at] = static_cast<float>(to_k);
          grad_v.view.image(b).data[at] = static_cast<float>(to_v);
          mixed.view.image(b).data[at] = static_cast<float>(value);
        }
    }
  }
  linear_backward(mixed.view, a.weights.out, args.grad_out, args.gradients.out, nullptr, grad_mixed.view);
  linear_backward(z.view, a.weights.k, grad_k.view, args.gradients.k, nullptr, grad_z.view);
  linear_backward(z.view, a.weights.v, grad_v.view, args.gradients.v, nullptr, grad_z.view, true);
  linear_backward(tiled.view, a.weights.q, grad_q.view, args.gradients.q, nullptr, grad_tiled.view);
  for (int64_t p = 0; p < a.x.pixels(); ++p)
    for (int c = 0; c < channels; ++c)
      grad_z.view.data[p * channels + slot.channel(c)] += grad_tiled.view.data[p * channels + c];
  layer_norm_backward(a.x, a.weights.norm, grad_z.view, args.gradients.norm, grad_z.view);
  for (int64_t i = 0; i < grad_z.view.size(); ++i) args.grad_x.data[i] = args.grad_out.data[i] + grad_z.view.data[i];
}

}  // namespace smhdr::reference
