// What the compiled passes share: threads, bfloat16, e^x, the largest of a line, blocks of rows.

#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace {

// Threads: those of the OpenMP library that torch has loaded, so that two pools never want the same
// cores. Without one the caller's thread does all.
using Team = void (*)(void (*)(void *), void *, unsigned, unsigned);
Team run_team = nullptr;
int (*thread_number)() = nullptr;
int (*team_size)() = nullptr;

template <class Body> struct Job {
  Body *body;
  int64_t count;
};

template <class Body> void one_share(void *given) {
  auto *job = static_cast<Job<Body> *>(given);
  const int64_t members = team_size(), member = thread_number();
  (*job->body)(job->count * member / members, job->count * (member + 1) / members);
}

const int64_t WORTH_SHARING = 1 << 13;  // elements

template <class Body> void share(int64_t count, int64_t wide, int threads, Body body) {
  if (!run_team || threads < 2 || count < 2 || count * wide < WORTH_SHARING) {
    body(int64_t(0), count);
    return;
  }
  Job<Body> job{&body, count};
  run_team(one_share<Body>, &job, unsigned(threads), 0);
}

// Says that no turn of the loop that follows reads what another one writes.
#if defined(__clang__)
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define INDEPENDENT _Pragma("GCC ivdep")
#else
#define INDEPENDENT
#endif

struct bf16 {
  uint16_t bits;
};

inline float up(float x) { return x; }

inline float up(bf16 x) {
  const uint32_t bits = uint32_t(x.bits) << 16;
  float made;
  std::memcpy(&made, &bits, 4);
  return made;
}

inline void put(float &into, float x) { into = x; }

inline void put(bf16 &into, float x) {  // to the nearest, ties to even
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  const uint32_t rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
  into.bits = (bits & 0x7FFFFFFFu) > 0x7F800000u ? uint16_t(0x7FC0) : uint16_t(rounded);
}

// What is left of a number that is kept as T.
template <class T> inline float rounded(float x) {
  T made;
  put(made, x);
  return up(made);
}

// e^x to 2 units in the last place for x in [-87, 88]; below 0, above infinity. (Cephes expf)
inline float exponential(float given) {
  float x = given < -87.f ? -87.f : given;
  x = x > 88.f ? 88.f : x;
  const float n = std::floor(x * 1.44269504f + .5f);
  const float r = x - n * 0.693359375f - n * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const int32_t bits = (int32_t(n) + 127) << 23;
  float two_to_n;
  std::memcpy(&two_to_n, &bits, 4);
  const float made = (p * r * r + r + 1.f) * two_to_n;
  const float not_less = given < -87.f ? 0.f : made;
  return given > 88.f ? INFINITY : not_less;
}

// The largest of `count` values; of NaN no promise. Floats are ordered as integers are but for the
// sign, and the largest of integers is found sixteen at a time.
template <class Value> inline float largest(int64_t count, Value value) {
  auto turned = [](int32_t bits) { return bits ^ ((bits >> 31) & 0x7FFFFFFF); };
  int32_t most = INT32_MIN;
  for (int64_t i = 0; i < count; i++) {
    const float one = value(i);
    int32_t bits;
    std::memcpy(&bits, &one, 4);
    bits = turned(bits);
    most = bits > most ? bits : most;
  }
  most = turned(most);
  float found;
  std::memcpy(&found, &most, 4);
  return found;
}

// A block of rows of `width` slots each, from slot `start` on. Where `before` is given, every row
// looks back at `back` slots too, which stand before its own.
struct Rows {
  int64_t start, rows, width, back;
  const int64_t *before;
  int64_t slot(int64_t row, int64_t place) const {
    return place < back ? before[row * back + place] : start + row * width + place - back;
  }
};

}  // namespace
