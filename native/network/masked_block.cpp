// Masked hybrid attention block (MHAB): window attention on masked tokens beside a convolutional local branch.
#include "network/layers.h"

namespace smhdr::network {

void masked_block(const Pass& pass, int stage, int block, Tensor x, Tensor local) {
  const std::string name = "layers." + std::to_string(stage) + ".residual_group.blocks." + std::to_string(block);
  const std::string prefix = name + ".";

  LocalBranchArgs branch;
  branch.x = x;
  branch.weights = {pass.norm(prefix + "norm1"),
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
  branch.out = local;
  branch.sums = pass.image_sums();
  branch.trace = {pass.trace, prefix};
  pass.ops.local_branch(branch);

  AttentionArgs attention;
  attention.x = x;
  attention.weights = {pass.norm(prefix + "norm1"),
                       pass.weight(prefix + "attn.qkv.weight"),
                       pass.weight(prefix + "attn.qkv.bias"),
                       pass.weight(prefix + "attn.proj.weight"),
                       pass.weight(prefix + "attn.proj.bias"),
                       pass.weight(prefix + "attn.relative_position_bias_table"),
                       pass.config.stages[stage].heads};
  attention.shift = block % 2 == 1 ? kShift : 0;
  if (block == 0 && !pass.mask.mode.empty()) attention.mask_mode = static_cast<MaskMode>(pass.mask.mode[stage]);
  attention.mask = pass.mask.map;
  attention.out = x;
  attention.trace = {pass.trace, prefix};
  pass.ops.window_attention(attention);

  MlpArgs mlp;
  mlp.x = x;
  mlp.weights = pass.mlp(prefix + "mlp", pass.norm(prefix + "norm2"));
  mlp.residual = true;
  mlp.add = local.data;
  mlp.out = x;
  pass.ops.mlp(mlp);
  pass.record(name, x);
}

}  // namespace smhdr::network
