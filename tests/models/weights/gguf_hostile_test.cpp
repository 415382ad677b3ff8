#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "models/weights/gguf.h"
#include "models/weights/gguf_parser.h"
#include "tests/models/weights/test_files.h"

namespace concertina {
namespace {

constexpr uint64_t kHuge = ~uint64_t{0};

absl::Status Parse(const std::string& bytes) {
  return ParseGgufHeader(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()).status();
}

struct HostileCase {
  const char* fault;  // expected in the message
  std::function<std::string()> build;
};

void ExpectRefused(const std::vector<HostileCase>& cases) {
  for (const HostileCase& hostile : cases) {
    const absl::Status status = Parse(hostile.build());
    EXPECT_FALSE(status.ok()) << hostile.fault;
    EXPECT_NE(status.message().find(hostile.fault), std::string::npos)
        << "expected \"" << hostile.fault << "\", got " << status;
  }
}

// A file with one metadata pair of the given encoding.
std::function<std::string()> WithPair(uint32_t type, const std::string& encoded) {
  return [=] {
    GgufBuilder builder;
    builder.AddRaw("k", type, encoded);
    return builder.Build("");
  };
}

// A file with one tensor and 128 bytes of data.
std::function<std::string()> WithTensor(const std::vector<uint64_t>& ne, uint32_t type,
                                        uint64_t offset) {
  return [=] {
    GgufBuilder builder;
    builder.AddTensor("t", ne, type, offset);
    return builder.Build(std::string(128, '\0'));
  };
}

std::function<std::string()> WithAlignment(uint32_t alignment) {
  return [=] {
    GgufBuilder builder;
    builder.AddUint32("general.alignment", alignment);
    return builder.Build("");
  };
}

std::function<std::string()> WithPreamble(uint32_t version, uint64_t extra_tensors,
                                          uint64_t extra_pairs) {
  return [=] {
    GgufBuilder builder;
    builder.version = version;
    builder.extra_tensors = extra_tensors;
    builder.extra_pairs = extra_pairs;
    return builder.Build("");
  };
}

TEST(HostileGguf, Preamble) {
  ExpectRefused({
      {"not a GGUF file", [] { return std::string(); }},
      {"not a GGUF file", [] { return std::string("GGML") + std::string(100, '\0'); }},
      {"version 1", WithPreamble(1, 0, 0)},
      {"version 4", WithPreamble(4, 0, 0)},
      {"big-endian", WithPreamble(0x03000000, 0, 0)},
      {"promises more", WithPreamble(3, kHuge, 0)},
      {"promises more", WithPreamble(3, 0, kHuge)},
      {"promises more", WithPreamble(3, uint64_t{1} << 40, 0)},
      {"promises more", WithPreamble(2, 0, 4)},
  });
  EXPECT_TRUE(Parse(WithPreamble(2, 0, 0)()).ok());
  EXPECT_TRUE(Parse(WithPreamble(3, 0, 0)()).ok());
}

TEST(HostileGguf, MetadataValues) {
  std::string huge_text;
  Append(huge_text, kHuge);
  std::string long_text;
  Append<uint64_t>(long_text, 1000);
  std::string deep = GgufArray(0, 0, "");
  for (int i = 0; i < 1000; ++i) deep = GgufArray(9, 1, deep);
  ExpectRefused({
      {"reaches past the end", WithPair(8, huge_text)},
      {"reaches past the end", WithPair(8, long_text + "abc")},
      {"unknown value type 13", WithPair(13, "")},
      {"unknown value type 4294967295", WithPair(0xffffffff, "")},
      {"unknown value type 13", WithPair(9, GgufArray(13, 1, ""))},
      {"reaches past the end", WithPair(9, GgufArray(0, kHuge, ""))},
      {"reaches past the end", WithPair(9, GgufArray(10, kHuge / 8 + 1, ""))},
      {"reaches past the end", WithPair(9, GgufArray(10, uint64_t{1} << 61, ""))},
      {"reaches past the end", WithPair(9, GgufArray(8, kHuge, ""))},
      {"reaches past the end", WithPair(9, GgufArray(8, 2, GgufText("") + huge_text))},
      {"reaches past the end", WithPair(9, GgufArray(9, kHuge, ""))},
      {"nested more than", WithPair(9, deep)},
      {"neither 0 nor 1", WithPair(7, "\2")},
      {"neither 0 nor 1", WithPair(9, GgufArray(7, 2, std::string_view("\0\xff", 2)))},
  });
}

TEST(HostileGguf, MetadataKeys) {
  const auto with_key = [](const std::string& key, int times) {
    return [=] {
      GgufBuilder builder;
      for (int i = 0; i < times; ++i) builder.AddUint32(key, 1);
      return builder.Build("");
    };
  };
  ExpectRefused({
      {"occurs twice", with_key("a", 2)},
      {"empty or too long", with_key("", 1)},
      {"empty or too long", with_key(std::string(70'000, 'k'), 1)},
      {"'bad\\n\\x1bkey' occurs twice", with_key("bad\n\x1bkey", 2)},  // escaped for the log
  });
}

TEST(HostileGguf, Alignment) {
  ExpectRefused({
      {"not a power of two", WithAlignment(0)},
      {"not a power of two", WithAlignment(33)},
      {"not a power of two",
       [] {
         GgufBuilder builder;
         builder.AddString("general.alignment", "32");
         return builder.Build("");
       }},
      {"reaches past the end",
       [] {
         GgufBuilder builder;
         std::string encoded;
         Append(encoded, uint64_t{1} << 63);
         builder.AddRaw("general.alignment", 10, encoded);
         builder.AddTensor("t", {1}, 0, 0);
         return builder.Build(std::string(64, '\0'));
       }},
  });
}

TEST(HostileGguf, Tensors) {
  const uint64_t big = uint64_t{1} << 32;
  ExpectRefused({
      {"5 dimensions", WithTensor({1, 1, 1, 1, 1}, 0, 0)},
      {"dimension of 0", WithTensor({0}, 0, 0)},
      {"dimension of 18446744073709551615", WithTensor({kHuge}, 0, 0)},
      {"too many elements", WithTensor({big, big}, 0, 0)},
      {"too many elements", WithTensor({big, big / 2}, 0, 0)},
      {"too many elements", WithTensor({big, big, big, big}, 12, 0)},
      {"whole number", WithTensor({kHuge / 4 + 1}, 0, 0)},  // the bytes overflow, not the count
      {"whole number", WithTensor({33}, 3, 0)},
      {"whole number", WithTensor({16, 2}, 8, 0)},  // 32 elements, but half a block per row
      {"past the end", WithTensor({33}, 0, 0)},
      {"past the end", WithTensor({1}, 0, 128)},
      {"past the end", WithTensor({1}, 0, kHuge - 31)},
      {"past the end", WithTensor({1}, 0, kHuge / 2 + 1)},
      {"past the end", WithTensor({256}, 12, 128)},  // unknown size, but no first byte
      {"not aligned", WithTensor({1}, 0, 4)},
  });
  EXPECT_TRUE(Parse(WithTensor({32}, 0, 0)()).ok());
  EXPECT_TRUE(Parse(WithTensor({}, 0, 96)()).ok());
}

TEST(HostileGguf, OverlapsAndDuplicates) {
  const auto two = [](const char* second, uint64_t offset, uint32_t type) {
    return [=] {
      GgufBuilder builder;
      builder.AddTensor("a", {16}, 0, 0);
      builder.AddTensor(second, {256}, type, offset);
      return builder.Build(std::string(4096, '\0'));
    };
  };
  ExpectRefused({
      {"overlaps with tensor 'a'", two("b", 32, 0)},
      {"overlaps with tensor 'a'", two("b", 32, 12)},
      {"overlaps with", two("b", 0, 0)},
  });
  EXPECT_TRUE(Parse(two("b", 64, 0)()).ok());
  const TempFolder folder;
  const absl::Status status = GgufFile::Open(folder.Write("f", two("a", 64, 0)())).status();
  EXPECT_NE(status.message().find("two tensors are named 'a'"), std::string::npos) << status;
}

}  // namespace
}  // namespace concertina
