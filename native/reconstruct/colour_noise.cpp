#include "smhdr/colour_noise.h"

#include <algorithm>
#include <cmath>
#include <new>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "core/mirror.h"
#include "core/picture_size.h"
#include "smhdr/mu_law.h"
#include "smhdr/progress.h"

namespace smhdr {
namespace {

constexpr float kMuFloat = float(kMu), kLogWhite = 8.51739317f;  // ln(1 + mu)
constexpr int kBlock = 8, kStep = 4;
constexpr int64_t kGroup = 256;  // rows whose differences of colour are in memory at once
constexpr int64_t kStripe = 32;  // rows of a thread's turn
// Of the noise's deviation: below it a frequency vanishes. Chosen on twenty synthetic brackets, nine of test images;
// half as much again changes little.
constexpr float kThreshold = 2;
constexpr double kSmoothest = 0.3;                     // share of the squares that show noise alone
constexpr int64_t kLeastSquares = 64, kMostBins = 24;  // squares a brightness is judged by, and how many of those
constexpr int64_t kMostMeasured = int64_t(1) << 16;    // squares
constexpr float kRootHalf = 0.707106781f, kRootSixth = 0.408248290f;

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

/// Mu-law values of a pixel: their mean, and the two differences of colour, orthonormal to it and to each other.
struct Colours {
  float brightness, red_blue, green;
  explicit Colours(const float* rgb) {
    float v[3];
    for (int c = 0; c < 3; ++c) v[c] = std::log(1 + kMuFloat * std::clamp(rgb[c], 0.0f, 1.0f)) / kLogWhite;
    brightness = (v[0] + v[1] + v[2]) / 3;
    red_blue = (v[0] - v[2]) * kRootHalf;
    green = (2 * v[1] - v[0] - v[2]) * kRootSixth;
  }
};

/// The noise's deviation in each difference of colour, by brightness.
class Noise {
 public:
  /// Of squares over all of the picture; empty where there are too few.
  Noise(const float* picture, int64_t height, int64_t width, ThreadPool& pool) {
    const int64_t down = height / kBlock, across = width / kBlock;
    int64_t step = 1;
    while ((down / step) * (across / step) > kMostMeasured) ++step;
    const int64_t rows = down / step, columns = across / step;
    std::vector<Square> squares(rows * columns);
    pool.parallel_for(rows, [&](int64_t row, int) {
      for (int64_t column = 0; column < columns; ++column)
        squares[row * columns + column] =
            measure(picture + (row * step * kBlock * width + column * step * kBlock) * 3, width);
    });
    squares.erase(
        std::remove_if(squares.begin(), squares.end(),
                       [](const Square& s) { return !std::isfinite(s.brightness + s.noise[0] + s.noise[1]); }),
        squares.end());
    const auto count = int64_t(squares.size()), bins = std::min(kMostBins, count / kLeastSquares);
    std::sort(squares.begin(), squares.end(), [](const Square& a, const Square& b) {
      return std::tie(a.brightness, a.noise[0], a.noise[1]) < std::tie(b.brightness, b.noise[0], b.noise[1]);
    });
    for (int64_t bin = 0; bin < bins; ++bin) {
      const int64_t begin = count * bin / bins, end = count * (bin + 1) / bins;
      Square typical{};
      double sum = 0;
      for (int64_t i = begin; i < end; ++i) sum += squares[i].brightness;
      typical.brightness = float(sum / double(end - begin));
      for (int c = 0; c < 2; ++c) {
        std::vector<float> seen;
        for (int64_t i = begin; i < end; ++i) seen.push_back(squares[i].noise[c]);
        const auto at = seen.begin() + int64_t(kSmoothest * double(seen.size()));
        std::nth_element(seen.begin(), at, seen.end());
        typical.noise[c] = *at;
      }
      tones_.push_back(typical);
    }
  }

  bool known() const { return !tones_.empty(); }

  /// Deviations at this brightness: between the tones measured, beyond them as at the last.
  std::pair<float, float> at(float brightness) const {
    const auto above = std::lower_bound(tones_.begin(), tones_.end(), brightness,
                                        [](const Square& tone, float value) { return tone.brightness < value; });
    if (above == tones_.begin()) return {above->noise[0], above->noise[1]};
    const Square& below = above[-1];
    if (above == tones_.end()) return {below.noise[0], below.noise[1]};
    const float along = (brightness - below.brightness) / (above->brightness - below.brightness);
    return {below.noise[0] + along * (above->noise[0] - below.noise[0]),
            below.noise[1] + along * (above->noise[1] - below.noise[1])};
  }

 private:
  struct Square {
    float brightness, noise[2];
  };

  /// The root mean square of the differences of the diagonals of 2x2 pixels: of white noise its deviation, of smooth
  /// content nearly 0.
  static Square measure(const float* picture, int64_t width) {
    float values[2][kBlock][kBlock];
    double brightness = 0;
    for (int y = 0; y < kBlock; ++y)
      for (int x = 0; x < kBlock; ++x) {
        const Colours colours(picture + (y * width + x) * 3);
        brightness += colours.brightness;
        values[0][y][x] = colours.red_blue, values[1][y][x] = colours.green;
      }
    Square out{float(brightness / (kBlock * kBlock)), {}};
    for (int c = 0; c < 2; ++c) {
      const auto& v = values[c];
      double energy = 0;
      for (int y = 0; y + 1 < kBlock; ++y)
        for (int x = 0; x + 1 < kBlock; ++x) {
          const double d = 0.5 * (v[y][x] - v[y][x + 1] - v[y + 1][x] + v[y + 1][x + 1]);
          energy += d * d;
        }
      out.noise[c] = float(std::sqrt(energy / ((kBlock - 1) * (kBlock - 1))));
    }
    return out;
  }

  std::vector<Square> tones_;
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
      const auto [red_blue, green] = noise.at(mean);
      add_block(&planes.colours[0][from], stride, red_blue, &sums[0][to], stride);
      add_block(&planes.colours[1][from], stride, green, &sums[1][to], stride);
    }
  constexpr float kShare = float(kStep * kStep) / (kBlock * kBlock);
  for (int64_t y = first; y < end; ++y)
    for (int64_t x = 0; x < width; ++x) {
      const int64_t from = (y - top) * stride + kStep + x, at = (y - first + kStep) * stride + kStep + x;
      const float red_blue = (sums[0][at] * kShare - planes.colours[0][from]) * (kRootHalf * kLogWhite);
      const float green = (sums[1][at] * kShare - planes.colours[1][from]) * (kRootSixth * kLogWhite);
      if (!std::isfinite(red_blue + green)) continue;
      const float change[3] = {red_blue - green, 2 * green, -red_blue - green};
      for (int c = 0; c < 3; ++c) {
        float& value = picture[(y * width + x) * 3 + c];
        const float more = std::exp(change[c]) - 1;
        value = std::clamp(value + more * (value + 1 / kMuFloat), 0.0f, 1.0f);
      }
    }
}

}  // namespace

Status take_colour_noise_away(float* picture, int64_t height, int64_t width, ThreadPool& pool,
                              const Progress* progress) {
  if (Status status = check_picture_size(width, height); !status.ok()) return status;
  if (width < kBlock || height < kBlock) return {};
  try {
    const Noise noise(picture, height, width, pool);
    if (!noise.known()) return {};
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
    return Error{ErrorCode::out_of_memory, "Not enough memory to take the colour noise of " + std::to_string(width) +
                                               " x " + std::to_string(height) + " pixels away."};
  }
  return {};
}

}  // namespace smhdr
