// The devices by the names that --device takes.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "ops/cuda_ops.h"
#include "ops/ops.h"
#include "smhdr/status.h"

namespace smhdr {

/// Where this build has no CUDA, the absence says so.
cuda::Machine find_cuda_devices();

/// "cpu", "cuda" (the first that can be used) or "cuda:1". `pool` must outlive the ops. Unsupported: there is no such
/// device, or it has no products of bfloat16.
Result<std::unique_ptr<Ops>> make_ops(const std::string& device, ThreadPool& pool, Precision precision);

/// The same, and "cuda:all" for all that can be used: one or more.
Result<std::vector<std::unique_ptr<Ops>>> make_every_ops(const std::string& device, ThreadPool& pool,
                                                         Precision precision);

/// The names of make_ops() for the radiance merge; null for "cpu", which needs none.
Result<std::unique_ptr<MergeDevice>> make_merge_device(const std::string& device);

}  // namespace smhdr
