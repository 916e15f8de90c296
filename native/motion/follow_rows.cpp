#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "smhdr/motion.h"

namespace smhdr {
namespace {

/// What four pixels in a row count, `f` beyond the second. (Catmull and Rom, "A class of local interpolating splines",
/// 1974.)
void cubic_weights(float f, float* w) {
  w[0] = f * (-0.5f + f * (1 - 0.5f * f));
  w[1] = 1 + f * f * (1.5f * f - 2.5f);
  w[2] = f * (0.5f + f * (2 - 1.5f * f));
  w[3] = f * f * (0.5f * f - 0.5f);
}

/// How far pixels of one row moved.
class Movement {
 public:
  Movement(const MotionView& field, int64_t y) : field_(field) {
    const float place = (float(y) + 0.5f) / float(field.scale) - 0.5f, top = std::floor(place);
    down_ = place - top;
    for (int j = 0; j < 2; ++j)
      rows_[j] = field.moved + 2 * field.width * std::clamp<int64_t>(int64_t(top) + j, 0, field.height - 1);
    nearest_ = field.moved + 2 * field.width * (y / field.scale);
  }
  /// Whether the pixels of the field's column moved.
  bool in(int64_t column) const { return nearest_[2 * column] != MotionField::kUnmoved; }
  /// In pixels of the photograph: the mean of what the nearest pixels of the field say.
  void of(int64_t x, float& dx, float& dy) const {
    const float place = (float(x) + 0.5f) / float(field_.scale) - 0.5f, left = std::floor(place), across = place - left;
    float weight = 0;
    dx = dy = 0;
    for (int j = 0; j < 2; ++j)
      for (int i = 0; i < 2; ++i) {
        const int16_t* moved = rows_[j] + 2 * std::clamp<int64_t>(int64_t(left) + i, 0, field_.width - 1);
        const float w = (i ? across : 1 - across) * (j ? down_ : 1 - down_);
        if (moved[0] != MotionField::kUnmoved) weight += w, dx += w * moved[0], dy += w * moved[1];
      }
    const float unit = float(field_.scale) / (MotionField::kUnits * weight);
    dx *= unit, dy *= unit;
  }

 private:
  const MotionView& field_;
  const int16_t *rows_[2], *nearest_;
  float down_;
};

template <typename Sample>
void follow(const MotionView& field, bool linear, const PixelRows<const Sample>& in, const PixelRows<Sample>& out) {
  const int64_t stride = 3 * out.width;
  const auto value = [linear](Sample sample) {
    const float v = float(sample);
    return linear ? std::copysign(std::sqrt(std::abs(v)), v) : v;
  };
  for (int64_t row = 0; row < out.rows; ++row) {
    const int64_t y = out.first + row;
    Sample* to = out.data + row * stride;
    std::memcpy(to, in.data + (y - in.first) * stride, size_t(stride) * sizeof(Sample));
    const Movement movement(field, y);
    // A square of the field at a time: a division for every pixel takes longer than the rest.
    for (int64_t x = 0, column = 0, end = 0; x < out.width; ++x) {
      if (x == end) {
        end = std::min(end + field.scale, out.width);
        if (!movement.in(column++)) {
          x = end - 1;
          continue;
        }
      }
      float dx, dy;
      movement.of(x, dx, dy);
      const float sx = std::clamp(float(x) + dx, 0.0f, float(out.width - 1));
      const float sy = std::clamp(float(y) + dy, float(in.first), float(in.first + in.rows - 1));
      const int64_t x0 = int64_t(sx), y0 = int64_t(sy);
      float across[4], along[4];
      cubic_weights(sx - float(x0), across);
      cubic_weights(sy - float(y0), along);
      int64_t columns[4];
      const Sample* lines[4];
      for (int k = 0; k < 4; ++k) {
        columns[k] = 3 * std::clamp<int64_t>(x0 - 1 + k, 0, out.width - 1);
        lines[k] = in.data + (std::clamp<int64_t>(y0 - 1 + k, in.first, in.first + in.rows - 1) - in.first) * stride;
      }
      for (int c = 0; c < 3; ++c) {
        float sum = 0, low = INFINITY, high = -INFINITY;
        for (int j = 0; j < 4; ++j)
          for (int i = 0; i < 4; ++i) {
            const float v = value(lines[j][columns[i] + c]);
            sum += along[j] * across[i] * v;
            if ((i == 1 || i == 2) && (j == 1 || j == 2)) low = std::min(low, v), high = std::max(high, v);
          }
        sum = std::clamp(sum, low, high);
        if (linear) sum = std::copysign(sum * sum, sum);
        if constexpr (std::is_same_v<Sample, float>)
          to[3 * x + c] = sum;
        else
          to[3 * x + c] = Sample(sum + 0.5f);
      }
    }
  }
}

}  // namespace

RowRange rows_followed(const MotionView& field, int64_t y0, int64_t y1) {
  // Between the field's pixels its neighbours count too; the cubic takes two rows to either side.
  const int64_t first = std::max<int64_t>(y0 / field.scale - 1, 0);
  const int64_t last = std::min((y1 - 1) / field.scale + 1, field.height - 1);
  int least = 0, most = 0;
  for (int64_t i = first * field.width; i < (last + 1) * field.width; ++i) {
    if (field.moved[2 * i] == MotionField::kUnmoved) continue;
    least = std::min<int>(least, field.moved[2 * i + 1]), most = std::max<int>(most, field.moved[2 * i + 1]);
  }
  const double unit = double(field.scale) / MotionField::kUnits;
  return {y0 + int64_t(std::floor(least * unit)) - 2, y1 + int64_t(std::ceil(most * unit)) + 2};
}

void follow_rows(const MotionView& field, bool linear, const PixelRows<const uint8_t>& in,
                 const PixelRows<uint8_t>& out) {
  follow(field, linear, in, out);
}
void follow_rows(const MotionView& field, bool linear, const PixelRows<const uint16_t>& in,
                 const PixelRows<uint16_t>& out) {
  follow(field, linear, in, out);
}
void follow_rows(const MotionView& field, bool linear, const PixelRows<const float>& in, const PixelRows<float>& out) {
  follow(field, linear, in, out);
}

}  // namespace smhdr
