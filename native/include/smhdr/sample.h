// Exposures as the network reads them: any part of one, moved onto the reference.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "smhdr/merge.h"
#include "smhdr/status.h"
#include "smhdr/thread_pool.h"

namespace smhdr {

struct SampleOptions {
  int64_t width = 0, height = 0;
  PixelDepth depth = PixelDepth::uint8;
  /// As MergeOptions::transfer.
  std::vector<float> transfer;
  /// On float32 values without a transfer, before they are cut to [0, 1]; above 0.
  float gain = 1;
  /// As MergeExposure::alignment; beyond the exposure its border repeats.
  std::optional<std::array<double, 9>> alignment;
  /// Radiance of linear light 1.0; above 0.
  float scale = 1;
  /// What is wanted beside radiance, of light (k / 4096)^2, k = 0 ... 4097; between them it is interpolated.
  std::vector<float> curve;
};

/// A rectangle of the reference's pixels; beyond the image, which is mirrored there, too.
struct SampleRegion {
  int64_t x = 0, y = 0, width = 0, height = 0;
};

class ExposureSampler {
 public:
  /// Errors: invalid_argument naming the option.
  static Result<ExposureSampler> create(SampleOptions options);

  /// The exposure's rows that a region is made of. Sides of the region: 1 to 2^24, within 2^30 of the image's corner.
  Result<RowSpan> source_rows(const SampleRegion& region) const;
  /// Fills `out` [height, width, 6]: for every pixel linear light times `scale` RGB, then the curve of the light RGB.
  /// Between pixels it is cubic in the root of light, within what the four nearest say. `rows` holds source_rows().
  /// The result depends on neither the number of threads nor the cut into regions. Errors: invalid_argument.
  Status sample(const SampleRegion& region, const ExposureRows& rows, float* out, ThreadPool& pool) const;

  ExposureSampler(ExposureSampler&&) noexcept;
  ~ExposureSampler();

 private:
  struct State;
  explicit ExposureSampler(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace smhdr
