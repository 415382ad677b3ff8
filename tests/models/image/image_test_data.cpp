#include "tests/models/image/image_test_data.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <limits>

#include "models/image/decode.h"

namespace concertina::testing {
namespace {

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "fixture: %s\n", what.c_str());
  std::abort();
}

void AppendBig32(Bytes& out, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<uint8_t>(value >> shift));
}

}  // namespace

std::string DataPath(const std::string& name) {
  return std::string(CONCERTINA_SOURCE_DIR "/tests/models/image/data/") + name;
}

std::string GoldenPath(const std::string& name) {
  return std::string(CONCERTINA_SOURCE_DIR "/tests/goldens/") + name;
}

Bytes ReadBytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) Die("cannot open " + path);
  return Bytes(std::istreambuf_iterator<char>(file), {});
}

nlohmann::json ReadJson(const std::string& path) {
  const Bytes bytes = ReadBytes(path);
  return nlohmann::json::parse(bytes.begin(), bytes.end());
}

RgbImage DecodeFile(const std::string& path) {
  absl::StatusOr<RgbImage> image = DecodeImage(ReadBytes(path), ImageLimits());
  if (!image.ok()) Die(path + ": " + std::string(image.status().message()));
  return *std::move(image);
}

std::vector<std::string> DataImages() {
  std::vector<std::string> names;
  for (const auto& row : ReadJson(DataPath("expected.json"))) names.push_back(row.at("file"));
  return names;
}

double MaxDifference(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return std::numeric_limits<double>::infinity();
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(double{a[i]} - double{b[i]});
    if (!(difference <= largest)) largest = difference;
  }
  return largest;
}

int MaxDifference(const Bytes& a, const Bytes& b) {
  if (a.size() != b.size()) return std::numeric_limits<int>::max();
  int largest = 0;
  for (size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

Bytes Concat(std::initializer_list<Bytes> parts) {
  Bytes out;
  for (const Bytes& part : parts) out.insert(out.end(), part.begin(), part.end());
  return out;
}

Bytes Text(std::string_view text) { return Bytes(text.begin(), text.end()); }

uint32_t Crc32(const Bytes& bytes) {
  uint32_t crc = 0xffffffff;
  for (uint8_t byte : bytes) {
    crc ^= byte;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc;
}

Bytes PngChunk(std::string_view type, const Bytes& data) {
  Bytes out;
  AppendBig32(out, static_cast<uint32_t>(data.size()));
  const Bytes body = Concat({Text(type), data});
  out.insert(out.end(), body.begin(), body.end());
  AppendBig32(out, Crc32(body));
  return out;
}

Bytes PngHeader(uint32_t width, uint32_t height, uint8_t depth, uint8_t color) {
  Bytes data;
  AppendBig32(data, width);
  AppendBig32(data, height);
  data.insert(data.end(), {depth, color, 0, 0, 0});
  return Concat({Text("\x89PNG\r\n\x1a\n"), PngChunk("IHDR", data)});
}

}  // namespace concertina::testing
