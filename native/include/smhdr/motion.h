// Where an exposure shows what the reference does, and the exposure as it would have been at the reference's moment.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <vector>

#include "smhdr/align.h"
#include "smhdr/progress.h"
#include "smhdr/status.h"
#include "smhdr/thread_pool.h"

namespace smhdr {

/// At a pixel p of an exposure: what the reference shows there is at p + (dx, dy) in the exposure.
struct MotionField {
  static constexpr int16_t kUnmoved = std::numeric_limits<int16_t>::min();
  static constexpr int kUnits = 64;

  /// A pixel of the field is a square of scale x scale pixels of the photograph; the last column and row may cover
  /// fewer.
  int64_t width = 0, height = 0, scale = 1;
  /// dx, dy of every pixel, in 1 / kUnits of the field's pixels; dx = kUnmoved where nothing moved, or it could not be
  /// told.
  std::vector<int16_t> moved;
  int64_t count = 0;  // of the field's pixels that moved
};

/// Follows what moved between the reference and another exposure, beyond what the homography says (reference pixel
/// centres -> the exposure's, in full-resolution pixels). The pictures are the exposures at 1 / `scale` of their size;
/// `stops`: how much more light the exposure collected. A pixel moved where the flow is consistent (there and back it
/// ends where it began) and longer than three quarters of a pixel of the field, in a region where details agree
/// clearly better for it. Larger pictures than a megapixel are reduced first. Nothing is followed in pictures whose
/// shorter side has fewer than 32 pixels. The result does not depend on the number of threads.
/// Values that are no number count as black. Errors: invalid_argument (pictures of different sizes, channels not 1 or
/// 3, a scale below 1, stops that are not finite, a singular homography), cancelled.
Result<MotionField> find_motion(const AlignImage& reference, const AlignImage& exposure, double stops,
                                const std::array<double, 9>& homography, int64_t scale, ThreadPool& pool,
                                const Progress& progress = {});

/// A MotionField's values.
struct MotionView {
  const int16_t* moved = nullptr;
  int64_t width = 0, height = 0, scale = 1;
};

/// Rows [first, first + rows) of a photograph: RGB, interleaved.
template <typename Sample>
struct PixelRows {
  Sample* data = nullptr;
  int64_t width = 0, first = 0, rows = 0;
};

/// The rows [from, to) of the photograph that rows [y0, y1) are made of, before they are cut off at its edges.
struct RowRange {
  int64_t from = 0, to = 0;
};
RowRange rows_followed(const MotionView& field, int64_t y0, int64_t y1);

/// Fills `out` with the photograph as it would have been at the reference's moment: where the field says that something
/// moved, what is at its place then; elsewhere bit for bit what `in` holds. Between pixels it is cubic in the samples,
/// or in their square roots where they are linear light, within what the four nearest say. `in` holds rows_followed()
/// of the rows of `out`, as far as the photograph has them; beyond its border it repeats.
void follow_rows(const MotionView& field, bool linear, const PixelRows<const uint8_t>& in,
                 const PixelRows<uint8_t>& out);
void follow_rows(const MotionView& field, bool linear, const PixelRows<const uint16_t>& in,
                 const PixelRows<uint16_t>& out);
void follow_rows(const MotionView& field, bool linear, const PixelRows<const float>& in, const PixelRows<float>& out);

}  // namespace smhdr
