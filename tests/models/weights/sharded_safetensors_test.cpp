#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "models/weights/safetensors.h"
#include "models/weights/sharded_index.h"
#include "tests/models/weights/test_files.h"

namespace concertina {
namespace {

const char kLlava[] = CONCERTINA_SOURCE_DIR "/tests/goldens/llava15-tiny";
constexpr int64_t kHidden = 64;
constexpr int64_t kVocabulary = 400;
constexpr int64_t kImageToken = 384;

class LlavaTinyTest : public ::testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<std::unique_ptr<TensorSource>> model = OpenSafetensors(kLlava);
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
    absl::StatusOr<std::unique_ptr<SafetensorsFile>> golden =
        SafetensorsFile::Open(std::string(kLlava) + "/golden.safetensors");
    ASSERT_TRUE(golden.ok()) << golden.status();
    golden_ = *std::move(golden);
    const absl::StatusOr<std::vector<int64_t>> ids = golden_->ReadInts("single/input_ids");
    ASSERT_TRUE(ids.ok()) << ids.status();
    ids_ = *ids;
  }

  std::vector<float> Golden(const std::string& name, int64_t columns) {
    const auto rows = static_cast<int64_t>(ids_.size());
    absl::StatusOr<std::vector<float>> values = ReadAll(*golden_, name, {rows, columns});
    EXPECT_TRUE(values.ok()) << values.status();
    return values.ok() ? *values : std::vector<float>(static_cast<size_t>(rows * columns));
  }

  std::unique_ptr<TensorSource> model_;
  std::unique_ptr<SafetensorsFile> golden_;
  std::vector<int64_t> ids_;
};

TEST_F(LlavaTinyTest, EveryTensorOfTheThreeShardsIsThere) {
  EXPECT_EQ(model_->tensors().size(), 89U);  // entries of weight_map
  for (const TensorInfo& tensor : model_->tensors()) {
    EXPECT_EQ(model_->Find(tensor.name), &tensor);
    EXPECT_TRUE(ReadAll(*model_, tensor.name, tensor.shape).ok()) << tensor.name;
  }
}

// The golden's hidden.0 are the embedding rows of the tokens that are no image tokens.
TEST_F(LlavaTinyTest, EmbeddingRowsEqualTheGoldenHiddenStates) {
  const TensorInfo* embedding = model_->Find("language_model.model.embed_tokens.weight");
  ASSERT_NE(embedding, nullptr);
  const std::vector<float> hidden = Golden("single/hidden.0", kHidden);
  int64_t compared = 0;
  for (size_t i = 0; i < ids_.size(); ++i) {
    if (ids_[i] == kImageToken) continue;
    std::vector<float> row(kHidden);
    ASSERT_TRUE(model_->ReadRows(*embedding, ids_[i], ids_[i] + 1, row.data()).ok());
    const auto expected = hidden.begin() + static_cast<int64_t>(i) * kHidden;
    EXPECT_EQ(row, std::vector<float>(expected, expected + kHidden)) << i;
    ++compared;
  }
  EXPECT_EQ(compared, 30);
}

TEST_F(LlavaTinyTest, HeadTimesHiddenStatesGivesTheGoldenLogits) {
  const absl::StatusOr<std::vector<float>> head =
      ReadAll(*model_, "language_model.lm_head.weight", {kVocabulary, kHidden});
  ASSERT_TRUE(head.ok()) << head.status();
  const std::vector<float> hidden = Golden("single/hidden.3", kHidden);
  const std::vector<float> logits = Golden("single/logits", kVocabulary);
  for (size_t i = 0; i < ids_.size(); ++i) {
    for (size_t token = 0; token < kVocabulary; ++token) {
      double dot = 0;
      for (size_t c = 0; c < kHidden; ++c) {
        dot += static_cast<double>(hidden[i * kHidden + c]) * (*head)[token * kHidden + c];
      }
      ASSERT_NEAR(dot, logits[i * kVocabulary + token], 1e-4) << i << " " << token;
    }
  }
}

TEST_F(LlavaTinyTest, ReleaseAndErrorsReachTheRightShard) {
  for (const TensorInfo& tensor : model_->tensors()) {
    const absl::StatusOr<std::vector<float>> before = ReadAll(*model_, tensor.name, tensor.shape);
    model_->Release(tensor);
    EXPECT_EQ(*ReadAll(*model_, tensor.name, tensor.shape), *before) << tensor.name;
  }
  TensorInfo unknown;
  unknown.name = "nothing";
  model_->Release(unknown);
  EXPECT_EQ(model_->ReadRows(unknown, 0, 1, nullptr).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReadAll(*model_, "language_model.lm_head.weight", {1}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(ShardedSafetensors, SingleFileFolderAndPlainFile) {
  const TempFolder folder;
  const std::string path = folder.Write("model.safetensors", SmallSafetensors());
  for (const std::string& place : {path, folder.path()}) {
    const absl::StatusOr<std::unique_ptr<TensorSource>> source = OpenSafetensors(place);
    ASSERT_TRUE(source.ok()) << source.status();
    EXPECT_EQ(*ReadAll(**source, "b", {2}), (std::vector<float>{1, -2}));
  }
}

TEST(ShardedSafetensors, FaultyFolders) {
  const TempFolder folder;
  EXPECT_EQ(OpenSafetensors(folder.path()).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(OpenSafetensors(folder.path() + "/absent").status().code(),
            absl::StatusCode::kNotFound);
  folder.Write("s.safetensors", SmallSafetensors());
  static constexpr char kIndex[] = "model.safetensors.index.json";
  folder.Write(kIndex, R"({"weight_map":{"a":"s.safetensors","ids":"s.safetensors"}})");
  ASSERT_TRUE(OpenSafetensors(folder.path()).ok());
  EXPECT_EQ((*OpenSafetensors(folder.path()))->Find("b"), nullptr);  // not mapped
  folder.Write(kIndex, R"({"weight_map":{"missing":"s.safetensors"}})");
  EXPECT_EQ(OpenSafetensors(folder.path()).status().code(), absl::StatusCode::kInvalidArgument);
  folder.Write(kIndex, R"({"weight_map":{"a":"other.safetensors"}})");
  EXPECT_EQ(OpenSafetensors(folder.path()).status().code(), absl::StatusCode::kNotFound);
  folder.Write(kIndex, "");
  EXPECT_EQ(OpenSafetensors(folder.path()).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(ShardedIndex, HostileMaps) {
  const std::string faulty[] = {
      "",
      "[]",
      "{}",
      R"({"weight_map":[]})",
      R"({"weight_map":"a"})",
      R"({"weight_map":{"a":1}})",
      R"({"weight_map":{"a":{"b":"c"}}})",
      R"({"weight_map":{"a":["c"]}})",
      R"({"weight_map":{"a":"../b"}})",
      R"({"weight_map":{"a":"/etc/passwd"}})",
      R"({"weight_map":{"a":"dir/b"}})",
      R"({"weight_map":{"a":"dir\\b"}})",
      R"({"weight_map":{"a":".."}})",
      R"({"weight_map":{"a":"."}})",
      R"({"weight_map":{"a":""}})",
      R"({"weight_map":{"a":"b\u0000c"}})",
      R"({"weight_map":{"a":"b","a":"b"}})",
      R"({"weight_map":{},"weight_map":{}})",
      R"([{"weight_map":{"a":"b"}}])",
      R"({"weight_map":{"a":")" + std::string(300, 'x') + R"("}})",
      R"({"metadata":)" + std::string(100'000, '[') + "}",
  };
  for (const std::string& text : faulty) {
    EXPECT_EQ(ParseShardedIndex(text).status().code(), absl::StatusCode::kInvalidArgument)
        << text.substr(0, 80);
  }
  const auto good = ParseShardedIndex(
      R"({"metadata":{"total_size":1.5e3,"x":[null,true,-1]},"weight_map":{"b":"f2","a":"f1"}})");
  ASSERT_TRUE(good.ok()) << good.status();
  EXPECT_EQ(good->at("a"), "f1");
  EXPECT_EQ(good->size(), 2U);
}

}  // namespace
}  // namespace concertina
