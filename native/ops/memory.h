// Where a device's tensors lie. The network, its tape and the trainer allocate, copy and fill through it alone and
// never touch a tensor's floats themselves: on a GPU pointers to floats are the device's.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "smhdr/status.h"
#include "smhdr/tensor.h"

namespace smhdr {

/// What one run takes to a device and brings back, copied beside the work of another: a place on the device, and copies
/// in an order of their own. In turn: reserve, upload, begin, what computes, end, download. What is between begin() and
/// end(), and reserve(), is like Memory's for the thread whose turn on the device it is; copies are for any one thread.
class Staging {
 public:
  virtual ~Staging() = default;
  /// Whether the place is for so many floats, and not for far more.
  virtual bool fits(int64_t floats) const = 0;
  /// Makes it so. False: there is not enough memory, and no place.
  virtual bool reserve(int64_t floats) = 0;
  /// The place, aligned to 64 bytes; null: none.
  virtual float* data() const = 0;
  virtual int64_t bytes() const = 0;
  /// Into the place, once what end() saw is done. `from` may be changed or freed on return.
  virtual void upload(const float* from, float* to, int64_t floats) = 0;
  /// What is queued from now on finds what was uploaded.
  virtual void begin() = 0;
  /// What was queued until now may still use the place.
  virtual void end() = 0;
  /// Of the place, once what end() saw is done; waits for the copy.
  virtual void download(const float* from, float* to, int64_t floats) = 0;
  /// The first failure of a copy since the last call.
  virtual Status status() = 0;
};

/// What is queued on a device is done in order, and what fails there shows at the next synchronize().
class Memory {
 public:
  virtual ~Memory() = default;
  /// Whether the host may use the device's pointers: then no copy is made where only a view is needed.
  virtual bool on_host() const { return false; }
  /// What a thread calls before it uses the device.
  virtual void enter() {}
  /// Aligned to 64 bytes, not filled. Null: there is not enough.
  virtual float* allocate(int64_t floats) = 0;
  /// Of a pointer that allocate() gave, or null. What was queued before may still use it.
  virtual void release(float* data) = 0;
  /// `from` may be changed or freed on return.
  virtual void upload(const float* from, float* to, int64_t floats) = 0;
  /// Waits for what was queued; where that failed `to` holds NaN.
  virtual void download(const float* from, float* to, int64_t floats) = 0;
  /// Within the device; the ranges do not overlap.
  virtual void copy(const float* from, float* to, int64_t floats) = 0;
  virtual void fill(float* to, float value, int64_t floats) = 0;
  /// What an op does that got no memory: the next synchronize() says so. The host's throws std::bad_alloc.
  virtual void fail_allocation() = 0;
  /// Waits for what was queued and gives the first failure since the last call.
  virtual Status synchronize() { return {}; }
  /// Bytes that could still be allocated; -1: not known.
  virtual int64_t available() const { return -1; }
  /// Of a device that the host may not use; it must not outlive the memory. Null: on the host.
  virtual std::unique_ptr<Staging> make_staging() { return nullptr; }
};

/// The host's own, for ops that compute on it.
Memory& host_memory();

/// Owned floats of a device. Test it: it is false where there was not enough memory.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Memory& memory, int64_t floats) : memory_(&memory), data_(memory.allocate(floats)) {}
  Buffer(Buffer&& other) noexcept : memory_(other.memory_), data_(std::exchange(other.data_, nullptr)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(data_, other.data_);
    return *this;
  }
  ~Buffer() {
    if (data_) memory_->release(data_);
  }
  explicit operator bool() const { return data_ != nullptr; }
  float* data() const { return data_; }

 private:
  Memory* memory_ = nullptr;
  float* data_ = nullptr;
};

/// Memory that one piece of work after another uses: its pages are the process's already.
class KeptMemory {
 public:
  /// Null: there is not enough. What was taken before is gone.
  float* take(Memory& memory, int64_t floats) {
    if (floats > floats_) {
      release();  // before there is more
      buffer_ = Buffer(memory, floats);
      if (buffer_) floats_ = floats;
    }
    return floats <= floats_ ? buffer_.data() : nullptr;
  }
  void release() { buffer_ = Buffer(), floats_ = 0; }

 private:
  Buffer buffer_;
  int64_t floats_ = 0;
};

inline Buffer zeros(Memory& memory, int64_t floats) {
  Buffer buffer(memory, floats);
  if (buffer) memory.fill(buffer.data(), 0, floats);
  return buffer;
}

/// Values of the host, readable by the device: themselves where it can, else a copy. data() is null where there was not
/// enough memory, or nothing was given.
class OnDevice {
 public:
  OnDevice() = default;
  OnDevice(Memory& memory, const float* values, int64_t floats) : data_(values) {
    if (memory.on_host() || !values) return;
    copy_ = Buffer(memory, floats);
    data_ = copy_.data();
    if (copy_) memory.upload(values, copy_.data(), floats);
  }
  const float* data() const { return data_; }

 private:
  const float* data_ = nullptr;
  Buffer copy_;
};

/// Values of the device, usable by the host: themselves where it can, else a copy, which goes back at the end if asked.
class OnHost {
 public:
  OnHost(Memory& memory, const float* values, int64_t floats)
      : OnHost(memory, const_cast<float*>(values), floats, false) {}
  OnHost(Memory& memory, float* values, int64_t floats, bool back)
      : memory_(memory), values_(values), data_(values), floats_(floats), back_(back) {
    if (memory.on_host() || !values) return;
    copy_.reset(new float[floats]);
    memory.download(values, copy_.get(), floats);
    data_ = copy_.get();
  }
  ~OnHost() {
    if (copy_ && back_) memory_.upload(copy_.get(), values_, floats_);
  }
  OnHost(const OnHost&) = delete;
  float* data() const { return data_; }

 private:
  Memory& memory_;
  float *values_, *data_;
  int64_t floats_;
  bool back_;
  std::unique_ptr<float[]> copy_;
};

}  // namespace smhdr
