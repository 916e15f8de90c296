#include "smhdr/radiance_hdr.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

namespace smhdr {
namespace {

constexpr int64_t kLongestRun = 127, kLongestLiteral = 128, kShortestRun = 4;

/// What brings light to mantissas, by the exponent's byte; 0 holds nothing.
const std::array<double, 258> kScales = [] {
  std::array<double, 258> scales{};
  for (int exponent = 1; exponent < 258; ++exponent) scales[exponent] = std::ldexp(1.0, 136 - exponent);
  return scales;
}();
/// The mantissa bits from which on the largest mantissa, 128 to 256, rounds up to 256: those of 255.5.
constexpr uint32_t kRoundsUp = 0x7f8000;
const float kLargest = std::ldexp(255.0f, 119);  // mantissa 255 at exponent 255

/// One line as four planes, one after the other: red, green, blue, exponent.
void to_planes(const float* rgb, int64_t width, uint8_t* planes) {
  uint8_t *red = planes, *green = red + width, *blue = green + width, *exponents = blue + width;
  const auto clamp = [](float v) { return v > 0 ? std::min(v, kLargest) : 0.0f; };  // NaN > 0 is false
  for (int64_t x = 0; x < width; ++x, rgb += 3) {
    const float r = clamp(rgb[0]), g = clamp(rgb[1]), b = clamp(rgb[2]);
    const uint32_t bits = std::bit_cast<uint32_t>(std::max({r, g, b})), biased = bits >> 23;
    // The exponent e with 128 <= largest mantissa < 256; float32 exponents are biased by 127, RGBE's by 128 + 8 bits.
    // float32 subnormals are below what is worth keeping.
    const uint32_t exponent = biased == 0 ? 0 : biased + 2 + ((bits & 0x7fffff) >= kRoundsUp);
    const double scale = kScales[exponent];
    red[x] = static_cast<uint8_t>(static_cast<int>(r * scale + 0.5));
    green[x] = static_cast<uint8_t>(static_cast<int>(g * scale + 0.5));
    blue[x] = static_cast<uint8_t>(static_cast<int>(b * scale + 0.5));
    exponents[x] = static_cast<uint8_t>(exponent);
  }
}

uint64_t eight(const uint8_t* p) {
  uint64_t word;
  std::memcpy(&word, p, 8);
  return word;
}

/// The first byte from `at` on that begins four equal ones, or the end.
const uint8_t* next_run(const uint8_t* at, const uint8_t* end) {
  constexpr uint64_t kOnes = 0x0101010101010101, kTops = 0x8080808080808080;
  while (at + 9 <= end) {
    // Zero where a byte equals the next one: noise has hardly any, and eight bytes pass at once.
    const uint64_t differences = eight(at) ^ eight(at + 1);
    if (((differences - kOnes) & ~differences & kTops) == 0) {
      at += 8;
      continue;
    }
    for (const uint8_t* stop = at + 6; at < stop; ++at)
      if (at[0] == at[1] && at[1] == at[2] && at[2] == at[3]) return at;
  }
  for (; at + kShortestRun <= end; ++at)
    if (at[0] == at[1] && at[1] == at[2] && at[2] == at[3]) return at;
  return end;
}

/// Runs of at least four equal bytes as (128 + count, byte), the rest as (count, bytes...).
uint8_t* encode_plane(const uint8_t* at, const uint8_t* end, uint8_t* out) {
  while (at < end) {
    const uint8_t* run = next_run(at, end);
    while (at < run) {
      const int64_t count = std::min<int64_t>(kLongestLiteral, run - at);
      *out++ = static_cast<uint8_t>(count);
      std::memcpy(out, at, static_cast<size_t>(count));
      out += count, at += count;
    }
    if (run == end) break;
    const uint8_t *last = std::min(end, run + kLongestRun), value = *run;
    while (at < last && *at == value) ++at;
    *out++ = static_cast<uint8_t>(128 + (at - run));
    *out++ = value;
  }
  return out;
}

}  // namespace

int64_t encode_rgbe_lines(const float* rgb, int64_t width, int64_t lines, uint8_t* planes, uint8_t* out) {
  const uint8_t* begin = out;
  for (int64_t y = 0; y < lines; ++y) {
    to_planes(rgb + y * width * 3, width, planes);
    if (width < 8 || width > 32767) {
      for (int64_t x = 0; x < width; ++x)
        for (int64_t c = 0; c < 4; ++c) *out++ = planes[c * width + x];
      continue;
    }
    *out++ = 2, *out++ = 2, *out++ = static_cast<uint8_t>(width >> 8), *out++ = static_cast<uint8_t>(width & 255);
    for (int64_t c = 0; c < 4; ++c) out = encode_plane(planes + c * width, planes + (c + 1) * width, out);
  }
  return out - begin;
}

}  // namespace smhdr
