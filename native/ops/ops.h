// What differs per device: the operations the network is written over. An op reads views, writes views and owns
// nothing but scratch memory; the network (native/network) is written once over this interface. All pointers to floats
// are of the ops' own memory(); what fails on a device shows at finish().
// Layouts: tensors are channels-last; weights keep the published layout (linear [out, in], convolution
// [out, in, 3, 3]), so the same pointers serve inference, training and files.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/cpu_isa.h"
#include "ops/memory.h"
#include "smhdr/precision.h"
#include "smhdr/status.h"
#include "smhdr/tensor.h"
#include "smhdr/thread_pool.h"
#include "smhdr/training.h"

namespace smhdr {

/// Receives the outputs of inner modules under their published names; for tests. Reference ops report all of them.
class Trace {
 public:
  virtual ~Trace() = default;
  virtual void record(const std::string& name, ConstTensor value) = 0;
};

/// Where an op reports its inner values: `prefix` + module name. No sink, no report.
struct TraceScope {
  Trace* sink = nullptr;
  std::string prefix;
  void record(const char* name, ConstTensor value) const {
    if (sink) sink->record(prefix + name, value);
  }
};

/// The sums over a whole image that an op takes. Where a picture is worked in tiles they are taken once, over a sample
/// of tiles together, and given to every tile: else each tile would have its own, and seams.
struct ImageSums {
  enum class Mode {
    record,  // take them over all images of the batch together, use them, and leave them in `values`
    given,   // use `values`
  } mode = Mode::record;
  std::vector<double>
      values;  // per pixel; local branch: [C] means of the features; exposure attention: [C, C] Gram matrix
};

enum class Padding { zero, reflect };

struct NormWeights {
  const float* gain = nullptr;  // [C]; null: no normalisation
  const float* bias = nullptr;  // [C]
};

/// out = act(conv(x) + bias + add), stride 1, same size.
struct ConvolutionArgs {
  ConstTensor x;
  const float* weight;  // [out, in, kernel, kernel]
  const float* bias;    // [out]
  Padding padding = Padding::zero;
  const float* add = nullptr;  // like out; null: nothing added
  bool sigmoid = false;
  Tensor out;
  bool exact = false;  // fp32 whatever the ops' precision
  int kernel = 3;      // 3, 5, 7 or 11; beyond 3 always exact
  int out_pitch = 0;   // floats from pixel to pixel of out, where it is a slice of more channels; 0: out.channels
};

struct MlpWeights {
  NormWeights norm;
  const float *fc1_weight, *fc1_bias;  // [hidden, C], [hidden]
  const float *fc2_weight, *fc2_bias;  // [C, hidden], [C]
  int hidden;
};

/// out = residual * x + keep * fc2(gelu(fc1(norm(x)))) + add. GELU is the exact (erf) one.
struct MlpArgs {
  ConstTensor x;
  MlpWeights weights;
  bool residual = false;
  const float* add = nullptr;   // like x
  const float* keep = nullptr;  // [batch] stochastic-depth factor; null: 1
  Tensor out;
};

struct AttentionWeights {
  NormWeights norm;
  const float *qkv_weight, *qkv_bias;    // [3C, C], [3C]; q, k, v, each [heads, C / heads]
  const float *proj_weight, *proj_bias;  // [C, C], [C]
  const float* bias_table;               // [15 * 15, heads]
  int heads;
};

enum class MaskMode {
  none,
  map,         // y *= mask, method.md section 3
  importance,  // y *= sigmoid(mean of y over channels)
};

/// out = x + keep * window attention(mask * norm(x)) in 8x8 windows; `shift` is 0 or 4 (cyclic, with shift mask).
/// Height and width are multiples of 8.
struct AttentionArgs {
  ConstTensor x;
  AttentionWeights weights;
  int shift = 0;
  MaskMode mask_mode = MaskMode::none;
  const float* mask = nullptr;  // [batch, height, width] for MaskMode::map
  const float* keep = nullptr;  // [batch] stochastic-depth factor; null: 1
  Tensor out;
  TraceScope trace = {};
};

struct LocalBranchWeights {
  NormWeights norm;
  const float *depthwise1_weight, *depthwise1_bias;  // [C, 1, 3, 3], [C]
  const float *channel1_weight, *channel1_bias;      // CCA: [C/4, C], [C/4]
  const float *channel2_weight, *channel2_bias;      //      [C, C/4], [C]
  const float *spatial_weight, *spatial_bias;        // CSA: [1, 2, 7, 7], [1]
  const float *depthwise2_weight, *depthwise2_bias;  // [C, 1, 3, 3], [C]
  int reduced;                                       // C/4
};

/// out = depthwise2(f (sigmoid(2 m) + s)), f = depthwise1(norm(x)), m the channel gate's logits (pooled over the whole
/// image), s the spatial gate.
struct LocalBranchArgs {
  ConstTensor x;
  LocalBranchWeights weights;
  Tensor out;
  ImageSums* sums = nullptr;  // null: each image's own
  TraceScope trace = {};
};

/// out = y + keep * mlp(norm(y)) + local branch of x, y = window attention of x (MHAB, method.md section 2). All parts
/// have the same x; their own `out`, and the MLP's x and add, are not used. out must not be x.
struct HybridArgs {
  LocalBranchArgs local;
  AttentionArgs attention;
  MlpArgs mlp;
  Tensor out;
};

struct ExposureAttentionWeights {
  NormWeights norm;
  const float *q, *k, *v, *out;  // [C, C] each, no bias
};

/// out = x + channel attention between exposures (the attention half of ICAB); C >= exposures.
struct ExposureAttentionArgs {
  ConstTensor x;
  ExposureAttentionWeights weights;
  int exposures;
  Tensor out;
  ImageSums* sums = nullptr;  // null: each image's own
  TraceScope trace = {};
};

/// The last step of a network with a prior: pixel by pixel between its own radiance and a given one, h,
///   out = sigmoid(z + gate (p - z)), z the first three channels of x, gate `share` times the sigmoid of the fourth,
///   p = log((h + 1/5000) / (1 + 1/200 - h)), about the logits of h brought into [0, 1].
struct PriorArgs {
  ConstTensor x;      // 4 channels
  ConstTensor prior;  // 6 channels, of which the first three are h
  Tensor out;         // 3 channels
  float share = 1;    // 0: the network's own radiance
};

/// Pixels of a picture as any lattice of its floats: the pixel (image, row, column) begins at
/// data + image * per_image + row * per_row + column * per_column.
struct Lattice {
  float* data;
  int64_t per_image, per_row, per_column;
};

/// to = from for `channels` floats of every pixel: a part of a picture, a picture turned, every ninth value.
struct CopyPixelsArgs {
  Lattice from, to;  // from is only read
  int images, rows, columns, channels;
};

// Backward. Each op gets what its forward got and recomputes what it needs. Parameter gradients are added to the
// accumulators given; a null one is a frozen parameter and costs nothing.

struct NormGradients {
  float *gain = nullptr, *bias = nullptr;
};

struct ConvolutionBackwardArgs {
  ConstTensor x;
  const float* weight;
  Padding padding = Padding::zero;
  ConstTensor grad_out;  // of conv + bias, before any sigmoid
  float *grad_weight = nullptr, *grad_bias = nullptr;
  Tensor grad_x = {};  // overwritten; null data: not wanted
};

struct MlpGradients {
  NormGradients norm;
  float *fc1_weight = nullptr, *fc1_bias = nullptr, *fc2_weight = nullptr, *fc2_bias = nullptr;
};

struct MlpBackwardArgs {
  MlpArgs forward;  // its out is not used
  ConstTensor grad_out;
  MlpGradients gradients;
  Tensor grad_x;  // overwritten, the residual's share included; may be grad_out
};

struct AttentionGradients {
  NormGradients norm;
  float *qkv_weight = nullptr, *qkv_bias = nullptr, *proj_weight = nullptr, *proj_bias = nullptr, *bias_table = nullptr;
};

struct AttentionBackwardArgs {
  AttentionArgs forward;  // its out is not used
  ConstTensor grad_out;
  AttentionGradients gradients;
  Tensor grad_x;  // overwritten, the residual's share included; may be grad_out
};

struct LocalBranchGradients {
  NormGradients norm;
  float *depthwise1_weight = nullptr, *depthwise1_bias = nullptr;
  float *channel1_weight = nullptr, *channel1_bias = nullptr, *channel2_weight = nullptr, *channel2_bias = nullptr;
  float *spatial_weight = nullptr, *spatial_bias = nullptr;
  float *depthwise2_weight = nullptr, *depthwise2_bias = nullptr;
};

struct LocalBranchBackwardArgs {
  LocalBranchArgs forward;  // its out and sums are not used: each image has its own sums
  ConstTensor grad_out;
  LocalBranchGradients gradients;
  Tensor grad_x;  // added to
};

struct ExposureAttentionGradients {
  NormGradients norm;
  float *q = nullptr, *k = nullptr, *v = nullptr, *out = nullptr;
};

struct ExposureAttentionBackwardArgs {
  ExposureAttentionArgs forward;  // its out and sums are not used
  ConstTensor grad_out;
  ExposureAttentionGradients gradients;
  Tensor grad_x;  // overwritten, the residual's share included; may be grad_out
};

struct PriorBackwardArgs {
  PriorArgs forward;  // its out is what forward gave
  ConstTensor grad_out;
  Tensor grad_x;        // overwritten; nothing goes back to the prior
  float gate_pull = 0;  // this times the gate's logit is added to its gradient
};

/// One step of Adam (smhdr/training.h) on a range of parameters and, where there are averages, one of theirs:
/// average += pull (parameter - average), the parameter itself where pull is 1.
struct AdamArgs {
  AdamOptions options;
  int64_t step, count;  // step counts from 1
  const float* gradient;
  float *first, *second, *parameter;
  float* average = nullptr;
  float pull = 1;
};

class Ops {
 public:
  virtual ~Ops() = default;
  virtual const char* name() const = 0;
  virtual Memory& memory() { return host_memory(); }
  /// Waits until all is done that was asked for; what went wrong since the last call.
  Status finish() { return memory().synchronize(); }

  virtual void convolution(const ConvolutionArgs& args) = 0;
  virtual void layer_norm(ConstTensor x, NormWeights weights, Tensor out) = 0;
  virtual void mlp(const MlpArgs& args) = 0;
  virtual void window_attention(const AttentionArgs& args) = 0;
  virtual void local_branch(const LocalBranchArgs& args) = 0;
  /// The plain sequence of its three parts; a device may fuse them.
  virtual void hybrid_block(const HybridArgs& args);
  virtual void exposure_attention(const ExposureAttentionArgs& args) = 0;
  /// Features of exposure `slot` of n: channel j of the slot becomes the mean over those of their n groups that have a
  /// channel j; slots and groups have the same boundaries, part_start. The other channels of out stay as they are.
  virtual void fold_exposure(ConstTensor features, int exposures, int slot, Tensor out) = 0;
  virtual void prior(const PriorArgs& args) = 0;
  virtual void copy(ConstTensor from, Tensor to) = 0;
  /// The base's is for devices whose memory is the host's.
  virtual void copy_pixels(const CopyPixelsArgs& args);
  /// out = a + b, elementwise; out may be a or b.
  virtual void add(ConstTensor a, ConstTensor b, Tensor out) = 0;

  virtual void convolution_backward(const ConvolutionBackwardArgs& args) = 0;
  /// grad_x is overwritten and may be grad_out.
  virtual void layer_norm_backward(ConstTensor x, NormWeights weights, ConstTensor grad_out, NormGradients gradients,
                                   Tensor grad_x) = 0;
  virtual void mlp_backward(const MlpBackwardArgs& args) = 0;
  virtual void window_attention_backward(const AttentionBackwardArgs& args) = 0;
  virtual void local_branch_backward(const LocalBranchBackwardArgs& args) = 0;
  virtual void exposure_attention_backward(const ExposureAttentionBackwardArgs& args) = 0;
  /// Gradient of the features from that of the folded tensor; overwrites grad_features.
  virtual void fold_exposure_backward(ConstTensor grad_out, int exposures, int slot, Tensor grad_features) = 0;
  /// grad_x = grad_out * out * (1 - out), for out = sigmoid(x); grad_x may be grad_out.
  virtual void sigmoid_backward(ConstTensor out, ConstTensor grad_out, Tensor grad_x) = 0;
  virtual void prior_backward(const PriorBackwardArgs& args) = 0;

  // What training needs besides. Here they are the host's (ops/training.cpp), over copies where the device's memory is
  // another; a device has its own where it wants to be fast. What is returned is NaN where the device failed.

  /// See mu_law_loss and structure_loss in smhdr/training.h; `weights` may be null, and so may grad's data.
  virtual double mu_law_loss(ConstTensor prediction, ConstTensor truth, const float* weights, double squared,
                             Tensor grad);
  virtual double structure_loss(ConstTensor prediction, ConstTensor truth, const float* weights, double scale,
                                Tensor grad);
  virtual double squared_norm(const float* values, int64_t count);
  /// values *= factor
  virtual void scale(float* values, int64_t count, float factor);
  virtual void adam_step(const AdamArgs& args);
};

// How C channels are shared out among n exposures (slots of the folded features, groups of an exposure's features) and
// among the heads of their attention: any n up to C; where 4n divides C, as the published checkpoints have it. Parts
// differ by one channel at most. docs/exposures.md gives the reasons.

/// The channel at which part `part` of `parts` begins; part_start(parts, ...) is the end of the last.
constexpr int part_start(int part, int parts, int channels) { return part * channels / parts; }

/// Heads of the attention between exposures: 4n, but no head of a single channel, over which a softmax says nothing,
/// unless the published rule itself asks for it (4n = C).
constexpr int exposure_heads(int channels, int exposures) {
  const int published = 4 * exposures, most = channels > 1 ? channels / 2 : 1;
  return published == channels || published <= most ? published : most;
}

constexpr int kWindow = 8;
constexpr int kWindowTokens = kWindow * kWindow;
constexpr int kShift = kWindow / 2;
constexpr float kNormEpsilon = 1e-5f;

/// Row of the relative position bias table for a query and a key token of a window.
constexpr int bias_row(int query, int key) {
  return (query / kWindow - key / kWindow + kWindow - 1) * (2 * kWindow - 1) + query % kWindow - key % kWindow +
         kWindow - 1;
}

/// Region of the shift mask at coordinate `at` of an axis of length `length`, in the shifted image: [0, L-8), [L-8,
/// L-4), [L-4, L).
constexpr int shift_region(int at, int length) { return at < length - kWindow ? 0 : at < length - kShift ? 1 : 2; }

std::unique_ptr<Ops> make_reference_ops();
/// SIMD kernels on `pool`, which must outlive the ops. `isa` must be one the processor has (core/cpu_isa.h). bf16 is
/// taken where `isa` is AVX-512 and cpu_has_bf16(): on the matrix unit where there is one and `matrix_unit` is true,
/// and then for the products of the backward pass too; elsewhere all is fp32.
std::unique_ptr<Ops> make_cpu_ops(ThreadPool& pool, CpuIsa isa = cpu_isa(), Precision precision = Precision::fp32,
                                  bool matrix_unit = true);

}  // namespace smhdr
