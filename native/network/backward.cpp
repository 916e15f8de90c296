// SMNet from the gradient of its output to those of its parameters and inputs. The tape holds the blocks' inputs.
#include "network/layers.h"

namespace smhdr {

/// A kept value and the buffer that it is in.
struct Tape::Kept {
  Buffer storage;
  ConstTensor value;
};

Tape::Tape() = default;
Tape::~Tape() = default;

void Tape::keep(Memory& memory, const std::string& name, ConstTensor value) {
  Buffer storage(memory, value.size());
  if (!storage) {
    lacks_memory_ = true;
    return;
  }
  memory.copy(value.data, storage.data(), value.size());
  value.data = storage.data();
  kept_.insert_or_assign(name, Kept{std::move(storage), value});
}

ConstTensor Tape::at(const std::string& name) const { return kept_.at(name).value; }

int64_t Tape::bytes() const {
  int64_t total = 0;
  for (const auto& [name, kept] : kept_) total += kept.value.size() * static_cast<int64_t>(sizeof(float));
  return total;
}

using namespace network;

Status backward(const NetworkConfig& config, const ParameterMap& parameters, Ops& ops, const ForwardInput& input,
                const Tape& tape, ConstTensor out, ConstTensor grad_out, const ParameterMap& gradients,
                const std::vector<Tensor>& input_gradients) {
  if (Status status = check_forward(config, input); !status.ok()) return status;
  if (!input_gradients.empty() && input_gradients.size() != input.exposures.size())
    return invalid_argument("input_gradients: expected none or one for each exposure.");
  if (out.size() != grad_out.size() || out.channels != 3) return invalid_argument("grad_out: must be like out.");
  Pass pass{config, parameters, ops, nullptr, static_cast<int>(input.exposures.size()), input.mask, nullptr};
  Memory& memory = ops.memory();
  const OnDevice keep(memory, input.keep.empty() ? nullptr : input.keep.data(), input.keep.size());
  pass.keep = keep.data();
  pass.gradients = &gradients;
  const Workspace w(memory, out.batch, out.height, out.width, config.width, 6);
  if (!w || (!input.keep.empty() && !keep.data()))
    return Error{ErrorCode::out_of_memory, "Not enough memory for the network's gradients; use a smaller batch."};
  const Tensor grad_skip = w[0], grad_entry = w[1], grad_stage = w[2], grad = w[3], spare = w[4], middle = w[5];
  const auto mlp_backward = [&](const std::string& name, ConstTensor x, Tensor g) {
    MlpArgs forward;
    forward.x = x;
    forward.weights = pass.mlp(name);
    ops.mlp_backward({forward, g, pass.mlp_gradients(name), g});
  };

  // The tail. The gradient of what conv_end gave goes into the beginning of `middle`.
  const Tensor logits{middle.data, out.batch, out.height, out.width, config.outputs()};
  if (config.prior) {
    Tensor given{const_cast<float*>(out.data), out.batch, out.height, out.width, 3};
    ops.prior_backward({{tape.at("logits"), input.exposures.back(), given}, grad_out, logits, input.gate_pull});
    if (input.grad_own.data) {
      Tensor own = given;
      own.data = const_cast<float*>(input.own.data);
      const Tensor more{spare.data, logits.batch, logits.height, logits.width, logits.channels};
      ops.prior_backward({{tape.at("logits"), input.exposures.back(), own, 0}, input.grad_own, more});
      ops.add(logits, more, logits);
    }
  } else {
    ops.sigmoid_backward(out, grad_out, logits);
  }
  pass.convolution_backward("conv_end", tape.at("conv_end"), Padding::zero, logits, grad_skip);
  ops.layer_norm(tape.at("norm"), pass.norm("norm"), spare);
  pass.convolution_backward("conv_after_body", spare, Padding::zero, grad_skip, grad);
  ops.layer_norm_backward(tape.at("norm"), pass.norm("norm"), grad, pass.norm_gradients("norm"), grad);

  memory.fill(grad_entry.data, 0, grad_entry.size());
  for (int s = static_cast<int>(config.stages.size()) - 1; s >= 0; --s) {
    const std::string name = std::to_string(s);
    mlp_backward("mlps." + name, tape.at("mlps." + name), grad);
    exposure_block_backward(pass, s, tape.at("channel_layers." + name), grad, middle);
    ops.add(grad_entry, grad, grad_entry);
    // Through the blocks, and past them.
    pass.convolution_backward("layers." + name + ".conv", tape.at("layers." + name + ".conv"), Padding::zero, grad,
                              grad_stage);
    for (int b = config.stages[s].blocks - 1; b >= 0; --b)
      masked_block_backward(pass, s, b, tape.at("layers." + name + ".residual_group.blocks." + std::to_string(b)),
                            grad_stage, middle, spare);
    ops.add(grad, grad_stage, grad);
  }
  ops.layer_norm(tape.at("folded"), pass.norm("patch_embed.norm"), middle);
  mlp_backward("mlp", middle, grad);
  ops.add(grad, grad_entry, grad);
  ops.layer_norm_backward(tape.at("folded"), pass.norm("patch_embed.norm"), grad,
                          pass.norm_gradients("patch_embed.norm"), grad);
  if (Status status = extract_backward(pass, input.exposures, grad, grad_skip, input_gradients); !status.ok())
    return status;
  return memory.synchronize();
}

}  // namespace smhdr
