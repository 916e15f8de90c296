// Inter-exposure channel attention block (ICAB): the reference's channels ask, all exposures' channels answer.
#include "network/layers.h"

namespace smhdr::network {
namespace {

std::string block_name(int stage) { return "channel_layers." + std::to_string(stage); }

ExposureAttentionArgs attention_args(const Pass& pass, const std::string& prefix, ConstTensor x) {
  ExposureAttentionArgs args;
  args.x = x;
  args.weights = {pass.norm(prefix + "norm1_x.body"), pass.weight(prefix + "attn.q.weight"),
                  pass.weight(prefix + "attn.k.weight"), pass.weight(prefix + "attn.v.weight"),
                  pass.weight(prefix + "attn.project_out.weight")};
  args.exposures = pass.slots();
  args.trace = {pass.trace, prefix};
  return args;
}

MlpArgs mlp_args(const Pass& pass, const std::string& prefix, ConstTensor x) {
  MlpArgs args;
  args.x = x;
  args.weights = pass.mlp(prefix + "mlp", pass.norm(prefix + "norm2"));
  args.residual = true;
  return args;
}

}  // namespace

void exposure_block(const Pass& pass, int stage, ConstTensor x, Tensor out) {
  const std::string name = block_name(stage), prefix = name + ".";
  pass.remember(name, x);
  ExposureAttentionArgs attention = attention_args(pass, prefix, x);
  attention.out = out;
  attention.sums = pass.image_sums();
  pass.ops.exposure_attention(attention);
  MlpArgs mlp = mlp_args(pass, prefix, out);
  mlp.out = out;
  pass.ops.mlp(mlp);
  pass.record(name, out);
}

void exposure_block_backward(const Pass& pass, int stage, ConstTensor x, Tensor grad, Tensor middle) {
  const std::string prefix = block_name(stage) + ".";
  ExposureAttentionArgs attention = attention_args(pass, prefix, x);
  attention.out = middle;
  pass.ops.exposure_attention(attention);
  pass.ops.mlp_backward({mlp_args(pass, prefix, middle), grad,
                         pass.mlp_gradients(prefix + "mlp", pass.norm_gradients(prefix + "norm2")), grad});
  pass.ops.exposure_attention_backward(
      {attention,
       grad,
       {pass.norm_gradients(prefix + "norm1_x.body"), pass.gradient(prefix + "attn.q.weight"),
        pass.gradient(prefix + "attn.k.weight"), pass.gradient(prefix + "attn.v.weight"),
        pass.gradient(prefix + "attn.project_out.weight")},
       grad});
}

}  // namespace smhdr::network
