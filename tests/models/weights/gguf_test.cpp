#include "models/weights/gguf.h"

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/models/weights/test_files.h"

namespace concertina {
namespace {

const char kModel[] = CONCERTINA_SOURCE_DIR "/.models/SmolLM2-135M-Instruct.Q4_1.gguf";

std::unique_ptr<GgufFile> OpenModel() {
  absl::StatusOr<std::unique_ptr<GgufFile>> file = GgufFile::Open(kModel);
  EXPECT_TRUE(file.ok()) << file.status();
  return file.ok() ? *std::move(file) : nullptr;
}

// Row `row` must contain `expected` from column `column` on; negative columns count from the end.
void ExpectInRow(const GgufFile& file, const std::string& name, int64_t row, int64_t column,
                 const std::vector<float>& expected) {
  const TensorInfo* tensor = file.Find(name);
  ASSERT_NE(tensor, nullptr) << name;
  std::vector<float> values(static_cast<size_t>(tensor->row_length()));
  ASSERT_TRUE(file.ReadRows(*tensor, row, row + 1, values.data()).ok());
  const int64_t start = column < 0 ? tensor->row_length() + column : column;
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(values[static_cast<size_t>(start) + i], expected[i])
        << name << " " << row << " " << i;
  }
}

// Literals of the following tests, from ggml's Python package:
//   from gguf import GGUFReader; from gguf.quants import dequantize
//   for t in GGUFReader(PATH).tensors: d = dequantize(t.data, t.tensor_type)
//     print(t.name, d[row, columns], d.astype('f8').sum(), abs(d).astype('f8').sum())
TEST(GgufModel, ValuesEqualGgmls) {
  const std::unique_ptr<GgufFile> file = OpenModel();
  ASSERT_NE(file, nullptr);
  ExpectInRow(*file, "token_embd.weight", 49151, 0,
              {0.011505126953125F, 0.0057525634765625F, 0.0977935791015625F, -0.0977935791015625F,
               0.0862884521484375F, -0.0460205078125F});
  ExpectInRow(*file, "token_embd.weight", 100, -3,
              {-0.00957489013671875F, 0.160858154296875F, 0.12830352783203125F});
  ExpectInRow(*file, "blk.0.attn_k.weight", 191, 0,
              {0.015869140625F, -0.4342041015625F, 0.015869140625F, -0.7342529296875F});
  ExpectInRow(*file, "blk.0.attn_k.weight", 100, -3,
              {-0.349853515625F, 0.714599609375F, 0.04931640625F});
  ExpectInRow(*file, "blk.29.ffn_down.weight", 575, 0,
              {-0.22918701171875F, -0.03912353515625F, -0.276702880859375F, 0.2459716796875F});
  ExpectInRow(*file, "output_norm.weight", 0, -3, {1.8828125F, 1.921875F, 1.984375F});
}

struct ExpectedSums {
  const char* name;
  DType dtype;
  std::vector<int64_t> shape;
  double sum;
  double absolute;
};

TEST(GgufModel, SumsOfWholeTensorsEqualGgmls) {
  const std::unique_ptr<GgufFile> file = OpenModel();
  ASSERT_NE(file, nullptr);
  const ExpectedSums all[] = {
      {"token_embd.weight", DType::kQ8_0, {49152, 576}, -15353.04449415207, 2802153.619805813},
      {"blk.0.attn_k.weight", DType::kQ4_1, {192, 576}, 26.937057495117188, 29794.78126525879},
      {"blk.29.ffn_down.weight", DType::kQ4_1, {576, 1536}, 49.83570861816406, 126250.91435241699},
      {"output_norm.weight", DType::kF32, {576}, 1038.33203125, 1045.09765625},
  };
  for (const ExpectedSums& expected : all) {
    const TensorInfo* tensor = file->Find(expected.name);
    ASSERT_NE(tensor, nullptr) << expected.name;
    EXPECT_EQ(tensor->dtype, expected.dtype);
    const absl::StatusOr<std::vector<float>> values = ReadAll(*file, expected.name, expected.shape);
    ASSERT_TRUE(values.ok()) << values.status();
    double sum = 0;
    double absolute = 0;
    for (const float value : *values) {
      sum += value;
      absolute += std::fabs(value);
    }
    EXPECT_NEAR(sum, expected.sum, 1e-9 * expected.absolute) << expected.name;
    EXPECT_NEAR(absolute, expected.absolute, 1e-9 * expected.absolute) << expected.name;
  }
}

TEST(GgufModel, Metadata) {
  const std::unique_ptr<GgufFile> file = OpenModel();
  ASSERT_NE(file, nullptr);
  EXPECT_EQ(file->tensors().size(), 272U);
  EXPECT_EQ(file->GetString("general.architecture"), "llama");
  EXPECT_EQ(file->GetUint("llama.block_count"), 30U);
  EXPECT_EQ(file->GetUint("llama.attention.head_count_kv"), 3U);
  EXPECT_EQ(file->GetFloat("llama.rope.freq_base"), 100000.0F);
  EXPECT_EQ(file->GetFloat("llama.attention.layer_norm_rms_epsilon"), 1e-5F);
  EXPECT_EQ(file->GetBool("tokenizer.ggml.add_bos_token"), false);
  const absl::StatusOr<std::vector<std::string>> tokens = file->GetStrings("tokenizer.ggml.tokens");
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  ASSERT_EQ(tokens->size(), 49152U);
  EXPECT_EQ((*tokens)[1], "<|im_start|>");
  EXPECT_EQ((*tokens)[49150], "\u0120Mama");
  const absl::StatusOr<std::vector<int64_t>> types = file->GetInts("tokenizer.ggml.token_type");
  ASSERT_TRUE(types.ok()) << types.status();
  EXPECT_EQ(types->front(), 3);
  EXPECT_EQ(types->back(), 1);
}

TEST(GgufModel, ReleasedTensorsCanStillBeRead) {
  const std::unique_ptr<GgufFile> file = OpenModel();
  ASSERT_NE(file, nullptr);
  const std::vector<int64_t> shape = {192, 576};
  const absl::StatusOr<std::vector<float>> before = ReadAll(*file, "blk.7.attn_v.weight", shape);
  ASSERT_TRUE(before.ok()) << before.status();
  file->Release(*file->Find("blk.7.attn_v.weight"));
  const absl::StatusOr<std::vector<float>> after = ReadAll(*file, "blk.7.attn_v.weight", shape);
  ASSERT_TRUE(after.ok()) << after.status();
  EXPECT_EQ(*before, *after);
}

class SmallGgufTest : public ::testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<std::unique_ptr<GgufFile>> file =
        GgufFile::Open(folder_.Write("small.gguf", SmallGguf()));
    ASSERT_TRUE(file.ok()) << file.status();
    file_ = *std::move(file);
  }

  TempFolder folder_;
  std::unique_ptr<GgufFile> file_;
};

TEST_F(SmallGgufTest, TypedMetadata) {
  EXPECT_EQ(file_->GetBool("t.bool"), true);
  EXPECT_EQ(file_->GetFloat("t.f64"), 0.25F);
  EXPECT_EQ(file_->GetUint("t.i64"), std::nullopt);  // negative
  EXPECT_EQ(file_->GetUint("general.alignment"), 32U);
  EXPECT_EQ(file_->GetUint("t.f64"), std::nullopt);
  EXPECT_EQ(file_->GetString("t.bool"), std::nullopt);
  EXPECT_EQ(file_->GetBool("absent"), std::nullopt);
  EXPECT_EQ(*file_->GetStrings("t.strings"), (std::vector<std::string>{"one", ""}));
  EXPECT_EQ(*file_->GetInts("t.bytes"), (std::vector<int64_t>{1, 2, 3}));
  EXPECT_EQ(*file_->GetFloats("t.floats"), (std::vector<float>{1.5F, -2.0F}));
  EXPECT_EQ(file_->GetInts("absent").status().code(), absl::StatusCode::kNotFound);
  for (const char* key : {"t.nested", "t.strings", "t.bool", "t.floats"}) {
    EXPECT_EQ(file_->GetInts(key).status().code(), absl::StatusCode::kInvalidArgument) << key;
  }
  EXPECT_FALSE(file_->GetStrings("t.bytes").ok());
  EXPECT_FALSE(file_->GetFloats("t.bytes").ok());
}

TEST_F(SmallGgufTest, ShapesAreReversed) {
  const TensorInfo* matrix = file_->Find("matrix");
  ASSERT_NE(matrix, nullptr);
  EXPECT_EQ(matrix->shape, (std::vector<int64_t>{2, 32}));
  EXPECT_EQ(matrix->rows(), 2);
  EXPECT_EQ(matrix->row_length(), 32);
  EXPECT_EQ(matrix->bytes, 68U);
  EXPECT_EQ(file_->Find("half")->shape, (std::vector<int64_t>{1, 2, 2}));
  EXPECT_EQ(file_->Find("half")->rows(), 2);
  EXPECT_EQ(file_->Find("nothing"), nullptr);
}

TEST_F(SmallGgufTest, RowsOfEachType) {
  std::vector<float> row(32);
  ASSERT_TRUE(file_->ReadRows(*file_->Find("matrix"), 1, 2, row.data()).ok());
  for (int i = 0; i < 32; ++i) EXPECT_EQ(row[i], 2.0F * static_cast<float>(i - 16));
  EXPECT_EQ(*ReadAll(*file_, "norm", {3}), (std::vector<float>{1, 2, 3}));
  EXPECT_EQ(*ReadAll(*file_, "half", {1, 2, 2}), (std::vector<float>{1, 2, 3, -4}));
}

TEST_F(SmallGgufTest, ReadErrors) {
  std::vector<float> out(1024);
  const TensorInfo* matrix = file_->Find("matrix");
  for (const auto& [begin, end] : std::vector<std::pair<int64_t, int64_t>>{
           {-1, 1}, {1, 0}, {0, 3}, {2, 3}, {0, int64_t{1} << 62}}) {
    EXPECT_EQ(file_->ReadRows(*matrix, begin, end, out.data()).code(),
              absl::StatusCode::kOutOfRange);
  }
  EXPECT_TRUE(file_->ReadRows(*matrix, 2, 2, out.data()).ok());
  EXPECT_EQ(file_->ReadRows(*file_->Find("exotic"), 0, 1, out.data()).code(),
            absl::StatusCode::kUnimplemented);
  // A TensorInfo somebody tampered with is read as the file has it.
  TensorInfo forged = *matrix;
  forged.shape = {1 << 20, 32};
  forged.offset = 1 << 30;
  EXPECT_EQ(file_->ReadRows(forged, 0, 1 << 20, out.data()).code(), absl::StatusCode::kOutOfRange);
  EXPECT_TRUE(file_->ReadRows(forged, 0, 1, out.data()).ok());
  forged.name = "nothing";
  EXPECT_EQ(file_->ReadRows(forged, 0, 1, out.data()).code(), absl::StatusCode::kNotFound);
  file_->Release(forged);
}

TEST_F(SmallGgufTest, ReadAllNamesTheFault) {
  EXPECT_EQ(ReadAll(*file_, "nothing", {3}).status(),
            absl::NotFoundError("tensor 'nothing' is missing"));
  EXPECT_EQ(ReadAll(*file_, "matrix", {32, 2}).status(),
            absl::InvalidArgumentError("tensor 'matrix' has shape [2, 32], expected [32, 2]"));
  EXPECT_EQ(ReadAll(*file_, "exotic", {1, 256}).status().code(), absl::StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace concertina
