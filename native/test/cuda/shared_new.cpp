// In tests on a GPU all that C++ allocates is memory that host and device share: the ops take the tests' own vectors,
// and the tests need know no device. Without a device it is malloc's.
#include <cuda_runtime.h>

#include <bit>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <new>

namespace {

constexpr size_t kHeader = 256, kSlab = size_t{64} << 20;

struct Block {
  Block* next;
  int size_class;  // -1: malloc's
};

std::mutex mutex;
Block* unused[64];
char *slab = nullptr, *slab_end = nullptr;
int state = 0;  // 0 not known, 1 shared, 2 malloc's

bool shared() {
  if (state == 0) {
    state = 2;  // what the driver allocates meanwhile
    int count = 0;
    if (cudaGetDeviceCount(&count) == cudaSuccess && count > 0) state = 1;
  }
  return state == 1;
}

void* take(size_t bytes, size_t alignment) {
  const size_t offset = alignment > kHeader ? alignment : kHeader;
  std::unique_lock lock(mutex);
  Block* block = nullptr;
  if (shared()) {
    const int size_class = std::bit_width(bytes + offset - 1);
    const size_t size = size_t{1} << size_class;
    if (unused[size_class]) {
      block = unused[size_class];
      unused[size_class] = block->next;
    } else {
      if (static_cast<size_t>(slab_end - slab) < size) {
        void* memory = nullptr;
        const size_t whole = size > kSlab ? size : kSlab;
        state = 2;
        if (cudaMallocManaged(&memory, whole) != cudaSuccess) std::abort();
        state = 1;
        slab = static_cast<char*>(memory);
        slab_end = slab + whole;
      }
      block = reinterpret_cast<Block*>(slab);
      slab += size;
    }
    block->size_class = size_class;
    return reinterpret_cast<char*>(block) + offset;
  }
  lock.unlock();
  void* memory = nullptr;
  if (posix_memalign(&memory, offset, bytes + offset)) return nullptr;
  block = static_cast<Block*>(memory);
  block->size_class = -1;
  return static_cast<char*>(memory) + offset;
}

void give(void* data, size_t alignment) {
  if (!data) return;
  Block* block = reinterpret_cast<Block*>(static_cast<char*>(data) - (alignment > kHeader ? alignment : kHeader));
  if (block->size_class < 0) return std::free(block);
  std::lock_guard lock(mutex);
  block->next = unused[block->size_class];
  unused[block->size_class] = block;
}

void* must(void* data) {
  if (!data) throw std::bad_alloc();
  return data;
}

}  // namespace

void* operator new(size_t bytes) { return must(take(bytes, 1)); }
void* operator new[](size_t bytes) { return must(take(bytes, 1)); }
void* operator new(size_t bytes, const std::nothrow_t&) noexcept { return take(bytes, 1); }
void* operator new[](size_t bytes, const std::nothrow_t&) noexcept { return take(bytes, 1); }
void* operator new(size_t bytes, std::align_val_t at) { return must(take(bytes, size_t(at))); }
void* operator new[](size_t bytes, std::align_val_t at) { return must(take(bytes, size_t(at))); }
void* operator new(size_t bytes, std::align_val_t at, const std::nothrow_t&) noexcept {
  return take(bytes, size_t(at));
}
void* operator new[](size_t bytes, std::align_val_t at, const std::nothrow_t&) noexcept {
  return take(bytes, size_t(at));
}
void operator delete(void* data) noexcept { give(data, 1); }
void operator delete[](void* data) noexcept { give(data, 1); }
void operator delete(void* data, size_t) noexcept { give(data, 1); }
void operator delete[](void* data, size_t) noexcept { give(data, 1); }
void operator delete(void* data, std::align_val_t at) noexcept { give(data, size_t(at)); }
void operator delete[](void* data, std::align_val_t at) noexcept { give(data, size_t(at)); }
void operator delete(void* data, size_t, std::align_val_t at) noexcept { give(data, size_t(at)); }
void operator delete[](void* data, size_t, std::align_val_t at) noexcept { give(data, size_t(at)); }
