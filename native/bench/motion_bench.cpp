// Following movement: its kernels over a megapixel, and the whole between two exposures of one.
#include <algorithm>
#include <cmath>
#include <memory>

#include "align/warp.h"
#include "bench.h"
#include "core/cpu_isa.h"
#include "core/for_rows.h"
#include "ops/cpu/motion_kernels.h"
#include "random_network.h"
#include "smhdr/motion.h"

namespace smhdr::bench {
namespace {

constexpr int64_t kStep = 4;  // between patches, as following takes them

/// What the kernels work on; rows have a margin that they may read.
struct Pictures {
  int64_t side;
  std::vector<std::vector<float>> planes;
  const cpu::MotionKernels& kernels = cpu::motion_kernels(cpu_isa());

  explicit Pictures(int64_t length) : side(length) {
    for (int i = 0; i < 20; ++i) planes.push_back(random_values((side + 2) * (side + 2), i + 1));
  }
  float* row(int plane, int64_t y) { return planes[plane].data() + (y + 1) * (side + 2) + 1; }
  cpu::MotionRows rows(int plane, int64_t y) { return {row(plane, y - 1), row(plane, y), row(plane, y + 1)}; }
  cpu::MotionEquations equations(int64_t y) {
    return {row(10, y), row(11, y), row(12, y), row(13, y), row(14, y), row(15, y), row(16, y)};
  }
};
constexpr cpu::MotionLimits kLimits = {0.05f, 0.03f, 0.03f};

void compare(Pictures& p, int64_t y) {
  if (y % kStep != 0 || y + cpu::kMotionPatch >= p.side) return;
  float sum = 0;
  for (int64_t x = 0; x + cpu::kMotionPatch < p.side; x += kStep)
    sum +=
        p.kernels.compare({p.row(0, y) + x, p.row(1, y) + x, p.row(2, y) + x, p.row(3, y) + x, p.side + 2, 0.3f, 0.7f})
            .squares;
  p.row(4, y)[0] = sum;
}

void warp(Pictures& p, int64_t y) {
  p.kernels.warp({p.planes[0].data(), p.side, p.side}, p.row(1, y), p.row(2, y), y, p.row(3, y));
}

void equations(Pictures& p, int64_t y) {
  p.kernels.equations(p.row(0, y), p.row(1, y), p.row(2, y), p.rows(3, y), p.row(4, y), p.row(5, y), p.rows(6, y),
                      p.side, kLimits, p.equations(y));
}

void relax(Pictures& p, int64_t y) {
  p.kernels.relax(p.equations(y), p.row(16, y - 1), p.rows(4, y), p.rows(5, y), p.side, y & 1, 1.6f, p.row(17, y),
                  p.row(18, y));
}

/// Waves, and before them a square of others, `moved` pixels to the right.
std::vector<float> exposure(int64_t side, float moved) {
  std::vector<float> out(3 * side * side);
  const float low = float(side) / 4, high = 3 * low;
  for (int64_t y = 0, i = 0; y < side; ++y)
    for (int64_t x = 0; x < side; ++x) {
      const float u = float(x) - moved, v = float(y);
      const bool inside = u > low && u < high && v > low && v < high;
      const float light = inside ? 0.3f + 0.1f * std::sin(u / 4) * std::cos(v / 5) + 0.1f * std::sin(u / 90)
                                 : 0.1f + 0.03f * std::sin(float(x) / 5 + v / 7) * std::cos(v / 6);
      for (int c = 0; c < 3; ++c) out[i++] = light;
    }
  return out;
}

}  // namespace

void add_motion(Bench& bench) {
  const auto pictures = std::make_shared<std::unique_ptr<Pictures>>();
  const Variant fp32 = variants().front();
  /// Operations and values touched, for each pixel.
  const auto add = [&](const std::string& name, double operations, double values, void (*work)(Pictures&, int64_t)) {
    bench.add("kernel/motion/" + name, [=, &bench] {
      if (!*pictures) *pictures = std::make_unique<Pictures>(bench.options.quick ? 64 : 1000);
      Pictures& p = **pictures;
      const double pixels = double(p.side * p.side);
      return bench.against_peaks(fp32, operations * pixels, 4 * values * pixels,
                                 [&] { for_rows(p.side, bench.pool, [&](int64_t y) { work(p, y); }); });
    });
  };
  // Every pixel is in four patches: two mixtures of rows and one of columns, a difference, three products and sums.
  add("compare", 4 * 14, 4, compare);
  add("warp", 16, 4, warp);
  add("equations", 42, 14, equations);
  add("relax", 30, 11, relax);
  bench.add("kernel/motion/find", [&bench] {
    const int64_t side = bench.options.quick ? 64 : 1000;
    const std::vector<float> there = exposure(side, 0), here = exposure(side, 9);
    return bench.against_peaks(variants().front(), 0, 8.0 * 3 * double(side * side), [&] {
      const auto found =
          find_motion({there.data(), side, side, 3}, {here.data(), side, side, 3}, 0, align::kIdentity, 1, bench.pool);
      if (!found.ok() || (side > 64 && found.value().count == 0)) std::fprintf(stderr, "smhdr_bench: nothing moved\n");
    });
  });
}

}  // namespace smhdr::bench
