// A device's memory, and that what fails there is an error and no crash: on the CUDA shim, which needs no GPU.
#include <cmath>
#include <cstring>
#include <numeric>

#include "check.h"
#include "ops/devices.h"

#if defined(SMHDR_HAS_CUDA_SHIM)
#include "ops/cuda/shim/runtime.h"
#endif

using namespace smhdr;
using namespace smhdr::test;

namespace {

void test_names() {
  ThreadPool pool(1);
  for (const char* name : {"cud", "cuda:", "cuda:x", "cuda:1234", "gpu"}) {
    const auto ops = make_ops(name, pool, Precision::fp32);
    CHECK(!ops.ok() && ops.error().code == ErrorCode::invalid_argument);
  }
  CHECK(make_ops("cpu", pool, Precision::fp32).ok());
  const cuda::Machine machine = find_cuda_devices();
  CHECK(machine.absence.empty() == !machine.devices.empty());
  std::printf("cuda: %s\n", machine.absence.empty() ? machine.devices[0].name.c_str() : machine.absence.c_str());
  const auto beyond = make_ops("cuda:99", pool, Precision::fp32);
  CHECK(!beyond.ok() && beyond.error().code == ErrorCode::unsupported &&
        beyond.error().message.find("cuda:99") != std::string::npos);
}

std::vector<float> counted(int64_t count) {
  std::vector<float> values(count);
  std::iota(values.begin(), values.end(), 0.0f);
  return values;
}

std::vector<float> read(Memory& memory, const float* data, int64_t count) {
  std::vector<float> values(count);
  memory.download(data, values.data(), count);
  return values;
}

void test_memory(Ops& ops) {
  Memory& memory = ops.memory();
  // Several pinned pieces, and sizes that do not fill one.
  for (const int64_t count : {int64_t{1}, int64_t{1000}, (int64_t{5} << 19) + 3}) {
    const std::vector<float> values = counted(count);
    Buffer a(memory, count), b(memory, count);
    if (!CHECK(a && b)) return;
    CHECK(reinterpret_cast<uintptr_t>(a.data()) % 64 == 0);
    memory.upload(values.data(), a.data(), count);
    memory.copy(a.data(), b.data(), count);
    CHECK(read(memory, b.data(), count) == values);
    memory.fill(b.data(), 3, count);
    CHECK(read(memory, b.data(), count) == std::vector<float>(count, 3.0f));
    ops.scale(a.data(), count, 2);
    CHECK(read(memory, a.data(), count).back() == 2 * values.back());
  }
  CHECK(ops.finish().ok());
}

/// The copies wait for the kernels and the kernels for the copies, wherever one uses what is the other's.
void test_staging(Ops& ops) {
  Memory& memory = ops.memory();
  const auto staging = memory.make_staging();
  if (!CHECK(!staging == memory.on_host()) || !staging) return;
  const int64_t count = (int64_t{5} << 19) + 3;  // several pinned pieces
  const std::vector<float> first = counted(count), second(count, 5.0f);
  const OnDevice zeros(memory, std::vector<float>(2 * count, 0.0f).data(), 2 * count);
  {
    const Buffer before(memory, 2 * count);
    memory.copy(zeros.data(), before.data(), 2 * count);
  }
  CHECK(!staging->fits(2 * count) && staging->reserve(2 * count));  // it gets that memory
  CHECK(staging->fits(2 * count) && !staging->fits(count) && !staging->fits(3 * count));
  float *const in = staging->data(), *const out = in + count;
  const Buffer kept(memory, count);
  staging->upload(first.data(), in, count);
  staging->begin();
  memory.copy(in, kept.data(), count);
  staging->end();
  staging->upload(second.data(), in, count);
  staging->begin();
  memory.copy(in, out, count);
  ops.scale(out, 1000, 2);
  staging->end();
  std::vector<float> got(count), expected = second;
  std::fill_n(expected.begin(), 1000, 10.0f);
  staging->download(out, got.data(), count);
  CHECK(got == expected && read(memory, kept.data(), count) == first);
  staging->upload(first.data(), in, count);
  staging->begin();
  memory.copy(in, out, count);
  CHECK(read(memory, out, count) == first);  // nothing but begin() waited for the copy
  staging->end();
  // Who gets the place next finds no copy still under way.
  staging->upload(first.data(), in, count);
  CHECK(staging->reserve(0) && staging->bytes() == 0 && !staging->data());
  const Buffer next(memory, 2 * count);
  memory.copy(zeros.data(), next.data(), 2 * count);
  CHECK(next.data() == in && ops.finish().ok());
  staging->begin();  // whatever its stream still has to do
  CHECK(read(memory, next.data(), count) == std::vector<float>(count, 0.0f));
  CHECK(staging->status().ok() && ops.finish().ok());
}

void test_copy_pixels(Ops& ops) {
  Memory& memory = ops.memory();
  const std::vector<float> values = counted(2 * 7 * 9 * 5);
  // A part, a part turned, every third value; the rest of `to` stays.
  const CopyPixelsArgs cases[] = {{{nullptr, 7 * 9 * 5, 9 * 5, 5}, {nullptr, 3 * 9 * 5, 9 * 5, 5}, 2, 3, 9, 5},
                                  {{nullptr, 7 * 9 * 5, 5, 9 * 5}, {nullptr, 2 * 7 * 6, 7 * 6, 6}, 2, 2, 7, 5},
                                  {{nullptr, 0, 9, 3}, {nullptr, 0, 4, 1}, 1, 7, 3, 1}};
  for (CopyPixelsArgs args : cases) {
    std::vector<float> from = values, expected(values.size(), -1.0f);
    args.from.data = from.data();
    args.to.data = expected.data();
    make_reference_ops()->copy_pixels(args);
    const OnDevice own_from(memory, values.data(), static_cast<int64_t>(values.size()));
    const Buffer to(memory, static_cast<int64_t>(values.size()));
    memory.fill(to.data(), -1, static_cast<int64_t>(values.size()));
    args.from.data = const_cast<float*>(own_from.data());
    args.to.data = to.data();
    ops.copy_pixels(args);
    CHECK(read(memory, to.data(), static_cast<int64_t>(values.size())) == expected);
  }
}

#if defined(SMHDR_HAS_CUDA_SHIM)
void test_lack_of_memory() {
  auto& machine = cuda_shim::machine;
  const size_t all = machine.memory_left;
  {
    auto ops = std::move(cuda::shim::make_ops(0, Precision::fp32).value());
    Memory& memory = ops->memory();
    machine.memory_left = 1 << 20;
    {
      const Buffer half(memory, 1 << 17);
      CHECK(half && !Buffer(memory, 1 << 18));
    }
    CHECK(memory.available() == 1 << 20);
    const Buffer most(memory, (1 << 17) + (1 << 16));  // what was kept of the first gives way
    CHECK(most && memory.synchronize().ok());
    memory.fail_allocation();
    const Status failed = memory.synchronize();
    CHECK(!failed.ok() && failed.error().code == ErrorCode::out_of_memory && memory.synchronize().ok());
    memory.fail_allocation();
    float value = 0;
    memory.download(most.data(), &value, 1);
    CHECK(std::isnan(value) && !memory.synchronize().ok());
    machine.memory_left += all - (1 << 20);
  }
  CHECK(machine.memory_left == all);
  machine.devices = 0;
  CHECK(cuda::shim::find_devices().absence.find("driver") != std::string::npos);
  CHECK(!cuda::shim::make_ops(0, Precision::fp32).ok());
  machine.devices = 1;
  machine.major = 6;
  CHECK(cuda::shim::find_devices().devices[0].refusal.find("7.5") != std::string::npos);
  machine.major = 9;
  CHECK(!cuda::shim::make_ops(1, Precision::fp32).ok() && cuda::shim::find_devices().devices[0].bf16());
}
#endif

}  // namespace

int main() {
  test_names();
  test_memory(*make_reference_ops());
  test_staging(*make_reference_ops());
  test_copy_pixels(*make_reference_ops());
#if defined(SMHDR_HAS_CUDA_SHIM)
  const auto shim = std::move(cuda::shim::make_ops(0, Precision::fp32).value());
  test_memory(*shim);
  test_staging(*shim);
  test_copy_pixels(*shim);
  test_lack_of_memory();
#else
  ++skipped;
  std::printf("skipped the CUDA shim: not in this build\n");
#endif
#if defined(SMHDR_HAS_CUDA)
  if (find_cuda_devices().absence.empty()) {
    const auto device = std::move(cuda::gpu::make_ops(0, Precision::fp32).value());
    test_memory(*device);
    test_staging(*device);
    test_copy_pixels(*device);
  }
#endif
  return finish();
}
