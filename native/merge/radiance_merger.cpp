#include <algorithm>
#include <cmath>
#include <cstring>
#include <mutex>
#include <string>

#include "core/cpu_isa.h"
#include "merge/calibration.h"
#include "merge/merge_device.h"
#include "ops/cpu/radiance_merge.h"
#include "ops/devices.h"

namespace smhdr {
namespace {

constexpr int64_t kBlock = 8;          // side of an analysis block
constexpr int64_t kBands = 64;         // rows of blocks looked at
constexpr int64_t kBandSamples = 400;  // blocks looked at in one band
constexpr int64_t kRowsPerItem = 128;
constexpr int64_t kComparedRows = 16;        // by which a device is compared with the processor
constexpr double kComparedTolerance = 1e-3;  // parts of their sum by which the values may differ

struct Point {
  double x, y;
};

Point map(const std::optional<std::array<double, 9>>& alignment, double x, double y) {
  if (!alignment) return {x, y};
  const auto& h = *alignment;
  const double w = h[6] * x + h[7] * y + h[8];
  return {(h[0] * x + h[1] * y + h[2]) / w, (h[3] * x + h[4] * y + h[5]) / w};
}

Status merge_on_processor(const MergeModel& m, int64_t y0, int64_t y1, std::span<const ExposureRows> rows, float* out,
                          ThreadPool& pool, const Progress& progress) {
  const cpu::MergeKernels kernels = cpu::merge_kernels(cpu_isa());

  const int64_t bytes = (kernels.scratch(m) + 63) / 64 * 64;
  struct Free {
    void operator()(void* p) const { ::operator delete (p, std::align_val_t{64}); }
  };
  const std::unique_ptr<void, Free> scratch(
      ::operator new (static_cast<size_t>(bytes * pool.threads()), std::align_val_t{64}, std::nothrow));
  if (!scratch) return Error{ErrorCode::out_of_memory, "Not enough memory to merge."};

  const int64_t across = (m.width + cpu::kMergeColumns - 1) / cpu::kMergeColumns;
  const int64_t down = (y1 - y0 + kRowsPerItem - 1) / kRowsPerItem;
  pool.parallel_for(across * down, [&](int64_t item, int thread) {
    if (progress.stop()) return;
    const int64_t x0 = item % across * cpu::kMergeColumns, from = y0 + item / across * kRowsPerItem;
    kernels.merge(m, rows.data(), x0, from, std::min(from + kRowsPerItem, y1), out + ((from - y0) * m.width + x0) * 3,
                  m.width * 3, static_cast<char*>(scratch.get()) + bytes * thread);
  });
  if (progress.stop()) return Error{ErrorCode::cancelled, "Cancelled."};
  return {};
}

}  // namespace

struct RadianceMerger::State {
  MergeOptions options;
  MergeModel model;
  MergeCalibration calibration;
  CalibrationInput input;
  std::vector<float> table;   // transfer with the curve's correction
  size_t black_codes = 0;     // stored values up to here say little
  bool sixteen_bits = false;  // a 16-bit value that is no 8-bit one was seen

  std::mutex turn;  // of what follows
  std::unique_ptr<MergeDevice> device;
  bool compared = false;  // with the processor
  std::string failure;    // of the device

  float linear_light(const void* data, int64_t at) const {
    switch (options.depth) {
      case PixelDepth::uint8:
        return options.transfer[static_cast<const uint8_t*>(data)[at]];
      case PixelDepth::uint16:
        return options.transfer[static_cast<const uint16_t*>(data)[at]];
      case PixelDepth::float32:
        break;
    }
    const float value = static_cast<const float*>(data)[at];
    return from_table(options.transfer, value > 0 ? std::min(value, 1.0f) : 0);
  }
  static float from_table(const std::vector<float>& table, float value) {
    if (table.empty()) return value;
    const float position = value * (table.size() - 1);
    const size_t below = std::min(static_cast<size_t>(position), table.size() - 2);
    return table[below] + (position - below) * (table[below + 1] - table[below]);
  }

  /// Variance that rounding to the stored codes alone makes, as a straight line over linear light; 8-bit files are
  /// mostly JPEG, whose error is nearer one code than its rounding.
  void quantisation(bool eight_bits) {
    if (options.depth == PixelDepth::float32) return;
    const auto& t = options.transfer;
    const size_t code = options.depth == PixelDepth::uint16 && eight_bits ? 257 : 1;
    const double variance = eight_bits ? 0.5 : 1.0 / 12;
    const double black = t[code] - t[0];
    input.quantisation_floor = variance * black * black;
    const size_t middle = static_cast<size_t>(0.6 * t.size());
    const double step = t[middle + code] - t[middle];
    input.quantisation_slope = variance * step * step / std::max(0.05f, t[middle]);
    black_codes = eight_bits ? 6 * code : 0;
  }

  void make_model() {
    MergeModel& m = model;
    m.width = options.width;
    m.height = options.height;
    m.depth = options.depth;
    m.exposures = static_cast<int>(options.exposures.size());
    m.reference = options.reference;
    table = options.transfer;
    const bool corrected =
        std::any_of(calibration.curve.begin(), calibration.curve.end(), [](double c) { return c != 0; });
    if (corrected) {
      if (table.empty())  // linear values through a curve: fine enough that interpolation is invisible
        for (int i = 0; i <= 4096; ++i) table.push_back(static_cast<float>(i) / 4096);
      for (float& v : table)
        if (v > 0) v = static_cast<float>(v * std::exp2(curve_at(calibration, std::log2(v))));
    }
    m.table_size = static_cast<int64_t>(table.size());
    const float* light = table.empty() ? nullptr : table.data();
    const double black = black_codes > 0 ? table[black_codes] : 0;
    for (int i = 0; i < m.exposures; ++i) {
      MergeModel::Exposure& e = m.exposure[i];
      const double scale = std::exp2(-options.exposures[i].exposure_value);
      e.table = light;
      double mean = 0;
      for (int c = 0; c < 3; ++c) {
        e.radiance_scale[c] = static_cast<float>(scale * calibration.gains[i][c]);
        mean += e.radiance_scale[c] / 3;
      }
      e.noise_floor = static_cast<float>(calibration.noise_floor * mean * mean);
      e.noise_slope = static_cast<float>(calibration.noise_slope * mean);
      e.black_step = static_cast<float>(std::max(black, 0.5 * std::sqrt(calibration.noise_floor)) * mean);
      e.aligned = options.exposures[i].alignment.has_value();
      if (e.aligned) std::copy_n(options.exposures[i].alignment->begin(), 9, e.homography);
    }
  }

  /// Mean, spread and noise of the block of `exposure` around (x, y); false where it is not wholly seen.
  bool block(const ExposureRows& rows, int64_t x, int64_t y, float mean[3], bool& flat, NoiseSample& noise) {
    const int64_t width = options.width;
    if (x < 0 || x + kBlock > width || y < rows.begin || y + kBlock > rows.end) return false;
    if (options.depth == PixelDepth::uint16 && !sixteen_bits) {
      const uint16_t* codes = static_cast<const uint16_t*>(rows.data) + ((y - rows.begin) * width + x) * 3;
      sixteen_bits = std::any_of(codes, codes + kBlock * 3, [](uint16_t code) { return code % 257 != 0; });
    }
    float light[kBlock][kBlock], top = 0, brightest = 0, darkest = 0;
    for (int c = 0; c < 3; ++c) {
      float sum = 0, low = 1, high = 0;
      for (int j = 0; j < kBlock; ++j)
        for (int i = 0; i < kBlock; ++i) {
          const float v = linear_light(rows.data, ((y + j - rows.begin) * width + x + i) * 3 + c);
          if (c == 1) light[j][i] = v;
          sum += v;
          low = std::min(low, v);
          high = std::max(high, v);
        }
      mean[c] = sum / (kBlock * kBlock);
      top = std::max(top, high);
      if (c == 1) brightest = high, darkest = low;
    }
    flat = top < 0.93f && brightest < 2.0f * darkest + 0.01f;
    // The noise that a difference of second derivatives leaves of smooth content (Immerkaer, "Fast noise variance
    // estimation", 1996): its squared gain is 36.
    double energy = 0;
    for (int j = 1; j + 1 < kBlock; ++j)
      for (int i = 1; i + 1 < kBlock; ++i) {
        const float d = light[j - 1][i - 1] + light[j - 1][i + 1] + light[j + 1][i - 1] + light[j + 1][i + 1] -
                        2 * (light[j - 1][i] + light[j + 1][i] + light[j][i - 1] + light[j][i + 1]) + 4 * light[j][i];
        energy += d * d;
      }
    noise = {mean[1], static_cast<float>(energy / (36 * (kBlock - 2) * (kBlock - 2)))};
    return true;
  }

  /// Fails where the processor has to.
  Status merge_on_device(int64_t y0, int64_t y1, std::span<const ExposureRows> rows, float* out, ThreadPool& pool) {
    std::lock_guard lock(turn);
    if (!device || y0 == y1) return Error{ErrorCode::unsupported, failure};
    Status status = device->merge(model, rows, y0, y1, out);
    if (status.ok() && !compared) status = compare(y0, std::min(y1, y0 + kComparedRows), rows, out, pool);
    if (status.ok()) return status;
    failure = std::string(device->name()) + ": " + status.error().message;
    device = nullptr;
    return status;
  }
  Status compare(int64_t y0, int64_t y1, std::span<const ExposureRows> rows, const float* out, ThreadPool& pool) {
    std::vector<float> expected((y1 - y0) * options.width * 3);
    if (Status status = merge_on_processor(model, y0, y1, rows, expected.data(), pool, {}); !status.ok()) return status;
    double sum = 0, off = 0;
    for (size_t i = 0; i < expected.size(); ++i) sum += expected[i], off += std::abs(out[i] - expected[i]);
    if (!(off <= kComparedTolerance * sum))
      return Error{ErrorCode::internal, "it computes something else than the processor; please report it."};
    compared = true;
    return {};
  }
};

RadianceMerger::RadianceMerger(std::unique_ptr<State> state) : state_(std::move(state)) {}
RadianceMerger::RadianceMerger(RadianceMerger&&) noexcept = default;
RadianceMerger& RadianceMerger::operator=(RadianceMerger&&) noexcept = default;
RadianceMerger::~RadianceMerger() = default;

Result<RadianceMerger> RadianceMerger::create(MergeOptions o) {
  Result<std::unique_ptr<MergeDevice>> device = make_merge_device(o.device);
  if (!device.ok()) return device.error();
  return create(std::move(o), std::move(device.value()));
}

Result<RadianceMerger> RadianceMerger::create(MergeOptions o, std::unique_ptr<MergeDevice> device) {
  const auto text = [](auto value) { return std::to_string(value); };
  const size_t n = o.exposures.size();
  if (o.width < 1 || o.height < 1)
    return invalid_argument("width and height: expected at least 1, got " + text(o.width) + " x " + text(o.height) +
                            ".");
  if (n < 2 || n > kMaxExposures) return invalid_argument("exposures: expected 2 to 16, got " + text(n) + ".");
  if (o.reference < 0 || o.reference >= static_cast<int>(n))
    return invalid_argument("reference: expected 0 to " + text(n - 1) + ", got " + text(o.reference) + ".");
  for (size_t i = 0; i < n; ++i) {
    const MergeExposure& e = o.exposures[i];
    const double least = i == 0 ? 0 : o.exposures[i - 1].exposure_value;
    if (!(e.exposure_value >= least) || (i == 0 && e.exposure_value != 0) || e.exposure_value > 40)
      return invalid_argument("exposure_value: expected stops from 0 upwards, shortest first, got " +
                              text(e.exposure_value) + " for exposure " + text(i) + ".");
    if (e.alignment &&
        !std::all_of(e.alignment->begin(), e.alignment->end(), [](double v) { return std::isfinite(v); }))
      return invalid_argument("alignment: exposure " + text(i) + " has a number that is not finite.");
  }
  const size_t codes = o.depth == PixelDepth::uint8 ? 256 : 65536;
  if (o.depth == PixelDepth::float32 ? o.transfer.size() == 1 : o.transfer.size() != codes)
    return invalid_argument("transfer: expected " + text(codes) + " values (float32: none, or at least 2), got " +
                            text(o.transfer.size()) + ".");
  for (size_t i = 0; i < o.transfer.size(); ++i)
    if (!(o.transfer[i] >= (i == 0 ? 0 : o.transfer[i - 1]) && o.transfer[i] <= 1))
      return invalid_argument("transfer: expected values that rise from 0 to 1, got " + text(o.transfer[i]) + " at " +
                              text(i) + ".");

  auto state = std::make_unique<State>();
  for (const MergeExposure& e : o.exposures) state->input.exposure_values.push_back(e.exposure_value);
  state->input.reference = o.reference;
  state->input.correct_response = o.calibrate;
  state->options = std::move(o);
  state->device = std::move(device);
  state->quantisation(state->options.depth == PixelDepth::uint8);
  state->calibration = calibrate(state->input);
  state->make_model();
  return RadianceMerger(std::move(state));
}

RowSpan RadianceMerger::source_rows(int exposure, int64_t y0, int64_t y1) const {
  const MergeOptions& o = state_->options;
  const int64_t top = std::max<int64_t>(0, y0 - kMergeHalo), bottom = std::min(o.height, y1 + kMergeHalo) - 1;
  const auto& alignment = o.exposures[exposure].alignment;
  if (!alignment) return {top, bottom + 1};
  // A homography takes straight edges to straight edges: the corners bound the rest while none lies behind the camera.
  double low = o.height, high = -1;
  const auto& h = *alignment;
  for (int64_t y : {top, bottom})
    for (int64_t x : {int64_t{0}, o.width - 1}) {
      if (h[6] * x + h[7] * y + h[8] <= 0) return {0, o.height};
      const Point p = map(alignment, static_cast<double>(x), static_cast<double>(y));
      low = std::min(low, p.y);
      high = std::max(high, p.y);
    }
  // Blocks of the analysis stand around a mapped centre, so they may reach a block further than their corners; what
  // lies between pixels takes two on either side.
  static_assert(kBlock >= 2);
  const double reach = kBlock;
  const int64_t begin = static_cast<int64_t>(std::clamp(std::floor(low) - reach, 0.0, double(o.height)));
  const int64_t end = static_cast<int64_t>(std::clamp(std::floor(high) + 2 + reach, 0.0, double(o.height)));
  return {begin, std::max(begin, end)};
}

std::vector<RowSpan> RadianceMerger::analysis_bands() const {
  const int64_t rows = state_->options.height / kBlock, bands = std::min(rows, kBands);
  std::vector<RowSpan> out;
  for (int64_t k = 0; k < bands; ++k) {
    const int64_t y = (2 * k + 1) * rows / (2 * bands) * kBlock;
    out.push_back({y, y + kBlock});
  }
  return out;
}

Status RadianceMerger::analyse(RowSpan band, std::span<const ExposureRows> rows) {
  State& s = *state_;
  const MergeOptions& o = s.options;
  if (rows.size() != o.exposures.size())
    return invalid_argument("rows: expected one span for each exposure, got " + std::to_string(rows.size()) + ".");
  const int64_t blocks = o.width / kBlock, taken = std::min(blocks, kBandSamples);
  for (int64_t y = band.begin; y + kBlock <= band.end; y += kBlock)
    for (int64_t k = 0; k < taken; ++k) {
      const int64_t x = (2 * k + 1) * blocks / (2 * taken) * kBlock;
      CalibrationSample sample{};
      for (size_t i = 0; i < o.exposures.size(); ++i) {
        const double half = 0.5 * (kBlock - 1);
        const Point p = map(o.exposures[i].alignment, x + half, y + half);
        if (!(std::abs(p.x) < 1e9 && std::abs(p.y) < 1e9)) continue;
        NoiseSample noise;
        bool flat = false;
        if (!s.block(rows[i], std::llround(p.x - half), std::llround(p.y - half), sample.light[i], flat, noise))
          continue;
        sample.flat[i] = flat;
        if (flat) s.input.noise.push_back(noise);
      }
      s.input.samples.push_back(sample);
    }
  return {};
}

const MergeCalibration& RadianceMerger::finish_analysis() {
  State& s = *state_;
  const MergeOptions& o = s.options;
  s.quantisation(o.depth == PixelDepth::uint8 ||
                 (o.depth == PixelDepth::uint16 && !s.sixteen_bits && !s.input.noise.empty()));
  s.calibration = calibrate(s.input);
  s.make_model();
  s.input.samples = {};
  s.input.noise = {};
  return s.calibration;
}

Status RadianceMerger::merge(int64_t y0, int64_t y1, std::span<const ExposureRows> rows, float* out, ThreadPool& pool,
                             const Progress& progress) const {
  const MergeModel& m = state_->model;
  if (y0 < 0 || y1 > m.height || y0 > y1)
    return invalid_argument("rows of the result: expected a range within 0 to " + std::to_string(m.height) + ", got " +
                            std::to_string(y0) + " to " + std::to_string(y1) + ".");
  if (rows.size() != static_cast<size_t>(m.exposures))
    return invalid_argument("rows: expected one span for each of " + std::to_string(m.exposures) + " exposures, got " +
                            std::to_string(rows.size()) + ".");
  for (int i = 0; i < m.exposures && y0 < y1; ++i) {
    const RowSpan needed = source_rows(i, y0, y1);
    if (needed.begin < needed.end && (rows[i].begin > needed.begin || rows[i].end < needed.end || !rows[i].data))
      return invalid_argument("rows of exposure " + std::to_string(i) + ": expected " + std::to_string(needed.begin) +
                              " to " + std::to_string(needed.end) + ", got " + std::to_string(rows[i].begin) + " to " +
                              std::to_string(rows[i].end) + ".");
  }

  if (progress.stop()) return Error{ErrorCode::cancelled, "Cancelled."};
  Status status = state_->merge_on_device(y0, y1, rows, out, pool);
  if (!status.ok()) status = merge_on_processor(m, y0, y1, rows, out, pool, progress);
  if (status.ok()) progress.at(1);
  return status;
}

std::string RadianceMerger::device_failure() const {
  std::lock_guard lock(state_->turn);
  return state_->failure;
}

const MergeModel& RadianceMerger::model() const { return state_->model; }

}  // namespace smhdr
