// The merge without a network: with the exposures on the device, beside what reading them and writing the result once
// would take at the card's own copying speed, and from the host's memory to the host's memory.
#include "smhdr/merge.h"

#include <cmath>
#include <cstring>

#include "gpu.h"
#include "merge/merge_device.h"

namespace smhdr::bench::gpu {
namespace {

/// A ramp that repeats, in three exposures two stops apart: any values take the same time.
std::vector<unsigned char> photograph(int64_t samples, int64_t width, PixelDepth depth, int exposure) {
  const bool small = depth == PixelDepth::uint8;
  std::vector<unsigned char> bytes(samples * (small ? 1 : 2));
  for (int64_t at = 0; at < samples; ++at) {
    const float light = 0.05f * std::exp2(2.0f * static_cast<float>(exposure)) * (0.3f + 1e-4f * float(at / 3 % width));
    const auto code = static_cast<uint16_t>(std::sqrt(std::fmin(light, 1.0f)) * 65535);
    if (small)
      bytes[at] = static_cast<unsigned char>(code >> 8);
    else
      std::memcpy(&bytes[2 * at], &code, 2);
  }
  return bytes;
}

void time_one(const Setting& setting, const char* name, int64_t width, int64_t height, PixelDepth depth, bool aligned,
              double copy) {
  const int64_t samples = width * height * 3;
  MergeOptions options;
  options.width = width;
  options.height = height;
  options.depth = depth;
  options.reference = 1;
  const int codes = depth == PixelDepth::uint8 ? 256 : 65536;
  for (int i = 0; i < codes; ++i) options.transfer.push_back(std::pow(float(i) / float(codes - 1), 2.0f));
  std::vector<std::vector<unsigned char>> pixels;
  std::vector<ExposureRows> rows;
  for (int i = 0; i < 3; ++i) {
    options.exposures.push_back({2.0 * i, {}});
    if (aligned && i != 1)
      options.exposures.back().alignment = std::array<double, 9>{1, 0.001, 3.3, -0.001, 1, -2.2, 0, 0, 1};
    pixels.push_back(photograph(samples, width, depth, i));
    rows.push_back({pixels.back().data(), 0, height});
  }
  const double bytes = 3 * double(pixels[0].size()) + 4 * double(samples);
  const auto merger = RadianceMerger::create(std::move(options));
  if (!merger.ok()) check(merger.error(), "merge");
  const auto device = std::move(setting.make_merge_device().value());
  std::vector<float> out(samples);
  std::vector<double> kernel, whole;
  for (int i = setting.quick ? 0 : -2; i < (setting.quick ? 1 : 9); ++i) {
    double once = 0;
    const double all = seconds_of([&] {
      check(device->load(merger.value().model(), rows, 0, height), "merge");
      once = seconds_of([&] { check(device->run(), "merge"); });
      check(device->fetch(out.data()), "merge");
    });
    if (i >= 0) kernel.push_back(once), whole.push_back(all);
  }
  std::printf("%-36s %10.3f %15.0f%% %16.1f\n", name, 1e3 * median(kernel), 100 * bytes / copy / median(kernel),
              1e3 * median(whole));
  std::fflush(stdout);
}

}  // namespace

void time_merge(const Setting& setting) {
  const auto ops = std::move(setting.make_ops(Precision::fp32).value());
  const double copy = copy_bytes_per_second(*ops, setting.quick);
  const int width = setting.quick ? 45 : 6000, height = setting.quick ? 19 : 4000;
  std::printf("\nmerge without a network, three exposures, %d x %d; copying moves %.0f GB/s\n", width, height,
              copy / 1e9);
  std::printf("%-36s %10s %16s %16s\n", "", "ms", "copy's time", "with copies, ms");
  time_one(setting, "radiance merge, 8 bits", width, height, PixelDepth::uint8, false, copy);
  time_one(setting, "radiance merge, 16 bits", width, height, PixelDepth::uint16, false, copy);
  time_one(setting, "radiance merge, 16 bits, aligned", width, height, PixelDepth::uint16, true, copy);
}

}  // namespace smhdr::bench::gpu
