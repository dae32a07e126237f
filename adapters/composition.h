/* Pieces of reading a composition: composition.c, composition_check.c. */
#ifndef ESPL_ADAPTERS_COMPOSITION_H
#define ESPL_ADAPTERS_COMPOSITION_H

#include "host/model/composition.h"

/* Whether its adapters can be active together, and each with the rows that it has. expression: for messages. Fails: ARGUMENT, UNSUPPORTED
 * naming those that cannot. */
espl_status espl_composition_check(espl_context *ctx, const char *expression, const espl_composition *root);

#endif
