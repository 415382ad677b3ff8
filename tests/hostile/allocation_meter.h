#pragma once

#include <cstdint>

namespace concertina::testing {

// Bytes that operator new has given out in this program, all threads together; a program that links
// this has its operators replaced. What libraries take from malloc directly is not seen.
void MarkPeakAllocated();
// Most that was held since the mark, beyond what was held then.
int64_t PeakAllocatedBytes();

}  // namespace concertina::testing
