#pragma once

#include <cstdint>
#include <functional>

namespace concertina {

// Rotates one key (head_dim floats, in place) on by `delta` positions; delta may be negative.
using RotateFn = std::function<void(float* key, int64_t delta)>;

}  // namespace concertina
