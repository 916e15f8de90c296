#include "ops/cpu_ops.h"

#include <cmath>
#include <cstring>

#include "ops/reference/reference_ops.h"

namespace smhdr {

using namespace cpu;

namespace {
constexpr float kLog2E = 1.44269504f;
}

void CpuOps::convolution(const ConvolutionArgs& args) {
  const int64_t rows = (args.x.height + kTileRows - 1) / kTileRows, columns = (args.x.width + kTokens - 1) / kTokens;
  const Kernels& kernels = args.exact || args.kernel != 3 ? kernels_ : kernels_for({args.x.channels});
  const void* weight =
      words(kernels, args.weight, args.out.channels, args.x.channels, args.kernel * args.kernel, words_[0]);
  const int64_t scratch = kernels.convolution_scratch(args);
  pool_.parallel_for(args.x.batch * rows * columns, [&](int64_t item, int thread) {
    kernels.convolution_tile(args, weight, static_cast<int>(item / (rows * columns)),
                             static_cast<int>(item / columns % rows) * kTileRows,
                             static_cast<int>(item % columns) * kTokens, thread_scratch_[thread].get(scratch));
  });
}

void CpuOps::layer_norm(ConstTensor x, NormWeights weights, Tensor out) {
  pieces(x.pixels(), [&](int64_t first, int64_t count, int) {
    kernels_.layer_norm(x.data + first * x.channels, weights, x.channels, count, out.data + first * x.channels);
  });
}

MlpPlan CpuOps::mlp_plan(const MlpArgs& args, const Kernels& kernels) {
  const int channels = args.x.channels, hidden = args.weights.hidden;
  return {words(kernels, args.weights.fc1_weight, hidden, channels, 1, words_[0]),
          words(kernels, args.weights.fc2_weight, channels, hidden, 1, words_[1])};
}

void CpuOps::mlp(const MlpArgs& args) {
  const Kernels& kernels = kernels_for({args.x.channels, args.weights.hidden});
  const MlpPlan plan = mlp_plan(args, kernels);
  const int64_t area = int64_t{args.x.height} * args.x.width, scratch = kernels.mlp_scratch(args);
  for (int b = 0; b < args.x.batch; ++b)
    token_groups(area, [&](int64_t first, int count, int thread) {
      kernels.mlp_tokens(args, plan, b, b * area + first, count, thread_scratch_[thread].get(scratch));
    });
}

AttentionPlan CpuOps::attention_plan(const AttentionArgs& args, const Kernels& kernels) {
  const int heads = args.weights.heads, channels = args.x.channels;
  constexpr int64_t square = kTokens * kTokens;
  const int depth = channels / heads;
  const int64_t head_weights = int64_t{3} * depth * channels;
  float* bias = plan_.get((heads + 3) * square + heads * (head_weights + 3 * depth));
  float *masks = bias + heads * square, *qkv = masks + 3 * square, *qkv_bias = qkv + heads * head_weights;
  // By head, as they are used.
  for (int h = 0; h < heads; ++h)
    for (int which = 0; which < 3; ++which) {
      const int64_t from = int64_t{which} * channels + h * depth, to = (int64_t{h} * 3 + which) * depth;
      std::copy_n(args.weights.qkv_weight + from * channels, int64_t{depth} * channels, qkv + to * channels);
      std::copy_n(args.weights.qkv_bias + from, depth, qkv_bias + to);
    }
  const void* by_head = qkv;
  int64_t words_a_head = head_weights;
  if (kernels.pack) {
    words_a_head = kernels.packed_words(3 * depth, channels, 1);
    float* packed = words_[2].get(heads * words_a_head);
    for (int h = 0; h < heads; ++h)
      kernels.pack(qkv + h * head_weights, 3 * depth, channels, 1, packed + h * words_a_head);
    by_head = packed;
  }
  for (int key = 0; key < kTokens; ++key)
    for (int query = 0; query < kTokens; ++query) {
      const int64_t at = key * kTokens + query;
      for (int h = 0; h < heads; ++h)
        bias[h * square + at] = args.weights.bias_table[bias_row(query, key) * heads + h] * kLog2E;
      // Inside the last window the regions part at its middle.
      const bool across = (key % kWindow < kShift) != (query % kWindow < kShift),
                 down = (key / kWindow < kShift) != (query / kWindow < kShift);
      masks[at] = across ? -100 * kLog2E : 0;
      masks[square + at] = down ? -100 * kLog2E : 0;
      masks[2 * square + at] = across || down ? -100 * kLog2E : 0;
    }
  return {by_head,
          words_a_head,
          qkv_bias,
          words(kernels, args.weights.proj_weight, channels, channels, 1, words_[3]),
          kLog2E / std::sqrt(static_cast<float>(channels) / heads),
          bias,
          masks};
}

void CpuOps::window_attention(const AttentionArgs& args) {
  const int rows = args.x.height / kWindow, columns = args.x.width / kWindow, channels = args.x.channels;
  const Kernels& kernels = kernels_for({channels, channels / args.weights.heads});
  const AttentionPlan plan = attention_plan(args, kernels);
  const int64_t scratch = kernels.attention_scratch(args);
  pool_.parallel_for(int64_t{args.x.batch} * rows, [&](int64_t item, int thread) {
    for (int column = 0; column < columns; ++column)
      kernels.attention_window(args, plan, static_cast<int>(item / rows), static_cast<int>(item % rows), column,
                               thread_scratch_[thread].get(scratch));
  });
}

void CpuOps::hybrid_block(const HybridArgs& args) {
  const int rows = args.out.height / kWindow, channels = args.out.channels;
  const int columns = (args.out.width + kTokens - 1) / kTokens;
  const Kernels& kernels = kernels_for({channels, channels / args.attention.weights.heads, args.mlp.weights.hidden});
  const LocalState state = local_gates(args.local, false);
  HybridArgs whole = args;
  whole.mlp.x = args.attention.x;  // its shape
  const HybridPlan plan{state.plan, attention_plan(args.attention, kernels), mlp_plan(whole.mlp, kernels)};
  const int64_t scratch = kernels.hybrid_scratch(whole);
  pool_.parallel_for(int64_t{args.out.batch} * rows * columns, [&](int64_t item, int thread) {
    kernels.hybrid_tile(whole, plan, static_cast<int>(item / (rows * columns)), static_cast<int>(item / columns % rows),
                        static_cast<int>(item % columns) * (kTokens / kWindow), thread_scratch_[thread].get(scratch));
  });
}

CpuOps::LocalState CpuOps::local_gates(const LocalBranchArgs& args, bool keep_features) {
  const int batch = args.x.batch, height = args.x.height, width = args.x.width, channels = args.x.channels;
  const int reduced = args.weights.reduced;
  const int64_t rows = (height + kTileRows - 1) / kTileRows, columns = (width + kTokens - 1) / kTokens,
                tiles = rows * columns, frame = int64_t{height + 6} * (width + 6), area = int64_t{height} * width;
  LocalState state;
  state.gates.resize(size_t(batch) * channels);
  state.means.assign(batch, std::vector<double>(channels));
  state.inner.assign(batch, std::vector<double>(reduced));
  LocalPlan& plan = state.plan;
  plan.features = {keep_features ? features_.get(args.x.size()) : nullptr, batch, height, width, channels};
  plan.planes = local_.get(batch * (2 * frame + area) + kTokens);
  std::fill_n(plan.planes, 2 * batch * frame + kTokens, 0.0f);
  plan.spatial = plan.planes + 2 * batch * frame + kTokens;
  plan.gates = state.gates.data();
  std::vector<double> sums(size_t(batch) * tiles * channels);
  const int64_t scratch = kernels_.local_scratch(channels);
  pool_.parallel_for(batch * tiles, [&](int64_t item, int thread) {
    kernels_.local_statistics(args, plan, static_cast<int>(item / tiles),
                              static_cast<int>(item % tiles / columns) * kTileRows,
                              static_cast<int>(item % columns) * kTokens, sums.data() + item * channels,
                              thread_scratch_[thread].get(scratch));
  });
  for (int b = 0; b < batch; ++b)
    for (int64_t tile = 0; tile < tiles; ++tile)
      for (int c = 0; c < channels; ++c)
        state.means[b][c] += sums[(size_t(b) * tiles + tile) * channels + c] / double(area);
  pool_.parallel_for(int64_t{batch} * height, [&](int64_t item, int) {
    kernels_.local_spatial(args.weights, plan, height, width, static_cast<int>(item / height),
                           static_cast<int>(item % height));
  });
  reference::share_sums(args.sums, state.means);
  const LocalBranchWeights& w = args.weights;
  for (int b = 0; b < batch; ++b) {
    for (int r = 0; r < reduced; ++r) {
      double total = w.channel1_bias[r];
      for (int c = 0; c < channels; ++c) total += w.channel1_weight[r * channels + c] * state.means[b][c];
      state.inner[b][r] = std::max(total, 0.0);
    }
    for (int c = 0; c < channels; ++c) {
      double total = w.channel2_bias[c];
      for (int r = 0; r < reduced; ++r) total += w.channel2_weight[c * reduced + r] * state.inner[b][r];
      state.gates[size_t(b) * channels + c] = static_cast<float>(1 / (1 + std::exp(-2 * total)));
    }
  }
  return state;
}

void CpuOps::local_branch(const LocalBranchArgs& args) {
  const LocalState state = local_gates(args, false);
  const int height = args.x.height, width = args.x.width, channels = args.x.channels;
  const int64_t rows = (height + kTileRows - 1) / kTileRows, columns = (width + kTokens - 1) / kTokens,
                scratch = kernels_.local_scratch(channels);
  pool_.parallel_for(args.x.batch * rows * columns, [&](int64_t item, int thread) {
    const int b = static_cast<int>(item / (rows * columns)), y = static_cast<int>(item / columns % rows) * kTileRows,
              x = static_cast<int>(item % columns) * kTokens;
    kernels_.local_rectangle(args, state.plan, b, y, std::min(y + kTileRows, height), x, std::min(x + kTokens, width),
                             args.out.at(b, y, x), int64_t{width} * channels, thread_scratch_[thread].get(scratch));
  });
}

std::vector<std::vector<double>> CpuOps::grams(const float* left, ConstTensor x, NormWeights weights) {
  const int channels = x.channels;
  const int64_t area = int64_t{x.height} * x.width, scratch = kernels_.exposure_scratch(channels);
  const size_t square = size_t(channels) * channels;
  // The share of one partial sum depends on the image's size alone.
  const int64_t share = std::max<int64_t>(4096, (area + 255) / 256), parts = (area + share - 1) / share;
  std::vector<std::vector<double>> out(x.batch);
  for (int b = 0; b < x.batch; ++b) {
    std::vector<double> partial(square * parts);
    pool_.parallel_for(parts, [&](int64_t part, int thread) {
      const int64_t at = (b * area + part * share) * channels, count = std::min(share, area - part * share);
      double* gram = partial.data() + square * part;
      float* memory = thread_scratch_[thread].get(scratch);
      if (left)
        kernels_.exposure_cross_gram(left + at, x.data + at, weights, channels, count, gram, memory);
      else
        kernels_.exposure_gram(x.data + at, weights, channels, count, gram, memory);
    });
    for (int64_t part = 1; part < parts; ++part)
      for (size_t i = 0; i < square; ++i) partial[i] += partial[square * part + i];
    partial.resize(square);
    for (double& value : partial) value /= double(area);
    out[b] = std::move(partial);
  }
  return out;
}

void CpuOps::exposure_attention(const ExposureAttentionArgs& args) {
  const int channels = args.x.channels;
  const int64_t area = int64_t{args.x.height} * args.x.width;
  const Kernels& kernels = kernels_for({channels});
  const int64_t scratch = kernels.exposure_scratch(channels);
  std::vector<std::vector<double>> gram(args.x.batch);
  if (!args.sums || args.sums->mode == ImageSums::Mode::record) gram = grams(nullptr, args.x, args.weights.norm);
  reference::share_sums(args.sums, gram);
  for (int b = 0; b < args.x.batch; ++b) {
    const std::vector<float> product = exposure_product(args, gram[b].data());
    const void* matrix = words(kernels, product.data(), channels, channels, 1, words_[0]);
    const float* x = args.x.image(b).data;
    float* out = args.out.image(b).data;
    token_groups(area, [&](int64_t first, int count, int thread) {
      kernels.exposure_mix(x + first * channels, args.weights.norm, matrix, channels, count, out + first * channels,
                           thread_scratch_[thread].get(scratch));
    });
  }
}

void CpuOps::fold_exposure(ConstTensor features, int exposures, int slot, Tensor out) {
  const Folding folding(out.channels, exposures);
  pieces(out.pixels(), [&](int64_t first, int64_t count, int) {
    kernels_.fold(features.data + first * features.channels, features.channels, folding.starts.data(), exposures, slot,
                  folding.share.data(), count, out.data + first * out.channels);
  });
}

void CpuOps::prior(const PriorArgs& args) {
  pieces(args.out.pixels(), [&](int64_t first, int64_t count, int) { kernels_.prior(args, first, count); });
}

void CpuOps::copy(ConstTensor from, Tensor to) {
  pieces(from.size(), [&](int64_t first, int64_t count, int) {
    std::memcpy(to.data + first, from.data + first, count * sizeof(float));
  });
}

void CpuOps::add(ConstTensor a, ConstTensor b, Tensor out) {
  pieces(out.size(), [&](int64_t first, int64_t count, int) {
    kernels_.add(a.data + first, b.data + first, count, out.data + first);
  });
}

std::unique_ptr<Ops> make_cpu_ops(ThreadPool& pool, [[maybe_unused]] CpuIsa isa, [[maybe_unused]] Precision precision,
                                  [[maybe_unused]] bool matrix_unit) {
#if defined(SMHDR_HAS_AMX)
  if (precision == Precision::bf16 && isa == CpuIsa::avx512 && matrix_unit && cpu_has_matrix_unit())
    return std::make_unique<CpuOps>(pool, avx512::kernels(), &amx::kernels());
#endif
#if defined(SMHDR_HAS_AVX512_BF16)
  if (precision == Precision::bf16 && isa == CpuIsa::avx512 && cpu_has_bf16())
    return std::make_unique<CpuOps>(pool, avx512::kernels(), &avx512_bf16::kernels());
#endif
#if defined(SMHDR_HAS_AVX2)
  if (isa == CpuIsa::avx2) return std::make_unique<CpuOps>(pool, avx2::kernels());
  if (isa == CpuIsa::avx512) return std::make_unique<CpuOps>(pool, avx512::kernels());
#endif
#if defined(SMHDR_HAS_NEON)
  if (isa == CpuIsa::neon) return std::make_unique<CpuOps>(pool, neon::kernels());
#endif
  return std::make_unique<CpuOps>(pool, generic::kernels());
}

}  // namespace smhdr
