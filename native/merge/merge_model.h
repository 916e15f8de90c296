// Everything the merging kernels need to know: what each exposure's numbers mean, and how strict to be. Plain data.
#pragma once

#include <cstdint>

#include "smhdr/merge.h"

namespace smhdr {

constexpr int kMaxExposures = 16;

/// How agreement is judged. Deviations count in units of their expected standard deviation.
struct MergeTuning {
  float relative_tolerance = 0.08f;  // part of the radiance that two exposures may differ by: response, vignetting
  float clip_tolerance = 0.35f;      // the same, more, next to a clipped value: curves end there
  float edge_tolerance = 0.35f;      // part of the step between neighbours: misalignment of about a pixel
  float deviation_limit = 10.0f;     // a single pixel's deviation counts no more than this
  float independent_pixels = 12.0f;  // of the 49 in the window: neighbours' noise is correlated after demosaicing
  float region_threshold = 3.0f;     // squared mean deviation of the window at which doubt begins
  float detail_threshold = 4.0f;     // mean squared deviation of the 3x3 pixels at which doubt begins
  float rejection = 2.0f;            // times the threshold at which nothing is left of an exposure
  float clip_start = 0.80f;          // linear light at which an exposure starts to lose weight towards clipping
  float clip_end = 0.96f;            // ... and has none left
};

/// The window radii of the two agreement measures, and the rows and columns around a pixel that its result depends on.
constexpr int kRegionRadius = 3;
constexpr int kDetailRadius = 1;
constexpr int kMergeHalo = kRegionRadius + 1;

struct MergeModel {
  struct Exposure {
    const float* table = nullptr;  // stored value -> linear light; null: linear already
    float radiance_scale[3] = {};  // radiance of linear light 1.0, per channel
    float mean_scale = 0;          // their mean
    float noise_floor = 0;         // variance of radiance R: noise_floor + noise_slope R
    float noise_slope = 0;
    float black_step = 0;  // radiance of the first codes above black, below which values mean little
    bool aligned = false;
    double homography[9] = {};
  };
  int64_t width = 0, height = 0;
  PixelDepth depth = PixelDepth::uint8;
  int64_t table_size = 0;
  int exposures = 0, reference = 0;
  Exposure exposure[kMaxExposures];
  MergeTuning tuning;
};

/// Pairs (exposure, anchor) whose agreement is judged: every exposure with the reference, and every exposure that is
/// not next to the reference also with its neighbour on the way there.
struct MergePairs {
  int count = 0;
  int exposure[2 * kMaxExposures], anchor[2 * kMaxExposures];
  int with_reference[kMaxExposures], with_neighbour[kMaxExposures];  // index of the pair, or -1
};

inline MergePairs merge_pairs(const MergeModel& model) {
  MergePairs pairs;
  const auto add = [&](int exposure, int anchor) {
    pairs.exposure[pairs.count] = exposure;
    pairs.anchor[pairs.count] = anchor;
    return pairs.count++;
  };
  for (int i = 0; i < model.exposures; ++i) {
    const int towards = i < model.reference ? i + 1 : i - 1;
    pairs.with_reference[i] = i == model.reference ? -1 : add(i, model.reference);
    pairs.with_neighbour[i] = i == model.reference || towards == model.reference ? -1 : add(i, towards);
  }
  return pairs;
}

}  // namespace smhdr
