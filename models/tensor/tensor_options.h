#pragma once

#include <c10/core/InferenceMode.h>
#include <c10/core/TensorOptions.h>

#include <exception>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "models/tensor/device_model.h"

namespace concertina {

// Device and floating type as LibTorch has them. Throws c10::Error for a device it does not know.
at::TensorOptions TensorOptionsOf(const std::string& device, TensorType type);

// Runs what calls LibTorch; its exceptions end here, as INTERNAL.
inline absl::Status Guarded(absl::FunctionRef<absl::Status()> body) {
  try {
    const c10::InferenceMode inference;
    return body();
  } catch (const c10::Error& error) {
    return absl::InternalError(error.what_without_backtrace());
  } catch (const std::exception& error) {
    return absl::InternalError(error.what());
  }
}

}  // namespace concertina
