// Sampling of exposures: every kernel against the plain loops, cuts and threads against the whole, bad calls against
// errors.
#include "ops/reference/exposure_sampling.h"

#include <algorithm>
#include <cstring>

#include "op_comparison.h"
#include "smhdr/sample.h"

using namespace smhdr;
using namespace smhdr::cpu;
using namespace smhdr::test;

namespace {

// Of 1; a place in a moved exposure is known to about 1e-7 of its width.
constexpr double kTolerance = 2e-6;

struct Photograph {
  SampleOptions options;
  std::vector<unsigned char> pixels;
  int64_t line() const { return int64_t(pixels.size()) / options.height; }
  ExposureRows rows(RowSpan span) const { return {pixels.data() + span.begin * line(), span.begin, span.end}; }
};

enum class Kind { codes8, codes16, linear, curve };
constexpr Kind kKinds[] = {Kind::codes8, Kind::codes16, Kind::linear, Kind::curve};
constexpr std::array<double, 9> kMoved = {0.98, 0.03, 1.7, -0.02, 1.01, -2.3, 1e-5, -2e-5, 1};
// Most of it lies beyond the exposure's border.
constexpr std::array<double, 9> kTurned = {0.70713, 0.70691, -20.1357, -0.70719, 0.70683, 30.2171, 0, 0, 1};
constexpr std::array<double, 9> kAway = {1.5, 0, -30, 0.2, 2, 9, 0, 0, 1};

Photograph photograph(int64_t width, int64_t height, Kind kind) {
  Photograph out;
  SampleOptions& o = out.options;
  o.width = width, o.height = height;
  o.depth = kind == Kind::codes8 ? PixelDepth::uint8 : kind == Kind::codes16 ? PixelDepth::uint16 : PixelDepth::float32;
  o.scale = 0.25f;
  if (kind == Kind::linear) o.gain = 1.5f;
  const int codes = kind == Kind::codes8 ? 256 : kind == Kind::codes16 ? 65536 : kind == Kind::curve ? 1000 : 0;
  for (int i = 0; i < codes; ++i) o.transfer.push_back(float(std::pow(double(i) / (codes - 1), 2.2)));
  for (int i = 0; i < kCurveSteps + 2; ++i)
    o.curve.push_back(float(std::pow(double(i) / kCurveSteps * i / kCurveSteps, 1 / 2.2)));
  const std::vector<float> light = random_values(width * height * 3, 0.4f, 0.5f);  // some below 0 and above 1
  out.pixels.resize(light.size() * (kind == Kind::codes8 ? 1 : kind == Kind::codes16 ? 2 : 4));
  for (size_t i = 0; i < light.size(); ++i) {
    const float within = std::clamp(light[i], 0.0f, 1.0f);
    const auto byte = uint8_t(within * 255);
    const auto code = uint16_t(within * 65535);
    const float value = i % 97 == 5 ? std::nanf("") : light[i];
    if (kind == Kind::codes8) std::memcpy(&out.pixels[i], &byte, 1);
    if (kind == Kind::codes16) std::memcpy(&out.pixels[2 * i], &code, 2);
    if (o.depth == PixelDepth::float32) std::memcpy(&out.pixels[4 * i], &value, 4);
  }
  return out;
}

void test_kernels(int64_t width, int64_t height) {
  for (const Kind kind : kKinds)
    for (const auto* alignment : {static_cast<const std::array<double, 9>*>(nullptr), &kMoved, &kTurned, &kAway}) {
      const Photograph p = photograph(width, height, kind);
      const SampleOptions& o = p.options;
      SampledExposure e{width,
                        height,
                        o.depth,
                        o.transfer.empty() ? nullptr : o.transfer.data(),
                        int64_t(o.transfer.size()),
                        o.gain,
                        alignment != nullptr,
                        {},
                        o.scale,
                        o.curve.data()};
      if (alignment) std::copy(alignment->begin(), alignment->end(), e.homography);
      const int count = int(std::min<int64_t>(width, kSampledColumns));
      int32_t columns[kSampledColumns];
      // Backwards, from the last on: as beyond a border.
      for (int i = 0; i < kSampledColumns; ++i) columns[i] = int32_t(width - 1 - std::min(i, count - 1));
      std::vector<float> expected(count * 6), got(count * 6);
      std::vector<int32_t> lines(height);
      for (int64_t y = 0; y < height; ++y) lines[y] = int32_t(y);
      expected.resize(height * count * 6), got.resize(height * (count * 6 + 2));
      for (int64_t y = 0; y < height; ++y)
        reference::sample_row(e, p.rows({0, height}), columns, count, y, expected.data() + y * count * 6);
      for (const CpuIsa isa : kCpuIsas) {
        if (!cpu_has(isa)) continue;
        std::fill(got.begin(), got.end(), -7.0f);
        sample_rows(isa)(e, p.rows({0, height}), columns, count, lines.data(), int(height), got.data(), count * 6 + 2);
        double worst = 0;
        for (int64_t i = 0; i < height * count * 6; ++i) {
          // The root of little light is steep, and with it what lies between two pixels.
          const double d = std::fabs(double(got[i + i / (count * 6) * 2]) - expected[i]);
          if (!(d <= worst)) worst = std::isnan(d) ? INFINITY : d;
        }
        for (int64_t y = 0; y < height; ++y) CHECK(got[(y + 1) * (count * 6 + 2) - 1] == -7.0f);
        if (!CHECK(worst <= kTolerance + (alignment ? 2e-7 * double(width) : 0)))
          std::printf("  %s, kind %d, %lld x %lld: %g\n", cpu_isa_name(isa), int(kind), (long long)width,
                      (long long)height, worst);
      }
    }
}

/// Any region is what the whole has there, mirrored beyond the borders, for any number of threads.
void test_regions(int64_t width, int64_t height, const std::array<double, 9>* alignment) {
  static ThreadPool one(1), three(3);
  Photograph p = photograph(width, height, Kind::codes16);
  if (alignment) p.options.alignment = *alignment;
  const auto created = ExposureSampler::create(p.options);
  if (!CHECK(created.ok())) return;
  const ExposureSampler& sampler = created.value();
  const auto sample = [&](const SampleRegion& region, ThreadPool& pool) {
    std::vector<float> out(region.width * region.height * 6, -7.0f);
    const Result<RowSpan> span = sampler.source_rows(region);
    if (!CHECK(span.ok())) return out;
    // Copied, so that a sanitizer sees reads of rows that were not asked for.
    const ExposureRows there = p.rows(span.value());
    const std::vector<unsigned char> copy(
        static_cast<const unsigned char*>(there.data),
        static_cast<const unsigned char*>(there.data) + (there.end - there.begin) * p.line());
    CHECK(sampler.sample(region, {copy.data(), there.begin, there.end}, out.data(), pool).ok());
    return out;
  };
  const auto mirror = [](int64_t at, int64_t length) {
    while (at < 0 || at >= length) at = length == 1 ? 0 : at < 0 ? -at : 2 * (length - 1) - at;
    return at;
  };
  const std::vector<float> whole = sample({0, 0, width, height}, one);
  for (const SampleRegion& r : {SampleRegion{0, 0, width, height},
                                {width / 2, height / 3, 1, 1},
                                {-3, -5, width + 9, height + 11},
                                {width - 1, 0, 2 * width + 7, 3},
                                {-2 * width, height + 40, 5, 2 * height}}) {
    const std::vector<float> part = sample(r, three);
    bool same = true;
    for (int64_t j = 0, to = 0; j < r.height; ++j)
      for (int64_t i = 0; i < r.width; ++i, to += 6)
        same &= std::memcmp(&part[to], &whole[(mirror(r.y + j, height) * width + mirror(r.x + i, width)) * 6],
                            6 * sizeof(float)) == 0;
    if (!CHECK(same))
      std::printf("  %lld x %lld at %lld, %lld of %lld x %lld\n", (long long)r.width, (long long)r.height,
                  (long long)r.x, (long long)r.y, (long long)width, (long long)height);
  }
}

void test_bad_calls() {
  const auto refused = [](const char* name, const auto& change) {
    SampleOptions o = photograph(9, 7, Kind::codes8).options;
    change(o);
    const auto created = ExposureSampler::create(o);
    CHECK(!created.ok() && created.error().code == ErrorCode::invalid_argument &&
          created.error().message.find(name) != std::string::npos);
  };
  refused("width", [](SampleOptions& o) { o.width = 0; });
  refused("height", [](SampleOptions& o) { o.height = int64_t(1) << 40; });
  refused("transfer", [](SampleOptions& o) { o.transfer.pop_back(); });
  refused("transfer", [](SampleOptions& o) { o.transfer[3] = std::nanf(""); });
  refused("transfer", [](SampleOptions& o) { o.depth = PixelDepth::float32, o.transfer.resize(1); });
  refused("curve", [](SampleOptions& o) { o.curve.clear(); });
  refused("gain", [](SampleOptions& o) { o.gain = 0; });
  refused("scale", [](SampleOptions& o) { o.scale = INFINITY; });
  refused("alignment", [](SampleOptions& o) { o.alignment = {1, 0, 0, 0, std::nan(""), 0, 0, 0, 1}; });

  ThreadPool one(1);
  Photograph p = photograph(9, 7, Kind::codes8);
  // Its line at infinity crosses the picture, and it is singular: places that are no numbers.
  for (const std::array<double, 9>& h :
       {std::array<double, 9>{1, 0, 0, 0, 1, 0, -0.25, 0, 1}, {0, 0, 0, 0, 0, 0, 0, 0, 0}}) {
    p.options.alignment = h;
    const auto odd = ExposureSampler::create(p.options);
    std::vector<float> out(9 * 7 * 6);
    CHECK(odd.ok() && odd.value().sample({0, 0, 9, 7}, p.rows({0, 7}), out.data(), one).ok());
    CHECK(std::all_of(out.begin(), out.end(), [](float v) { return v >= 0 && v <= 1; }));
  }
  p.options.alignment.reset();
  const auto created = ExposureSampler::create(p.options);
  if (!CHECK(created.ok())) return;
  std::vector<float> out(9 * 7 * 6);
  CHECK(!created.value().sample({0, 2, 9, 3}, p.rows({3, 7}), out.data(), one).ok());
  CHECK(!created.value().sample({0, 2, 9, 3}, p.rows({0, 4}), out.data(), one).ok());
  CHECK(!created.value().sample({0, 0, 9, 7}, {nullptr, 0, 7}, out.data(), one).ok());
  CHECK(!created.value().source_rows({0, 0, 0, 7}).ok());
  CHECK(!created.value().source_rows({int64_t(1) << 62, 0, 1, 1}).ok());
}

}  // namespace

int main() {
  for (const CpuIsa isa : kCpuIsas)
    if (!cpu_has(isa)) {
      ++skipped;
      std::printf("skipped %s: this processor or build has none\n", cpu_isa_name(isa));
    }
  for (const auto& [width, height] :
       {std::pair<int64_t, int64_t>{1, 1}, {1, 40}, {37, 1}, {17, 9}, {256, 5}, {300, 133}})
    test_kernels(width, height);
  for (const auto* alignment : {static_cast<const std::array<double, 9>*>(nullptr), &kMoved, &kTurned})
    for (const auto& [width, height] : {std::pair<int64_t, int64_t>{1, 1}, {5, 3}, {64, 48}, {531, 67}})
      test_regions(width, height, alignment);
  test_bad_calls();
  return finish();
}
