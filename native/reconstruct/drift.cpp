#include "smhdr/drift.h"

#include <algorithm>
#include <cmath>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "core/coarse_place.h"
#include "core/for_rows.h"
#include "core/picture_size.h"
#include "merge/merge_model.h"
#include "smhdr/mu_law.h"

namespace smhdr {
namespace {

// Mu-law difference of a square at which the merge is believed by half: where the reference shows the light, and where
// it clips, so that only another moment's exposure says what the merge does. Chosen on synthetic brackets of the
// training images; twice or half as much changes little.
constexpr double kBelieved = 0.15, kBelievedWhereClipped = 0.025;
constexpr float kLittle = 1e-3f;  // weight beside which a square's neighbours count

double smoothstep(double from, double to, double x) {
  const double t = std::clamp((x - from) / (to - from), 0.0, 1.0);
  return t * t * (3 - 2 * t);
}

/// 1 + mu times a radiance; of what is no number, no number.
double lifted(double radiance) { return 1 + kMu * std::clamp(radiance, 0.0, 1.0); }

/// How far the merge is believed in a square, given its farthest channel's drift and the reference's brightest value.
double belief(double drift, double brightest) {
  constexpr MergeTuning tuning;
  const double clipped = smoothstep(tuning.clip_start, tuning.clip_end, std::pow(brightest, 2.2));
  const double half = kBelieved + clipped * (kBelievedWhereClipped - kBelieved);
  const double share = drift / half;
  return 1 / (1 + share * share * share * share);
}

}  // namespace

struct Drift::State {
  int64_t width, height;
  int64_t across = (width + kSquare - 1) / kSquare, down = (height + kSquare - 1) / kSquare;
  /// Of every square: logarithms of merge over picture, both lifted, times the weight; and the weight.
  std::vector<float> measured = std::vector<float>(across * down * 4);
  /// Of every square: what the picture, lifted, is multiplied by.
  std::vector<float> gain = std::vector<float>(across * down * 3);

  Status check(int64_t y0, int64_t rows) const {
    const bool whole = y0 % kSquare == 0 && (rows % kSquare == 0 || y0 + rows == height);
    if (y0 >= 0 && rows >= 1 && rows <= height && y0 <= height - rows && whole) return {};
    return invalid_argument("rows: expected squares of " + std::to_string(kSquare) + " within " +
                            std::to_string(height) + ", got " + std::to_string(rows) + " from " + std::to_string(y0) +
                            ".");
  }
};

Drift::Drift(std::unique_ptr<State> state) : state_(std::move(state)) {}
Drift::Drift(Drift&&) noexcept = default;
Drift::~Drift() = default;

Result<Drift> Drift::create(int64_t width, int64_t height) {
  if (Status status = check_picture_size(width, height); !status.ok()) return status.error();
  try {
    return Drift(std::make_unique<State>(State{width, height}));
  } catch (const std::bad_alloc&) {
    return Error{ErrorCode::out_of_memory, "Not enough memory for the drift of " + std::to_string(width) + " x " +
                                               std::to_string(height) + " pixels."};
  }
}

Status Drift::measure(int64_t y0, int64_t rows, const float* picture, const float* merge, float merge_scale,
                      const float* reference, ThreadPool& pool) {
  State& s = *state_;
  if (Status status = s.check(y0, rows); !status.ok()) return status;
  for_rows((rows + kSquare - 1) / kSquare, pool, [&](int64_t line) {
    const int64_t top = line * kSquare, bottom = std::min(rows, top + kSquare);
    float* out = s.measured.data() + (y0 / kSquare + line) * s.across * 4;
    for (int64_t left = 0; left < s.width; left += kSquare, out += 4) {
      const int64_t right = std::min(s.width, left + kSquare);
      // A mean of logarithms is one logarithm of a product: sixteen factors stay far from what a double holds.
      double ours[3] = {1, 1, 1}, theirs[3] = {1, 1, 1}, brightest = 0;
      for (int64_t y = top; y < bottom; ++y)
        for (int64_t p = y * s.width + left; p < y * s.width + right; ++p)
          for (int c = 0; c < 3; ++c) {
            ours[c] *= lifted(picture[3 * p + c]), theirs[c] *= lifted(merge[3 * p + c] * merge_scale);
            brightest = std::max(brightest, double(reference[6 * p + 3 + c]));
          }
      const double pixels = double((right - left) * (bottom - top));
      double drift[3], most = 0;
      for (int c = 0; c < 3; ++c) {
        drift[c] = std::log(theirs[c] / ours[c]) / pixels;
        most = std::max(most, std::abs(drift[c]));
      }
      const double weight = belief(most / std::log1p(kMu), brightest);
      const bool number = std::isfinite(drift[0] + drift[1] + drift[2]);
      for (int c = 0; c < 3; ++c) out[c] = number ? float(weight * drift[c]) : 0;
      out[3] = number ? float(weight) : 0;
    }
  });
  return {};
}

void Drift::smooth(ThreadPool& pool) {
  State& s = *state_;
  for_rows(s.down, pool, [&](int64_t y) {
    for (int64_t x = 0; x < s.across; ++x) {
      float sums[4] = {};
      for (int64_t dy = -1; dy <= 1; ++dy)
        for (int64_t dx = -1; dx <= 1; ++dx) {
          const int64_t row = std::clamp<int64_t>(y + dy, 0, s.down - 1);
          const int64_t column = std::clamp<int64_t>(x + dx, 0, s.across - 1);
          const float part = (dy == 0 ? 0.5f : 0.25f) * (dx == 0 ? 0.5f : 0.25f);
          for (int k = 0; k < 4; ++k) sums[k] += part * s.measured[(row * s.across + column) * 4 + k];
        }
      const int64_t at = y * s.across + x;
      const float own = s.measured[at * 4 + 3];
      for (int c = 0; c < 3; ++c) s.gain[at * 3 + c] = std::exp(own * sums[c] / (sums[3] + kLittle));
    }
  });
}

Status Drift::take_back(int64_t y0, int64_t rows, float* picture, ThreadPool& pool) const {
  const State& s = *state_;
  if (Status status = s.check(y0, rows); !status.ok()) return status;
  constexpr float kOne = float(1 / kMu);  // what lifting adds
  std::vector<CoarsePlace> columns(s.width);
  for (int64_t x = 0; x < s.width; ++x) columns[x] = coarse_place(x, kSquare, s.across);
  for_rows(rows, pool, [&](int64_t line) {
    const CoarsePlace row = coarse_place(y0 + line, kSquare, s.down);
    const auto down = float(row.along);
    const float* above = s.gain.data() + row.first * s.across * 3;
    const float* below = s.gain.data() + row.second * s.across * 3;
    float* out = picture + line * s.width * 3;
    for (int64_t x = 0; x < s.width; ++x) {
      const CoarsePlace& column = columns[x];
      const auto along = float(column.along);
      for (int c = 0; c < 3; ++c) {
        const int64_t left = column.first * 3 + c, right = column.second * 3 + c;
        const float a = above[left] + down * (below[left] - above[left]);
        const float b = above[right] + down * (below[right] - above[right]);
        const float gain = a + along * (b - a);
        float& value = out[3 * x + c];
        if (gain != 1) value = std::clamp(value * gain + (gain - 1) * kOne, 0.0f, 1.0f);
      }
    }
  });
  return {};
}

}  // namespace smhdr
