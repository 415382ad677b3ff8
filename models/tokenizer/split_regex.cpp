#define PCRE2_CODE_UNIT_WIDTH 8
#include "models/tokenizer/split_regex.h"

#include <pcre2.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "models/tokenizer/utf8.h"

namespace concertina {
namespace {

// Unicode White_Space. PCRE2's own \s also has U+180E, which lost the property in Unicode 6.3.
constexpr std::string_view kWhiteSpace =
    R"(\x09-\x0D\x20\x85\xA0\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";

std::string WithUnicodeSpaces(std::string_view pattern) {
  std::string out;
  bool in_class = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c != '\\' || i + 1 == pattern.size()) {
      if (c == '[') in_class = true;
      if (c == ']') in_class = false;
      out.push_back(c);
      continue;
    }
    const char escaped = pattern[++i];
    if (escaped == 's') {
      out.append(in_class ? "" : "[").append(kWhiteSpace).append(in_class ? "" : "]");
    } else if (escaped == 'S' && !in_class) {
      out.append("[^").append(kWhiteSpace).append("]");
    } else {
      out.push_back('\\');
      out.push_back(escaped);
    }
  }
  return out;
}

using MatchData = std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)>;

}  // namespace

absl::StatusOr<SplitRegex> SplitRegex::Compile(std::string_view pattern) {
  const std::string adapted = WithUnicodeSpaces(pattern);
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(adapted.data()), adapted.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &offset, nullptr);
  if (code == nullptr) {
    char message[256] = "";
    pcre2_get_error_message(error, reinterpret_cast<PCRE2_UCHAR*>(message), sizeof(message));
    return absl::InvalidArgumentError(absl::StrCat("regular expression '", std::string(pattern),
                                                   "': ", message, " at offset ", offset));
  }
  // Without JIT support the interpreter gives the same matches.
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
  return SplitRegex(std::shared_ptr<pcre2_code>(code, [](pcre2_code* p) { pcre2_code_free(p); }));
}

void SplitRegex::Split(std::string_view text, std::vector<std::string_view>* pieces) const {
  const auto* code = static_cast<const pcre2_code*>(code_.get());
  const MatchData data(pcre2_match_data_create(1, nullptr), pcre2_match_data_free);
  const auto add = [&](size_t begin, size_t end) {
    if (begin < end) pieces->push_back(text.substr(begin, end - begin));
  };
  size_t done = 0;   // everything before is in a piece
  size_t start = 0;  // where to look for the next match
  while (data != nullptr && start < text.size()) {
    const int found = pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                                  start, PCRE2_NO_UTF_CHECK, data.get(), nullptr);
    if (found < 0) break;
    const PCRE2_SIZE* range = pcre2_get_ovector_pointer(data.get());
    const size_t begin = range[0], end = range[1];
    if (end <= start) {  // an empty match cuts nothing
      start += Utf8Length(text[start]);
      continue;
    }
    add(done, begin);
    add(std::max(done, begin), end);
    done = start = end;
  }
  add(done, text.size());
}

}  // namespace concertina
