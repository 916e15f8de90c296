#include "ops/cuda/shim/runtime.h"

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

thread_local int current_device = 0;

/// Work in order. `queued` counts what ever was.
struct Queue {
  int device = 0;
  std::deque<std::function<cudaError_t()>> work;
  int64_t queued = 0, done = 0;
  cudaError_t error = cudaSuccess;
};

/// One thread at a time, for a queue may have to do the work of others. Never destroyed: static ops may outlive them.
std::recursive_mutex& turn = *new std::recursive_mutex;
std::vector<std::weak_ptr<Queue>>& queues = *new std::vector<std::weak_ptr<Queue>>;

/// Pinned memory, by where it begins.
std::map<const char*, size_t>& pinned = *new std::map<const char*, size_t>;

bool is_pinned(const void* data) {
  const auto after = pinned.upper_bound(static_cast<const char*>(data));
  return after != pinned.begin() && std::prev(after)->first + std::prev(after)->second > data;
}

void add(Queue& queue, std::function<cudaError_t()> work) {
  queue.work.push_back(std::move(work));
  ++queue.queued;
}

/// Does what was queued up to `position`.
void reach(Queue& queue, int64_t position) {
  while (queue.done < position) {
    const auto work = std::move(queue.work.front());
    queue.work.pop_front();
    const cudaError_t error = work();
    ++queue.done;
    if (queue.error == cudaSuccess) queue.error = error;
  }
}

cudaError_t wait(Queue& queue, int64_t position) {
  reach(queue, position);
  return std::exchange(queue.error, cudaSuccess);
}

void reach_all() {
  for (const auto& each : queues)
    if (const auto queue = each.lock()) reach(*queue, queue->queued);
}

}  // namespace

struct ShimStream {
  std::shared_ptr<Queue> queue;
};
struct ShimEvent {
  int device;
  std::shared_ptr<Queue> queue;  // null: never recorded, which counts as done
  int64_t position = 0;
  std::shared_ptr<Clock::time_point> at = std::make_shared<Clock::time_point>();
};

namespace smhdr::cuda_shim {

cudaError_t launch(std::function<void()> kernel, dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream) {
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  if (threads == 0 || threads > 1024 || block.z > 64 || grid.x == 0 || grid.y == 0 || grid.z == 0 ||
      grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535 || shared_bytes > machine.shared_bytes)
    return cudaErrorInvalidConfiguration;
  if (stream->queue->device != current_device) return cudaErrorInvalidResourceHandle;
  const std::lock_guard lock(turn);
  add(*stream->queue, [=, kernel = std::move(kernel)] {
    if (run_grid({grid.x, grid.y, grid.z}, {block.x, block.y, block.z}, int64_t(shared_bytes), kernel))
      return cudaSuccess;
    std::fprintf(stderr, "CUDA shim: %s\n", failure());
    return cudaErrorLaunchFailure;
  });
  return cudaSuccess;
}

}  // namespace smhdr::cuda_shim

using smhdr::cuda_shim::machine;

namespace {

/// The size, before every allocation.
constexpr size_t kHeader = 256;

cudaError_t allocate(void** to, size_t bytes, bool device) {
  const std::lock_guard lock(turn);
  *to = nullptr;
  if (device && bytes > machine.memory_left) return cudaErrorMemoryAllocation;
  void* memory = nullptr;
  if (posix_memalign(&memory, 256, bytes + kHeader)) return cudaErrorMemoryAllocation;
  *static_cast<size_t*>(memory) = bytes;
  *to = static_cast<char*>(memory) + kHeader;
  std::memset(*to, 0xff, bytes);
  if (device)
    machine.memory_left -= bytes;
  else
    pinned[static_cast<char*>(*to)] = bytes;
  return cudaSuccess;
}

cudaError_t release(void* memory, bool device) {
  if (!memory) return cudaSuccess;
  const std::lock_guard lock(turn);
  reach_all();
  if (!device) pinned.erase(static_cast<char*>(memory));
  char* start = static_cast<char*>(memory) - kHeader;
  if (device) machine.memory_left += *reinterpret_cast<size_t*>(start);
  std::free(start);
  return cudaSuccess;
}

}  // namespace

cudaError_t cudaDriverGetVersion(int* version) {
  *version = machine.devices ? 13000 : 0;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int* count) {
  *count = machine.devices;
  return machine.devices ? cudaSuccess : cudaErrorNoDevice;
}
cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= machine.devices) return cudaErrorInvalidValue;
  current_device = device;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (device < 0 || device >= machine.devices) return cudaErrorInvalidValue;
  *properties = {};
  std::strcpy(properties->name, "CUDA shim");
  properties->major = machine.major;
  properties->minor = machine.minor;
  properties->multiProcessorCount = machine.processors;
  properties->totalGlobalMem = machine.memory_left;
  properties->sharedMemPerBlockOptin = machine.shared_bytes;
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes) {
  *free_bytes = *total_bytes = machine.memory_left;
  return cudaSuccess;
}
cudaError_t cudaMalloc(void** to, size_t bytes) { return allocate(to, bytes, true); }
cudaError_t cudaFree(void* memory) { return release(memory, true); }
cudaError_t cudaMallocHost(void** to, size_t bytes) { return allocate(to, bytes, false); }
cudaError_t cudaFreeHost(void* memory) { return release(memory, false); }
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  const std::lock_guard lock(turn);
  Queue& queue = *stream->queue;
  if (kind == cudaMemcpyHostToDevice && !is_pinned(from)) {
    const auto* first = static_cast<const char*>(from);
    add(queue, [=, taken = std::vector<char>(first, first + bytes)] {
      return std::memcpy(to, taken.data(), bytes), cudaSuccess;
    });
    return cudaSuccess;
  }
  add(queue, [=] { return std::memcpy(to, from, bytes), cudaSuccess; });
  if (kind == cudaMemcpyDeviceToHost && !is_pinned(to)) reach(queue, queue.queued);
  return cudaSuccess;
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  const std::lock_guard lock(turn);
  add(*stream->queue, [=] { return std::memset(to, value, bytes), cudaSuccess; });
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  const std::lock_guard lock(turn);
  *stream = new ShimStream{std::make_shared<Queue>()};
  (*stream)->queue->device = current_device;
  std::erase_if(queues, [](const auto& queue) { return queue.expired(); });
  queues.push_back((*stream)->queue);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const std::lock_guard lock(turn);
  reach(*stream->queue, stream->queue->queued);
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const std::lock_guard lock(turn);
  return wait(*stream->queue, stream->queue->queued);
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const std::lock_guard lock(turn);
  // What the event was recorded for until now: later recordings are no concern of this wait.
  add(*stream->queue, [queue = event->queue, position = event->position] {
    if (queue) reach(*queue, position);
    return cudaSuccess;
  });
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new ShimEvent{current_device, nullptr};
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (stream->queue->device != event->device) return cudaErrorInvalidResourceHandle;
  const std::lock_guard lock(turn);
  add(*stream->queue, [at = event->at] { return *at = Clock::now(), cudaSuccess; });
  event->queue = stream->queue;
  event->position = stream->queue->queued;
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const std::lock_guard lock(turn);
  return event->queue ? wait(*event->queue, event->position) : cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  *milliseconds = std::chrono::duration<float, std::milli>(*to->at - *from->at).count();
  return cudaSuccess;
}
cudaError_t cudaGetLastError() { return cudaSuccess; }
const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorNoDevice:
      return "no CUDA-capable device is detected";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    case cudaErrorLaunchFailure:
      return "unspecified launch failure";
    case cudaErrorInvalidResourceHandle:
      return "invalid resource handle";
  }
  return "unrecognized error code";
}
