/* Short specs, "lora:r=8,alpha=16": each key of a method becomes a key of its configuration. */
#ifndef ESPL_SPEC_H
#define ESPL_SPEC_H

#include "host/model/adapter.h"

typedef enum espl_spec_kind {
    ESPL_SPEC_WHOLE,  /* a whole number, written 16 and not 16.0 as PEFT does */
    ESPL_SPEC_NUMBER,
    ESPL_SPEC_BOOL,   /* key alone, or =true, =false */
    ESPL_SPEC_TEXT,
    ESPL_SPEC_INIT,   /* PEFT's init_..._weights: default and random are true and false, else a text */
    ESPL_SPEC_ACTIVATION,
    ESPL_SPEC_LIST,   /* a+b+c */
    ESPL_SPEC_NUMBERS, /* 0+1+2: a list of whole numbers */
    ESPL_SPEC_REALS,   /* a number, or 0.5+0.25: a list of them */
    ESPL_SPEC_SCALING, /* a number, or text */
    ESPL_SPEC_MODULES, /* a list, or all-linear */
    ESPL_SPEC_KIND_COUNT
} espl_spec_kind;

typedef struct espl_spec_row {
    const char *spec_key, *key;
    espl_spec_kind kind;
    const char *values; /* the texts there are, ", " between; NULL: any */
} espl_spec_row;

/* One of the method's keys. Fails: ARGUMENT naming the keys there are, or the value that does not fit. */
espl_status espl_spec_set(espl_adapter *adapter, const char *key, const char *value);
/* What the key takes, in words. */
espl_status espl_spec_takes(espl_context *ctx, const espl_spec_row *row, espl_bytes *text);
/* What the configuration holds for it, as a spec would say it; "-": nothing. */
espl_status espl_spec_print(espl_context *ctx, const espl_spec_row *row, const json_t *config, espl_bytes *text);
espl_status espl_spec_list(espl_adapter *adapter, const char *key, const char *value);
espl_status espl_spec_number(espl_adapter *adapter, const char *spec_key, const char *key, const char *value, bool whole);
espl_status espl_spec_bool(espl_adapter *adapter, const char *key, const char *value);
espl_status espl_spec_text(espl_adapter *adapter, const char *spec_key, const char *key, const char *value);
/* Sets key where the configuration has none; takes value. */
espl_status espl_spec_default(espl_adapter *adapter, const char *key, json_t *value);
typedef struct espl_spec_value {
    const char *key;
    json_t *value;
} espl_spec_value;
/* The same for several; takes all values. */
espl_status espl_spec_defaults(espl_adapter *adapter, const espl_spec_value *values, size_t count);

#endif
