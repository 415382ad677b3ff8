#include "models/chat/known_templates.h"

namespace concertina {
namespace {

// GGUF metadata of SmolLM2-Instruct (tokenizer.chat_template).
constexpr std::string_view kSmollm =
    R"({% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %})"
    R"({{ '<|im_start|>system
You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>
' }})"
    R"({% endif %}{{'<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
'}})"
    R"({% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %})";

// chat_template.jinja of llava-hf/llava-1.5-7b-hf.
constexpr std::string_view kLlava =
    R"({% for message in messages %}{% if message['role'] != 'system' %})"
    R"({{ message['role'].upper() + ': '}}{% endif %})"
    R"({# Render all images first #}{% for content in message['content'] | selectattr('type', 'equalto', 'image') %})"
    R"({{ '<image>
' }}{% endfor %}{# Render all text next #}{% if message['role'] != 'assistant' %})"
    R"({% for content in message['content'] | selectattr('type', 'equalto', 'text') %})"
    R"({{ content['text'] + ' '}}{% endfor %}{% else %})"
    R"({% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{% generation %})"
    R"({{ content['text'] + ' '}}{% endgeneration %}{% endfor %}{% endif %}{% endfor %})"
    R"({% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %})";

// chat_template.json of Qwen2-VL and Qwen2.5-VL.
constexpr std::string_view kQwen2Vl =
    R"({% set image_count = namespace(value=0) %}{% set video_count = namespace(value=0) %})"
    R"({% for message in messages %}{% if loop.first and message['role'] != 'system' %})"
    R"(<|im_start|>system
You are a helpful assistant.<|im_end|>
{% endif %})"
    R"(<|im_start|>{{ message['role'] }}
{% if message['content'] is string %}{{ message['content'] }})"
    R"(<|im_end|>
{% else %}{% for content in message['content'] %})"
    R"({% if content['type'] == 'image' or 'image' in content or 'image_url' in content %})"
    R"({% set image_count.value = image_count.value + 1 %}{% if add_vision_id %})"
    R"(Picture {{ image_count.value }}: {% endif %})"
    R"(<|vision_start|><|image_pad|><|vision_end|>{% elif content['type'] == 'video' or 'video' in content %})"
    R"({% set video_count.value = video_count.value + 1 %}{% if add_vision_id %})"
    R"(Video {{ video_count.value }}: {% endif %})"
    R"(<|vision_start|><|video_pad|><|vision_end|>{% elif 'text' in content %}{{ content['text'] }})"
    R"({% endif %}{% endfor %}<|im_end|>
{% endif %}{% endfor %}{% if add_generation_prompt %})"
    R"(<|im_start|>assistant
{% endif %})";

constexpr KnownTemplate kKnown[] = {
    {"chatml-smollm", kSmollm},
    {"llava-1.5", kLlava},
    {"chatml-qwen2-vl", kQwen2Vl},
};

// Appends a tag ("{{ ... }}" or "{% ... %}") that starts at `begin`; returns where it ends.
size_t AppendTag(std::string_view text, size_t begin, std::string* out) {
  const std::string_view close = text[begin + 1] == '{' ? "}}" : "%}";
  char quote = 0;
  bool word = false;  // white space between two words is kept, as one space
  bool space = false;
  for (size_t i = begin; i < text.size(); ++i) {
    const char c = text[i];
    if (quote != 0) {
      if (c == '\\' && i + 1 < text.size() && text[i + 1] == 'n') {
        out->push_back('\n');
        ++i;
      } else {
        out->push_back(c == quote ? '\'' : c);
        if (c == quote) quote = 0;
      }
      continue;
    }
    if (text.substr(i).starts_with(close)) {
      out->append(close);
      return i + close.size();
    }
    if (c == ' ' || c == '\n' || c == '\t' || c == '\r') {
      space = true;
      continue;
    }
    const bool is_word =
        c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (space && word && is_word) out->push_back(' ');
    space = false;
    word = is_word;
    if (c == '\'' || c == '"') quote = c;
    out->push_back(quote != 0 ? '\'' : c);
  }
  return text.size();
}

}  // namespace

std::span<const KnownTemplate> KnownTemplates() { return kKnown; }

std::string NormalizedTemplate(std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);  // which Jinja drops, too
  if (text.ends_with('\r')) text.remove_suffix(1);
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const std::string_view rest = text.substr(i);
    if (rest.starts_with("{#")) {
      const size_t end = text.find("#}", i);
      i = end == text.npos ? text.size() : end + 2;
    } else if (rest.starts_with("{{") || rest.starts_with("{%")) {
      i = AppendTag(text, i, &out);
    } else {
      out.push_back(text[i++]);
    }
  }
  return out;
}

}  // namespace concertina
