#include "ops/cuda/cuda_ops.h"
#include "ops/cuda_ops.h"

namespace smhdr::cuda::SMHDR_CUDA_TARGET {

Result<std::unique_ptr<Ops>> make_ops(int index, Precision precision) {
  Result<std::unique_ptr<Device>> device = Device::open(index);
  if (!device.ok()) return device.error();
  return std::unique_ptr<Ops>(std::make_unique<CudaOps>(std::move(device.value()), precision));
}

}  // namespace smhdr::cuda::SMHDR_CUDA_TARGET
