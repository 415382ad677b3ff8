#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace concertina {

// What a decode step does, computed on the host and read on the device, so that a step is the same
// sequence of operations every time. Seats without a row write to slot 0 of page 0.
class StepPlan {
 public:
  // `rounds`: of evictions in one step.
  StepPlan(int64_t layers, int64_t seats, int64_t rounds, const at::Device& device);

  int64_t rounds() const { return rounds_; }

  // On the host, to be filled; 0 at first.
  int32_t& position(int64_t seat) { return At(0, seat); }
  int32_t& slot(int64_t layer, int64_t seat) { return At(Base(layer), seat); }
  int32_t& length(int64_t layer, int64_t seat) { return At(Base(layer) + 1, seat); }
  int32_t& begin(int64_t layer, int64_t round, int64_t seat) {
    return At(Base(layer) + 2 + 2 * round, seat);
  }
  int32_t& end(int64_t layer, int64_t round, int64_t seat) {
    return At(Base(layer) + 3 + 2 * round, seat);
  }
  // No seat has a row: positions 0, slots 0, lengths 1, nothing evicted.
  void Clear();
  void Clear(int64_t seat);
  void Upload() { device_.copy_(host_); }

  // On the device, i32.
  at::Tensor positions() const { return device_.select(0, 0); }                     // [seats]
  at::Tensor slots(int64_t layer) const { return device_.select(0, Base(layer)); }  // [seats]
  at::Tensor lengths(int64_t layer) const { return device_.select(0, Base(layer) + 1); }
  at::Tensor ranges(int64_t layer) const {  // EvictArgs::ranges
    return device_.narrow(0, Base(layer) + 2, 2 * rounds_).view({rounds_, 2, seats_});
  }

 private:
  int64_t Base(int64_t layer) const { return 1 + (2 + 2 * rounds_) * layer; }
  int32_t& At(int64_t line, int64_t seat) { return values_[line * seats_ + seat]; }

  int64_t layers_, seats_, rounds_;
  at::Tensor host_, device_;
  int32_t* values_;
};

}  // namespace concertina
