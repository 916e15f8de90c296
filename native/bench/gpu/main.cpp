// smhdr_gpu_bench: the CUDA kernels, the network, a training step and the radiance merge on this machine's device.
#include <cstring>

#include "gpu.h"

using namespace smhdr;
using namespace smhdr::bench::gpu;

int main(int argc, char** argv) {
  Setting setting;
  std::string device = "cuda";
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--quick") == 0) {
      setting.quick = true;
    } else if (std::strcmp(argv[i], "--device") == 0 && i + 1 < argc) {
      device = argv[++i];
    } else {
      std::fprintf(stderr, "smhdr_gpu_bench [--quick] [--device cuda:0 | shim]\n");
      return 2;
    }
  }
  ThreadPool pool;
#if defined(SMHDR_HAS_CUDA_SHIM)
  if (device == "shim") {
    setting.make_ops = [](Precision precision) { return cuda::shim::make_ops(0, precision); };
    setting.make_merge_device = [] { return cuda::shim::make_merge_device(0); };
  }
#endif
  if (!setting.make_ops) {
    setting.make_ops = [&](Precision precision) { return make_ops(device, pool, precision); };
    setting.make_merge_device = [&] { return make_merge_device(device); };
  }
  const auto ops = setting.make_ops(Precision::fp32);
  if (!ops.ok()) {
    std::printf("no device: %s\n", ops.error().message.c_str());
    return 3;
  }
  setting.bf16 = setting.make_ops(Precision::bf16).ok();
  std::printf("device: %s\n", Result<std::unique_ptr<Ops>>(setting.make_ops(Precision::fp32)).value()->name());
  compare_precisions(setting);
  time_network(setting);
  time_training(setting);
  time_kernels(setting);
  time_merge(setting);
  return 0;
}
