#pragma once

#include <string>

#include "models/language/language_config.h"
#include "tests/support/memory_source.h"

namespace concertina::testing {

// A random language model of Hugging Face's names under `prefix` ("model." and so on), GQA, head
// width other than the hidden size.
LanguageConfig TinyLlamaConfig();
MemorySource TinyLlama(const LanguageConfig& config, const std::string& prefix = "model.",
                       const std::string& head = "lm_head.weight");

// A low-rank adapter for it, of a different rank for each projection.
MemorySource TinyAdapter(const LanguageConfig& config);

}  // namespace concertina::testing
