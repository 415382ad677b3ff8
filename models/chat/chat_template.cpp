#include "models/chat/chat_template.h"

#include "absl/strings/str_cat.h"
#include "models/chat/chatml_template.h"
#include "models/chat/known_templates.h"
#include "models/chat/llava_template.h"

namespace concertina {
namespace {

constexpr ChatmlTemplate::Style kSmollm = {
    "chatml-smollm", "You are a helpful AI assistant named SmolLM, trained by Hugging Face",
    ChatmlTemplate::Images::kFirstWithNewline};
constexpr ChatmlTemplate::Style kQwen2Vl = {"chatml-qwen2-vl", "You are a helpful assistant.",
                                            ChatmlTemplate::Images::kInPlaceFramed};

std::string FamilyNames() {
  std::string names;
  for (const KnownTemplate& known : KnownTemplates()) {
    absl::StrAppend(&names, names.empty() ? "" : ", ", std::string(known.family));
  }
  return names;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ChatTemplate>> ChatTemplateByFamily(std::string_view family) {
  for (const ChatmlTemplate::Style& style : {kSmollm, kQwen2Vl}) {
    if (family == style.family) return std::make_unique<ChatmlTemplate>(style);
  }
  if (family == LlavaTemplate().family()) return std::make_unique<LlavaTemplate>();
  return absl::NotFoundError(absl::StrCat("chat template family '", std::string(family),
                                          "' is unknown; known are ", FamilyNames()));
}

absl::StatusOr<std::unique_ptr<ChatTemplate>> ChatTemplateFor(std::string_view template_text) {
  const std::string wanted = NormalizedTemplate(template_text);
  for (const KnownTemplate& known : KnownTemplates()) {
    if (NormalizedTemplate(known.text) == wanted) return ChatTemplateByFamily(known.family);
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "the chat template is none of the known ones; name its family if it renders alike: ",
      FamilyNames()));
}

}  // namespace concertina
