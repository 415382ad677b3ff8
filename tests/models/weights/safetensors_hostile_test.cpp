#include <string>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"
#include "models/weights/safetensors_header.h"
#include "tests/models/weights/test_files.h"

namespace concertina {
namespace {

absl::Status Parse(const std::string& bytes) {
  return ParseSafetensorsHeader(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size())
      .status();
}

void ExpectRefused(std::string_view fault, const std::string& bytes) {
  const absl::Status status = Parse(bytes);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << fault;
  EXPECT_NE(std::string_view(status.message().data(), status.message().size()).find(fault),
            std::string_view::npos)
      << "expected \"" << fault << "\", got " << status;
}

// A file whose header has the tensor "t" with these fields, and `data_bytes` bytes of data.
std::string WithTensor(const std::string& fields, size_t data_bytes) {
  return SafetensorsBytes(R"({"t":{)" + fields + "}}", std::string(data_bytes, '\0'));
}

TEST(HostileSafetensors, HeaderLength) {
  ExpectRefused("not a safetensors file", "");
  ExpectRefused("not a safetensors file", "1234567");
  for (const uint64_t length :
       {~uint64_t{0}, uint64_t{1} << 63, uint64_t{100'000'001}, uint64_t{3}, ~uint64_t{0} - 7}) {
    std::string bytes;
    Append(bytes, length);
    ExpectRefused("longer than the file", bytes + "{}");
  }
  // Present in full, but above the limit.
  std::string padded = "{}";
  padded.resize(kMaxSafetensorsHeaderBytes + 1, ' ');
  ExpectRefused("longer than the file or than 100 MB", SafetensorsBytes(padded, ""));
  ExpectRefused("not a JSON object", SafetensorsBytes("", ""));
  EXPECT_TRUE(Parse(SafetensorsBytes("{}", "")).ok());
}

TEST(HostileSafetensors, Json) {
  for (const char* header : {"[]", "\"x\"", " {}", "\xef\xbb\xbf{}", "null"}) {
    ExpectRefused("not a JSON object", SafetensorsBytes(header, ""));
  }
  for (const char* header : {"{", "{}}", "{}x", "{\"a\"}", "{\"a\":{", "{\"\xff\":{}}"}) {
    ExpectRefused("faulty JSON", SafetensorsBytes(header, ""));
  }
  ExpectRefused("faulty JSON", SafetensorsBytes(std::string_view("{}\0junk", 7), ""));
  ExpectRefused("nested too deeply",
                SafetensorsBytes(R"({"t":{"shape":)" + std::string(1'000'000, '['), ""));
}

TEST(HostileSafetensors, KeysThatOccurTwice) {
  const std::string tensor = R"("t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  ExpectRefused("key 't' occurs twice", SafetensorsBytes("{" + tensor + "," + tensor + "}", "x"));
  ExpectRefused("key 'dtype' occurs twice",
                WithTensor(R"("dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1])", 1));
  ExpectRefused("key 'shape' occurs twice",
                WithTensor(R"("dtype":"U8","shape":[1],"shape":[1],"data_offsets":[0,1])", 1));
  ExpectRefused("key 'a' occurs twice",
                SafetensorsBytes(R"({"__metadata__":{"a":"1","a":"2"}})", ""));
  ExpectRefused("occurs twice", SafetensorsBytes(R"({"__metadata__":{},"__metadata__":{}})", ""));
}

TEST(HostileSafetensors, Fields) {
  const std::string faulty[] = {
      R"("dtype":1,"shape":[1],"data_offsets":[0,1])",
      R"("dtype":["U8"],"shape":[1],"data_offsets":[0,1])",
      R"("dtype":"U8","shape":1,"data_offsets":[0,1])",
      R"("dtype":"U8","shape":[-1],"data_offsets":[0,1])",
      R"("dtype":"U8","shape":[1.0],"data_offsets":[0,1])",
      R"("dtype":"U8","shape":["1"],"data_offsets":[0,1])",
      R"("dtype":"U8","shape":{"a":1},"data_offsets":[0,1])",
      R"("dtype":"U8","shape":[1],"data_offsets":[0,true])",
      R"("dtype":"U8","shape":[1],"data_offsets":[null,1])",
      R"("dtype":"U8","shape":[1],"data_offsets":[0,18446744073709551616])",
      R"("dtype":"U8","shape":[1],"data_offsets":[0,1],"extra":1)",
      R"("dtype":"U8","shape":[1],"data_offsets":[0,1],"extra":[])",
  };
  for (const std::string& fields : faulty) {
    ExpectRefused("faulty field", WithTensor(fields, 1));
  }
  ExpectRefused("nested too deeply",
                WithTensor(R"("dtype":"U8","shape":[[1]],"data_offsets":[0,1])", 1));
  ExpectRefused("not described by an object", SafetensorsBytes(R"({"t":1})", ""));
  ExpectRefused("not described by an object", SafetensorsBytes(R"({"t":[]})", ""));
  ExpectRefused("faulty field", SafetensorsBytes(R"({"__metadata__":{"a":1}})", ""));
  ExpectRefused("unsupported dtype 'F64'",
                WithTensor(R"("dtype":"F64","shape":[1],"data_offsets":[0,8])", 8));
  ExpectRefused("lacks", WithTensor("", 0));
  ExpectRefused("lacks", WithTensor(R"("dtype":"U8","shape":[1])", 1));
  ExpectRefused("lacks", WithTensor(R"("dtype":"U8","shape":[1],"data_offsets":[0])", 1));
  ExpectRefused("more than two",
                WithTensor(R"("dtype":"U8","shape":[1],"data_offsets":[0,1,1])", 1));
  // The fields of one tensor must not leak into the next.
  ExpectRefused(
      "tensor 'u' lacks",
      SafetensorsBytes(R"({"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"u":{}})", "x"));
}

TEST(HostileSafetensors, ShapesAndSizes) {
  const auto sized = [](const std::string& dtype, const std::string& shape,
                        const std::string& offsets) {
    return WithTensor(
        R"("dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets, 8);
  };
  const std::string big = "4294967296";
  ExpectRefused("too many elements", sized("U8", "[" + big + "," + big + "]", "[0,0]"));
  ExpectRefused("too many elements", sized("U8", "[0," + big + "," + big + "]", "[0,0]"));
  ExpectRefused("too many elements", sized("U8", "[9223372036854775808]", "[0,8]"));
  ExpectRefused("too many dimensions", sized("I64", "[1,1,1,1,1,1,1,1,1]", "[0,8]"));
  // 2^62 elements of 4 bytes: the size is 0 modulo 2^64.
  ExpectRefused("does not fill", sized("F32", "[4611686018427387904]", "[0,0]"));
  ExpectRefused("does not fill", sized("F32", "[3]", "[0,8]"));
  ExpectRefused("does not fill", sized("F32", "[1]", "[0,8]"));
  ExpectRefused("does not fill", sized("F32", "[2]", "[8,0]"));
  ExpectRefused("does not fill", sized("F32", "[2]", "[8,18446744073709551615]"));
  EXPECT_TRUE(Parse(sized("F32", "[2]", "[0,8]")).ok());
  EXPECT_TRUE(Parse(sized("I64", "[]", "[0,8]")).ok());
}

std::string TwoTensors(const std::string& first, const std::string& second, size_t data_bytes) {
  return SafetensorsBytes(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)" + first +
                              R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" + second + "}}",
                          std::string(data_bytes, '\0'));
}

TEST(HostileSafetensors, TheDataIsCoveredExactly) {
  EXPECT_TRUE(Parse(TwoTensors("[0,4]", "[4,8]", 8)).ok());
  EXPECT_TRUE(Parse(TwoTensors("[4,8]", "[0,4]", 8)).ok());
  ExpectRefused("overlaps", TwoTensors("[0,4]", "[0,4]", 8));
  ExpectRefused("overlaps", TwoTensors("[0,4]", "[3,7]", 8));
  ExpectRefused("hole", TwoTensors("[0,4]", "[5,9]", 9));
  ExpectRefused("hole", TwoTensors("[1,5]", "[5,9]", 9));
  ExpectRefused("the tensors take 8 bytes, the file has 9", TwoTensors("[0,4]", "[4,8]", 9));
  ExpectRefused("the tensors take 8 bytes, the file has 7", TwoTensors("[0,4]", "[4,8]", 7));
  ExpectRefused("hole", TwoTensors("[0,4]", "[18446744073709551611,18446744073709551615]", 8));
  ExpectRefused("the tensors take 0 bytes, the file has 1", SafetensorsBytes("{}", "x"));
}

}  // namespace
}  // namespace concertina
