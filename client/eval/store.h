#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/eval/cell.h"

namespace concertina::eval {

// results.jsonl: a line for every cell, appended as soon as it is measured and never changed, so
// that an interrupted run loses nothing but what was under way. One process at a time. Thread-safe.
class Store {
 public:
  // Makes the folder if need be and reads what is there; a last line that was cut off is dropped.
  // `fresh` begins with nothing. INVALID_ARGUMENT names a line that is no cell, FAILED_PRECONDITION
  // says that another process has the file.
  static absl::StatusOr<std::unique_ptr<Store>> Open(const std::string& folder, bool fresh);
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  // The cell of a key, or null. It stays valid as long as the store.
  const Cell* Find(const std::string& key) const;

  // Writes the line to the file and keeps the cell. INTERNAL if it cannot be written.
  absl::Status Add(const Cell& cell);

 private:
  Store(int file, std::string path) : file_(file), path_(std::move(path)) {}
  absl::Status Read();

  const int file_;
  const std::string path_;
  mutable std::mutex mutex_;
  std::map<std::string, Cell> cells_;  // by key
};

}  // namespace concertina::eval
