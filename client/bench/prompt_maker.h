#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/client.h"

namespace concertina::bench {

// Texts of random English words that make a given number of tokens with the server's tokenizer, as
// nearly as its tokens for words allow. Thread-safe.
class PromptMaker {
 public:
  // Asks the server how many tokens each of its words makes.
  static absl::StatusOr<PromptMaker> Make(client::Client& server, int tokens);

  // The text of a seed.
  std::string Text(uint64_t seed) const;

 private:
  struct Word {
    std::string text;
    int tokens;
  };

  PromptMaker(std::vector<Word> words, int tokens) : words_(std::move(words)), tokens_(tokens) {}

  std::vector<Word> words_;  // fewest tokens first
  int tokens_;
};

}  // namespace concertina::bench
