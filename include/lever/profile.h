/* Measuring a machine: what `lever profile` does. The numbers are those of lever/machine.h; a program that
 * keeps them gives them to later engines (lever_config.machine). SPDX-License-Identifier: MIT */
#ifndef LEVER_PROFILE_H
#define LEVER_PROFILE_H

#include "lever/lever.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The id of this machine for engines with these settings, as in lever_config: n_threads 0, cpus and isa NULL
 * are the defaults. LEVER_OK; LEVER_EINVAL: a setting. */
LEVER_API int lever_machine_identify(lever_machine_id *out, uint32_t n_threads, const char *cpus,
                                     const char *isa, lever_error *err);
/* Can numbers measured on `a` be used on `b`? */
LEVER_API bool lever_machine_same(const lever_machine_id *a, const lever_machine_id *b);
/* The first thing that differs, for people: "2 threads, not 4"; "" where nothing does. Returns buf [cap]. */
LEVER_API const char *lever_machine_differs(const lever_machine_id *measured, const lever_machine_id *now,
                                            char *buf, size_t cap);
/* Are all numbers finite, in range and within their arrays? What is read from a file must be asked for this. */
LEVER_API bool lever_machine_is_valid(const lever_machine *m);
/* Number of a type of weights in GGUF files; -1: unknown. */
LEVER_API int  lever_type_number(const char *name);

/* All strings are borrowed for the call. Zeroed but for what is wanted: the CPU alone. */
typedef struct lever_profile_params {
    const char *flash_path;   /* read this file, at least 64 MiB; NULL: flash is not measured */
    const char *flash_where;  /* what lever_machine_flash.where becomes */
    const char *model_path, *draft_path; /* nullable: their types of weights are measured, and they are run */
    bool        no_run;       /* models only name types */
    const char *device;       /* products and models on it too; as lever_config's; NULL: the CPU only */
    const char *device_cache; /* folder for compiled kernels of devices; NULL: none */
    const char *types;        /* "Q4_0,F16": weights to measure; NULL: Q4_0, Q8_0, Q4_K, Q6_K and F16 */
    uint64_t    mem_bytes;    /* for running models, as lever_config's */
    uint32_t    n_threads;    /* these three as in lever_config */
    const char *cpus, *isa;
    double      seconds;      /* for all of it, about; 0 = 45. Loading models and compiling kernels come on top */
    /* Nullable; return false to stop. */
    bool      (*on_progress)(void *user, const char *what, uint32_t done, uint32_t total);
    void       *user;
} lever_profile_params;

/* Measure, into *m. What *m knows already of this machine (zeroed: nothing) and is not measured now is kept:
 * other flash devices, devices and models; numbers of another machine are forgotten, but for reads of flash.
 * The calling thread takes part in products. LEVER_OK; LEVER_ECANCEL: on_progress said so; LEVER_EINVAL (a
 * setting; a file too small), LEVER_EIO, LEVER_EFORMAT, LEVER_EUNSUP (models, device), LEVER_ENOMEM,
 * LEVER_ELIMIT. After a failure *m is not to be used. */
LEVER_API int lever_profile(lever_machine *m, const lever_profile_params *params, lever_error *err);

#ifdef __cplusplus
}
#endif
#endif
