// What every part asks of the arrays it is given.
#pragma once

#include <napi.h>

#include <cstdint>

namespace smhdr::addon {

inline bool is(const Napi::Value& value, napi_typedarray_type type) {
  return value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == type;
}

/// Whether a typed array holds width x height entries of `each` values; by division, so that no product overflows.
inline bool holds(const Napi::Value& value, int64_t width, int64_t height, int64_t each) {
  const int64_t length = int64_t(value.As<Napi::TypedArray>().ElementLength());
  return width >= 1 && height >= 1 && length % each == 0 && length / each % width == 0 &&
         length / each / width == height;
}

}  // namespace smhdr::addon
