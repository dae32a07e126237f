/* What the variants of bottleneck adapters differ in; the names are the Adapters library's configuration keys, shortened. */
#ifndef ESPL_BOTTLENECK_H
#define ESPL_BOTTLENECK_H

#include "host/model/adapter.h"

typedef struct bottleneck_preset {
    bool attention;   /* mh_adapter: also after the attention */
    bool parallel;    /* is_parallel: reads the sub-layer's input */
    bool base_before; /* original_ln_before */
    bool base_after;  /* original_ln_after */
    bool residual_before; /* residual_before_ln */
    int reduction;
    const char *activation, *init;
    const char *scaling; /* "learned", "channel", or NULL: factor */
    double factor;
} bottleneck_preset;

espl_status espl_bottleneck_declare(espl_adapter *adapter, const bottleneck_preset *preset);

#endif
