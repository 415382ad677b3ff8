#include "models/image/probe.h"

#include <gtest/gtest.h>

#include "tests/models/image/image_test_data.h"

namespace concertina {
namespace {

using testing::Bytes;
using testing::Concat;
using testing::DataPath;
using testing::Text;

std::string Message(const Bytes& bytes, const ImageLimits& limits = {}) {
  const auto probe = ProbeImage(bytes, limits);
  if (probe.ok()) return "accepted";
  EXPECT_EQ(probe.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(probe.status().message());
}

Bytes PngOf(uint32_t width, uint32_t height) {
  return Concat({testing::PngHeader(width, height), testing::PngChunk("IDAT", {1, 2, 3}),
                 testing::PngChunk("IEND", {})});
}

Bytes JpegOf(uint16_t width, uint16_t height, uint8_t marker = 0xc0, uint8_t precision = 8) {
  const auto high = [](uint16_t v) { return static_cast<uint8_t>(v >> 8); };
  const auto low = [](uint16_t v) { return static_cast<uint8_t>(v); };
  return {0xff,        0xd8,       0xff, marker, 0,    11,  precision, high(height), low(height),
          high(width), low(width), 1,    1,      0x11, 0,   0xff,      0xda,         0,
          8,           1,          1,    0,      0,    63,  0,         0x12,         0xff,
          0,           0xff,       0xd0, 0x34,   0xff, 0xd9};
}

Bytes WebpOf(std::string_view tag, const Bytes& data) {
  const uint8_t size = static_cast<uint8_t>(data.size());
  return Concat({Text("RIFF"),
                 {static_cast<uint8_t>(size + 12), 0, 0, 0},
                 Text("WEBP"),
                 Text(tag),
                 {size, 0, 0, 0},
                 data});
}

TEST(ProbeImage, TellsFormatAndStoredSize) {
  for (const std::string& name : testing::DataImages()) {
    const auto probe = ProbeImage(testing::ReadBytes(DataPath(name)), ImageLimits());
    ASSERT_TRUE(probe.ok()) << name << ": " << probe.status();
    const ImageFormat want = name.ends_with(".png")   ? ImageFormat::kPng
                             : name.ends_with(".jpg") ? ImageFormat::kJpeg
                                                      : ImageFormat::kWebp;
    EXPECT_EQ(probe->format, want) << name;
    if (name.starts_with("tall") || name.starts_with("two")) continue;
    EXPECT_EQ(probe->width, 25) << name;  // as stored, whatever the orientation
    EXPECT_EQ(probe->height, 17) << name;
  }
}

TEST(ProbeImage, EnforcesLimitsFromTheHeader) {
  EXPECT_EQ(Message(PngOf(2, 2)), "accepted");
  EXPECT_EQ(Message(PngOf(16384, 1024)), "accepted");
  EXPECT_EQ(Message(PngOf(1, 1)), "image: 1 by 1 pixels, each side must be 2 to 16384");
  EXPECT_EQ(Message(PngOf(1, 100000)), "image: 1 by 100000 pixels, each side must be 2 to 16384");
  EXPECT_EQ(Message(PngOf(20000, 20000)),
            "image: 20000 by 20000 pixels, each side must be 2 to 16384");
  EXPECT_EQ(Message(PngOf(16384, 1025)),
            "image: 16384 by 1025 pixels, at most 16777216 pixels are allowed");
  EXPECT_EQ(Message(PngOf(0, 5)), "image: 0 by 5 pixels, each side must be 2 to 16384");
  EXPECT_EQ(Message(PngOf(0xffffffff, 5)), "image: malformed PNG");
  EXPECT_EQ(Message(JpegOf(65535, 65535)),
            "image: 65535 by 65535 pixels, each side must be 2 to 16384");
  EXPECT_EQ(Message(JpegOf(9, 0)), "image: 9 by 0 pixels, each side must be 2 to 16384");
  EXPECT_EQ(Message(WebpOf("VP8X", {0, 0, 0, 0, 255, 255, 255, 255, 255, 255})),
            "image: malformed WebP");
  ImageLimits tight;
  tight.max_bytes = 40;
  EXPECT_EQ(Message(PngOf(2, 2), tight), "image: 60 bytes, at most 40 are allowed");
}

TEST(ProbeImage, AllowsOnlyThreeFormats) {
  const std::string unknown = "image: not a PNG, JPEG or WebP file";
  EXPECT_EQ(Message({}), "image: no bytes");
  EXPECT_EQ(Message({0}), unknown);
  EXPECT_EQ(Message(Concat({Text("II*"), {0}, Bytes(64)})), unknown);  // TIFF
  EXPECT_EQ(Message(Concat({Text("MM"), {0, 42}, Bytes(64)})), unknown);
  EXPECT_EQ(Message(Concat({{0, 0, 0, 12}, Text("jP  \r\n\x87\n"), Bytes(64)})), unknown);  // JP2
  EXPECT_EQ(Message(Concat({Text("\xff\x4f\xff\x51"), Bytes(64)})), unknown);  // raw JPEG 2000
  EXPECT_EQ(Message(Concat({Text("GIF89a"), Bytes(64)})), unknown);
  EXPECT_EQ(Message(Concat({Text("BM"), Bytes(64)})), unknown);
  EXPECT_EQ(Message(Concat({Text("#?RADIANCE\n"), Bytes(64)})), unknown);
  EXPECT_EQ(Message(Concat({Text("P6 2 2 255\n"), Bytes(64)})), unknown);
  EXPECT_EQ(Message(Concat({Text("RIFF"), {4, 0, 0, 0}, Text("WAVE")})), unknown);
}

TEST(ProbeImage, ChecksPngStructure) {
  const Bytes header = testing::PngHeader(4, 4);
  const Bytes data = testing::PngChunk("IDAT", {1});
  const Bytes end = testing::PngChunk("IEND", {});
  EXPECT_EQ(Message(header), "image: PNG is cut short");
  EXPECT_EQ(Message(Concat({header, end})), "image: malformed PNG");  // no data
  const Bytes second_header(header.begin() + 8, header.end());
  EXPECT_EQ(Message(Concat({header, second_header, data, end})), "image: malformed PNG");
  EXPECT_EQ(Message(Concat({header, testing::PngChunk("ABCD", {}), data, end})),
            "image: malformed PNG");
  EXPECT_EQ(Message(Concat({Text("\x89PNG\r\n\x1a\n"), data, end})), "image: malformed PNG");
  EXPECT_EQ(Message(Concat({header, {0xff, 0xff, 0xff, 0xff}, Text("IDAT"), Bytes(64)})),
            "image: PNG is cut short");
  EXPECT_EQ(Message(Concat({header, data, end, Text("trailing")})), "accepted");
}

TEST(ProbeImage, ChecksJpegStructure) {
  EXPECT_EQ(Message(JpegOf(9, 9)), "accepted");
  EXPECT_EQ(Message(JpegOf(9, 9, 0xc2)), "accepted");
  for (const uint8_t marker : Bytes{0xc3, 0xc5, 0xc9, 0xca, 0xcf}) {
    EXPECT_EQ(Message(JpegOf(9, 9, marker)),
              "image: only baseline, extended and progressive Huffman coded JPEG is supported");
  }
  EXPECT_EQ(Message(JpegOf(9, 9, 0xc0, 12)), "image: only 8-bit JPEG is supported");
  Bytes two = JpegOf(9, 9);
  two[11] = 2;
  EXPECT_EQ(Message(two), "image: malformed JPEG");
  Bytes late = JpegOf(9, 9);
  late[3] = 0xe5;  // no frame header before the scan
  EXPECT_EQ(Message(late), "image: malformed JPEG");
  EXPECT_EQ(Message({0xff, 0xd8, 0xff, 0xd9}), "image: malformed JPEG");
  EXPECT_EQ(Message({0xff, 0xd8, 0xff, 0xff, 0xff}), "image: JPEG is cut short");
  // The end marker of an embedded thumbnail is not the picture's.
  Bytes thumbnail = JpegOf(9, 9);
  const Bytes app1 = {0xff, 0xe1, 0, 4, 0xff, 0xd9};
  thumbnail.insert(thumbnail.begin() + 2, app1.begin(), app1.end());
  EXPECT_EQ(Message(thumbnail), "accepted");
  thumbnail.pop_back();
  thumbnail.pop_back();
  EXPECT_EQ(Message(thumbnail), "image: JPEG is cut short");
}

TEST(ProbeImage, BoundsJpegScans) {
  const Bytes whole = JpegOf(9, 9, 0xc2);
  const Bytes head(whole.begin(), whole.begin() + 15);
  const Bytes scan(whole.begin() + 15, whole.end() - 2);
  const auto with_scans = [&](int count) {
    Bytes out = head;
    for (int i = 0; i < count; ++i) out.insert(out.end(), scan.begin(), scan.end());
    return Concat({out, {0xff, 0xd9}});
  };
  EXPECT_EQ(Message(with_scans(100)), "accepted");
  EXPECT_EQ(Message(with_scans(101)), "image: malformed JPEG");
}

TEST(ProbeImage, ChecksWebpStructure) {
  const Bytes lossy = {0, 0, 0, 0x9d, 1, 0x2a, 9, 0, 7, 0};
  EXPECT_EQ(Message(WebpOf("VP8 ", lossy)), "accepted");
  EXPECT_EQ(Message(WebpOf("VP8L", {0x2f, 8, 0x80, 1, 0, 0})), "accepted");
  EXPECT_EQ(Message(WebpOf("VP8L", {0x2f, 8, 0x80, 1, 0xe0, 0})), "image: malformed WebP");
  EXPECT_EQ(Message(WebpOf("VP8L", {0x2e, 8, 0x80, 1, 0, 0})), "image: malformed WebP");
  EXPECT_EQ(Message(WebpOf("JUNK", lossy)), "image: malformed WebP");
  EXPECT_EQ(Message(WebpOf("VP8X", {2, 0, 0, 0, 8, 0, 0, 6, 0, 0})),
            "image: animated WebP is not supported");
  Bytes no_start = lossy;
  no_start[3] = 0;
  EXPECT_EQ(Message(WebpOf("VP8 ", no_start)), "image: malformed WebP");
  Bytes longer = WebpOf("VP8 ", lossy);
  longer[4] = 200;
  EXPECT_EQ(Message(longer), "image: WebP is cut short");
  Bytes inner = WebpOf("VP8 ", lossy);
  inner[16] = 200;
  EXPECT_EQ(Message(inner), "image: WebP is cut short");
}

}  // namespace
}  // namespace concertina
