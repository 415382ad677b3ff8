#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/language/language_config.h"
#include "tests/support/memory_source.h"

namespace concertina::testing {

// A random language model of Hugging Face's names under `prefix` ("model." and so on), GQA, head
// width other than the hidden size.
LanguageConfig TinyLlamaConfig();
MemorySource TinyLlama(const LanguageConfig& config, const std::string& prefix = "model.",
                       const std::string& head = "lm_head.weight");

// So many token ids, the same every time, that differ with `from`.
std::vector<int32_t> SomeIds(const LanguageConfig& config, int32_t count, int32_t from = 0);

// A low-rank adapter for it, of a different rank for each projection.
MemorySource TinyAdapter(const LanguageConfig& config);

}  // namespace concertina::testing
