/* Short specs, "lora:r=8,alpha=16": each key of a method becomes a key of its configuration. */
#ifndef ESPL_SPEC_H
#define ESPL_SPEC_H

#include "host/model/adapter.h"

typedef enum espl_spec_kind {
    ESPL_SPEC_WHOLE,  /* a whole number, written 16 and not 16.0 as PEFT does */
    ESPL_SPEC_NUMBER,
    ESPL_SPEC_BOOL,   /* key alone, or =true, =false */
    ESPL_SPEC_TEXT,
    ESPL_SPEC_LIST,   /* a+b+c */
    ESPL_SPEC_NUMBERS, /* 0+1+2: a list of whole numbers */
    ESPL_SPEC_SCALING, /* a number, or text */
    ESPL_SPEC_MODULES /* a list, or all-linear */
} espl_spec_kind;

typedef struct espl_spec_row {
    const char *spec_key, *key;
    espl_spec_kind kind;
} espl_spec_row;

/* For espl_method.set. Fails: ARGUMENT naming the keys there are, or the value that does not fit. */
espl_status espl_spec_set(espl_adapter *adapter, const espl_spec_row *rows, size_t count, const char *key,
                          const char *value);
/* Whether one of these rows has the spec's key. */
bool espl_spec_has(const espl_spec_row *rows, size_t count, const char *key);
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
