/* What adapter methods there are, and the tables by which PEFT-Ref (Sabry & Belz 2023, arXiv 2304.12410) compares them.
 * Nothing here needs a device. Every *out_text is freed with espl_text_free. */
#ifndef ESPALIER_METHODS_H
#define ESPALIER_METHODS_H

#include <espalier/context.h>
#include <espalier/device.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum espl_table_format { ESPL_TABLE_TEXT, ESPL_TABLE_CSV, ESPL_TABLE_MARKDOWN } espl_table_format;

/* One row per method: its name in specs, type in PEFT's files, architecture in the Adapters library's, PEFT-Ref's structural
 * properties, the places where it joins a model, and whether it can be merged; last "full", which is training without an
 * adapter. Fails: HOST_MEMORY. */
espl_status espl_methods_list(espl_context *context, espl_table_format format, char **out_text);

/* One row per key of a method's specs ("lora", "lora:r=4", "lora|pfeiffer": of its parts): its name, default, what it takes, and
 * its name in the configuration that an adapter's folder holds. "-": not said; none: null. Defaults are those for the model of
 * the folder, of which config.json and the tokenizer are read; model_folder NULL: a BERT of base size without a tokenizer.
 * Fails: ARGUMENT (an unknown method or key); IO, FORMAT, UNSUPPORTED as espl_model_load does, and where the method has nothing
 * to do in that model. */
espl_status espl_methods_keys(espl_context *context, const char *spec, const char *model_folder, espl_table_format format,
                              char **out_text);

/* PEFT-Ref's table 1: nine structural properties of seven techniques. Behind each cell stands where it is from: S the paper's
 * prose, D algebra, R recalled from the publication. Fails: HOST_MEMORY. */
espl_status espl_methods_table1(espl_context *context, espl_table_format format, char **out_text);

/* PEFT-Ref's table 2: time per token and added parameters per block, the formulas evaluated for a model beside what the
 * technique declares in it, biases apart. Of the folder config.json is read.
 * Fails: IO, FORMAT, UNSUPPORTED as espl_model_load does. */
espl_status espl_methods_table2(espl_context *context, const char *model_folder, espl_table_format format, char **out_text);

#ifdef __cplusplus
}
#endif
#endif
