#include "ops/cuda/shim/block.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "ops/cuda/shim/fibre.h"

namespace smhdr::cuda_shim {
namespace {

#if defined(SMHDR_SANITIZE_ADDRESS)
constexpr size_t kStack = 1 << 18;
#else
constexpr size_t kStack = 1 << 16;
#endif
constexpr int kWarp = 32;

/// Pages with one after them that cannot be touched.
class GuardedPages {
 public:
  explicit GuardedPages(size_t bytes) : page_(sysconf(_SC_PAGESIZE)), size_((bytes + page_ - 1) / page_ * page_) {
    memory_ = static_cast<unsigned char*>(
        mmap(nullptr, size_ + page_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(memory_ + size_, page_, PROT_NONE);
  }
  ~GuardedPages() { munmap(memory_, size_ + page_); }
  GuardedPages(const GuardedPages&) = delete;
  unsigned char* begin() const { return memory_; }
  unsigned char* end() const { return memory_ + size_; }

 private:
  const size_t page_, size_;
  unsigned char* memory_;
};

enum class State { ready, at_barrier, in_warp, ended };

struct Copy {
  void* to;
  std::vector<unsigned char> bytes;
};

struct Thread {
  Fibre fibre;
  State state = State::ready;
  Where where;
  void* given = nullptr;
  Meet meet = nullptr;
  unsigned mask = 0;
  std::deque<std::vector<Copy>> groups;
  std::vector<Copy> open_group;
};

struct Grid {
  std::vector<Thread> threads;
  std::vector<std::unique_ptr<GuardedPages>> stacks;
  std::unique_ptr<GuardedPages> shared = std::make_unique<GuardedPages>(size_t{256} << 10);
  Fibre scheduler;
  const std::function<void()>* kernel = nullptr;
  int count = 0, current = 0;
  bool failed = false;
  std::string message;

  void fail(const std::string& why, Where where) {
    if (failed) return;
    failed = true;
    message = why + " (" + where.file_name() + ":" + std::to_string(where.line()) + ", block " +
              std::to_string(place.block.x) + "," + std::to_string(place.block.y) + "," +
              std::to_string(place.block.z) + ", thread " + std::to_string(current) + ")";
  }
  Thread& thread() { return threads[current]; }
  void yield(State state) {
    thread().state = state;
    switch_fibre(thread().fibre, scheduler, state == State::ended);
  }
};

thread_local Grid grid;

void fibre_entry() {
  entered_fibre(grid.scheduler);
  (*grid.kernel)();
  grid.yield(State::ended);
}

bool same(Where a, Where b) {
  return a.line() == b.line() && a.column() == b.column() && a.file_name() == b.file_name();
}

void enter(Grid& g, int t) {
  g.current = t;
  place.thread = {t % block_size.x, t / block_size.x % block_size.y, t / (block_size.x * block_size.y)};
  switch_fibre(g.scheduler, g.threads[t].fibre);
}

/// Lets all threads go on if they are at one barrier; whether the block has ended.
bool release_barrier() {
  const Thread* first = nullptr;
  for (int t = 0; t < grid.count; ++t) {
    const Thread& thread = grid.threads[t];
    if (thread.state == State::ended) continue;
    grid.current = t;
    if (thread.state == State::in_warp)
      grid.fail("a warp's lanes wait for lanes that never come", thread.where);
    else if (first && !same(first->where, thread.where))
      grid.fail("threads of a block wait at different barriers", thread.where);
    first = &thread;
  }
  for (int t = 0; t < grid.count; ++t)
    if (grid.threads[t].state == State::at_barrier) grid.threads[t].state = State::ready;
  return !first;
}

void run_block(bool falling) {
  Grid& g = grid;
  const int count = g.count;
  for (int t = 0; t < count; ++t) {
    Thread& thread = g.threads[t];
    thread.state = State::ready;
    thread.groups.clear();
    thread.open_group.clear();
    thread.fibre.prepare(g.stacks[t]->begin(), kStack, fibre_entry);
  }
  for (bool ended = false; !ended && !g.failed; falling = !falling) {
    bool moved = false;
    for (int i = 0; i < count && !g.failed; ++i) {
      const int t = falling ? count - 1 - i : i;
      if (g.threads[t].state != State::ready) continue;
      moved = true;
      enter(g, t);
    }
    if (!moved) ended = release_barrier();
  }
}

}  // namespace

void block_barrier(Where where) {
  grid.thread().where = where;
  grid.yield(State::at_barrier);
}

void warp_meet(unsigned mask, void* given, Meet meet, Where where) {
  Grid& g = grid;  // a thread_local costs a call each time
  Thread& own = g.thread();
  const int first = g.current / kWarp * kWarp, lane = g.current % kWarp;
  own.where = where;
  own.given = given;
  own.meet = meet;
  own.mask = mask;
  const auto stop = [&](const char* why) {
    g.fail(why, where);
    g.yield(State::in_warp);
  };
  if (!(mask >> lane & 1)) stop("a lane is not in the mask of its own collective");
  Thread* const warp = g.threads.data() + first;
  const int lanes = g.count - first;
  for (int l = 0; l < kWarp; ++l) {
    if (!(mask >> l & 1) || l == lane) continue;
    if (l >= lanes) stop("a mask names lanes the block does not have");
    const Thread& other = warp[l];
    if (other.state == State::ended) stop("a mask names a lane that has ended");
    if (other.state != State::in_warp) return g.yield(State::in_warp);  // whoever comes last calls `meet`
    if (other.mask != mask || other.meet != meet || !same(other.where, where))
      stop("lanes of a warp meet in different collectives");
  }
  void* all[kWarp] = {};
  for (int l = 0; l < kWarp; ++l)
    if (mask >> l & 1) all[l] = warp[l].given;
  meet(all, mask);
  for (int l = 0; l < kWarp; ++l)
    if (mask >> l & 1) warp[l].state = State::ready;
}

void begin_copy(void* to, const void* from, int bytes) {
  const auto* first = static_cast<const unsigned char*>(from);
  grid.thread().open_group.push_back({to, {first, first + bytes}});
  std::memset(to, 0xff, bytes);
}

void commit_copies() {
  grid.thread().groups.push_back(std::move(grid.thread().open_group)), grid.thread().open_group.clear();
}

void wait_copies(int pending) {
  auto& groups = grid.thread().groups;
  for (; static_cast<int>(groups.size()) > pending; groups.pop_front())
    for (const Copy& copy : groups.front()) std::memcpy(copy.to, copy.bytes.data(), copy.bytes.size());
}

bool run_grid(Index3 blocks, Index3 block, int64_t shared_bytes, const std::function<void()>& kernel) {
  grid.count = static_cast<int>(block.x * block.y * block.z);
  grid.kernel = &kernel;
  grid.failed = false;
  if (static_cast<int>(grid.threads.size()) < grid.count) grid.threads.resize(grid.count);
  while (static_cast<int>(grid.stacks.size()) < grid.count)
    grid.stacks.push_back(std::make_unique<GuardedPages>(kStack));
  block_size = block;
  grid_size = blocks;
  block_memory = grid.shared->end() - (shared_bytes + 15) / 16 * 16;
  bool falling = false;
  for (unsigned z = 0; z < blocks.z; ++z)
    for (unsigned y = 0; y < blocks.y; ++y)
      for (unsigned x = 0; x < blocks.x && !grid.failed; ++x, falling = !falling) {
        place.block = {x, y, z};
        std::memset(block_memory, 0xff, grid.shared->end() - block_memory);
        run_block(falling);
      }
  return !grid.failed;
}

const char* failure() { return grid.message.c_str(); }

}  // namespace smhdr::cuda_shim
