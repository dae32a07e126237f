/* The files of a tokenizer in a folder, where they are written beside something else. */
#ifndef ESPL_TOKENIZER_FILES_H
#define ESPL_TOKENIZER_FILES_H

#include "host/base/os.h"

enum { ESPL_TOKENIZER_FILES = 12 };

/* Whether espl_tokenizer_load finds one there. */
bool espl_tokenizer_is_in(const char *folder);
/* Begins to replace to/NAME by from/NAME for each of the files that is there. All are to be finished, also on failure. */
espl_status espl_tokenizer_copy(espl_context *ctx, const char *from, const char *to, espl_replace out_files[ESPL_TOKENIZER_FILES]);
/* Removes those of `folder` that `kept` lacks, which would be of another tokenizer; kept NULL: all. */
void espl_tokenizer_remove_others(const char *folder, const char *kept);
/* The same for any one file. */
espl_status espl_file_copy(espl_context *ctx, const char *name, const char *from, const char *to, espl_replace *out_file);

#endif
