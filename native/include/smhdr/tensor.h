// Views of float32 tensors, channels-last: [batch, height, width, channels], contiguous. A view owns nothing.
#pragma once

#include <cstdint>
#include <type_traits>

namespace smhdr {

template <typename T>
struct View {
  T* data = nullptr;
  int batch = 0, height = 0, width = 0, channels = 0;

  // Inlined always: kernels compiled for different instruction sets must not share one out-of-line copy.
  [[gnu::always_inline]] int64_t pixels() const { return int64_t{batch} * height * width; }
  [[gnu::always_inline]] int64_t size() const { return pixels() * channels; }
  /// The channels of one pixel.
  [[gnu::always_inline]] T* at(int b, int y, int x) const {
    return data + ((int64_t{b} * height + y) * width + x) * channels;
  }
  /// One image of the batch.
  [[gnu::always_inline]] View image(int b) const { return {at(b, 0, 0), 1, height, width, channels}; }
  template <typename U>
  requires std::is_same_v<U, const T>
  [[gnu::always_inline]] operator View<U>() const { return {data, batch, height, width, channels}; }
};

using Tensor = View<float>;
using ConstTensor = View<const float>;

}  // namespace smhdr
