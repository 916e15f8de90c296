#include "ops/cuda/cuda_ops.h"
#include "ops/cuda_ops.h"

namespace smhdr::cuda::SMHDR_CUDA_TARGET {

Result<std::unique_ptr<Ops>> make_ops(int index, Precision precision) {
  Result<std::unique_ptr<Device>> device = Device::open(index);
  if (!device.ok()) return device.error();
  return std::unique_ptr<Ops>(std::make_unique<CudaOps>(std::move(device.value()), precision));
}

void CudaOps::hybrid_block(const HybridArgs& args) {
  Scratch scratch(*device_);
  HybridArgs parts = args;
  parts.local.out = args.out;
  parts.local.out.data = scratch.take(args.out.size());
  local_branch(parts.local);
  parts.attention.out = args.out;
  window_attention(parts.attention);
  parts.mlp.x = parts.mlp.out = args.out;
  parts.mlp.add = parts.local.out.data;
  mlp(parts.mlp);
}

}  // namespace smhdr::cuda::SMHDR_CUDA_TARGET
