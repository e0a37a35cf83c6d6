// Sixteen numbers at a time: one vector where the processor has AVX-512, else as many as it takes.

#pragma once

#include "sharing.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__)
#define WHOLE_VECTORS 1
#endif
#if defined(__AVX2__) || defined(WHOLE_VECTORS)
#include <immintrin.h>
#endif

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

// A call would hand its lanes over in memory, and wait for them.
#define LANEWISE inline __attribute__((always_inline))

namespace {

const int64_t LANES = 16;

#if defined(WHOLE_VECTORS)
const int REGISTERS = 32;  // that hold sixteen numbers each

using Lanes = __m512;
using Those = __mmask16;  // of the lanes

inline Lanes load_lanes(const float *from) { return _mm512_loadu_ps(from); }
inline Lanes load_and_hold(const float *from) { return _mm512_loadu_ps(from); }

inline Lanes load_lanes(const bf16 *from) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(from));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

inline void store_lanes(float *into, Lanes lanes) { _mm512_storeu_ps(into, lanes); }

inline void store_lanes(bf16 *into, Lanes lanes) {  // to the nearest, ties to even
#if defined(__AVX512BF16__)
  const __m256i bits = (__m256i)_mm512_cvtneps_pbh(lanes);
  _mm256_storeu_si256(reinterpret_cast<__m256i *>(into), bits);
#else
  alignas(64) float numbers[16];
  _mm512_store_ps(numbers, lanes);
  for (int i = 0; i < 16; i++) put(into[i], numbers[i]);
#endif
}

inline Lanes all_lanes(float one) { return _mm512_set1_ps(one); }
inline Lanes plus(Lanes a, Lanes b) { return _mm512_add_ps(a, b); }
inline Lanes minus(Lanes a, Lanes b) { return _mm512_sub_ps(a, b); }
inline Lanes times(Lanes a, Lanes b) { return _mm512_mul_ps(a, b); }
inline Lanes over(Lanes a, Lanes b) { return _mm512_div_ps(a, b); }
inline Lanes times_plus(Lanes a, Lanes b, Lanes c) { return _mm512_fmadd_ps(a, b, c); }
inline Lanes larger(Lanes a, Lanes b) { return _mm512_max_ps(a, b); }
inline float total_of(Lanes a) { return _mm512_reduce_add_ps(a); }
inline float largest_of(Lanes a) { return _mm512_reduce_max_ps(a); }

// `a` in those lanes, `b` in the others.
inline Lanes choose(Those those, Lanes a, Lanes b) { return _mm512_mask_mov_ps(b, those, a); }

// Of sixteen lanes the first `count`, all or none if there are more or fewer.
inline Those first_lanes(int64_t count) {
  return count >= LANES ? __mmask16(0xFFFF) : count > 0 ? __mmask16((1 << count) - 1) : __mmask16(0);
}

// Which of sixteen bytes, of which the first `count` are there, are not zero.
inline Those true_lanes(const uint8_t *bytes, int64_t count) {
  const __m128i given = _mm_maskz_loadu_epi8(first_lanes(count), bytes);
  return _mm_test_epi8_mask(given, given);
}

// Of pairs of bfloat16 the low ones, and the high ones.
inline Lanes low_ones(const uint32_t *pairs) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(pairs), 16));
}
inline Lanes high_ones(const uint32_t *pairs) {
  const __m512i upper = _mm512_set1_epi32(int(0xFFFF0000u));
  return _mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(pairs), upper));
}

// Copy an even count of bfloat16 or any of float32: a call to memcpy would cost more.
template <class T> inline void copy_line(const T *from, int64_t count, T *into) {
  const auto *x = reinterpret_cast<const char *>(from);
  auto *y = reinterpret_cast<char *>(into);
  const int64_t units = count * int64_t(sizeof(T)) / 4;
  int64_t i = 0;
  for (; i + 16 <= units; i += 16) _mm512_storeu_si512(y + 4 * i, _mm512_loadu_si512(x + 4 * i));
  for (; i + 4 <= units; i += 4) {
    const __m128i four = _mm_loadu_si128(reinterpret_cast<const __m128i *>(x + 4 * i));
    _mm_storeu_si128(reinterpret_cast<__m128i *>(y + 4 * i), four);
  }
  for (; i < units; i++) std::memcpy(y + 4 * i, x + 4 * i, 4);
}

// Numbers of four bytes: 16 rows, `units` apart, to 16 columns, `count` apart.
inline void transpose_block(const char *from, int64_t units, char *to, int64_t count) {
  __m512i r[16], t[16];
  UNROLL for (int i = 0; i < 16; i++) r[i] = _mm512_loadu_si512(from + 4 * i * units);
  UNROLL for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  UNROLL for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  UNROLL for (int i = 0; i < 4; i++) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0x88);
    t[4 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0x88);
    t[8 + i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0xdd);
    t[12 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0xdd);
  }
  UNROLL for (int i = 0; i < 4; i++) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[4 + i], 0x88);
    r[8 + i] = _mm512_shuffle_i32x4(t[i], t[4 + i], 0xdd);
    r[4 + i] = _mm512_shuffle_i32x4(t[8 + i], t[12 + i], 0x88);
    r[12 + i] = _mm512_shuffle_i32x4(t[8 + i], t[12 + i], 0xdd);
  }
  UNROLL for (int i = 0; i < 16; i++) _mm512_storeu_si512(to + 4 * i * count, r[i]);
}

// e^x to 2 units in the last place; below -104 it is 0, above 88.7 infinity. (Cephes expf)
inline Lanes exponentials(Lanes given) {
  // Of a number and NaN these give the second, so that NaN stays.
  const __m512 x =
      _mm512_max_ps(_mm512_set1_ps(-200.f), _mm512_min_ps(_mm512_set1_ps(200.f), given));
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 0);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
  __m512 p = _mm512_set1_ps(1.9875691500e-4f);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.3981999507e-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.3334519073e-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.1665795894e-2f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.6666665459e-1f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.0000001201e-1f));
  p = _mm512_fmadd_ps(p, _mm512_mul_ps(r, r), _mm512_add_ps(r, _mm512_set1_ps(1.f)));
  return _mm512_scalef_ps(p, n);
}

#else
// The compiler's own vectors, of the size that the processor has: AVX2's 32 bytes, else 16.
#if defined(__AVX2__)
const int PART = 32;
#else
const int PART = 16;
#endif
typedef float Floats __attribute__((vector_size(PART)));
typedef int32_t Ints __attribute__((vector_size(PART)));
typedef float Stored __attribute__((vector_size(PART), aligned(4), may_alias));  // anywhere
const int PARTS = 64 / PART, EACH = PART / 4;
#if defined(__aarch64__)
const int REGISTERS = 32 / PARTS;
#else
const int REGISTERS = 16 / PARTS;
#endif

struct Lanes {
  Floats part[PARTS];
};
struct Those {
  Ints part[PARTS];
};

template <class To, class From> LANEWISE To same_bits(From from) {
  static_assert(sizeof(To) == sizeof(From), "of one size");
  To made;
  std::memcpy(&made, &from, sizeof(made));
  return made;
}

// A function of each part.
template <class Part> LANEWISE Lanes by_part(Part part) {
  Lanes made;
  UNROLL for (int i = 0; i < PARTS; i++) made.part[i] = part(i);
  return made;
}

// Part by part: whole ones would be copied through memory.
LANEWISE Lanes load_lanes(const float *from) {
  return by_part([=](int i) { return Floats(*reinterpret_cast<const Stored *>(from + EACH * i)); });
}

// Loaded once for many uses: compilers would load them again for each.
LANEWISE Lanes load_and_hold(const float *from) {
  Lanes made = load_lanes(from);
#if defined(__GNUC__) && defined(__x86_64__)
  UNROLL for (int i = 0; i < PARTS; i++) asm("" : "+x"(made.part[i]));
#endif
  return made;
}

LANEWISE Lanes load_lanes(const bf16 *from) {
  alignas(64) float numbers[16];
  for (int i = 0; i < 16; i++) numbers[i] = up(from[i]);
  return load_lanes(numbers);
}

LANEWISE void store_lanes(float *into, Lanes lanes) {
  UNROLL for (int i = 0; i < PARTS; i++)
      *reinterpret_cast<Stored *>(into + EACH * i) = lanes.part[i];
}

LANEWISE void store_lanes(bf16 *into, Lanes lanes) {  // to the nearest, ties to even
  alignas(64) float numbers[16];
  store_lanes(numbers, lanes);
  for (int i = 0; i < 16; i++) put(into[i], numbers[i]);
}

LANEWISE Lanes all_lanes(float one) {
  return by_part([=](int) { return Floats{} + one; });
}
LANEWISE Lanes plus(Lanes a, Lanes b) {
  return by_part([=](int i) { return a.part[i] + b.part[i]; });
}
LANEWISE Lanes minus(Lanes a, Lanes b) {
  return by_part([=](int i) { return a.part[i] - b.part[i]; });
}
LANEWISE Lanes times(Lanes a, Lanes b) {
  return by_part([=](int i) { return a.part[i] * b.part[i]; });
}
LANEWISE Lanes over(Lanes a, Lanes b) {
  return by_part([=](int i) { return a.part[i] / b.part[i]; });
}
LANEWISE Lanes times_plus(Lanes a, Lanes b, Lanes c) {
  return by_part([=](int i) { return a.part[i] * b.part[i] + c.part[i]; });
}
LANEWISE Lanes larger(Lanes a, Lanes b) {
  return by_part([=](int i) { return a.part[i] > b.part[i] ? a.part[i] : b.part[i]; });
}

LANEWISE float total_of(Lanes a) {
  Floats sums = a.part[0];
  UNROLL for (int i = 1; i < PARTS; i++) sums += a.part[i];
  float total = 0;
  UNROLL for (int i = 0; i < EACH; i++) total += sums[i];
  return total;
}

LANEWISE float largest_of(Lanes a) {
  float numbers[16];
  store_lanes(numbers, a);
  float most = numbers[0];
  UNROLL for (int i = 1; i < 16; i++) most = numbers[i] > most ? numbers[i] : most;
  return most;
}

// `a` in those lanes, `b` in the others.
LANEWISE Lanes choose(Those those, Lanes a, Lanes b) {
  return by_part([=](int i) { return those.part[i] ? a.part[i] : b.part[i]; });
}

// Of sixteen lanes the first `count`, all or none if there are more or fewer.
LANEWISE Those first_lanes(int64_t count) {
  const int32_t numbers[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const int32_t end = count > LANES ? int32_t(LANES) : count < 0 ? 0 : int32_t(count);
  Those made;
  std::memcpy(&made, numbers, sizeof(made));
  UNROLL for (int i = 0; i < PARTS; i++) made.part[i] = made.part[i] < end;
  return made;
}

// Which of sixteen bytes, of which the first `count` are there, are not zero.
LANEWISE Those true_lanes(const uint8_t *bytes, int64_t count) {
  int32_t given[16] = {};
  for (int64_t i = 0; i < (count < LANES ? count : LANES); i++) given[i] = bytes[i];
  Those made;
  std::memcpy(&made, given, sizeof(made));
  UNROLL for (int i = 0; i < PARTS; i++) made.part[i] = made.part[i] != 0;
  return made;
}

// Of pairs of bfloat16 the low ones, and the high ones.
LANEWISE Lanes low_ones(const uint32_t *pairs) {
  const Lanes both = load_lanes(reinterpret_cast<const float *>(pairs));
  return by_part([=](int i) { return same_bits<Floats>(same_bits<Ints>(both.part[i]) << 16); });
}
LANEWISE Lanes high_ones(const uint32_t *pairs) {
  const Lanes both = load_lanes(reinterpret_cast<const float *>(pairs));
  return by_part([=](int i) {
    return same_bits<Floats>(same_bits<Ints>(both.part[i]) & int32_t(0xFFFF0000u));
  });
}

// Copy an even count of bfloat16 or any of float32: a call to memcpy would cost more.
template <class T> inline void copy_line(const T *from, int64_t count, T *into) {
  const auto *x = reinterpret_cast<const char *>(from);
  auto *y = reinterpret_cast<char *>(into);
  const int64_t bytes = count * int64_t(sizeof(T));
  int64_t i = 0;
  for (; i + PART <= bytes; i += PART) std::memcpy(y + i, x + i, PART);
  for (; i < bytes; i += 4) std::memcpy(y + i, x + i, 4);
}

#if defined(__AVX2__)
// Numbers of four bytes: 8 rows, `units` apart, to 8 columns, `count` apart.
inline void transpose_eight(const char *from, int64_t units, char *to, int64_t count) {
  __m256 r[8], t[8];
  UNROLL for (int i = 0; i < 8; i++) r[i] =
      _mm256_loadu_ps(reinterpret_cast<const float *>(from + 4 * i * units));
  UNROLL for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
  UNROLL for (int i = 0; i < 8; i += 4) {
    r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
    r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
    r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
  UNROLL for (int i = 0; i < 4; i++) {
    t[i] = _mm256_permute2f128_ps(r[i], r[4 + i], 0x20);
    t[4 + i] = _mm256_permute2f128_ps(r[i], r[4 + i], 0x31);
  }
  UNROLL for (int i = 0; i < 8; i++)
      _mm256_storeu_ps(reinterpret_cast<float *>(to + 4 * i * count), t[i]);
}
#else
inline void transpose_eight(const char *from, int64_t units, char *to, int64_t count) {
  UNROLL for (int i = 0; i < 8; i++) UNROLL for (int j = 0; j < 8; j++)
      std::memcpy(to + 4 * (j * count + i), from + 4 * (i * units + j), 4);
}
#endif

// Numbers of four bytes: 16 rows, `units` apart, to 16 columns, `count` apart.
inline void transpose_block(const char *from, int64_t units, char *to, int64_t count) {
  for (int i = 0; i < 16; i += 8)
    for (int j = 0; j < 16; j += 8)
      transpose_eight(from + 4 * (i * units + j), units, to + 4 * (j * count + i), count);
}

// e^x to 2 units in the last place; below -87 it is 0, above 88.7 infinity. (Cephes expf)
LANEWISE Lanes exponentials(Lanes given) {
  return by_part([=](int i) {
    const Floats x = given.part[i], none = Floats{};
    const Floats low = none - 87.f, high = none + 88.75f;
    const Floats above = x > low ? x : low;
    const Floats inside = above < high ? above : high;
    // Rounded by the integer's own cut, which no compiler may leave out.
    const Ints n = __builtin_convertvector(inside * 1.44269504f + 1024.5f, Ints) - 1024;
    const Floats count = __builtin_convertvector(n, Floats);
    Floats r = inside - count * 0.693359375f;
    r = r - count * -2.12194440e-4f;
    Floats p = none + 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + (r + 1.f);
    // 2^n in two factors, for n up to 128.
    const Ints half = n >> 1;
    const Floats made = p * same_bits<Floats>((half + 127) << 23) *
                        same_bits<Floats>((n - half + 127) << 23);
    const Floats not_less = x < low ? none : made;
    return x == x ? not_less : x;
  });
}
#endif

// 1 / (1 + e^-x). (A guess and a step of Newton's in place of the division took longer.)
LANEWISE Lanes sigmoids(Lanes x) {
  const Lanes one = all_lanes(1.f);
  return over(one, plus(one, exponentials(minus(all_lanes(0.f), x))));
}

}  // namespace
