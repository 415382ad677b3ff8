#pragma once

#include "concertina/v1/cache.pb.h"
#include "concertina/v1/session.pb.h"
#include "server/engine/events.h"

namespace concertina {

// Engine structs as messages.
void Render(const Budget& budget, v1::Budget* out);
void Render(const CacheSnapshot& cache, v1::CacheState* out);
void Render(const FoldReport& layer, v1::LayerFold* out);
void Render(const SessionInfo& session, v1::Session* out);
v1::EntryType Render(EntryType type);

}  // namespace concertina
