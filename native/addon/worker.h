// How the addon runs long work: a plain struct of options is read on the main thread, the work runs on another
// thread over memory that is held alive, and the result or an error value comes back as a promise.
#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "smhdr/progress.h"
#include "smhdr/status.h"
#include "smhdr/thread_pool.h"

namespace smhdr::addon {

/// A JS Error whose `code` is one of src/errors.ts' codes.
Napi::Error to_js(Napi::Env env, const Error& error);

[[noreturn]] inline void refuse(Napi::Env env, const Error& error) { throw to_js(env, error); }
[[noreturn]] inline void refuse(Napi::Env env, std::string message) {
  refuse(env, invalid_argument(std::move(message)));
}

/// The process's one thread pool. `threads` <= 0 keeps the size it has (one per processor at first); another size
/// rebuilds it. Call it on the main thread and hold the pointer while working.
std::shared_ptr<ThreadPool> shared_pool(int threads);

/// Starts `work` off the main thread and returns `{ promise, cancel() }` to JS.
/// `hold`: JS values (typed arrays, ...) whose memory `work` uses; kept alive until it has finished.
/// `on_progress`: a JS function called with a fraction in [0, 1] on the main thread, or undefined.
/// `own_thread`: not one of libuv's, which are four, and with which all else waits while these wait for devices.
/// `finish`: makes the promise's value, on the main thread, once work succeeded.
Napi::Value start_task(Napi::Env env, const std::vector<Napi::Value>& hold, Napi::Value on_progress,
                       std::function<Status(const Progress&)> work, std::function<Napi::Value(Napi::Env)> finish,
                       bool own_thread = false);

}  // namespace smhdr::addon
