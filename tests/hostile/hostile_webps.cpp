// WebP: animations, canvases and chunks that lie, parts missing or doubled; and formats that are
// not read at all.
#include <algorithm>
#include <opencv2/imgcodecs.hpp>

#include "tests/hostile/hostile_picture.h"

namespace concertina::testing {
namespace {

uint32_t Little(const Bytes& bytes, size_t at) {
  return bytes[at] | uint32_t{bytes[at + 1]} << 8 | uint32_t{bytes[at + 2]} << 16 |
         uint32_t{bytes[at + 3]} << 24;
}

Bytes WebpChunk(const std::string& tag, const Bytes& data) {
  Bytes size(4);
  SetLittle32(size, 0, static_cast<uint32_t>(data.size()));
  return Concat({Text(tag), size, data, Bytes(data.size() % 2)});
}

Bytes Riff(const Bytes& chunks) {
  Bytes size(4);
  SetLittle32(size, 0, static_cast<uint32_t>(chunks.size() + 4));
  return Concat({Text("RIFF"), size, Text("WEBP"), chunks});
}

// Flags, and a canvas of width x height.
Bytes Extended(uint8_t flags, uint32_t width, uint32_t height) {
  Bytes data(10);
  SetLittle32(data, 0, flags);
  SetLittle32(data, 4, width - 1);
  SetLittle32(data, 6, (height - 1) << 8 | data[6]);
  return WebpChunk("VP8X", data);
}

// The chunk with the picture in a file that has no other.
Bytes Picture(const Bytes& webp) { return Cut(webp, 12, webp.size()); }

void AddCuts(const std::string& file, std::vector<HostilePicture>& out) {
  const Bytes good = ReadBytes(DataPath(file));
  for (size_t at = 12; at + 8 <= good.size();) {
    const uint32_t length = Little(good, at + 4);
    const size_t end = std::min<size_t>(at + 8 + length, good.size());
    const std::string where = file + ", chunk at " + std::to_string(at);
    for (const size_t cut : {at, at + 4, at + 8, end - 1}) {
      out.push_back({where + " cut at " + std::to_string(cut),
                     Verdict::kRefusedUnseen,
                     Cut(good, 0, cut),
                     {}});
    }
    for (const uint32_t wrong : {0x7fffffffU, 0xffffffffU}) {
      Bytes bytes = good;
      SetLittle32(bytes, at + 4, wrong);
      out.push_back({where + " of length " + std::to_string(wrong),
                     Verdict::kRefusedUnseen,
                     std::move(bytes),
                     {}});
    }
    at = end + length % 2;
  }
  for (const uint32_t wrong : {0U, 3U, static_cast<uint32_t>(good.size() - 6), 0xffffffffU}) {
    Bytes bytes = good;
    SetLittle32(bytes, 4, wrong);
    out.push_back({file + " of size " + std::to_string(wrong),
                   Verdict::kRefusedUnseen,
                   std::move(bytes),
                   {}});
  }
}

// The container is whole, the picture in it is not.
void AddCutPictures(const std::string& file, std::vector<HostilePicture>& out) {
  const Bytes good = ReadBytes(DataPath(file));
  const uint32_t length = Little(good, 16);
  const std::string tag(good.begin() + 12, good.begin() + 16);
  for (const uint32_t part : {2U, 4U, 8U}) {
    const Bytes data = Cut(good, 20, 20 + length / part);
    out.push_back({file + ", picture cut to 1/" + std::to_string(part),
                   Verdict::kRefused,
                   Riff(WebpChunk(tag, data)),
                   {}});
  }
}

void AddHeaders(std::vector<HostilePicture>& out) {
  const Bytes lossy = ReadBytes(DataPath("lossy.webp"));
  const Bytes lossless = ReadBytes(DataPath("lossless.webp"));
  const auto lossy_with = [&](size_t at, uint32_t value) {
    Bytes bytes = lossy;
    bytes[20 + at] = static_cast<uint8_t>(value);
    bytes[21 + at] = static_cast<uint8_t>(value >> 8);
    return bytes;
  };
  const auto lossless_with = [&](uint32_t bits) {
    Bytes bytes = lossless;
    SetLittle32(bytes, 21, bits);
    return bytes;
  };
  const std::pair<std::string, Bytes> headers[] = {
      {"no key frame", lossy_with(0, lossy[20] | 1U)},
      {"a wrong start code", lossy_with(3, 0)},
      {"no width", lossy_with(6, 0)},
      {"no height", lossy_with(8, 0)},
      {"a width of 1", lossy_with(6, 1)},
      {"16383 x 16383", lossless_with(16382 | 16382U << 14)},
      {"1 x 1", lossless_with(0)},
      {"1 x 16384", lossless_with(16383U << 14)},
      {"a future version", lossless_with(24 | 16U << 14 | 1U << 29)},
      {"no signature of the lossless kind",
       Riff(WebpChunk("VP8L", Concat({Bytes{0x2e}, Bytes(40)})))},
      {"an empty picture", Riff(WebpChunk("VP8 ", {}))},
      {"an empty lossless picture", Riff(WebpChunk("VP8L", {}))},
      {"no chunk", Riff({})},
      {"an unknown first chunk", Riff(Concat({WebpChunk("EVIL", {1, 2}), Picture(lossy)}))}};
  for (const auto& [name, bytes] : headers) {
    out.push_back({"webp, " + name, Verdict::kRefusedUnseen, bytes, {}});
  }
}

void AddExtended(std::vector<HostilePicture>& out) {
  const Bytes lossy = ReadBytes(DataPath("lossy.webp"));
  const Bytes picture = Picture(lossy);
  const Bytes frame = WebpChunk("ANMF", Concat({Bytes(16), picture}));
  const Bytes animation = WebpChunk("ANIM", Bytes(6));
  const std::pair<std::string, Bytes> unseen[] = {
      {"animated", Riff(Concat({Extended(2, 25, 17), animation, frame, frame}))},
      {"animated without saying so", Riff(Concat({Extended(0, 25, 17), animation, frame}))},
      {"a canvas of 2^24 x 2^24", Riff(Concat({Extended(0, 1 << 24, 1 << 24), picture}))},
      {"a canvas of another size", Riff(Concat({Extended(0, 26, 17), picture}))},
      {"a canvas alone", Riff(Extended(0, 25, 17))},
      {"two canvases", Riff(Concat({Extended(0, 25, 17), Extended(0, 25, 17), picture}))},
      {"two pictures", Riff(Concat({Extended(0, 25, 17), picture, picture}))},
      {"two pictures without a canvas", Riff(Concat({picture, picture}))},
      {"a canvas chunk cut short", Riff(Concat({WebpChunk("VP8X", Bytes(9)), picture}))}};
  for (const auto& [name, bytes] : unseen) {
    out.push_back({"webp, " + name, Verdict::kRefusedUnseen, bytes, {}});
  }
  out.push_back(
      {"webp with transparency of noise",
       Verdict::kAnything,
       Riff(Concat({Extended(0x10, 25, 17), WebpChunk("ALPH", Bytes(90, 0x5a)), picture})),
       {}});
  out.push_back(
      {"webp with a colour profile of noise", Verdict::kSameAsOriginal,
       Riff(Concat({Extended(0x20, 25, 17), WebpChunk("ICCP", Bytes(1 << 20, 9)), picture})),
       lossy});
  out.push_back({"webp with EXIF of noise", Verdict::kSameAsOriginal,
                 Riff(Concat({Extended(8, 25, 17), picture, WebpChunk("EXIF", Bytes(999, 0xa5))})),
                 lossy});
  out.push_back({"webp with an archive behind", Verdict::kSameAsOriginal,
                 Concat({lossy, Text("PK\3\4"), Bytes(1000)}), lossy});
}

}  // namespace

void AddHostileWebps(std::vector<HostilePicture>& out) {
  for (const char* file : {"lossy.webp", "lossless.webp", "lossy_alpha.webp"}) AddCuts(file, out);
  AddCutPictures("lossy.webp", out);
  AddCutPictures("lossless.webp", out);
  AddHeaders(out);
  AddExtended(out);
}

void AddForeignFormats(std::vector<HostilePicture>& out) {
  // Whole and valid: refused for what they are, not for a fault.
  const cv::Mat picture(240, 320, CV_8UC3, cv::Scalar(10, 120, 240));
  for (const char* format : {".tiff", ".jp2", ".bmp", ".ppm", ".hdr", ".ras"}) {
    Bytes bytes;
    cv::Mat source = picture;
    if (std::string(format) == ".hdr") picture.convertTo(source, CV_32FC3, 1.0 / 255);
    cv::imencode(format, source, bytes);
    out.push_back({std::string("whole file ") + format, Verdict::kRefusedUnseen, bytes, {}});
  }
  const std::pair<std::string, std::string> magics[] = {
      {"nothing", ""},
      {"one byte", "\x89"},
      {"half a PNG signature", "\x89PNG"},
      {"two bytes of JPEG", "\xff\xd8"},
      {"RIFF alone", "RIFF"},
      {"GIF", "GIF89a\x20\x10"},
      {"GIF of 1987", "GIF87a"},
      {"big-endian TIFF", "MM"},
      {"BigTIFF", "II\x2b"},
      {"JPEG 2000 codestream", "\xff\x4f\xff\x51"},
      {"JPEG XL", "\xff\x0a"},
      {"AVIF", "....ftypavif"},
      {"HEIC", "....ftypheic"},
      {"OpenEXR", "\x76\x2f\x31\x01"},
      {"PSD", "8BPS"},
      {"SVG", "<?xml version=\"1.0\"?><svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"a()\"/>"},
      {"an XML entity bomb", "<!DOCTYPE a [<!ENTITY b \"cccc\"><!ENTITY d \"&b;&b;\">]>"},
      {"PDF", "%PDF-1.7"},
      {"PostScript", "%!PS-Adobe-3.0 EPSF-3.0"},
      {"plain bitmap", "P1 4 4 1 0 1 0"},
      {"PAM", "P7\nWIDTH 4\n"},
      {"PFM", "PF\n4 4\n-1.0\n"},
      {"a wave file", "RIFF....WAVEfmt "},
      {"icon", std::string("\0\0\1\0", 4)},
      {"DDS", "DDS |"},
      {"an executable",
       "\x7f"
       "ELF"},
      {"an archive", "PK\3\4"},
      {"gzip", "\x1f\x8b\x08"},
      {"a pickle", "\x80\x04\x95"},
      {"JSON", "{\"image\": \"/etc/passwd\"}"},
      {"a path", "/etc/passwd"},
      {"an address", "http://127.0.0.1/latest/meta-data"},
      {"a picture in base64", "data:image/png;base64,iVBORw0KGgo="}};
  for (const auto& [name, magic] : magics) {
    Bytes bytes = Text(magic);
    if (magic.size() > 4) bytes.resize(4096);
    out.push_back({name, Verdict::kRefusedUnseen, bytes, {}});
  }
  const Bytes png = ReadBytes(DataPath("rgb.png"));
  out.push_back({"a picture behind a byte", Verdict::kRefusedUnseen, Concat({Bytes(1), png}), {}});
  out.push_back({"a picture behind a mark",
                 Verdict::kRefusedUnseen,
                 Concat({Text("\xef\xbb\xbf"), png}),
                 {}});
  out.push_back({"a picture of 9 MiB", Verdict::kRefusedUnseen, Concat({png, Bytes(9 << 20)}), {}});
}

}  // namespace concertina::testing
