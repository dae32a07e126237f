/* Drivers that claim what they do wrong: one row each, with what was seen and where. A row lowers capabilities, so the
 * kernels that do not need them run instead; espl_device_list shows which rows apply. */
#include "host/gpu/capabilities.h"
#include <string.h>

const espl_quirk espl_quirks[] = {
    {VK_DRIVER_ID_INTEL_PROPRIETARY_WINDOWS, "B70", 0, "cooperative_matrix=0",
     "the device is lost, driver 101.8826: IGCIT/Intel-GPU-Community-Issue-Tracker-IGCIT#1487"},
    {VK_DRIVER_ID_INTEL_PROPRIETARY_WINDOWS, "B60", 0, "cooperative_matrix=0",
     "the device is lost, driver 101.6870: ggml-org/llama.cpp#22034"},
    {VK_DRIVER_ID_INTEL_PROPRIETARY_WINDOWS, "140V", 0, "cooperative_matrix=0,integer_dot=0",
     "wrong results: ggml-org/llama.cpp#28648"},
    {VK_DRIVER_ID_INTEL_PROPRIETARY_WINDOWS, "A770", 0, "cooperative_matrix=0",
     "26 % of matrix shapes are slower with it, the worst 1400 times, driver 101.8826: ggml-org/llama.cpp#24404"},
    {VK_DRIVER_ID_INTEL_OPEN_SOURCE_MESA, "DG1", 0, "cooperative_matrix=0",
     "wrong results: ggml-org/llama.cpp#12690"},
    {VK_DRIVER_ID_IMAGINATION_PROPRIETARY, NULL, 0, "cooperative_matrix=0,integer_dot=0",
     "wrong results until both are off, Tensor G5: ggml-org/llama.cpp#28502"},
};
const size_t espl_quirk_count = ESPL_COUNT(espl_quirks);

bool espl_quirk_applies(const espl_quirk *quirk, const espl_device_facts *facts) {
    if (quirk->driver != facts->driver_id) return false;
    if (quirk->name_part && !strstr(facts->properties.deviceName, quirk->name_part)) return false;
    return quirk->fixed_in_version == 0 || facts->properties.driverVersion < quirk->fixed_in_version;
}
