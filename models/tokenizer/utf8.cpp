#include "models/tokenizer/utf8.h"

namespace concertina {
namespace {

// Table 3-7 of the Unicode standard: how many bytes follow a lead byte and the range of the first
// of them.
struct Lead {
  size_t length;
  unsigned char low, high;
};

Lead LeadOf(unsigned char byte) {
  if (byte >= 0xC2 && byte <= 0xDF) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte >= 0xE1 && byte <= 0xEF) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte >= 0xF1 && byte <= 0xF3) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

}  // namespace

Utf8Step NextUtf8(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  if (byte(0) < 0x80) return {1, true, false};
  const Lead lead = LeadOf(byte(0));
  if (lead.length == 0) return {1, false, false};
  for (size_t i = 1; i < lead.length; ++i) {
    if (i == text.size()) return {i, false, true};
    const bool fits =
        i == 1 ? byte(1) >= lead.low && byte(1) <= lead.high : byte(i) >= 0x80 && byte(i) <= 0xBF;
    if (!fits) return {i, false, false};
  }
  return {lead.length, true, false};
}

bool IsValidUtf8(std::string_view text) {
  while (!text.empty()) {
    const Utf8Step step = NextUtf8(text);
    if (!step.valid) return false;
    text.remove_prefix(step.length);
  }
  return true;
}

std::string ReplaceAll(std::string_view text, std::string_view pattern, std::string_view content) {
  std::string out;
  size_t done = 0;
  for (size_t at = text.find(pattern); at != text.npos; at = text.find(pattern, done)) {
    out.append(text.substr(done, at - done)).append(content);
    done = at + pattern.size();
  }
  out.append(text.substr(done));
  return out;
}

size_t AppendUtf8Lossy(std::string_view bytes, bool keep_cut_tail, std::string* out) {
  size_t used = 0;
  while (used < bytes.size()) {
    const Utf8Step step = NextUtf8(bytes.substr(used));
    if (step.cut && keep_cut_tail) break;
    out->append(step.valid ? bytes.substr(used, step.length) : kReplacementCharacter);
    used += step.length;
  }
  return used;
}

}  // namespace concertina
