// How large a picture may be: sides whose products with a few values a pixel fit into 64 bits by far.
#pragma once

#include <cstdint>
#include <string>

#include "smhdr/status.h"

namespace smhdr {

constexpr int64_t kMostSide = int64_t(1) << 24;

inline Status check_picture_size(int64_t width, int64_t height) {
  if (width >= 1 && height >= 1 && width <= kMostSide && height <= kMostSide) return {};
  return invalid_argument("width and height: expected 1 to 2^24, got " + std::to_string(width) + " x " +
                          std::to_string(height) + ".");
}

}  // namespace smhdr
