// A thread block on the CPU: its threads are fibres that run one after another and wait for each other at barriers and
// warp collectives. What a GPU leaves undefined ends the launch with an error: a barrier that some threads skip, lanes
// that meet in different collectives or with different masks. Shared memory begins as NaNs and ends at a page that
// cannot be touched; threads take turns in rising and in falling order, so that a missing barrier shows.
#pragma once

#include <cstdint>
#include <functional>
#include <source_location>

namespace smhdr::cuda_shim {

struct Index3 {
  unsigned x = 0, y = 0, z = 0;
};

/// What a kernel sees of where it runs.
struct Place {
  Index3 thread, block;
};
inline thread_local Place place;
inline thread_local Index3 block_size, grid_size;
inline thread_local unsigned char* block_memory = nullptr;

using Where = std::source_location;

/// Waits until all threads of the block that have not ended are here.
void block_barrier(Where where);

/// Waits until all lanes of `mask` are at `where`; then `meet` is called once with what each gave, by lane, the lanes
/// not in the mask null.
using Meet = void (*)(void* const (&given)[32], unsigned mask);
void warp_meet(unsigned mask, void* given, Meet meet, Where where);

/// Later work of this thread that cp.async begins and a wait ends, in order: nothing has landed before.
void begin_copy(void* to, const void* from, int bytes);
void commit_copies();
/// Ends all but the last `pending` groups.
void wait_copies(int pending);

/// Runs all blocks. False: failure() says why.
bool run_grid(Index3 grid, Index3 block, int64_t shared_bytes, const std::function<void()>& kernel);
const char* failure();

}  // namespace smhdr::cuda_shim
