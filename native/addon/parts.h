// The list of the addon's parts: one `init_*` a file. Add yours here and to init_parts.
#pragma once

#include <napi.h>

namespace smhdr::addon {

void init_align(Napi::Env env, Napi::Object exports);
void init_finish(Napi::Env env, Napi::Object exports);
void init_merge(Napi::Env env, Napi::Object exports);
void init_meter(Napi::Env env, Napi::Object exports);
void init_motion(Napi::Env env, Napi::Object exports);
void init_network(Napi::Env env, Napi::Object exports);
void init_pixels(Napi::Env env, Napi::Object exports);
void init_sample(Napi::Env env, Napi::Object exports);
void init_tone_map(Napi::Env env, Napi::Object exports);
void init_train(Napi::Env env, Napi::Object exports);

inline void init_parts(Napi::Env env, Napi::Object exports) {
  init_align(env, exports);
  init_finish(env, exports);
  init_merge(env, exports);
  init_meter(env, exports);
  init_motion(env, exports);
  init_network(env, exports);
  init_pixels(env, exports);
  init_sample(env, exports);
  init_tone_map(env, exports);
  init_train(env, exports);
}

}  // namespace smhdr::addon
