#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cache/entry_layout.h"
#include "models/language/language_config.h"
#include "models/language/language_model.h"

namespace concertina {

class TensorModel;

enum class TensorType { kF32, kF16, kBf16 };

// What may hold a language model besides the CPU's own kernels: "torch:cpu", "cuda", "cuda:N".
bool IsDeviceName(const std::string& device);

// INVALID_ARGUMENT for another name, FAILED_PRECONDITION when LibTorch does not have the device.
absl::Status CheckDevice(const std::string& device);

// A language model's weights on a LibTorch device, all of one type. Immutable, thread-safe.
class DeviceModel {
 public:
  // The errors of CheckDevice and of LanguageModel::Load; INTERNAL with LibTorch's message, out of
  // memory included.
  static absl::StatusOr<std::unique_ptr<DeviceModel>> Load(const LanguageConfig& config,
                                                           const LanguageSource& source,
                                                           const std::string& device,
                                                           TensorType type);
  ~DeviceModel();
  DeviceModel(const DeviceModel&) = delete;
  DeviceModel& operator=(const DeviceModel&) = delete;

  const std::string& device() const { return device_; }
  // Whether weights and entries are outside the host's memory.
  bool accelerator() const { return device_ != "torch:cpu"; }
  EntryType entry_type() const { return entry_type_; }  // entries have the type of the weights
  int64_t weight_bytes() const;                         // adapter included
  int64_t matrix_parameters() const;                    // elements of the matrices
  bool has_adapter() const;
  int64_t page_bytes() const;  // of the pool: one layer's and KV head's entries
  const TensorModel& tensors() const { return *model_; }

 private:
  DeviceModel(std::string device, EntryType entry_type, std::unique_ptr<TensorModel> model);

  std::string device_;
  EntryType entry_type_;
  std::unique_ptr<TensorModel> model_;
};

}  // namespace concertina
