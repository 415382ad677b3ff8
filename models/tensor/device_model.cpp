#include "models/tensor/device_model.h"

#include <ATen/Context.h>

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "models/tensor/device_memory.h"
#include "models/tensor/tensor_model.h"
#include "models/tensor/tensor_options.h"

namespace concertina {
namespace {

constexpr char kTorchCpu[] = "torch:cpu";
constexpr char kCuda[] = "cuda";

// The number of "cuda:N", 0 of "cuda"; -1 for another name.
int CudaIndex(const std::string& device) {
  if (device == kCuda) return 0;
  const std::string prefix = absl::StrCat(kCuda, ":");
  int index = -1;
  const bool numbered = absl::StartsWith(device, prefix) &&
                        absl::SimpleAtoi(device.substr(prefix.size()), &index) && index >= 0;
  return numbered ? index : -1;
}

at::ScalarType ScalarOf(TensorType type) {
  switch (type) {
    case TensorType::kF16:
      return at::kHalf;
    case TensorType::kBf16:
      return at::kBFloat16;
    case TensorType::kF32:
      break;
  }
  return at::kFloat;
}

}  // namespace

at::TensorOptions TensorOptionsOf(const std::string& device, TensorType type) {
  const std::string name = device == kTorchCpu ? "cpu" : device;
  return at::TensorOptions(at::Device(name)).dtype(ScalarOf(type));
}

bool IsDeviceName(const std::string& device) {
  return device == kTorchCpu || CudaIndex(device) >= 0;
}

absl::Status CheckDevice(const std::string& device) {
  if (device == kTorchCpu) return absl::OkStatus();
  const int index = CudaIndex(device);
  if (index < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", device, "\" is no device: torch:cpu, cuda or cuda:N"));
  }
  if (!at::hasCUDA()) {
    return absl::FailedPreconditionError(absl::StrCat(
        device, " is not there: this LibTorch was built without CUDA, or finds no GPU"));
  }
  const auto count = static_cast<int>(at::getNumGPUs());
  if (index < count) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(device, " is not there: LibTorch finds ", count, " GPUs"));
}

DeviceModel::DeviceModel(std::string device, EntryType entry_type,
                         std::unique_ptr<TensorModel> model)
    : device_(std::move(device)), entry_type_(entry_type), model_(std::move(model)) {}
DeviceModel::~DeviceModel() = default;

absl::StatusOr<std::unique_ptr<DeviceModel>> DeviceModel::Load(const LanguageConfig& config,
                                                               const LanguageSource& source,
                                                               const std::string& device,
                                                               TensorType type) {
  if (absl::Status status = CheckDevice(device); !status.ok()) return status;
  if (absl::Status status = CheckLanguageConfig(config); !status.ok()) return status;
  std::unique_ptr<TensorModel> model;
  absl::Status status = Guarded([&]() -> absl::Status {
    const at::TensorOptions options = TensorOptionsOf(device, type);
    auto weights = LoadTensorWeights(config, *source.weights, source.naming, options);
    if (!weights.ok()) return weights.status();
    if (source.adapter != nullptr) {
      absl::Status added = AddTensorAdapters(config, *source.adapter, options, &*weights);
      if (!added.ok()) return added;
    }
    model = std::make_unique<TensorModel>(config, *std::move(weights));
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  const EntryType entries = type == TensorType::kF32 ? EntryType::kF32 : EntryType::kBf16;
  return std::unique_ptr<DeviceModel>(new DeviceModel(device, entries, std::move(model)));
}

int64_t DeviceModel::weight_bytes() const { return model_->weight_bytes(); }
int64_t DeviceModel::matrix_parameters() const { return model_->matrix_parameters(); }
bool DeviceModel::has_adapter() const { return model_->has_adapter(); }
int64_t DeviceModel::page_bytes() const {
  return DevicePageBytes(model_->config().head_dim, kDeviceEntriesPerPage, model_->options());
}

}  // namespace concertina
