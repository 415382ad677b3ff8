#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "cache/page_pool.h"
#include "models/runner/model_runner.h"
#include "models/tensor/device_model.h"

namespace concertina {

// Runs `model` on its device, at most `rows` conversations in a decode step. The pages of `pool`, a
// ledger of DeviceModel::page_bytes() each, are allotted on the device at once. Both must outlive
// the runner. INVALID_ARGUMENT: more pages than a device can number. INTERNAL with LibTorch's
// message, out of memory included.
//
// Its errors are those of ModelRunner, and INTERNAL. A cache is not intact() after an INTERNAL.
absl::StatusOr<std::unique_ptr<ModelRunner>> MakeDeviceRunner(const DeviceModel& model,
                                                              int32_t rows, PagePool* pool);

}  // namespace concertina
