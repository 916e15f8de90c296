// What the GPU benchmark shares: a network whose weights are on the device, and timing of work that is queued there.
#pragma once

#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "bench/random_network.h"
#include "bench/timing.h"
#include "network/composed.h"
#include "ops/devices.h"

namespace smhdr::bench::gpu {

struct Setting {
  std::function<Result<std::unique_ptr<Ops>>(Precision)> make_ops;
  std::function<Result<std::unique_ptr<MergeDevice>>()> make_merge_device;
  bool bf16 = false;   // whether the device multiplies it
  bool quick = false;  // tiny pictures: shows that everything runs, measures nothing
};

/// Ends the program: a benchmark that cannot measure has nothing to say.
inline void check(const Status& status, const char* what) {
  if (status.ok()) return;
  std::printf("%s: %s\n", what, status.error().message.c_str());
  std::exit(1);
}

/// Tensors on the device for the length of a measurement.
class Tensors {
 public:
  explicit Tensors(Ops& ops) : memory_(ops.memory()) {}
  Tensor make(int batch, int height, int width, int channels) {
    const int64_t count = int64_t{batch} * height * width * channels;
    return {values(random_values(std::min<int64_t>(count, 1 << 20), 0.5f), count), batch, height, width, channels};
  }
  /// `some`, again and again until there are `count`.
  float* values(const std::vector<float>& some, int64_t count) {
    buffers_.emplace_back(memory_, count);
    if (!buffers_.back())
      check(Error{ErrorCode::out_of_memory, std::to_string(count * 4) + " bytes are not there"}, "memory");
    const int64_t size = static_cast<int64_t>(some.size());
    for (int64_t at = 0; at < count; at += size)
      memory_.upload(some.data(), buffers_.back().data() + at, std::min(size, count - at));
    return buffers_.back().data();
  }
  const float* weight(int64_t count) { return values(random_values(count, 0.05f), count); }
  NormWeights norm(int channels) {
    return {values(random_values(channels, 0.1f, 1), channels), values(random_values(channels, 0.1f), channels)};
  }

 private:
  Memory& memory_;
  std::vector<Buffer> buffers_;
};

/// Median seconds of `work`, finished; and `queueing` those until all was queued, which only a graph would save.
inline double seconds_on(Ops& ops, bool quick, const std::function<void()>& work, double* queueing = nullptr) {
  std::vector<double> seconds, queued;
  double total = 0;
  for (int i = quick ? 0 : -2; i < (quick ? 1 : 11) && (total < 8 || i < 1); ++i) {
    double until_queued = 0;
    const double once = seconds_of([&] {
      until_queued = seconds_of(work);
      check(ops.finish(), "device");
    });
    total += once;
    if (i < 0) continue;
    seconds.push_back(once);
    queued.push_back(until_queued);
  }
  if (queueing) *queueing = median(queued);
  return median(seconds);
}

/// What copying within the device reads and writes.
double copy_bytes_per_second(Ops& ops, bool quick);

void time_kernels(const Setting& setting);
void time_merge(const Setting& setting);
void time_network(const Setting& setting);
void time_training(const Setting& setting);
void compare_precisions(const Setting& setting);

}  // namespace smhdr::bench::gpu
