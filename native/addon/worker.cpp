#include "worker.h"

#include <atomic>
#include <memory>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>

namespace smhdr::addon {
namespace {

const char* code_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument:
      return "INVALID_ARGUMENT";
    case ErrorCode::out_of_memory:
      return "OUT_OF_MEMORY";
    case ErrorCode::cancelled:
      return "CANCELLED";
    case ErrorCode::unsupported:
      return "UNSUPPORTED";
    case ErrorCode::io:
      return "IO";
    case ErrorCode::internal:
      break;
  }
  return "INTERNAL";
}

class Task final : public Napi::AsyncWorker {
 public:
  Task(Napi::Env env, const std::vector<Napi::Value>& hold, Napi::Value on_progress,
       std::function<Status(const Progress&)> work, std::function<Napi::Value(Napi::Env)> finish)
      : AsyncWorker(env), deferred_(env), work_(std::move(work)), finish_(std::move(finish)) {
    Napi::Array kept = Napi::Array::New(env, hold.size());
    for (uint32_t i = 0; i < hold.size(); ++i) kept.Set(i, hold[i]);
    hold_ = Napi::Persistent(kept.As<Napi::Object>());
    if (on_progress.IsFunction()) {
      report_ = Napi::ThreadSafeFunction::New(env, on_progress.As<Napi::Function>(), "smhdr progress", 0, 1);
      reporting_ = true;
    }
  }

  Napi::Promise promise() const { return deferred_.Promise(); }
  std::shared_ptr<std::atomic<bool>> cancelled() const { return cancelled_; }

  /// As Queue() does, on a thread of its own; on one of libuv's where the system gives no more.
  void start() {
    const auto thread = std::make_shared<std::thread>();
    const auto nothing = Napi::Function::New(Env(), [](const Napi::CallbackInfo&) {});
    // Where Node ends before the work does, it is stopped and waited for.
    const auto ended =
        Napi::ThreadSafeFunction::New(Env(), nothing, "smhdr work", 0, 1, [thread, cancelled = cancelled_](Napi::Env) {
          if (!thread->joinable()) return;
          cancelled->store(true);
          thread->join();
        });
    try {
      *thread = std::thread([this, ended] {
        Execute();
        ended.BlockingCall([this](Napi::Env env, Napi::Function) { OnWorkComplete(env, napi_ok); });
        ended.Release();
      });
    } catch (const std::system_error&) {
      ended.Release();
      Queue();
    }
  }

 protected:
  void Execute() override {
    Progress progress;
    progress.cancelled = cancelled_.get();
    if (reporting_) {
      progress.report = [this](double fraction) {
        report_.NonBlockingCall([fraction, settled = settled_](Napi::Env env, Napi::Function call) {
          if (!*settled) call.Call({Napi::Number::New(env, fraction)});
        });
      };
    }
    try {
      status_ = work_(progress);
    } catch (const std::bad_alloc&) {
      status_ = Error{ErrorCode::out_of_memory, "Not enough memory for this operation."};
    } catch (const std::exception& error) {
      status_ = Error{ErrorCode::internal, error.what()};
    }
    if (reporting_) report_.Release();
  }

  void OnOK() override {
    Napi::HandleScope scope(Env());
    *settled_ = true;
    if (!status_.ok()) return deferred_.Reject(to_js(Env(), status_.error()).Value());
    try {
      deferred_.Resolve(finish_(Env()));
    } catch (const Napi::Error& error) {
      deferred_.Reject(error.Value());
    }
  }

 private:
  Napi::Promise::Deferred deferred_;
  Napi::ObjectReference hold_;
  Napi::ThreadSafeFunction report_;
  bool reporting_ = false;
  std::shared_ptr<std::atomic<bool>> cancelled_ = std::make_shared<std::atomic<bool>>(false);
  // Progress is delivered by a queue of its own and may come after the result: then it is dropped. Main thread only.
  std::shared_ptr<bool> settled_ = std::make_shared<bool>(false);
  std::function<Status(const Progress&)> work_;
  std::function<Napi::Value(Napi::Env)> finish_;
  Status status_;
};

}  // namespace

Napi::Error to_js(Napi::Env env, const Error& error) {
  Napi::Error js = Napi::Error::New(env, error.message);
  js.Set("code", Napi::String::New(env, code_name(error.code)));
  return js;
}

std::shared_ptr<ThreadPool> shared_pool(int threads) {
  static std::mutex mutex;
  static std::shared_ptr<ThreadPool> pool;
  std::lock_guard lock(mutex);
  if (!pool || (threads > 0 && pool->threads() != threads)) pool = std::make_shared<ThreadPool>(threads);
  return pool;
}

Napi::Value start_task(Napi::Env env, const std::vector<Napi::Value>& hold, Napi::Value on_progress,
                       std::function<Status(const Progress&)> work, std::function<Napi::Value(Napi::Env)> finish,
                       bool own_thread) {
  auto* task = new Task(env, hold, on_progress, std::move(work), std::move(finish));  // deletes itself when done
  Napi::Object handle = Napi::Object::New(env);
  handle.Set("promise", task->promise());
  handle.Set("cancel",
             Napi::Function::New(env, [flag = task->cancelled()](const Napi::CallbackInfo&) { flag->store(true); }));
  if (own_thread)
    task->start();
  else
    task->Queue();
  return handle;
}

}  // namespace smhdr::addon
