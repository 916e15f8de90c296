// The list of the addon's parts: one `init_*` a file. Add yours here and to init_parts.
#pragma once

#include <napi.h>

namespace smhdr::addon {

inline void init_parts([[maybe_unused]] Napi::Env env, [[maybe_unused]] Napi::Object exports) {}

}  // namespace smhdr::addon
