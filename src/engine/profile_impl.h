/* What the files of lever_profile share. SPDX-License-Identifier: MIT */
#ifndef LEVER_ENGINE_PROFILE_IMPL_H
#define LEVER_ENGINE_PROFILE_IMPL_H

#include "base/mem.h"
#include "device/cpu/cpu.h"
#include "device/device.h"
#include "lever/profile.h"

enum {
    LV_PROFILE_K = 4096,     /* length of matrix rows: that of an 8B model */
    LV_PROFILE_OUT = 1024,   /* rows of a matrix, at most */
    LV_PROFILE_SLICE = 4096, /* of a slice of streamed weights, which meets few rows */
    LV_PROFILE_ROWS = 128,   /* of a batch: the last of lever_machine_rows */
    LV_PROFILE_CTX = 512,    /* attention */
    LV_PROFILE_HEAD = 128,
    LV_PROFILE_ROUNDS = 24,
    LV_PROFILE_PATTERN = 1 << 20,
    LV_PROFILE_WEIGHTS_LEAST = 16 << 20,
    LV_PROFILE_POINTS = LEVER_MACHINE_TYPES * (LEVER_MACHINE_ROWS + 1)
};

typedef struct lv_profile lv_profile;

/* One thing that is timed. */
typedef struct lv_point {
    /* Do it n times; before each sample, nullable. LEVER_OK or LEVER_E*. */
    int    (*run)(lv_profile *p, struct lv_point *point, size_t n, lever_error *err);
    int    (*prepare)(lv_profile *p, struct lv_point *point, lever_error *err);
    double  *out;            /* seconds of one, times `scale` */
    double   scale;
    double   less;           /* seconds of one that belong to something else */
    uint32_t type, rows, n_out; /* for run */
    uint64_t passed_ns;      /* set by run where it times itself, else by the caller */
    /* private */
    size_t   n;
    uint32_t n_samples;
    double   samples[LV_PROFILE_ROUNDS];
} lv_point;

struct lv_profile {
    const lever_profile_params *params;
    lever_machine *m;
    lv_cpu   *cpu;
    lv_device *device;       /* NULL: only the CPU, or closed again */
    bool      on_device;     /* there was one: models run there too */
    uint8_t  *weights;       /* [weights_bytes], more than the caches hold; made anew for each type */
    size_t    weights_bytes, weights_at; /* where the next product begins */
    int       weights_type;  /* of which they are now; -1: none */
    uint8_t  *pattern;       /* [LV_PROFILE_PATTERN] weights of a type, to be repeated */
    float    *x, *y;         /* [LV_PROFILE_ROWS][LV_PROFILE_K], and the same of results */
    uint32_t  types[LEVER_MACHINE_TYPES], n_types;
    const char *what;        /* for on_progress */
    uint32_t  done, total;   /* thousandths of the whole */
    uint32_t  step_from, step_to; /* those of this step */
    uint64_t  asked_ns, got_ns; /* of processor time, by products */
    lever_machine_flash *flash;       /* of the place that was measured now; NULL: none */
    void     *step;          /* of the step under way: its own */
    lv_point  points[LV_PROFILE_POINTS]; /* of the step under way */
};

/* Time points [n] in `seconds`: each is tried until a sample is long enough to be timed, then sampled in
 * several rounds over all of them, so that a disturbance of a second spoils one sample of each rather than all
 * of one. Samples are shorter than the turns a busy system gives its programs, and the lower eighth of them
 * counts: other programs only add time, but a minimum believes a clock that was boosted for a moment.
 * LEVER_OK; LEVER_ECANCEL; what run returned. */
int lv_points_measure(lv_profile *p, lv_point *points, size_t n, double seconds, lever_error *err);
/* The value that an eighth of s [n], n >= 1, are below; sorts them. */
double lv_lower_eighth(double *s, uint32_t n);
/* The median of s [n], which it sorts. */
double lv_middle(double *s, uint32_t n);
/* Tell about a step: share 0..1 of it is done. LEVER_OK; LEVER_ECANCEL. */
int lv_profile_progress(lv_profile *p, double share, lever_error *err);

/* Weights of a type, with finite scales, all over p->weights. LEVER_OK. */
int lv_profile_fill(lv_profile *p, uint32_t type);

/* engine/profile_products.c, profile_rest.c, profile_flash.c, profile_models.c: parts of p->m. */
int lv_profile_products(lv_profile *p, double seconds, lever_error *err);
int lv_profile_device(lv_profile *p, double seconds, lever_error *err);
int lv_profile_rest(lv_profile *p, double seconds, lever_error *err);
int lv_profile_flash(lv_profile *p, double seconds, lever_error *err);
/* How reads and products disturb each other; due after the two of them. */
int lv_profile_beside(lv_profile *p, double seconds, lever_error *err);
/* Into how many windows, and how long ones, the time for that is cut: in shorter ones than a few times what is
 * in flight takes, reads are begun and none arrives. It may take longer than `seconds`, by up to 2 s. */
uint32_t lv_profile_windows(double seconds, double flight_s, double *window_s);
int lv_profile_models(lv_profile *p, double seconds, lever_error *err);
/* engine/profile_stream.c: the stream_factor of the model that `like` names, which was measured before, and the
 * `beside` of its flash; LEVER_OK or what an engine returns. */
int lv_profile_stream(lv_profile *p, const lever_config *like, double seconds, lever_error *err);
/* What some time of streamed sweeps came to: the middle of its slices, as disks of shared machines pause for a
 * second. */
typedef struct lv_streamed {
    double bytes_s;   /* read */
    double wait_part; /* of the time, products waited for reads */
    double slower;    /* products took as many times as long as predicted without reads; 0: not known */
} lv_streamed;
/* Correct b by sweeps of many rows; `alone`: bytes_s of sweeps of one row. Those wait for reads all the time,
 * which have one speed then: the speed of the stream. Beside products of many rows they may lose some. Products by
 * themselves (profile_flash.c) say less: here reads go into the ring, and threads wait for each other. */
void lv_profile_conclude_beside(lever_machine_beside *b, const lv_streamed *s, double alone);
/* What predictions of the same are to be multiplied with, as far as that makes sense. */
double lv_profile_factor(double measured, double predicted);

/* What a product of this type is called. */
void lv_profile_name_product(lever_machine_product *to, uint32_t type);
/* The time, as in "2026-11-21T19:00:00Z". */
void lv_profile_now(char *buf, size_t cap);

/* The entry of a device, a place, a model in *m: the one that is there, else a new one, for which the oldest
 * goes where there is no room. Devices and models are zeroed but for what they are called. */
lever_machine_device *lv_profile_device_entry(lever_machine *m, const char *kind, const char *name,
                                              const char *driver);
lever_machine_flash *lv_profile_flash_entry(lever_machine *m, const char *where);
lever_machine_model *lv_profile_model_entry(lever_machine *m, uint64_t key, const lever_machine_device *on,
                                            const char *name); /* on NULL: the CPU */

#endif
