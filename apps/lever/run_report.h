/* The closing block of `lever run`, for people and as JSON. SPDX-License-Identifier: MIT */
#ifndef LEVER_APPS_RUN_REPORT_H
#define LEVER_APPS_RUN_REPORT_H

#include "app.h"

typedef struct run_check {
    uint32_t    n_compared, n_equal; /* 0, 0: no check was made */
    lever_stats stats;               /* of plain decoding */
} run_check;

typedef struct run_report {
    lever_engine_info info;
    lever_stats stats;
    run_check   check;
    size_t      n_prompt;
    char       *text;      /* --json: prompt and new text; owned */
    size_t      text_len, text_cap;
    int32_t    *tokens;    /* --json: new tokens; owned */
    size_t      n_tokens;
} run_report;

bool run_report_add_text(run_report *r, const char *text, size_t n); /* false: out of memory */
void run_report_add_tokens(run_report *r, const lever_session *s);
void run_report_text(const run_report *r);                          /* to stderr */
bool run_report_json(const run_report *r, const lever_error *err);  /* to stdout; false: not written */
/* One answer of many, on one line of stdout: text is the answer. */
bool run_report_json_line(const run_report *r, const char *id, const char *kind, size_t turn,
                          const lever_error *err);
void run_report_fini(run_report *r);

#endif
