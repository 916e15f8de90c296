// What the rest knows of CUDA: the devices there are, and the ops of one. `shim` is the same code on the CPU, for tests
// alone: see cuda/shim.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "merge/merge_device.h"
#include "ops/ops.h"
#include "smhdr/status.h"

namespace smhdr::cuda {

struct DeviceFacts {
  std::string name;
  int capability = 0;  // 90 for 9.0
  int64_t memory_bytes = 0;
  std::string refusal;  // why it cannot be used; empty: it can
  bool bf16() const { return capability >= 80; }
};

struct Machine {
  std::string absence;               // why there is no device; empty: there are some
  std::vector<DeviceFacts> devices;  // by CUDA's index
};

namespace gpu {
Machine find_devices();
/// `index` counts CUDA's devices. Unsupported: there is no such device, or no driver. bf16 is taken for forward
/// products where the device has tensor cores for it (compute capability 8.0); elsewhere all is fp32.
Result<std::unique_ptr<Ops>> make_ops(int index, Precision precision);
/// The radiance merge there; errors as make_ops().
Result<std::unique_ptr<MergeDevice>> make_merge_device(int index);
}  // namespace gpu

namespace shim {
Machine find_devices();
Result<std::unique_ptr<Ops>> make_ops(int index, Precision precision);
Result<std::unique_ptr<MergeDevice>> make_merge_device(int index);
}  // namespace shim

}  // namespace smhdr::cuda
