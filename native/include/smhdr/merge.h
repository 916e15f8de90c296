// Merging a bracket into radiance without a network: a weighted mean of the exposures in linear light, in which every
// exposure counts only where it agrees with the reference. Works on strips of rows: any cut into strips gives exactly
// the same pixels, for any number of threads.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "smhdr/progress.h"
#include "smhdr/status.h"
#include "smhdr/thread_pool.h"

namespace smhdr {

enum class PixelDepth { uint8, uint16, float32 };

/// One exposure of the bracket, without its pixels.
struct MergeExposure {
  /// Stops relative to the shortest exposure.
  double exposure_value = 0;
  /// Row by row: maps pixel centres (x, y, 1) of the reference to those of this exposure. Outside of it nothing is
  /// seen.
  std::optional<std::array<double, 9>> alignment;
};

struct MergeOptions {
  int64_t width = 0, height = 0;
  PixelDepth depth = PixelDepth::uint8;
  /// Linear light of evenly spaced stored values over [0, 1], in [0, 1] and never falling. 256 values for uint8, 65536
  /// for uint16; for float32 any number >= 2 (interpolated), or none for values that are linear already.
  std::vector<float> transfer;
  /// Shortest first, 2 to 16.
  std::vector<MergeExposure> exposures;
  int reference = 0;
  /// Whether to correct the camera's tone curve and the exposures' gains from the pixels (analyse()).
  bool calibrate = true;
  /// What merges: a name that make_merge_device (ops/devices.h) takes.
  std::string device = "cpu";
};

/// Rows [begin, end) of an image.
struct RowSpan {
  int64_t begin = 0, end = 0;
};

/// Rows [begin, end) of one exposure, interleaved RGB without padding, in the depth of the options.
struct ExposureRows {
  const void* data = nullptr;
  int64_t begin = 0, end = 0;
};

/// What the analysis found.
struct MergeCalibration {
  /// Stops that the tone curve adds to linear light at 2^knot, per knot; all zero where no correction was called for.
  std::vector<double> curve_knots, curve;
  /// Factor on each exposure's linear light, per channel.
  std::vector<std::array<double, 3>> gains;
  /// Variance of linear light v of one exposure: noise_floor + noise_slope v.
  double noise_floor = 0, noise_slope = 0;
  /// Typical disagreement of adjacent exposures in stops, before and after the correction; 0 without enough samples.
  double disagreement_before = 0, disagreement_after = 0;
  int64_t samples = 0;
};

struct MergeModel;
class MergeDevice;

class RadianceMerger {
 public:
  /// Errors: invalid_argument, naming the option; unsupported where the device cannot be used.
  static Result<RadianceMerger> create(MergeOptions options);
  /// On `device` instead of the one that the options name; null: the processor.
  static Result<RadianceMerger> create(MergeOptions options, std::unique_ptr<MergeDevice> device);
  RadianceMerger(RadianceMerger&&) noexcept;
  RadianceMerger& operator=(RadianceMerger&&) noexcept;
  ~RadianceMerger();

  /// Rows of `exposure` that merge() and analyse() need for rows [y0, y1) of the result. May be empty: nothing is seen.
  RowSpan source_rows(int exposure, int64_t y0, int64_t y1) const;

  /// The rows to hand to analyse() one after the other: a sample of the image for large ones.
  std::vector<RowSpan> analysis_bands() const;
  /// Collects samples from one band; `rows` holds source_rows() of every exposure.
  Status analyse(RowSpan band, std::span<const ExposureRows> rows);
  /// Estimates tone curve, gains and noise from the samples collected. Without this merge() trusts the options.
  const MergeCalibration& finish_analysis();

  /// Radiance of rows [y0, y1): interleaved RGB in [0, 1] into `out` ((y1 - y0) x width x 3). 1.0 is the shortest
  /// exposure's clipping point. `rows` holds at least source_rows() of every exposure.
  /// Where a device fails, has too little memory or computes something else than the processor, which is compared once,
  /// the processor merges these rows and all that follow, and device_failure() says why.
  Status merge(int64_t y0, int64_t y1, std::span<const ExposureRows> rows, float* out, ThreadPool& pool,
               const Progress& progress = {}) const;
  /// Empty where nothing failed.
  std::string device_failure() const;

  /// For tests: what the kernels compute from.
  const MergeModel& model() const;

 private:
  struct State;
  explicit RadianceMerger(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace smhdr
