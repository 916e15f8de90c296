// The list of the addon's parts: one `init_*` a file. Add yours here and to init_parts.
#pragma once

#include <napi.h>

namespace smhdr::addon {

void init_network(Napi::Env env, Napi::Object exports);

inline void init_parts(Napi::Env env, Napi::Object exports) { init_network(env, exports); }

}  // namespace smhdr::addon
