// findMotion, rowsFollowed and followRows: see smhdr/motion.h.
#include "smhdr/motion.h"

#include <memory>

#include "parts.h"
#include "typed_array.h"
#include "worker.h"

namespace smhdr::addon {
namespace {

/// findMotion(reference, exposure, width, height, scale, stops, homography, threads) -> { promise, cancel }: the field,
/// or undefined where nothing moved. The pictures are RGB.
Napi::Value find(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!is(info[0], napi_float32_array) || !is(info[1], napi_float32_array) || !info[2].IsNumber() ||
      !info[3].IsNumber() || !info[4].IsNumber() || !info[5].IsNumber() || !info[6].IsArray())
    throw to_js(
        env, invalid_argument("findMotion: expected (reference, exposure, width, height, scale, stops, homography)."));
  const int64_t width = info[2].As<Napi::Number>().Int64Value(), height = info[3].As<Napi::Number>().Int64Value();
  const int64_t scale = info[4].As<Napi::Number>().Int64Value();
  const double stops = info[5].As<Napi::Number>().DoubleValue();
  if (!holds(info[0], width, height, 3) || !holds(info[1], width, height, 3))
    throw to_js(env, invalid_argument("findMotion: expected pictures of width x height x 3 values."));
  const Napi::Array given = info[6].As<Napi::Array>();
  std::array<double, 9> homography{};
  for (uint32_t k = 0; k < 9; ++k) {
    const Napi::Value value = given.Get(k);
    if (!value.IsNumber()) throw to_js(env, invalid_argument("findMotion: expected a homography of 9 numbers."));
    homography[k] = value.As<Napi::Number>().DoubleValue();
  }
  const AlignImage reference = {info[0].As<Napi::Float32Array>().Data(), width, height, 3};
  const AlignImage exposure = {info[1].As<Napi::Float32Array>().Data(), width, height, 3};
  const auto pool = shared_pool(info[7].IsNumber() ? info[7].As<Napi::Number>().Int32Value() : 0);
  const auto found = std::make_shared<MotionField>();
  return start_task(
      env, {info[0], info[1]}, env.Undefined(),
      [=](const Progress& progress) -> Status {
        auto result = find_motion(reference, exposure, stops, homography, scale, *pool, progress);
        if (!result.ok()) return result.error();
        *found = std::move(result.value());
        return {};
      },
      [found](Napi::Env callback_env) -> Napi::Value {
        if (found->count == 0) return callback_env.Undefined();
        Napi::Int16Array moved = Napi::Int16Array::New(callback_env, found->moved.size());
        std::copy(found->moved.begin(), found->moved.end(), moved.Data());
        Napi::Object field = Napi::Object::New(callback_env);
        field.Set("width", double(found->width));
        field.Set("height", double(found->height));
        field.Set("scale", double(found->scale));
        field.Set("moved", moved);
        field.Set("count", double(found->count));
        return field;
      });
}

/// A field as findMotion makes it; it must outlive the view.
MotionView view_of(Napi::Env env, const Napi::Value& value) {
  if (value.IsObject()) {
    const Napi::Object field = value.As<Napi::Object>();
    const auto number = [&](const char* name) {
      return field.Get(name).IsNumber() ? field.Get(name).As<Napi::Number>().Int64Value() : 0;
    };
    const MotionView view{nullptr, number("width"), number("height"), number("scale")};
    const Napi::Value moved = field.Get("moved");
    if (is(moved, napi_int16_array) && holds(moved, view.width, view.height, 2) && view.scale >= 1 &&
        view.scale <= 1 << 24)
      return {moved.As<Napi::Int16Array>().Data(), view.width, view.height, view.scale};
  }
  throw to_js(env, invalid_argument("field: expected what findMotion makes."));
}

int64_t row_number(const Napi::Value& value) { return value.IsNumber() ? value.As<Napi::Number>().Int64Value() : -1; }

/// rowsFollowed(field, y0, y1) -> [from, to]
Napi::Value reach(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const MotionView field = view_of(env, info[0]);
  const int64_t y0 = row_number(info[1]), y1 = row_number(info[2]);
  if (y0 < 0 || y1 <= y0 || (y1 - 1) / field.scale >= field.height)
    throw to_js(env, invalid_argument("rowsFollowed: expected rows of the photograph."));
  const RowRange range = rows_followed(field, y0, y1);
  return to_pair(env, range.from, range.to);
}

template <typename Sample>
void follow_samples(const MotionView& field, bool linear, Napi::TypedArray in, Napi::TypedArray out, int64_t width,
                    int64_t in_first, int64_t out_first) {
  const auto data = [](Napi::TypedArray array) { return reinterpret_cast<Sample*>(data_of(array)); };
  const int64_t in_rows = int64_t(in.ElementLength()) / 3 / width, out_rows = int64_t(out.ElementLength()) / 3 / width;
  follow_rows(field, linear, PixelRows<const Sample>{data(in), width, in_first, in_rows},
              PixelRows<Sample>{data(out), width, out_first, out_rows});
}

/// followRows(field, linear, width, inFirst, in, outFirst, out)
Napi::Value follow(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto refuse = [&](const char* message) { return to_js(env, invalid_argument(message)); };
  const MotionView field = view_of(env, info[0]);
  const int64_t width = row_number(info[2]), in_first = row_number(info[3]), out_first = row_number(info[5]);
  if (!info[4].IsTypedArray() || !info[6].IsTypedArray() ||
      info[4].As<Napi::TypedArray>().TypedArrayType() != info[6].As<Napi::TypedArray>().TypedArrayType())
    throw refuse("followRows: expected rows in and out of one type.");
  const Napi::TypedArray in = info[4].As<Napi::TypedArray>(), out = info[6].As<Napi::TypedArray>();
  const int64_t in_samples = int64_t(in.ElementLength()), out_samples = int64_t(out.ElementLength());
  const int64_t most = int64_t(1) << 31;
  if (width < 1 || width > most || in_first < 0 || out_first < in_first || out_first > most || out_samples == 0 ||
      in_samples % (3 * width) != 0 || out_samples % (3 * width) != 0)
    throw refuse("followRows: expected whole rows.");
  const int64_t in_rows = in_samples / 3 / width, out_rows = out_samples / 3 / width;
  if (out_first + out_rows > in_first + in_rows || (width - 1) / field.scale >= field.width ||
      (out_first + out_rows - 1) / field.scale >= field.height)
    throw refuse("followRows: expected the rows asked for among those given, and inside the field.");
  const bool linear = info[1].ToBoolean();
  if (is(info[4], napi_uint8_array))
    follow_samples<uint8_t>(field, linear, in, out, width, in_first, out_first);
  else if (is(info[4], napi_uint16_array))
    follow_samples<uint16_t>(field, linear, in, out, width, in_first, out_first);
  else if (is(info[4], napi_float32_array))
    follow_samples<float>(field, linear, in, out, width, in_first, out_first);
  else
    throw refuse("followRows: expected samples of 8 or 16 bits, or floats.");
  return env.Undefined();
}

}  // namespace

void init_motion(Napi::Env env, Napi::Object exports) {
  exports.Set("findMotion", Napi::Function::New(env, find, "findMotion"));
  exports.Set("rowsFollowed", Napi::Function::New(env, reach, "rowsFollowed"));
  exports.Set("followRows", Napi::Function::New(env, follow, "followRows"));
}

}  // namespace smhdr::addon
