// UTF-8 scanning shared by the tokenizers. Invalid sequences are replaced as Unicode recommends and
// Rust's from_utf8_lossy does: one U+FFFD per maximal subpart of an ill-formed sequence.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace concertina {

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";

struct Utf8Step {
  size_t length = 0;   // bytes covered, at least 1
  bool valid = false;  // one whole character
  bool cut = false;    // a correct beginning of a character that the text's end cuts off
};

// Looks at the first character of a text that is not empty.
Utf8Step NextUtf8(std::string_view text);

// Length in bytes of the character that starts valid UTF-8 with this byte.
inline size_t Utf8Length(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

bool IsValidUtf8(std::string_view text);

// `text` with each occurrence of `pattern` (not empty, whole characters) replaced, from the left.
std::string ReplaceAll(std::string_view text, std::string_view pattern, std::string_view content);

// Appends `bytes` with invalid parts replaced. With `keep_cut_tail` a cut character at the end is
// left out; returns how many bytes were used.
size_t AppendUtf8Lossy(std::string_view bytes, bool keep_cut_tail, std::string* out);

}  // namespace concertina
