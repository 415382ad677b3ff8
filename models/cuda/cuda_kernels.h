#pragma once

#include "models/tensor/device_kernels.h"

namespace concertina {

// The kernels of this folder where they fit the sizes and type, else the generic ones; decode steps
// are captured as CUDA graphs. Compiled against CUDA's headers, never run where no GPU was.
const DeviceKernels& CudaKernels();

}  // namespace concertina
