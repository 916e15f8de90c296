#include <algorithm>

#include "ops/cuda/cuda_ops.h"
#include "ops/cuda/hybrid_block.cuh"

namespace smhdr::cuda::SMHDR_CUDA_TARGET {

namespace {

/// Queues the fused kernel. False: these widths, or this device's shared memory, allow none.
template <bool with_mlp>
bool launch_hybrid(Device& device, const HybridParameters& p) {
  const int c16 = units(p.channels), heads = p.attention.heads;
  if (c16 > 4 || p.channels / heads > 16) return false;
  const HybridLayout layout(p.channels, heads, with_mlp ? p.mlp.hidden : 0, with_mlp);
  int windows = kMostWindows;
  while (windows > 0 && layout.bytes(windows) > static_cast<int64_t>(device.shared_bytes())) --windows;
  if (windows == 0) return false;
  const auto run = [&](auto kernel) {
    const int64_t blocks = std::min<int64_t>((p.count + windows - 1) / windows, device.processors());
    launch(device, kernel, static_cast<unsigned>(blocks), windows * kWindowThreads, layout.bytes(windows), p);
  };
  switch (c16) {
    case 1:
      run(hybrid_kernel<1, with_mlp>);
      break;
    case 2:
      run(hybrid_kernel<2, with_mlp>);
      break;
    case 3:
      run(hybrid_kernel<3, with_mlp>);
      break;
    default:
      run(hybrid_kernel<4, with_mlp>);
      break;
  }
  return true;
}

HybridParameters parameters(const AttentionArgs& args) {
  HybridParameters p{};
  p.x = args.x.data;
  p.attention = args.weights;
  p.channels = args.x.channels;
  p.windows = {args.x.height, args.x.width, args.shift};
  p.count = args.x.pixels() / kWindowTokens;
  p.mask_mode = args.mask_mode;
  p.mask = args.mask;
  p.keep = args.keep;
  p.out = args.out.data;
  return p;
}

}  // namespace

bool CudaOps::tensor_attention(const AttentionArgs& args) {
  return tensor_cores_ && launch_hybrid<false>(*device_, parameters(args));
}

void CudaOps::hybrid_block(const HybridArgs& args) {
  Scratch scratch(*device_);
  HybridArgs parts = args;
  parts.local.out = args.out;
  parts.local.out.data = scratch.take(args.out.size());
  local_branch(parts.local);
  parts.attention.out = args.out;
  if (tensor_cores_) {
    HybridParameters p = parameters(parts.attention);
    p.mlp = args.mlp.weights;
    p.mlp_keep = args.mlp.keep;
    p.add = parts.local.out.data;
    if (launch_hybrid<true>(*device_, p)) return;
  }
  window_attention(parts.attention);
  parts.mlp.x = parts.mlp.out = args.out;
  parts.mlp.add = parts.local.out.data;
  mlp(parts.mlp);
}

}  // namespace smhdr::cuda::SMHDR_CUDA_TARGET
