/* What the files that write a transformer in operators share beside model.h and adapter.h. */
#ifndef ESPL_BUILD_H
#define ESPL_BUILD_H

#include "host/model/adapter.h"

/* An active adapter takes part at this site. */
bool espl_build_any_joins(const espl_builder *builder, espl_site site);
/* What the active adapters make of y there, as their composition says. */
espl_tensor *espl_build_joint(espl_builder *builder, const espl_joint *joint, espl_tensor *y);
/* Adds the residual of a joint behind a sub-layer, and of post-norm families its norm. */
espl_tensor *espl_build_close(espl_builder *builder, const espl_joint *joint, espl_tensor *y);
/* Of builder->head_of's head, or as adapters that have all rows have it: logits, or what the map into the vocabulary takes. */
espl_tensor *espl_build_own_output(espl_builder *builder, espl_tensor *hidden);
/* Methods that add to y may do so after the residual; others must see W x + b alone. */
bool espl_build_all_add(const espl_builder *builder);
/* Layers of phase BEGIN, of methods that compute something once for all passes of a step. */
espl_status espl_build_prepare(espl_builder *builder);

#endif
