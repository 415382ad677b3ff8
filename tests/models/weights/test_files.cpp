#include "tests/models/weights/test_files.h"

#include <filesystem>
#include <fstream>
#include <system_error>

#include "gtest/gtest.h"

namespace concertina {

TempFolder::TempFolder() {
  std::string pattern = (std::filesystem::temp_directory_path() / "concertina-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) ADD_FAILURE() << "no temporary folder";
  path_ = pattern;
}

TempFolder::~TempFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string TempFolder::Write(std::string_view name, std::string_view bytes) const {
  const std::string path = path_ + "/" + std::string(name);
  // A new file each time: an older one of this name may still be mapped.
  std::filesystem::remove(path);
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  EXPECT_TRUE(file.good()) << path;
  return path;
}

std::string GgufText(std::string_view text) {
  std::string bytes;
  Append<uint64_t>(bytes, text.size());
  bytes += text;
  return bytes;
}

std::string GgufArray(uint32_t element_type, uint64_t count, std::string_view elements) {
  std::string bytes;
  Append(bytes, element_type);
  Append(bytes, count);
  bytes += elements;
  return bytes;
}

void GgufBuilder::AddUint32(std::string_view key, uint32_t value) {
  std::string encoded;
  Append(encoded, value);
  AddRaw(key, 4, encoded);
}

void GgufBuilder::AddString(std::string_view key, std::string_view value) {
  AddRaw(key, 8, GgufText(value));
}

void GgufBuilder::AddRaw(std::string_view key, uint32_t type, std::string_view encoded) {
  pairs_ += GgufText(key);
  Append(pairs_, type);
  pairs_ += encoded;
  ++pair_count_;
}

void GgufBuilder::AddTensor(std::string_view name, const std::vector<uint64_t>& ne,
                            uint32_t ggml_type, uint64_t offset) {
  tensors_ += GgufText(name);
  Append(tensors_, static_cast<uint32_t>(ne.size()));
  for (const uint64_t extent : ne) Append(tensors_, extent);
  Append(tensors_, ggml_type);
  Append(tensors_, offset);
  ++tensor_count_;
}

std::string GgufBuilder::Build(std::string_view data) const {
  std::string bytes = "GGUF";
  Append(bytes, version);
  Append(bytes, tensor_count_ + extra_tensors);
  Append(bytes, pair_count_ + extra_pairs);
  bytes += pairs_;
  bytes += tensors_;
  bytes.resize((bytes.size() + alignment - 1) / alignment * alignment);
  bytes += data;
  return bytes;
}

std::string SmallGguf() {
  GgufBuilder builder;
  builder.AddString("general.architecture", "llama");
  builder.AddUint32("general.alignment", 32);
  builder.AddRaw("t.bool", 7, std::string_view("\1", 1));
  std::string number;
  Append<double>(number, 0.25);
  builder.AddRaw("t.f64", 12, number);
  number.clear();
  Append<int64_t>(number, -7);
  builder.AddRaw("t.i64", 11, number);
  builder.AddRaw("t.strings", 9, GgufArray(8, 2, GgufText("one") + GgufText("")));
  builder.AddRaw("t.bytes", 9, GgufArray(0, 3, "\1\2\3"));
  builder.AddRaw("t.nested", 9, GgufArray(9, 2, GgufArray(1, 1, "a") + GgufArray(1, 2, "bc")));
  number.clear();
  Append(number, 1.5F);
  Append(number, -2.0F);
  builder.AddRaw("t.floats", 9, GgufArray(6, 2, number));
  builder.AddTensor("norm", {3}, 0, 0);            // F32, 12 bytes
  builder.AddTensor("matrix", {32, 2}, 8, 32);     // Q8_0, 68 bytes
  builder.AddTensor("exotic", {256, 1}, 12, 128);  // Q4_K, which is not read
  builder.AddTensor("half", {2, 2, 1}, 1, 160);    // F16, 8 bytes
  std::string data;
  AppendAll<float>(data, {1, 2, 3});
  data.resize(32);
  for (const uint16_t scale : std::initializer_list<uint16_t>{0x3c00, 0x4000}) {  // 1.0 and 2.0
    Append(data, scale);
    for (int i = 0; i < 32; ++i) Append(data, static_cast<int8_t>(i - 16));
  }
  data.resize(160);
  AppendAll<uint16_t>(data, {0x3c00, 0x4000, 0x4200, 0xc400});  // 1, 2, 3, -4
  return builder.Build(data);
}

std::string SafetensorsBytes(std::string_view header, std::string_view data) {
  std::string bytes;
  Append<uint64_t>(bytes, header.size());
  bytes += header;
  bytes += data;
  return bytes;
}

std::string SmallSafetensors() {
  std::string data;
  AppendAll<float>(data, {1, 2, 3, 4, 5, 6});
  AppendAll<uint16_t>(data, {0x3f80, 0xc000});  // 1 and -2
  AppendAll<int64_t>(data, {-1, 300});
  return SafetensorsBytes(R"({"__metadata__":{"format":"pt"},)"
                          R"("ids":{"dtype":"I64","shape":[2],"data_offsets":[28,44]},)"
                          R"("a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
                          R"("none":{"dtype":"F32","shape":[0,5],"data_offsets":[24,24]},)"
                          R"("b":{"dtype":"BF16","shape":[2],"data_offsets":[24,28]}}   )",
                          data);
}

}  // namespace concertina
