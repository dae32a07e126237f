/* Writing what torch.load reads: one tensor alone. */
#ifndef ESPL_TORCH_WRITE_H
#define ESPL_TORCH_WRITE_H

#include "host/base/os.h"
#include "host/file/tensors.h"

/* What torch.save(tensor) wrote before PyTorch 1.6, which every version reads, also with weights_only, and which needs no archive:
 * beside path, which it takes the place of with espl_os_replace_commit. entry: F32; its name is not written.
 * *out_replace is to be finished also on failure. Fails: IO; HOST_MEMORY; whatever read returns. */
espl_status espl_torch_replace(espl_context *ctx, const char *path, const espl_tensor_entry *entry, espl_replace *out_replace);

#endif
