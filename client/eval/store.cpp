#include "client/eval/store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"

namespace concertina::eval {
namespace {

using nlohmann::json;

absl::Status CannotWrite(const std::string& path) {
  return absl::InternalError(absl::StrCat("cannot write ", path, ": ", std::strerror(errno)));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> Store::Open(const std::string& folder, bool fresh) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  const std::string path = folder + "/results.jsonl";
  const int file = open(path.c_str(), O_CREAT | O_RDWR | O_APPEND | O_CLOEXEC, 0644);
  if (file < 0) return CannotWrite(path);
  std::unique_ptr<Store> store(new Store(file, path));
  if (flock(file, LOCK_EX | LOCK_NB) != 0) {
    return absl::FailedPreconditionError(path + " is in use by another run");
  }
  if (fresh && ftruncate(file, 0) != 0) return CannotWrite(path);
  if (absl::Status status = store->Read(); !status.ok()) return status;
  return store;
}

Store::~Store() { close(file_); }

absl::Status Store::Read() {
  std::ostringstream whole;
  whole << std::ifstream(path_, std::ios::binary).rdbuf();
  const std::string text = std::move(whole).str();
  size_t begin = 0;
  for (int number = 1; begin < text.size(); ++number) {
    const size_t end = text.find('\n', begin);
    // Cut off by an interrupt or a full disk: the next line must not be glued to it.
    if (end == std::string::npos) break;
    auto cell =
        CellFromJson(json::parse(text.begin() + static_cast<std::ptrdiff_t>(begin),
                                 text.begin() + static_cast<std::ptrdiff_t>(end), nullptr, false));
    if (!cell.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(path_, ":", number, ": ", std::string(cell.status().message())));
    }
    std::string key = cell->key;
    cells_.insert_or_assign(std::move(key), *std::move(cell));
    begin = end + 1;
  }
  if (begin < text.size() && ftruncate(file_, static_cast<off_t>(begin)) != 0) {
    return CannotWrite(path_);
  }
  return absl::OkStatus();
}

const Cell* Store::Find(const std::string& key) const {
  const std::lock_guard lock(mutex_);
  const auto found = cells_.find(key);
  return found == cells_.end() ? nullptr : &found->second;
}

absl::Status Store::Add(const Cell& cell) {
  const std::string line = ToJson(cell).dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  const std::lock_guard lock(mutex_);
  for (size_t written = 0; written < line.size();) {
    const ssize_t count = write(file_, line.data() + written, line.size() - written);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return CannotWrite(path_);
    written += static_cast<size_t>(count);
  }
  cells_.insert_or_assign(cell.key, cell);
  return absl::OkStatus();
}

}  // namespace concertina::eval
