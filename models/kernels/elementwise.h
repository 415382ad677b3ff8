#pragma once

#include <cstdint>

namespace concertina {

// Row-wise operations on f32 row-major activations. x and y may be the same memory unless stated.
// Deterministic: a row's result depends on that row only.

// HF LlamaRMSNorm: y = weight * (x / sqrt(mean(x^2) + eps)). x, y [rows, d], weight [d].
void RmsNorm(const float* x, const float* weight, int64_t rows, int64_t d, float eps, float* y);

// torch.nn.LayerNorm over the last dimension. x, y [rows, d]; weight, bias [d].
void LayerNorm(const float* x, const float* weight, const float* bias, int64_t rows, int64_t d,
               float eps, float* y);

// y += x, both [rows, d].
void AddRows(const float* x, int64_t rows, int64_t d, float* y);

// y = silu(gate) * up. gate_up [rows, 2 * inter]: a row's gates, then its ups; y [rows, inter] is
// other memory.
void SiluMultiply(const float* gate_up, int64_t rows, int64_t inter, float* y);

// torch GELU with approximate="none": x * (1 + erf(x / sqrt 2)) / 2, in place.
void Gelu(float* x, int64_t count);

// CLIP's activation x * sigmoid(1.702 x), in place.
void QuickGelu(float* x, int64_t count);

}  // namespace concertina
