// JPEG: kinds that are not read, sizes that lie, segments missing or cut, and ballast.
#include <algorithm>

#include "tests/hostile/hostile_picture.h"

namespace concertina::testing {
namespace {

struct Segment {
  size_t at;  // of the 0xff
  uint8_t marker;
  size_t size;  // with the marker
};

// Those up to the first scan, which is included without its entropy-coded data.
std::vector<Segment> Segments(const Bytes& jpeg) {
  std::vector<Segment> segments;
  for (size_t at = 2; at + 4 <= jpeg.size();) {
    const size_t length = size_t{jpeg[at + 2]} << 8 | jpeg[at + 3];
    segments.push_back({at, jpeg[at + 1], length + 2});
    if (jpeg[at + 1] == 0xda) break;
    at += length + 2;
  }
  return segments;
}

// The frame header (SOF) of a file.
Segment FrameOf(const Bytes& jpeg) {
  for (const Segment& segment : Segments(jpeg)) {
    if (segment.marker >= 0xc0 && segment.marker <= 0xc2) return segment;
  }
  return {};
}

Bytes WithSize(Bytes jpeg, uint32_t width, uint32_t height) {
  const size_t at = FrameOf(jpeg).at;
  jpeg[at + 5] = static_cast<uint8_t>(height >> 8);
  jpeg[at + 6] = static_cast<uint8_t>(height);
  jpeg[at + 7] = static_cast<uint8_t>(width >> 8);
  jpeg[at + 8] = static_cast<uint8_t>(width);
  return jpeg;
}

Bytes WithByte(Bytes bytes, size_t at, uint8_t value) {
  bytes[at] = value;
  return bytes;
}

Bytes MakeSegment(uint8_t marker, const Bytes& data) {
  const size_t length = data.size() + 2;
  return Concat(
      {Bytes{0xff, marker, static_cast<uint8_t>(length >> 8), static_cast<uint8_t>(length)}, data});
}

Bytes Inserted(const Bytes& jpeg, size_t at, const Bytes& piece) {
  return Concat({Cut(jpeg, 0, at), piece, Cut(jpeg, at, jpeg.size())});
}

void AddKinds(const Bytes& good, std::vector<HostilePicture>& out) {
  const size_t frame = FrameOf(good).at;
  const std::pair<std::string, uint8_t> kinds[] = {{"lossless", 0xc3},
                                                   {"hierarchical", 0xc5},
                                                   {"hierarchical progressive", 0xc6},
                                                   {"hierarchical lossless", 0xc7},
                                                   {"arithmetic", 0xc9},
                                                   {"arithmetic progressive", 0xca},
                                                   {"arithmetic lossless", 0xcb},
                                                   {"arithmetic hierarchical", 0xcd},
                                                   {"reserved kind", 0xcf}};
  for (const auto& [name, marker] : kinds) {
    out.push_back(
        {"jpeg, " + name, Verdict::kRefusedUnseen, WithByte(good, frame + 1, marker), {}});
  }
  for (const int bits : {0, 1, 7, 12, 16, 255}) {
    out.push_back({"jpeg of " + std::to_string(bits) + " bits",
                   Verdict::kRefusedUnseen,
                   WithByte(good, frame + 4, static_cast<uint8_t>(bits)),
                   {}});
  }
  for (const int components : {0, 2, 4, 5, 255}) {
    out.push_back({"jpeg that says " + std::to_string(components) + " components",
                   Verdict::kRefusedUnseen,
                   WithByte(good, frame + 9, static_cast<uint8_t>(components)),
                   {}});
  }
}

void AddSizes(const Bytes& good, std::vector<HostilePicture>& out) {
  const std::pair<uint32_t, uint32_t> sizes[] = {
      {0, 17},        {25, 0},        {0, 0},     {1, 1},     {1, 65535},  {65535, 1},
      {65535, 65535}, {20000, 20000}, {16385, 2}, {2, 16385}, {4097, 4096}};
  for (const auto& [width, height] : sizes) {
    out.push_back({"jpeg " + std::to_string(width) + " x " + std::to_string(height),
                   Verdict::kRefusedUnseen,
                   WithSize(good, width, height),
                   {}});
  }
  // Within the limits, but with the data of 25 x 17.
  out.push_back(
      {"jpeg 4096 x 4096 of little data", Verdict::kAnything, WithSize(good, 4096, 4096), {}});
}

void AddCuts(const std::string& file, std::vector<HostilePicture>& out) {
  const Bytes good = ReadBytes(DataPath(file));
  for (const Segment& segment : Segments(good)) {
    const std::string where = file + ", segment " + std::to_string(segment.marker);
    for (const size_t cut : {segment.at + 1, segment.at + 3, segment.at + segment.size - 1}) {
      out.push_back({where + " cut at " + std::to_string(cut),
                     Verdict::kRefusedUnseen,
                     Cut(good, 0, cut),
                     {}});
    }
    for (const uint8_t wrong : {uint8_t{0}, uint8_t{1}}) {
      Bytes bytes = WithByte(WithByte(good, segment.at + 2, 0), segment.at + 3, wrong);
      out.push_back({where + " of length " + std::to_string(wrong),
                     Verdict::kRefusedUnseen,
                     std::move(bytes),
                     {}});
    }
    out.push_back({where + " of length 65535",
                   Verdict::kRefusedUnseen,
                   WithByte(WithByte(good, segment.at + 2, 0xff), segment.at + 3, 0xff),
                   {}});
  }
  for (const size_t part : {3, 2}) {
    out.push_back({file + ", the first 1/" + std::to_string(part),
                   Verdict::kRefusedUnseen,
                   Cut(good, 0, good.size() / part),
                   {}});
  }
  out.push_back(
      {file + " without its end", Verdict::kRefusedUnseen, Cut(good, 0, good.size() - 2), {}});
}

void AddStructure(const Bytes& good, std::vector<HostilePicture>& out) {
  const std::vector<Segment> segments = Segments(good);
  const Segment frame = FrameOf(good);
  const Segment scan = segments.back();
  const Bytes frame_bytes = Cut(good, frame.at, frame.at + frame.size);
  const Bytes scan_bytes = Cut(good, scan.at, scan.at + scan.size);
  const Bytes end = {0xff, 0xd9};
  Bytes many_scans = Cut(good, 0, scan.at);
  for (int i = 0; i < 101; ++i) {
    many_scans.insert(many_scans.end(), scan_bytes.begin(), scan_bytes.end());
  }
  const std::pair<std::string, Bytes> unseen[] = {
      {"two frames", Inserted(good, frame.at, frame_bytes)},
      {"no frame", Concat({Cut(good, 0, frame.at), Cut(good, frame.at + frame.size, good.size())})},
      {"no scan", Concat({Cut(good, 0, scan.at), end})},
      {"101 scans", Concat({many_scans, end})},
      {"a start marker inside", Inserted(good, frame.at, {0xff, 0xd8})},
      {"only markers of start and end", {0xff, 0xd8, 0xff, 0xd9}},
      {"only fill bytes", Concat({Bytes{0xff, 0xd8}, Bytes(5000, 0xff)})},
      {"noise between segments", Inserted(good, frame.at, Bytes(10, 0x42))},
      {"a frame cut inside", Concat({Cut(good, 0, frame.at), MakeSegment(0xc0, {8, 0, 17}),
                                     Cut(good, scan.at, good.size())})}};
  for (const auto& [name, bytes] : unseen) {
    out.push_back({"jpeg, " + name, Verdict::kRefusedUnseen, bytes, {}});
  }
  for (const uint8_t table : {uint8_t{0xdb}, uint8_t{0xc4}}) {
    Bytes bytes = Bytes{0xff, 0xd8};
    for (const Segment& segment : segments) {
      if (segment.marker == table) continue;
      const Bytes piece = Cut(good, segment.at, segment.at + segment.size);
      bytes.insert(bytes.end(), piece.begin(), piece.end());
    }
    bytes = Concat({bytes, Cut(good, scan.at + scan.size, good.size())});
    // libjpeg has tables of its own for files without.
    out.push_back({"jpeg without tables " + std::to_string(table), Verdict::kAnything, bytes, {}});
  }
}

void AddBallast(const Bytes& good, std::vector<HostilePicture>& out) {
  const auto exif = [](const Bytes& tiff) {
    return MakeSegment(0xe1, Concat({Bytes{'E', 'x', 'i', 'f', 0, 0}, tiff}));
  };
  const Bytes little = {'I', 'I', 42, 0};
  const auto entry = [&](uint8_t type, uint8_t count, uint8_t value) {
    return Concat(
        {little, Bytes{8, 0, 0, 0, 1, 0, 0x12, 1, type, 0, count, 0, 0, 0, value, 0, 0, 0}});
  };
  const std::pair<std::string, Bytes> ballast[] = {
      {"EXIF of noise", exif(Bytes(2000, 0xa5))},
      {"empty EXIF", exif({})},
      {"EXIF that points outside", exif(Concat({little, Bytes{0xff, 0xff, 0xff, 0xff}}))},
      {"EXIF that points at itself", exif(Concat({little, Bytes{0, 0, 0, 0}}))},
      {"EXIF of 65535 entries", exif(Concat({little, Bytes{8, 0, 0, 0, 0xff, 0xff}}))},
      {"orientation 0", exif(entry(3, 1, 0))},
      {"orientation 200", exif(entry(3, 1, 200))},
      {"an orientation of an unknown type", exif(entry(99, 1, 6))},
      {"255 orientations", exif(entry(3, 255, 6))},
      {"a colour profile of noise",
       MakeSegment(0xe2, Concat({Text("ICC_PROFILE"), Bytes{0, 1, 255}, Bytes(60000, 7)}))},
      {"an Adobe marker cut short", MakeSegment(0xee, Text("Adobe"))},
      {"a comment with a path", MakeSegment(0xfe, Text("../../etc/passwd\n%s%n"))},
      {"XMP of noise", MakeSegment(0xe1, Concat({Text("http://ns.adobe.com/xap/1.0/"), Bytes(1),
                                                 Text("tiff:Orientation>"), Bytes(99, '<')}))}};
  for (const auto& [name, segment] : ballast) {
    out.push_back(
        {"jpeg with " + name, Verdict::kSameAsOriginal, Inserted(good, 2, segment), good});
  }
  out.push_back({"jpeg with an archive behind", Verdict::kSameAsOriginal,
                 Concat({good, Text("PK\3\4"), Bytes(1000)}), good});
}

}  // namespace

void AddHostileJpegs(std::vector<HostilePicture>& out) {
  const Bytes good = ReadBytes(DataPath("sampling444.jpg"));
  AddKinds(good, out);
  AddSizes(good, out);
  AddCuts("sampling444.jpg", out);
  AddCuts("cmyk.jpg", out);
  AddCuts("progressive.jpg", out);
  AddStructure(good, out);
  AddBallast(good, out);
}

}  // namespace concertina::testing
