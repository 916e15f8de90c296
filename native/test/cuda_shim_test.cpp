// The shim itself: it must do what CUDA's manuals say, and refuse what they leave undefined; else the kernels' tests
// prove nothing. And what the ops do on devices with less.
#include "op_comparison.h"

#if defined(SMHDR_HAS_CUDA_SHIM)

#include <array>
#include <numeric>

#include "ops/cuda/runtime.h"

using namespace smhdr;
using namespace smhdr::test;
using namespace smhdr::cuda::shim;
using smhdr::cuda_shim::machine;

namespace {

std::unique_ptr<Device> open_device() { return std::move(Device::open(0).value()); }

/// Runs `kernel`; what synchronise() says.
template <typename... P, typename... A>
Status run(void (*kernel)(P...), unsigned threads, size_t shared_bytes, A... arguments) {
  const auto device = open_device();
  launch(*device, kernel, 2, threads, shared_bytes, arguments...);
  return device->synchronise();
}

__global__ void sum_kernel(const int* from, int* to) {
  int* shared = shared_memory<int>();
  shared[threadIdx.x] = from[threadIdx.x];
  __syncthreads();
  int sum = 0;
  for (unsigned i = 0; i < blockDim.x; ++i) sum += shared[i];
  to[blockIdx.x * blockDim.x + threadIdx.x] = sum + lane_sum(from[threadIdx.x]);
}

/// Neighbours are read without waiting for them.
__global__ void hasty_kernel(float* to, int step) {
  float* shared = shared_memory<float>();
  shared[threadIdx.x] = 1;
  to[threadIdx.x] = shared[(threadIdx.x + blockDim.x + step) % blockDim.x];
}

__global__ void skipping_kernel() {
  if (threadIdx.x < 40) __syncthreads();
  if (threadIdx.x >= 40) __syncthreads();
}
__global__ void stuck_kernel() {
  if (threadIdx.x < 16) __syncwarp();
}
__global__ void two_masks_kernel(float* to) {
  to[threadIdx.x] = __shfl_xor_sync(threadIdx.x < 16 ? 0xffffffffu : 0xffffu, 1.0f, 1);
}
__global__ void absent_kernel(float* to) { to[threadIdx.x] = __shfl_sync(0xffffffffu, float(threadIdx.x), 0); }

void test_threads() {
  std::vector<int> from(96), to(192);
  std::iota(from.begin(), from.end(), 1);
  CHECK(run(sum_kernel, 96, 96 * sizeof(int), from.data(), to.data()).ok());
  const int all = 96 * 97 / 2;
  for (int t = 0; t < 192; ++t) {
    int warp = 0;
    for (int i = 0; i < 32; ++i) warp += from[t % 96 / 32 * 32 + i];
    CHECK(to[t] == all + warp);
  }
  for (int step : {1, -1}) {
    std::vector<float> values(64, 0.0f);
    CHECK(run(hasty_kernel, 64, 64 * sizeof(float), values.data(), step).ok());
    bool missed = false;  // shared memory begins as NaNs
    for (float v : values) missed = missed || std::isnan(v);
    CHECK(missed);
  }
}

void test_refusals() {
  std::vector<float> to(64);
  const auto fails = [](const Status& status) { return !status.ok() && status.error().code == ErrorCode::internal; };
  CHECK(fails(run(skipping_kernel, 64, 0)));
  CHECK(fails(run(stuck_kernel, 32, 0)));
  CHECK(fails(run(two_masks_kernel, 32, 0, to.data())));
  CHECK(fails(run(absent_kernel, 24, 0, to.data())));  // eight lanes of the mask are not there
  CHECK(fails(run(stuck_kernel, 2048, 0)));
  const Status greedy = run(hasty_kernel, 64, machine.shared_bytes + 1, to.data(), 1);
  CHECK(!greedy.ok() && greedy.error().code == ErrorCode::unsupported);
  CHECK(run(absent_kernel, 32, 0, to.data()).ok() && to[31] == 0);  // an error leaves nothing behind
}

__global__ void product_kernel(const uint16_t* a, const uint16_t* b, bool transposed, float* d) {
  uint16_t *left = shared_memory<uint16_t>(), *right = left + 16 * 16;
  for (int i = threadIdx.x; i < 256; i += 32) left[i] = a[i];
  for (int i = threadIdx.x; i < 256; i += 32) right[i] = b[i];
  __syncwarp();
  const int lane = threadIdx.x, row = lane % 16, half = lane / 16 * 8;
  uint32_t factors[4], others[4];
  load_matrices(left + row * 16 + half, factors);
  // b is [n][k], or [k][n] to be read transposed; either way registers 0 and 1 are the first eight columns.
  if (transposed)
    load_matrices_transposed(right + row * 16 + half, others);
  else
    load_matrices(right + (half + lane % 8) * 16 + lane / 8 % 2 * 8, others);
  for (int n = 0; n < 2; ++n) {
    const uint32_t pair[2] = {others[2 * n], others[2 * n + 1]};
    float sums[4] = {};
    multiply_add(sums, factors, pair);
    for (int i = 0; i < 4; ++i) d[(lane / 4 + i / 2 * 8) * 16 + 8 * n + lane % 4 * 2 + i % 2] = sums[i];
  }
}

/// Against the plain product; and the layout of a register, spelled out as in the manual.
void test_tensor_cores() {
  std::array<uint16_t, 256> a, b, turned;
  std::array<float, 256> left, right, d;
  for (int i = 0; i < 256; ++i) {
    left[i] = static_cast<float>(i % 13 - 6);
    right[i] = static_cast<float>(i % 7 - 3) / 4;
    a[i] = to_bf16(left[i]);
    b[i] = to_bf16(right[i]);
  }
  for (int i = 0; i < 256; ++i) turned[i % 16 * 16 + i / 16] = b[i];
  for (bool transposed : {false, true}) {
    const auto device = open_device();
    launch(*device, product_kernel, 1, 32, 1024, a.data(), transposed ? turned.data() : b.data(), transposed, d.data());
    CHECK(device->synchronise().ok());
    for (int m = 0; m < 16; ++m)
      for (int n = 0; n < 16; ++n) {
        float sum = 0;
        for (int k = 0; k < 16; ++k) sum += left[m * 16 + k] * right[n * 16 + k];
        CHECK(d[m * 16 + n] == sum);
      }
  }
  CHECK(to_bf16(1.00390625f) == 0x3f80 && to_bf16(1.01171875f) == 0x3f82);  // ties to even
  CHECK(pack_bf16(1, -2) == 0xc0003f80u);
}

/// No memory is an error of the op that wanted it, once; the next one works.
void test_no_memory() {
  std::vector<float> x(8 * 8 * 12, 1.0f), out(x.size());
  Weights w;
  const LocalBranchWeights weights{w.norm(12), w(108), w(12), w(36), w(3), w(36), w(12), w(98), w(1), w(108), w(12), 3};
  const LocalBranchArgs args{{x.data(), 1, 8, 8, 12}, weights, {out.data(), 1, 8, 8, 12}};
  auto ops = std::move(cuda::shim::make_ops(0, Precision::fp32).value());
  const size_t left = std::exchange(machine.memory_left, 1000);
  ops->local_branch(args);
  const Status status = ops->finish();
  CHECK(!status.ok() && status.error().code == ErrorCode::out_of_memory);
  machine.memory_left = left;
  ops->local_branch(args);
  CHECK(ops->finish().ok() && std::isfinite(out[0]));
  ops.reset();
  CHECK(machine.memory_left == left);  // nothing is kept
}

/// Devices without these tensor cores, and with less shared memory than the fused kernel wants, in bf16.
void test_lesser_devices() {
  const auto whole = machine;
  for (auto [capability, shared_bytes] : {std::pair{75, size_t{65536}}, {86, size_t{101376}}, {80, size_t{166912}}}) {
    machine.major = capability / 10;
    machine.minor = capability % 10;
    machine.shared_bytes = shared_bytes;
    implementations.clear();
    implementations.push_back({"cuda (shim), bf16, " + std::to_string(capability),
                               std::move(cuda::shim::make_ops(0, Precision::bf16).value()),
                               capability < 80 ? 0 : kBf16Tolerance});
    Weights w;
    const int channels = 60, heads = 6, hidden = 120;
    const Tensor shape{nullptr, 1, 8, 16, channels};
    const auto x = random_values(shape.size());
    HybridArgs args;
    const NormWeights norm = w.norm(channels);
    args.local.x = args.attention.x = {x.data(), 1, 8, 16, channels};
    args.local.weights = {norm, w(540), w(60), w(900), w(15), w(900), w(60), w(98, 0.1f), w(1), w(540), w(60), 15};
    args.attention.weights = {norm, w(10800), w(180), w(3600), w(60), w(225 * heads, 1.0f), heads};
    args.mlp.weights = {w.norm(channels), w(7200), w(hidden), w(7200), w(60), hidden};
    args.mlp.residual = true;
    args.attention.shift = kShift;
    compare(
        "hybrid_block", shape.size(),
        [&](Ops& ops, float* to) {
          args.out = {to, 1, 8, 16, channels};
          ops.hybrid_block(args);
        },
        kAttentionTolerance);
  }
  machine = whole;
}

/// Sums over a batch, recorded by one call and given to the next.
void test_image_sums() {
  implementations.clear();
  find_cuda_implementations();
  Weights w;
  const Tensor shape{nullptr, 2, 9, 33, 12};
  const auto x = random_values(shape.size());
  const ConstTensor in{x.data(), 2, 9, 33, 12};
  const LocalBranchWeights local{w.norm(12), w(108),      w(12), w(36),  w(3),  w(36),
                                 w(12),      w(98, 0.1f), w(1),  w(108), w(12), 3};
  const ExposureAttentionWeights exposure{w.norm(12), w(144), w(144), w(144), w(144)};
  for (bool give : {false, true})
    for (bool first : {true, false}) {
      ImageSums given{ImageSums::Mode::given, {}};
      for (int i = 0; i < (first ? 12 : 144); ++i) given.values.push_back(first ? 0.1 * i : i % 13 == 0 ? 2 : 0.1);
      std::vector<double> expected;
      compare(first ? "local_branch, sums" : "exposure_attention, sums", shape.size(), [&](Ops& ops, float* to) {
        ImageSums sums = give ? given : ImageSums{};
        const Tensor out{to, 2, 9, 33, 12};
        if (first)
          ops.local_branch({in, local, out, &sums});
        else
          ops.exposure_attention({in, exposure, 3, out, &sums});
        if (expected.empty()) expected = sums.values;
        CHECK(sums.values.size() == expected.size());
        for (size_t i = 0; i < expected.size(); ++i) CHECK(std::fabs(sums.values[i] - expected[i]) < 1e-5);
      });
    }
}

}  // namespace

int main() {
  test_threads();
  test_refusals();
  test_tensor_cores();
  test_no_memory();
  test_lesser_devices();
  test_image_sums();
  return finish();
}

#else

int main() {
  ++smhdr::test::skipped;
  std::printf("skipped: this build has no CUDA shim\n");
  return smhdr::test::finish();
}

#endif
