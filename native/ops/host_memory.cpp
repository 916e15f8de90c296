// The host as a device: nothing is copied that need not be.
#include <algorithm>
#include <cstring>
#include <new>

#include "ops/memory.h"

namespace smhdr {
namespace {

class HostMemory final : public Memory {
 public:
  bool on_host() const override { return true; }
  float* allocate(int64_t floats) override {
    return static_cast<float*>(::operator new (floats * sizeof(float), std::align_val_t{64}, std::nothrow));
  }
  void release(float* data) override { ::operator delete (data, std::align_val_t{64}); }
  void fail_allocation() override { throw std::bad_alloc(); }
  void upload(const float* from, float* to, int64_t floats) override { copy(from, to, floats); }
  void download(const float* from, float* to, int64_t floats) override { copy(from, to, floats); }
  void copy(const float* from, float* to, int64_t floats) override { std::memcpy(to, from, floats * sizeof(float)); }
  void fill(float* to, float value, int64_t floats) override { std::fill_n(to, floats, value); }
};

}  // namespace

Memory& host_memory() {
  static HostMemory memory;
  return memory;
}

}  // namespace smhdr
