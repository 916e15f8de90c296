// How one exposure's values map to another's: a monotone curve with its scatter, fitted to aligned pixels.
#pragma once

#include <cstdint>
#include <vector>

namespace smhdr::align {

/// The brightness transfer from the reference's log values to the other exposure's: whatever exposure ratio and tone
/// curve lie between them. Conditional medians per bin of the reference, made monotone, and the spread around them
/// (Grossberg and Nayar, "Determining the camera response from images: what is knowable?", 2003).
class Photometric {
 public:
  /// `values` of the other exposure at the places where the reference has `reference`; NaN where it is not visible.
  /// False when fewer than 32 pairs are seen.
  bool fit(const std::vector<float>& reference, const std::vector<float>& values);

  struct Prediction {
    float value, inverse_sigma;
  };
  Prediction predict(float reference) const;

 private:
  void tabulate();

  std::vector<float> centre_, value_, inverse_sigma_;
  std::vector<Prediction> table_;  // the curve at the edges of equal cells of the reference's range
};

}  // namespace smhdr::align
