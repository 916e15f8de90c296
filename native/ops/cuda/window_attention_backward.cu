// Window attention's gradients. A block takes windows one after another, head by head: forward to the softmax again,
// back to q, k and v, and on to norm(x). What the weights' outer products need goes to scratch memory; the bias table's
// gradient is kept by block.
#include "ops/cuda/gradients.cuh"
#include "ops/cuda/window.cuh"

namespace smhdr::cuda::SMHDR_CUDA_TARGET {

namespace {

constexpr int kMostBlocks = 528, kTable = (2 * kWindow - 1) * (2 * kWindow - 1);

struct AttentionBackwardParameters : WindowInput {
  const float *keep, *grad_out;
  int64_t count;                     // of windows
  float *tokens, *mixed, *grad_qkv;  // [pixel][C], [pixel][C], [pixel][3C]; null: not wanted
  float* tables;                     // [block][table row][head]; null: not wanted
  float* grad_y;                     // [pixel][C]
};

/// to[d][key] = sum over queries of rows[d][query] matrix[key][query].
__device__ __forceinline__ void multiply_queries(const float* rows, const float* matrix, int depth, float* to) {
  constexpr int pitch = WindowTile::kPitch, groups = WindowTile::kThreads / kWindowTokens;
  const int key = threadIdx.x % kWindowTokens;
  for (int d = threadIdx.x / kWindowTokens; d < depth; d += 4 * groups) {
    float sums[4] = {};
#pragma unroll 4
    for (int t = 0; t < kWindowTokens; t += 4) {
      const float4 m = *reinterpret_cast<const float4*>(matrix + key * pitch + t);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int row = d + j * groups < depth ? d + j * groups : d;
        const float4 v = *reinterpret_cast<const float4*>(rows + row * pitch + t);
        sums[j] += v.x * m.x + v.y * m.y + v.z * m.z + v.w * m.w;
      }
    }
#pragma unroll
    for (int j = 0; j < 4; ++j)
      if (d + j * groups < depth) to[(d + j * groups) * pitch + key] = sums[j];
  }
}

/// The sum of the slopes [key][query] of all pairs that read a row of the bias table.
__device__ __forceinline__ float table_sum(const float* slopes, int row) {
  const int dy = row / (2 * kWindow - 1) - (kWindow - 1), dx = row % (2 * kWindow - 1) - (kWindow - 1);
  float sum = 0;
  for (int y = dy < 0 ? -dy : 0; y < kWindow && y + dy < kWindow; ++y)  // of the key
    for (int x = dx < 0 ? -dx : 0; x < kWindow && x + dx < kWindow; ++x)
      sum += slopes[(y * kWindow + x) * WindowTile::kPitch + (y + dy) * kWindow + x + dx];
  return sum;
}

/// The rows that hold the attention of all keys, or for a while the output's gradient.
constexpr int wide_rows(int channels) { return channels > kWindowTokens ? channels : kWindowTokens; }

// Rows are few so that width 60 fits into the 64 KiB of compute capability 7.5: the gradient of q, k and v goes on as
// soon as it is known, and the output's is read anew for every head.
__global__ void __launch_bounds__(WindowTile::kThreads)
    window_attention_backward_kernel(AttentionBackwardParameters p) {
  constexpr int pitch = WindowTile::kPitch;
  const int channels = p.channels, heads = p.weights.heads, depth = channels / heads;
  float *y = shared_memory<float>(), *grad_y = y + channels * pitch, *q = grad_y + channels * pitch,
        *k = q + depth * pitch, *v = k + depth * pitch, *grad_mixed = v + depth * pitch,
        *own = grad_mixed + depth * pitch, *attention = own + depth * pitch,
        *factors = attention + wide_rows(channels) * pitch, *along = factors + kWindowTokens;
  const int token = threadIdx.x / 4, part = threadIdx.x % 4;
  const float scale = rsqrtf(static_cast<float>(depth));
  for (int64_t window = blockIdx.x; window < p.count; window += gridDim.x) {
    /// to[pixel][first + row] = from[row][token], rows of `width` floats.
    const auto store = [&](const float* from, int rows, float* to, int first, int width) {
      if (to)
        WindowTile::each(
            from, rows, [&](int t, int c, float value) { to[p.windows.pixel(window, t) * width + first + c] = value; });
    };
    __syncthreads();
    WindowTile::load([&](int t) { return p.x + p.windows.pixel(window, t) * channels; }, channels, p.weights.norm, y);
    __syncthreads();
    const float factor = apply_mask(p, window, y);
    if (part == 0) factors[token] = factor;
    __syncthreads();
    store(y, channels, p.tokens, 0, channels);
    const float keep = p.keep ? p.keep[window / p.windows.count()] : 1.0f;
    for (int h = 0; h < heads; ++h) {
      // Of q, k or v, times what it came from, and on to norm(x).
      const auto reach_tokens = [&](const float* from, int which, bool begin) {
        const int first = which * channels + h * depth;
        store(from, depth, p.grad_qkv, first, 3 * channels);
        WindowTile::multiply_transposed(from, depth, p.weights.qkv_weight + int64_t{first} * channels, channels,
                                        channels, [&](int o, int t, float4 s) {
                                          float* at = grad_y + o * pitch + t;
                                          const float sums[4] = {s.x, s.y, s.z, s.w};
                                          for (int i = 0; i < 4; ++i) at[i] = begin ? sums[i] : at[i] + sums[i];
                                        });
      };
      float* grad = attention;  // which comes later
      WindowTile::load([&](int t) { return p.grad_out + p.windows.pixel(window, t) * channels; }, channels,
                       NormWeights{}, grad);
      project_head(p, y, 0, h, scale, q);
      project_head(p, y, 1, h, 1, k);
      project_head(p, y, 2, h, 1, v);
      __syncthreads();
      WindowTile::multiply_transposed(
          grad, channels, p.weights.proj_weight + h * depth, channels, depth, [&](int o, int t, float4 sum) {
            WindowTile::put(grad_mixed, o, t, make_float4(sum.x * keep, sum.y * keep, sum.z * keep, sum.w * keep));
          });
      __syncthreads();
      const float inverse = attend(p, window, h, q, k, attention);
      for (int key = part; key < kWindowTokens; key += 4) attention[key * pitch + token] *= inverse;
      __syncthreads();
      multiply_queries(grad_mixed, attention, depth, own);  // v's gradient
      __syncthreads();
      reach_tokens(own, 2, h == 0);
      __syncthreads();
      WindowTile::multiply(attention, kWindowTokens, v, pitch, depth,
                           [&](int o, int t, float4 sum) { WindowTile::put(own, o, t, sum); });
      __syncthreads();
      store(own, depth, p.mixed, h * depth, channels);
      // The softmax's gradient along itself: sum over keys of p dp = sum over d of grad_mixed mixed.
      float sum = 0;
      for (int d = part; d < depth; d += 4) sum += grad_mixed[d * pitch + token] * own[d * pitch + token];
      sum = lane_sum<4>(sum);
      if (part == 0) along[token] = sum;
      __syncthreads();
      pairs(grad_mixed, v, depth, [&](int key, int query, float grad_attention) {
        attention[key * pitch + query] *= grad_attention - along[query];
      });
      __syncthreads();
      if (p.tables && threadIdx.x < kTable) {
        float* to = p.tables + (int64_t{blockIdx.x} * kTable + threadIdx.x) * heads + h;
        const float all = table_sum(attention, threadIdx.x);
        *to = window == blockIdx.x ? all : *to + all;
      }
      WindowTile::multiply(attention, kWindowTokens, k, pitch, depth, [&](int o, int t, float4 s) {
        WindowTile::put(own, o, t, make_float4(s.x * scale, s.y * scale, s.z * scale, s.w * scale));
      });
      multiply_queries(q, attention, depth, v);  // k's gradient; v itself has done its part
      __syncthreads();
      for (int which = 0; which < 2; ++which) reach_tokens(which == 0 ? own : v, which, false);
      __syncthreads();
    }
    // The importance map is sigmoid(mean of y): its gradient reaches y too. y is masked here: f y.
    float through = 0;
    if (p.mask_mode == MaskMode::importance) {
      for (int c = part; c < channels; c += 4) through += grad_y[c * pitch + token] * y[c * pitch + token];
      through = lane_sum<4>(through) * (1.0f - factors[token]) / channels;
    }
    if (part == 0) along[token] = through;
    __syncthreads();
    WindowTile::each(grad_y, channels, [&](int t, int c, float value) {
      p.grad_y[p.windows.pixel(window, t) * channels + c] = value * factors[t] + along[t];
    });
  }
}

}  // namespace

void CudaOps::window_attention_backward(const AttentionBackwardArgs& args) {
  const AttentionArgs& forward = args.forward;
  const AttentionGradients& out = args.gradients;
  const int channels = forward.x.channels, heads = forward.weights.heads, depth = channels / heads,
            area = forward.x.height * forward.x.width;
  const int64_t pixels = forward.x.pixels(), windows = pixels / kWindowTokens;
  const unsigned blocks = static_cast<unsigned>(std::min<int64_t>(windows, kMostBlocks));
  Scratch scratch(*device_);
  const AttentionBackwardParameters p{WindowInput(forward),
                                      forward.keep,
                                      args.grad_out.data,
                                      windows,
                                      out.qkv_weight ? scratch.take(pixels * channels) : nullptr,
                                      out.proj_weight ? scratch.take(pixels * channels) : nullptr,
                                      out.qkv_weight || out.qkv_bias ? scratch.take(3 * pixels * channels) : nullptr,
                                      out.bias_table ? scratch.take(int64_t{blocks} * kTable * heads) : nullptr,
                                      scratch.take(pixels * channels)};
  launch(*device_, window_attention_backward_kernel, blocks, WindowTile::kThreads,
         WindowTile::bytes(2 * channels + 5 * depth + wide_rows(channels)) + 2 * kWindowTokens * sizeof(float), p);
  if (out.bias_table)
    add_parts(*device_, p.tables, blocks, kTable * heads, Accumulators<1>{{out.bias_table}, {kTable * heads}});
  add_outer(*device_, KeptValues{args.grad_out.data, channels, area, forward.keep}, channels, Values{p.mixed, channels},
            channels, pixels, out.proj_weight, out.proj_bias);
  add_outer(*device_, Values{p.grad_qkv, 3 * channels}, 3 * channels, Values{p.tokens, channels}, channels, pixels,
            out.qkv_weight, out.qkv_bias);
  norm_backward(*device_, forward.x.data, forward.weights.norm, p.grad_y, out.norm, args.grad_out.data, channels,
                pixels, args.grad_x.data);
}

}  // namespace smhdr::cuda::SMHDR_CUDA_TARGET
