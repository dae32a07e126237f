/* What every function that can fail returns. 0 is success; the message that goes with a failure is in the context
 * (espl_context_message) and went to its log callback. */
#ifndef ESPALIER_STATUS_H
#define ESPALIER_STATUS_H

#define ESPL_STATUS_LIST(X)                                                                          \
    X(OK, "success")                                                                                 \
    X(ARGUMENT, "the caller broke the contract; nothing has changed")                                \
    X(UNSUPPORTED, "this device, file or model asks for something that is not offered")              \
    X(LIMIT, "a size is beyond a limit of the device or of the format")                              \
    X(HOST_MEMORY, "the host allocator returned no memory")                                          \
    X(DEVICE_MEMORY, "the device has not enough memory")                                             \
    X(DEVICE_LOST, "the device was lost; every later call on it returns this")                       \
    X(IO, "a file could not be read or written")                                                     \
    X(FORMAT, "a file was read and is not what it says it is")                                       \
    X(STOPPED, "the caller asked to stop; everything done so far is kept")                           \
    X(INTERNAL, "a defect of this library; please report the message")

typedef enum espl_status {
#define ESPL_STATUS_ENUM(name, meaning) ESPL_##name,
    ESPL_STATUS_LIST(ESPL_STATUS_ENUM)
#undef ESPL_STATUS_ENUM
    ESPL_STATUS_COUNT
} espl_status;

#ifdef __cplusplus
extern "C" {
#endif

/* "ARGUMENT", "IO", ...; never NULL. */
const char *espl_status_name(espl_status status);
/* The meaning column of the list above; never NULL. */
const char *espl_status_meaning(espl_status status);

#ifdef __cplusplus
}
#endif
#endif
