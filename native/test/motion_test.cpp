// Following what moved: a block that wanders over a textured scene, and pictures in which nothing does.
#include "smhdr/motion.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <functional>
#include <vector>

#include "align/warp.h"
#include "check.h"
#include "noise.h"

namespace {

using smhdr::AlignImage;
using smhdr::MotionField;
using smhdr::MotionView;
using smhdr::PixelRows;
using smhdr::ThreadPool;
using smhdr::align::Matrix;
using smhdr::test::hash;
using smhdr::test::noise;

constexpr int64_t kWidth = 320, kHeight = 240;

float texture(float x, float y, uint32_t seed) {
  return 0.02f * std::exp2(2.5f * noise(x / 37, y / 37, seed) + 2 * noise(x / 6, y / 6, seed + 1));
}

/// A round thing of another texture, so far from where it is in the reference.
struct Thing {
  float x = 0, y = 0, radius = 42, bright = 1;
  bool there = true;
};

struct Shot {
  Thing thing;
  double stops = 0;
  double noise = 0.002;
  bool s_curve = false;
  Matrix warp = smhdr::align::kIdentity;  // reference pixel centres -> this shot's
  uint32_t seed = 0;
};

bool inside(const Thing& thing, double x, double y) {
  return thing.there && std::hypot(x - 150 - thing.x, y - 120 - thing.y) < thing.radius;
}

std::vector<float> render(const Shot& shot, int64_t width = kWidth, int64_t height = kHeight, double zoom = 1) {
  const Matrix back = smhdr::align::inverse(shot.warp);
  std::vector<float> out(3 * width * height);
  uint32_t state = hash(shot.seed + 99);
  const auto random = [&] { return double((state = hash(state + 0x9e3779b9u)) >> 8) / 16777216.0; };
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x)
      for (int64_t c = 0; c < 3; ++c) {
        double light = 0;
        for (int k = 0; k < 4; ++k) {
          auto p = smhdr::align::apply(back, double(x) - 0.25 + 0.5 * (k & 1), double(y) - 0.25 + 0.5 * (k >> 1));
          p.x /= zoom, p.y /= zoom;
          light += inside(shot.thing, p.x, p.y)
                       ? shot.thing.bright * texture(float(p.x) - shot.thing.x + 500, float(p.y) - shot.thing.y, 40)
                       : texture(float(p.x), float(p.y), 7);
        }
        light *= (0.8 + 0.2 * double(c)) * std::exp2(shot.stops) / 4;
        light += 1.7 * shot.noise * (random() + random() + random() + random() - 2);
        double code = std::pow(std::clamp(light, 0.0, 1.0), 1 / 2.2);
        if (shot.s_curve) code = code * code * (3 - 2 * code);
        out[3 * (y * width + x) + c] = float(std::pow(std::round(255 * code) / 255, 2.2));
      }
  return out;
}

AlignImage view(const std::vector<float>& pixels, int64_t width = kWidth, int64_t height = kHeight) {
  return {pixels.data(), width, height, 3};
}
MotionView view(const MotionField& field) { return {field.moved.data(), field.width, field.height, field.scale}; }

MotionField find(const std::vector<float>& reference, const std::vector<float>& exposure, double stops,
                 ThreadPool& pool, const Matrix& warp = smhdr::align::kIdentity) {
  auto found = smhdr::find_motion(view(reference), view(exposure), stops, warp, 1, pool);
  if (!CHECK(found.ok())) return {};
  return found.value();
}

std::vector<float> followed(const MotionField& field, const std::vector<float>& exposure) {
  std::vector<float> out(exposure.size());
  smhdr::follow_rows(view(field), true, PixelRows<const float>{exposure.data(), kWidth, 0, kHeight},
                     PixelRows<float>{out.data(), kWidth, 0, kHeight});
  return out;
}

/// Mean difference of roots of light, of those that do not clip, where the reference's thing is and a little inside.
double difference(const std::vector<float>& reference, const std::vector<float>& exposure, double stops) {
  Thing thing;
  thing.radius -= 4;
  double sum = 0;
  int64_t count = 0;
  for (int64_t y = 0; y < kHeight; ++y)
    for (int64_t x = 0; x < kWidth; ++x) {
      if (!inside(thing, double(x), double(y))) continue;
      for (int64_t c = 0; c < 3; ++c) {
        const size_t i = 3 * (y * kWidth + x) + c;
        if (reference[i] >= 0.98f || exposure[i] >= 0.98f) continue;
        sum += std::abs(std::sqrt(reference[i]) - std::sqrt(exposure[i] / std::exp2(stops))), ++count;
      }
    }
  return count ? sum / double(count) : 0;
}

void test_thing(const char* name, const Shot& shot, double largest_share, ThreadPool& pool) {
  Shot still;
  still.s_curve = shot.s_curve, still.thing.bright = shot.thing.bright, still.seed = 1;
  const auto reference = render(still), exposure = render(shot);
  const MotionField field = find(reference, exposure, shot.stops, pool, shot.warp);
  if (shot.warp != smhdr::align::kIdentity) {
    std::printf("  %-28s %6ld moved\n", name, long(field.count));
  } else {
    const auto result = followed(field, exposure);
    const double before = difference(reference, exposure, shot.stops);
    const double after = difference(reference, result, shot.stops);
    std::printf("  %-28s %6ld moved, difference %.4f -> %.4f\n", name, long(field.count), before, after);
    CHECK(after < largest_share * before);
    int64_t changed = 0;
    for (int64_t p = 0; p < kWidth * kHeight; ++p)
      for (int64_t c = 0; c < 3; ++c) {
        const bool same = result[3 * p + c] == exposure[3 * p + c];
        if (field.moved[2 * p] == MotionField::kUnmoved) CHECK(same);
        changed += !same && c == 0;
      }
    CHECK(changed > field.count / 2 && changed <= field.count);
  }
  // The thing covers 5,500 pixels; what is uncovered behind it cannot be followed.
  CHECK(field.count > 2500 && field.count < 8000);
}

void test_still(const char* name, const Shot& shot, ThreadPool& pool) {
  Shot still;
  still.s_curve = false, still.seed = 1;
  const MotionField field = find(render(still), render(shot), shot.stops, pool, shot.warp);
  std::printf("  %-28s %6ld moved\n", name, long(field.count));
  CHECK(field.count < 40);
}

void test_found(ThreadPool& pool) {
  Shot shot;
  shot.thing.x = 7.3f, shot.thing.y = -3.6f;
  test_thing("some pixels", shot, 0.35, pool);
  shot.stops = 2, test_thing("and two stops more", shot, 0.4, pool);
  shot.stops = -2, test_thing("two stops less", shot, 0.4, pool);
  shot.warp = {1, 0.01, 3.3, -0.01, 1, -2.2, 0, 0, 1};
  test_thing("and the camera moves", shot, 0.5, pool);
  // As far as this only what coarse scales can tell from the rest.
  shot.thing.x = -23, shot.thing.y = 14, shot.thing.bright = 2.5f, shot.warp = smhdr::align::kIdentity;
  test_thing("farther", shot, 0.5, pool);
  shot.warp = {1, 0.01, 3.3, -0.01, 1, -2.2, 0, 0, 1};
  test_thing("and the camera moves", shot, 0.5, pool);
}

void test_left_alone(ThreadPool& pool) {
  Shot shot;
  shot.seed = 5;
  test_still("nothing moves", shot, pool);
  shot.stops = 3, test_still("three stops more", shot, pool);
  shot.stops = -3, shot.noise = 0.004, test_still("three stops less, noise", shot, pool);
  shot = {};
  shot.seed = 6, shot.s_curve = true, shot.stops = 1;
  test_still("another tone curve", shot, pool);
  shot = {};
  shot.warp = {1, 0.01, 3.3, -0.01, 1, -2.2, 0, 0, 1};
  test_still("only the camera moves", shot, pool);
}

void test_threads_and_scale(ThreadPool& pool) {
  Shot shot;
  shot.thing.x = 6, shot.thing.y = 4;
  const auto reference = render({}), exposure = render(shot);
  ThreadPool one(1), three(3);
  const MotionField a = find(reference, exposure, 0, one), b = find(reference, exposure, 0, three);
  CHECK(a.count > 0 && a.moved == b.moved);
  // The same pictures as small ones of a photograph.
  auto scaled = smhdr::find_motion(view(reference), view(exposure), 0, smhdr::align::kIdentity, 3, pool);
  CHECK(scaled.ok() && scaled.value().scale == 3 && scaled.value().moved == a.moved);
  // More than a megapixel: reduced, and an odd size.
  const int64_t width = 1281, height = 961;
  const auto large = render({}, width, height, 4), large_moved = render(shot, width, height, 4);
  auto reduced = smhdr::find_motion(view(large, width, height), view(large_moved, width, height), 0,
                                    smhdr::align::kIdentity, 1, pool);
  if (!CHECK(reduced.ok())) return;
  const MotionField& field = reduced.value();
  CHECK(field.scale == 2 && field.width == 641 && field.height == 481 && field.count > 14000);
  const int64_t middle = 2 * (240 * field.width + 300);  // (6, 4) by 4 / 2 pixels of the field
  CHECK(std::abs(field.moved[middle] / 64.0 - 12) < 0.3 && std::abs(field.moved[middle + 1] / 64.0 - 8) < 0.3);
}

/// A field of 4 x 3 pixels of 5 pixels each, of which some moved by (dx, dy) of them.
MotionField small_field(double dx, double dy) {
  MotionField field{4, 3, 5, std::vector<int16_t>(24, 0), 4};
  for (size_t i = 0; i < 12; ++i) {
    const bool moved = i % 4 == 1 || i % 4 == 2;
    field.moved[2 * i] = moved ? int16_t(std::lround(64 * dx)) : MotionField::kUnmoved;
    field.moved[2 * i + 1] = moved ? int16_t(std::lround(64 * dy)) : int16_t(0);
  }
  return field;
}

template <typename Sample>
void test_rows(bool linear) {
  const int64_t width = 19, height = 14;
  std::vector<Sample> in(3 * width * height);
  for (size_t i = 0; i < in.size(); ++i)
    in[i] = Sample(std::is_same_v<Sample, float> ? double(hash(i) % 1000) / 999 : hash(i) % 251);
  // Whole pixels: copies, beyond the border its last.
  const MotionField whole = small_field(0.4, -0.6);  // 2 and -3 pixels
  std::vector<Sample> out(in.size());
  const auto run = [&](const MotionField& field, int64_t y0, int64_t y1) {
    const auto [from, to] = smhdr::rows_followed(view(field), y0, y1);
    const int64_t first = std::max<int64_t>(from, 0), rows = std::min(to, height) - first;
    const std::vector<Sample> given(in.begin() + 3 * width * first, in.begin() + 3 * width * (first + rows));
    smhdr::follow_rows(view(field), linear, PixelRows<const Sample>{given.data(), width, first, rows},
                       PixelRows<Sample>{out.data() + 3 * width * y0, width, y0, y1 - y0});
  };
  run(whole, 0, height);
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x)
      for (int64_t c = 0; c < 3; ++c) {
        const bool moved = x / 5 == 1 || x / 5 == 2;
        const int64_t sx = moved ? std::min(x + 2, width - 1) : x, sy = moved ? std::max<int64_t>(y - 3, 0) : y;
        const double got = double(out[3 * (y * width + x) + c]), expected = double(in[3 * (sy * width + sx) + c]);
        // 0.4 and 0.6 are not exact in 64ths.
        CHECK(moved ? std::abs(got - expected) < (std::is_same_v<Sample, float> ? 0.06 : 15) : got == expected);
      }
  // Strips are the whole; values stay within what is there.
  const MotionField between = small_field(0.33, 0.47);
  run(between, 0, height);
  const std::vector<Sample> at_once = out;
  const auto [least, most] = std::minmax_element(in.begin(), in.end());
  for (const Sample v : at_once) CHECK(v >= *least && v <= *most);
  for (int64_t step : {1, 3, 5}) {
    std::fill(out.begin(), out.end(), Sample(0));
    for (int64_t y = 0; y < height; y += step) run(between, y, std::min(y + step, height));
    CHECK(out == at_once);
  }
}

void test_bad(ThreadPool& pool) {
  const std::vector<float> pixels = render({});
  const AlignImage good = view(pixels), small{pixels.data(), 31, 200, 3}, other{pixels.data(), kWidth, kHeight - 1, 3};
  const Matrix identity = smhdr::align::kIdentity, singular = {1, 0, 0, 1, 0, 0, 0, 0, 1};
  const auto error = [&](const AlignImage& a, const AlignImage& b, double stops, const Matrix& h, int64_t scale) {
    const auto result = smhdr::find_motion(a, b, stops, h, scale, pool);
    return !result.ok() && result.error().code == smhdr::ErrorCode::invalid_argument;
  };
  CHECK(error(good, other, 0, identity, 1));
  CHECK(error(good, {nullptr, kWidth, kHeight, 3}, 0, identity, 1));
  CHECK(error(good, good, NAN, identity, 1));
  CHECK(error(good, good, 0, singular, 1));
  CHECK(error(good, good, 0, identity, 0));
  const auto tiny = smhdr::find_motion(small, small, 0, identity, 1, pool);
  CHECK(tiny.ok() && tiny.value().count == 0);
  // An exposure value that is far off: nothing can be told.
  const auto wrong = smhdr::find_motion(good, good, 3, identity, 1, pool);
  CHECK(wrong.ok() && wrong.value().count == 0);
  // Values that are no numbers are somebody else's error, but do no harm.
  std::vector<float> broken = pixels;
  for (size_t i = 0; i < broken.size(); i += 7) broken[i] = i % 2 ? NAN : INFINITY;
  CHECK(smhdr::find_motion(good, view(broken), 1, identity, 1, pool).ok());
  // A homography with its horizon inside the picture.
  CHECK(smhdr::find_motion(good, good, 0, {1, 0, 0, 0, 1, 0, 1.0 / 128, 0, -1}, 1, pool).ok());
  std::atomic<bool> stop = true;
  const auto cancelled = smhdr::find_motion(good, good, 0, identity, 1, pool, {{}, &stop});
  CHECK(!cancelled.ok() && cancelled.error().code == smhdr::ErrorCode::cancelled);
}

}  // namespace

int main() {
  ThreadPool pool(2);
  test_found(pool);
  test_left_alone(pool);
  test_threads_and_scale(pool);
  test_rows<uint8_t>(false);
  test_rows<uint16_t>(false);
  test_rows<float>(true);
  test_bad(pool);
  return smhdr::test::finish();
}
