/* Positions of DeBERTa-v2 and v3: not in the embedding, but rows for distances that every attention sees. */
#ifndef ESPL_RELATIVE_H
#define ESPL_RELATIVE_H

#include "host/model/config.h"

/* Of families that have them. Fails: UNSUPPORTED naming the option that would change results and is not offered. */
espl_status espl_relative_read(espl_context *ctx, const json_t *json, espl_config *config);
/* The row of a distance, query minus key: its own near 0, further away shared on a logarithmic scale, at last the
 * outermost. */
uint32_t espl_relative_row(const espl_config *config, int32_t distance);

#endif
