/* libmicrohttpd, loaded when lever serve starts: linked, it and the libraries it needs would take megabytes
 * of every other command too. SPDX-License-Identifier: MIT */
#ifndef LEVER_APPS_SERVE_LIB_H
#define LEVER_APPS_SERVE_LIB_H

#ifdef LEVER_HAVE_MICROHTTPD

#include <microhttpd.h>
#include <stdbool.h>

/* What is used of the library; lib_MHD_x is its MHD_x. */
#define SERVE_LIB_FUNCTIONS(X)                                                                               \
    X(struct MHD_Daemon *, start_daemon,                                                                     \
      (unsigned, uint16_t, MHD_AcceptPolicyCallback, void *, MHD_AccessHandlerCallback, void *, ...))        \
    X(void, stop_daemon, (struct MHD_Daemon *))                                                              \
    X(MHD_socket, quiesce_daemon, (struct MHD_Daemon *))                                                     \
    X(struct MHD_Response *, create_response_from_callback,                                                  \
      (uint64_t, size_t, MHD_ContentReaderCallback, void *, MHD_ContentReaderFreeCallback))                  \
    X(struct MHD_Response *, create_response_from_buffer, (size_t, void *, enum MHD_ResponseMemoryMode))     \
    X(enum MHD_Result, add_response_header, (struct MHD_Response *, const char *, const char *))             \
    X(enum MHD_Result, queue_response, (struct MHD_Connection *, unsigned, struct MHD_Response *))           \
    X(void, destroy_response, (struct MHD_Response *))                                                       \
    X(void, suspend_connection, (struct MHD_Connection *))                                                   \
    X(void, resume_connection, (struct MHD_Connection *))                                                    \
    X(const union MHD_ConnectionInfo *, get_connection_info,                                                 \
      (struct MHD_Connection *, enum MHD_ConnectionInfoType, ...))                                           \
    X(const char *, lookup_connection_value, (struct MHD_Connection *, enum MHD_ValueKind, const char *))

#define X(type, name, arguments) extern type(*lib_MHD_##name) arguments;
SERVE_LIB_FUNCTIONS(X)
#undef X

/* false: the library is not there, or lacks a function; why is then a static text. */
bool serve_lib_load(const char **why);

#endif
#endif
