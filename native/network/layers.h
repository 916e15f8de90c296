// The network's blocks, one a file: what each reads from the parameters and how it runs. Shared plumbing is here.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "ops/ops.h"
#include "smhdr/network.h"

namespace smhdr::network {

/// One forward pass: what every block needs to find its weights and report.
struct Pass {
  const NetworkConfig& config;
  const ParameterMap& parameters;
  Ops& ops;
  Trace* trace;
  int exposures;
  const MaskOptions& mask;
  std::vector<ImageSums>* sums;  // one an op that takes any, in order; null: every image its own
  mutable size_t next_sums = 0;

  Tape* tape = nullptr;                     // forward: filled where not null
  const float* keep = nullptr;              // ForwardInput's, on the device
  const ParameterMap* gradients = nullptr;  // backward

  void remember(const std::string& name, ConstTensor value) const {
    if (tape) tape->keep(ops.memory(), name, value);
  }
  /// Stochastic-depth factors of block `block` of `stage`: [batch] for the attention (branch 0) or the MLP (1).
  const float* keep_factors(int stage, int block, int branch, int batch) const;
  /// The accumulator of a parameter's gradient; null if frozen.
  float* gradient(const std::string& name) const {
    const auto it = gradients->find(name);
    return it == gradients->end() ? nullptr : it->second.data;
  }
  NormGradients norm_gradients(const std::string& name) const {
    return {gradient(name + ".weight"), gradient(name + ".bias")};
  }
  MlpGradients mlp_gradients(const std::string& name, NormGradients norm = {}) const;
  void convolution_backward(const std::string& name, ConstTensor x, Padding padding, ConstTensor grad_out,
                            Tensor grad_x) const;

  ImageSums* image_sums() const { return sums ? &(*sums)[next_sums++] : nullptr; }

  /// Slots of the folded features.
  int slots() const { return config.slots ? config.slots : exposures; }
  const float* weight(const std::string& name) const { return parameters.at(name).data; }
  void record(const std::string& name, ConstTensor value) const {
    if (trace) trace->record(name, value);
  }
  NormWeights norm(const std::string& name) const { return {weight(name + ".weight"), weight(name + ".bias")}; }
  MlpWeights mlp(const std::string& name, NormWeights norm = {}) const;
  void convolution(const std::string& name, ConstTensor x, Padding padding, Tensor out, const float* add = nullptr,
                   bool sigmoid = false) const;
};

/// Intermediates of one pass, [batch, height, width, C] each, in one block of the device's memory.
struct Workspace {
  /// `extra` more floats a pixel lie behind the tensors; in `kept`, if that is not null.
  Workspace(Memory& memory, int batch, int height, int width, int channels, int tensors, int extra = 0,
            KeptMemory* kept = nullptr);
  Tensor operator[](int i) const;
  float* extra() const { return data_ + tensors_ * shape_.size(); }
  /// False: there was not enough memory.
  explicit operator bool() const { return data_ != nullptr; }

 private:
  Buffer own_;
  float* data_;
  Tensor shape_;
  int tensors_;
};

/// Extractor: features of every exposure folded into `out`; conv_skip of the reference's features into `skip`.
void extract(const Pass& pass, const std::vector<ConstTensor>& exposures, Tensor out, Tensor skip, Tensor scratch0,
             Tensor scratch1);

/// Exposure i's share of the folded features, of i = 0 first: it fills its slot, or with a learnt fold adds to all.
void fold(const Pass& pass, ConstTensor features, int i, Tensor out);

/// Masked hybrid attention block: out from x (they may not be the same).
void masked_block(const Pass& pass, int stage, int block, ConstTensor x, Tensor out);

/// Inter-exposure channel attention block: out from x (they may not be the same).
void exposure_block(const Pass& pass, int stage, ConstTensor x, Tensor out);

/// `features` are read where the fold is learnt; grad_features is overwritten.
void fold_backward(const Pass& pass, ConstTensor features, ConstTensor grad_out, int i, Tensor grad_features);

// Backward: `grad` holds the gradient of the block's output on entry and of its input on exit; `x` is the block's
// input.
Status extract_backward(const Pass& pass, const std::vector<ConstTensor>& exposures, ConstTensor grad_out,
                        ConstTensor grad_skip, const std::vector<Tensor>& input_gradients);
void masked_block_backward(const Pass& pass, int stage, int block, ConstTensor x, Tensor grad, Tensor middle,
                           Tensor spare);
void exposure_block_backward(const Pass& pass, int stage, ConstTensor x, Tensor grad, Tensor middle);

}  // namespace smhdr::network
