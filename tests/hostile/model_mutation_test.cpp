// Damaged model files: an error, or exactly what the file says; never a crash, never slow, never
// much memory.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/hostile/allocation_meter.h"
#include "tests/hostile/campaign.h"
#include "tests/hostile/model_reading.h"
#include "tests/hostile/mutation.h"
#include "tests/models/weights/test_files.h"

namespace concertina::testing {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr int64_t kAllocationLimit = int64_t{64} << 20;
constexpr int64_t kResidentLimit = int64_t{4} << 20;
constexpr std::chrono::seconds kTimeLimit{1};

struct Target {
  const char* name;
  const char* file;       // of the model folder; empty: a file of its own
  std::string (*make)();  // the undamaged file, if it is not of the folder
  absl::Status (*read)(const std::string& path);
  bool json;
};

std::string Whole(const Target& target, const std::string& folder) {
  if (target.make != nullptr) return target.make();
  std::ifstream file(folder + "/" + target.file, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class ModelMutation : public ::testing::TestWithParam<Target> {
 protected:
  void SetUp() override {
    for (const auto& entry :
         fs::directory_iterator(CONCERTINA_SOURCE_DIR "/tests/goldens/llava15-tiny")) {
      if (!entry.is_regular_file() || entry.path().filename() == "golden.safetensors") continue;
      fs::copy_file(entry.path(), fs::path(folder_.path()) / entry.path().filename());
    }
  }

  absl::Status Try(const std::string& bytes) {
    const Target& target = GetParam();
    const std::string path = folder_.Write(target.make != nullptr ? "mutant" : target.file, bytes);
    const auto start = Clock::now();
    MarkPeakAllocated();
    const absl::Status status = target.read(target.make != nullptr ? path : folder_.path());
    most_allocated_ = std::max(most_allocated_, PeakAllocatedBytes());
    slowest_ = std::max(slowest_, Clock::now() - start);
    return status;
  }

  const TempFolder folder_;
  int64_t most_allocated_ = 0;
  Clock::duration slowest_{};
};

TEST_P(ModelMutation, IsAnErrorOrWhatTheFileSays) {
  const Target& target = GetParam();
  std::mt19937 random(CampaignSeed());
  const std::string whole = Whole(target, folder_.path());
  ASSERT_TRUE(Try(whole).ok()) << Try(whole);
  const int count = FullCampaign() ? 2000 : UnderSanitizer() ? 100 : 300;
  const size_t header = target.json ? whole.size() : std::min<size_t>(whole.size(), 6000);
  int accepted = 0;
  int64_t before = ResidentBytes();
  for (int i = 0; i < count && !HasFailure(); ++i) {
    // The first tenth fills caches, and the quarantine of sanitizers.
    if (i == count / 10) before = ResidentBytes();
    const std::string mutant =
        target.json ? MutateJson(whole, random) : MutateBytes(whole, header, random);
    SCOPED_TRACE(::testing::Message() << target.name << " number " << i);
    slowest_ = {};
    most_allocated_ = 0;
    const absl::Status status = Try(mutant);
    accepted += status.ok() ? 1 : 0;
    EXPECT_TRUE(status.ok() || !status.message().empty());
    EXPECT_LE(most_allocated_, kAllocationLimit) << status;
    if (!UnderSanitizer() && slowest_ > kTimeLimit) {
      // Again: the machine may have been busy with something else.
      slowest_ = {};
      static_cast<void>(Try(mutant));
      EXPECT_LE(slowest_, kTimeLimit) << status;
    }
  }
  const int64_t grown = ResidentBytes() - before;
  std::printf("%s: %d mutants, %d accepted, resident %+.1f MiB\n", target.name, count, accepted,
              static_cast<double>(grown) / (1 << 20));
  // Damage to names, texts and values is no fault of the form; refusing all would be one.
  EXPECT_GT(accepted, 0);
  EXPECT_LT(accepted, count);
  EXPECT_LE(grown, kResidentLimit + (UnderSanitizer() ? int64_t{16} << 20 : 0));
}

INSTANTIATE_TEST_SUITE_P(
    Files, ModelMutation,
    ::testing::Values(Target{"gguf", "", SmallModelGguf, ReadGguf, false},
                      Target{"safetensors", "", SmallSafetensors, ReadSafetensors, false},
                      Target{"index", "model.safetensors.index.json", nullptr, ReadIndex, true},
                      Target{"config", "config.json", nullptr, ReadModelFolder, true},
                      Target{"tokenizer", "tokenizer.json", nullptr, ReadTokenizer, true},
                      Target{"preprocessor", "preprocessor_config.json", nullptr, ReadModelFolder,
                             true}),
    [](const auto& target) { return std::string(target.param.name); });

}  // namespace
}  // namespace concertina::testing
