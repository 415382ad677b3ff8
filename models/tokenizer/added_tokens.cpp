#include "models/tokenizer/added_tokens.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdint>

#include "models/tokenizer/utf8.h"

namespace concertina {
namespace {

int32_t CodeAt(std::string_view text, size_t i) {
  int32_t code = 0;
  utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data() + i),
                   static_cast<utf8proc_ssize_t>(text.size() - i), &code);
  return code;
}

// Start of the character that ends at `end` > 0.
size_t PreviousStart(std::string_view text, size_t end) {
  size_t i = end - 1;
  while (i > 0 && (static_cast<unsigned char>(text[i]) & 0xC0) == 0x80) --i;
  return i;
}

bool IsWhiteSpace(int32_t code) {
  return (code >= 0x09 && code <= 0x0D) || code == 0x20 || code == 0x85 || code == 0xA0 ||
         code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 ||
         code == 0x202F || code == 0x205F || code == 0x3000;
}

// \w of Unicode regular expressions (UTS #18, Annex C).
bool IsWord(int32_t code) {
  switch (utf8proc_category(code)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      return code == 0x200C || code == 0x200D;
  }
}

bool StandsAlone(std::string_view text, size_t begin, size_t end) {
  const bool word_before = begin > 0 && IsWord(CodeAt(text, PreviousStart(text, begin)));
  const bool word_after = end < text.size() && IsWord(CodeAt(text, end));
  return !word_before && !word_after;
}

size_t BeforeSpaces(std::string_view text, size_t begin, size_t limit) {
  while (begin > limit) {
    const size_t previous = PreviousStart(text, begin);
    if (previous < limit || !IsWhiteSpace(CodeAt(text, previous))) break;
    begin = previous;
  }
  return begin;
}

size_t AfterSpaces(std::string_view text, size_t end) {
  while (end < text.size() && IsWhiteSpace(CodeAt(text, end))) end += Utf8Length(text[end]);
  return end;
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens, const Normalizer& normalizer)
    : tokens_(std::move(tokens)) {
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const AddedToken& token = tokens_[i];
    Needle needle{token.normalized ? normalizer.Apply(token.content, true) : token.content, i};
    if (needle.text.empty()) continue;
    by_first_byte_[token.normalized][needle.text[0]].push_back(std::move(needle));
  }
  for (auto& table : by_first_byte_) {
    for (auto& [byte, needles] : table) {
      std::stable_sort(needles.begin(), needles.end(), [](const Needle& a, const Needle& b) {
        return a.text.size() > b.text.size();
      });
    }
  }
}

const AddedTokens::Needle* AddedTokens::Longest(std::string_view text, bool normalized) const {
  const auto found = by_first_byte_[normalized].find(text[0]);
  if (found == by_first_byte_[normalized].end()) return nullptr;
  for (const Needle& needle : found->second) {
    if (text.starts_with(needle.text)) return &needle;
  }
  return nullptr;
}

std::vector<AddedTokens::Segment> AddedTokens::Split(std::string_view text,
                                                     const std::vector<Range>& ranges,
                                                     bool normalized) const {
  std::vector<Segment> segments;
  size_t done = 0;
  for (const auto& [first, last] : ranges) {
    for (size_t i = std::max(first, done); i < last;) {
      const Needle* needle = Longest(text.substr(i, last - i), normalized);
      if (needle == nullptr) {
        ++i;
        continue;
      }
      const AddedToken& token = tokens_[needle->token];
      size_t begin = i;
      size_t end = i + needle->text.size();
      i = end;
      if (token.single_word && !StandsAlone(text, begin, end)) continue;
      if (token.lstrip) begin = BeforeSpaces(text, begin, done);
      if (token.rstrip) end = AfterSpaces(text, end);
      if (done < begin) segments.push_back({done, begin, kNone});
      segments.push_back({begin, end, token.id});
      done = end;
      i = std::max(i, done);
    }
  }
  if (done < text.size()) segments.push_back({done, text.size(), kNone});
  return segments;
}

}  // namespace concertina
