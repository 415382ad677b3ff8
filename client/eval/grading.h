#pragma once

#include <string_view>

#include "client/eval/record.h"

namespace concertina::eval {

// Whether an answer is right. Without choices: it equals question.answer but for white space around
// it. With choices: of those it names, as whole words in any case, the first is question.answer.
// REQUIRES: the question has an answer.
bool IsRight(const Question& question, std::string_view answer);

}  // namespace concertina::eval
