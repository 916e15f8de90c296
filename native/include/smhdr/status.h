// Errors as values: nothing in the core throws across its public functions.
#pragma once

#include <string>
#include <utility>
#include <variant>

namespace smhdr {

enum class ErrorCode { invalid_argument, out_of_memory, cancelled, unsupported, io, internal };

/// What went wrong, in one sentence that names the argument, what was expected and what came.
struct Error {
  ErrorCode code;
  std::string message;
};

/// Either success or an Error.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Error error) : error_(std::move(error)), failed_(true) {}
  bool ok() const { return !failed_; }
  const Error& error() const { return error_; }

 private:
  Error error_{};
  bool failed_ = false;
};

/// Either a value or an Error.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}
  Result(Error error) : state_(std::move(error)) {}
  bool ok() const { return state_.index() == 0; }
  T& value() { return std::get<0>(state_); }
  const T& value() const { return std::get<0>(state_); }
  const Error& error() const { return std::get<1>(state_); }

 private:
  std::variant<T, Error> state_;
};

inline Error invalid_argument(std::string message) { return {ErrorCode::invalid_argument, std::move(message)}; }

}  // namespace smhdr
