// A network's picture drifts: over areas wider than its noise it is a few per cent brighter or darker than the merge
// without a network, which is exact where the exposures agree. Drift is measured in squares and taken back; what is
// finer, and where both show different things, stays the network's.
#pragma once

#include <cstdint>
#include <memory>

#include "smhdr/status.h"
#include "smhdr/thread_pool.h"

namespace smhdr {

class Drift {
 public:
  /// Side of the squares, in pixels.
  static constexpr int64_t kSquare = 4;

  /// Of a picture of this size. Errors: invalid_argument (sides below 1 or above 2^24), out_of_memory.
  static Result<Drift> create(int64_t width, int64_t height);
  Drift(Drift&&) noexcept;
  ~Drift();

  /// Compares rows [y0, y0 + rows) of the picture with the merge's, both interleaved RGB radiance of which 1.0 is the
  /// network's clipping point, the merge's once it is multiplied by `merge_scale`. `reference`: the same rows of the
  /// reference exposure as the network reads them, 6 values a pixel (smhdr/sample.h); where it clips, the merge is
  /// believed less. Rows are whole squares but at the bottom; every row wants to be measured once. Errors:
  /// invalid_argument.
  Status measure(int64_t y0, int64_t rows, const float* picture, const float* merge, float merge_scale,
                 const float* reference, ThreadPool& pool);

  /// Makes of what was measured what take_back() does.
  void smooth(ThreadPool& pool);

  /// Takes the drift back in rows [y0, y0 + rows) of the picture. Nothing changes where what was measured is no number.
  /// Errors: invalid_argument.
  Status take_back(int64_t y0, int64_t rows, float* picture, ThreadPool& pool) const;

 private:
  struct State;
  explicit Drift(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace smhdr
