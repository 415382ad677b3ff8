#include <cstdio>
#include <limits>

// Adds one to the largest int.

int main() {
  volatile int value = std::numeric_limits<int>::max();
  value = value + 1;
  std::printf("%d\n", value);
  return 0;
}
