// Elements of queries, keys and values: conversions and loads.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

namespace concertina::cuda {

inline __device__ float ToFloat(float x) { return x; }
inline __device__ float ToFloat(__half x) { return __half2float(x); }
inline __device__ float ToFloat(__nv_bfloat16 x) { return __bfloat162float(x); }

template <typename T>
__device__ T FromFloat(float x);
template <>
inline __device__ float FromFloat<float>(float x) {
  return x;
}
template <>
inline __device__ __half FromFloat<__half>(float x) {
  return __float2half(x);
}
template <>
inline __device__ __nv_bfloat16 FromFloat<__nv_bfloat16>(float x) {
  return __float2bfloat16(x);
}

// Eight neighbouring elements, 16-byte aligned, in loads of 16 bytes.
template <typename T>
__device__ void LoadVector(const T* from, float* to) {
  constexpr int kCount = 8;
  alignas(16) T elements[kCount];
#pragma unroll
  for (int i = 0; i < static_cast<int>(kCount * sizeof(T) / sizeof(float4)); ++i) {
    reinterpret_cast<float4*>(elements)[i] = reinterpret_cast<const float4*>(from)[i];
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i) to[i] = ToFloat(elements[i]);
}

}  // namespace concertina::cuda
