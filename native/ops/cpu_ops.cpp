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
  const int64_t scratch = kernels_.convolution_scratch(args);
  pool_.parallel_for(args.x.batch * rows * columns, [&](int64_t item, int thread) {
    kernels_.convolution_tile(args, static_cast<int>(item / (rows * columns)),
                              static_cast<int>(item / columns % rows) * kTileRows,
                              static_cast<int>(item % columns) * kTokens, thread_scratch_[thread].get(scratch));
  });
}

void CpuOps::layer_norm(ConstTensor x, NormWeights weights, Tensor out) {
  pieces(x.pixels(), [&](int64_t first, int64_t count, int) {
    kernels_.layer_norm(x.data + first * x.channels, weights, x.channels, count, out.data + first * x.channels);
  });
}

void CpuOps::mlp(const MlpArgs& args) {
  const int64_t area = int64_t{args.x.height} * args.x.width, scratch = kernels_.mlp_scratch(args);
  for (int b = 0; b < args.x.batch; ++b)
    token_groups(area, [&](int64_t first, int count, int thread) {
      kernels_.mlp_tokens(args, b, b * area + first, count, thread_scratch_[thread].get(scratch));
    });
}

AttentionPlan CpuOps::attention_plan(const AttentionArgs& args) {
  const int heads = args.weights.heads;
  constexpr int64_t square = kTokens * kTokens;
  float* bias = plan_.get((heads + 3) * square);
  float* masks = bias + heads * square;
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
  return {kLog2E / std::sqrt(static_cast<float>(args.x.channels) / heads), bias, masks};
}

void CpuOps::window_attention(const AttentionArgs& args) {
  const int rows = args.x.height / kWindow, columns = args.x.width / kWindow;
  const AttentionPlan plan = attention_plan(args);
  const int64_t scratch = kernels_.attention_scratch(args);
  pool_.parallel_for(int64_t{args.x.batch} * rows, [&](int64_t item, int thread) {
    for (int column = 0; column < columns; ++column)
      kernels_.attention_window(args, plan, static_cast<int>(item / rows), static_cast<int>(item % rows), column,
                                thread_scratch_[thread].get(scratch));
  });
}

CpuOps::LocalState CpuOps::local_features(const LocalBranchArgs& args) {
  const int batch = args.x.batch, height = args.x.height, width = args.x.width, channels = args.x.channels;
  const int bands = (height + kTileRows - 1) / kTileRows, reduced = args.weights.reduced;
  const int64_t frame = int64_t{height + 6} * (width + 6);
  LocalState state;
  state.sums.resize(size_t(batch) * bands * channels);
  state.gates.resize(size_t(batch) * channels);
  state.means.assign(batch, std::vector<double>(channels));
  state.inner.assign(batch, std::vector<double>(reduced));
  LocalPlan& plan = state.plan;
  plan.features = {features_.get(args.x.size()), batch, height, width, channels};
  plan.planes = plan_.get(2 * batch * frame + kTokens);
  std::fill_n(plan.planes, 2 * batch * frame + kTokens, 0.0f);
  plan.sums = state.sums.data();
  plan.gates = state.gates.data();
  const int64_t scratch = kernels_.local_scratch(args);
  pool_.parallel_for(int64_t{batch} * bands, [&](int64_t item, int thread) {
    kernels_.local_features(args, plan, static_cast<int>(item / bands), static_cast<int>(item % bands),
                            thread_scratch_[thread].get(scratch));
  });
  for (int b = 0; b < batch; ++b)
    for (int band = 0; band < bands; ++band)
      for (int c = 0; c < channels; ++c)
        state.means[b][c] += state.sums[(size_t(b) * bands + band) * channels + c] / (double(height) * width);
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
  const LocalState state = local_features(args);
  const int bands = (args.x.height + kTileRows - 1) / kTileRows;
  const int64_t scratch = kernels_.local_scratch(args);
  pool_.parallel_for(int64_t{args.x.batch} * bands, [&](int64_t item, int thread) {
    kernels_.local_output(args, state.plan, static_cast<int>(item / bands), static_cast<int>(item % bands), nullptr,
                          thread_scratch_[thread].get(scratch));
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
  const int64_t area = int64_t{args.x.height} * args.x.width, scratch = kernels_.exposure_scratch(channels);
  std::vector<std::vector<double>> gram(args.x.batch);
  if (!args.sums || args.sums->mode == ImageSums::Mode::record) gram = grams(nullptr, args.x, args.weights.norm);
  reference::share_sums(args.sums, gram);
  for (int b = 0; b < args.x.batch; ++b) {
    const std::vector<float> product = exposure_product(args, gram[b].data());
    const float* x = args.x.image(b).data;
    float* out = args.out.image(b).data;
    token_groups(area, [&](int64_t first, int count, int thread) {
      kernels_.exposure_mix(x + first * channels, args.weights.norm, product.data(), channels, count,
                            out + first * channels, thread_scratch_[thread].get(scratch));
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

std::unique_ptr<Ops> make_cpu_ops(ThreadPool& pool, [[maybe_unused]] CpuIsa isa) {
#if defined(SMHDR_HAS_AVX2)
  if (isa == CpuIsa::avx2) return std::make_unique<CpuOps>(pool, avx2::kernels());
  if (isa == CpuIsa::avx512) return std::make_unique<CpuOps>(pool, avx512::kernels());
#endif
  return std::make_unique<CpuOps>(pool, generic::kernels());
}

}  // namespace smhdr
