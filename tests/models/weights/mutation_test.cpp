#include <cstdint>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "models/weights/gguf.h"
#include "models/weights/safetensors.h"
#include "tests/models/weights/test_files.h"

namespace concertina {
namespace {

constexpr int kFlips = 2000;

// Small files stay small: whatever a reader accepts must not unfold into more than this.
constexpr int64_t kMaxElements = 100'000;

void ReadEverything(const TensorSource& source) {
  for (const TensorInfo& tensor : source.tensors()) {
    if (tensor.dtype != DType::kOther) {
      ASSERT_LE(tensor.elements(), kMaxElements);
      EXPECT_TRUE(ReadAll(source, tensor.name, tensor.shape).ok());
    }
    source.Release(tensor);
  }
}

// True when the file was accepted; then everything in it is read.
bool TryGguf(const std::string& path) {
  const absl::StatusOr<std::unique_ptr<GgufFile>> file = GgufFile::Open(path);
  if (!file.ok()) return false;
  ReadEverything(**file);
  for (const char* key : {"general.architecture", "t.bool", "t.f64", "t.i64", "t.strings",
                          "t.bytes", "t.nested", "t.floats"}) {
    static_cast<void>((*file)->GetString(key));
    static_cast<void>((*file)->GetUint(key));
    static_cast<void>((*file)->GetFloat(key));
    static_cast<void>((*file)->GetBool(key));
    static_cast<void>((*file)->GetStrings(key));
    static_cast<void>((*file)->GetInts(key));
    static_cast<void>((*file)->GetFloats(key));
  }
  return true;
}

bool TrySafetensors(const std::string& path) {
  const absl::StatusOr<std::unique_ptr<SafetensorsFile>> file = SafetensorsFile::Open(path);
  if (!file.ok()) return false;
  ReadEverything(**file);
  for (const TensorInfo& tensor : (*file)->tensors()) {
    static_cast<void>((*file)->ReadInts(tensor.name));
  }
  return true;
}

struct Format {
  const char* name;
  std::string (*make)();
  bool (*try_open)(const std::string& path);
};

class MutationTest : public ::testing::TestWithParam<Format> {};

TEST_P(MutationTest, EveryTruncationIsRefused) {
  const TempFolder folder;
  const std::string whole = GetParam().make();
  ASSERT_TRUE(GetParam().try_open(folder.Write("whole", whole)));
  for (size_t length = 0; length < whole.size(); ++length) {
    EXPECT_FALSE(GetParam().try_open(folder.Write("cut", whole.substr(0, length)))) << length;
  }
}

TEST_P(MutationTest, FlippedBytesNeverCrash) {
  const TempFolder folder;
  const std::string whole = GetParam().make();
  const uint32_t seed = std::random_device()();
  std::cout << "seed " << seed << "\n";
  std::mt19937 random(seed);
  int accepted = 0;
  for (int i = 0; i < kFlips; ++i) {
    std::string mutant = whole;
    const size_t position = random() % mutant.size();
    const auto flip = static_cast<uint8_t>(1 + random() % 255);
    mutant[position] = static_cast<char>(static_cast<uint8_t>(mutant[position]) ^ flip);
    SCOPED_TRACE(testing::Message() << "seed " << seed << " byte " << position << " ^ " << +flip);
    accepted += GetParam().try_open(folder.Write("mutant", mutant)) ? 1 : 0;
  }
  // Flips in tensor data and names are no fault: a reader that refused all of them would be broken,
  // as would one that accepted all.
  EXPECT_GT(accepted, 0);
  EXPECT_LT(accepted, kFlips);
}

TEST_P(MutationTest, OverwrittenWordsNeverCrash) {
  const TempFolder folder;
  const std::string whole = GetParam().make();
  const uint32_t seed = std::random_device()();
  std::cout << "seed " << seed << "\n";
  std::mt19937 random(seed);
  for (int i = 0; i < kFlips; ++i) {
    std::string mutant = whole;
    // Eight bytes of one kind, as a hostile length or offset would be.
    const size_t position = random() % (mutant.size() - 8);
    const uint8_t kinds[] = {0x00, 0x7f, 0x80, 0xff, static_cast<uint8_t>(random())};
    mutant.replace(position, 8, std::string(8, static_cast<char>(kinds[random() % 5])));
    SCOPED_TRACE(testing::Message() << "seed " << seed << " byte " << position);
    static_cast<void>(GetParam().try_open(folder.Write("mutant", mutant)));
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, MutationTest,
                         testing::Values(Format{"Gguf", SmallGguf, TryGguf},
                                         Format{"Safetensors", SmallSafetensors, TrySafetensors}),
                         [](const auto& format) { return std::string(format.param.name); });

}  // namespace
}  // namespace concertina
