#pragma once

#include "cache/precision/packed_group.h"
#include "models/kernels/isa.h"

namespace concertina {

// A group's layout as the kernels take it. REQUIRES: head_dim <= 256.
isa::PackedLayout PackedLayoutOf(const GroupLayout& layout);

}  // namespace concertina
