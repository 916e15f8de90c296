// Any pictures, exposure values and scales: an error value, or homographies that are finite and can be inverted.
#include <fuzzer/FuzzedDataProvider.h>

#include <cmath>
#include <cstdlib>
#include <vector>

#include "align/warp.h"
#include "smhdr/align.h"

using namespace smhdr;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static ThreadPool pool(1);
  FuzzedDataProvider from(data, size);
  const int64_t count = from.ConsumeIntegralInRange<int64_t>(0, 4);
  const int64_t width = from.ConsumeIntegralInRange<int64_t>(0, 80),
                height = from.ConsumeIntegralInRange<int64_t>(0, 80);
  const int64_t channels = from.ConsumeIntegralInRange<int64_t>(1, 3);
  const int64_t reference = from.ConsumeIntegralInRange<int64_t>(-1, 4);
  const double scale = from.ConsumeBool() ? 1 : from.ConsumeFloatingPoint<double>();
  std::vector<double> values;
  for (int64_t i = 0; i < count; ++i)
    values.push_back(from.ConsumeBool() ? double(2 * i) : from.ConsumeFloatingPoint<double>());
  const int kind = from.ConsumeIntegralInRange(0, 2);
  const std::vector<uint8_t> bytes = from.ConsumeRemainingBytes<uint8_t>();
  // The bytes again and again: as floats of any kind, as light in [0, 1], or that and shifted from picture to picture.
  std::vector<std::vector<float>> pictures(count, std::vector<float>(width * height * channels));
  for (int64_t p = 0; p < count; ++p)
    for (size_t i = 0; i < pictures[p].size() && !bytes.empty(); ++i) {
      if (kind == 0)
        for (size_t k = 0; k < 4; ++k)
          reinterpret_cast<uint8_t*>(&pictures[p][i])[k] = bytes[(4 * i + k + size_t(p)) % bytes.size()];
      else
        pictures[p][i] =
            std::min(1.0f, float(bytes[(i + (kind == 2 ? 3 * p : 0)) % bytes.size()]) / 255.0f * std::exp2(float(p)));
    }
  std::vector<AlignImage> images;
  for (const auto& picture : pictures) images.push_back({picture.data(), width, height, channels});
  const auto result = align_bracket(images, values, reference, scale, pool);
  if (!result.ok()) return 0;
  for (const ExposureAlignment& found : result.value()) {
    for (const double element : found.homography)
      if (!std::isfinite(element)) std::abort();
    if (!std::isfinite(found.displacement) || !std::isfinite(found.agreement_after)) std::abort();
    for (const double element : align::inverse(found.homography))
      if (!std::isfinite(element)) std::abort();
  }
  return 0;
}
