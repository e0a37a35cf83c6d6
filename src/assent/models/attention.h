// Attention over packed rows, forward and backward, one row and key head at a time in the caches.
//
// Compiled for float32, and for bfloat16 but where the processor has tiles of it (AMX), which torch's
// own products use better. Where it has no products of bfloat16 they are those of float32, many
// times as fast as torch's there. Products are summed in float32. A row's result does not depend on
// how many threads share the rows.

#pragma once

#include "sharing.h"
#include "vectors.h"

namespace {

// Of one block, which query sees which key, and where their numbers stand.
template <class T> struct Sight {
  const T *query;
  int64_t query_stride;
  const T *key, *value;
  int64_t seen_stride;
  Rows block;
  int64_t queries;         // a row
  const int64_t *numbers;  // of the queries [row, query], where they are not all the block's slots
  const uint8_t *real;     // [row, query], with `numbers`
  const uint8_t *visible;  // [row, query, place]; without it query i sees the places up to i
  int64_t heads, key_heads, width;

  int64_t places() const { return block.back + block.width; }
  int64_t asking(int64_t row, int64_t i) const {
    return numbers ? numbers[row * queries + i] : block.start + row * block.width + i;
  }
  bool asks(int64_t row, int64_t i) const {
    return i < queries && !(real && !real[row * queries + i]);
  }
  const uint8_t *sees(int64_t row, int64_t i) const {
    return visible ? visible + (row * queries + i) * places() : nullptr;
  }
  // The place behind the last one that a query sees.
  int64_t limit(int64_t row, int64_t i) const {
    if (!asks(row, i)) return 0;
    if (!visible) return i + 1;
    const uint8_t *given = sees(row, i);
    int64_t n = places();
    for (; n >= 8; n -= 8) {
      uint64_t eight;
      std::memcpy(&eight, given + n - 8, 8);
      if (eight) break;
    }
    while (n > 0 && !given[n - 1]) n--;
    return n;
  }
};

// Where the gradients of a block's keys or values go: to its own slots, or, where rows look back and
// may share what they see, to [row * key head, place, width], to be added up afterwards.
struct Gradients {
  void *into;
  int64_t stride;
  bool single, apart;
};

const int64_t LINES = 8;  // queries or keys that go together

inline int64_t whole(int64_t count, int64_t of) { return (count + of - 1) / of * of; }

// How a kind of number is multiplied: a unit of four bytes holds PAIR numbers that are summed.
struct Single {
  using Number = float;
  using Unit = float;
  using Vector = Lanes;
  static const int64_t PAIR = 1;
  static Vector load(const Unit *from) { return load_and_hold(from); }
  static Vector splat(Unit one) { return all_lanes(one); }
  static Lanes dot(Lanes sum, Vector a, Vector b) { return times_plus(a, b, sum); }
};

#if !defined(__AMX_BF16__)
#define HALF_ATTENDS 1
struct Half {
  using Number = bf16;
  using Unit = uint32_t;
  static const int64_t PAIR = 2;
#if defined(WHOLE_VECTORS) && defined(__AVX512BF16__)
  using Vector = __m512i;
  static Vector load(const Unit *from) { return _mm512_loadu_si512(from); }
  static Vector splat(Unit one) { return _mm512_set1_epi32(int(one)); }
  static Lanes dot(Lanes sum, Vector a, Vector b) {
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
  }
#else
  struct Vector {
    Lanes low, high;
  };
  static Vector load(const Unit *from) { return {low_ones(from), high_ones(from)}; }
  static Vector splat(Unit one) {
    return {all_lanes(up(bf16{uint16_t(one)})), all_lanes(up(bf16{uint16_t(one >> 16)}))};
  }
  static Lanes dot(Lanes sum, Vector a, Vector b) {
    return times_plus(a.high, b.high, times_plus(a.low, b.low, sum));
  }
#endif
};
#endif

// c[row, :] (+)= the sum over units k of a[row, k] b[k, :], for ROWS rows and VECTORS vectors.
template <class K, int ROWS, int VECTORS>
inline void tile(const typename K::Unit *a, int64_t a_row, int64_t a_unit,
                 const typename K::Unit *b, int64_t b_unit, int64_t from, int64_t to, float *c,
                 int64_t c_row, bool add) {
  Lanes sums[ROWS][VECTORS];
  UNROLL for (int r = 0; r < ROWS; r++) UNROLL for (int v = 0; v < VECTORS; v++) sums[r][v] =
      add ? load_lanes(c + r * c_row + LANES * v) : all_lanes(0.f);
  for (int64_t k = from; k < to; k++) {
    typename K::Vector seen[VECTORS];
    UNROLL for (int v = 0; v < VECTORS; v++) seen[v] = K::load(b + k * b_unit + LANES * v);
    UNROLL for (int r = 0; r < ROWS; r++) {
      const typename K::Vector asked = K::splat(a[r * a_row + k * a_unit]);
      UNROLL for (int v = 0; v < VECTORS; v++) sums[r][v] = K::dot(sums[r][v], asked, seen[v]);
    }
  }
  UNROLL for (int r = 0; r < ROWS; r++) UNROLL for (int v = 0; v < VECTORS; v++)
      store_lanes(c + r * c_row + LANES * v, sums[r][v]);
}

// The same for LINES rows and any number of vectors.
template <class K>
inline void product(const typename K::Unit *a, int64_t a_row, int64_t a_unit,
                    const typename K::Unit *b, int64_t b_unit, int64_t from, int64_t to, float *c,
                    int64_t c_row, int64_t vectors, bool add) {
  int64_t v = 0;
  if (REGISTERS < 32) {
    const int ROWS = REGISTERS < 8 ? 2 : 4;
    for (; v < vectors; v++)
      for (int64_t r = 0; r < LINES; r += ROWS)
        tile<K, ROWS, 1>(a + r * a_row, a_row, a_unit, b + LANES * v, b_unit, from, to,
                         c + r * c_row + LANES * v, c_row, add);
    return;
  }
  for (; v + 4 <= vectors; v += 4)
    for (int64_t r = 0; r < LINES; r += 4)
      tile<K, 4, 4>(a + r * a_row, a_row, a_unit, b + LANES * v, b_unit, from, to,
                    c + r * c_row + LANES * v, c_row, add);
  b += LANES * v;
  c += LANES * v;
  if (vectors - v == 3)
    for (int64_t r = 0; r < LINES; r += 4)
      tile<K, 4, 3>(a + r * a_row, a_row, a_unit, b, b_unit, from, to, c + r * c_row, c_row, add);
  else if (vectors - v == 2)
    tile<K, 8, 2>(a, a_row, a_unit, b, b_unit, from, to, c, c_row, add);
  else if (vectors - v == 1)
    tile<K, 8, 1>(a, a_row, a_unit, b, b_unit, from, to, c, c_row, add);
}

// [row, unit] to [unit, row]; `count` rows, whole vectors of them.
inline void transpose(const void *rows, int64_t count, int64_t units, void *into) {
  const auto *from = static_cast<const char *>(rows);
  auto *to = static_cast<char *>(into);
  const int64_t blocks = units / LANES * LANES;
  for (int64_t row = 0; row < count; row += LANES)
    for (int64_t unit = 0; unit < blocks; unit += LANES)
      transpose_block(from + 4 * (row * units + unit), units, to + 4 * (unit * count + row), count);
  for (int64_t row = 0; row < count; row++)
    for (int64_t unit = blocks; unit < units; unit++)
      std::memcpy(to + 4 * (unit * count + row), from + 4 * (row * units + unit), 4);
}

// Rows [count, wide] to units [count / PAIR, room] that hold PAIR rows, zeros behind `wide`.
inline void join_rows(const float *rows, int64_t row_step, int64_t count, int64_t wide, float *into,
                      int64_t room) {
  for (int64_t row = 0; row < count; row++) {
    copy_line(rows + row * row_step, wide, into + row * room);
    for (int64_t i = wide; i < room; i++) into[row * room + i] = 0;
  }
}

inline void join_rows(const bf16 *rows, int64_t row_step, int64_t count, int64_t wide,
                      uint32_t *into, int64_t room) {
  for (int64_t row = 0; row < count; row += 2) {
    const bf16 *__restrict low = rows + row * row_step;
    const bf16 *__restrict high = low + row_step;
    uint32_t *__restrict y = into + row / 2 * room;
    for (int64_t i = 0; i < wide; i++) y[i] = uint32_t(low[i].bits) | uint32_t(high[i].bits) << 16;
    for (int64_t i = wide; i < room; i++) y[i] = 0;
  }
}

// Weights come from far away, in time for the next block of queries.
template <class T> inline void prefetch(const T *from, int64_t count) {
  const auto *at = reinterpret_cast<const char *>(from);
  for (int64_t byte = 0; byte < count * int64_t(sizeof(T)); byte += 64)
    __builtin_prefetch(at + byte, 0, 3);
}

// Memory for one thread, given back all at once. Each piece begins with where the last one stands.
class Room {
 public:
  Room() : last_(nullptr) {}
  ~Room() {
    while (last_) {
      void *before;
      std::memcpy(&before, last_, sizeof(before));
      std::free(last_);
      last_ = before;
    }
  }
  Room(const Room &) = delete;
  Room &operator=(const Room &) = delete;
  template <class T> T *take(int64_t count) {
    char *piece = static_cast<char *>(std::malloc(sizeof(T) * size_t(count) + 64));
    std::memcpy(piece, &last_, sizeof(last_));
    last_ = piece;
    return reinterpret_cast<T *>(piece + 64);
  }

 private:
  void *last_;
};

// Softmax of a line of scores up to `limit`, zeros behind it up to `room`, whole vectors.
template <class T>
inline void softmax_line(float *scores, const uint8_t *sees, int64_t limit, int64_t room, T *into) {
  if (!limit) {
    std::memset(static_cast<void *>(into), 0, sizeof(T) * size_t(room));
    return;
  }
  const Lanes nothing = all_lanes(-INFINITY);
  Lanes most = nothing;
  for (int64_t i = 0; i < room; i += LANES) {
    Lanes one = load_lanes(scores + i);
    if (sees || i + LANES > limit) {
      one = choose(sees ? true_lanes(sees + i, limit - i) : first_lanes(limit - i), one, nothing);
      store_lanes(scores + i, one);
    }
    most = larger(most, one);
  }
  most = all_lanes(largest_of(most));
  Lanes total = all_lanes(0.f);
  for (int64_t i = 0; i < room; i += LANES) {
    const Lanes one = exponentials(minus(load_lanes(scores + i), most));
    total = plus(total, one);
    store_lanes(scores + i, one);
  }
  const Lanes share_of = all_lanes(1.f / total_of(total));
  for (int64_t i = 0; i < room; i += LANES)
    store_lanes(into + i, times(load_lanes(scores + i), share_of));
}

// From the gradient of a line's weights that of its scores: weights * (flow - sum(flow * weights)).
template <class T>
inline void softmax_line_backward(const float *flow, const T *weights, int64_t room, T *into) {
  Lanes sums = all_lanes(0.f);
  for (int64_t i = 0; i < room; i += LANES)
    sums = times_plus(load_lanes(flow + i), load_lanes(weights + i), sums);
  const Lanes along = all_lanes(total_of(sums));
  for (int64_t i = 0; i < room; i += LANES)
    store_lanes(into + i,
                times(load_lanes(weights + i), minus(load_lanes(flow + i), along)));
}

// Numbers from float32, as many as there are.
template <class T> inline void put_line(const float *from, int64_t count, T *into) {
  int64_t i = 0;
  for (; i + LANES <= count; i += LANES) store_lanes(into + i, load_lanes(from + i));
  for (; i < count; i++) put(into[i], from[i]);
}

// The sizes of one block's problem.
template <class K, class T> struct Sizes {
  int64_t places, keys, queries, units, wide, shared;
  explicit Sizes(const Sight<T> &sight)
      : places(sight.places()), keys(whole(places, LANES)), queries(whole(sight.queries, LINES)),
        units(sight.width / K::PAIR), wide(whole(sight.width, LANES)),
        shared(sight.heads / sight.key_heads) {}
};

// Keys or values of a row and key head, one behind the other; zeros behind the last.
template <class T>
inline void gather_seen(const Sight<T> &sight, const T *states, int64_t row, int64_t head,
                        int64_t keys, T *into) {
  const int64_t width = sight.width, places = sight.places();
  for (int64_t place = 0; place < places; place++)
    copy_line(states + sight.block.slot(row, place) * sight.seen_stride + head * width, width,
              into + place * width);
  std::memset(static_cast<void *>(into + places * width), 0,
              sizeof(T) * size_t((keys - places) * width));
}

template <class T>
inline void gather_asking(const Sight<T> &sight, const T *states, int64_t row, int64_t head,
                          int64_t queries, T *into) {
  const int64_t width = sight.width;
  for (int64_t i = 0; i < queries; i++) {
    T *to = into + i * width;
    if (sight.asks(row, i))
      copy_line(states + sight.asking(row, i) * sight.query_stride + head * width, width, to);
    else
      std::memset(static_cast<void *>(to), 0, sizeof(T) * size_t(width));
  }
}

template <class T>
inline void write_asking(const Sight<T> &sight, const float *lines, int64_t room, int64_t first,
                         int64_t row, int64_t head, T *into) {
  for (int64_t i = 0; i < LINES; i++) {
    if (!sight.asks(row, first + i)) continue;
    put_line(lines + i * room, sight.width,
             into + sight.asking(row, first + i) * sight.query_stride + head * sight.width);
  }
}

// The limits of LINES queries; the largest, as whole vectors.
template <class T>
inline int64_t limits_of(const Sight<T> &sight, int64_t row, int64_t first, int64_t *limits) {
  int64_t most = 0;
  for (int64_t i = 0; i < LINES; i++) {
    limits[i] = sight.limit(row, first + i);
    most = limits[i] > most ? limits[i] : most;
  }
  return whole(most, LANES);
}

// Weights of LINES queries over the keys that they see, from queries as rows and keys as columns.
template <class K, class T = typename K::Number>
inline void weigh(const Sight<T> &sight, const T *asked, const typename K::Unit *keys,
                  const Sizes<K, T> &of, int64_t row, int64_t first, const int64_t *limits,
                  int64_t most, float *scores, T *weights) {
  product<K>(reinterpret_cast<const typename K::Unit *>(asked), of.units, 1, keys, of.keys, 0,
             of.units, scores, of.keys, most / LANES, false);
  for (int64_t i = 0; i < LINES; i++)
    softmax_line(scores + i * of.keys, sight.sees(row, first + i), limits[i], most,
                 weights + i * of.keys);
}

// mixed = softmax(query key^T) value. Weights [row * head, queries, keys], both rounded up, are
// written for the backward pass where there is room for them.
template <class K, class T = typename K::Number>
void attend(const Sight<T> &sight, T *weights, T *mixed, int threads) {
  using Unit = typename K::Unit;
  const Sizes<K, T> of(sight);
  const int64_t width = sight.width, PAIR = K::PAIR;
  share(sight.block.rows * sight.key_heads, of.shared * of.places * width, threads,
        [=](int64_t from, int64_t to) {
    Room room;
    T *gathered = room.take<T>(of.keys * width);
    Unit *keys = room.take<Unit>(of.units * of.keys);
    Unit *values = room.take<Unit>(of.keys / PAIR * of.wide);
    T *asked = room.take<T>(of.queries * width);
    float *scores = room.take<float>(LINES * of.keys);
    T *own_weights = room.take<T>(LINES * of.keys);
    float *lines = room.take<float>(LINES * of.wide);
    for (int64_t one = from; one < to; one++) {
      const int64_t row = one / sight.key_heads, key_head = one % sight.key_heads;
      gather_seen(sight, sight.key, row, key_head, of.keys, gathered);
      transpose(gathered, of.keys, of.units, keys);
      gather_seen(sight, sight.value, row, key_head, of.keys, gathered);
      join_rows(gathered, width, of.keys, width, values, of.wide);
      for (int64_t head = key_head * of.shared; head < (key_head + 1) * of.shared; head++) {
        gather_asking(sight, sight.query, row, head, of.queries, asked);
        for (int64_t first = 0; first < of.queries; first += LINES) {
          int64_t limits[LINES];
          const int64_t most = limits_of(sight, row, first, limits);
          T *kept = weights
                        ? weights + ((row * sight.heads + head) * of.queries + first) * of.keys
                        : own_weights;
          weigh<K>(sight, asked + first * width, keys, of, row, first, limits, most, scores, kept);
          product<K>(reinterpret_cast<const Unit *>(kept), of.keys / PAIR, 1, values, of.wide, 0,
                     most / PAIR, lines, of.wide, of.wide / LANES, false);
          write_asking(sight, lines, of.wide, first, row, head, mixed);
        }
      }
    }
  });
}

template <class T>
inline void write_seen(const Sight<T> &sight, const Gradients &to, const float *sums, int64_t room,
                       int64_t row, int64_t key_head) {
  const int64_t width = sight.width, places = sight.places();
  for (int64_t place = 0; place < places; place++) {
    const float *from = sums + place * room;
    const int64_t at =
        to.apart ? ((row * sight.key_heads + key_head) * places + place) * width
                 : sight.block.slot(row, place) * to.stride + key_head * width;
    if (to.single)
      put_line(from, width, static_cast<float *>(to.into) + at);
    else
      put_line(from, width, static_cast<T *>(to.into) + at);
  }
}

// Gradients of query, key and value, given that of `mixed`. Weights that `attend` did not keep are
// computed again.
template <class K, class T = typename K::Number>
void attend_backward(const Sight<T> &sight, const T *weights, const T *flow, T *of_query,
                     Gradients of_key, Gradients of_value, int threads) {
  using Unit = typename K::Unit;
  const Sizes<K, T> of(sight);
  const int64_t width = sight.width, PAIR = K::PAIR;
  share(sight.block.rows * sight.key_heads, of.shared * of.places * width, threads,
        [=](int64_t from, int64_t to) {
    Room room;
    T *gathered = room.take<T>(of.keys * width);
    Unit *keys = room.take<Unit>(of.keys / PAIR * of.wide);
    Unit *values = room.take<Unit>(of.units * of.keys);
    T *asked = room.take<T>(of.queries * width);
    T *flows = room.take<T>(of.queries * width);
    Unit *asked_pairs = room.take<Unit>(of.queries / PAIR * of.wide);
    Unit *flow_pairs = room.take<Unit>(of.queries / PAIR * of.wide);
    float *scores = room.take<float>(LINES * of.keys);
    T *of_scores = room.take<T>(LINES * of.keys);
    float *lines = room.take<float>(LINES * of.wide);
    Unit *weight_pairs = room.take<Unit>(of.queries / PAIR * of.keys);
    Unit *score_pairs = room.take<Unit>(of.queries / PAIR * of.keys);
    float *key_sums = room.take<float>(of.keys * of.wide);
    float *value_sums = room.take<float>(of.keys * of.wide);
    int64_t *ends = room.take<int64_t>(of.queries / LINES);
    Unit *key_columns = weights ? nullptr : room.take<Unit>(of.units * of.keys);
    T *own_weights = weights ? nullptr : room.take<T>(LINES * of.keys);
    for (int64_t one = from; one < to; one++) {
      const int64_t row = one / sight.key_heads, key_head = one % sight.key_heads;
      gather_seen(sight, sight.value, row, key_head, of.keys, gathered);
      transpose(gathered, of.keys, of.units, values);
      gather_seen(sight, sight.key, row, key_head, of.keys, gathered);
      if (!weights) transpose(gathered, of.keys, of.units, key_columns);
      join_rows(gathered, width, of.keys, width, keys, of.wide);
      std::memset(key_sums, 0, sizeof(float) * size_t(of.keys * of.wide));
      std::memset(value_sums, 0, sizeof(float) * size_t(of.keys * of.wide));
      for (int64_t head = key_head * of.shared; head < (key_head + 1) * of.shared; head++) {
        gather_asking(sight, sight.query, row, head, of.queries, asked);
        gather_asking(sight, flow, row, head, of.queries, flows);
        join_rows(asked, width, of.queries, width, asked_pairs, of.wide);
        join_rows(flows, width, of.queries, width, flow_pairs, of.wide);
        for (int64_t first = 0; first < of.queries; first += LINES) {
          int64_t limits[LINES];
          const int64_t most = ends[first / LINES] = limits_of(sight, row, first, limits);
          const T *w = own_weights;
          if (weights) {
            w = weights + ((row * sight.heads + head) * of.queries + first) * of.keys;
            prefetch(w + LINES * of.keys, LINES * of.keys);
          } else {
            weigh<K>(sight, asked + first * width, key_columns, of, row, first, limits, most,
                     scores, own_weights);
          }
          product<K>(reinterpret_cast<const Unit *>(flows + first * width), of.units, 1, values,
                     of.keys, 0, of.units, scores, of.keys, most / LANES, false);
          for (int64_t i = 0; i < LINES; i++)
            softmax_line_backward(scores + i * of.keys, w + i * of.keys, most,
                                  of_scores + i * of.keys);
          product<K>(reinterpret_cast<const Unit *>(of_scores), of.keys / PAIR, 1, keys, of.wide, 0,
                     most / PAIR, lines, of.wide, of.wide / LANES, false);
          write_asking(sight, lines, of.wide, first, row, head, of_query);
          join_rows(w, of.keys, LINES, most, weight_pairs + first / PAIR * of.keys, of.keys);
          join_rows(of_scores, of.keys, LINES, most, score_pairs + first / PAIR * of.keys, of.keys);
        }
        // Queries before the first that sees a key add nothing to its gradient.
        int64_t since = 0;
        for (int64_t key = 0; key < of.keys; key += LINES) {
          while (since < of.queries && ends[since / LINES] <= key) since += LINES;
          product<K>(score_pairs + key, 1, of.keys, asked_pairs, of.wide, since / PAIR,
                     of.queries / PAIR, key_sums + key * of.wide, of.wide, of.wide / LANES, true);
          product<K>(weight_pairs + key, 1, of.keys, flow_pairs, of.wide, since / PAIR,
                     of.queries / PAIR, value_sums + key * of.wide, of.wide, of.wide / LANES, true);
        }
      }
      write_seen(sight, of_key, key_sums, of.wide, row, key_head);
      write_seen(sight, of_value, value_sums, of.wide, row, key_head);
    }
  });
}

}  // namespace
