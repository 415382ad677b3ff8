#include <cstdio>
#include <thread>

// Two threads write to the same integer without a word to each other: a data race.

int main() {
  int counter = 0;
  const auto count = [&counter] {
    for (int i = 0; i < 1000; ++i) {
      ++counter;
    }
  };
  std::thread other(count);
  count();
  other.join();
  std::printf("%d\n", counter);
  return 0;
}
