// Tensors by name between JS and the core.
#pragma once

#include <napi.h>

#include "smhdr/network.h"

namespace smhdr::addon {

/// { name: { shape: number[], data: Float32Array } } as views of the arrays' memory. Throws where a shape does not fit.
ParameterMap read_tensors(const Napi::Object& tensors);

/// The same object, copied from `values`, which lie in the order of `shapes`.
Napi::Object write_tensors(Napi::Env env, const std::map<std::string, std::vector<int64_t>>& shapes,
                           const std::vector<float>& values);

}  // namespace smhdr::addon
