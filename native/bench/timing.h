// Timing for the native benchmarks: the median of repeated runs.
#pragma once

#include <algorithm>
#include <chrono>
#include <vector>

namespace smhdr::bench {

inline double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Median seconds of `body` over at least `runs` runs, after one that is not counted.
template <typename Body>
double median_seconds(int runs, Body body) {
  body();
  std::vector<double> seconds;
  for (int i = 0; i < runs; ++i) {
    const double start = now();
    body();
    seconds.push_back(now() - start);
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds[seconds.size() / 2];
}

}  // namespace smhdr::bench
