/* Which form a chat template has. Templates are programs; they are not run here, but read for the literal
 * texts that decide what they write. What a form does not know must not be there: a template with other
 * control tokens is refused, because a talk written almost right gives bad answers that nobody can explain.
 * SPDX-License-Identifier: MIT */
#include "token/chat.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define QWEN25_SYSTEM "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."

static const char note_dates[] =
    "the template puts today's date into the system message; Lever writes 26 Jul 2024, the template's own "
    "date for callers without a clock, so that a talk does not change from day to day";
static const char note_default[] =
    "the template has a default system message with today's date in it; Lever leaves it out";

static const lv_chat_format named[] = {
    { .name = "chatml", .family = LV_CHAT_CHATML },
    { .name = "qwen2", .family = LV_CHAT_CHATML, .default_system = "You are a helpful assistant." },
    { .name = "qwen2.5", .family = LV_CHAT_CHATML, .default_system = QWEN25_SYSTEM },
    { .name = "qwen3", .family = LV_CHAT_CHATML, .drops_reasoning = true, .think_switch = true },
    { .name = "qwen3-thinking", .family = LV_CHAT_CHATML, .drops_reasoning = true, .think_open = true },
    { .name = "llama3", .family = LV_CHAT_LLAMA3, .bos = true, .trim = true },
    { .name = "llama3.1", .note = note_dates, .family = LV_CHAT_LLAMA3, .bos = true, .trim = true,
      .dated = true },
    { .name = "mistral-v1", .family = LV_CHAT_MISTRAL, .bos = true, .space_before = true, .space_after = true,
      .space_close = true, .space_answer = true },
    { .name = "mistral-v3", .family = LV_CHAT_MISTRAL, .bos = true, .trim_answer = true, .space_after = true,
      .space_answer = true, .system = LV_CHAT_SYSTEM_LAST },
    { .name = "mistral-v3-tekken", .family = LV_CHAT_MISTRAL, .bos = true, .system = LV_CHAT_SYSTEM_LAST },
    { .name = "mistral-v7", .family = LV_CHAT_MISTRAL, .bos = true, .space_after = true, .space_answer = true,
      .system = LV_CHAT_SYSTEM_BLOCK },
    { .name = "mistral-v7-tekken", .family = LV_CHAT_MISTRAL, .bos = true, .system = LV_CHAT_SYSTEM_BLOCK },
    { .name = "gemma", .family = LV_CHAT_GEMMA, .bos = true, .trim = true },
    { .name = "phi3", .family = LV_CHAT_PHI3 },
    { .name = "plain", .family = LV_CHAT_PLAIN },
};
enum { N_NAMED = sizeof named / sizeof *named };

const char *lv_chat_format_known(size_t i) { return i < N_NAMED ? named[i].name : NULL; }

const char *lv_chat_format_stop(const lv_chat_format *f)
{
    return f->family == LV_CHAT_PLAIN ? "\nUser:" : NULL;
}

int lv_chat_format_named(lv_chat_format *f, const char *name, lever_error *err)
{
    char list[256];
    size_t at = 0;
    for (size_t i = 0; i < N_NAMED; i++) {
        if (!strcmp(named[i].name, name)) {
            *f = named[i];
            return LEVER_OK;
        }
        const int n = snprintf(list + at, sizeof list - at, "%s%s", i ? ", " : "", named[i].name);
        at += (size_t)n < sizeof list - at ? (size_t)n : 0;
    }
    return lv_fail(err, LEVER_EINVAL, 0, "unknown chat template '%.40s'; known: %s", name, list);
}

/* ---- marks ---- */

/* Control tokens that a template of the family may speak of. Others mean another form. */
static const char *const chatml_marks[] = { "<|im_start|>", "<|im_end|>", "<|endoftext|>", NULL };
static const char *const llama3_marks[] = { "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
                                            "<|eom_id|>", "<|python_tag|>", "<|begin_of_text|>",
                                            "<|end_of_text|>", NULL };
static const char *const phi3_marks[] = { "<|user|>", "<|assistant|>", "<|system|>", "<|end|>",
                                          "<|endoftext|>", NULL };
static const char *const mistral_marks[] = { "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]",
                                             "[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]",
                                             "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[ARGS]", "[CALL_ID]",
                                             "[TOOL_CONTENT]", "[IMG]", NULL };
static const char *const gemma_marks[] = { "<start_of_turn>", NULL };
static const char *const no_marks[] = { NULL };

static bool in_list(const char *const *list, const char *s, size_t len)
{
    for (; *list; list++)
        if (strlen(*list) == len && !memcmp(*list, s, len)) return true;
    return false;
}

/* Length of a mark at s: <|name|>, [NAME], <start_of_turn>; 0: none stands there. */
static size_t mark_at(const char *s)
{
    enum { LONGEST = 40 };
    if (!strncmp(s, "<start_of_turn>", 15)) return 15;
    if (!strncmp(s, "<|", 2) || !strncmp(s, "<\xef\xbd\x9c", 4)) { /* DeepSeek's bar is U+FF5C */
        const bool wide = s[1] != '|';
        const char *end = strstr(s, wide ? "\xef\xbd\x9c>" : "|>");
        if (!end || end - s > LONGEST || end == s + 2 || strcspn(s, "' {}\n") < (size_t)(end - s)) return 0;
        return (size_t)(end - s) + (wide ? 4 : 2);
    }
    if (*s != '[') return 0;
    const size_t slash = s[1] == '/', n = strspn(s + 1 + slash, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_");
    return n >= 3 && n < LONGEST && s[1 + slash + n] == ']' ? n + slash + 2 : 0;
}

/* Marks of t that are not in the list, each once, separated by commas; "" = there are none. */
static void other_marks(const char *t, const char *const *list, char *out, size_t cap)
{
    size_t n = 0;
    *out = '\0';
    for (; *t; t++) {
        char mark[48];
        const size_t len = mark_at(t);
        if (len == 0 || len >= sizeof mark || in_list(list, t, len)) continue;
        memcpy(mark, t, len);
        mark[len] = '\0';
        if (strstr(out, mark) || n + len + 3 > cap) continue;
        n += (size_t)snprintf(out + n, cap - n, "%s%s", n ? ", " : "", mark);
    }
}

/* ---- families ---- */

static bool has(const char *t, const char *what) { return strstr(t, what) != NULL; }

static bool trims(const char *t)
{
    return has(t, "content'] | trim") || has(t, "content']|trim") || has(t, "content | trim") ||
           has(t, "content|trim") || has(t, "content.strip()") || has(t, "content'].strip()");
}

static void use(lv_chat_format *f, const char *name)
{
    lv_chat_format_named(f, name, NULL);
}

/* A system text that the template holds as a literal, for talks without one. */
static void find_default_system(lv_chat_format *f, const char *t)
{
    static const char open[] = "<|im_start|>system\n";
    for (const char *p = t; (p = strstr(p, open)); p++) {
        const char *text = p + strlen(open), *end = strstr(text, "<|im_end|>");
        const size_t len = end ? (size_t)(end - text) : 0;
        if (len == 0 || len >= sizeof f->default_system || strcspn(text, "'{}") < len) continue;
        memcpy(f->default_system, text, len);
        f->default_system[len] = '\0';
        return;
    }
}

/* A literal that tells the model who it is, and that was not found as the default system text: the template
 * does more than its family. "You are provided with" belongs to what it says about tools. */
static bool has_other_persona(const lv_chat_format *f, const char *t)
{
    const size_t n = strlen(f->default_system);
    for (const char *p = t; (p = strstr(p, "You are "));) {
        const bool is_default = n && !strncmp(p, f->default_system, n);
        if (!is_default && strncmp(p, "You are provided", 16)) return true;
        p += is_default ? n : 16;
    }
    return false;
}

static bool detect_chatml(lv_chat_format *f, const char *t)
{
    const bool thinks = has(t, "<think>"), open = has(t, "'<think>\n'") || has(t, "assistant\n<think>\n'");
    if (!has(t, "<|im_start|>assistant\n") || !has(t, "<|im_end|>\n") || has(t, "## Metadata")) return false;
    use(f, thinks && has(t, "enable_thinking") ? "qwen3" : thinks && open ? "qwen3-thinking" : "chatml");
    f->drops_reasoning = has(t, "split('</think>')");
    f->think_open = open;
    f->trim = trims(t);
    find_default_system(f, t);
    return !has_other_persona(f, t);
}

static bool detect_llama3(lv_chat_format *f, const char *t)
{
    if (!has(t, "<|end_header_id|>\n\n") || !has(t, "<|eot_id|>") || has(t, "unsafe content")) return false;
    use(f, has(t, "Cutting Knowledge Date: December 2023") ? "llama3.1" : "llama3");
    if (f->dated != has(t, "Cutting Knowledge Date") || f->dated != has(t, "26 Jul 2024")) return false;
    f->trim = trims(t);
    if (!has(t, "strftime_now")) f->note = NULL;
    return true;
}

static bool detect_mistral(lv_chat_format *f, const char *t)
{
    if (!has(t, "[/INST]") || has(t, "<<SYS>>")) return false;
    const bool space = has(t, "[INST] '"), block = has(t, "[SYSTEM_PROMPT]");
    use(f, block   ? space ? "mistral-v7" : "mistral-v7-tekken"
           : !space ? "mistral-v3-tekken"
           : has(t, " [/INST]'") ? "mistral-v1"
                                 : "mistral-v3");
    f->space_before = has(t, "' [INST]");
    f->space_after = space;
    f->space_close = has(t, " [/INST]'");
    f->space_answer = has(t, "' ' + message");
    f->space_end = has(t, "+ ' ' + eos_token");
    f->space_next = has(t, "eos_token + ' '");
    f->trim_answer = has(t, "|trim + eos_token");
    f->trim = !f->trim_answer && trims(t);
    f->system = block                                   ? LV_CHAT_SYSTEM_BLOCK
                : has(t, "loop.last and system_message") ? LV_CHAT_SYSTEM_LAST
                                                         : LV_CHAT_SYSTEM_FIRST;
    if (has(t, "default_system_message")) f->note = note_default;
    return true;
}

static bool detect_gemma(lv_chat_format *f, const char *t)
{
    if (!has(t, "<end_of_turn>\n") || !has(t, "<start_of_turn>model\n")) return false;
    use(f, "gemma");
    f->trim = trims(t);
    return true;
}

static bool detect_phi3(lv_chat_format *f, const char *t)
{
    if (!has(t, "<|end|>\n") || !has(t, "<|assistant|>\n")) return false;
    use(f, "phi3");
    f->trim = trims(t);
    return true;
}

static const struct {
    const char *sign; /* this text means the family */
    const char *const *marks;
    bool (*detect)(lv_chat_format *f, const char *t);
} families[] = {
    { "<|im_start|>", chatml_marks, detect_chatml }, { "<|start_header_id|>", llama3_marks, detect_llama3 },
    { "[INST]", mistral_marks, detect_mistral },     { "<start_of_turn>", gemma_marks, detect_gemma },
    { "<|end|>", phi3_marks, detect_phi3 },
};

/* ---- reading ---- */

/* The template with its ways of writing the same evened out: "\n" is a line feed, quotes are ', spaces come
 * one at a time, and literals that are added to each other are one. NULL: no memory. */
static char *even_out(lv_str s)
{
    char *t = lv_alloc(s.len + 1, 16);
    size_t n = 0;
    if (!t) return NULL;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.s[i];
        if (c == '\\' && i + 1 < s.len && s.s[i + 1] == 'n') c = '\n', i++;
        if (c == '"') c = '\'';
        if (c == '\0' || (c == ' ' && n && t[n - 1] == ' ')) continue;
        t[n++] = c;
        if (n >= 5 && !memcmp(t + n - 5, "' + '", 5)) n -= 5;
    }
    t[n] = '\0';
    return t;
}

static int refuse(const char *t, lever_error *err)
{
    char marks[160];
    other_marks(t, no_marks, marks, sizeof marks);
    if (marks[0])
        return lv_fail(err, LEVER_EUNSUP, 0,
                       "the model's chat template, with the marks %s, is of no form that is known here; "
                       "choose one with --chat-template", marks);
    return lv_fail(err, LEVER_EUNSUP, 0,
                   "the model's chat template, which begins '%.40s', is of no form that is known here; "
                   "choose one with --chat-template", t);
}

int lv_chat_format_detect(lv_chat_format *f, lv_str text, lever_error *err)
{
    if (text.len == 0)
        return lv_fail(err, LEVER_EUNSUP, 0,
                       "the model has no chat template; choose a form with --chat-template (plain is for "
                       "models without one)");
    char *t = even_out(text);
    if (!t) return lv_fail(err, LEVER_ENOMEM, 0, "chat template of %zu bytes", text.len);
    lv_chat_format found = { 0 };
    int n_found = 0;
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        char others[64];
        if (!has(t, families[i].sign)) continue;
        other_marks(t, families[i].marks, others, sizeof others);
        if (!others[0] && families[i].detect(&found, t)) n_found++;
        else n_found += 2; /* known marks in an unknown company */
    }
    int rc = LEVER_OK;
    if (n_found == 1) {
        *f = found;
        f->bos = has(t, "bos_token") || has(t, "<|begin_of_text|>");
    } else {
        rc = refuse(t, err);
    }
    lv_free(t);
    return rc;
}
