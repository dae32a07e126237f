/* Invertible adapters (Pfeiffer et al. 2020, MAD-X, arXiv 2005.00052, section 3.4), after NICE (Dinh et al. 2015): the hidden
 * state x = (x1, x2) becomes y1 = x1 + F(x2), y2 = x2 + G(y1) before the first block, and what the output projection of a
 * language head reads is taken back, x2 = y2 - G(y1), x1 = y1 - F(x2). Heads for tasks read it as it is. F and G are
 * W' f(W x + b) + b'. Options and files are the Adapters library's (inv_adapter). */
#ifndef ESPL_INVERTIBLE_H
#define ESPL_INVERTIBLE_H

#include "adapters/spec.h"

enum { INVERTIBLE_SITES = 1u << ESPL_SITE_EMBEDDED | 1u << ESPL_SITE_HEAD_IN };

typedef struct espl_coupling {
    uint32_t weight[2], bias[2]; /* matrices: into the bottleneck, out of it */
} espl_coupling;

typedef struct espl_invertible {
    bool on;
    uint32_t activation;
    espl_coupling f, g;
} espl_invertible;

/* Of the methods that say the sites. */
extern const espl_spec_row espl_invertible_keys[];
/* Reads inv_adapter and inv_adapter_reduction_factor, declares. Fails: UNSUPPORTED for "glow", whose inverse the library has
 * wrong, for methods that do not say the sites, and for widths that are no multiple of 8. */
espl_status espl_invertible_declare(espl_adapter *adapter, uint32_t activation, espl_invertible *invertible);
/* N(0, 0.02^2) in weights; *out_done false for entries that are not its own. */
espl_status espl_invertible_initialise(espl_adapter *adapter, const espl_entry *entry, uint64_t seed, bool *out_done);
/* At one of INVERTIBLE_SITES. */
espl_tensor *espl_invertible_join(espl_builder *builder, const espl_adapter *adapter, const espl_invertible *invertible,
                                  espl_site site, espl_tensor *x);

#endif
