// The hybrid block as the sequence of its parts, for devices that do not fuse them.
#include "ops/ops.h"

namespace smhdr {

void Ops::hybrid_block(const HybridArgs& args) {
  HybridArgs parts = args;
  const Buffer local(memory(), args.out.size());
  if (!local) return memory().fail_allocation();
  parts.local.out = {local.data(), args.out.batch, args.out.height, args.out.width, args.out.channels};
  local_branch(parts.local);
  parts.attention.out = args.out;
  window_attention(parts.attention);
  parts.mlp.x = parts.mlp.out = args.out;
  parts.mlp.add = local.data();
  mlp(parts.mlp);
}

}  // namespace smhdr
