#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "models/chat/chat_template.h"

namespace concertina {

// Collects the pieces of a prompt: no empty ones, neighbours of one kind joined.
class PromptBuilder {
 public:
  PromptBuilder& Template(std::string_view text) {
    return Text(PromptPiece::Kind::kTemplate, text, /*pin=*/false);
  }
  PromptBuilder& User(std::string_view text, bool pin = false) {
    return Text(PromptPiece::Kind::kUser, text, pin);
  }
  PromptBuilder& Image(bool pin = false) {
    pieces_.push_back({PromptPiece::Kind::kImage, "", pin});
    return *this;
  }
  std::vector<PromptPiece> Take() { return std::move(pieces_); }

 private:
  PromptBuilder& Text(PromptPiece::Kind kind, std::string_view text, bool pin) {
    if (text.empty()) return *this;
    if (!pieces_.empty() && pieces_.back().kind == kind && pieces_.back().pin == pin) {
      pieces_.back().text.append(text);
    } else {
      pieces_.push_back({kind, std::string(text), pin});
    }
    return *this;
  }

  std::vector<PromptPiece> pieces_;
};

}  // namespace concertina
