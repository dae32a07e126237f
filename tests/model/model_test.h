/* What the tests of whole models share: a device, comparing tensors of two safetensors files, and a row for small decoders. */
#ifndef ESPL_MODEL_TEST_H
#define ESPL_MODEL_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "host/file/safetensors.h"
#include <espalier/espalier.h>

/* Made by the first call; ends the program with 77 when there is no device. */
espl_device *test_device(void);
espl_context *test_context(void);
/* Fails the test with the context's message unless status is OK. */
void test_ok(espl_status status);
/* Fails unless status is expected and the message contains part. */
void test_refused(espl_status status, espl_status expected, const char *part);
/* The newest warning, "" before the first; may be cleared. */
char *test_warning(void);
int test_main(const char *name, const struct CMUnitTest *tests, size_t count);

/* Values as doubles, from malloc. *out_count may be NULL. */
double *test_values(espl_tensors *set, const char *name, size_t *out_count);
/* Norm of a - b over norm of b; 0 if both are 0. */
double test_relative(const double *a, const double *b, size_t count);

/* A model of tests/golden. params may be NULL. */
espl_model *test_model(const char *name, const espl_model_params *params);

/* What a small decoder of tests/golden is asked and taught: one row, to say the next token. */
enum { TEST_TOKENS = 9, TEST_VOCABULARY = 97 };
extern const int32_t test_ids[TEST_TOKENS];
espl_dataset *test_row(void);
/* Logits after the last token, with adapters as they are active. */
void test_logits(espl_model *model, float out[TEST_VOCABULARY]);
/* Norm of a - b over norm of b, and whether they have the same bits. */
double test_off(const float a[TEST_VOCABULARY], const float b[TEST_VOCABULARY]);
bool test_same(const float a[TEST_VOCABULARY], const float b[TEST_VOCABULARY]);

/* What is trained; end it with test_setup_end. */
typedef struct test_setup {
    espl_model *model;
    espl_adapter *adapter; /* NULL: the model itself */
    espl_dataset *dataset;
    espl_trainer *trainer;
} test_setup;
void test_setup_end(test_setup *setup);
/* All trained values, from malloc. */
float *test_trained(const test_setup *setup, size_t *out_count);
/* Every value of every tensor, in the order of the store; from malloc. */
float *test_adapter_values(espl_adapter *adapter, size_t *out_count);
/* What a LoRA adds to the weight of a target by its folder's words, alpha / r B A, from malloc. entry: its A. */
double *test_lora_change(espl_adapter *adapter, size_t entry, size_t *out_count);

/* A path in the build folder, made unique by name; from malloc. */
char *test_path(const char *name);
/* A file of one folder into another, which is made. */
void test_copy_file(const char *from_folder, const char *to_folder, const char *name);

#endif
