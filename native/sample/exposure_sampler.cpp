#include <algorithm>
#include <cmath>
#include <string>

#include "core/mirror.h"
#include "core/picture_size.h"
#include "ops/cpu/exposure_sampling.h"
#include "smhdr/sample.h"

namespace smhdr {
namespace {

constexpr int64_t kFarthest = int64_t(1) << 30;
constexpr int64_t kLines = 64;  // of a piece of work

/// The least and the greatest place that a run of places is mirrored to.
RowSpan mirrored(int64_t begin, int64_t count, int64_t length) {
  RowSpan span{length, 0};
  // After a period all has been seen.
  for (int64_t i = 0; i < std::min(count, 2 * length); ++i) {
    const int64_t at = mirror(begin + i, length);
    span = {std::min(span.begin, at), std::max(span.end, at + 1)};
  }
  return span;
}

}  // namespace

struct ExposureSampler::State {
  SampleOptions options;
  cpu::SampledExposure exposure;
  cpu::SampleRows kernel = cpu::sample_rows(cpu_isa());
};

ExposureSampler::ExposureSampler(std::unique_ptr<State> state) : state_(std::move(state)) {}
ExposureSampler::ExposureSampler(ExposureSampler&&) noexcept = default;
ExposureSampler::~ExposureSampler() = default;

Result<ExposureSampler> ExposureSampler::create(SampleOptions o) {
  const auto text = [](auto value) { return std::to_string(value); };
  if (Status status = check_picture_size(o.width, o.height); !status.ok()) return status.error();
  const size_t codes = o.depth == PixelDepth::uint8 ? 256 : 65536;
  if (o.depth == PixelDepth::float32 ? o.transfer.size() == 1 : o.transfer.size() != codes)
    return invalid_argument("transfer: expected " + text(codes) + " values (float32: none, or at least 2), got " +
                            text(o.transfer.size()) + ".");
  if (!std::all_of(o.transfer.begin(), o.transfer.end(), [](float v) { return v >= 0 && v <= 1; }))
    return invalid_argument("transfer: expected values from 0 to 1.");
  if (o.curve.size() != cpu::kCurveSteps + 2)
    return invalid_argument("curve: expected " + text(cpu::kCurveSteps + 2) + " values, got " + text(o.curve.size()) +
                            ".");
  if (o.gain != 1 && !o.transfer.empty()) return invalid_argument("gain: expected 1 where there is a transfer.");
  if (!(o.gain > 0 && std::isfinite(o.gain)))
    return invalid_argument("gain: expected more than 0, got " + text(o.gain) + ".");
  if (!(o.scale > 0 && std::isfinite(o.scale)))
    return invalid_argument("scale: expected more than 0, got " + text(o.scale) + ".");
  if (o.alignment && !std::all_of(o.alignment->begin(), o.alignment->end(), [](double v) { return std::isfinite(v); }))
    return invalid_argument("alignment: expected 9 finite numbers.");

  auto state = std::make_unique<State>();
  state->options = std::move(o);
  const SampleOptions& own = state->options;
  cpu::SampledExposure& e = state->exposure;
  e.width = own.width, e.height = own.height, e.depth = own.depth;
  e.table = own.transfer.empty() ? nullptr : own.transfer.data();
  e.table_size = int64_t(own.transfer.size());
  e.gain = own.gain, e.scale = own.scale, e.curve = own.curve.data();
  e.aligned = own.alignment.has_value();
  if (e.aligned) std::copy(own.alignment->begin(), own.alignment->end(), e.homography);
  return ExposureSampler(std::move(state));
}

Result<RowSpan> ExposureSampler::source_rows(const SampleRegion& r) const {
  const cpu::SampledExposure& e = state_->exposure;
  const auto within = [](int64_t at, int64_t side) {
    return at >= -kFarthest && at <= kFarthest && side >= 1 && side <= kMostSide;
  };
  if (!within(r.x, r.width) || !within(r.y, r.height))
    return invalid_argument("region: expected sides from 1 to 2^24, near the image, got " + std::to_string(r.width) +
                            " x " + std::to_string(r.height) + " at " + std::to_string(r.x) + ", " +
                            std::to_string(r.y) + ".");
  const RowSpan rows = mirrored(r.y, r.height, e.height), columns = mirrored(r.x, r.width, e.width);
  if (!e.aligned) return rows;
  // A homography takes straight edges to straight edges: the corners bound the rest while none lies behind the camera.
  double low = double(e.height), high = 0;
  const double* h = e.homography;
  for (const int64_t y : {rows.begin, rows.end - 1})
    for (const int64_t x : {columns.begin, columns.end - 1}) {
      const double w = h[6] * double(x) + h[7] * double(y) + h[8];
      if (!(w > 0)) return RowSpan{0, e.height};
      const double at = (h[3] * double(x) + h[4] * double(y) + h[5]) / w;
      if (!std::isfinite(at)) return RowSpan{0, e.height};
      low = std::min(low, at), high = std::max(high, at);
    }
  const double last = double(e.height - 1);
  // The cubic takes a row before and two after; one more for rounding. What lies beyond the border is the border's.
  const int64_t begin = int64_t(std::clamp(std::floor(low), 0.0, last)) - 2;
  const int64_t end = int64_t(std::clamp(std::floor(high), 0.0, last)) + 4;
  return RowSpan{std::max<int64_t>(begin, 0), std::min(end, e.height)};
}

Status ExposureSampler::sample(const SampleRegion& r, const ExposureRows& rows, float* out, ThreadPool& pool) const {
  const cpu::SampledExposure& e = state_->exposure;
  const Result<RowSpan> found = source_rows(r);
  if (!found.ok()) return found.error();
  const RowSpan needed = found.value();
  if (!rows.data || rows.begin > needed.begin || rows.end < needed.end || rows.begin < 0 || rows.end > e.height)
    return invalid_argument("rows: expected " + std::to_string(needed.begin) + " to " + std::to_string(needed.end) +
                            ", got " + std::to_string(rows.begin) + " to " + std::to_string(rows.end) + ".");
  std::vector<int32_t> columns(
      size_t((r.width + cpu::kSampledColumns - 1) / cpu::kSampledColumns * cpu::kSampledColumns));
  for (size_t i = 0; i < columns.size(); ++i)
    columns[i] = int32_t(mirror(r.x + std::min(int64_t(i), r.width - 1), e.width));
  std::vector<int32_t> lines(r.height);
  for (int64_t j = 0; j < r.height; ++j) lines[j] = int32_t(mirror(r.y + j, e.height));
  const int64_t across = int64_t(columns.size()) / cpu::kSampledColumns, down = (r.height + kLines - 1) / kLines;
  pool.parallel_for(across * down, [&](int64_t item, int) {
    const int64_t x = item % across * cpu::kSampledColumns, y = item / across * kLines;
    const int count = int(std::min<int64_t>(cpu::kSampledColumns, r.width - x));
    const int line_count = int(std::min(kLines, r.height - y));
    state_->kernel(e, rows, columns.data() + x, count, lines.data() + y, line_count, out + (y * r.width + x) * 6,
                   r.width * 6);
  });
  return {};
}

}  // namespace smhdr
