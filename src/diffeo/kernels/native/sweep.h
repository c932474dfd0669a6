// One way through memory for all maps. Events are seen as (M, N) entries; lanes run over the rows
// of the batch, or over N where rows are few and entries many. Every row's log-det is summed by one
// thread in one order: the same bits for any number of threads.
#pragma once

#include "map.h"

namespace diffeo {

// Strides of a tensor over (batch, m, n), and over the parameters of an entry.
struct Strides {
  int64_t b, m, n, p;
};

struct Event {
  int64_t rows, m, n;
  bool lanes_on_rows;
};

// A tensor's memory as the sweep walks it.
template <class T> struct Walk {
  T* data;
  Strides s;
};

// y (`to`) and the log-det of each entry, or summed over each row.
template <class T>
void sweep_values(const Map<T>& map, const Event& event, Walk<T> x, Walk<T> params, Walk<T> to,
                  Walk<T> logdet, bool by_row);

// The gradients by x (`to`) and by the parameters (`back`), from those by y and log-det.
template <class T>
void sweep_vjps(const Map<T>& map, const Event& event, Walk<T> x, Walk<T> params, Walk<T> grad_y,
                Walk<T> grad_logdet, Walk<T> to, Walk<T> back, bool by_row);

}  // namespace diffeo
