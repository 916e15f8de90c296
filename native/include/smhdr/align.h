// Registration of a hand-held bracket: one homography per exposure, or none where none is clearly better.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "smhdr/progress.h"
#include "smhdr/status.h"
#include "smhdr/thread_pool.h"

namespace smhdr {

/// A small linear picture of one exposure: rows top to bottom, channels interleaved (1 or 3), 1.0 = the clipping point.
struct AlignImage {
  const float* data = nullptr;
  int64_t width = 0;
  int64_t height = 0;
  int64_t channels = 3;
};

enum class AlignOutcome {
  still,       // moved by less than 0.15 pixels in the mean, or 0.05 of `images`: left alone
  aligned,     // the homography is clearly better than the identity
  unreliable,  // some movement was found but nothing clearly better than the identity: left alone
  no_overlap,  // too little that both exposures show well to tell: left alone
};

enum class AlignModel { identity, translation, similarity, homography };

struct ExposureAlignment {
  AlignOutcome outcome = AlignOutcome::still;
  /// The simplest model that explains the pixels.
  AlignModel model = AlignModel::identity;
  /// Row by row; maps full-resolution pixel centres (integers) of the reference to those of this exposure. The
  /// identity unless the outcome is `aligned`.
  std::array<double, 9> homography = {1, 0, 0, 0, 1, 0, 0, 0, 1};
  /// The exposure it was compared with: the reference, or a neighbour it was chained through.
  int64_t compared_with = 0;
  /// Largest movement over the image, in full-resolution pixels, of what was found (even where it was not taken).
  double displacement = 0;
  /// Agreement with `compared_with` on pixels that took no part in the fit: mean correlation of local structure in
  /// [-1, 1], unaligned and aligned.
  double agreement_before = 0;
  double agreement_after = 0;
};

/// Aligns every exposure to `images[reference]`. `scale`: how many full-resolution pixels wide and high a pixel of the
/// images is; the homographies speak of full resolution. `exposure_values` (stops, any origin) say which exposures are
/// neighbours: an exposure that shares too few well-exposed pixels with the reference is chained through those between.
/// Moving things up to about a third of the picture, shifts up to 12 % of its longer side, rotations up to 7 degrees
/// and small perspective are expected; tone curves may differ between exposures as long as each is monotone. The result
/// does not depend on the number of threads. Errors: invalid_argument (no images, sizes that differ, channels not 1 or
/// 3, a reference out of range, a scale below 1), cancelled.
Result<std::vector<ExposureAlignment>> align_bracket(std::span<const AlignImage> images,
                                                     std::span<const double> exposure_values, int64_t reference,
                                                     double scale, ThreadPool& pool, const Progress& progress = {});

}  // namespace smhdr
