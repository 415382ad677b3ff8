#pragma once

#include "prometheus/histogram.h"

namespace concertina::buckets {

using Bounds = prometheus::Histogram::BucketBoundaries;

// Upper bounds in seconds. Chosen like those of other LLM servers, so that dashboards can be
// shared.
inline Bounds FirstToken() {
  return {.001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2, 2.5, 5, 7.5, 10, 20, 40, 80};
}

inline Bounds PerToken() {
  return {.002, .005, .01, .025, .05, .075, .1, .15, .2, .3, .4, .5, .75, 1, 2.5, 5, 10};
}

inline Bounds Duration() {
  return {.01, .05, .1, .3, .5, .8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480};
}

// Shares in [0, 1].
inline Bounds Ratio() {
  return {.01, .02, .05, .1, .15, .2, .25, .3, .4, .5, .6, .7, .8, .9, .95, 1};
}

// Divergence of one prediction from another.
inline Bounds Nats() { return {1e-6, 1e-5, 1e-4, .001, .003, .01, .03, .1, .3, 1, 3, 10}; }

// Rows of one step.
inline Bounds Rows() { return {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048}; }

}  // namespace concertina::buckets
