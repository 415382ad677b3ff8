#pragma once

namespace concertina {

// How one key or value element is stored in a page. kInt8: signed bytes times one bf16 scale per
// vector.
enum class KvType { kF32, kBf16, kInt8 };

}  // namespace concertina
