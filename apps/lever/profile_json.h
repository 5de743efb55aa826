/* A measured machine as JSON. Reads of flash stand apart from it (profile_file.h): they do not depend on the
 * processor. SPDX-License-Identifier: MIT */
#ifndef LEVER_APPS_PROFILE_JSON_H
#define LEVER_APPS_PROFILE_JSON_H

#include <jansson.h>

#include "lever/profile.h"

/* Everything but the reads of flashes, of which only how they go beside products. The caller's; NULL: out of
 * memory. */
json_t *machine_to_json(const lever_machine *m);
/* False: it can not be one, or not of this format; *m is then undefined. What is not in it stays zero. Flashes
 * have their place and what goes beside products. */
bool machine_from_json(lever_machine *m, const json_t *j);
/* Only the id. */
bool machine_id_from_json(lever_machine_id *id, const json_t *j);

/* Every measured way of reading; and back, where only known backends are taken. */
json_t *flash_points_to_json(const lever_flash_profile *p);
bool    flash_points_from_json(lever_flash_profile *p, const json_t *points);

#endif
