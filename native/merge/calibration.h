// What the pixels say about the camera: a tone curve all exposures share, each exposure's gain per channel, noise.
#pragma once

#include <vector>

#include "merge/merge_model.h"

namespace smhdr {

/// One small block of the scene as every exposure shows it.
struct CalibrationSample {
  float light[kMaxExposures][3];  // mean linear light
  bool flat[kMaxExposures];       // seen, unclipped and without strong structure
};

/// Mean light and variance of the noise of one block of one exposure.
struct NoiseSample {
  float light, variance;
};

struct CalibrationInput {
  std::vector<double> exposure_values;
  int reference = 0;
  std::vector<CalibrationSample> samples;
  std::vector<NoiseSample> noise;
  /// Noise that the stored values' steps alone make: variance quantisation_floor + quantisation_slope v.
  double quantisation_floor = 0, quantisation_slope = 0;
  bool correct_response = true;
};

/// Least squares over adjacent exposures, in stops, robust to what moved: with u = log2 of linear light,
///   u_a + c(u_a) + g_a - EV_a = u_b + c(u_b) + g_b - EV_b,
/// c piecewise linear and 0 at clipping, g the gains, 0 for the reference (after Mitsunaga and Nayar, "Radiometric self
/// calibration", 1999). Both are kept small: the exposure values and the file's own transfer function are trusted
/// unless the pixels clearly say otherwise.
MergeCalibration calibrate(const CalibrationInput& input);

/// Stops the curve adds at linear light 2^u.
double curve_at(const MergeCalibration& calibration, double u);

}  // namespace smhdr
