// What every part asks of the arrays it is given.
#pragma once

#include <napi.h>

#include <array>
#include <cstdint>
#include <string>

#include "smhdr/merge.h"

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

/// The first byte of a typed array.
inline uint8_t* data_of(const Napi::TypedArray& array) {
  return static_cast<uint8_t*>(array.ArrayBuffer().Data()) + array.ByteOffset();
}

/// The first numbers of an array.
template <size_t Count>
std::array<double, Count> numbers(const Napi::Value& value) {
  const Napi::Array given = value.As<Napi::Array>();
  std::array<double, Count> out{};
  for (uint32_t i = 0; i < Count; ++i) out[i] = given.Get(i).As<Napi::Number>().DoubleValue();
  return out;
}

inline Napi::Array to_pair(Napi::Env env, int64_t first, int64_t second) {
  Napi::Array pair = Napi::Array::New(env, 2);
  pair.Set(0u, double(first));
  pair.Set(1u, double(second));
  return pair;
}

inline PixelDepth depth_of(const std::string& name) {
  return name == "uint8" ? PixelDepth::uint8 : name == "uint16" ? PixelDepth::uint16 : PixelDepth::float32;
}

/// Of the arrays that hold samples of a depth.
inline napi_typedarray_type type_of(PixelDepth depth) {
  return depth == PixelDepth::uint8    ? napi_uint8_array
         : depth == PixelDepth::uint16 ? napi_uint16_array
                                       : napi_float32_array;
}

}  // namespace smhdr::addon
