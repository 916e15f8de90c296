// The CPU's ops: splits each op into pieces, hands them to the pool, and leaves the arithmetic to the kernels of the
// chosen instruction set. Pieces and the order of every sum are fixed, so results do not depend on the thread count.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <memory>
#include <new>
#include <vector>

#include "ops/cpu/kernels.h"

#if defined(SMHDR_SANITIZE_ADDRESS)
#include <sanitizer/asan_interface.h>
#endif

namespace smhdr {

/// Grows and never shrinks; 64-byte aligned.
class Scratch {
 public:
  float* get(int64_t floats) {
    if (floats > size_) {
      memory_.reset(new (std::align_val_t{64}) float[floats]);
      size_ = floats;
    }
#if defined(SMHDR_SANITIZE_ADDRESS)
    // What an earlier, larger request left behind must not hide that this one is too small.
    ASAN_UNPOISON_MEMORY_REGION(memory_.get(), floats * sizeof(float));
    ASAN_POISON_MEMORY_REGION(memory_.get() + floats, (size_ - floats) * sizeof(float));
#endif
    return memory_.get();
  }

 private:
  struct Free {
    void operator()(float* p) const { ::operator delete[](p, std::align_val_t{64}); }
  };
  std::unique_ptr<float[], Free> memory_;
  int64_t size_ = 0;
};

/// How fold_exposure shares out the channels: the n + 1 boundaries of its slots and groups, and for channel j of a slot
/// 1 / the groups that have one.
struct Folding {
  std::vector<int> starts;
  std::vector<float> share;
  Folding(int channels, int exposures) : share(channels / exposures + 1, 1.0f / static_cast<float>(exposures)) {
    for (int i = 0; i <= exposures; ++i) starts.push_back(part_start(i, exposures, channels));
    if (channels % exposures) share.back() = 1.0f / static_cast<float>(channels % exposures);  // only the wide groups
  }
};

class CpuOps final : public Ops {
 public:
  /// `exact` computes everything; where `fast` is not null it takes the products that it has and whose sizes are even.
  CpuOps(ThreadPool& pool, const cpu::Kernels& exact, const cpu::Kernels* fast = nullptr)
      : pool_(pool), kernels_(exact), fast_(fast ? *fast : exact), thread_scratch_(pool.threads()) {}

  const char* name() const override { return fast_.name; }

  void convolution(const ConvolutionArgs& args) override;
  void layer_norm(ConstTensor x, NormWeights weights, Tensor out) override;
  void mlp(const MlpArgs& args) override;
  void window_attention(const AttentionArgs& args) override;
  void hybrid_block(const HybridArgs& args) override;
  void local_branch(const LocalBranchArgs& args) override;
  void exposure_attention(const ExposureAttentionArgs& args) override;
  void fold_exposure(ConstTensor features, int exposures, int slot, Tensor out) override;
  void prior(const PriorArgs& args) override;
  void copy(ConstTensor from, Tensor to) override;
  void add(ConstTensor a, ConstTensor b, Tensor out) override;

  void convolution_backward(const ConvolutionBackwardArgs& args) override;
  void layer_norm_backward(ConstTensor x, NormWeights weights, ConstTensor grad_out, NormGradients gradients,
                           Tensor grad_x) override;
  void mlp_backward(const MlpBackwardArgs& args) override;
  void window_attention_backward(const AttentionBackwardArgs& args) override;
  void local_branch_backward(const LocalBranchBackwardArgs& args) override;
  void exposure_attention_backward(const ExposureAttentionBackwardArgs& args) override;
  void fold_exposure_backward(ConstTensor grad_out, int exposures, int slot, Tensor grad_features) override;
  void sigmoid_backward(ConstTensor out, ConstTensor grad_out, Tensor grad_x) override;
  void prior_backward(const PriorBackwardArgs& args) override;

 private:
  /// What does not depend on the window, in plan_; weights as `kernels` multiplies them.
  cpu::AttentionPlan attention_plan(const AttentionArgs& args, const cpu::Kernels& kernels);
  cpu::MlpPlan mlp_plan(const MlpArgs& args, const cpu::Kernels& kernels);
  /// The kernels for products whose sizes are these.
  const cpu::Kernels& kernels_for(std::initializer_list<int> sizes) const {
    return std::all_of(sizes.begin(), sizes.end(), [](int size) { return size % 2 == 0; }) ? fast_ : kernels_;
  }
  /// weight [rows][columns][taps] as `kernels` multiplies it: itself, or packed into `memory`.
  static const void* words(const cpu::Kernels& kernels, const float* weight, int64_t rows, int columns, int taps,
                           Scratch& memory) {
    if (!kernels.pack) return weight;
    float* to = memory.get(kernels.packed_words(rows, columns, taps));
    kernels.pack(weight, rows, columns, taps, to);
    return to;
  }
  const cpu::Kernels& backward_kernels_for(std::initializer_list<int> sizes) const {
    return fast_.packed_backward ? kernels_for(sizes) : kernels_;
  }
  /// weight [rows][columns] turned, packed into `memory`.
  static const void* turned_words(const cpu::Kernels& kernels, const float* weight, int rows, int columns,
                                  Scratch& memory);
  /// The local branch's first pass and its gates; the plan's memory is `gates`, local_ and features_.
  struct LocalState {
    std::vector<float> gates;
    std::vector<std::vector<double>> means, inner;  // [batch][C], [batch][reduced]
    cpu::LocalPlan plan;
  };
  LocalState local_gates(const LocalBranchArgs& args, bool keep_features);
  /// Per-pixel Gram matrices of z = norm(x), one an image: left z^T, or z z^T where left is null.
  std::vector<std::vector<double>> grams(const float* left, ConstTensor x, NormWeights weights);

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
    constexpr int64_t piece = 16 * cpu::kTokens;
    pool_.parallel_for((total + piece - 1) / piece, [&](int64_t item, int thread) {
      const int64_t end = std::min(total, (item + 1) * piece);
      for (int64_t first = item * piece; first < end; first += cpu::kTokens)
        body(first, static_cast<int>(std::min<int64_t>(cpu::kTokens, end - first)), thread);
    });
  }

  ThreadPool& pool_;
  const cpu::Kernels &kernels_, &fast_;
  std::vector<Scratch> thread_scratch_;
  Scratch plan_, local_, features_, gradients_, grad_features_, words_[4];
};

/// The exposure attention as one matrix: out = x + product z (see exposure_product.cpp). `gram` is z's, [C, C].
std::vector<float> exposure_product(const ExposureAttentionArgs& args, const double* gram);

/// Its backward: from the gradient of the product matrix to those of the weights and of the Gram matrix.
struct ExposureProductGradients {
  std::vector<double> q, k, v, out;  // [C, C]
  std::vector<float> square;         // dG + dG^T: z's own gradient is square z
  std::vector<float> transposed;     // the product matrix transposed
};
ExposureProductGradients exposure_product_backward(const ExposureAttentionArgs& args, const double* gram,
                                                   const double* grad_product);

}  // namespace smhdr
