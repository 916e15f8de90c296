// Random numbers whose whole state is one number, so that it is easily stored: splitmix64 (Steele, Lea, Flood, 2014).
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>

namespace smhdr {

inline uint64_t next_random(uint64_t& state) {
  uint64_t z = (state += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

/// In [0, 1).
inline double uniform(uint64_t& state) { return static_cast<double>(next_random(state) >> 11) * 0x1p-53; }

/// Mean 0, deviation 1 (Box and Muller).
inline double normal(uint64_t& state) {
  const double radius = std::sqrt(-2 * std::log(1 - uniform(state)));
  return radius * std::cos(2 * std::numbers::pi * uniform(state));
}

}  // namespace smhdr
