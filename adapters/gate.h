/* One number per sequence that weighs an adapter's part: the mean over its tokens of sigmoid(w . h + c) (Mao et al. 2022, as the
 * Adapters library's use_gating; padding counts, as it does there). In a session the mean is over the tokens that come together:
 * a prompt has one, then each new token its own, as in that library's generation with a cache. */
#ifndef ESPL_GATE_H
#define ESPL_GATE_H

#include "host/model/adapter.h"

typedef struct espl_gate {
    uint32_t weight, bias; /* matrices [gates, width], [gates, 1] */
} espl_gate;

/* "module.weight", "module.bias" of so many gates, which are one map in files. */
espl_status espl_gate_declare(espl_adapter *adapter, const char *module, uint32_t width, uint32_t gates, espl_gate *gate);
/* [batch, 1], the gate that is the which-th, from h [batch * tokens, width]. */
espl_tensor *espl_gate_apply(espl_builder *builder, const espl_adapter *adapter, const espl_gate *gate, uint32_t which, espl_tensor *h);

#endif
