#include "models/tokenizer/normalizer.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdint>

#include "models/tokenizer/utf8.h"

namespace concertina {
namespace {

std::vector<int32_t> Decomposed(std::string_view text) {
  std::vector<int32_t> codes;
  codes.reserve(text.size());
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  for (size_t i = 0; i < text.size();) {
    int32_t code = 0;
    i += static_cast<size_t>(
        utf8proc_iterate(bytes + i, static_cast<utf8proc_ssize_t>(Utf8Length(text[i])), &code));
    int32_t parts[32];
    int boundary = 0;
    const utf8proc_ssize_t count =
        utf8proc_decompose_char(code, parts, 32, UTF8PROC_DECOMPOSE, &boundary);
    if (count < 0 || count > 32) {
      codes.push_back(code);
    } else {
      codes.insert(codes.end(), parts, parts + count);
    }
  }
  return codes;
}

}  // namespace

std::string ToNfc(std::string_view text) {
  const auto ascii = [](char c) { return static_cast<unsigned char>(c) < 0x80; };
  if (std::all_of(text.begin(), text.end(), ascii)) return std::string(text);
  std::vector<int32_t> codes = Decomposed(text);
  // Canonical order here and not by utf8proc_map, whose insertion sort is quadratic in a run of
  // marks.
  const auto rank = [](int32_t code) { return utf8proc_get_property(code)->combining_class; };
  for (auto run = codes.begin(); run != codes.end();) {
    run = std::find_if(run, codes.end(), [&](int32_t code) { return rank(code) != 0; });
    const auto end = std::find_if(run, codes.end(), [&](int32_t code) { return rank(code) == 0; });
    std::stable_sort(run, end, [&](int32_t a, int32_t b) { return rank(a) < rank(b); });
    run = end;
  }
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE);
  const utf8proc_ssize_t size =
      utf8proc_normalize_utf32(codes.data(), static_cast<utf8proc_ssize_t>(codes.size()), options);
  if (size < 0) return std::string(text);
  std::string out;
  out.reserve(text.size());
  for (utf8proc_ssize_t i = 0; i < size; ++i) {
    utf8proc_uint8_t bytes[4];
    const utf8proc_ssize_t length = utf8proc_encode_char(codes[static_cast<size_t>(i)], bytes);
    out.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(length));
  }
  return out;
}

std::string Normalizer::Apply(std::string_view text, bool prepend) const {
  std::string out(text);
  for (const NormalizerStep& step : steps_) {
    switch (step.kind) {
      case NormalizerStep::Kind::kPrepend:
        if (prepend && !out.empty()) out.insert(0, step.content);
        break;
      case NormalizerStep::Kind::kReplace:
        out = ReplaceAll(out, step.pattern, step.content);
        break;
      case NormalizerStep::Kind::kNfc:
        out = ToNfc(out);
        break;
    }
  }
  return out;
}

}  // namespace concertina
