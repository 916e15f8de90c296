#include "ops/devices.h"

#include <algorithm>
#include <cstdlib>

namespace smhdr {
namespace {

Error unsupported(std::string message) { return {ErrorCode::unsupported, std::move(message)}; }

/// The number behind "cuda:", -1 for none; -2: it is no name of a device.
int cuda_index(const std::string& device) {
  if (device == "cuda") return -1;
  if (!device.starts_with("cuda:") || device.size() == 5 || device.size() > 8) return -2;
  for (size_t i = 5; i < device.size(); ++i)
    if (device[i] < '0' || device[i] > '9') return -2;
  return std::atoi(device.c_str() + 5);
}

struct CudaDevice {
  int index;
  cuda::DeviceFacts facts;
};

/// The one that `device` names, if it can be used.
Result<CudaDevice> find_cuda(const std::string& device) {
  int index = cuda_index(device);
  if (index == -2) return invalid_argument("device: expected \"cpu\", \"cuda\" or \"cuda:0\"; got \"" + device + "\".");
  const cuda::Machine machine = find_cuda_devices();
  if (!machine.absence.empty())
    return unsupported("device: \"" + device + "\" cannot be used: " + machine.absence + ".");
  const int count = static_cast<int>(machine.devices.size());
  if (index >= count)
    return unsupported("device: \"" + device + "\" is not there; \"smhdr devices\" lists the " + std::to_string(count) +
                       " that are.");
  for (int i = 0; index < 0 && i < count; ++i)
    if (machine.devices[i].refusal.empty()) index = i;
  const cuda::DeviceFacts& facts = machine.devices[std::max(index, 0)];
  if (!facts.refusal.empty())
    return unsupported("device: \"" + device + "\" (" + facts.name + ") cannot be used: " + facts.refusal + ".");
  return CudaDevice{std::max(index, 0), facts};
}

}  // namespace

cuda::Machine find_cuda_devices() {
#if defined(SMHDR_HAS_CUDA)
  return cuda::gpu::find_devices();
#else
  return {"smhdr was built without CUDA: there was no nvcc that works", {}};
#endif
}

Result<std::unique_ptr<Ops>> make_ops(const std::string& device, ThreadPool& pool, Precision precision) {
  if (device == "cpu") {
    if (precision == Precision::bf16 && !cpu_has_bf16())
      return unsupported("precision: this processor has no bfloat16 products (AVX-512 BF16).");
    return make_cpu_ops(pool, cpu_isa(), precision);
  }
  const Result<CudaDevice> found = find_cuda(device);
  if (!found.ok()) return found.error();
  if (precision == Precision::bf16 && !found.value().facts.bf16())
    return unsupported("precision: " + found.value().facts.name +
                       " has no bfloat16 products (compute capability 8.0).");
#if defined(SMHDR_HAS_CUDA)
  return cuda::gpu::make_ops(found.value().index, precision);
#else
  return unsupported("device: \"" + device + "\" is not of this build.");
#endif
}

Result<std::unique_ptr<MergeDevice>> make_merge_device(const std::string& device) {
  if (device == "cpu") return std::unique_ptr<MergeDevice>();
  const Result<CudaDevice> found = find_cuda(device);
  if (!found.ok()) return found.error();
#if defined(SMHDR_HAS_CUDA)
  return cuda::gpu::make_merge_device(found.value().index);
#else
  return unsupported("device: \"" + device + "\" is not of this build.");
#endif
}

Result<std::vector<std::unique_ptr<Ops>>> make_every_ops(const std::string& device, ThreadPool& pool,
                                                         Precision precision) {
  std::vector<std::string> names;
  if (device == "cuda:all") {
    const auto devices = find_cuda_devices().devices;
    for (size_t i = 0; i < devices.size(); ++i)
      if (devices[i].refusal.empty()) names.push_back("cuda:" + std::to_string(i));
    if (names.empty()) names.push_back("cuda");  // says why there is none
  } else {
    names.push_back(device);
  }
  std::vector<std::unique_ptr<Ops>> all;
  for (const std::string& name : names) {
    auto ops = make_ops(name, pool, precision);
    if (!ops.ok()) return ops.error();
    all.push_back(std::move(ops.value()));
  }
  return all;
}

}  // namespace smhdr
