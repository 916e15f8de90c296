// Every kernel against the plain loops, strips against the whole image, threads against one, bad calls against errors.
#include "smhdr/merge.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "check.h"
#include "core/cpu_isa.h"
#include "merge/merge_device.h"
#include "ops/cpu/radiance_merge.h"
#include "ops/devices.h"
#include "ops/reference/radiance_merge.h"

#if defined(SMHDR_HAS_CUDA_SHIM)
#include "ops/cuda/shim/runtime.h"
#endif

using namespace smhdr;

namespace {

struct Scene {
  MergeOptions options;
  std::vector<std::vector<unsigned char>> pixels;

  std::vector<ExposureRows> rows(const std::vector<RowSpan>& spans) const {
    const int64_t line = options.width * 3 * sample_bytes();
    std::vector<ExposureRows> out;
    for (size_t i = 0; i < pixels.size(); ++i)
      out.push_back({pixels[i].data() + spans[i].begin * line, spans[i].begin, spans[i].end});
    return out;
  }
  int64_t sample_bytes() const {
    return options.depth == PixelDepth::uint8 ? 1 : options.depth == PixelDepth::uint16 ? 2 : 4;
  }
};

/// Texture, noise, clipped and dark regions, something that differs between exposures, an aligned exposure.
Scene make_scene(int64_t width, int64_t height, int count, PixelDepth depth, bool curve, bool aligned, uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(0, 1);
  Scene scene;
  MergeOptions& o = scene.options;
  o.width = width;
  o.height = height;
  o.depth = depth;
  o.reference = count / 2;
  const int codes = depth == PixelDepth::uint8 ? 256 : depth == PixelDepth::uint16 ? 65536 : curve ? 1000 : 0;
  for (int i = 0; i < codes; ++i) o.transfer.push_back(std::pow(i / (codes - 1.0f), 2.2f));
  std::vector<float> radiance(width * height * 3);
  for (int64_t at = 0; at < width * height * 3; ++at) {
    const int64_t x = at / 3 % width, y = at / 3 / width;
    radiance[at] =
        0.3f * std::exp(4 * std::sin(x * 0.11f + at % 3) * std::cos(y * 0.07f) - 2) * (1 + 0.1f * uniform(random));
  }
  for (int i = 0; i < count; ++i) {
    MergeExposure e;
    e.exposure_value = 1.5 * i;
    // No pixel of these sizes falls exactly on the border of the exposure, where rounding decides whether it is seen.
    if (aligned && i != o.reference)
      e.alignment = std::array<double, 9>{1, 0.0123, 1.317 - i, -0.0131, 1, 0.713, 1.1e-5, 0, 1};
    o.exposures.push_back(e);
    std::vector<unsigned char> bytes(width * height * 3 * scene.sample_bytes());
    for (int64_t at = 0; at < width * height * 3; ++at) {
      const int64_t x = at / 3 % width, y = at / 3 / width;
      float light = radiance[at] * std::exp2(1.5f * i) + 0.01f * (uniform(random) - 0.5f);
      if (x > 20 * i && x < 20 * i + 15 && y > 5 && y < 25) light = 0.4f;
      light = std::clamp(light, 0.0f, 1.0f);
      const float stored = codes > 0 ? std::pow(light, 1 / 2.2f) : light;
      if (depth == PixelDepth::uint8) {
        bytes[at] = static_cast<unsigned char>(std::lround(stored * 255));
      } else if (depth == PixelDepth::uint16) {
        const auto code = static_cast<uint16_t>(std::lround(stored * 65535));
        std::memcpy(&bytes[2 * at], &code, 2);
      } else {
        const float value = at % 97 == 5 ? std::nanf("") : at % 89 == 3 ? 1e9f : stored;
        std::memcpy(&bytes[4 * at], &value, 4);
      }
    }
    scene.pixels.push_back(std::move(bytes));
  }
  return scene;
}

RadianceMerger prepare(const Scene& scene, std::unique_ptr<MergeDevice> device = nullptr) {
  RadianceMerger merger = std::move(RadianceMerger::create(scene.options, std::move(device)).value());
  for (const RowSpan& band : merger.analysis_bands()) {
    std::vector<RowSpan> spans;
    for (size_t i = 0; i < scene.pixels.size(); ++i)
      spans.push_back(merger.source_rows(static_cast<int>(i), band.begin, band.end));
    CHECK(merger.analyse(band, scene.rows(spans)).ok());
  }
  merger.finish_analysis();
  return merger;
}

std::vector<float> merge_strips(const Scene& scene, const RadianceMerger& merger, int64_t strip, int threads) {
  ThreadPool pool(threads);
  std::vector<float> out(scene.options.width * scene.options.height * 3, -1);
  for (int64_t y0 = 0; y0 < scene.options.height; y0 += strip) {
    const int64_t y1 = std::min(y0 + strip, scene.options.height);
    std::vector<RowSpan> spans;
    for (size_t i = 0; i < scene.pixels.size(); ++i) spans.push_back(merger.source_rows(static_cast<int>(i), y0, y1));
    CHECK(merger.merge(y0, y1, scene.rows(spans), &out[y0 * scene.options.width * 3], pool).ok());
  }
  return out;
}

/// The CUDA kernel on its shim, with the shared memory of several GPUs, on which its tiles depend, and on the GPU there
/// is.
std::vector<std::unique_ptr<MergeDevice>> merge_devices() {
  std::vector<std::unique_ptr<MergeDevice>> devices;
#if defined(SMHDR_HAS_CUDA_SHIM)
  for (const size_t kib : {64, 99, 227}) {
    cuda_shim::machine.shared_bytes = kib << 10;
    devices.push_back(std::move(cuda::shim::make_merge_device(0).value()));
  }
#endif
  static const bool gpu = find_cuda_devices().absence.empty();
  if (gpu) devices.push_back(std::move(make_merge_device("cuda").value()));
  return devices;
}

/// Single precision against double. Rounding shows most on the steep ramp from trust to rejection, on few pixels.
void compare(const MergeModel& m, const char* name, const std::vector<float>& out, const std::vector<float>& expected) {
  float worst = 0;
  double sum = 0;
  for (size_t i = 0; i < out.size(); ++i) {
    worst = std::max(worst, std::abs(out[i] - expected[i]));
    sum += std::abs(out[i] - expected[i]);
  }
  if (!CHECK(worst <= 5e-4f && sum <= 1e-6 * static_cast<double>(out.size())))
    std::printf("  %s, %ld x %ld, %d exposures: off by %g, mean %g\n", name, long(m.width), long(m.height), m.exposures,
                worst, sum / static_cast<double>(out.size()));
}

void check_kernels(const Scene& scene) {
  const RadianceMerger merger = prepare(scene);
  const MergeModel& m = merger.model();
  const std::vector<RowSpan> whole(scene.pixels.size(), RowSpan{0, m.height});
  const auto rows = scene.rows(whole);
  std::vector<float> expected(m.width * m.height * 3);
  reference::radiance_merge(m, rows, expected.data());
  bool in_range = true;
  for (float v : expected) in_range = in_range && v >= 0 && v <= 1;
  CHECK(in_range);

  struct {
    CpuIsa isa;
    cpu::MergeBlock kernel;
    cpu::MergeScratch scratch;
  } const kernels[] = {
    {CpuIsa::generic, cpu::generic::radiance_merge, cpu::generic::radiance_merge_scratch},
#if defined(SMHDR_HAS_AVX2)
    {CpuIsa::avx2, cpu::avx2::radiance_merge, cpu::avx2::radiance_merge_scratch},
    {CpuIsa::avx512, cpu::avx512::radiance_merge, cpu::avx512::radiance_merge_scratch},
#endif
#if defined(SMHDR_HAS_NEON)
    {CpuIsa::neon, cpu::neon::radiance_merge, cpu::neon::radiance_merge_scratch},
#endif
  };
  for (const auto& k : kernels) {
    if (!cpu_has(k.isa)) {
      ++test::skipped;
      std::printf("skipped: no %s here\n", cpu_isa_name(k.isa));
      continue;
    }
    std::vector<float> out(expected.size(), -1);
    std::vector<std::max_align_t> memory(k.scratch(m) / sizeof(std::max_align_t) + 8);
    void* scratch = memory.data();
    size_t space = memory.size() * sizeof(std::max_align_t);
    std::align(64, k.scratch(m), scratch, space);
    for (int64_t x0 = 0; x0 < m.width; x0 += cpu::kMergeColumns)
      k.kernel(m, rows.data(), x0, 0, m.height, &out[x0 * 3], m.width * 3, scratch);
    compare(m, cpu_isa_name(k.isa), out, expected);
  }

  const auto devices = merge_devices();
  for (const auto& device : devices) {
    std::vector<float> out(expected.size(), -1);
    CHECK(device->merge(m, rows, 0, m.height, out.data()).ok());
    compare(m, device->name(), out, expected);
  }
}

/// A device merges as the processor does, whatever the strips.
void check_strips_on_devices() {
  const Scene scene = make_scene(67, 45, 4, PixelDepth::uint16, true, true, 11);
  const auto expected = merge_strips(scene, prepare(scene), 45, 1);
  for (size_t i = 0; i < merge_devices().size(); ++i) {
    std::vector<float> whole;
    for (const int64_t strip : {45, 1, 13}) {
      const RadianceMerger merger = prepare(scene, std::move(merge_devices()[i]));
      const auto out = merge_strips(scene, merger, strip, 1);
      CHECK(merger.device_failure().empty());
      compare(merger.model(), "strips", out, expected);
      if (whole.empty()) whole = out;
      CHECK(out == whole);
    }
  }
}

/// What fails in the way asked for.
class FailingDevice final : public MergeDevice {
 public:
  FailingDevice(int64_t good_rows, Status status) : good_rows_(good_rows), status_(std::move(status)) {}
  const char* name() const override { return "failing"; }
  Status load(const MergeModel& model, std::span<const ExposureRows>, int64_t y0, int64_t y1) override {
    values_ = (y1 - y0) * model.width * 3;
    return y0 < good_rows_ ? Status() : status_;
  }
  Status run() override { return {}; }
  Status fetch(float* out) override {
    std::fill_n(out, values_, 0.5f);
    return {};
  }

 private:
  int64_t good_rows_, values_ = 0;
  Status status_;
};

/// Where a device cannot, the processor merges the same, and the reason is known.
void check_failing_devices() {
  const Scene scene = make_scene(37, 23, 3, PixelDepth::uint8, true, false, 5);
  const auto expected = merge_strips(scene, prepare(scene), 7, 1);
  const auto fails = [&](std::unique_ptr<MergeDevice> device, const char* reason) {
    const RadianceMerger merger = prepare(scene, std::move(device));
    return merge_strips(scene, merger, 7, 1) == expected && merger.device_failure().find(reason) != std::string::npos;
  };
  CHECK(fails(std::make_unique<FailingDevice>(0, Error{ErrorCode::internal, "it broke"}), "failing: it broke"));
  CHECK(fails(std::make_unique<FailingDevice>(23, Status()), "something else"));
  CHECK(prepare(scene).device_failure().empty());
#if defined(SMHDR_HAS_CUDA_SHIM)
  const size_t all = std::exchange(cuda_shim::machine.memory_left, size_t{1} << 12);
  CHECK(fails(std::move(cuda::shim::make_merge_device(0).value()), "memory"));
  cuda_shim::machine.memory_left = all;
#endif
}

void check_refusals() {
  const auto refused = [](auto change) {
    Scene scene = make_scene(8, 8, 3, PixelDepth::uint8, true, false, 1);
    change(scene.options);
    const auto result = RadianceMerger::create(scene.options);
    return !result.ok() && result.error().code == ErrorCode::invalid_argument;
  };
  CHECK(!refused([](MergeOptions&) {}));
  CHECK(refused([](MergeOptions& o) { o.width = 0; }));
  CHECK(refused([](MergeOptions& o) { o.device = "gpu"; }));
  CHECK(refused([](MergeOptions& o) { o.exposures.resize(1); }));
  CHECK(refused([](MergeOptions& o) { o.exposures.resize(17); }));
  CHECK(refused([](MergeOptions& o) { o.reference = 3; }));
  CHECK(refused([](MergeOptions& o) { o.exposures[1].exposure_value = std::nan(""); }));
  CHECK(refused([](MergeOptions& o) { std::swap(o.exposures[0], o.exposures[2]); }));
  CHECK(refused([](MergeOptions& o) { o.transfer.pop_back(); }));
  CHECK(refused([](MergeOptions& o) { o.transfer[7] = std::nanf(""); }));
  CHECK(refused([](MergeOptions& o) { o.exposures[0].alignment = std::array<double, 9>{INFINITY}; }));

  const Scene scene = make_scene(40, 30, 2, PixelDepth::uint8, true, false, 1);
  const RadianceMerger merger = prepare(scene);
  ThreadPool pool(1);
  std::vector<float> out(40 * 30 * 3);
  CHECK(!merger.merge(10, 20, scene.rows({{10, 20}, {10, 20}}), out.data(), pool).ok());  // without their surroundings
  CHECK(!merger.merge(10, 31, scene.rows({{0, 30}, {0, 30}}), out.data(), pool).ok());
  std::atomic<bool> cancelled{true};
  const Status stopped = merger.merge(0, 30, scene.rows({{0, 30}, {0, 30}}), out.data(), pool, {{}, &cancelled});
  CHECK(!stopped.ok() && stopped.error().code == ErrorCode::cancelled);
}

}  // namespace

int main() {
  uint32_t seed = 0;
  const struct {
    int64_t width, height;
  } sizes[] = {{1, 1}, {1, 9}, {9, 1}, {2, 3}, {37, 23}, {240, 8}, {241, 7}, {263, 35}};
  for (const auto& size : sizes)
    for (const PixelDepth depth : {PixelDepth::uint8, PixelDepth::uint16, PixelDepth::float32})
      for (const int count : {2, 3, 5})
        check_kernels(make_scene(size.width, size.height, count, depth, seed % 2 == 0, seed % 3 == 0, seed + 1)),
            ++seed;
  check_kernels(make_scene(31, 29, 16, PixelDepth::uint8, true, false, 7));
  check_kernels(make_scene(53, 19, 16, PixelDepth::float32, true, true, 8));
  for (const PixelDepth depth : {PixelDepth::uint8, PixelDepth::float32}) {
    // Places on the last column and row themselves.
    Scene scene = make_scene(41, 27, 3, depth, true, false, 9);
    scene.options.exposures[0].alignment = std::array<double, 9>{1, 0, 0, 0, 1, 0.5, 0, 0, 1};
    scene.options.exposures[2].alignment = std::array<double, 9>{1, 0, -0.5, 0, 1, 2, 0, 0, 1};
    check_kernels(scene);
  }
  check_strips_on_devices();
  check_failing_devices();

  for (const bool aligned : {false, true}) {
    const Scene scene = make_scene(301, 157, 4, PixelDepth::uint16, true, aligned, 11);
    const RadianceMerger merger = prepare(scene);
    const auto whole = merge_strips(scene, merger, 157, 1);
    CHECK(*std::min_element(whole.begin(), whole.end()) >= 0);
    for (const int64_t strip : {1, 13, 64})
      for (const int threads : {1, 3}) CHECK(merge_strips(scene, merger, strip, threads) == whole);
  }
  check_refusals();
  return test::finish();
}
