// Merging 3 exposures of 24 megapixels without a network, the merge alone, against copying the bytes it must touch.
#include <cmath>
#include <cstdio>
#include <cstring>

#include "bench.h"
#include "smhdr/merge.h"

namespace smhdr::bench {
namespace {

/// A horizontal ramp with noise, stored with gamma 2.2; every exposure is two stops longer than the one before.
std::vector<unsigned char> photograph(int64_t samples, int64_t width, PixelDepth depth, int exposure) {
  const bool small = depth == PixelDepth::uint8;
  std::vector<unsigned char> pixels(samples * (small ? 1 : 2));
  uint32_t state = 1 + exposure;
  for (int64_t at = 0; at < samples; ++at) {
    state = state * 1664525 + 1013904223;
    const float noise = 1 + 1e-11f * float(state);
    const float light = 0.05f * std::exp2(2.0f * exposure) * (0.3f + 1e-4f * float(at / 3 % width)) * noise;
    const float stored = std::pow(std::min(light, 1.0f), 1 / 2.2f);
    if (small) {
      pixels[at] = static_cast<unsigned char>(stored * 255);
    } else {
      const auto code = static_cast<uint16_t>(stored * 65535);
      std::memcpy(&pixels[2 * at], &code, 2);
    }
  }
  return pixels;
}

Row merge(Bench& bench, PixelDepth depth, bool aligned) {
  const int64_t width = bench.options.quick ? 600 : 6000, height = bench.options.quick ? 40 : 4000;
  const int64_t samples = width * height * 3;
  MergeOptions options;
  options.width = width;
  options.height = height;
  options.depth = depth;
  options.reference = 1;
  const int codes = depth == PixelDepth::uint8 ? 256 : 65536;
  for (int i = 0; i < codes; ++i) options.transfer.push_back(std::pow(float(i) / float(codes - 1), 2.2f));
  std::vector<std::vector<unsigned char>> pixels;
  std::vector<ExposureRows> rows;
  for (int i = 0; i < 3; ++i) {
    options.exposures.push_back({2.0 * i, {}});
    if (aligned && i != 1)
      options.exposures.back().alignment = std::array<double, 9>{1, 0.001, 3.3, -0.001, 1, -2.2, 0, 0, 1};
    pixels.push_back(photograph(samples, width, depth, i));
    rows.push_back({pixels.back().data(), 0, height});
  }
  const int64_t touched = 3 * static_cast<int64_t>(pixels[0].size()) + samples * 4;
  Result<RadianceMerger> merger = RadianceMerger::create(std::move(options));
  if (!merger.ok()) {
    std::fprintf(stderr, "smhdr_bench: %s\n", merger.error().message.c_str());
    return {};
  }
  std::vector<float> out(samples);
  const auto work = [&] {
    if (const Status status = merger.value().merge(0, height, rows, out.data(), bench.pool); !status.ok())
      std::fprintf(stderr, "smhdr_bench: %s\n", status.error().message.c_str());
  };
  const auto times = interleaved(bench.rounds(),
                                 {[&] { return bench.meter.copy(touched).seconds; }, [&] { return seconds_of(work); }});
  Row row;
  row.seconds = median(times[1]);
  row.bytes = double(touched);
  row.copy_seconds = median(times[0]);
  // The peak here is the copy.
  std::vector<double> fractions;
  for (int i = 0; i < bench.rounds(); ++i) fractions.push_back(times[0][i] / times[1][i]);
  row.fraction = median(fractions);
  row.bound = "memory";
  return row;
}

}  // namespace

void add_radiance_merge(Bench& bench) {
  bench.add("kernel/radiance_merge/8bit", [&bench] { return merge(bench, PixelDepth::uint8, false); });
  bench.add("kernel/radiance_merge/16bit", [&bench] { return merge(bench, PixelDepth::uint16, false); });
  bench.add("kernel/radiance_merge/aligned", [&bench] { return merge(bench, PixelDepth::uint16, true); });
}

}  // namespace smhdr::bench
