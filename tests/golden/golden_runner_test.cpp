// golden_runner itself: what must fail does, in folders made from the real ones.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "models/weights/safetensors.h"

namespace concertina::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

const fs::path kGoldens = CONCERTINA_SOURCE_DIR "/tests/goldens";

struct Outcome {
  int status = -1;
  std::string output;
};

Outcome RunOn(const std::string& arguments) {
  const std::string command = std::string(CONCERTINA_GOLDEN_RUNNER) + " " + arguments + " 2>&1";
  Outcome outcome;
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return outcome;
  std::array<char, 4096> buffer;
  size_t size = 0;
  while ((size = fread(buffer.data(), 1, buffer.size(), pipe)) > 0) {
    outcome.output.append(buffer.data(), size);
  }
  outcome.status = WEXITSTATUS(pclose(pipe));
  return outcome;
}

// Quantities whose lines say FAIL.
std::set<std::string> Failing(const std::string& output) {
  std::set<std::string> names;
  std::istringstream lines(output);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("  ") || line.find(" FAIL") == std::string::npos) continue;
    names.insert(line.substr(2, line.find("  ", 2) - 2));
  }
  return names;
}

// A copy of a folder of goldens that can be spoiled.
class GoldenRunner : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    path_ = fs::temp_directory_path() / (std::string("golden_runner_") + test->name());
    fs::remove_all(path_);
  }
  void TearDown() override { fs::remove_all(path_); }

  void Copy(const std::string& folder) {
    fs::copy(kGoldens / folder, path_, fs::copy_options::recursive);
  }

  template <typename Change>
  void EditCases(Change change) {
    nlohmann::json json = nlohmann::json::parse(std::ifstream(path_ / "cases.json"));
    change(json);
    std::ofstream(path_ / "cases.json") << json;
  }

  // Writes `values` over the beginning of a tensor.
  template <typename T>
  void Overwrite(const std::string& tensor, std::vector<T> values) {
    const std::string file = (path_ / "golden.safetensors").string();
    const auto opened = SafetensorsFile::Open(file);
    ASSERT_TRUE(opened.ok()) << opened.status();
    const TensorInfo* info = (*opened)->Find(tensor);
    ASSERT_NE(info, nullptr) << tensor;
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekp(static_cast<std::streamoff>(info->offset));
    stream.write(reinterpret_cast<const char*>(values.data()),
                 static_cast<std::streamsize>(values.size() * sizeof(T)));
    ASSERT_TRUE(stream.good());
  }

  fs::path path_;
};

TEST_F(GoldenRunner, ReportsWhatIsNotItsBusiness) {
  const Outcome outcome = RunOn((kGoldens / "preproc-ref").string());
  EXPECT_EQ(outcome.status, 0) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("qwen2vl/exif6_90x60.jpg/image_grid_thw"));
  EXPECT_THAT(outcome.output, HasSubstr("not checked"));
}

TEST_F(GoldenRunner, AWrongPixelFails) {
  Copy("preproc-ref");
  Overwrite<float>("llava336/rgb_64x48.png/pixel_values_stride14", {9.0F});
  const Outcome outcome = RunOn(path_.string());
  EXPECT_EQ(outcome.status, 1) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("1 failed"));
}

TEST_F(GoldenRunner, NoNumberIsNeverRight) {
  Copy("preproc-ref");
  Overwrite<float>("llava336/rgb_64x48.png/pixel_values_stride14",
                   {std::numeric_limits<float>::quiet_NaN()});
  EXPECT_EQ(RunOn(path_.string()).status, 1);
}

TEST_F(GoldenRunner, AWrongSizeFails) {
  Copy("preproc-ref");
  EditCases([](nlohmann::json& json) { json["sizes"][40]["llava336"]["resize"][0] = 1; });
  EXPECT_EQ(RunOn(path_.string()).status, 1);
}

TEST_F(GoldenRunner, AMissingPictureFails) {
  Copy("preproc-ref");
  fs::remove(path_ / "images" / "pal_61x77.png");
  EXPECT_EQ(RunOn(path_.string()).status, 1);
}

TEST_F(GoldenRunner, AWrongAnchorAndEvictionFail) {
  Copy("elastic-ref");
  Overwrite<int64_t>("c10_T31_2x1_f0.9/anchors", {1});
  EditCases([](nlohmann::json& json) { json["cases"][8]["decode_deleted"][3] = {2}; });
  const Outcome outcome = RunOn(path_.string());
  EXPECT_EQ(outcome.status, 1) << outcome.output;
  EXPECT_THAT(Failing(outcome.output), UnorderedElementsAre("anchors", "decode_deleted"));
}

TEST_F(GoldenRunner, WrongTokensLogitsAndTextsFail) {
  Copy("llava15-tiny");
  Overwrite<int64_t>("jpeg/greedy_ids", {5});
  Overwrite<float>("gray/logits_tail", {100.0F});
  EditCases([](nlohmann::json& json) { json["cases"][4]["prompt"] = "USER: "; });
  const Outcome outcome = RunOn(path_.string());
  EXPECT_EQ(outcome.status, 1) << outcome.output;
  // Later rows follow the reference's token, which is wrong: they differ too.
  EXPECT_THAT(
      Failing(outcome.output),
      UnorderedElementsAre("greedy_ids", "greedy_text", "greedy_top8_ids", "greedy_top8_values",
                           "logits_tail", "prompt", "session greedy_ids"));
}

TEST_F(GoldenRunner, ValuesOfAnAbsentCaseFail) {
  Copy("llava15-tiny");
  EditCases([](nlohmann::json& json) { json["cases"].erase(2); });
  const Outcome outcome = RunOn(path_.string());
  EXPECT_EQ(outcome.status, 1) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("gray/logits_tail"));
}

TEST_F(GoldenRunner, NothingToCheckFails) {
  Copy("elastic-ref");
  EditCases([](nlohmann::json& json) {
    nlohmann::json& cases = json["cases"];
    for (size_t i = cases.size(); i-- > 0;) {
      if (cases[i]["kind"] != "official") cases.erase(i);
    }
    for (auto& one : cases) one["kind"] = "unheard-of";
  });
  EXPECT_EQ(RunOn(path_.string()).status, 1);
}

TEST_F(GoldenRunner, AModelThatIsNotInstalledIsNamed) {
  Copy("llama-text-smollm2");
  EditCases([](nlohmann::json& json) { json["gguf_sha256"] = std::string(64, '0'); });
  const Outcome outcome = RunOn(path_.string());
  EXPECT_EQ(outcome.status, 2);
  EXPECT_THAT(outcome.output, HasSubstr(std::string(64, '0')));
}

TEST_F(GoldenRunner, UnreadableFoldersAreRefused) {
  EXPECT_EQ(RunOn("/nonexistent").status, 2);
  Copy("preproc-ref");
  fs::resize_file(path_ / "golden.safetensors", 1000);
  EXPECT_EQ(RunOn(path_.string()).status, 2);
  std::ofstream(path_ / "cases.json") << "[";
  EXPECT_EQ(RunOn(path_.string()).status, 2);
}

}  // namespace
}  // namespace concertina::testing
