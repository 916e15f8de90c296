// Makes the ops of a CUDA device. `shim` is the same code on the CPU, for tests alone: see cuda/shim.
#pragma once

#include <memory>

#include "ops/ops.h"
#include "smhdr/status.h"

namespace smhdr::cuda {

namespace gpu {
/// `index` counts CUDA's devices. Unsupported: there is no such device, or no driver. bf16 is taken for forward products
/// where the device has tensor cores for it (compute capability 8.0); elsewhere all is fp32.
Result<std::unique_ptr<Ops>> make_ops(int index, Precision precision);
}  // namespace gpu

namespace shim {
Result<std::unique_ptr<Ops>> make_ops(int index, Precision precision);
}  // namespace shim

}  // namespace smhdr::cuda
