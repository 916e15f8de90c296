// The merge without a network: with the exposures on the device, beside what reading them and writing the result once
// would take at the card's own copying speed, and from the host's memory to the host's memory.
#include <utility>

#include "../synthetic_bracket.h"
#include "gpu.h"
#include "merge/merge_device.h"

namespace smhdr::bench::gpu {
namespace {

void time_one(const Setting& setting, const char* name, int64_t width, int64_t height, PixelDepth depth, bool aligned,
              double copy) {
  SyntheticBracket bracket(width, height, depth, aligned);
  const auto merger = RadianceMerger::create(std::move(bracket.options));
  if (!merger.ok()) check(merger.error(), "merge");
  const auto device = std::move(setting.make_merge_device().value());
  std::vector<float> out(bracket.samples);
  std::vector<double> kernel, whole;
  for (int i = setting.quick ? 0 : -2; i < (setting.quick ? 1 : 9); ++i) {
    double once = 0;
    const double all = seconds_of([&] {
      check(device->load(merger.value().model(), bracket.rows, 0, height), "merge");
      once = seconds_of([&] { check(device->run(), "merge"); });
      check(device->fetch(out.data()), "merge");
    });
    if (i >= 0) kernel.push_back(once), whole.push_back(all);
  }
  std::printf("%-36s %10.3f %15.0f%% %16.1f\n", name, 1e3 * median(kernel),
              100 * double(bracket.bytes) / copy / median(kernel), 1e3 * median(whole));
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
