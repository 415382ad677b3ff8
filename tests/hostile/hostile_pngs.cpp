// PNG: bombs, lengths that lie, parts missing, doubled or out of order, and ballast.
#include <algorithm>

#include "tests/hostile/hostile_picture.h"

namespace concertina::testing {
namespace {

constexpr size_t kHeaderEnd = 33;  // signature and IHDR

struct Chunk {
  size_t at;
  std::string type;
  size_t size;  // all of it
};

std::vector<Chunk> Chunks(const Bytes& png) {
  std::vector<Chunk> chunks;
  for (size_t at = 8; at + 12 <= png.size();) {
    const size_t length =
        size_t{png[at]} << 24 | png[at + 1] << 16 | png[at + 2] << 8 | png[at + 3];
    chunks.push_back({at,
                      std::string(png.begin() + static_cast<ptrdiff_t>(at + 4),
                                  png.begin() + static_cast<ptrdiff_t>(at + 8)),
                      length + 12});
    at += length + 12;
  }
  return chunks;
}

Bytes Header(uint32_t width, uint32_t height, std::vector<uint8_t> rest) {
  Bytes data(8);
  SetBig32(data, 0, width);
  SetBig32(data, 4, height);
  data.insert(data.end(), rest.begin(), rest.end());
  return Concat({Text("\x89PNG\r\n\x1a\n"), PngChunk("IHDR", data)});
}

Bytes Rest(const Bytes& data) { return Concat({PngChunk("IDAT", data), PngChunk("IEND", {})}); }

void AddBombs(std::vector<HostilePicture>& out) {
  // Valid to the last bit: 50 MB of zeroes that would be 1.2 GB of pixels.
  const Bytes zeroes = ZeroesDeflated(20000 * 2501);
  out.push_back({"png 20000 x 20000, valid",
                 Verdict::kRefusedUnseen,
                 Concat({Header(20000, 20000, {1, 0, 0, 0, 0}), Rest(zeroes)}),
                 {}});
  out.push_back({"png 16384 x 16384, valid",
                 Verdict::kRefusedUnseen,
                 Concat({Header(16384, 16384, {1, 0, 0, 0, 0}), Rest(zeroes)}),
                 {}});
  const std::pair<uint32_t, uint32_t> sizes[] = {
      {1, 1},          {1, 2},          {2, 1},
      {1, 100000},     {100000, 1},     {0, 0},
      {0, 10},         {10, 0},         {16385, 2},
      {2, 16385},      {4097, 4096},    {30000, 30000},
      {0x7fffffff, 1}, {1, 0x7fffffff}, {0x7fffffff, 0x7fffffff},
      {0x80000000, 2}, {2, 0x80000000}, {0xffffffff, 0xffffffff}};
  for (const auto& [width, height] : sizes) {
    out.push_back({"png " + std::to_string(width) + " x " + std::to_string(height),
                   Verdict::kRefusedUnseen,
                   Concat({PngHeader(width, height), Rest(Bytes(2000))}),
                   {}});
  }
  // Small sides, and far more data than they need.
  out.push_back({"png 4 x 4 with 64 MiB of data",
                 Verdict::kAnything,
                 Concat({PngHeader(4, 4), Rest(ZeroesDeflated(64 << 20))}),
                 {}});
}

void AddFaultyHeaders(std::vector<HostilePicture>& out) {
  const Bytes data = ZeroesDeflated(16 * 65);
  const std::vector<std::pair<std::string, std::vector<uint8_t>>> headers = {
      {"depth 3", {3, 0, 0, 0, 0}},           {"depth 0", {0, 2, 0, 0, 0}},
      {"depth 4 of colour", {4, 2, 0, 0, 0}}, {"depth 16 of a palette", {16, 3, 0, 0, 0}},
      {"depth 255", {255, 6, 0, 0, 0}},       {"colour type 1", {8, 1, 0, 0, 0}},
      {"colour type 5", {8, 5, 0, 0, 0}},     {"colour type 7", {8, 7, 0, 0, 0}},
      {"colour type 255", {8, 255, 0, 0, 0}}, {"compression 1", {8, 2, 1, 0, 0}},
      {"filter method 1", {8, 2, 0, 1, 0}},   {"interlace 2", {8, 2, 0, 0, 2}},
      {"interlace 255", {8, 2, 0, 0, 255}},   {"short header", {8, 2, 0, 0}},
      {"long header", {8, 2, 0, 0, 0, 0}},    {"palette without one", {8, 3, 0, 0, 0}}};
  for (const auto& [name, rest] : headers) {
    out.push_back(
        {"png, " + name, Verdict::kRefusedUnseen, Concat({Header(16, 16, rest), Rest(data)}), {}});
  }
}

void AddCutsAndLengths(std::vector<HostilePicture>& out, const std::string& file) {
  const Bytes good = ReadBytes(DataPath(file));
  for (const Chunk& chunk : Chunks(good)) {
    const std::string where = file + ", " + chunk.type;
    for (const size_t cut : {chunk.at, chunk.at + 4, chunk.at + 8, chunk.at + chunk.size - 1}) {
      out.push_back({where + " cut at " + std::to_string(cut),
                     Verdict::kRefusedUnseen,
                     Cut(good, 0, cut),
                     {}});
    }
    const auto length = static_cast<uint32_t>(chunk.size - 12);
    for (const uint32_t wrong : {length + 1, 0x7fffffffU, 0xffffffffU}) {
      Bytes bytes = good;
      SetBig32(bytes, chunk.at, wrong);
      out.push_back({where + " of length " + std::to_string(wrong),
                     Verdict::kRefusedUnseen,
                     std::move(bytes),
                     {}});
    }
    Bytes bytes = good;
    bytes[chunk.at + chunk.size - 1] ^= 1;
    const bool critical = chunk.type[0] >= 'A' && chunk.type[0] <= 'Z';
    // The end marker has nothing in it that could be wrong.
    if (chunk.type != "IEND") {
      out.push_back({where + " with a wrong checksum",
                     critical ? Verdict::kRefused : Verdict::kSameAsOriginal, std::move(bytes),
                     good});
    }
  }
}

void AddOrder(std::vector<HostilePicture>& out) {
  const Bytes good = ReadBytes(DataPath("rgb.png"));
  const Bytes signature = Cut(good, 0, 8);
  const Bytes header = Cut(good, 8, kHeaderEnd);
  const Bytes rest = Cut(good, kHeaderEnd, good.size());
  const Bytes end = PngChunk("IEND", {});
  const std::pair<std::string, Bytes> orders[] = {
      {"no end", Cut(good, 0, good.size() - 12)},
      {"no data", Concat({signature, header, end})},
      {"end first", Concat({signature, end, header, rest})},
      {"no header", Concat({signature, rest})},
      {"two headers", Concat({signature, header, header, rest})},
      {"an unknown critical chunk", Concat({signature, header, PngChunk("EVIL", {1}), rest})},
      {"only a signature", signature},
      {"a signature mangled by line ends", Concat({Text("\x89PNG\n\x1a\n"), header, rest})},
      {"a chunk type of zeroes",
       Concat({signature, header, PngChunk(std::string(4, '\0'), {1}), rest})}};
  for (const auto& [name, bytes] : orders) {
    out.push_back({"png, " + name, Verdict::kRefusedUnseen, bytes, {}});
  }
  out.push_back({"png, empty data", Verdict::kRefused, Concat({signature, header, Rest({})}), {}});
  out.push_back({"png, data that is no zlib stream",
                 Verdict::kRefused,
                 Concat({signature, header, Rest(Bytes(500, 0x55))}),
                 {}});
  out.push_back({"png, data of half the rows",
                 Verdict::kRefused,
                 Concat({signature, header, Rest(ZeroesDeflated(76 * 8))}),
                 {}});
}

void AddBallast(std::vector<HostilePicture>& out) {
  const Bytes good = ReadBytes(DataPath("rgb.png"));
  const Bytes zeroes = ZeroesDeflated(100 << 20);
  const Bytes icc = Concat({Bytes{'a', 0, 0}, zeroes});
  const Bytes itxt = Concat({Bytes{'a', 0, 1, 0, 0, 0}, zeroes});
  const Bytes frame(26, 0);
  const std::pair<std::string, Bytes> ballast[] = {
      {"a colour profile of 100 MiB", PngChunk("iCCP", icc)},
      {"an international text of 100 MiB", PngChunk("iTXt", itxt)},
      {"a compressed text of 100 MiB", PngChunk("zTXt", icc)},
      {"animation", Concat({PngChunk("acTL", {0, 0, 0, 9, 0, 0, 0, 0}), PngChunk("fcTL", frame)})},
      {"an animation of 2^32 frames", PngChunk("acTL", Bytes(8, 0xff))},
      {"EXIF of noise", PngChunk("eXIf", Bytes(900, 0xaa))},
      {"a script", PngChunk("tEXt", Text("<script>alert(1)</script><?php ?>"))},
      {"XMP of noise", PngChunk("iTXt", Concat({Text("XML:com.adobe.xmp"), Bytes(5),
                                                Text("tiff:Orientation=\"x"), Bytes(64, '"')}))}};
  for (const auto& [name, chunk] : ballast) {
    out.push_back({"png with " + name, Verdict::kSameAsOriginal,
                   Concat({Cut(good, 0, kHeaderEnd), chunk, Cut(good, kHeaderEnd, good.size())}),
                   good});
  }
  out.push_back({"png with an archive behind", Verdict::kSameAsOriginal,
                 Concat({good, Text("PK\3\4"), Bytes(1000)}), good});
  out.push_back({"png in front of a web page", Verdict::kSameAsOriginal,
                 Concat({good, Text("<html><body onload=alert(1)>")}), good});
}

}  // namespace

void AddHostilePngs(std::vector<HostilePicture>& out) {
  AddBombs(out);
  AddFaultyHeaders(out);
  AddCutsAndLengths(out, "rgb.png");
  AddCutsAndLengths(out, "palette_transparency.png");
  AddCutsAndLengths(out, "gamma_profile.png");
  AddOrder(out);
  AddBallast(out);
}

}  // namespace concertina::testing
