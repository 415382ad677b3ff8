#include "client/eval/grading.h"

#include <string>

#include "absl/strings/ascii.h"

namespace concertina::eval {
namespace {

std::string_view Trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r\n") + 1 - begin);
}

std::string Lower(std::string_view text) {
  return absl::AsciiStrToLower(absl::string_view(text.data(), text.size()));
}

bool IsWordByte(const std::string& text, size_t at) {
  if (at >= text.size()) return false;
  const auto byte = static_cast<unsigned char>(text[at]);
  return byte >= 0x80 || absl::ascii_isalnum(byte);
}

// Where `word` stands alone in `text`; npos if nowhere.
size_t FindWord(const std::string& text, const std::string& word) {
  for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) {
    const bool begins = at == 0 || !IsWordByte(text, at - 1);
    if (begins && !IsWordByte(text, at + word.size())) return at;
  }
  return std::string::npos;
}

}  // namespace

bool IsRight(const Question& question, std::string_view answer) {
  if (question.choices.empty()) return Trimmed(answer) == Trimmed(*question.answer);
  const std::string text = Lower(answer);
  const std::string* first = nullptr;
  size_t first_at = std::string::npos;
  for (const std::string& choice : question.choices) {
    const size_t at = FindWord(text, Lower(choice));
    if (at == std::string::npos) continue;
    // "red" and "red wine" in one place: the longer one is meant.
    const bool longer = at == first_at && choice.size() > first->size();
    if (at < first_at || longer) {
      first = &choice;
      first_at = at;
    }
  }
  return first != nullptr && *first == *question.answer;
}

}  // namespace concertina::eval
