// Passes over the rows of a Llama-type model on a CPU, each one sweep over memory.
//
// models/kernels.py compiles this file once, with what it includes; compiled_passes.py and
// compiled_attention.py call it through plain C. Every function does what a handful of torch
// operations do, in float32 whatever the numbers are stored in, and a row's result does not depend
// on how many threads share the rows. Products with weights stay with torch, but for thin ones.

#include "attention.h"
#include "sharing.h"

namespace {

template <class T>
void norm(const float *stream, int64_t count, int64_t wide, float eps, T *normed, float *scales,
          int threads) {
  share(count, wide, threads, [=](int64_t from, int64_t to) {
    for (int64_t row = from; row < to; row++) {
      const float *__restrict x = stream + row * wide;
      T *__restrict y = normed + row * wide;
      float square = 0;
      for (int64_t i = 0; i < wide; i++) square += x[i] * x[i];
      const float scale = 1.f / std::sqrt(square / float(wide) + eps);
      for (int64_t i = 0; i < wide; i++) put(y[i], x[i] * scale);
      scales[row] = scale;
    }
  });
}

// into = before + (g - n mean(g n)) * scale, where g is the sum of one or two gradients.
template <class G, class N>
void norm_backward(const G *gradient, const G *second, const N *normed, const float *scales,
                   const float *before, int64_t count, int64_t wide, float *into, int threads) {
  share(count, wide, threads, [=](int64_t from, int64_t to) {
    float *sum = static_cast<float *>(std::malloc(sizeof(float) * size_t(wide)));
    for (int64_t row = from; row < to; row++) {
      const int64_t at = row * wide;
      const G *g = gradient + at;
      const N *n = normed + at;
      float along = 0;
      if (second) {
        const G *h = second + at;
        for (int64_t i = 0; i < wide; i++) sum[i] = up(g[i]) + up(h[i]);
      } else {
        for (int64_t i = 0; i < wide; i++) sum[i] = up(g[i]);
      }
      for (int64_t i = 0; i < wide; i++) along += sum[i] * up(n[i]);
      along /= float(wide);
      const float scale = scales[row];
      float *y = into + at;
      if (before) {
        const float *b = before + at;
        for (int64_t i = 0; i < wide; i++) y[i] = b[i] + (sum[i] - up(n[i]) * along) * scale;
      } else {
        for (int64_t i = 0; i < wide; i++) y[i] = (sum[i] - up(n[i]) * along) * scale;
      }
    }
    std::free(sum);
  });
}

// Rotate adjacent pairs in place; `wide` numbers of each row, whose rows stand `stride` apart.
template <class T>
void turn(T *states, int64_t count, int64_t stride, int64_t wide, int64_t width, const float *turns,
          float direction, int threads) {
  share(count, wide, threads, [=](int64_t from, int64_t to) {
    for (int64_t row = from; row < to; row++) {
      const float *t = turns + row * width;
      for (int64_t head = 0; head < wide; head += width) {
        T *x = states + row * stride + head;
        for (int64_t i = 0; i < width; i += 2) {
          const float a = up(x[i]), b = up(x[i + 1]), c = t[i], s = t[i + 1] * direction;
          put(x[i], a * c - b * s);
          put(x[i + 1], a * s + b * c);
        }
      }
    }
  });
}

template <class T>
void gated(const T *gate_up, int64_t count, int64_t wide, T *activated, int threads) {
  share(count, wide, threads, [=](int64_t from, int64_t to) {
    for (int64_t row = from; row < to; row++) {
      const T *__restrict gate = gate_up + row * 2 * wide;
      const T *__restrict upper = gate_up + row * 2 * wide + wide;
      T *__restrict y = activated + row * wide;
      int64_t i = 0;
      for (; i + LANES <= wide; i += LANES) {
        const Lanes g = load_lanes(gate + i);
        store_lanes(y + i, times(times(g, sigmoids(g)), load_lanes(upper + i)));
      }
      for (; i < wide; i++) {
        const float g = up(gate[i]);
        put(y[i], g / (1.f + exponential(-g)) * up(upper[i]));
      }
    }
  });
}

template <class T>
void gated_backward(const T *through, const T *gate_up, int64_t count, int64_t wide, T *of_gate_up,
                    int threads) {
  share(count, wide, threads, [=](int64_t from, int64_t to) {
    for (int64_t row = from; row < to; row++) {
      const T *__restrict flow = through + row * wide;
      const T *__restrict gate = gate_up + row * 2 * wide;
      const T *__restrict upper = gate_up + row * 2 * wide + wide;
      T *__restrict of_gate = of_gate_up + row * 2 * wide;
      T *__restrict of_upper = of_gate_up + row * 2 * wide + wide;
      int64_t i = 0;
      const Lanes one = all_lanes(1.f);
      for (; i + LANES <= wide; i += LANES) {
        const Lanes g = load_lanes(gate + i), sigma = sigmoids(g);
        const Lanes f = times(load_lanes(flow + i), sigma);
        store_lanes(of_upper + i, times(f, g));
        const Lanes slope = times_plus(g, minus(one, sigma), one);
        store_lanes(of_gate + i, times(times(f, load_lanes(upper + i)), slope));
      }
      INDEPENDENT
      for (int64_t j = i; j < wide; j++) {
        const float g = up(gate[j]), f = up(flow[j]), sigma = 1.f / (1.f + exponential(-g));
        put(of_upper[j], f * g * sigma);
        put(of_gate[j], f * up(upper[j]) * sigma * (1.f + g * (1.f - sigma)));
      }
    }
  });
}

// Softmax in place of scores [rows * key heads, shared heads * queries, keys]. Without a mask query
// i sees the keys up to i; with one, [rows, queries, keys], those it says.
template <class T>
void softmax(T *scores, const uint8_t *visible, int64_t rows, int64_t heads, int64_t queries,
             int64_t keys, int threads) {
  share(rows * heads * queries, keys, threads, [=](int64_t from, int64_t to) {
    // Whole vectors only: what is left over of a line would cost as much as the line.
    const int64_t LANES = 16, room = (keys + LANES - 1) / LANES * LANES;
    float *work = static_cast<float *>(std::malloc(sizeof(float) * size_t(room)));
    int64_t query = from % queries;
    for (int64_t line = from; line < to; line++, query = query + 1 == queries ? 0 : query + 1) {
      T *x = scores + line * keys;
      const int64_t seen = visible ? keys : query + 1;
      const int64_t padded = (seen + LANES - 1) / LANES * LANES;
      const int64_t there = padded < keys ? padded : keys;
      float total = 0;
      if (visible) {
        const uint8_t *sees = visible + (line / (heads * queries) * queries + query) * keys;
        for (int64_t i = 0; i < there; i++) work[i] = sees[i] ? up(x[i]) : -3e38f;
      } else {
        for (int64_t i = 0; i < there; i++) work[i] = up(x[i]);
      }
      for (int64_t i = seen; i < padded; i++) work[i] = -INFINITY;
      const float most = largest(padded, [=](int64_t i) { return work[i]; });
      for (int64_t i = 0; i < padded; i++) {
        work[i] = exponential(work[i] - most);
        total += work[i];
      }
      const float share_of = 1.f / total;
      for (int64_t i = 0; i < there; i++) put(x[i], work[i] * share_of);
      if (there < keys)
        std::memset(static_cast<void *>(x + there), 0, sizeof(T) * size_t(keys - there));
    }
    std::free(work);
  });
}

// flow = weights * (flow - sum(flow * weights)), in place.
template <class T>
void softmax_backward(T *flow, const T *weights, int64_t lines, int64_t keys, int threads) {
  share(lines, keys, threads, [=](int64_t from, int64_t to) {
    for (int64_t line = from; line < to; line++) {
      T *f = flow + line * keys;
      const T *w = weights + line * keys;
      float along = 0;
      for (int64_t i = 0; i < keys; i++) along += up(f[i]) * up(w[i]);
      for (int64_t i = 0; i < keys; i++) put(f[i], up(w[i]) * (up(f[i]) - along));
    }
  });
}

// Of each row of logits: log of the sum of exp(logit / temperature), and that of one token less it.
template <class T>
void token_logprobs(const T *logits, const int64_t *tokens, int64_t count, int64_t vocabulary,
                    float temperature, float *sums, float *picked, int threads) {
  share(count, vocabulary, threads, [=](int64_t from, int64_t to) {
    const float colder = 1.f / temperature;
    for (int64_t row = from; row < to; row++) {
      const T *x = logits + row * vocabulary;
      const float most = largest(vocabulary, [=](int64_t i) { return up(x[i]); });
      double total = 0;
      for (int64_t start = 0; start < vocabulary; start += 1024) {
        const int64_t end = start + 1024 < vocabulary ? start + 1024 : vocabulary;
        float part = 0;
        for (int64_t i = start; i < end; i++) part += exponential((up(x[i]) - most) * colder);
        total += part;
      }
      sums[row] = most * colder + float(std::log(total));
      picked[row] = (up(x[tokens[row]]) - most) * colder - float(std::log(total));
    }
  });
}

template <class T>
void token_logprobs_backward(const T *logits, const int64_t *tokens, const float *gradient,
                             const float *sums, int64_t count, int64_t vocabulary,
                             float temperature, T *of_logits, int threads) {
  share(count, vocabulary, threads, [=](int64_t from, int64_t to) {
    const float colder = 1.f / temperature;
    for (int64_t row = from; row < to; row++) {
      const T *x = logits + row * vocabulary;
      T *y = of_logits + row * vocabulary;
      const float scaled = gradient[row] * colder, sum = sums[row];
      for (int64_t i = 0; i < vocabulary; i++)
        put(y[i], -scaled * exponential(up(x[i]) * colder - sum));
      const int64_t token = tokens[row];
      put(y[token], scaled * (1.f - exponential(up(x[token]) * colder - sum)));
    }
  });
}

// Draw by the inverse of the distribution function; -1 where no token can be drawn.
template <class T>
void draw(const T *logits, const double *uniforms, int64_t count, int64_t vocabulary,
          float temperature, int64_t *tokens, float *logprobs, int threads) {
  const int64_t BLOCK = 64;
  share(count, vocabulary, threads, [=](int64_t from, int64_t to) {
    const float colder = 1.f / temperature;
    const int64_t blocks = (vocabulary + BLOCK - 1) / BLOCK;
    float *weights = static_cast<float *>(std::malloc(sizeof(float) * size_t(vocabulary)));
    float *parts = static_cast<float *>(std::malloc(sizeof(float) * size_t(blocks)));
    for (int64_t row = from; row < to; row++) {
      const T *x = logits + row * vocabulary;
      const float most = largest(vocabulary, [=](int64_t i) { return up(x[i]); });
      double whole = 0;
      for (int64_t block = 0; block < blocks; block++) {
        const int64_t start = block * BLOCK;
        const int64_t end = start + BLOCK < vocabulary ? start + BLOCK : vocabulary;
        float part = 0;
        for (int64_t i = start; i < end; i++) {
          const float weight = exponential((up(x[i]) - most) * colder);
          weights[i] = weight;
          part += weight;
        }
        parts[block] = part;
        whole += part;
      }
      tokens[row] = -1;
      logprobs[row] = 0;
      if (!std::isfinite(most) || !std::isfinite(whole) || !(whole > 0)) continue;
      const double wanted = uniforms[row] * whole;
      double passed = 0;
      int64_t block = 0;
      while (block + 1 < blocks && passed + parts[block] <= wanted) passed += parts[block++];
      // Rounding may leave the number wanted behind the last block's end: its last possible token.
      int64_t found = -1;
      for (int64_t i = block * BLOCK; i < vocabulary; i++) {
        if (!(weights[i] > 0)) continue;
        found = i;
        passed += weights[i];
        if (passed > wanted) break;
      }
      for (int64_t i = block * BLOCK - 1; found < 0 && i >= 0; i--)
        if (weights[i] > 0) found = i;
      tokens[row] = found;
      logprobs[row] = (up(x[found]) - most) * colder - float(std::log(whole));
    }
    std::free(weights);
    std::free(parts);
  });
}

// [slot, head * width] to [row * key head, heads a key head * place, width]; slots `stride` apart.
template <class T>
void by_head(const T *states, int64_t stride, Rows block, int64_t heads, int64_t key_heads,
             int64_t width, T *into, int threads) {
  const int64_t shared = heads / key_heads, places = block.back + block.width;
  share(block.rows * key_heads, shared * places * width, threads, [=](int64_t from, int64_t to) {
    for (int64_t one = from; one < to; one++) {
      const int64_t row = one / key_heads, first = one % key_heads * shared;
      for (int64_t place = 0; place < places; place++) {
        const T *x = states + block.slot(row, place) * stride + first * width;
        for (int64_t head = 0; head < shared; head++)
          std::memcpy(static_cast<void *>(into + ((one * shared + head) * places + place) * width),
                      x + head * width, sizeof(T) * size_t(width));
      }
    }
  });
}

// Back again. What is looked back at is added to, and may be of several rows; so where there is
// some, one thread has all rows of a key head.
template <class T, class U>
void by_row(const T *states, Rows block, int64_t heads, int64_t key_heads, int64_t width, U *into,
            int64_t stride, int threads) {
  const int64_t shared = heads / key_heads, places = block.back + block.width;
  auto put_back = [=](int64_t row, int64_t key_head) {
    const int64_t one = row * key_heads + key_head;
    for (int64_t place = 0; place < places; place++) {
      U *y = into + block.slot(row, place) * stride + key_head * shared * width;
      for (int64_t head = 0; head < shared; head++, y += width) {
        const T *x = states + ((one * shared + head) * places + place) * width;
        if (place < block.back)
          for (int64_t i = 0; i < width; i++) put(y[i], up(y[i]) + up(x[i]));
        else
          for (int64_t i = 0; i < width; i++) put(y[i], up(x[i]));
      }
    }
  };
  if (block.back)
    share(key_heads, block.rows * shared * places * width, threads, [=](int64_t from, int64_t to) {
      for (int64_t row = 0; row < block.rows; row++)
        for (int64_t head = from; head < to; head++) put_back(row, head);
    });
  else
    share(block.rows * key_heads, shared * places * width, threads, [=](int64_t from, int64_t to) {
      for (int64_t one = from; one < to; one++) put_back(one / key_heads, one % key_heads);
    });
}

// A product of few rows with a matrix of weights: each weight is read once, in half of the bytes if
// it is bfloat16. One weight row is a unit of work.
template <class T>
void thin_product(const T *states, int64_t count, int64_t wide, const T *weights, int64_t out,
                  T *into, int threads) {
  share(out, wide * count, threads, [=](int64_t from, int64_t to) {
    for (int64_t column = from; column < to; column++) {
      const T *__restrict w = weights + column * wide;
      for (int64_t row = 0; row < count; row++) {
        const T *__restrict x = states + row * wide;
        float lanes[4][16] = {}, sum = 0;
        int64_t i = 0;
        for (; i + 64 <= wide; i += 64)
          for (int u = 0; u < 4; u++)
            for (int lane = 0; lane < 16; lane++)
              lanes[u][lane] += up(x[i + 16 * u + lane]) * up(w[i + 16 * u + lane]);
        for (; i < wide; i++) sum += up(x[i]) * up(w[i]);
        for (int lane = 0; lane < 16; lane++)
          sum += (lanes[0][lane] + lanes[1][lane]) + (lanes[2][lane] + lanes[3][lane]);
        put(into[row * out + column], sum);
      }
    }
  });
}

// One new token a row: turn its query and key, remember key and value at `column`, and mix the
// values of what it sees: columns before `lengths[row]`, and from `start` to `column`. WIDTH is that
// of a head, 0 for one that is not known beforehand; at most WIDEST. Queries and weights, and scores
// if `rough`, are rounded where training rounds them: a policy is to draw from what it is trained on.
const int64_t WIDEST = 512;

template <class T, int WIDTH>
void look_back(const T *states, const float *turns, const int64_t *positions,
               const int64_t *lengths, int64_t start, int64_t column, int64_t rows, int64_t heads,
               int64_t key_heads, int64_t any_width, int64_t room, bool rough, T *keys, T *values,
               T *mixed, int threads) {
  const int64_t width = WIDTH ? WIDTH : any_width;
  const int64_t wide = (heads + 2 * key_heads) * width, shared = heads / key_heads;
  share(rows * key_heads, (column + 1) * width, threads, [=](int64_t from, int64_t to) {
    float *work = static_cast<float *>(std::malloc(sizeof(float) * size_t(column + 1)));
    float query[WIDTH ? WIDTH : WIDEST], sums[4][WIDTH ? WIDTH : WIDEST];
    for (int64_t one = from; one < to; one++) {
      const int64_t row = one / key_heads, head = one % key_heads, length = lengths[row];
      const float *t = turns + positions[row] * width;
      const T *given = states + row * wide;
      const T *key = given + (heads + head) * width;
      const T *value = given + (heads + key_heads + head) * width;
      T *__restrict k = keys + one * room * width;
      T *__restrict v = values + one * room * width;
      for (int64_t i = 0; i < width; i += 2) {
        const float a = up(key[i]), b = up(key[i + 1]);
        put(k[column * width + i], a * t[i] - b * t[i + 1]);
        put(k[column * width + i + 1], a * t[i + 1] + b * t[i]);
      }
      for (int64_t i = 0; i < width; i++) v[column * width + i] = value[i];
      for (int64_t asking = head * shared; asking < (head + 1) * shared; asking++) {
        const T *asked = given + asking * width;
        for (int64_t i = 0; i < width; i += 2) {
          const float a = up(asked[i]), b = up(asked[i + 1]);
          query[i] = rounded<T>(a * t[i] - b * t[i + 1]);
          query[i + 1] = rounded<T>(a * t[i + 1] + b * t[i]);
        }
        float total = 0;
        for (int64_t c = 0; c <= column; c++) {
          const T *seen = k + c * width;
          float score = 0;
          for (int64_t i = 0; i < width; i++) score += query[i] * up(seen[i]);
          work[c] = rough ? rounded<T>(score) : score;
        }
        for (int64_t c = length; c < start; c++) work[c] = -1e30f;
        const float most = largest(column + 1, [=](int64_t c) { return work[c]; });
        for (int64_t c = 0; c <= column; c++) {
          work[c] = exponential(work[c] - most);
          total += work[c];
        }
        const float share_of = 1.f / total;
        for (int64_t c = 0; c <= column; c++) work[c] = rounded<T>(work[c] * share_of);
        // Four sums at a time: one would wait for itself at every column.
        for (int64_t u = 0; u < 4; u++)
          for (int64_t i = 0; i < width; i++) sums[u][i] = 0;
        int64_t c = 0;
        for (; c + 4 <= column + 1; c += 4)
          for (int64_t u = 0; u < 4; u++)
            for (int64_t i = 0; i < width; i++)
              sums[u][i] += work[c + u] * up(v[(c + u) * width + i]);
        for (; c <= column; c++)
          for (int64_t i = 0; i < width; i++) sums[0][i] += work[c] * up(v[c * width + i]);
        T *into = mixed + (row * heads + asking) * width;
        for (int64_t i = 0; i < width; i++)
          put(into[i], sums[0][i] + sums[1][i] + sums[2][i] + sums[3][i]);
      }
    }
    std::free(work);
  });
}

template <class T, class... Rest> void look_back_by_width(int64_t width, Rest... rest) {
  if (width == 16) return look_back<T, 16>(rest...);
  if (width == 32) return look_back<T, 32>(rest...);
  if (width == 64) return look_back<T, 64>(rest...);
  if (width == 128) return look_back<T, 128>(rest...);
  look_back<T, 0>(rest...);
}

}  // namespace

// `half` says that the numbers called void are bfloat16; else they are float32.
#define EITHER(call_half, call_single) \
  if (half) {                          \
    call_half;                         \
  } else {                             \
    call_single;                       \
  }

#if defined(_WIN32)
#define PUBLIC extern "C" __declspec(dllexport)
#else
#define PUBLIC extern "C" __attribute__((visibility("default")))
#endif

PUBLIC void assent_threads(Team team, int (*number)(), int (*size)()) {
  run_team = team;
  thread_number = number;
  team_size = size;
}

PUBLIC void assent_norm(int half, const float *stream, int64_t count, int64_t wide, float eps,
                        void *normed, float *scales, int threads) {
  EITHER(norm(stream, count, wide, eps, static_cast<bf16 *>(normed), scales, threads),
         norm(stream, count, wide, eps, static_cast<float *>(normed), scales, threads))
}

PUBLIC void assent_norm_backward(int half, int normed_half, const void *gradient,
                                 const void *second, const void *normed, const float *scales,
                                 const float *before, int64_t count, int64_t wide, float *into,
                                 int threads) {
  using B = const bf16 *;
  using F = const float *;
  if (half && normed_half)
    norm_backward(B(gradient), B(second), B(normed), scales, before, count, wide, into, threads);
  else if (half)
    norm_backward(B(gradient), B(second), F(normed), scales, before, count, wide, into, threads);
  else if (normed_half)
    norm_backward(F(gradient), F(second), B(normed), scales, before, count, wide, into, threads);
  else
    norm_backward(F(gradient), F(second), F(normed), scales, before, count, wide, into, threads);
}

PUBLIC void assent_by_head(int half, const void *states, int64_t stride, int64_t start,
                           int64_t rows, int64_t wide, const int64_t *before, int64_t back,
                           int64_t heads, int64_t key_heads, int64_t width, void *into,
                           int threads) {
  const Rows block{start, rows, wide, back, before};
  EITHER(by_head(static_cast<const bf16 *>(states), stride, block, heads, key_heads, width,
                 static_cast<bf16 *>(into), threads),
         by_head(static_cast<const float *>(states), stride, block, heads, key_heads, width,
                 static_cast<float *>(into), threads))
}

PUBLIC void assent_by_row(int half, int into_half, const void *states, int64_t start, int64_t rows,
                          int64_t wide, const int64_t *before, int64_t back, int64_t heads,
                          int64_t key_heads, int64_t width, void *into, int64_t stride,
                          int threads) {
  using B = const bf16 *;
  using F = const float *;
  const Rows block{start, rows, wide, back, before};
  bf16 *b = static_cast<bf16 *>(into);
  float *f = static_cast<float *>(into);
  if (half && into_half)
    by_row(B(states), block, heads, key_heads, width, b, stride, threads);
  else if (half)
    by_row(B(states), block, heads, key_heads, width, f, stride, threads);
  else if (into_half)
    by_row(F(states), block, heads, key_heads, width, b, stride, threads);
  else
    by_row(F(states), block, heads, key_heads, width, f, stride, threads);
}

PUBLIC void assent_turn(int half, void *states, int64_t count, int64_t stride, int64_t wide,
                        int64_t width, const float *turns, float direction, int threads) {
  EITHER(turn(static_cast<bf16 *>(states), count, stride, wide, width, turns, direction, threads),
         turn(static_cast<float *>(states), count, stride, wide, width, turns, direction, threads))
}

PUBLIC void assent_gated(int half, const void *gate_up, int64_t count, int64_t wide,
                         void *activated, int threads) {
  EITHER(gated(static_cast<const bf16 *>(gate_up), count, wide, static_cast<bf16 *>(activated),
               threads),
         gated(static_cast<const float *>(gate_up), count, wide, static_cast<float *>(activated),
               threads))
}

PUBLIC void assent_gated_backward(int half, const void *through, const void *gate_up,
                                  int64_t count, int64_t wide, void *of_gate_up, int threads) {
  using B = const bf16 *;
  using F = const float *;
  EITHER(gated_backward(B(through), B(gate_up), count, wide, static_cast<bf16 *>(of_gate_up),
                        threads),
         gated_backward(F(through), F(gate_up), count, wide, static_cast<float *>(of_gate_up),
                        threads))
}

PUBLIC void assent_softmax(int half, void *scores, const uint8_t *visible, int64_t rows,
                           int64_t heads, int64_t queries, int64_t keys, int threads) {
  EITHER(softmax(static_cast<bf16 *>(scores), visible, rows, heads, queries, keys, threads),
         softmax(static_cast<float *>(scores), visible, rows, heads, queries, keys, threads))
}

PUBLIC void assent_softmax_backward(int half, void *flow, const void *weights, int64_t lines,
                                    int64_t keys, int threads) {
  EITHER(softmax_backward(static_cast<bf16 *>(flow), static_cast<const bf16 *>(weights), lines,
                          keys, threads),
         softmax_backward(static_cast<float *>(flow), static_cast<const float *>(weights), lines,
                          keys, threads))
}

PUBLIC void assent_token_logprobs(int half, const void *logits, const int64_t *tokens,
                                  int64_t count, int64_t vocabulary, float temperature,
                                  float *sums, float *picked, int threads) {
  EITHER(token_logprobs(static_cast<const bf16 *>(logits), tokens, count, vocabulary, temperature,
                        sums, picked, threads),
         token_logprobs(static_cast<const float *>(logits), tokens, count, vocabulary, temperature,
                        sums, picked, threads))
}

PUBLIC void assent_token_logprobs_backward(int half, const void *logits, const int64_t *tokens,
                                           const float *gradient, const float *sums, int64_t count,
                                           int64_t vocabulary, float temperature, void *of_logits,
                                           int threads) {
  EITHER(token_logprobs_backward(static_cast<const bf16 *>(logits), tokens, gradient, sums, count,
                                 vocabulary, temperature, static_cast<bf16 *>(of_logits), threads),
         token_logprobs_backward(static_cast<const float *>(logits), tokens, gradient, sums, count,
                                 vocabulary, temperature, static_cast<float *>(of_logits), threads))
}

PUBLIC void assent_thin_product(int half, const void *states, int64_t count, int64_t wide,
                                const void *weights, int64_t out, void *into, int threads) {
  EITHER(thin_product(static_cast<const bf16 *>(states), count, wide,
                      static_cast<const bf16 *>(weights), out, static_cast<bf16 *>(into), threads),
         thin_product(static_cast<const float *>(states), count, wide,
                      static_cast<const float *>(weights), out, static_cast<float *>(into),
                      threads))
}

PUBLIC void assent_draw(int half, const void *logits, const double *uniforms, int64_t count,
                        int64_t vocabulary, float temperature, int64_t *tokens, float *logprobs,
                        int threads) {
  EITHER(draw(static_cast<const bf16 *>(logits), uniforms, count, vocabulary, temperature, tokens,
              logprobs, threads),
         draw(static_cast<const float *>(logits), uniforms, count, vocabulary, temperature, tokens,
              logprobs, threads))
}

PUBLIC void assent_look_back(int half, const void *states, const float *turns,
                             const int64_t *positions, const int64_t *lengths, int64_t start,
                             int64_t column, int64_t rows, int64_t heads, int64_t key_heads,
                             int64_t width, int64_t room, int rough, void *keys, void *values,
                             void *mixed, int threads) {
  EITHER(look_back_by_width<bf16>(width, static_cast<const bf16 *>(states), turns, positions,
                                  lengths, start, column, rows, heads, key_heads, width, room,
                                  rough != 0, static_cast<bf16 *>(keys), static_cast<bf16 *>(values),
                                  static_cast<bf16 *>(mixed), threads),
         look_back_by_width<float>(width, static_cast<const float *>(states), turns, positions,
                                   lengths, start, column, rows, heads, key_heads, width, room,
                                   rough != 0, static_cast<float *>(keys), static_cast<float *>(values),
                                   static_cast<float *>(mixed), threads))
}

// Whether attention is compiled for numbers of a kind.
PUBLIC int assent_attends(int half) {
#if defined(HALF_ATTENDS)
  if (half) return 1;
#endif
  return !half;
}

// From the arguments of the two functions that follow.
#define SIGHT(T)                                                                               \
  {                                                                                            \
    static_cast<const T *>(query), query_stride, static_cast<const T *>(key),                  \
        static_cast<const T *>(value), seen_stride, block, queries, numbers, real, visible,    \
        heads, key_heads, width                                                                \
  }

PUBLIC void assent_attend(int half, const void *query, int64_t query_stride, const void *key,
                          const void *value, int64_t seen_stride, int64_t start, int64_t rows,
                          int64_t wide, const int64_t *before, int64_t back, int64_t queries,
                          const int64_t *numbers, const uint8_t *real, const uint8_t *visible,
                          int64_t heads, int64_t key_heads, int64_t width, void *weights,
                          void *mixed, int threads) {
  const Rows block{start, rows, wide, back, before};
#if defined(HALF_ATTENDS)
  if (half) {
    const Sight<bf16> sight = SIGHT(bf16);
    attend<Half>(sight, static_cast<bf16 *>(weights), static_cast<bf16 *>(mixed), threads);
  }
#endif
  if (!half) {
    const Sight<float> sight = SIGHT(float);
    attend<Single>(sight, static_cast<float *>(weights), static_cast<float *>(mixed), threads);
  }
}

PUBLIC void assent_attend_backward(int half, const void *query, int64_t query_stride,
                                   const void *key, const void *value, int64_t seen_stride,
                                   int64_t start, int64_t rows, int64_t wide,
                                   const int64_t *before, int64_t back, int64_t queries,
                                   const int64_t *numbers, const uint8_t *real,
                                   const uint8_t *visible, int64_t heads, int64_t key_heads,
                                   int64_t width, const void *weights, const void *flow,
                                   void *of_query, void *of_key, void *of_value,
                                   int64_t of_stride, int of_half, int apart, int threads) {
  const Rows block{start, rows, wide, back, before};
  const Gradients of_keys{of_key, of_stride, !of_half, apart != 0};
  const Gradients of_values{of_value, of_stride, !of_half, apart != 0};
#if defined(HALF_ATTENDS)
  if (half) {
    const Sight<bf16> sight = SIGHT(bf16);
    attend_backward<Half>(sight, static_cast<const bf16 *>(weights),
                          static_cast<const bf16 *>(flow), static_cast<bf16 *>(of_query), of_keys,
                          of_values, threads);
  }
#endif
  if (!half) {
    const Sight<float> sight = SIGHT(float);
    attend_backward<Single>(sight, static_cast<const float *>(weights),
                            static_cast<const float *>(flow), static_cast<float *>(of_query),
                            of_keys, of_values, threads);
  }
}
