// Merging 3 exposures of 24 megapixels: seconds, against copying the bytes it must touch. Prints one JSON object a row.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "core/cpu_isa.h"
#include "smhdr/merge.h"

using namespace smhdr;

namespace {

template <typename Body>
double median_seconds(int rounds, Body body) {
  std::vector<double> seconds;
  for (int round = 0; round < rounds; ++round) {
    const auto start = std::chrono::steady_clock::now();
    body();
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds[rounds / 2];
}

void run(const char* name, PixelDepth depth, bool aligned, ThreadPool& pool) {
  constexpr int64_t width = 6000, height = 4000;
  const bool small = depth == PixelDepth::uint8;
  MergeOptions options;
  options.width = width;
  options.height = height;
  options.depth = depth;
  options.reference = 1;
  const int codes = small ? 256 : 65536;
  for (int i = 0; i < codes; ++i) options.transfer.push_back(std::pow(i / (codes - 1.0f), 2.2f));
  for (int i = 0; i < 3; ++i) {
    options.exposures.push_back({2.0 * i, {}});
    if (aligned && i != 1)
      options.exposures.back().alignment = std::array<double, 9>{1, 0.001, 3.3, -0.001, 1, -2.2, 0, 0, 1};
  }
  const int64_t samples = width * height * 3, bytes = samples * (small ? 1 : 2);
  std::vector<std::vector<unsigned char>> pixels(3, std::vector<unsigned char>(bytes));
  uint32_t state = 1;
  for (int i = 0; i < 3; ++i)
    for (int64_t at = 0; at < samples; ++at) {
      state = state * 1664525 + 1013904223;
      const float light = 0.05f * std::exp2(2.0f * i) * (0.3f + 1e-4f * (at / 3 % width)) * (1 + 1e-11f * state);
      const float stored = std::pow(std::min(light, 1.0f), 1 / 2.2f);
      if (small) {
        pixels[i][at] = static_cast<unsigned char>(stored * 255);
      } else {
        const auto code = static_cast<uint16_t>(stored * 65535);
        std::memcpy(&pixels[i][2 * at], &code, 2);
      }
    }
  std::vector<ExposureRows> rows;
  for (const auto& exposure : pixels) rows.push_back({exposure.data(), 0, height});
  Result<RadianceMerger> merger = RadianceMerger::create(std::move(options));
  if (!merger.ok()) {
    std::printf("%s\n", merger.error().message.c_str());
    std::exit(1);
  }
  std::vector<float> out(samples);
  const auto work = [&] { (void)merger.value().merge(0, height, rows, out.data(), pool).ok(); };
  work();
  const double seconds = median_seconds(3, work);

  // Half of what is touched, copied: as many bytes read and written in all.
  const int64_t touched = 3 * bytes + samples * 4;
  std::vector<unsigned char> from(touched / 2, 1), to(touched / 2);
  const double copy = median_seconds(3, [&] {
    pool.parallel_for(64, [&](int64_t item, int) {
      const int64_t part = touched / 128;
      std::memcpy(to.data() + item * part, from.data() + item * part, part);
    });
  });
  std::printf(
      "{\"name\":\"%s\",\"seconds\":%.4f,\"threads\":%d,\"gigabytesPerSecond\":%.2f,\"copySeconds\":%.4f,\"isa\":\"%"
      "s\"}\n",
      name, seconds, pool.threads(), touched / seconds * 1e-9, copy, cpu_isa_name(cpu_isa()));
}

}  // namespace

int main() {
  ThreadPool pool;
  run("merge/3x24MP", PixelDepth::uint16, false, pool);
  run("merge/3x24MP/uint8", PixelDepth::uint8, false, pool);
  run("merge/3x24MP/aligned", PixelDepth::uint16, true, pool);
}
