#include "server/engine/engine_state.h"

#include <utility>

namespace concertina {

EngineState::EngineState(EngineOptions engine_options, std::shared_ptr<const Model> shared_model,
                         std::shared_ptr<EngineObserver> shared_observer,
                         std::shared_ptr<const Clock> shared_clock,
                         std::unique_ptr<PagePool> page_pool)
    : options(std::move(engine_options)),
      model(std::move(shared_model)),
      observer(std::move(shared_observer)),
      clock(std::move(shared_clock)),
      pool(std::move(page_pool)),
      decode_batch(*model->language, buffers) {}

}  // namespace concertina
