#include "models/weights/safetensors.h"

#include <cmath>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/models/weights/test_files.h"

namespace concertina {
namespace {

std::unique_ptr<SafetensorsFile> OpenFile(const std::string& path) {
  absl::StatusOr<std::unique_ptr<SafetensorsFile>> file = SafetensorsFile::Open(path);
  EXPECT_TRUE(file.ok()) << file.status();
  return file.ok() ? *std::move(file) : nullptr;
}

TEST(Safetensors, SmallFile) {
  const TempFolder folder;
  const auto file = OpenFile(folder.Write("small.safetensors", SmallSafetensors()));
  ASSERT_NE(file, nullptr);
  std::vector<std::string> names;
  for (const TensorInfo& tensor : file->tensors()) names.push_back(tensor.name);
  EXPECT_EQ(names, (std::vector<std::string>{"a", "none", "b", "ids"}));  // order of the data
  EXPECT_EQ(*ReadAll(*file, "a", {2, 3}), (std::vector<float>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(*ReadAll(*file, "b", {2}), (std::vector<float>{1, -2}));
  EXPECT_TRUE(ReadAll(*file, "none", {0, 5})->empty());
  std::vector<float> row(3);
  ASSERT_TRUE(file->ReadRows(*file->Find("a"), 1, 2, row.data()).ok());
  EXPECT_EQ(row, (std::vector<float>{4, 5, 6}));
  EXPECT_EQ(*file->ReadInts("ids"), (std::vector<int64_t>{-1, 300}));
  EXPECT_EQ(file->Find("__metadata__"), nullptr);
}

TEST(Safetensors, EveryIntegerType) {
  const TempFolder folder;
  const std::string bytes =
      SafetensorsBytes(R"({"i32":{"dtype":"I32","shape":[1],"data_offsets":[0,4]},)"
                       R"("i16":{"dtype":"I16","shape":[1],"data_offsets":[4,6]},)"
                       R"("i8":{"dtype":"I8","shape":[1],"data_offsets":[6,7]},)"
                       R"("u8":{"dtype":"U8","shape":[1],"data_offsets":[7,8]},)"
                       R"("bool":{"dtype":"BOOL","shape":[2],"data_offsets":[8,10]}})",
                       std::string_view("\xfe\xff\xff\xff\x00\x80\x80\xff\x01\x00", 10));
  const auto file = OpenFile(folder.Write("f", bytes));
  ASSERT_NE(file, nullptr);
  EXPECT_EQ(file->ReadInts("i32")->at(0), -2);
  EXPECT_EQ(file->ReadInts("i16")->at(0), -32768);
  EXPECT_EQ(file->ReadInts("i8")->at(0), -128);
  EXPECT_EQ(file->ReadInts("u8")->at(0), 255);
  EXPECT_EQ(*file->ReadInts("bool"), (std::vector<int64_t>{1, 0}));
}

TEST(Safetensors, FloatsAndIntegersAreNotMixedUp) {
  const TempFolder folder;
  const auto file = OpenFile(folder.Write("f", SmallSafetensors()));
  ASSERT_NE(file, nullptr);
  EXPECT_EQ(file->Find("ids")->dtype, DType::kOther);
  EXPECT_EQ(ReadAll(*file, "ids", {2}).status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(file->ReadInts("a").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(file->ReadInts("nothing").status().code(), absl::StatusCode::kNotFound);
}

// A real file: rows alone are the rows of the whole, and what was released can be read again.
TEST(Safetensors, BundledAdapter) {
  const auto file =
      OpenFile(CONCERTINA_SOURCE_DIR "/models/bundled/smollm2-135m-vision/adapter.safetensors");
  ASSERT_NE(file, nullptr);
  const TensorInfo* info =
      file->Find("language_model.model.layers.0.self_attn.k_proj.lora_A.weight");
  ASSERT_NE(info, nullptr);
  EXPECT_EQ(info->dtype, DType::kBf16);
  ASSERT_EQ(info->shape.size(), 2u);
  EXPECT_EQ(info->shape[1], 576);
  const absl::StatusOr<std::vector<float>> values = ReadAll(*file, info->name, info->shape);
  ASSERT_TRUE(values.ok()) << values.status();
  double absolute = 0;
  for (const float value : *values) absolute += std::fabs(value);
  // Of a trained matrix; not zeros, not what any other type's bytes would make.
  EXPECT_GT(absolute / static_cast<double>(values->size()), 1e-3);
  EXPECT_LT(absolute / static_cast<double>(values->size()), 10);
  std::vector<float> row(576);
  ASSERT_TRUE(file->ReadRows(*info, 1, 2, row.data()).ok());
  EXPECT_EQ(row, std::vector<float>(values->begin() + 576, values->begin() + 2 * 576));
  file->Release(*info);
  EXPECT_EQ(*ReadAll(*file, info->name, info->shape), *values);
}

TEST(Safetensors, GoldenPixelsAndGrids) {
  const auto file = OpenFile(CONCERTINA_SOURCE_DIR "/tests/goldens/preproc-ref/golden.safetensors");
  ASSERT_NE(file, nullptr);
  const absl::StatusOr<std::vector<int64_t>> pixels = file->ReadInts("decoded/rgb_64x48.png");
  ASSERT_TRUE(pixels.ok()) << pixels.status();
  ASSERT_EQ(pixels->size(), 48U * 64U * 3U);
  EXPECT_EQ(std::vector<int64_t>(pixels->begin(), pixels->begin() + 6),
            (std::vector<int64_t>{181, 249, 243, 191, 255, 236}));
  EXPECT_EQ(std::accumulate(pixels->begin(), pixels->end(), int64_t{0}), 1284537);
  EXPECT_EQ(*file->ReadInts("qwen2vl/big_640x427.jpg/image_grid_thw"),
            (std::vector<int64_t>{1, 30, 46}));
}

}  // namespace
}  // namespace concertina
