#include "tests/campaigns/long_llava.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/integration/child_process.h"
#include "tests/integration/server_process.h"

namespace concertina::testing {
namespace {

namespace fs = std::filesystem;

constexpr int kContext = 32'768;

struct Folder {
  fs::path path;

  Folder() : path(TemporaryPath("long-llava")) {
    const fs::path source = CONCERTINA_SOURCE_DIR "/tests/goldens/llava15-tiny";
    fs::create_directories(path);
    for (const auto& entry : fs::directory_iterator(source)) {
      if (entry.path().filename() == "config.json") continue;
      fs::create_symlink(entry.path(), path / entry.path().filename());
    }
    nlohmann::json config = nlohmann::json::parse(ReadWholeFile(source / "config.json"));
    config["text_config"]["max_position_embeddings"] = kContext;
    std::ofstream(path / "config.json") << config;
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
};

}  // namespace

std::string LongLlavaFolder() {
  static const Folder kFolder;
  return kFolder.path;
}

std::vector<std::string> LongLlava(const std::string& pool_bytes) {
  std::vector<std::string> flags = TinyLlava(pool_bytes);
  flags[1] = LongLlavaFolder();
  return flags;
}

}  // namespace concertina::testing
