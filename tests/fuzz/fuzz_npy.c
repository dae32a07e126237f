/* An array of NumPy's and what is left of it. */
#include "tests/fuzz/fuzz_tensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    return fuzz_tensors(data, bytes);
}
