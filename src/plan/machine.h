/* Reading the numbers of a measured machine (lever/machine.h) between and beyond the points that were
 * measured. Does not: measure (engine/profile*.c), know models (plan/sweep_time.h), or read files (apps/).
 * Threading: pure. SPDX-License-Identifier: MIT */
#ifndef LEVER_PLAN_MACHINE_H
#define LEVER_PLAN_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include "lever/machine.h"

typedef lever_machine lv_machine;
typedef lever_machine_device lv_machine_device;
typedef lever_machine_flash lv_machine_flash;

/* Can numbers measured on `a` be used on `b`? Equal but for memory, where a 16th is the same. */
bool lv_machine_same(const lever_machine_id *a, const lever_machine_id *b);
/* All numbers finite, in range, counts within their arrays, texts NUL-ended: what a file must pass. */
bool lv_machine_valid(const lv_machine *m);

/* Entries by name; NULL: not measured. driver NULL: whichever. */
const lv_machine_device *lv_machine_device_find(const lv_machine *m, const char *kind, const char *name,
                                                const char *driver);
const lv_machine_flash *lv_machine_flash_find(const lv_machine *m, const char *where);
/* As it ran on a device; NULL: on the CPU. */
const lever_machine_model *lv_machine_model_find(const lv_machine *m, uint64_t key, const lv_machine_device *on);

/* y at `rows` of a curve through values at lever_machine_rows, made monotone (more rows never take less),
 * straight between its points and, beyond the last, on along its last piece. Unmeasured points (0) are left
 * out; 0: none is measured. rows >= 1. */
double lv_machine_at(const double y[LEVER_MACHINE_ROWS], double rows);

/* Seconds for `weights` weights of a GGUF type times `rows` rows, without packing and calls. A type that was
 * not measured counts as the most expensive of those that were. -1: none was. */
double lv_machine_products_s(const lv_machine_device *d, uint32_t type, double weights, double rows);
/* Is the type among those that were measured on the device? */
bool lv_machine_knows(const lv_machine_device *d, uint32_t type);
/* Seconds to prepare rows * cols values for products with this type, on one thread. */
double lv_machine_pack_s(const lv_machine_device *d, uint32_t type, double rows, double cols);

/* By the rows of the batch: how many times as long products take beside reads at full speed, and what share
 * of its speed the flash keeps. 1 where it was not measured. */
double lv_machine_products_beside(const lever_machine_beside *b, double rows);
double lv_machine_flash_beside(const lever_machine_beside *b, double rows);
/* Bytes per second of the best way to read; 0: not measured. */
double lv_machine_flash_bytes_s(const lv_machine_flash *f);
/* Bytes per second of the best way to read that a ring has room for, times what streamed sweeps of the model reach of
 * it (NULL: 1); 0: not measured. */
double lv_machine_stream_bytes_s(const lv_machine_flash *f, const lever_machine_model *m, uint64_t extent_bytes,
                                 uint64_t ring_bytes);
/* What predictions of a model's sweeps are multiplied with; NULL: 1. */
double lv_machine_factor(const lever_machine_model *m, double rows);

#endif
