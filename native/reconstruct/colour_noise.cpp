#include "smhdr/colour_noise.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "core/mirror.h"
#include "core/picture_size.h"
#include "merge/merge_model.h"
#include "reconstruct/noise_tones.h"
#include "smhdr/progress.h"

namespace smhdr {
namespace {

constexpr int kBlock = int(ColourNoise::kSquare), kStep = 4;
constexpr int64_t kGroup = 256;  // rows whose differences of colour are in memory at once
constexpr int64_t kStripe = 32;  // rows of a thread's turn
// Of the noise's deviation: below it a frequency vanishes.
constexpr float kThreshold = 2;
constexpr int64_t kMostMeasured = int64_t(1) << 16;  // squares
// Of the deviation of what two exposures differ by, and of what shot noise alone would leave of that in their merge:
// less, for what is finer than a pixel, and moved, differs too. This, the threshold and the share of smooth squares
// were chosen on 69 synthetic brackets, noisy ones and clean ones, 27 of them of test images.
constexpr float kOfDifference = 0.625f;
// Above the brightest tone that two exposures share the shorter one stands alone, with all of the noise; in between,
// over this much of brightness, its share rises.
constexpr float kAlone = 0.05f;

typedef float Eight __attribute__((vector_size(32), aligned(4), may_alias));

/// Rows of the orthonormal cosine transform of eight values, and its columns.
struct Cosines {
  float row[kBlock][kBlock], column[kBlock][kBlock];
  Cosines() {
    for (int a = 0; a < kBlock; ++a)
      for (int x = 0; x < kBlock; ++x) {
        const double value = std::cos(M_PI * (2 * x + 1) * a / (2 * kBlock)) * std::sqrt((a ? 2.0 : 1.0) / kBlock);
        row[a][x] = column[x][a] = float(value);
      }
  }
};
const Cosines kCosines;

/// `out` = left x, both 8x8.
void product(const float (&left)[kBlock][kBlock], const Eight* x, Eight* out) {
  for (int a = 0; a < kBlock; ++a) {
    Eight sum = left[a][0] * x[0];
    for (int k = 1; k < kBlock; ++k) sum += left[a][k] * x[k];
    out[a] = sum;
  }
}
/// `out` = x right, both 8x8.
void product(const Eight* x, const float (&right)[kBlock][kBlock], Eight* out) {
  for (int a = 0; a < kBlock; ++a) {
    Eight sum = x[a][0] * *reinterpret_cast<const Eight*>(right[0]);
    for (int k = 1; k < kBlock; ++k) sum += x[a][k] * *reinterpret_cast<const Eight*>(right[k]);
    out[a] = sum;
  }
}

/// The noise's deviation in each difference of colour, by brightness.
struct Noise {
  /// Of two exposures, and the share of what they differ by that their merge has, where both show the light.
  struct Pair {
    NoiseTones tones;
    float share;
  };
  NoiseTones picture;
  std::vector<Pair> pairs;

  /// The least that is said.
  Tone at(float brightness) const {
    Tone out = picture.at(brightness);
    for (const auto& [tones, share] : pairs) {
      const float alone = std::clamp((brightness - tones.brightest()) / kAlone, 0.0f, 1.0f);
      const float part = share + alone * (1 - share);
      const Tone seen = tones.at(brightness);
      for (int c = 0; c < 2; ++c) out.noise[c] = std::min(out.noise[c], part * seen.noise[c]);
    }
    return out;
  }
};

/// How the squares lie that are measured: every `step`th of a row and of a column.
struct Squares {
  int64_t step = 1, rows, columns;
  Squares(int64_t height, int64_t width) {
    const int64_t down = height / kBlock, across = width / kBlock;
    while ((down / step) * (across / step) > kMostMeasured) ++step;
    rows = down / step, columns = across / step;
  }
  int64_t top(int64_t row) const { return row * step * kBlock; }
  int64_t left(int64_t column) const { return column * step * kBlock; }
};

/// Adds to `sums` what is left of the block of `values` without its noise; both have `stride` floats a row.
void add_block(const float* values, int64_t stride, float deviation, float* sums, int64_t sums_stride) {
  Eight block[kBlock], half[kBlock], waves[kBlock];
  for (int y = 0; y < kBlock; ++y) block[y] = *reinterpret_cast<const Eight*>(values + y * stride);
  product(kCosines.row, block, half);
  product(half, kCosines.column, waves);
  // c - t^2 / c, the non-negative garrote (Breiman, 1995): continuous, and hardly touches what stands out.
  const float mean = waves[0][0];
  const Eight square = Eight{} + kThreshold * kThreshold * deviation * deviation;
  Eight total{};
  for (Eight& wave : waves) {
    const Eight energy = wave * wave;
    total += energy;
    wave = energy > square ? wave - wave * square / energy : Eight{};
  }
  waves[0][0] = mean;
  float sum = 0;
  for (int x = 0; x < kBlock; ++x) sum += total[x];
  if (std::isfinite(sum)) {
    product(waves, kCosines.row, half);
    product(kCosines.column, half, block);
  }
  for (int y = 0; y < kBlock; ++y) *reinterpret_cast<Eight*>(sums + y * sums_stride) += block[y];
}

/// Differences of colour, and brightness, of rows of the picture, mirrored by a step to the sides.
struct Planes {
  int64_t stride;
  std::vector<float> brightness, colours[2];
  Planes(int64_t rows, int64_t width)
      : stride(width + kStep + kBlock), brightness(rows * stride), colours{brightness, brightness} {}

  void fill(int64_t row, const float* rgb, int64_t width) {
    float* const to[3] = {&brightness[row * stride], &colours[0][row * stride], &colours[1][row * stride]};
    for (int64_t x = 0; x < width; ++x) {
      const Colours seen(rgb + 3 * x);
      to[0][kStep + x] = seen.brightness, to[1][kStep + x] = seen.red_blue, to[2][kStep + x] = seen.green;
    }
    for (float* values : to)
      for (int64_t x = -kStep; x < width + kBlock - 1; ++x)
        if (x < 0 || x >= width) values[kStep + x] = values[kStep + mirror(x, width)];
  }
  void move(int64_t from, int64_t to, int64_t rows) {
    for (std::vector<float>* plane : {&brightness, &colours[0], &colours[1]})
      std::copy_n(plane->begin() + from * stride, rows * stride, plane->begin() + to * stride);
  }
};

/// Rows [first, end) of the picture without noise; row y of it is row y - top of the planes.
void clean_rows(float* picture, int64_t width, int64_t first, int64_t end, int64_t top, const Planes& planes,
                const Noise& noise) {
  const int64_t stride = planes.stride;
  // Blocks begin a step above and end a step below.
  std::vector<float> sums[2];
  for (auto& plane : sums) plane.assign((kStripe + 2 * kBlock) * stride, 0);
  for (int64_t y = first - kStep; y < end; y += kStep)
    for (int64_t x = 0; x < width + kStep; x += kStep) {
      const int64_t from = (y - top) * stride + x, to = (y - first + kStep) * stride + x;
      Eight total{};
      for (int line = 0; line < kBlock; ++line)
        total += *reinterpret_cast<const Eight*>(&planes.brightness[from + line * stride]);
      float mean = 0;
      for (int i = 0; i < kBlock; ++i) mean += total[i] / (kBlock * kBlock);
      const Tone deviation = noise.at(mean);
      for (int c = 0; c < 2; ++c) add_block(&planes.colours[c][from], stride, deviation.noise[c], &sums[c][to], stride);
    }
  constexpr float kShare = float(kStep * kStep) / (kBlock * kBlock);
  for (int64_t y = first; y < end; ++y)
    for (int64_t x = 0; x < width; ++x) {
      const int64_t from = (y - top) * stride + kStep + x, at = (y - first + kStep) * stride + kStep + x;
      const float red_blue =
          (sums[0][at] * kShare - planes.colours[0][from]) * (Colours::kRootHalf * Colours::kLogWhite);
      const float green = (sums[1][at] * kShare - planes.colours[1][from]) * (Colours::kRootSixth * Colours::kLogWhite);
      if (!std::isfinite(red_blue + green)) continue;
      const float change[3] = {red_blue - green, 2 * green, -red_blue - green};
      for (int c = 0; c < 3; ++c) {
        float& value = picture[(y * width + x) * 3 + c];
        const float more = std::exp(change[c]) - 1;
        value = std::clamp(value + more * (value + 1 / Colours::kMuFloat), 0.0f, 1.0f);
      }
    }
}

Error out_of_memory(int64_t width, int64_t height) {
  return {ErrorCode::out_of_memory, "Not enough memory to take the colour noise of " + std::to_string(width) + " x " +
                                        std::to_string(height) + " pixels away."};
}

/// Of a square that tells nothing.
constexpr Tone kNothing{std::numeric_limits<float>::quiet_NaN(), {}};

/// What two exposures differ by in a square, 6 values a pixel; nothing where the longer one clips, and where both
/// are the same, as without light.
Tone difference(const float* shorter, const float* longer, int64_t width) {
  constexpr MergeTuning tuning;
  float brightest = 0;
  Tone out = noise_of_square([&](int64_t y, int64_t x) {
    const int64_t at = (y * width + x) * 6;
    for (int c = 3; c < 6; ++c) brightest = std::max(brightest, longer[at + c]);
    const Colours one(shorter + at);
    Colours both(longer + at);
    both.red_blue -= one.red_blue, both.green -= one.green;
    return both;
  });
  const bool same = out.noise[0] + out.noise[1] == 0;
  return same || std::pow(brightest, 2.2f) >= tuning.clip_start ? kNothing : out;
}

}  // namespace

struct ColourNoise::State {
  int64_t width, height;
  std::vector<float> exposure_values;
  Squares squares{height, width};
  /// Of every pair of neighbouring exposures.
  std::vector<std::vector<Tone>> seen = std::vector<std::vector<Tone>>(
      std::max<size_t>(exposure_values.size(), 1) - 1, std::vector<Tone>(squares.rows* squares.columns, kNothing));

  Noise noise(const float* picture, ThreadPool& pool) const {
    std::vector<Tone> of_picture(squares.rows * squares.columns);
    pool.parallel_for(squares.rows, [&](int64_t row, int) {
      for (int64_t column = 0; column < squares.columns; ++column)
        of_picture[row * squares.columns + column] = noise_of_square([&](int64_t y, int64_t x) {
          return Colours(picture + ((squares.top(row) + y) * width + squares.left(column) + x) * 3);
        });
    });
    Noise out{NoiseTones(std::move(of_picture)), {}};
    for (size_t i = 0; i < seen.size(); ++i) {
      NoiseTones tones(seen[i]);
      if (!tones.known()) continue;
      // Variances of shot noise are inverse to the light: 1 and 1 / ratio, of which the merge has 1 / (1 + ratio).
      const float ratio = std::exp2(exposure_values[i + 1] - exposure_values[i]);
      out.pairs.push_back({std::move(tones), kOfDifference * std::sqrt(ratio) / (1 + ratio)});
    }
    return out;
  }
};

ColourNoise::ColourNoise(std::unique_ptr<State> state) : state_(std::move(state)) {}
ColourNoise::ColourNoise(ColourNoise&&) noexcept = default;
ColourNoise::~ColourNoise() = default;

Result<ColourNoise> ColourNoise::create(int64_t width, int64_t height, std::vector<float> exposure_values) {
  if (Status status = check_picture_size(width, height); !status.ok()) return status.error();
  for (size_t i = 0; i < exposure_values.size(); ++i)
    if (!std::isfinite(exposure_values[i]) || (i > 0 && exposure_values[i] < exposure_values[i - 1]))
      return invalid_argument("exposure values: expected ascending numbers, got " + std::to_string(exposure_values[i]) +
                              " at " + std::to_string(i) + ".");
  try {
    return ColourNoise(std::make_unique<State>(State{width, height, std::move(exposure_values)}));
  } catch (const std::bad_alloc&) {
    return out_of_memory(width, height);
  }
}

std::vector<int64_t> ColourNoise::tops() const {
  std::vector<int64_t> out;
  if (!state_->seen.empty())
    for (int64_t row = 0; row < state_->squares.rows; ++row) out.push_back(state_->squares.top(row));
  return out;
}

Status ColourNoise::measure(int64_t index, const std::vector<const float*>& exposures, ThreadPool& pool) {
  State& s = *state_;
  if (index < 0 || index >= s.squares.rows || exposures.size() != s.exposure_values.size())
    return invalid_argument("rows: expected " + std::to_string(s.exposure_values.size()) + " exposures' of " +
                            std::to_string(s.squares.rows) + ", got " + std::to_string(exposures.size()) + " of " +
                            std::to_string(index) + ".");
  pool.parallel_for(s.squares.columns, [&](int64_t column, int) {
    const int64_t from = s.squares.left(column) * 6;
    for (size_t i = 0; i < s.seen.size(); ++i)
      s.seen[i][index * s.squares.columns + column] = difference(exposures[i] + from, exposures[i + 1] + from, s.width);
  });
  return {};
}

Status ColourNoise::take_away(float* picture, ThreadPool& pool, const Progress* progress) const {
  const int64_t width = state_->width, height = state_->height;
  try {
    const Noise noise = state_->noise(picture, pool);
    if (!noise.picture.known()) return {};
    // Rows of the picture from a step above a group to a step below it; what the groups share is kept, as it was.
    Planes planes(kGroup + kStripe + 2 * kBlock, width);
    for (int64_t first = 0, end = 0; first < height; first = end) {
      if (progress && progress->stop()) return Error{ErrorCode::cancelled, "Cancelled."};
      // No group at the bottom is so low that what it sees mirrored has been changed.
      end = height - first < kGroup + kStripe ? height : first + kGroup;
      const int64_t top = first - kStep;
      const int64_t known = first > 0 ? kBlock : 0, rows = end - first + kStep + kBlock;
      if (first > 0) planes.move(kGroup, 0, known);
      pool.parallel_for(rows - known, [&](int64_t i, int) {
        const int64_t row = known + i;
        planes.fill(row, picture + mirror(top + row, height) * width * 3, width);
      });
      pool.parallel_for((end - first + kStripe - 1) / kStripe, [&](int64_t i, int) {
        const int64_t y = first + i * kStripe;
        clean_rows(picture, width, y, std::min(end, y + kStripe), top, planes, noise);
      });
    }
  } catch (const std::bad_alloc&) {
    return out_of_memory(width, height);
  }
  return {};
}

}  // namespace smhdr
