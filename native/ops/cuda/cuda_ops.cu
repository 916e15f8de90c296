#include "ops/cuda/cuda_ops.h"
#include "ops/cuda_ops.h"

namespace smhdr::cuda::SMHDR_CUDA_TARGET {

Result<std::unique_ptr<Ops>> make_ops(int index, Precision precision) {
  Result<std::unique_ptr<Device>> device = Device::open(index);
  if (!device.ok()) return device.error();
  return std::unique_ptr<Ops>(std::make_unique<CudaOps>(std::move(device.value()), precision));
}

// Not written yet: the op's caller learns it from finish().
namespace {
void missing(Device& device, const char* op) {
  device.keep(Error{ErrorCode::unsupported, std::string("CUDA: ") + op + " is not there yet."});
}
}  // namespace

void CudaOps::prior(const PriorArgs&) { missing(*device_, "prior"); }
void CudaOps::convolution_backward(const ConvolutionBackwardArgs&) { missing(*device_, "convolution_backward"); }
void CudaOps::layer_norm_backward(ConstTensor, NormWeights, ConstTensor, NormGradients, Tensor) {
  missing(*device_, "layer_norm_backward");
}
void CudaOps::mlp_backward(const MlpBackwardArgs&) { missing(*device_, "mlp_backward"); }
void CudaOps::window_attention_backward(const AttentionBackwardArgs&) {
  missing(*device_, "window_attention_backward");
}
void CudaOps::local_branch_backward(const LocalBranchBackwardArgs&) { missing(*device_, "local_branch_backward"); }
void CudaOps::exposure_attention_backward(const ExposureAttentionBackwardArgs&) {
  missing(*device_, "exposure_attention_backward");
}
void CudaOps::fold_exposure_backward(ConstTensor, int, int, Tensor) { missing(*device_, "fold_exposure_backward"); }
void CudaOps::sigmoid_backward(ConstTensor, ConstTensor, Tensor) { missing(*device_, "sigmoid_backward"); }
void CudaOps::prior_backward(const PriorBackwardArgs&) { missing(*device_, "prior_backward"); }

}  // namespace smhdr::cuda::SMHDR_CUDA_TARGET
