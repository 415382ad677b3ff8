#include <array>
#include <cctype>

#include "absl/strings/str_cat.h"
#include "models/chat/families.h"

namespace concertina {
namespace {

struct Family {
  std::string_view name;
  std::unique_ptr<ChatTemplate> (*make)();
  std::string_view template_text;  // as published, white space collapsed
};

// Folded by white space only: everything else is verbatim.
constexpr std::string_view kSmollmText = R"jinja(
{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{
'<|im_start|>system You are a helpful AI assistant named SmolLM, trained by Hugging
Face<|im_end|> ' }}{% endif %}{{'<|im_start|>' + message['role'] + ' ' +
message['content'] + '<|im_end|>' + ' '}}{% endfor %}{% if add_generation_prompt %}{{
'<|im_start|>assistant ' }}{% endif %}
)jinja";

constexpr std::string_view kLlavaText = R"jinja(
{% for message in messages %}{% if message['role'] != 'system' %}{{
message['role'].upper() + ': '}}{% endif %}{# Render all images first #}{% for content in
message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image> ' }}{% endfor
%}{# Render all text next #}{% if message['role'] != 'assistant' %}{% for content in
message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] + ' '}}{%
endfor %}{% else %}{% for content in message['content'] | selectattr('type', 'equalto',
'text') %}{% generation %}{{ content['text'] + ' '}}{% endgeneration %}{% endfor %}{%
endif %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}
)jinja";

constexpr std::array<Family, 2> kFamilies = {
    Family{"chatml-smollm", &MakeChatmlSmollm, kSmollmText},
    Family{"llava-1.5", &MakeLlava15, kLlavaText},
};

// Runs of white space as one blank, none at the ends. Line breaks of a template appear as
// characters or as "\\n" escapes, depending on the file that holds it.
std::string Collapsed(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool escaped = text.substr(i, 2) == "\\n";
    if (escaped) ++i;
    if (!escaped && !std::isspace(static_cast<unsigned char>(text[i]))) {
      out += text[i];
    } else if (!out.empty() && out.back() != ' ') {
      out += ' ';
    }
  }
  if (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

std::string FamilyNames() {
  std::string names;
  for (const Family& family : kFamilies) {
    absl::StrAppend(&names, names.empty() ? "" : ", ", std::string(family.name));
  }
  return names;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ChatTemplate>> ChatTemplateFor(std::string_view template_text) {
  const std::string wanted = Collapsed(template_text);
  for (const Family& family : kFamilies) {
    if (Collapsed(family.template_text) == wanted) return family.make();
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "the model's chat template is not one we know; name its family (", FamilyNames(), ")"));
}

absl::StatusOr<std::unique_ptr<ChatTemplate>> ChatTemplateByFamily(std::string_view family) {
  for (const Family& known : kFamilies) {
    if (known.name == family) return known.make();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("unknown chat family \"", std::string(family), "\"; known are ", FamilyNames()));
}

}  // namespace concertina
