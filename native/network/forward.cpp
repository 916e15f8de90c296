// SMNet from exposures to radiance: extractor, body, tail (method.md section 2).
#include <new>

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
  ops.convolution({x, weight(name + ".weight"), weight(name + ".bias"), padding, add, sigmoid, out});
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

Workspace::Workspace(int batch, int height, int width, int channels) {
  const int64_t size = int64_t{batch} * height * width * channels;
  storage.reset(new (std::nothrow) float[size * kTensors]);
  float* next = storage.get();
  for (Tensor* tensor : {&skip, &entry, &stage, &x, &local, &scratch}) {
    *tensor = {next, batch, height, width, channels};
    next += size;
  }
}

}  // namespace network

using namespace network;

namespace {

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
  return int64_t{batch} * height * width * config.width * static_cast<int64_t>(sizeof(float)) * Workspace::kTensors;
}

Status forward(const NetworkConfig& config, const ParameterMap& parameters, Ops& ops, const ForwardInput& input,
               Tensor out, Trace* trace, const Progress* progress, Tape* tape) {
  if (Status status = check_forward(config, input); !status.ok()) return status;
  const ConstTensor& shape = input.exposures[0];
  if (out.batch != shape.batch || out.height != shape.height || out.width != shape.width || out.channels != 3)
    return invalid_argument("out: must be [batch, height, width, 3] of the exposures' size.");
  Workspace w(shape.batch, shape.height, shape.width, config.width);
  if (!w.storage)
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
  pass.keep = input.keep.empty() ? nullptr : input.keep.data();
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

  extract(pass, input.exposures, w.x, w.skip, w.stage, w.scratch);
  pass.remember("folded", w.x);
  ops.layer_norm(w.x, pass.norm("patch_embed.norm"), w.entry);
  pass.record("patch_embed", w.entry);
  // x = MLP(x0): not in place, x0 is added back before every exposure block.
  MlpArgs entry;
  entry.x = w.entry;
  entry.weights = pass.mlp("mlp");
  entry.out = w.x;
  ops.mlp(entry);
  pass.record("mlp", w.x);
  if (stop()) return cancelled;

  Tensor *x = &w.x, *spare = &w.scratch;
  for (size_t s = 0; s < config.stages.size(); ++s) {
    // The blocks run in place on `stage`; x is kept for the residual.
    ops.copy(*x, w.stage);
    for (int b = 0; b < config.stages[s].blocks; ++b) {
      masked_block(pass, static_cast<int>(s), b, w.stage, w.local);
      if (stop()) return cancelled;
    }
    const std::string name = std::to_string(s);
    pass.remember("layers." + name + ".conv", w.stage);
    pass.convolution("layers." + name + ".conv", w.stage, Padding::zero, *spare, x->data);
    pass.record("layers." + name, *spare);
    ops.add(*spare, w.entry, *spare);
    exposure_block(pass, static_cast<int>(s), *spare, *x);
    pass.remember("mlps." + name, *x);
    plain_mlp("mlps." + name, *x);
    if (stop()) return cancelled;
  }
  pass.remember("norm", *x);
  ops.layer_norm(*x, pass.norm("norm"), *spare);
  pass.record("norm", *spare);
  if (trace) {  // the fused sum below never shows this module's own output
    pass.convolution("conv_after_body", *spare, Padding::zero, w.local);
    pass.record("conv_after_body", w.local);
  }
  pass.convolution("conv_after_body", *spare, Padding::zero, *x, w.skip.data);
  if (trace) {
    pass.convolution("conv_end", *x, Padding::zero, out);
    pass.record("conv_end", out);
  }
  pass.remember("conv_end", *x);
  pass.convolution("conv_end", *x, Padding::zero, out, nullptr, true);
  if (input.sums && input.sums->recording) {
    input.sums->values.clear();
    for (ImageSums& op : sums) input.sums->values.push_back(std::move(op.values));
  }
  return stop() ? Status(cancelled) : Status();
}

}  // namespace smhdr
