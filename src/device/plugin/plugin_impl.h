/* What a plug-in's device holds; shared by the files of device/plugin only. SPDX-License-Identifier: MIT */
#ifndef LEVER_DEVICE_PLUGIN_PLUGIN_IMPL_H
#define LEVER_DEVICE_PLUGIN_PLUGIN_IMPL_H

#include "device/device.h"
#include "lever/device_plugin.h"

enum { LV_PLUGIN_BY_32, LV_PLUGIN_BY_256, LV_PLUGIN_PACKINGS };

/* Where the rows of one job lie, packed and padded with zeros. */
typedef struct lv_plugin_rows {
    int8_t *q;
    float *d;
    int32_t *sums;
} lv_plugin_rows;

/* A part of a job: as many rows as the plug-in takes at once. */
typedef struct lv_plugin_part {
    lever_plugin_job job;
    lever_plugin_product products[LV_DEVICE_PRODUCTS];
} lv_plugin_part;

/* One job. [rows] is parts * rows of a part at most. */
typedef struct lv_plugin_slot {
    lv_plugin_rows packed[LV_PLUGIN_PACKINGS]; /* NULLs: no type needs it */
    float *x;                                  /* [rows][max_k]; NULL: never asked for */
    float *y; /* [rows of the last part][max_out]: results of a part with rows of zeros; NULL: never */
    lv_plugin_part *parts; /* [most_parts] */
    unsigned n_started;    /* parts under way */
    size_t n_rows, n_last; /* of the job, and true ones of its last part */
    unsigned n_products;
    lv_device_product products[LV_DEVICE_PRODUCTS];
} lv_plugin_slot;

typedef struct lv_plugin_device {
    lv_device base;
    const lever_plugin *table;   /* of the library, which stays loaded */
    lever_plugin_device *device; /* NULL: not open */
    bool flushes, floats, lost;  /* floats: rows as floats for every job */
    size_t part_rows;            /* most rows of a part */
    unsigned most_parts;         /* of a job */
    lv_plugin_slot slots[LV_DEVICE_JOBS_MOST];
} lv_plugin_device;

typedef struct lv_plugin_memory {
    lv_device_memory base;
    lever_plugin_memory *memory;
} lv_plugin_memory;

/* plugin.c: the error of a call that returned `result` and wrote `why` [LEVER_PLUGIN_WHY_BYTES]. */
int lv_plugin_fail(lv_plugin_device *d, int result, const char *what, char *why, lever_error *err);

/* plugin_job.c: entries of the table, and the buffers they use. LEVER_OK or LEVER_ENOMEM. */
int lv_plugin_slots_open(lv_plugin_device *d, lever_error *err);
void lv_plugin_slots_close(lv_plugin_device *d); /* half opened ones too */
int lv_plugin_submit(lv_device *d, unsigned slot, const lv_device_job *job, lever_error *err);
int lv_plugin_wait(lv_device *d, unsigned slot, lever_error *err);

#endif
