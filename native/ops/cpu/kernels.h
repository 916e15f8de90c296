// What one instruction set provides: plain functions over a piece of the work, called from many threads at once. The
// files beside this one are compiled once per set, each into a namespace of its own; ops/cpu_ops.cpp splits the work.
#pragma once

#include "ops/ops.h"

namespace smhdr::cpu {

constexpr int kTokens = kWindowTokens;  // pixels worked on together: one window, or 64 in a row
constexpr int kTileRows = 8;            // rows of a convolution tile or local-branch band

// Weights as the kernels multiply them: the published floats, or pairs of bfloat16 along the inputs (Kernels::pack).

struct MlpPlan {
  const void *fc1 = nullptr, *fc2 = nullptr;
};

/// Weights turned, for the gradients; null where words are floats, which are read as they lie.
struct MlpBackwardPlan {
  const void *fc1 = nullptr, *fc1_turned = nullptr, *fc2_turned = nullptr;
};

/// Parts of the attention that do not depend on the window.
struct AttentionPlan {
  const void* qkv;  // by head: its q, k and v of depth rows each
  int64_t words_a_head;
  const float* qkv_bias;  // [heads, 3 depth]
  const void* proj;
  float logit_scale;         // log2(e) / sqrt(C / heads): softmax is taken in base 2
  const float* bias;         // [heads, key, query], times log2(e)
  const float* shift_masks;  // [3][key, query], times log2(e): right edge, bottom edge, corner; null without shift
  // For the gradients, as in MlpBackwardPlan.
  const void *qkv_turned = nullptr, *proj_turned = nullptr;
};

/// The local branch between its two passes.
struct LocalPlan {
  Tensor features;     // depthwise1's output, like x; null data: not kept
  float* planes;       // [batch, 2, height + 6, width + 6]: mean and maximum over channels, zero-framed
  float* spatial;      // [batch, height, width]: the spatial gate
  const float* gates;  // [batch, C]: the channel gate
};

/// The backward pass of the local branch between its passes. All like x or one value a pixel.
struct LocalBackwardPlan {
  LocalPlan forward;
  Tensor grad;              // of the features, growing to be complete
  float* grad_spatial;      // [batch, height + 6, width + 6], zero-framed: of the spatial gate's logits
  const float* grad_means;  // [batch, C]: through the channel gate, a pixel's share
};

/// Everything a tile of the hybrid block needs.
struct HybridPlan {
  LocalPlan local;
  AttentionPlan attention;
  MlpPlan mlp;
};

struct Kernels {
  const char* name;
  /// weight [rows][columns][taps] to words, [rows][columns / 2][taps] or a matrix unit's tiles, packed_words of them;
  /// null: words are the floats themselves.
  void (*pack)(const float* weight, int64_t rows, int columns, int taps, void* words);
  int64_t (*packed_words)(int64_t rows, int columns, int taps);
  bool packed_backward;  // whether the backward kernels multiply packed weights too

  int64_t (*attention_scratch)(const AttentionArgs& args);  // floats a thread needs
  void (*attention_window)(const AttentionArgs& args, const AttentionPlan& plan, int b, int row, int column,
                           float* scratch);

  int64_t (*mlp_scratch)(const MlpArgs& args);
  /// Up to kTokens consecutive pixels from `first`, all of image b.
  void (*mlp_tokens)(const MlpArgs& args, const MlpPlan& plan, int b, int64_t first, int count, float* scratch);

  int64_t (*convolution_scratch)(const ConvolutionArgs& args);
  /// Rows [y0, min(y0 + kTileRows, H)), columns [x0, min(x0 + kTokens, W)).
  void (*convolution_tile)(const ConvolutionArgs& args, const void* weight, int b, int y0, int x0, float* scratch);

  void (*layer_norm)(const float* x, NormWeights weights, int channels, int64_t count, float* out);

  int64_t (*local_scratch)(int channels);
  /// The first pass over rows [y0, y0 + kTileRows), columns [x0, x0 + kTokens); `sums` [C] is overwritten.
  void (*local_statistics)(const LocalBranchArgs& args, const LocalPlan& plan, int b, int y0, int x0, double* sums,
                           float* scratch);
  void (*local_spatial)(const LocalBranchWeights& weights, const LocalPlan& plan, int height, int width, int b, int y);
  /// Rows [y0, y1), columns [x0, x1) of the result, at most kTokens columns; `stride` floats from row to row.
  void (*local_rectangle)(const LocalBranchArgs& args, const LocalPlan& plan, int b, int y0, int y1, int x0, int x1,
                          float* out, int64_t stride, float* scratch);

  int64_t (*hybrid_scratch)(const HybridArgs& args);
  /// kTokens / kWindow windows of window row `row`, from window column `column`, as far as there are any.
  void (*hybrid_tile)(const HybridArgs& args, const HybridPlan& plan, int b, int row, int column, float* scratch);

  int64_t (*exposure_scratch)(int channels);
  /// gram [C, C] += z z^T over `count` pixels, z = norm(x).
  void (*exposure_gram)(const float* x, NormWeights weights, int channels, int64_t count, double* gram, float* scratch);
  /// out = x + product z for up to kTokens pixels; product is [C, C], in words.
  void (*exposure_mix)(const float* x, NormWeights weights, const void* product, int channels, int count, float* out,
                       float* scratch);

  /// `starts`: the n + 1 boundaries of slots and groups; `share`: 1 / the groups that have channel j of the slot.
  void (*fold)(const float* features, int channels, const int* starts, int exposures, int slot, const float* share,
               int64_t count, float* out);
  /// Pixels [first, first + count) of all images of the batch together.
  void (*prior)(const PriorArgs& args, int64_t first, int64_t count);
  void (*add)(const float* a, const float* b, int64_t count, float* out);

  void (*prior_backward)(const PriorBackwardArgs& args, int64_t first, int64_t count);

  // Backward. The gradients in the args are one slot's accumulators, used by one thread at a time.
  int64_t (*convolution_backward_scratch)(const ConvolutionBackwardArgs& args);
  /// Adds to grad_weight, here laid out [tap][out][in], and grad_bias.
  void (*convolution_backward_tile)(const ConvolutionBackwardArgs& args, int b, int y0, int x0, float* scratch);
  int64_t (*norm_backward_scratch)(int channels);
  void (*norm_backward_tokens)(const float* x, NormWeights weights, const float* grad_out, NormGradients gradients,
                               int channels, int count, bool accumulate, float* grad_x, float* scratch);
  int64_t (*mlp_backward_scratch)(const MlpBackwardArgs& args);
  void (*mlp_backward_tokens)(const MlpBackwardArgs& args, const MlpBackwardPlan& plan, int b, int64_t first, int count,
                              float* scratch);
  int64_t (*attention_backward_scratch)(const AttentionBackwardArgs& args);
  /// bias_table's accumulator is here laid out [heads][key][query].
  void (*attention_backward_window)(const AttentionBackwardArgs& args, const AttentionPlan& plan, int b, int row,
                                    int column, float* scratch);
  int64_t (*local_backward_scratch)(const LocalBranchBackwardArgs& args);
  /// Gradient of the gated features; depthwise2's; sums [C] of gradient times features, and that of the spatial logits.
  void (*local_backward_gates)(const LocalBranchBackwardArgs& args, const LocalBackwardPlan& plan, int b, int band,
                               double* sums, float* scratch);
  /// The spatial gate's gradient to its planes and on to the features; spatial weights'.
  void (*local_backward_spatial)(const LocalBranchBackwardArgs& args, const LocalBackwardPlan& plan, int b, int band);
  /// The features' gradient to x; depthwise1's and the norm's.
  void (*local_backward_input)(const LocalBranchBackwardArgs& args, const LocalBackwardPlan& plan, int b, int band,
                               float* scratch);
  /// gram [C, C] += g z^T over `count` pixels, z = norm(x).
  void (*exposure_cross_gram)(const float* g, const float* x, NormWeights weights, int channels, int64_t count,
                              double* gram, float* scratch);
  /// grad_x = g + norm's backward of (product g + square z) for up to kTokens pixels; both matrices [C, C].
  int64_t (*exposure_backward_scratch)(int channels);
  void (*exposure_backward_tokens)(const float* x, NormWeights weights, const float* g, const float* product,
                                   const float* square, NormGradients gradients, int channels, int count, float* grad_x,
                                   float* scratch);
};

namespace generic {
const Kernels& kernels();
}
namespace avx2 {
const Kernels& kernels();
}
namespace avx512 {
const Kernels& kernels();
}
namespace neon {
const Kernels& kernels();
}
/// Forward products of bfloat16 pairs, for even channels, hidden layers and head sizes; the rest is avx512's.
namespace avx512_bf16 {
const Kernels& kernels();
}
/// The same on the matrix unit, and the products in the backward of the attention, the MLP and the convolution's
/// weights.
namespace amx {
const Kernels& kernels();
}

}  // namespace smhdr::cpu
