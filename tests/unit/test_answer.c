/* Answers in pieces: reasoning and answer, whatever the cuts. SPDX-License-Identifier: MIT */
#include "support/check.h"

#include "token/chat.h"

typedef struct heard {
    char text[512]; /* R(...) and A(...), in order */
    int  part;
} heard;

static void on_part(void *user, int part, const char *text, size_t len)
{
    heard *h = user;
    CHECK(len > 0);
    CHECK(((unsigned char)text[0] & 0xc0) != 0x80); /* whole characters */
    const size_t at = strlen(h->text);
    const char *name = part == LEVER_PART_REASONING ? "R(" : "A(";
    const bool turns = part != h->part;
    snprintf(h->text + at, sizeof h->text - at, "%s%s%.*s", turns && h->part >= 0 ? ")" : "",
             turns ? name : "", (int)len, text);
    h->part = part;
}

static size_t utf8_cut(const char *s, size_t n) /* at most n bytes, whole characters */
{
    while (n && ((unsigned char)s[n] & 0xc0) == 0x80) n++;
    return n;
}

/* The answer in pieces of `size` bytes; returns whether it was ended by its stop text. */
static bool hear(heard *h, const char *text, size_t size, const char *stop, bool in_reasoning)
{
    lever_answer a;
    bool go_on = true;
    lv_answer_init(&a, stop, in_reasoning);
    *h = (heard){ .part = -1 };
    for (size_t at = 0, len = strlen(text); at < len;) {
        const size_t n = utf8_cut(text + at, size < len - at ? size : len - at);
        go_on = lv_answer_push(&a, text + at, n, on_part, h);
        at += n;
    }
    lv_answer_finish(&a, on_part, h);
    CHECK(!lv_answer_push(&a, "late", 4, on_part, h));
    if (h->part >= 0) strcat(h->text, ")");
    return !go_on;
}

static void expect(const char *text, bool in_reasoning, const char *want)
{
    for (size_t size = 1; size <= 12; size++) {
        heard h;
        CHECK(!hear(&h, text, size, NULL, in_reasoning));
        CHECK_STR(h.text, want);
    }
}

static void reasoning_is_separated_whatever_the_pieces(void)
{
    expect("Hello.", false, "A(Hello.)");
    expect("<think>\nWell,\n\nI see.\n</think>\n\nHello \xc3\xa9.\n", false,
           "R(Well,\n\nI see.)A(Hello \xc3\xa9.\n)");
    expect("Well\n</think>\n\nHello.", true, "R(Well)A(Hello.)");
    expect("<think>\n\n</think>\n\nHello.", false, "A(Hello.)");
    expect("  \n<think>a</think>b", false, "R(a)A(b)");
    expect("", false, "");
    expect("<think>", false, "");
    expect("\n\n", false, "");
}

static void what_only_looks_like_a_mark_is_text(void)
{
    expect("Use <think> tags </think>.", false, "A(Use <think> tags </think>.)");
    expect("<thing>", false, "A(<thing>)");
    expect("<<think>x", false, "A(<<think>x)");
    expect("<thi", false, "A(<thi)");
    expect("<think>1 < 2 </thin </think>ok", false, "R(1 < 2 </thin )A(ok)");
    expect("<think>a<think>b</think>c</think>", false, "R(a<think>b)A(c</think>)");
    expect("<think>never ends <\xf0\x9f\x98\x80", false, "R(never ends <\xf0\x9f\x98\x80)");
}

static void a_stop_text_ends_the_answer(void)
{
    for (size_t size = 1; size <= 12; size++) {
        heard h;
        CHECK(hear(&h, " It is 4.\nUser: and 5?\nUser:", size, "\nUser:", false));
        CHECK_STR(h.text, "A(It is 4.)");
        CHECK(!hear(&h, "one\n\nUse it\nUsers", size, "\nUser:", false));
        CHECK_STR(h.text, "A(one\n\nUse it\nUsers)");
        CHECK(hear(&h, "one\n\nUser:", size, "\nUser:", false));
        CHECK_STR(h.text, "A(one\n)");
    }
}

static void long_pieces_are_handed_out_whole(void)
{
    char text[2000] = "<think>";
    while (strlen(text) < 900) strcat(text, "\xe2\x82\xac uro ");
    lever_answer a;
    heard h = { .part = -1 };
    size_t n = 0;
    lv_answer_init(&a, NULL, false);
    CHECK(lv_answer_push(&a, text, strlen(text), on_part, &h));
    CHECK(!lv_answer_is_past_reasoning(&a));
    n = strlen("R(") + 511 - 2;
    CHECK_EQ(strlen(h.text), n); /* all that the test has room for */
    CHECK(!memcmp(h.text + 2, text + 7, n - 2));
    CHECK(lv_answer_push(&a, "</think>ok", 10, on_part, &h));
    CHECK(lv_answer_is_past_reasoning(&a));
}

int main(void)
{
    RUN(reasoning_is_separated_whatever_the_pieces);
    RUN(what_only_looks_like_a_mark_is_text);
    RUN(a_stop_text_ends_the_answer);
    RUN(long_pieces_are_handed_out_whole);
    return check_done();
}
