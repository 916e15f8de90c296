// Rows of a picture, some to a thread at a time.
#pragma once

#include <algorithm>
#include <cstdint>

#include "smhdr/thread_pool.h"

namespace smhdr {

/// Calls body(y, thread) for every row.
template <typename Body>
void for_rows_on(int64_t height, ThreadPool& pool, const Body& body) {
  constexpr int64_t kAtOnce = 16;
  pool.parallel_for((height + kAtOnce - 1) / kAtOnce, [&](int64_t item, int thread) {
    for (int64_t y = item * kAtOnce, end = std::min(height, y + kAtOnce); y < end; ++y) body(y, thread);
  });
}

/// Calls body(y) for every row.
template <typename Body>
void for_rows(int64_t height, ThreadPool& pool, const Body& body) {
  for_rows_on(height, pool, [&](int64_t y, int) { body(y); });
}

}  // namespace smhdr
