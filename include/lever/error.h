/* Error codes and error detail. Codes are ABI: append, never renumber.
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_ERROR_H
#define LEVER_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define LEVER_API __attribute__((visibility("default")))
#else
#define LEVER_API
#endif

/* X(name, value, text) */
#define LEVER_ERROR_MAP(X)                                                  \
    X(INVAL, -1, "invalid argument")                                        \
    X(NOMEM, -2, "out of memory")                                           \
    X(IO, -3, "read or write failed (see lever_error.os_errno)")            \
    X(FORMAT, -4, "file is not well formed")                                \
    X(UNSUP, -5, "valid, but not supported by this build or machine")       \
    X(AGAIN, -6, "would wait; retry after progress")                        \
    X(CANCEL, -7, "canceled by the caller")                                 \
    X(LIMIT, -8, "does not fit the memory limit or the context length")

enum lever_status {
    LEVER_OK = 0,
#define X(name, value, text) LEVER_E##name = (value),
    LEVER_ERROR_MAP(X)
#undef X
};

/* Where and why; filled only on failure. Plain data: nothing to free. */
typedef struct lever_error {
    int  code;     /* one of LEVER_E*; LEVER_OK when unset                              */
    int  os_errno; /* errno of the failed system call, 0 if none                        */
    char msg[512]; /* one English text: file, offset, tensor, remedy; no final newline  */
} lever_error;

/* "LEVER_EIO" for -3 and so on; "LEVER_OK" for 0 and above. Static storage, never NULL. */
LEVER_API const char *lever_status_name(int code);
/* The text of LEVER_ERROR_MAP. Static storage, never NULL. */
LEVER_API const char *lever_status_text(int code);

#ifdef __cplusplus
}
#endif
#endif
