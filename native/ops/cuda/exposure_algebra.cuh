// The algebra between the pixels of the attention between exposures: C x C matrices in double, by one block an image.
// See ops/exposure_product.cpp for its formulas.
#pragma once

#include "ops/cuda/cuda_ops.h"

namespace smhdr::cuda::SMHDR_CUDA_TARGET {

/// Matrices of one image, n x n doubles each.
struct ExposureAlgebra {
  double *query, *query_gram, *key_gram, *cosine, *attention, *attended;
  double *query_norm, *key_norm;  // [n]
  double* rest;                   // behind them
  static constexpr int64_t doubles(int64_t n) { return 6 * n * n + 2 * n; }
  __device__ ExposureAlgebra(double* at, int n) {
    double** squares[] = {&query, &query_gram, &key_gram, &cosine, &attention, &attended};
    for (double** one : squares) *one = at, at += int64_t{n} * n;
    query_norm = at, key_norm = at + n, rest = at + 2 * n;
  }
};

/// The channels of channel o's head.
struct ExposureHead {
  int start, end;
  __device__ __forceinline__ ExposureHead(int o, int n, int heads) {
    const int head = ((o + 1) * heads - 1) / n;
    start = part_start(head, heads, n), end = part_start(head + 1, heads, n);
  }
};

/// emit(row, column, sum over k in [begin, end) of left(row, k) right(k, column)) for all of an n x n matrix, by the
/// block; then waits.
template <typename Left, typename Right, typename Emit>
__device__ __forceinline__ void product(int n, int begin, int end, Left left, Right right, Emit emit) {
  for (int i = threadIdx.x; i < n * n; i += blockDim.x) {
    double sum = 0;
    for (int k = begin; k < end; ++k) sum += left(i / n, k) * right(k, i % n);
    emit(i / n, i % n, sum);
  }
  __syncthreads();
}
template <typename Left, typename Right, typename Emit>
__device__ __forceinline__ void product(int n, Left left, Right right, Emit emit) {
  product(n, 0, n, left, right, emit);
}

/// A matrix as product() reads it, as it lies or turned over, and as it writes it.
template <typename T, bool turned>
struct Read {
  const T* a;
  int n;
  __device__ __forceinline__ double operator()(int i, int j) const { return turned ? a[j * n + i] : a[i * n + j]; }
};
template <typename T>
__device__ __forceinline__ Read<T, false> plain(const T* a, int n) {
  return {a, n};
}
template <typename T>
__device__ __forceinline__ Read<T, true> turned(const T* a, int n) {
  return {a, n};
}
template <typename T>
struct Write {
  T* a;
  int n;
  __device__ __forceinline__ void operator()(int i, int j, double sum) const { a[i * n + j] = static_cast<T>(sum); }
};
template <typename T>
__device__ __forceinline__ Write<T> into(T* a, int n) {
  return {a, n};
}

/// From an image's Gram matrix to A Wv, `attended`; cosine and attention are 0 outside of a head.
__device__ __forceinline__ void attend(const ExposureAttentionWeights& w, int n, int exposures, const double* gram,
                                       const ExposureAlgebra& m) {
  const int heads = exposure_heads(n, exposures), first = part_start(exposures / 2, exposures, n),
            slot = part_start(exposures / 2 + 1, exposures, n) - first;
  // Wq acts on the reference's own channels: those it is tiled to are summed.
  for (int i = threadIdx.x; i < n * n; i += blockDim.x) {
    const int o = i / n, c = i % n - first;
    double sum = 0;
    if (c >= 0 && c < slot)
      for (int tiled = c; tiled < n; tiled += slot) sum += w.q[o * n + tiled];
    m.query[i] = sum;
  }
  __syncthreads();
  product(n, first, first + slot, plain(m.query, n), plain(gram, n), into(m.query_gram, n));
  product(n, plain(w.k, n), plain(gram, n), into(m.key_gram, n));
  for (int o = threadIdx.x; o < n; o += blockDim.x) {
    double query = 0, key = 0;
    for (int c = 0; c < n; ++c) {
      query += m.query_gram[o * n + c] * m.query[o * n + c];
      key += m.key_gram[o * n + c] * w.k[o * n + c];
    }
    m.query_norm[o] = fmax(sqrt(fmax(query, 0.0)), 1e-12);
    m.key_norm[o] = fmax(sqrt(fmax(key, 0.0)), 1e-12);
  }
  __syncthreads();
  for (int i = threadIdx.x; i < n * n; i += blockDim.x) {
    const int o = i / n, j = i % n;
    const ExposureHead head(o, n, heads);
    double dot = 0;
    if (j >= head.start && j < head.end)
      for (int c = 0; c < n; ++c) dot += m.query_gram[o * n + c] * w.k[j * n + c];
    m.cosine[i] = dot / (m.query_norm[o] * m.key_norm[j]);
  }
  __syncthreads();
  for (int o = threadIdx.x; o < n; o += blockDim.x) {
    const ExposureHead head(o, n, heads);
    const double* cosine = m.cosine + o * n;
    double *attention = m.attention + o * n, top = cosine[head.start], total = 0;
    for (int j = 0; j < n; ++j) attention[j] = 0;
    for (int j = head.start; j < head.end; ++j) top = fmax(top, cosine[j]);
    for (int j = head.start; j < head.end; ++j) total += attention[j] = exp(cosine[j] - top);
    for (int j = head.start; j < head.end; ++j) attention[j] /= total;
  }
  __syncthreads();
  for (int i = threadIdx.x; i < n * n; i += blockDim.x) {
    const ExposureHead head(i / n, n, heads);
    double sum = 0;
    for (int j = head.start; j < head.end; ++j) sum += m.attention[i / n * n + j] * w.v[j * n + i % n];
    m.attended[i] = sum;
  }
  __syncthreads();
}

}  // namespace smhdr::cuda::SMHDR_CUDA_TARGET
