// Timing for the native benchmarks: medians of interleaved runs.
#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <vector>

namespace smhdr::bench {

inline double seconds_of(const std::function<void()>& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// What each of `samples` returns, the samples taken in turn `rounds` times after one round that is not counted: what
/// slows the machine down slows all of them. Compare them round by round. [sample][round]
inline std::vector<std::vector<double>> interleaved(int rounds, const std::vector<std::function<double()>>& samples) {
  std::vector<std::vector<double>> values(samples.size());
  for (int round = -1; round < rounds; ++round)
    for (size_t i = 0; i < samples.size(); ++i) {
      const double value = samples[i]();
      if (round >= 0) values[i].push_back(value);
    }
  return values;
}

}  // namespace smhdr::bench
