// Inter-exposure channel attention block (ICAB): the reference's channels ask, all exposures' channels answer.
#include "network/layers.h"

namespace smhdr::network {

void exposure_block(const Pass& pass, int stage, ConstTensor x, Tensor out) {
  const std::string name = "channel_layers." + std::to_string(stage);
  const std::string prefix = name + ".";
  ExposureAttentionArgs attention;
  attention.x = x;
  attention.weights = {pass.norm(prefix + "norm1_x.body"), pass.weight(prefix + "attn.q.weight"),
                       pass.weight(prefix + "attn.k.weight"), pass.weight(prefix + "attn.v.weight"),
                       pass.weight(prefix + "attn.project_out.weight")};
  attention.exposures = pass.exposures;
  attention.out = out;
  attention.sums = pass.image_sums();
  attention.trace = {pass.trace, prefix};
  pass.ops.exposure_attention(attention);

  MlpArgs mlp;
  mlp.x = out;
  mlp.weights = pass.mlp(prefix + "mlp", pass.norm(prefix + "norm2"));
  mlp.residual = true;
  mlp.out = out;
  pass.ops.mlp(mlp);
  pass.record(name, out);
}

}  // namespace smhdr::network
