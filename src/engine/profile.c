/* lever_profile_flash. SPDX-License-Identifier: MIT */
#include "flash/probe.h"
#include "lever/lever.h"

_Static_assert((int)LEVER_FLASH_POINTS >= (int)LV_PROBE_POINTS, "the public list holds every point");

int lever_profile_flash(lever_flash_profile *out, const char *path, double seconds,
                        void (*progress)(void *user, uint32_t done, uint32_t total), void *user,
                        lever_error *err)
{
    const lv_probe_config c = { .path = path,
                                .progress = progress,
                                .user = user,
                                .point_ns =
                                    seconds > 0 ? (uint64_t)(seconds * 1e9 / LV_PROBE_POINTS_USUAL) : 0 };
    lv_probe probe;
    LEVER_TRY(lv_probe_run(&probe, &c, err));
    *out = (lever_flash_profile){ .n_points = probe.n_points, .best = probe.best, .direct = probe.direct };
    for (uint32_t i = 0; i < probe.n_points; i++) {
        const lv_probe_point *p = &probe.points[i];
        out->points[i] = (lever_flash_point){ .backend = p->backend,
                                              .block_bytes = p->block_bytes,
                                              .depth = p->depth,
                                              .huge_pages = p->huge_pages,
                                              .bytes_per_s = p->bytes_per_s,
                                              .cpu_share = p->cpu_share };
    }
    return LEVER_OK;
}
