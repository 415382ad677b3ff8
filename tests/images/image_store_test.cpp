#include "server/images/image_store.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace concertina {
namespace {

StoredImage Picture(size_t file_bytes, size_t pixels) {
  StoredImage image;
  image.file = std::make_shared<const std::string>(file_bytes, 'x');
  auto prepared = std::make_shared<PreparedImage>();
  prepared->pixels.resize(pixels);
  image.prepared = prepared;
  return image;
}

TEST(ImageStoreTest, CountsFilesAndPixels) {
  ImageStore store(1000);
  EXPECT_TRUE(store.Put("a", Picture(100, 25)));
  EXPECT_EQ(store.bytes(), 200);
  EXPECT_TRUE(store.Put("a", Picture(50, 25)));
  EXPECT_EQ(store.bytes(), 150);
  EXPECT_EQ(store.images(), 1);
  EXPECT_FALSE(store.Get("b").has_value());
}

TEST(ImageStoreTest, DropsPixelsBeforeFilesAndOldBeforeNew) {
  ImageStore store(500);
  store.Put("a", Picture(100, 25));
  store.Put("b", Picture(100, 25));
  store.Put("c", Picture(100, 25));  // 600 bytes: a's pixels go
  EXPECT_EQ(store.bytes(), 500);
  EXPECT_EQ(store.Get("a")->prepared, nullptr);
  EXPECT_NE(store.Get("b")->prepared, nullptr);
  EXPECT_NE(store.Get("c")->prepared, nullptr);
  store.Put("d", Picture(400, 0));  // order now a, b, c: all pixels go, then a and b
  EXPECT_FALSE(store.Get("a").has_value());
  EXPECT_FALSE(store.Get("b").has_value());
  ASSERT_TRUE(store.Get("c").has_value());
  EXPECT_EQ(store.Get("c")->prepared, nullptr);
  EXPECT_EQ(store.bytes(), 500);
}

TEST(ImageStoreTest, UseKeepsAPicture) {
  ImageStore store(200);
  store.Put("a", Picture(100, 0));
  store.Put("b", Picture(100, 0));
  EXPECT_TRUE(store.Get("a").has_value());
  store.Put("c", Picture(100, 0));
  EXPECT_TRUE(store.Get("a").has_value());
  EXPECT_FALSE(store.Get("b").has_value());
}

TEST(ImageStoreTest, TooLargeIsNotKept) {
  ImageStore store(100);
  EXPECT_FALSE(store.Put("a", Picture(101, 0)));
  EXPECT_TRUE(store.Put("b", Picture(100, 1000)));
  EXPECT_EQ(store.bytes(), 100);
}

TEST(ImageStoreTest, ThreadsMayShareIt) {
  ImageStore store(2000);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&store, t] {
      for (int i = 0; i < 500; ++i) {
        store.Put(std::to_string((i * 7 + t) % 40), Picture(100, 10));
        store.Get(std::to_string((i + t) % 40));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(store.bytes(), 2000);
  EXPECT_GT(store.images(), 0);
}

}  // namespace
}  // namespace concertina
