// How one exposure's values map to another's: a monotone curve with its scatter, fitted to aligned pixels.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ops/cpu/align_kernels.h"

namespace smhdr::align {

/// The brightness transfer from the reference's log values to the other exposure's: whatever exposure ratio and tone
/// curve lie between them. Conditional medians per bin of the reference, made monotone, and the spread around them
/// (Grossberg and Nayar, "Determining the camera response from images: what is knowable?", 2003).
class Photometric {
 public:
  /// Where a log value of the reference stands in the curve's table.
  static float position_of(float reference);

  /// `values` of the other exposure where the reference stands at `positions`; NaN where it is not visible. Of many
  /// pairs an even sample is taken. False when fewer than 32 pairs are seen.
  bool fit(std::span<const float> positions, std::span<const float> values);

  /// What to expect at a position, between the entries of table().
  cpu::CurvePoint predict(float position) const {
    const int i = int(position);
    const float t = position - float(i);
    const cpu::CurvePoint &a = table_[i], &b = table_[i + 1];
    return {a.value + t * (b.value - a.value), a.inverse_sigma + t * (b.inverse_sigma - a.inverse_sigma)};
  }
  const cpu::CurvePoint* table() const { return table_.data(); }

 private:
  void tabulate();

  std::vector<float> centre_, value_, inverse_sigma_;  // of the bins; centres are positions
  std::vector<cpu::CurvePoint> table_;                 // the curve at whole positions
  std::vector<int> histogram_;                         // kept between fits
};

}  // namespace smhdr::align
