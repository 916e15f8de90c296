// The CPU's ops: splits each op into pieces, hands them to the pool, and leaves the arithmetic to the kernels of the
// chosen instruction set. Pieces and the order of every sum are fixed, so results do not depend on the thread count.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "core/cpu_isa.h"
#include "ops/cpu/kernels.h"
#include "ops/reference/reference_ops.h"

namespace smhdr {
namespace {

using namespace cpu;

constexpr float kLog2E = 1.44269504f;

/// Grows and never shrinks; 64-byte aligned.
class Scratch {
 public:
  float* get(int64_t floats) {
    if (floats > size_) {
      memory_.reset(new (std::align_val_t{64}) float[floats]);
      size_ = floats;
    }
    return memory_.get();
  }

 private:
  struct Free {
    void operator()(float* p) const { ::operator delete[](p, std::align_val_t{64}); }
  };
  std::unique_ptr<float[], Free> memory_;
  int64_t size_ = 0;
};

class CpuOps final : public Ops {
 public:
  CpuOps(ThreadPool& pool, const Kernels& kernels) : pool_(pool), kernels_(kernels), thread_scratch_(pool.threads()) {}

  const char* name() const override { return kernels_.name; }

  void convolution(const ConvolutionArgs& args) override {
    const int64_t rows = (args.x.height + kTileRows - 1) / kTileRows, columns = (args.x.width + kTokens - 1) / kTokens;
    const int64_t scratch = kernels_.convolution_scratch(args);
    pool_.parallel_for(args.x.batch * rows * columns, [&](int64_t item, int thread) {
      kernels_.convolution_tile(args, static_cast<int>(item / (rows * columns)),
                                static_cast<int>(item / columns % rows) * kTileRows,
                                static_cast<int>(item % columns) * kTokens, thread_scratch_[thread].get(scratch));
    });
  }

  void layer_norm(ConstTensor x, NormWeights weights, Tensor out) override {
    pieces(x.pixels(), [&](int64_t first, int64_t count, int) {
      kernels_.layer_norm(x.data + first * x.channels, weights, x.channels, count, out.data + first * x.channels);
    });
  }

  void mlp(const MlpArgs& args) override {
    const int64_t area = int64_t{args.x.height} * args.x.width, scratch = kernels_.mlp_scratch(args);
    for (int b = 0; b < args.x.batch; ++b)
      token_groups(area, [&](int64_t first, int count, int thread) {
        kernels_.mlp_tokens(args, b, b * area + first, count, thread_scratch_[thread].get(scratch));
      });
  }

  void window_attention(const AttentionArgs& args) override {
    const int heads = args.weights.heads, rows = args.x.height / kWindow, columns = args.x.width / kWindow;
    constexpr int64_t square = kTokens * kTokens;
    float* bias = plan_.get((heads + 3) * square);
    float* masks = bias + heads * square;
    for (int h = 0; h < heads; ++h)
      for (int key = 0; key < kTokens; ++key)
        for (int query = 0; query < kTokens; ++query)
          bias[h * square + key * kTokens + query] = args.weights.bias_table[bias_row(query, key) * heads + h] * kLog2E;
    for (int key = 0; key < kTokens; ++key)
      for (int query = 0; query < kTokens; ++query) {
        // Inside the last window the regions part at its middle.
        const bool across = (key % kWindow < kShift) != (query % kWindow < kShift),
                   down = (key / kWindow < kShift) != (query / kWindow < kShift);
        const int64_t at = key * kTokens + query;
        masks[at] = across ? -100 * kLog2E : 0;
        masks[square + at] = down ? -100 * kLog2E : 0;
        masks[2 * square + at] = across || down ? -100 * kLog2E : 0;
      }
    const AttentionPlan plan{kLog2E / std::sqrt(static_cast<float>(args.x.channels) / heads), bias, masks};
    const int64_t scratch = kernels_.attention_scratch(args);
    pool_.parallel_for(int64_t{args.x.batch} * rows, [&](int64_t item, int thread) {
      for (int column = 0; column < columns; ++column)
        kernels_.attention_window(args, plan, static_cast<int>(item / rows), static_cast<int>(item % rows), column,
                                  thread_scratch_[thread].get(scratch));
    });
  }

  void local_branch(const LocalBranchArgs& args) override {
    const int batch = args.x.batch, height = args.x.height, width = args.x.width, channels = args.x.channels;
    const int bands = (height + kTileRows - 1) / kTileRows, reduced = args.weights.reduced;
    const int64_t frame = int64_t{height + 6} * (width + 6);
    LocalPlan plan;
    plan.features = {features_.get(args.x.size()), batch, height, width, channels};
    plan.planes = plan_.get(2 * batch * frame + kTokens);
    std::fill_n(plan.planes, 2 * batch * frame + kTokens, 0.0f);
    std::vector<double> sums(size_t(batch) * bands * channels);
    std::vector<float> gates(size_t(batch) * channels);
    plan.sums = sums.data();
    plan.gates = gates.data();
    const int64_t scratch = kernels_.local_scratch(args);
    pool_.parallel_for(int64_t{batch} * bands, [&](int64_t item, int thread) {
      kernels_.local_features(args, plan, static_cast<int>(item / bands), static_cast<int>(item % bands),
                              thread_scratch_[thread].get(scratch));
    });
    const LocalBranchWeights& w = args.weights;
    std::vector<std::vector<double>> means(batch, std::vector<double>(channels));
    for (int b = 0; b < batch; ++b)
      for (int band = 0; band < bands; ++band)
        for (int c = 0; c < channels; ++c)
          means[b][c] += sums[(size_t(b) * bands + band) * channels + c] / (double(height) * width);
    reference::share_sums(args.sums, means);
    for (int b = 0; b < batch; ++b) {
      std::vector<double> inner(reduced);
      for (int r = 0; r < reduced; ++r) {
        double total = w.channel1_bias[r];
        for (int c = 0; c < channels; ++c) total += w.channel1_weight[r * channels + c] * means[b][c];
        inner[r] = std::max(total, 0.0);
      }
      for (int c = 0; c < channels; ++c) {
        double total = w.channel2_bias[c];
        for (int r = 0; r < reduced; ++r) total += w.channel2_weight[c * reduced + r] * inner[r];
        gates[size_t(b) * channels + c] = static_cast<float>(1 / (1 + std::exp(-2 * total)));
      }
    }
    pool_.parallel_for(int64_t{batch} * bands, [&](int64_t item, int thread) {
      kernels_.local_output(args, plan, static_cast<int>(item / bands), static_cast<int>(item % bands),
                            thread_scratch_[thread].get(scratch));
    });
  }

  void exposure_attention(const ExposureAttentionArgs& args) override {
    const int channels = args.x.channels;
    const int64_t area = int64_t{args.x.height} * args.x.width, scratch = kernels_.exposure_scratch(channels);
    const size_t square = size_t(channels) * channels;
    // The share of one partial sum depends on the image's size alone.
    const int64_t share = std::max<int64_t>(4096, (area + 255) / 256), parts = (area + share - 1) / share;
    std::vector<std::vector<double>> grams(args.x.batch);
    const bool given = args.sums && args.sums->mode == ImageSums::Mode::given;
    for (int b = 0; b < args.x.batch && !given; ++b) {
      const float* x = args.x.image(b).data;
      std::vector<double> partial(square * parts);
      pool_.parallel_for(parts, [&](int64_t part, int thread) {
        kernels_.exposure_gram(x + part * share * channels, args.weights.norm, channels,
                               std::min(share, area - part * share), partial.data() + square * part,
                               thread_scratch_[thread].get(scratch));
      });
      for (int64_t part = 1; part < parts; ++part)
        for (size_t i = 0; i < square; ++i) partial[i] += partial[square * part + i];
      partial.resize(square);
      for (double& value : partial) value /= double(area);
      grams[b] = std::move(partial);
    }
    reference::share_sums(args.sums, grams);
    for (int b = 0; b < args.x.batch; ++b) {
      const float* x = args.x.image(b).data;
      const std::vector<float> product = exposure_product(args, grams[b].data());
      float* out = args.out.image(b).data;
      token_groups(area, [&](int64_t first, int count, int thread) {
        kernels_.exposure_mix(x + first * channels, args.weights.norm, product.data(), channels, count,
                              out + first * channels, thread_scratch_[thread].get(scratch));
      });
    }
  }

  void fold_exposure(ConstTensor features, int exposures, int slot, Tensor out) override {
    pieces(out.pixels(), [&](int64_t first, int64_t count, int) {
      kernels_.fold(features.data + first * features.channels, features.channels, exposures, slot, count,
                    out.data + first * out.channels);
    });
  }

  void copy(ConstTensor from, Tensor to) override {
    pieces(from.size(), [&](int64_t first, int64_t count, int) {
      std::memcpy(to.data + first, from.data + first, count * sizeof(float));
    });
  }

  void add(ConstTensor a, ConstTensor b, Tensor out) override {
    pieces(out.size(), [&](int64_t first, int64_t count, int) {
      kernels_.add(a.data + first, b.data + first, count, out.data + first);
    });
  }

  void convolution_backward(const ConvolutionBackwardArgs& args) override { reference::convolution_backward(args); }
  void layer_norm_backward(ConstTensor x, NormWeights weights, ConstTensor grad_out, NormGradients gradients,
                           Tensor grad_x) override {
    reference::layer_norm_backward(x, weights, grad_out, gradients, grad_x);
  }
  void mlp_backward(const MlpBackwardArgs& args) override { reference::mlp_backward(args); }
  void window_attention_backward(const AttentionBackwardArgs& args) override {
    reference::window_attention_backward(args);
  }
  void local_branch_backward(const LocalBranchBackwardArgs& args) override { reference::local_branch_backward(args); }
  void exposure_attention_backward(const ExposureAttentionBackwardArgs& args) override {
    reference::exposure_attention_backward(args);
  }
  void fold_exposure_backward(ConstTensor grad_out, int exposures, int slot, Tensor grad_features) override {
    reference::fold_exposure_backward(grad_out, exposures, slot, grad_features);
  }
  void sigmoid_backward(ConstTensor out, ConstTensor grad_out, Tensor grad_x) override {
    for (int64_t i = 0; i < out.size(); ++i) grad_x.data[i] = grad_out.data[i] * out.data[i] * (1 - out.data[i]);
  }

 private:
  /// Everything after the normalisation is linear once the C x C attention is known: out = x + product z.
  /// q = Wq tile(z_r), so q k^T and both norms follow from the Gram matrix of z.
  static std::vector<float> exposure_product(const ExposureAttentionArgs& args, const double* gram) {
    const int channels = args.x.channels, slot = channels / args.exposures, first = args.exposures / 2 * slot,
              heads = 4 * args.exposures, depth = channels / heads;
    const size_t square = size_t(channels) * channels;
    const ExposureAttentionWeights& w = args.weights;
    std::vector<double> query(size_t(channels) * slot), query_gram(square), key_gram(square), attended(square);
    for (int o = 0; o < channels; ++o)
      for (int c = 0; c < channels; ++c) query[o * slot + c % slot] += w.q[o * channels + c];
    const auto product = [&](int o, int c) {  // (Wq tile) G
      double total = 0;
      for (int s = 0; s < slot; ++s) total += query[o * slot + s] * gram[size_t(first + s) * channels + c];
      return total;
    };
    for (int o = 0; o < channels; ++o)
      for (int c = 0; c < channels; ++c) {
        query_gram[size_t(o) * channels + c] = product(o, c);
        double total = 0;
        for (int i = 0; i < channels; ++i) total += w.k[o * channels + i] * gram[size_t(i) * channels + c];
        key_gram[size_t(o) * channels + c] = total;
      }
    const auto norm = [](double squared) { return std::max(std::sqrt(std::max(squared, 0.0)), 1e-12); };
    std::vector<double> query_norm(channels), key_norm(channels), row(depth);
    for (int o = 0; o < channels; ++o) {
      double q = 0, k = 0;
      for (int s = 0; s < slot; ++s) q += query[o * slot + s] * query_gram[size_t(o) * channels + first + s];
      for (int c = 0; c < channels; ++c) k += w.k[o * channels + c] * key_gram[size_t(o) * channels + c];
      query_norm[o] = norm(q);
      key_norm[o] = norm(k);
    }
    for (int o = 0; o < channels; ++o) {
      const int head = o / depth * depth;
      double top = -INFINITY, total = 0;
      for (int j = 0; j < depth; ++j) {
        double dot = 0;
        for (int c = 0; c < channels; ++c) dot += query_gram[size_t(o) * channels + c] * w.k[(head + j) * channels + c];
        row[j] = dot / (query_norm[o] * key_norm[head + j]);
        top = std::max(top, row[j]);
      }
      for (double& value : row) total += value = std::exp(value - top);
      for (int j = 0; j < depth; ++j)
        for (int c = 0; c < channels; ++c)
          attended[size_t(o) * channels + c] += row[j] / total * w.v[(head + j) * channels + c];
    }
    std::vector<float> out(square);
    for (int o = 0; o < channels; ++o)
      for (int c = 0; c < channels; ++c) {
        double total = 0;
        for (int i = 0; i < channels; ++i) total += w.out[o * channels + i] * attended[size_t(i) * channels + c];
        out[size_t(o) * channels + c] = static_cast<float>(total);
      }
    return out;
  }

  /// body(first, count, thread) over pieces of a flat range.
  template <typename Body>
  void pieces(int64_t total, Body body) {
    constexpr int64_t piece = 1 << 14;
    pool_.parallel_for((total + piece - 1) / piece, [&](int64_t item, int thread) {
      body(item * piece, std::min(piece, total - item * piece), thread);
    });
  }

  /// body(first, count <= kTokens, thread), several groups an item.
  template <typename Body>
  void token_groups(int64_t total, Body body) {
    constexpr int64_t piece = 16 * kTokens;
    pool_.parallel_for((total + piece - 1) / piece, [&](int64_t item, int thread) {
      const int64_t end = std::min(total, (item + 1) * piece);
      for (int64_t first = item * piece; first < end; first += kTokens)
        body(first, static_cast<int>(std::min<int64_t>(kTokens, end - first)), thread);
    });
  }

  ThreadPool& pool_;
  const Kernels& kernels_;
  std::vector<Scratch> thread_scratch_;
  Scratch plan_, features_;
};

}  // namespace

std::unique_ptr<Ops> make_cpu_ops(ThreadPool& pool, [[maybe_unused]] CpuIsa isa) {
#if defined(SMHDR_HAS_AVX2)
  if (isa == CpuIsa::avx2) return std::make_unique<CpuOps>(pool, avx2::kernels());
  if (isa == CpuIsa::avx512) return std::make_unique<CpuOps>(pool, avx512::kernels());
#endif
  return std::make_unique<CpuOps>(pool, generic::kernels());
}

}  // namespace smhdr
