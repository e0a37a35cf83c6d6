// Sixteen numbers at a time, where the processor has AVX-512.

#pragma once

#include "sharing.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__)
#define HAS_VECTORS 1
#include <immintrin.h>

namespace {

const int64_t LANES = 16;

inline __m512 load_lanes(const float *from) { return _mm512_loadu_ps(from); }

inline __m512 load_lanes(const bf16 *from) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(from));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

inline void store_lanes(float *into, __m512 lanes) { _mm512_storeu_ps(into, lanes); }

inline void store_lanes(bf16 *into, __m512 lanes) {  // to the nearest, ties to even
#if defined(__AVX512BF16__)
  const __m256i bits = (__m256i)_mm512_cvtneps_pbh(lanes);
  _mm256_storeu_si256(reinterpret_cast<__m256i *>(into), bits);
#else
  alignas(64) float numbers[16];
  _mm512_store_ps(numbers, lanes);
  for (int i = 0; i < 16; i++) put(into[i], numbers[i]);
#endif
}

// Of sixteen lanes the first `count`, all or none if there are more or fewer.
inline __mmask16 first_lanes(int64_t count) {
  return count >= LANES ? __mmask16(0xFFFF) : count > 0 ? __mmask16((1 << count) - 1) : __mmask16(0);
}

// Which of sixteen bytes are not zero, of those that are there.
inline __mmask16 true_lanes(const uint8_t *bytes, __mmask16 there) {
  const __m128i given = _mm_maskz_loadu_epi8(there, bytes);
  return _mm_test_epi8_mask(given, given);
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

// e^x to 2 units in the last place; below -104 it is 0, above 88.7 infinity. (Cephes expf)
inline __m512 exponentials(__m512 given) {
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

// 1 / (1 + e^-x). (A guess and a step of Newton's in place of the division took longer.)
inline __m512 sigmoids(__m512 x) {
  const __m512 one = _mm512_set1_ps(1.f);
  const __m512 below = _mm512_add_ps(one, exponentials(_mm512_sub_ps(_mm512_setzero_ps(), x)));
  return _mm512_div_ps(one, below);
}

}  // namespace
#endif
