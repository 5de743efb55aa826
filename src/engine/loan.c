/* Memory that is planned for the caches of texts, and lent to weights of the target for as long as no text needs it
 * (docs/memory.md). SPDX-License-Identifier: MIT */
#include "engine/engine.h"

enum { SOON = 64, FIRST = 128 }; /* slots: that an answer will fill soon; of a session that has no text yet */

static uint64_t left(const lv_loan *p) { return p->bytes > p->used ? p->bytes - p->used : 0; }

static void take(void *user, uint64_t bytes)
{
    lever_engine *e = user;
    e->loan.used += bytes;
    if (lv_model_lent_bytes(e->target) > left(&e->loan)) lv_model_lend(e->target, left(&e->loan));
}

static void give(void *user, uint64_t bytes)
{
    lever_engine *e = user;
    e->loan.used -= bytes;
}

int lv_loan_open(lever_engine *e, lever_error *err)
{
    lv_loan *p = &e->loan;
    if (p->open || !p->bytes) return LEVER_OK;
    LEVER_TRY(lv_model_lend_open(e->target, p->bytes, e->residency, err));
    p->room = (lv_kv_room){ .take = take, .give = give, .user = e };
    p->open = lv_model_lends(e->target);
    return LEVER_OK;
}

const lv_kv_room *lv_loan_room(const lever_engine *e) { return e->loan.open ? &e->loan.room : NULL; }

static uint64_t soon_of(const lv_kv *kv, uint32_t n_slots)
{
    if (!kv->room || n_slots <= kv->n_backed) return 0;
    return lv_kv_backed_bytes(kv, n_slots) - lv_kv_backed_bytes(kv, kv->n_backed);
}

void lv_loan_update(lever_engine *e)
{
    lv_loan *p = &e->loan;
    uint64_t soon = 0;
    if (!p->open) return;
    for (uint32_t i = 0; i < LV_SESSIONS_MOST; i++) {
        const lever_session *s = e->sessions[i];
        if (!s || !(s->run.running || s->n_tokens == 0)) continue;
        const uint32_t n = s->n_tokens ? s->n_tokens + SOON : FIRST;
        soon += soon_of(&s->kv, n) + (e->draft ? soon_of(&s->draft_kv, n) : 0);
    }
    lv_model_lend(e->target, left(p) > soon ? left(p) - soon : 0);
}
