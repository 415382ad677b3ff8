#include "tests/engine/simulated_machine.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

#include "nlohmann/json.hpp"
#include "server/engine/prompt_work.h"

namespace concertina::testing {
namespace {

namespace fs = std::filesystem;

constexpr int kContext = 32'768;

// Links to the files of the tiny model beside a configuration of its own.
class LongFolder {
 public:
  LongFolder() {
    const fs::path source = CONCERTINA_SOURCE_DIR "/tests/goldens/llava15-tiny";
    std::string name = (fs::temp_directory_path() / "concertina-long-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
    for (const auto& entry : fs::directory_iterator(source)) {
      if (entry.path().filename() == "config.json") continue;
      fs::create_symlink(entry.path(), path_ / entry.path().filename());
    }
    std::ifstream file(source / "config.json");
    nlohmann::json config = nlohmann::json::parse(file);
    config["text_config"]["max_position_embeddings"] = kContext;
    std::ofstream(path_ / "config.json") << config;
  }
  ~LongFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  LongFolder(const LongFolder&) = delete;
  LongFolder& operator=(const LongFolder&) = delete;

  std::string path() const { return path_.string(); }

 private:
  fs::path path_;
};

}  // namespace

std::shared_ptr<const Model> LongTinyModel() {
  static const LongFolder kFolder;
  static const std::shared_ptr<const Model> kModel = LoadOrDie(kFolder.path());
  return kModel;
}

std::chrono::nanoseconds SimulatedMachine::SliceTime(int64_t rows, int64_t first_key) {
  constexpr double kNsPerMac = 0.1;
  const double macs = SliceMacs(LongTinyModel()->language->config(), rows, first_key);
  return kSlice + std::chrono::nanoseconds(static_cast<int64_t>(kNsPerMac * macs));
}

void SimulatedMachine::OnPrefillSlice(int64_t rows, int64_t first_key) {
  clock_->Advance(SliceTime(rows, first_key));
  {
    std::lock_guard lock(mutex_);
    const bool counted = stop_in_ > 0 && --stop_in_ == 0;
    const bool begins = stop_at_beginning_ && first_key == 0;
    if (!counted && !begins) return;
    stop_at_beginning_ = false;
  }
  stopped_.release();
  go_on_.acquire();
}

void SimulatedMachine::OnPictureSlice(int64_t rows) {
  clock_->Advance(kSlice + rows * kPictureRow);
  std::lock_guard lock(mutex_);
  ++picture_slices_;
}

void SimulatedMachine::OnBatch(int64_t) {
  clock_->Advance(kDecodeStep);
  std::lock_guard lock(mutex_);
  steps_.push_back(clock_->Now());
}

std::vector<std::chrono::steady_clock::time_point> SimulatedMachine::steps() const {
  std::lock_guard lock(mutex_);
  return steps_;
}

int SimulatedMachine::picture_slices() const {
  std::lock_guard lock(mutex_);
  return picture_slices_;
}

void SimulatedMachine::StopAtBeginning() {
  std::lock_guard lock(mutex_);
  stop_at_beginning_ = true;
}

void SimulatedMachine::StopAfter(int slices) {
  std::lock_guard lock(mutex_);
  stop_in_ = slices;
}

}  // namespace concertina::testing
