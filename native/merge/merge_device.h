// What merges instead of the processor.
#pragma once

#include <span>

#include "merge/merge_model.h"
#include "smhdr/status.h"

namespace smhdr {

/// One strip after another; the calls of a strip come in this order, on one thread at a time. Errors: out_of_memory, or
/// what failed there.
class MergeDevice {
 public:
  virtual ~MergeDevice() = default;
  virtual const char* name() const = 0;
  /// Copies what rows [y0, y1) are made of; `rows` is as RadianceMerger::merge() has checked it.
  virtual Status load(const MergeModel& model, std::span<const ExposureRows> rows, int64_t y0, int64_t y1) = 0;
  /// Merges what was loaded, as often as it is called, and waits for it.
  virtual Status run() = 0;
  /// (y1 - y0) x width x 3 values to the host; what was loaded is then gone.
  virtual Status fetch(float* out) = 0;

  Status merge(const MergeModel& model, std::span<const ExposureRows> rows, int64_t y0, int64_t y1, float* out) {
    if (Status status = load(model, rows, y0, y1); !status.ok()) return status;
    if (Status status = run(); !status.ok()) return status;
    return fetch(out);
  }
};

}  // namespace smhdr
