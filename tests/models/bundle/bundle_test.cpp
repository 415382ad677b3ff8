#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "models/bundle/model.h"
#include "models/bundle/weight_copies.h"
#include "models/config/json_file.h"
#include "nlohmann/json.hpp"

namespace concertina {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

const fs::path kTiny = fs::path(CONCERTINA_SOURCE_DIR) / "tests/goldens/llava15-tiny";
const fs::path kVision = fs::path(CONCERTINA_SOURCE_DIR) / "models/bundled/smollm2-135m-vision";
constexpr const char* kGguf = CONCERTINA_SOURCE_DIR "/.models/SmolLM2-135M-Instruct.Q4_1.gguf";

// A copy of a model folder that a test may spoil.
class FolderCopy {
 public:
  explicit FolderCopy(const fs::path& from) {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    path_ = fs::path(::testing::TempDir()) /
            ("bundle_test_" + std::to_string(getpid()) + "_" + test->name());
    fs::remove_all(path_);
    fs::create_directories(path_);
    for (const auto& entry : fs::directory_iterator(from)) {
      if (entry.is_regular_file()) fs::copy_file(entry.path(), path_ / entry.path().filename());
    }
  }
  ~FolderCopy() { fs::remove_all(path_); }
  FolderCopy(const FolderCopy&) = delete;
  FolderCopy& operator=(const FolderCopy&) = delete;

  const fs::path& path() const { return path_; }
  void Edit(const char* file, const std::function<void(nlohmann::json&)>& change) {
    nlohmann::json json = ReadJsonFile((path_ / file).string()).value();
    change(json);
    Write(file, json.dump());
  }
  void Write(const char* file, const std::string& text) const {
    std::ofstream(path_ / file, std::ios::binary) << text;
  }
  void Remove(const char* file) const { fs::remove(path_ / file); }

 private:
  fs::path path_;
};

absl::StatusOr<std::shared_ptr<const Model>> Load(const fs::path& path,
                                                  const std::string& family = "") {
  return LoadModel({.path = path.string(), .chat_family = family});
}

void ExpectRefused(const fs::path& path, absl::StatusCode code, const std::string& word) {
  const absl::Status status = Load(path).status();
  EXPECT_EQ(status.code(), code) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(word));
}

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kNotFound = absl::StatusCode::kNotFound;

TEST(LoadModel, AFolderOfLlava) {
  const auto loaded = Load(kTiny);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const Model& model = **loaded;
  EXPECT_EQ(model.name, "llava15-tiny");
  EXPECT_EQ(model.image_token, 384);
  EXPECT_EQ(model.image_tokens, 16);
  EXPECT_THAT(model.end_tokens, ElementsAre(2));
  EXPECT_FALSE(model.adapter);
  EXPECT_EQ(model.chat->family(), "llava-1.5");
  EXPECT_EQ(model.preprocess.crop_width, 56);
  EXPECT_EQ(model.language->config().max_positions, 512);
  EXPECT_EQ(model.vision->output_width(), model.language->config().hidden);
  EXPECT_EQ(model.weight_bytes, model.language->weight_bytes() + model.vision->weight_bytes());
}

TEST(LoadModel, ALanguageModelMayLieOnADevice) {
  const auto load = [](const std::string& device, const WeightSettings& weights) {
    return LoadModel({.path = kTiny.string(), .weight_type = weights, .device = device});
  };
  const auto loaded = load("torch:cpu", MatrixType::kF32);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const Model& model = **loaded;
  const auto host = Load(kTiny);
  EXPECT_EQ(model.language, nullptr);
  EXPECT_EQ(model.device->device(), "torch:cpu");
  EXPECT_EQ(model.config.max_positions, 512);
  EXPECT_EQ(model.device_bytes, 0) << "it is the host's memory";
  EXPECT_EQ(ParametersOf(model), ParametersOf(**host));
  EXPECT_FALSE(IsDeterministic(model));
  EXPECT_TRUE(IsDeterministic(**host));
  const std::vector<WeightCopy> copies = ListCopies(model);
  ASSERT_EQ(copies.size(), 2u);
  EXPECT_EQ(copies[0].role, WeightCopy::Role::kAll);
  EXPECT_EQ(copies[0].bytes, 4 * copies[0].parameters);
  // Left open, it is bf16, and entries with it.
  const auto half = load("torch:cpu", WeightSettings::Auto());
  ASSERT_TRUE(half.ok()) << half.status();
  EXPECT_EQ((*half)->device->entry_type(), EntryType::kBf16);
  EXPECT_EQ(2 * (*half)->device->weight_bytes(), model.device->weight_bytes());
  EXPECT_EQ(2 * PageBytesOf(**half), PageBytesOf(model));
  EXPECT_EQ(load("torch:cpu", MatrixType::kInt8).status().code(), kInvalid);
  EXPECT_EQ(load("gpu", MatrixType::kF32).status().code(), kInvalid);
  EXPECT_EQ(load("cuda:77", MatrixType::kF32).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(LoadModel, NamesTheFolderAlsoWithATrailingSlash) {
  const auto loaded = LoadModel({.path = kTiny.string() + "/"});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ((*loaded)->name, "llava15-tiny");
}

TEST(LoadModel, TakesSeveralEndTokensFromTheGenerationConfig) {
  FolderCopy copy(kTiny);
  copy.Edit("generation_config.json", [](auto& json) { json["eos_token_id"] = {5, 2, 5}; });
  const auto loaded = Load(copy.path());
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_THAT((*loaded)->end_tokens, ElementsAre(5, 2));
}

TEST(LoadModel, EndTokensFallBackToTheModelsConfig) {
  FolderCopy copy(kTiny);
  copy.Remove("generation_config.json");
  copy.Edit("config.json", [](auto& json) { json["text_config"]["eos_token_id"] = 7; });
  const auto loaded = Load(copy.path());
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_THAT((*loaded)->end_tokens, ElementsAre(7));
}

TEST(LoadModel, AnUnknownTemplateNeedsAFamily) {
  FolderCopy copy(kTiny);
  copy.Write("chat_template.jinja", "{{ messages }}");
  ExpectRefused(copy.path(), absl::StatusCode::kFailedPrecondition, "llava-1.5");
  EXPECT_TRUE(Load(copy.path(), "llava-1.5").ok());
  EXPECT_FALSE(Load(copy.path(), "unheard-of").ok());
}

TEST(LoadModel, TemplatesInJsonFilesAreFound) {
  FolderCopy copy(kTiny);
  copy.Remove("chat_template.jinja");
  EXPECT_TRUE(Load(copy.path()).ok());
  const std::string text =
      ReadJsonFile((copy.path() / "chat_template.json").string()).value()["chat_template"];
  copy.Remove("chat_template.json");
  ExpectRefused(copy.path(), absl::StatusCode::kFailedPrecondition, "");
  copy.Edit("tokenizer_config.json", [&](auto& json) {
    json["chat_template"] = {{{"name", "other"}, {"template", "x"}},
                             {{"name", "default"}, {"template", text}}};
  });
  EXPECT_TRUE(Load(copy.path()).ok());
}

struct Spoiling {
  const char* name;
  const char* file;
  std::function<void(nlohmann::json&)> change;
  absl::StatusCode code;
  const char* word;
};

class Contradiction : public ::testing::TestWithParam<Spoiling> {};

TEST_P(Contradiction, IsRefusedPrecisely) {
  FolderCopy copy(kTiny);
  copy.Edit(GetParam().file, GetParam().change);
  ExpectRefused(copy.path(), GetParam().code, GetParam().word);
}

using Json = nlohmann::json;
INSTANTIATE_TEST_SUITE_P(
    Matrix, Contradiction,
    ::testing::Values(
        Spoiling{"image_token", "config.json", [](Json& j) { j["image_token_index"] = 400; },
                 kInvalid, "image_token_index"},
        Spoiling{"image_token_absent", "config.json", [](Json& j) { j.erase("image_token_index"); },
                 kInvalid, "image_token"},
        Spoiling{"image_length", "config.json", [](Json& j) { j["image_seq_length"] = 17; },
                 kInvalid, "image_seq_length"},
        Spoiling{"kind", "config.json", [](Json& j) { j["model_type"] = "qwen2_vl"; },
                 absl::StatusCode::kUnimplemented, "model_type"},
        Spoiling{"text_config", "config.json", [](Json& j) { j["text_config"] = 3; }, kInvalid,
                 "text_config"},
        Spoiling{"vocabulary", "config.json", [](Json& j) { j["text_config"]["vocab_size"] = 408; },
                 kInvalid, "embed_tokens.weight"},
        Spoiling{"small_vocabulary", "config.json",
                 [](Json& j) { j["text_config"]["vocab_size"] = 300; }, kInvalid, "tokenizer.json"},
        Spoiling{"layers", "config.json",
                 [](Json& j) { j["text_config"]["num_hidden_layers"] = 4; }, kNotFound,
                 "layers.3."},
        Spoiling{"heads", "config.json",
                 [](Json& j) { j["text_config"]["num_key_value_heads"] = 2; }, kInvalid,
                 "k_proj.weight"},
        Spoiling{"tower_layers", "config.json",
                 [](Json& j) { j["vision_config"]["num_hidden_layers"] = 4; }, kNotFound,
                 "layers.3."},
        Spoiling{"patch", "config.json", [](Json& j) { j["vision_config"]["patch_size"] = 28; },
                 kInvalid, "image_seq_length"},
        Spoiling{"crop", "preprocessor_config.json",
                 [](Json& j) { j["crop_size"] = {{"height", 56}, {"width", 58}}; }, kInvalid,
                 "56x58"},
        Spoiling{"no_crop", "preprocessor_config.json",
                 [](Json& j) { j["do_center_crop"] = false; }, kInvalid, "cropped"},
        Spoiling{"end_token", "generation_config.json", [](Json& j) { j["eos_token_id"] = 400; },
                 kInvalid, "eos_token_id"},
        Spoiling{
            "shard", "model.safetensors.index.json",
            [](Json& j) { j["weight_map"]["language_model.model.norm.weight"] = "../config.json"; },
            kInvalid, ""}),
    [](const auto& suite_info) { return suite_info.param.name; });

TEST(LoadModel, MissingFilesAreNamed) {
  for (const char* file : {"tokenizer.json", "preprocessor_config.json", "config.json",
                           "model-00002-of-00003.safetensors"}) {
    FolderCopy copy(kTiny);
    copy.Remove(file);
    ExpectRefused(copy.path(), kNotFound, file);
  }
}

TEST(LoadModel, ATruncatedShardIsAnError) {
  FolderCopy copy(kTiny);
  const fs::path shard = copy.path() / "model-00001-of-00003.safetensors";
  fs::resize_file(shard, fs::file_size(shard) - 5);
  EXPECT_EQ(Load(copy.path()).status().code(), kInvalid);
}

TEST(LoadModel, PathsThatAreNoModels) {
  EXPECT_EQ(Load("/nonexistent/model.gguf").status().code(), kNotFound);
  EXPECT_EQ(Load("").status().code(), kNotFound);
  EXPECT_EQ(Load(kTiny / "config.json").status().code(), kInvalid);
  EXPECT_EQ(LoadModel({.path = kTiny.string(), .vision_path = kVision.string()}).status().code(),
            kInvalid);
}

TEST(LoadModel, AVisionFolderMustFitTheLanguageModel) {
  const auto refusal = [](const FolderCopy& copy) {
    return LoadModel({.path = kGguf, .vision_path = copy.path().string()}).status();
  };
  FolderCopy copy(kVision);
  copy.Edit("config.json", [](Json& j) { j["text_config"]["num_hidden_layers"] = 32; });
  EXPECT_THAT(std::string(refusal(copy).message()), HasSubstr("layers 32"));
  copy.Edit("config.json", [](Json& j) {
    j.erase("text_config");
    j["image_token_index"] = 49152;
  });
  EXPECT_THAT(std::string(refusal(copy).message()), HasSubstr("image_token_index"));
  copy.Remove("adapter.safetensors");
  EXPECT_EQ(refusal(copy).code(), kNotFound);
}

}  // namespace
}  // namespace concertina
