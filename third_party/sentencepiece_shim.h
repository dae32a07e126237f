/* SentencePiece behind a C interface. No exception leaves it; failures are a message of the library. */
#ifndef ESPL_SENTENCEPIECE_SHIM_H
#define ESPL_SENTENCEPIECE_SHIM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct espl_spm espl_spm;

enum espl_spm_kind { ESPL_SPM_NORMAL, ESPL_SPM_UNKNOWN, ESPL_SPM_CONTROL, ESPL_SPM_BYTE };

/* NULL on failure, with the reason in message. */
espl_spm *espl_spm_create(const void *model, size_t bytes, char *message, size_t message_bytes);
void espl_spm_destroy(espl_spm *spm);

int espl_spm_size(const espl_spm *spm);
/* Borrowed, ends with a zero byte. */
const char *espl_spm_piece(const espl_spm *spm, int id, size_t *out_bytes, enum espl_spm_kind *out_kind);
/* -1 if there is none. */
int espl_spm_bos(const espl_spm *spm);
int espl_spm_eos(const espl_spm *spm);
int espl_spm_unk(const espl_spm *spm);
int espl_spm_pad(const espl_spm *spm);

/* Calls back once with all ids; returns 0, the value of the callback, or -1 with the reason in message. */
int espl_spm_encode(const espl_spm *spm, const char *text, size_t bytes,
                    int (*take)(void *user, const int *ids, size_t count), void *user, char *message,
                    size_t message_bytes);

#ifdef __cplusplus
}
#endif
#endif
