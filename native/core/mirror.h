// What lies beyond a picture's border: the picture, mirrored at its outermost pixels without repeating them.
#pragma once

#include <cstdint>

namespace smhdr {

/// The place from 0 to length - 1 that is seen at `at`.
inline int64_t mirror(int64_t at, int64_t length) {
  if (length == 1) return 0;
  const int64_t period = 2 * (length - 1), within = (at % period + period) % period;
  return within < length ? within : period - within;
}

}  // namespace smhdr
