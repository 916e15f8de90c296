#include "smhdr/openexr.h"

#include <algorithm>
#include <bit>
#include <limits>

namespace smhdr {
namespace {

/// The bits of the nearest half, of two the even one; +-65504 for what is beyond it, 0 for NaN.
uint16_t to_half(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value), magnitude = bits & 0x7fffffff;
  const auto sign = uint16_t(bits >> 16 & 0x8000);
  if (magnitude > 0x7f800000) return 0;
  if (magnitude >= 0x477fe000) return sign | 0x7bff;
  // Normal: 13 bits of the mantissa go; a carry runs into the exponent as it must.
  if (magnitude >= 0x38800000) return sign | uint16_t((magnitude - 0x38000000 + 0xfff + (magnitude >> 13 & 1)) >> 13);
  if (magnitude < 0x33000000) return sign;  // below half of the smallest subnormal
  // Subnormal: the mantissa with its leading one in units of 2^-24.
  const uint32_t shift = 126 - (magnitude >> 23), mantissa = (magnitude & 0x7fffff) | 0x800000;
  const uint32_t half = mantissa >> shift, rest = mantissa & ((1u << shift) - 1), tie = 1u << (shift - 1);
  return sign | uint16_t(half + (rest > tie || (rest == tie && (half & 1))));
}

uint32_t to_finite(float value) {
  constexpr float most = std::numeric_limits<float>::max();
  return std::bit_cast<uint32_t>(value == value ? std::clamp(value, -most, most) : 0.0f);
}

/// `bytes` of the value, the lowest first.
template <int bytes>
void put(uint32_t value, uint8_t* out) {
  for (int k = 0; k < bytes; ++k) out[k] = uint8_t(value >> (8 * k));
}

}  // namespace

void pack_openexr_lines(const float* rgb, int64_t width, int64_t lines, bool half, uint8_t* out) {
  for (int64_t y = 0; y < lines; ++y, rgb += 3 * width)
    for (int c = 2; c >= 0; --c)
      for (int64_t x = 0; x < width; ++x) {
        const float value = rgb[3 * x + c];
        if (half)
          put<2>(to_half(value), out), out += 2;
        else
          put<4>(to_finite(value), out), out += 4;
      }
}

void predict_openexr(const uint8_t* bytes, int64_t count, uint8_t* out) {
  const int64_t half = (count + 1) / 2;
  const auto difference = [](uint8_t value, uint8_t before) { return uint8_t(value - before + 128); };
  if (count > 0) out[0] = bytes[0];
  for (int64_t i = 1; i < half; ++i) out[i] = difference(bytes[2 * i], bytes[2 * i - 2]);
  if (count > 1) out[half] = difference(bytes[1], bytes[2 * half - 2]);
  for (int64_t i = half + 1; i < count; ++i) out[i] = difference(bytes[2 * (i - half) + 1], bytes[2 * (i - half) - 1]);
}

}  // namespace smhdr
