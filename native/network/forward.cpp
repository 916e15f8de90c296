// SMNet from exposures to radiance: extractor, body, tail (method.md section 2).
#include <utility>

#include "network/composed.h"
#include "network/layers.h"
#include "smhdr/progress.h"

namespace smhdr {
namespace network {

MlpWeights Pass::mlp(const std::string& name, NormWeights norm) const {
  const Parameter& fc1 = parameters.at(name + ".fc1.weight");
  return {norm,
          fc1.data,
          weight(name + ".fc1.bias"),
          weight(name + ".fc2.weight"),
          weight(name + ".fc2.bias"),
          static_cast<int>(fc1.shape[0])};
}

void Pass::convolution(const std::string& name, ConstTensor x, Padding padding, Tensor out, const float* add,
                       bool sigmoid) const {
  // What reads the radiance and what writes it needs fp32: the mu-law magnifies what happens near black.
  const bool exact = name.starts_with("conv_");
  ops.convolution({x, weight(name + ".weight"), weight(name + ".bias"), padding, add, sigmoid, out, exact});
}

MlpGradients Pass::mlp_gradients(const std::string& name, NormGradients norm) const {
  return {norm, gradient(name + ".fc1.weight"), gradient(name + ".fc1.bias"), gradient(name + ".fc2.weight"),
          gradient(name + ".fc2.bias")};
}

void Pass::convolution_backward(const std::string& name, ConstTensor x, Padding padding, ConstTensor grad_out,
                                Tensor grad_x) const {
  ops.convolution_backward(
      {x, weight(name + ".weight"), padding, grad_out, gradient(name + ".weight"), gradient(name + ".bias"), grad_x});
}

const float* Pass::keep_factors(int stage, int block, int branch, int batch) const {
  if (!keep) return nullptr;
  for (int s = 0; s < stage; ++s) block += config.stages[s].blocks;
  return keep + (int64_t{block} * 2 + branch) * batch;
}

Workspace::Workspace(Memory& memory, int batch, int height, int width, int channels, int tensors, int extra,
                     KeptMemory* kept)
    : shape_{nullptr, batch, height, width, channels}, tensors_(tensors) {
  const int64_t floats = shape_.size() * tensors + shape_.pixels() * extra;
  if (!kept) own_ = Buffer(memory, floats);
  data_ = kept ? kept->take(memory, floats) : own_.data();
}

Tensor Workspace::operator[](int i) const {
  Tensor tensor = shape_;
  tensor.data = data_ + i * shape_.size();
  return tensor;
}

}  // namespace network

using namespace network;

namespace {

constexpr int kForwardTensors = 4;

/// One for the local branch of every masked block, one for every exposure block.
size_t image_sums_count(const NetworkConfig& config) {
  size_t count = config.stages.size();
  for (const StageConfig& stage : config.stages) count += stage.blocks;
  return count;
}

}  // namespace

Status check_forward(const NetworkConfig& config, const ForwardInput& input) {
  const int n = static_cast<int>(input.exposures.size());
  if (n < 1) return invalid_argument("exposures: expected at least one, none came.");
  if (n > config.width)
    return invalid_argument("exposures: a network of width " + std::to_string(config.width) + " takes at most " +
                            std::to_string(config.width) + ", at least one channel for each; " + std::to_string(n) +
                            " came.");
  if (config.slots && n != config.fold_exposures)
    return invalid_argument("exposures: the extractor was made for " +
                            std::to_string(config.fold_exposures - config.prior) +
                            (config.prior ? " and a merge of them; " : "; ") + std::to_string(n) + " came.");
  const ConstTensor& first = input.exposures[0];
  if (first.batch < 1 || first.height < kWindow || first.width < kWindow || first.height % kWindow ||
      first.width % kWindow)
    return invalid_argument("exposures: height and width must be positive multiples of 8, not " +
                            std::to_string(first.width) + " x " + std::to_string(first.height) + ".");
  for (const ConstTensor& e : input.exposures)
    if (e.channels != 6 || e.batch != first.batch || e.height != first.height || e.width != first.width)
      return invalid_argument("exposures: all must be [batch, height, width, 6] of one size.");
  if (!input.mask.mode.empty() && input.mask.mode.size() != config.stages.size())
    return invalid_argument("mask.mode: expected one entry a stage (" + std::to_string(config.stages.size()) + ").");
  for (int mode : input.mask.mode) {
    if (mode < 0 || mode > 2)
      return invalid_argument("mask.mode: expected 0, 1 or 2, not " + std::to_string(mode) + ".");
    if (mode == 1 && !input.mask.map) return invalid_argument("mask.map: missing, though a mode asks for it.");
  }
  size_t blocks = 0;
  for (const StageConfig& stage : config.stages) blocks += stage.blocks;
  if (!input.keep.empty() && input.keep.size() != blocks * 2 * first.batch)
    return invalid_argument("keep: expected " + std::to_string(blocks * 2 * first.batch) + " factors, not " +
                            std::to_string(input.keep.size()) + ".");
  if (input.sums && !input.sums->recording) {
    if (input.sums->values.size() != image_sums_count(config))
      return invalid_argument("sums: expected those of another pass of this network.");
  }
  return {};
}

int64_t forward_bytes(const NetworkConfig& config, int batch, int height, int width) {
  // The workspace; the local branch's two planes and its gate.
  return int64_t{batch} * height * width * static_cast<int64_t>(sizeof(float)) *
         (kForwardTensors * config.width + 2 * config.outputs() + 3);
}

Status forward(const NetworkConfig& config, const ParameterMap& parameters, Ops& ops, const ForwardInput& input,
               Tensor out, Trace* trace, const Progress* progress, Tape* tape, const Composed* composed,
               KeptMemory* kept) {
  if (Status status = check_forward(config, input); !status.ok()) return status;
  const ConstTensor& shape = input.exposures[0];
  if (out.batch != shape.batch || out.height != shape.height || out.width != shape.width || out.channels != 3)
    return invalid_argument("out: must be [batch, height, width, 3] of the exposures' size.");
  // conv_end(a + b) = conv_end(a) + conv_end(b): of the skip only its three channels after conv_end are kept, unless
  // someone asks for what the modules themselves gave.
  const bool keep_skip = tape || trace;
  const Workspace w(ops.memory(), shape.batch, shape.height, shape.width, config.width, kForwardTensors + keep_skip,
                    2 * config.outputs(), kept);
  const OnDevice keep(ops.memory(), input.keep.empty() ? nullptr : input.keep.data(), input.keep.size());
  const Buffer no_bias = keep_skip ? Buffer() : zeros(ops.memory(), config.outputs());
  if (!w || (!input.keep.empty() && !keep.data()) || (!keep_skip && !no_bias))
    return Error{ErrorCode::out_of_memory, "Not enough memory for the network's intermediates; use smaller tiles."};
  std::vector<ImageSums> sums(input.sums ? image_sums_count(config) : 0);
  if (input.sums && !input.sums->recording)
    for (size_t i = 0; i < sums.size(); ++i) sums[i] = {ImageSums::Mode::given, input.sums->values[i]};
  Pass pass{config,
            parameters,
            ops,
            trace,
            static_cast<int>(input.exposures.size()),
            input.mask,
            input.sums ? &sums : nullptr};
  pass.tape = tape;
  pass.keep = keep.data();
  const auto plain_mlp = [&](const std::string& name, Tensor x) {
    MlpArgs mlp;
    mlp.x = x;
    mlp.weights = pass.mlp(name);
    mlp.out = x;
    ops.mlp(mlp);
    pass.record(name, x);
  };
  int total = 2, done = 0;
  for (const StageConfig& stage : config.stages) total += stage.blocks + 1;
  const auto stop = [&] {
    if (!progress) return false;
    progress->at(double(done++) / total);
    return progress->stop();
  };
  const Error cancelled{ErrorCode::cancelled, "Cancelled."};

  const Tensor x = w[0], entry = w[1], stage = w[2], other = w[3], skip = keep_skip ? w[4] : entry;
  const Tensor skip_end{w.extra(), shape.batch, shape.height, shape.width, config.outputs()};
  // What conv_end gives: the result itself, or with a prior the logits it is made of.
  Tensor end = out;
  if (config.prior) end = {w.extra() + skip_end.size(), shape.batch, shape.height, shape.width, config.outputs()};
  const bool compose = composed && !keep_skip && composed->exposures() == pass.exposures && Composed::pays(x);
  if (compose)
    composed->extract(pass, input.exposures, x, skip_end, stage);
  else
    extract(pass, input.exposures, x, skip, stage, other);
  if (!keep_skip && !compose)
    ops.convolution(
        {skip, pass.weight("conv_end.weight"), no_bias.data(), Padding::zero, nullptr, false, skip_end, true});
  pass.remember("folded", x);
  ops.layer_norm(x, pass.norm("patch_embed.norm"), entry);
  pass.record("patch_embed", entry);
  // x = MLP(x0): not in place, x0 is added back before every exposure block.
  MlpArgs first;
  first.x = entry;
  first.weights = pass.mlp("mlp");
  first.out = x;
  ops.mlp(first);
  pass.record("mlp", x);
  if (stop()) return cancelled;

  for (size_t s = 0; s < config.stages.size(); ++s) {
    // x is kept for the residual; the blocks go to and fro between two others.
    ConstTensor last = x;
    Tensor spare = stage, next = other;
    for (int b = 0; b < config.stages[s].blocks; ++b) {
      std::swap(spare, next);
      masked_block(pass, static_cast<int>(s), b, last, next);
      last = next;
      if (stop()) return cancelled;
    }
    const std::string name = std::to_string(s);
    pass.remember("layers." + name + ".conv", last);
    pass.convolution("layers." + name + ".conv", last, Padding::zero, spare, x.data);
    pass.record("layers." + name, spare);
    ops.add(spare, entry, spare);
    exposure_block(pass, static_cast<int>(s), spare, x);
    pass.remember("mlps." + name, x);
    plain_mlp("mlps." + name, x);
    if (stop()) return cancelled;
  }
  pass.remember("norm", x);
  ops.layer_norm(x, pass.norm("norm"), stage);
  pass.record("norm", stage);
  if (trace) {  // the fused sum below never shows this module's own output
    pass.convolution("conv_after_body", stage, Padding::zero, other);
    pass.record("conv_after_body", other);
  }
  if (compose) {
    composed->finish(pass, stage, skip_end, end, other);
  } else {
    pass.convolution("conv_after_body", stage, Padding::zero, x, keep_skip ? skip.data : nullptr);
    if (trace) {
      pass.convolution("conv_end", x, Padding::zero, end);
      pass.record("conv_end", end);
    }
    pass.remember("conv_end", x);
    pass.convolution("conv_end", x, Padding::zero, end, keep_skip ? nullptr : skip_end.data, !config.prior);
  }
  if (config.prior) {
    pass.remember("logits", end);
    ops.prior({end, input.exposures.back(), out});
  }
  if (input.sums && input.sums->recording) {
    input.sums->values.clear();
    for (ImageSums& op : sums) input.sums->values.push_back(std::move(op.values));
  }
  if (stop()) return cancelled;
  if (tape && tape->lacks_memory())
    return Error{ErrorCode::out_of_memory, "Not enough memory for what the gradients need; use a smaller batch."};
  return ops.memory().synchronize();
}

}  // namespace smhdr
