/* Text that grows within a budget: bodies of requests, answers on their way out.
 * Threading: a text belongs to one thread at a time; the budget may be shared.
 * SPDX-License-Identifier: MIT */
#ifndef LEVER_APPS_SERVE_TEXT_H
#define LEVER_APPS_SERVE_TEXT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* Memory that requests may hold together, counted in lever_config.caller_bytes. */
typedef struct serve_budget {
    atomic_size_t used; /* relaxed: only the sum matters */
    size_t limit;
} serve_budget;

/* false: it would be more than the limit; nothing is taken. */
bool budget_take(serve_budget *b, size_t bytes);
void budget_give(serve_budget *b, size_t bytes);

/* Zero but for budget to begin. Once an addition finds no memory it sets failed, and later ones do
 * nothing. */
typedef struct serve_text {
    serve_budget *budget; /* borrowed */
    char  *p;             /* [n] owned; not NUL-ended */
    size_t n, cap;
    bool   failed;
} serve_text;

void text_fini(serve_text *t);
void text_add(serve_text *t, const char *s, size_t n);
void text_puts(serve_text *t, const char *s);
/* At most 1000 bytes are formatted. */
void text_printf(serve_text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* s as a JSON string with its quotes; what is not UTF-8 becomes U+FFFD. */
void text_json(serve_text *t, const char *s, size_t n);
/* A number as JSON has it, with six digits; null for what is not finite. */
void text_number(serve_text *t, double v);
/* Take the first n bytes away. */
void text_drop(serve_text *t, size_t n);

/* Bytes of the character at s [n], n >= 1; 0: there is no whole UTF-8 character. */
size_t utf8_char(const char *s, size_t n);

#endif
