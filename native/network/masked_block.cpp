// Masked hybrid attention block (MHAB): window attention on masked tokens beside a convolutional local branch.
#include "network/layers.h"

namespace smhdr::network {
namespace {

std::string block_name(int stage, int block) {
  return "layers." + std::to_string(stage) + ".residual_group.blocks." + std::to_string(block);
}

LocalBranchArgs local_args(const Pass& pass, const std::string& prefix, ConstTensor x) {
  LocalBranchArgs args;
  args.x = x;
  args.weights = {pass.norm(prefix + "norm1"),
                  pass.weight(prefix + "conv_cnn1.weight"),
                  pass.weight(prefix + "conv_cnn1.bias"),
                  pass.weight(prefix + "cab.mlp.0.weight"),
                  pass.weight(prefix + "cab.mlp.0.bias"),
                  pass.weight(prefix + "cab.mlp.2.weight"),
                  pass.weight(prefix + "cab.mlp.2.bias"),
                  pass.weight(prefix + "sab.conv2d.weight"),
                  pass.weight(prefix + "sab.conv2d.bias"),
                  pass.weight(prefix + "conv_cnn2.weight"),
                  pass.weight(prefix + "conv_cnn2.bias"),
                  pass.config.reduced};
  args.trace = {pass.trace, prefix};
  return args;
}

AttentionArgs attention_args(const Pass& pass, int stage, int block, const std::string& prefix, ConstTensor x) {
  AttentionArgs args;
  args.x = x;
  args.weights = {pass.norm(prefix + "norm1"),
                  pass.weight(prefix + "attn.qkv.weight"),
                  pass.weight(prefix + "attn.qkv.bias"),
                  pass.weight(prefix + "attn.proj.weight"),
                  pass.weight(prefix + "attn.proj.bias"),
                  pass.weight(prefix + "attn.relative_position_bias_table"),
                  pass.config.stages[stage].heads};
  args.shift = block % 2 == 1 ? kShift : 0;
  if (block == 0 && !pass.mask.mode.empty()) args.mask_mode = static_cast<MaskMode>(pass.mask.mode[stage]);
  args.mask = pass.mask.map;
  args.keep = pass.keep_factors(stage, block, 0, x.batch);
  args.trace = {pass.trace, prefix};
  return args;
}

MlpArgs mlp_args(const Pass& pass, int stage, int block, const std::string& prefix, ConstTensor x) {
  MlpArgs args;
  args.x = x;
  args.weights = pass.mlp(prefix + "mlp", pass.norm(prefix + "norm2"));
  args.residual = true;
  args.keep = pass.keep_factors(stage, block, 1, x.batch);
  return args;
}

}  // namespace

void masked_block(const Pass& pass, int stage, int block, ConstTensor x, Tensor out) {
  const std::string name = block_name(stage, block), prefix = name + ".";
  pass.remember(name, x);
  HybridArgs args{local_args(pass, prefix, x), attention_args(pass, stage, block, prefix, x),
                  mlp_args(pass, stage, block, prefix, x), out};
  args.local.sums = pass.image_sums();
  pass.ops.hybrid_block(args);
  pass.record(name, out);
}

void masked_block_backward(const Pass& pass, int stage, int block, ConstTensor x, Tensor grad, Tensor middle,
                           Tensor spare) {
  const std::string prefix = block_name(stage, block) + ".";
  AttentionArgs attention = attention_args(pass, stage, block, prefix, x);
  attention.out = middle;  // what the MLP saw
  pass.ops.window_attention(attention);
  pass.ops.copy(grad, spare);  // the local branch is added at the end: its gradient is the block's own

  const std::string norm1 = prefix + "norm1";
  pass.ops.mlp_backward({mlp_args(pass, stage, block, prefix, middle), grad,
                         pass.mlp_gradients(prefix + "mlp", pass.norm_gradients(prefix + "norm2")), grad});
  pass.ops.window_attention_backward(
      {attention,
       grad,
       {pass.norm_gradients(norm1), pass.gradient(prefix + "attn.qkv.weight"), pass.gradient(prefix + "attn.qkv.bias"),
        pass.gradient(prefix + "attn.proj.weight"), pass.gradient(prefix + "attn.proj.bias"),
        pass.gradient(prefix + "attn.relative_position_bias_table")},
       grad});
  pass.ops.local_branch_backward(
      {local_args(pass, prefix, x),
       spare,
       {pass.norm_gradients(norm1), pass.gradient(prefix + "conv_cnn1.weight"),
        pass.gradient(prefix + "conv_cnn1.bias"), pass.gradient(prefix + "cab.mlp.0.weight"),
        pass.gradient(prefix + "cab.mlp.0.bias"), pass.gradient(prefix + "cab.mlp.2.weight"),
        pass.gradient(prefix + "cab.mlp.2.bias"), pass.gradient(prefix + "sab.conv2d.weight"),
        pass.gradient(prefix + "sab.conv2d.bias"), pass.gradient(prefix + "conv_cnn2.weight"),
        pass.gradient(prefix + "conv_cnn2.bias")},
       grad});
}

}  // namespace smhdr::network
