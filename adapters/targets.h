/* Which modules of a model an adapter's configuration selects: target_modules, exclude_modules, layers_to_transform,
 * layers_pattern, modules_to_save, and maps such as rank_pattern, all by PEFT's rules. */
#ifndef ESPL_TARGETS_H
#define ESPL_TARGETS_H

#include "host/model/adapter.h"

/* path: as espl_model_module gives it. */
espl_status espl_target_selected(espl_adapter *adapter, uint32_t block, const char *path, bool *out_selected);
/* The list (or expression) under key alone. */
espl_status espl_target_listed(espl_adapter *adapter, const char *key, const char *path, bool *out_listed);
/* The value of the first key of a map (an expression for the end of a path) that fits; unchanged if none does. */
espl_status espl_target_pattern(espl_context *ctx, const json_t *config, const char *key, const char *path,
                                double *in_out_value);
/* Where the configuration has no list under key ("target_modules", "feedforward_modules"), the one that PEFT gives the method
 * for this model type; for types that it does not know those of the family they are like.
 * Fails: ARGUMENT if the method has no default for the model. */
espl_status espl_target_default(espl_adapter *adapter, const char *key);
/* Fails: ARGUMENT naming target_modules, none of which the model has. */
espl_status espl_target_none(const espl_adapter *adapter);
/* A warning for each name in target_modules that no module of the model ends with, or one outside of the blocks too.
 * Fails: UNSUPPORTED where a name is only of maps outside of the blocks (an embedding, a head). */
espl_status espl_target_check(const espl_adapter *adapter);
/* text is name, or ends with "." name. */
bool espl_target_ends_with(const char *text, const char *name);
/* word stands in text, which is words between spaces. */
bool espl_target_word(const char *text, const char *word);
/* Declares what modules_to_save names. */
espl_status espl_target_saved(espl_adapter *adapter);

#endif
