#include "client/bench/prompt_maker.h"

#include <algorithm>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"

namespace concertina::bench {
namespace {

constexpr const char* kWords[] = {
    "the",   "time",  "people", "water", "house", "light", "world",  "work",   "place", "year",
    "small", "large", "green",  "white", "black", "under", "before", "after",  "about", "could",
    "write", "read",  "story",  "sea",   "river", "road",  "door",   "window", "table", "night",
    "day",   "wind",  "stone",  "tree",  "field", "city",  "music",  "letter", "paper", "number"};

absl::StatusOr<int> CountTokens(client::Client& server, const std::string& text) {
  v1::TokenizeRequest request;
  request.set_text(text);
  const auto tokens = server.Tokenize(request);
  if (!tokens.ok()) return tokens.status();
  return tokens->ids_size();
}

}  // namespace

absl::StatusOr<PromptMaker> PromptMaker::Make(client::Client& server, int tokens) {
  const std::string before = kWords[0];
  const auto alone = CountTokens(server, before);
  if (!alone.ok()) return alone.status();
  std::vector<Word> words;
  for (const char* word : kWords) {
    // Behind another word, as it will stand: tokenizers join a word with the space before it.
    const auto both = CountTokens(server, absl::StrCat(before, " ", word));
    if (!both.ok()) return both.status();
    words.push_back({word, std::max(1, *both - *alone)});
  }
  std::stable_sort(words.begin(), words.end(),
                   [](const Word& a, const Word& b) { return a.tokens < b.tokens; });
  return PromptMaker(std::move(words), tokens);
}

std::string PromptMaker::Text(uint64_t seed) const {
  std::mt19937_64 random(seed);
  std::string text;
  for (int left = tokens_; left > 0;) {
    const auto fits =
        std::upper_bound(words_.begin(), words_.end(), left,
                         [](int limit, const Word& word) { return limit < word.tokens; });
    // At least one word, even if every word is too long.
    const auto choices = std::max<std::ptrdiff_t>(1, fits - words_.begin());
    const Word& word = words_[random() % static_cast<uint64_t>(choices)];
    absl::StrAppend(&text, text.empty() ? "" : " ", word.text);
    left -= word.tokens;
  }
  return text;
}

}  // namespace concertina::bench
