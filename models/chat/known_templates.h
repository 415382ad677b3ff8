#pragma once

#include <span>
#include <string>
#include <string_view>

namespace concertina {

// A template file as published, and the family that renders it.
struct KnownTemplate {
  std::string_view family;
  std::string_view text;
};
std::span<const KnownTemplate> KnownTemplates();

// A Jinja template without what cannot change its output: comments, white space and quoting style
// inside {{ }} and {% %}, the newline at the end, "\n" written as an escape. Two texts that are
// equal so render alike.
std::string NormalizedTemplate(std::string_view text);

}  // namespace concertina
