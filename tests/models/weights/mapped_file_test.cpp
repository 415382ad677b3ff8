#include "models/weights/mapped_file.h"

#include <sys/stat.h>

#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "models/weights/sha256.h"
#include "tests/models/weights/test_files.h"

namespace concertina {
namespace {

std::string Pattern(size_t size) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 131 + i / 4096);
  return bytes;
}

TEST(MappedFile, MapsTheWholeFile) {
  const TempFolder folder;
  const std::string bytes = Pattern(10'000);
  absl::StatusOr<MappedFile> file = MappedFile::Open(folder.Write("f", bytes));
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ(file->size(), bytes.size());
  const MappedFile moved = *std::move(file);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(moved.data()), moved.size()), bytes);
}

TEST(MappedFile, AdviceNeverChangesTheContent) {
  const TempFolder folder;
  const std::string bytes = Pattern(50'000);
  const absl::StatusOr<MappedFile> file = MappedFile::Open(folder.Write("f", bytes));
  ASSERT_TRUE(file.ok()) << file.status();
  const std::pair<uint64_t, uint64_t> ranges[] = {{0, 50'000},  {1, 10},       {4095, 8194},
                                                  {4096, 4096}, {49'999, 100}, {60'000, 5},
                                                  {100, ~0ULL}, {~0ULL, ~0ULL}};
  for (const auto& [offset, count] : ranges) {
    for (const auto advice : {MappedFile::Advice::kSequential, MappedFile::Advice::kDontNeed}) {
      file->Advise(offset, count, advice);
      EXPECT_EQ(std::string(reinterpret_cast<const char*>(file->data()), file->size()), bytes);
    }
  }
}

TEST(MappedFile, RefusesWhatIsNoFile) {
  const TempFolder folder;
  EXPECT_EQ(MappedFile::Open(folder.path() + "/absent").status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_FALSE(MappedFile::Open(folder.path()).ok());
  const std::string pipe = folder.path() + "/pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(MappedFile::Open(pipe).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(Sha256OfFile(pipe).ok());
  const absl::StatusOr<MappedFile> empty = MappedFile::Open(folder.Write("empty", ""));
  ASSERT_TRUE(empty.ok());
  EXPECT_EQ(empty->size(), 0U);
  empty->Advise(0, 1, MappedFile::Advice::kDontNeed);
}

TEST(Sha256, FipsExamples) {
  const TempFolder folder;
  EXPECT_EQ(*Sha256OfFile(folder.Write("empty", "")),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(*Sha256OfFile(folder.Write("abc", "abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(*Sha256OfFile(folder.Write("million", std::string(1'000'000, 'a'))),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, TheGoldensModel) {
  // gguf_sha256 of tests/goldens/llama-text-smollm2/cases.json
  const absl::StatusOr<std::string> digest =
      Sha256OfFile(CONCERTINA_SOURCE_DIR "/.models/SmolLM2-135M-Instruct.Q4_1.gguf");
  ASSERT_TRUE(digest.ok()) << digest.status();
  EXPECT_EQ(*digest, "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53");
}

}  // namespace
}  // namespace concertina
