// What one instruction set provides: plain functions over a piece of the work, called from many threads at once. The
// files beside this one are compiled once per set, each into a namespace of its own; ops/cpu_ops.cpp splits the work.
#pragma once

#include "ops/ops.h"

namespace smhdr::cpu {

constexpr int kTokens = kWindowTokens;  // pixels worked on together: one window, or 64 in a row
constexpr int kTileRows = 8;            // rows of a convolution tile or local-branch band

/// Parts of the attention that do not depend on the window.
struct AttentionPlan {
  float logit_scale;         // log2(e) / sqrt(C / heads): softmax is taken in base 2
  const float* bias;         // [heads, key, query], times log2(e)
  const float* shift_masks;  // [3][key, query], times log2(e): right edge, bottom edge, corner; null without shift
};

/// The local branch between its two passes.
struct LocalPlan {
  Tensor features;     // depthwise1's output, like x
  float* planes;       // [batch, 2, height + 6, width + 6]: mean and maximum over channels, zero-framed
  double* sums;        // [batch, bands, C]
  const float* gates;  // [batch, C]: the channel gate, for the second pass
};

struct Kernels {
  const char* name;
  int64_t (*attention_scratch)(const AttentionArgs& args);  // floats a thread needs
  void (*attention_window)(const AttentionArgs& args, const AttentionPlan& plan, int b, int row, int column,
                           float* scratch);

  int64_t (*mlp_scratch)(const MlpArgs& args);
  /// Up to kTokens consecutive pixels from `first`, all of image b.
  void (*mlp_tokens)(const MlpArgs& args, int b, int64_t first, int count, float* scratch);

  int64_t (*convolution_scratch)(const ConvolutionArgs& args);
  /// Rows [y0, min(y0 + kTileRows, H)), columns [x0, min(x0 + kTokens, W)).
  void (*convolution_tile)(const ConvolutionArgs& args, int b, int y0, int x0, float* scratch);

  void (*layer_norm)(const float* x, NormWeights weights, int channels, int64_t count, float* out);

  int64_t (*local_scratch)(const LocalBranchArgs& args);
  void (*local_features)(const LocalBranchArgs& args, const LocalPlan& plan, int b, int band, float* scratch);
  void (*local_output)(const LocalBranchArgs& args, const LocalPlan& plan, int b, int band, float* scratch);

  int64_t (*exposure_scratch)(int channels);
  /// gram [C, C] += z z^T over `count` pixels, z = norm(x).
  void (*exposure_gram)(const float* x, NormWeights weights, int channels, int64_t count, double* gram, float* scratch);
  /// out = x + product z for up to kTokens pixels; product is [C, C].
  void (*exposure_mix)(const float* x, NormWeights weights, const float* product, int channels, int count, float* out,
                       float* scratch);

  void (*fold)(const float* features, int channels, int exposures, int slot, int64_t count, float* out);
  void (*add)(const float* a, const float* b, int64_t count, float* out);
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

}  // namespace smhdr::cpu
