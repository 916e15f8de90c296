// Colour noise that a network left in its picture is taken away: what noise does to the colours alone, which detail
// seldom does. Brightness, where noise and texture look alike, stays as it is.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "smhdr/status.h"
#include "smhdr/thread_pool.h"

namespace smhdr {

struct Progress;

/// How much noise there is at each brightness is read off the smoothest squares of the picture, and off what exposures
/// differ by that show the same: fine colours are in all of them and not taken for noise.
class ColourNoise {
 public:
  /// Side of the squares, in pixels.
  static constexpr int64_t kSquare = 8;

  /// Of a picture of this size that was made of exposures of these exposure values in stops, ascending; of none or one,
  /// the picture alone says how much noise there is. Errors: invalid_argument (sides below 1 or above 2^24, exposure
  /// values that do not ascend), out_of_memory.
  static Result<ColourNoise> create(int64_t width, int64_t height, std::vector<float> exposure_values);
  ColourNoise(ColourNoise&&) noexcept;
  ~ColourNoise();

  /// First rows of the squares that measure() wants to see, in any order; of large pictures not all.
  std::vector<int64_t> tops() const;

  /// Compares kSquare rows of the exposures, from tops()[index] on, as the network reads them: 6 values a pixel
  /// (smhdr/sample.h), 1.0 of radiance the picture's. Errors: invalid_argument.
  Status measure(int64_t index, const std::vector<const float*>& exposures, ThreadPool& pool);

  /// `picture`: interleaved RGB radiance in [0, 1], changed in place. The two differences of colour of its mu-law
  /// values (mu = 5000) are freed of noise: of the frequencies of 8x8 pixels those that do not stand out of it shrink
  /// (discrete cosine transform, blocks that overlap by half). A picture of fewer than 64 whole squares stays as it is,
  /// and so does what is no number. Results do not depend on the number of threads. Errors: out_of_memory, cancelled
  /// (some rows are done).
  Status take_away(float* picture, ThreadPool& pool, const Progress* progress = nullptr) const;

 private:
  struct State;
  explicit ColourNoise(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace smhdr
