/* JSON through jansson, with the habits of this library around it: failures are sentences, duplicate keys are refused,
 * files are replaced whole. Who includes this may use the json_t functions of jansson.
 *
 * Nesting beyond 2048 levels is refused while parsing. jansson takes its memory from the C library, because its
 * allocator is one per process and may belong to the host program. Keys with a zero byte are refused. */
#ifndef ESPL_JSON_H
#define ESPL_JSON_H

#include "host/base/os.h"
#include <jansson.h>

/* Any value as the root. An integer beyond 64 bits makes every number of that file a double ("model_max_length":
 * 1000000000000000019884624838656 is common), so integers above 2^53 then lose digits; other files keep all of them.
 * Fails: IO, HOST_MEMORY; FORMAT `config.json: line 3 column 7: '}' expected near ','`. */
espl_status espl_json_load(espl_context *ctx, const char *path, json_t **out_root);
/* name stands before the message as the path does above. */
espl_status espl_json_parse(espl_context *ctx, const void *text, size_t bytes, const char *name, json_t **out_root);
/* Takes and clears; NULL is accepted. */
void espl_json_destroy(json_t **root);

/* Getters. A key that is absent or null gives the default. A wrong type or an integer out of range fails with FORMAT:
 * `"hidden_size" is a string, an integer was expected`; the caller puts the file before it:
 * espl_fail_in(ctx, status, "%s", path). Integers may be written as 8.0 but not as 8.5. object may be NULL (all
 * defaults); an object that is something else fails. Strings, objects and arrays are borrowed from object. */
espl_status espl_json_u32(espl_context *ctx, const json_t *object, const char *key, uint32_t default_value,
                          uint32_t *out_value);
espl_status espl_json_u64(espl_context *ctx, const json_t *object, const char *key, uint64_t default_value,
                          uint64_t *out_value);
espl_status espl_json_i64(espl_context *ctx, const json_t *object, const char *key, int64_t default_value,
                          int64_t *out_value);
espl_status espl_json_f64(espl_context *ctx, const json_t *object, const char *key, double default_value,
                          double *out_value);
espl_status espl_json_f32(espl_context *ctx, const json_t *object, const char *key, float default_value,
                          float *out_value);
espl_status espl_json_bool(espl_context *ctx, const json_t *object, const char *key, bool default_value,
                           bool *out_value);
espl_status espl_json_string(espl_context *ctx, const json_t *object, const char *key, const char *default_value,
                             const char **out_value);
/* NULL if absent or null. */
espl_status espl_json_object(espl_context *ctx, const json_t *object, const char *key, json_t **out_value);
espl_status espl_json_array(espl_context *ctx, const json_t *object, const char *key, json_t **out_value);
/* For keys without a default: fails with FORMAT `"hidden_size" is missing` if absent or null. */
espl_status espl_json_need(espl_context *ctx, const json_t *object, const char *key);
/* The value as a 64-bit integer where the getters would take it as one. */
bool espl_json_as_i64(const json_t *value, int64_t *out_value);
/* Text that is one number as JSON writes it, whatever the locale of the host program; false for any other, also NULL. */
bool espl_json_number(const char *text, double *out_value);
/* "a string", "an integer", ... for messages of callers. */
const char *espl_json_type_name(const json_t *value);

/* object[key] = value, taking value also on failure, so that the constructors of jansson can stand in the call:
 * espl_json_set(ctx, config, "r", json_integer(8)). A NULL value (no memory) fails with HOST_MEMORY. */
espl_status espl_json_set(espl_context *ctx, json_t *object, const char *key, json_t *value);
espl_status espl_json_push(espl_context *ctx, json_t *array, json_t *value);

/* As Python's json.dumps(value, indent=2, sort_keys=True) writes it, the style of PEFT's adapter_config.json: keys in
 * byte order, ASCII only, the shortest decimal that gives the same double. */
espl_status espl_json_print(espl_context *ctx, const json_t *root, espl_bytes *out_text);
espl_status espl_json_save(espl_context *ctx, const char *path, const json_t *root);
/* The same text beside folder/name, which takes its place with espl_os_replace_commit: for several files at once. */
espl_status espl_json_replace(espl_context *ctx, const char *folder, const char *name, const json_t *root,
                              espl_replace *out_replace);

#endif
