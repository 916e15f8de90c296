// The prior (PriorArgs), forward and backward, kLanes pixels side by side.
#pragma once

#include "ops/cpu/vector.h"
#include "ops/prior.h"

namespace smhdr::cpu::SMHDR_ISA {

/// The logits p of the given radiance at `pixels` pixels from `at`, side by side.
SMHDR_INLINE void prior_logits(const PriorArgs& args, int64_t at, int pixels, Vec p[3]) {
  for (int c = 0; c < 3; ++c) {
    alignas(64) float own[kLanes] = {};
    for (int k = 0; k < pixels; ++k) own[k] = args.prior.data[(at + k) * 6 + c];
    const Vec h = min(max(load(own), splat(0)), splat(1));
    p[c] = natural_log((h + float(kPriorBlack)) / (1 + float(kPriorWhite) - h));
  }
}

/// body(at, pixels, z [4], p [3]) for kLanes pixels a time of [first, first + count), all images of the batch together.
template <typename Body>
SMHDR_INLINE void prior_pixels(const PriorArgs& args, int64_t first, int64_t count, Body body) {
  for (int64_t at = first; at < first + count; at += kLanes) {
    const int pixels = first + count - at < kLanes ? static_cast<int>(first + count - at) : kLanes;
    alignas(64) float own[4][kLanes] = {};
    for (int k = 0; k < pixels; ++k)
      for (int c = 0; c < 4; ++c) own[c][k] = args.x.data[(at + k) * 4 + c];
    const Vec z[4] = {load(own[0]), load(own[1]), load(own[2]), load(own[3])};
    Vec p[3];
    prior_logits(args, at, pixels, p);
    body(at, pixels, z, p);
  }
}

static void prior(const PriorArgs& args, int64_t first, int64_t count) {
  prior_pixels(
      args, first, count, [&](int64_t at, int pixels, const Vec z[4], const Vec p[3]) __attribute__((always_inline)) {
        const Vec gate = args.share * sigmoid(z[3]);
        for (int c = 0; c < 3; ++c) {
          alignas(64) float out[kLanes];
          store(out, sigmoid(z[c] + gate * (p[c] - z[c])));
          for (int k = 0; k < pixels; ++k) args.out.data[(at + k) * 3 + c] = out[k];
        }
      });
}

static void prior_backward(const PriorBackwardArgs& args, int64_t first, int64_t count) {
  prior_pixels(
      args.forward, first,
      count, [&](int64_t at, int pixels, const Vec z[4], const Vec p[3]) __attribute__((always_inline)) {
        const Vec open = sigmoid(z[3]), gate = args.forward.share * open;
        Vec grad_gate{};
        alignas(64) float grads[4][kLanes];
        for (int c = 0; c < 3; ++c) {
          alignas(64) float out[kLanes] = {}, grad_out[kLanes] = {};
          for (int k = 0; k < pixels; ++k) {
            out[k] = args.forward.out.data[(at + k) * 3 + c];
            grad_out[k] = args.grad_out.data[(at + k) * 3 + c];
          }
          const Vec o = load(out), grad = load(grad_out) * o * (1.0f - o);
          store(grads[c], grad * (1.0f - gate));
          grad_gate += grad * (p[c] - z[c]);
        }
        store(grads[3], grad_gate * gate * (1.0f - open) + args.gate_pull * z[3]);
        for (int k = 0; k < pixels; ++k)
          for (int c = 0; c < 4; ++c) args.grad_x.data[(at + k) * 4 + c] = grads[c][k];
      });
}

}  // namespace smhdr::cpu::SMHDR_ISA
