// The CPU's backward ops. Parameter gradients are summed in a fixed number of slots, each over a fixed run of pieces
// and by one thread at a time, and the slots are added in order: the thread count changes nothing.
#include "ops/cpu_ops.h"
#include "ops/reference/reference_ops.h"

namespace smhdr {

using namespace cpu;

namespace {

constexpr int kSlots = 16;

/// Accumulators of one op's parameters, `kSlots` of each, in one zeroed block.
class Slots {
 public:
  explicit Slots(Scratch& memory) : memory_(memory) {}

  /// Registers a parameter of `count` values; null registers nothing and stays null in every slot.
  void add(float** place, float* target, int64_t count) {
    if (target)
      parts_.push_back({place, target, size_, count});
    else
      *place = nullptr;
    if (target) size_ += (count + 15) / 16 * 16;
  }

  /// Call once all are registered.
  void start() {
    base_ = memory_.get(size_ * kSlots + 1);
    std::fill_n(base_, size_ * kSlots, 0.0f);
  }

  /// Points the registered places at the accumulators of `slot`.
  template <typename Args>
  Args in(int slot, const Args& args) const {
    Args copy = args;
    const char* origin = reinterpret_cast<const char*>(&args);
    for (const Part& part : parts_) {
      const auto offset = reinterpret_cast<const char*>(part.place) - origin;
      *reinterpret_cast<float**>(reinterpret_cast<char*>(&copy) + offset) = base_ + slot * size_ + part.offset;
    }
    return copy;
  }

  /// Sums the slots in order; give(target, sums, count) adds them where they belong.
  template <typename Give>
  void finish(Give give) {
    for (const Part& part : parts_) {
      float* first = base_ + part.offset;
      for (int slot = 1; slot < kSlots; ++slot)
        for (int64_t i = 0; i < part.count; ++i) first[i] += base_[slot * size_ + part.offset + i];
      give(part.target, first, part.count);
    }
  }
  void finish() {
    finish([](float* target, const float* sums, int64_t count) {
      for (int64_t i = 0; i < count; ++i) target[i] += sums[i];
    });
  }

 private:
  struct Part {
    float** place;
    float* target;
    int64_t offset, count;
  };
  Scratch& memory_;
  std::vector<Part> parts_;
  int64_t size_ = 0;
  float* base_ = nullptr;
};

void add_norm(Slots& slots, NormGradients& norm, int channels) {
  slots.add(&norm.gain, norm.gain, channels);
  slots.add(&norm.bias, norm.bias, channels);
}

}  // namespace

const void* CpuOps::turned_words(const Kernels& kernels, const float* weight, int rows, int columns, Scratch& memory) {
  std::vector<float> turned(size_t(rows) * columns);
  for (int row = 0; row < rows; ++row)
    for (int c = 0; c < columns; ++c) turned[size_t(c) * rows + row] = weight[size_t(row) * columns + c];
  return words(kernels, turned.data(), columns, rows, 1, memory);
}

/// body(slot, piece, thread) for every piece, in order within a slot.
template <typename Body>
static void in_slots(ThreadPool& pool, int64_t pieces, Body body) {
  pool.parallel_for(kSlots, [&](int64_t slot, int thread) {
    for (int64_t piece = slot * pieces / kSlots; piece < (slot + 1) * pieces / kSlots; ++piece)
      body(static_cast<int>(slot), piece, thread);
  });
}

void CpuOps::convolution_backward(const ConvolutionBackwardArgs& given) {
  const int in = given.x.channels, out = given.grad_out.channels, height = given.x.height, width = given.x.width;
  const int64_t rows = (height + kTileRows - 1) / kTileRows, columns = (width + kTokens - 1) / kTokens;
  if (given.grad_weight || given.grad_bias) {
    ConvolutionBackwardArgs args = given;
    Slots slots(gradients_);
    slots.add(&args.grad_weight, args.grad_weight, int64_t{9} * in * out);
    slots.add(&args.grad_bias, args.grad_bias, out);
    slots.start();
    const Kernels& kernels = backward_kernels_for({});  // its products are over pixels
    const int64_t scratch = kernels.convolution_backward_scratch(args);
    in_slots(pool_, args.x.batch * rows * columns, [&](int slot, int64_t piece, int thread) {
      kernels.convolution_backward_tile(slots.in(slot, args), static_cast<int>(piece / (rows * columns)),
                                        static_cast<int>(piece / columns % rows) * kTileRows,
                                        static_cast<int>(piece % columns) * kTokens,
                                        thread_scratch_[thread].get(scratch));
    });
    slots.finish([&](float* target, const float* sums, int64_t count) {
      for (int64_t i = 0; i < count; ++i) {
        // Weights were summed as [tap][out][in].
        const int64_t tap = i / (in * out), o = i / in % out, c = i % in;
        target[target == given.grad_weight ? (o * in + c) * 9 + tap : i] += sums[i];
      }
    });
  }
  if (!given.grad_x.data) return;

  // The input's gradient is a zero-padded convolution with the taps turned and the channels exchanged.
  std::vector<float> turned(size_t(9) * in * out), zero(in);
  for (int o = 0; o < out; ++o)
    for (int c = 0; c < in; ++c)
      for (int tap = 0; tap < 9; ++tap)
        turned[(size_t(c) * out + o) * 9 + 8 - tap] = given.weight[(size_t(o) * in + c) * 9 + tap];
  convolution({given.grad_out, turned.data(), zero.data(), Padding::zero, nullptr, false, given.grad_x});
  if (given.padding == Padding::zero) return;
  // What fell on the mirrored frame belongs to the pixels it mirrors.
  pool_.parallel_for(given.x.batch, [&](int64_t image, int) {
    const int b = static_cast<int>(image);
    std::vector<double> share(in);
    for (int y = -1; y <= height; ++y)
      for (int x = -1; x <= width; x += y < 0 || y == height ? 1 : width + 1) {
        std::fill(share.begin(), share.end(), 0.0);
        for (int tap = 0; tap < 9; ++tap) {
          const int oy = y - (tap / 3 - 1), ox = x - (tap % 3 - 1);
          if (oy < 0 || oy >= height || ox < 0 || ox >= width) continue;
          const float* grad = given.grad_out.at(b, oy, ox);
          for (int c = 0; c < in; ++c) {
            const float* row = turned.data() + size_t(c) * out * 9 + 8 - tap;
            for (int o = 0; o < out; ++o) share[c] += double(grad[o]) * row[o * 9];
          }
        }
        float* to = given.grad_x.at(b, reference::reflect(y, height), reference::reflect(x, width));
        for (int c = 0; c < in; ++c) to[c] += static_cast<float>(share[c]);
      }
  });
}

void CpuOps::layer_norm_backward(ConstTensor x, NormWeights weights, ConstTensor grad_out, NormGradients gradients,
                                 Tensor grad_x) {
  const int channels = x.channels;
  const int64_t pixels = x.pixels(), scratch = kernels_.norm_backward_scratch(channels);
  Slots slots(gradients_);
  add_norm(slots, gradients, channels);
  slots.start();
  in_slots(pool_, (pixels + kTokens - 1) / kTokens, [&](int slot, int64_t piece, int thread) {
    const int64_t first = piece * kTokens, at = first * channels;
    kernels_.norm_backward_tokens(x.data + at, weights, grad_out.data + at, slots.in(slot, gradients), channels,
                                  static_cast<int>(std::min<int64_t>(kTokens, pixels - first)), false, grad_x.data + at,
                                  thread_scratch_[thread].get(scratch));
  });
  slots.finish();
}

void CpuOps::mlp_backward(const MlpBackwardArgs& given) {
  MlpBackwardArgs args = given;
  const int channels = args.forward.x.channels, hidden = args.forward.weights.hidden;
  const int64_t area = int64_t{args.forward.x.height} * args.forward.x.width, groups = (area + kTokens - 1) / kTokens;
  Slots slots(gradients_);
  add_norm(slots, args.gradients.norm, channels);
  slots.add(&args.gradients.fc1_weight, args.gradients.fc1_weight, int64_t{hidden} * channels);
  slots.add(&args.gradients.fc1_bias, args.gradients.fc1_bias, hidden);
  slots.add(&args.gradients.fc2_weight, args.gradients.fc2_weight, int64_t{hidden} * channels);
  slots.add(&args.gradients.fc2_bias, args.gradients.fc2_bias, channels);
  slots.start();
  const MlpWeights& w = args.forward.weights;
  const Kernels& kernels = backward_kernels_for({channels, hidden});
  MlpBackwardPlan plan;
  plan.fc1 = words(kernels, w.fc1_weight, hidden, channels, 1, words_[0]);
  if (kernels.pack) {
    plan.fc1_turned = turned_words(kernels, w.fc1_weight, hidden, channels, words_[1]);
    plan.fc2_turned = turned_words(kernels, w.fc2_weight, channels, hidden, words_[2]);
  }
  const int64_t scratch = kernels.mlp_backward_scratch(args);
  in_slots(pool_, groups * args.forward.x.batch, [&](int slot, int64_t piece, int thread) {
    const int64_t b = piece / groups, first = piece % groups * kTokens;
    kernels.mlp_backward_tokens(slots.in(slot, args), plan, static_cast<int>(b), b * area + first,
                                static_cast<int>(std::min<int64_t>(kTokens, area - first)),
                                thread_scratch_[thread].get(scratch));
  });
  slots.finish();
}

void CpuOps::window_attention_backward(const AttentionBackwardArgs& given) {
  AttentionBackwardArgs args = given;
  const int channels = args.forward.x.channels, heads = args.forward.weights.heads;
  const int rows = args.forward.x.height / kWindow, columns = args.forward.x.width / kWindow;
  const Kernels& kernels = backward_kernels_for({channels, channels / heads});
  AttentionPlan plan = attention_plan(args.forward, kernels);
  if (kernels.pack) {
    plan.qkv_turned = turned_words(kernels, args.forward.weights.qkv_weight, 3 * channels, channels, words_[0]);
    plan.proj_turned = turned_words(kernels, args.forward.weights.proj_weight, channels, channels, words_[1]);
  }
  Slots slots(gradients_);
  add_norm(slots, args.gradients.norm, channels);
  slots.add(&args.gradients.qkv_weight, args.gradients.qkv_weight, int64_t{3} * channels * channels);
  slots.add(&args.gradients.qkv_bias, args.gradients.qkv_bias, 3 * channels);
  slots.add(&args.gradients.proj_weight, args.gradients.proj_weight, int64_t{channels} * channels);
  slots.add(&args.gradients.proj_bias, args.gradients.proj_bias, channels);
  slots.add(&args.gradients.bias_table, args.gradients.bias_table, int64_t{heads} * kTokens * kTokens);
  slots.start();
  const int64_t scratch = kernels.attention_backward_scratch(args);
  in_slots(pool_, int64_t{args.forward.x.batch} * rows * columns, [&](int slot, int64_t piece, int thread) {
    kernels.attention_backward_window(slots.in(slot, args), plan, static_cast<int>(piece / (rows * columns)),
                                      static_cast<int>(piece / columns % rows), static_cast<int>(piece % columns),
                                      thread_scratch_[thread].get(scratch));
  });
  slots.finish([&](float* target, const float* sums, int64_t count) {
    if (target != given.gradients.bias_table) {
      for (int64_t i = 0; i < count; ++i) target[i] += sums[i];
      return;
    }
    for (int h = 0; h < heads; ++h)
      for (int key = 0; key < kTokens; ++key)
        for (int query = 0; query < kTokens; ++query)
          target[bias_row(query, key) * heads + h] += sums[(int64_t{h} * kTokens + key) * kTokens + query];
  });
}

void CpuOps::local_branch_backward(const LocalBranchBackwardArgs& given) {
  LocalBranchBackwardArgs args = given;
  args.forward.sums = nullptr;
  const int batch = args.forward.x.batch, height = args.forward.x.height, width = args.forward.x.width,
            channels = args.forward.x.channels;
  const int bands = (height + kTileRows - 1) / kTileRows, reduced = args.forward.weights.reduced;
  const int64_t frame = int64_t{height + 6} * (width + 6), area = int64_t{height} * width;
  const LocalBranchWeights& w = args.forward.weights;
  const LocalState state = local_gates(args.forward, true);

  LocalBackwardPlan plan;
  plan.forward = state.plan;
  const int64_t size = args.forward.x.size();
  float* memory = grad_features_.get(size + batch * frame + kTokens);
  plan.grad = {memory, batch, height, width, channels};
  plan.grad_spatial = memory + size;
  std::fill_n(plan.grad_spatial, batch * frame + kTokens, 0.0f);
  std::vector<float> grad_means(size_t(batch) * channels);
  plan.grad_means = grad_means.data();

  Slots slots(gradients_);
  add_norm(slots, args.gradients.norm, channels);
  slots.add(&args.gradients.depthwise1_weight, args.gradients.depthwise1_weight, 9 * channels);
  slots.add(&args.gradients.depthwise1_bias, args.gradients.depthwise1_bias, channels);
  slots.add(&args.gradients.depthwise2_weight, args.gradients.depthwise2_weight, 9 * channels);
  slots.add(&args.gradients.depthwise2_bias, args.gradients.depthwise2_bias, channels);
  slots.add(&args.gradients.spatial_weight, args.gradients.spatial_weight, 98);
  slots.add(&args.gradients.spatial_bias, args.gradients.spatial_bias, 1);
  slots.start();
  const int64_t scratch = kernels_.local_backward_scratch(args);
  const auto each_band = [&](auto body) {
    in_slots(pool_, int64_t{batch} * bands, [&](int slot, int64_t piece, int thread) {
      body(slots.in(slot, args), static_cast<int>(piece / bands), static_cast<int>(piece % bands), piece, thread);
    });
  };

  std::vector<double> sums(size_t(batch) * bands * channels);
  each_band([&](const LocalBranchBackwardArgs& own, int b, int band, int64_t piece, int thread) {
    kernels_.local_backward_gates(own, plan, b, band, sums.data() + piece * channels,
                                  thread_scratch_[thread].get(scratch));
  });
  for (int b = 0; b < batch; ++b) {
    std::vector<double> grad_inner(reduced);
    for (int c = 0; c < channels; ++c) {
      double total = 0;
      for (int band = 0; band < bands; ++band) total += sums[(size_t(b) * bands + band) * channels + c];
      const double g = state.gates[size_t(b) * channels + c], slope = total * 2 * g * (1 - g);
      if (given.gradients.channel2_bias) given.gradients.channel2_bias[c] += static_cast<float>(slope);
      for (int r = 0; r < reduced; ++r) {
        if (given.gradients.channel2_weight)
          given.gradients.channel2_weight[c * reduced + r] += static_cast<float>(slope * state.inner[b][r]);
        if (state.inner[b][r] > 0) grad_inner[r] += slope * w.channel2_weight[c * reduced + r];
      }
    }
    std::vector<double> grad_mean(channels);
    for (int r = 0; r < reduced; ++r) {
      if (given.gradients.channel1_bias) given.gradients.channel1_bias[r] += static_cast<float>(grad_inner[r]);
      for (int c = 0; c < channels; ++c) {
        if (given.gradients.channel1_weight)
          given.gradients.channel1_weight[r * channels + c] += static_cast<float>(grad_inner[r] * state.means[b][c]);
        grad_mean[c] += grad_inner[r] * w.channel1_weight[r * channels + c];
      }
    }
    for (int c = 0; c < channels; ++c)
      grad_means[size_t(b) * channels + c] = static_cast<float>(grad_mean[c] / double(area));
  }
  each_band([&](const LocalBranchBackwardArgs& own, int b, int band, int64_t, int) {
    kernels_.local_backward_spatial(own, plan, b, band);
  });
  each_band([&](const LocalBranchBackwardArgs& own, int b, int band, int64_t, int thread) {
    kernels_.local_backward_input(own, plan, b, band, thread_scratch_[thread].get(scratch));
  });
  slots.finish();
}

void CpuOps::exposure_attention_backward(const ExposureAttentionBackwardArgs& given) {
  const ExposureAttentionArgs& forward = given.forward;
  const int channels = forward.x.channels;
  const int64_t area = int64_t{forward.x.height} * forward.x.width, groups = (area + kTokens - 1) / kTokens;
  const auto gram = grams(nullptr, forward.x, forward.weights.norm),
             cross = grams(given.grad_out.data, forward.x, forward.weights.norm);
  NormGradients norm = given.gradients.norm;
  Slots slots(gradients_);
  add_norm(slots, norm, channels);
  slots.start();
  const int64_t scratch = kernels_.exposure_backward_scratch(channels);
  for (int b = 0; b < forward.x.batch; ++b) {
    // grams() are per pixel: norms do not care, the product's gradient is a sum over pixels.
    std::vector<double> grad_product = cross[b], total = gram[b];
    for (double& value : grad_product) value *= double(area);
    for (double& value : total) value *= double(area);
    const ExposureProductGradients parts = exposure_product_backward(forward, total.data(), grad_product.data());
    const auto give = [](float* target, const std::vector<double>& sums) {
      for (size_t i = 0; target && i < sums.size(); ++i) target[i] += static_cast<float>(sums[i]);
    };
    give(given.gradients.q, parts.q);
    give(given.gradients.k, parts.k);
    give(given.gradients.v, parts.v);
    give(given.gradients.out, parts.out);
    in_slots(pool_, groups, [&](int slot, int64_t piece, int thread) {
      const int64_t first = piece * kTokens, at = (b * area + first) * channels;
      kernels_.exposure_backward_tokens(forward.x.data + at, forward.weights.norm, given.grad_out.data + at,
                                        parts.transposed.data(), parts.square.data(), slots.in(slot, norm), channels,
                                        static_cast<int>(std::min<int64_t>(kTokens, area - first)),
                                        given.grad_x.data + at, thread_scratch_[thread].get(scratch));
    });
  }
  slots.finish();
}

void CpuOps::fold_exposure_backward(ConstTensor grad_out, int exposures, int slot, Tensor grad_features) {
  const int channels = grad_out.channels;
  const Folding folding(channels, exposures);
  const std::vector<int>& starts = folding.starts;
  const int width = starts[slot + 1] - starts[slot];
  pieces(grad_out.pixels(), [&](int64_t first, int64_t count, int) {
    for (int64_t p = first; p < first + count; ++p) {
      const float* from = grad_out.data + p * channels + starts[slot];
      for (int g = 0; g < exposures; ++g) {
        float* to = grad_features.data + p * channels + starts[g];
        for (int j = 0; j < starts[g + 1] - starts[g]; ++j) to[j] = j < width ? from[j] * folding.share[j] : 0.0f;
      }
    }
  });
}

void CpuOps::sigmoid_backward(ConstTensor out, ConstTensor grad_out, Tensor grad_x) {
  pieces(out.size(), [&](int64_t first, int64_t count, int) {
    for (int64_t i = first; i < first + count; ++i) grad_x.data[i] = grad_out.data[i] * out.data[i] * (1 - out.data[i]);
  });
}

void CpuOps::prior_backward(const PriorBackwardArgs& args) {
  pieces(args.grad_x.pixels(), [&](int64_t first, int64_t count, int) { kernels_.prior_backward(args, first, count); });
}

}  // namespace smhdr
