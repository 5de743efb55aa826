/* Chat forms: recognised by excerpts that carry the marks of real templates, and compared with what the real
 * templates write (chat_forms.txt). SPDX-License-Identifier: MIT */
#include "support/check.h"

#include "token/chat.h"

/* Written for this test: what each template has that decides its form. */
static const struct { const char *name, *form, *text; } templates[] = {
    { "llama3", "llama3",
      "{{ bos_token + '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] | trim }}<|eot_id|>" },
    { "llama3.1", "llama3.1",
      "{{- bos_token }}{%- set date_string = \"26 Jul 2024\" %}"
      "{{- \"<|start_header_id|>system<|end_header_id|>\\n\\n\" }}{{- \"Cutting Knowledge Date: December 2023\\n\" }}"
      "{{ m['content'] | trim + '<|eot_id|>' }} <|python_tag|> <|eom_id|>" },
    { "chatml", "chatml", "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n<|im_start|>assistant\n" },
    { "qwen2.5", "chatml",
      "{{- '<|im_start|>system\\n' + m.content + '<|im_end|>\\n' }}{{- '<|im_start|>system\\nYou are Qwen, created "
      "by Alibaba Cloud. You are a helpful assistant.<|im_end|>\\n' }}{{- '<|im_start|>assistant\\n' }}" },
    { "smollm2", "chatml",
      "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}"
      "{{'<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n'}}{{ '<|im_start|>assistant\n' }}" },
    { "qwen3", "qwen3",
      "{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' + '\\n' }}{{ x.split('</think>')[-1] }}"
      "{{- '\\n<think>\\n' + reasoning }}{{- '<|im_start|>assistant\\n' }}"
      "{%- if enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}" },
    { "qwen3-thinking", "qwen3-thinking",
      "{{- '<|im_start|>' + m.role + '\\n' + m.content.split('</think>')[-1] + '<|im_end|>' + '\\n' }}"
      "{{- '<|im_start|>assistant\\n<think>\\n' }}" },
    { "mistral-v1", "mistral-v1",
      "{{- bos_token }}{%- if loop.first and system_message %}{{- ' [INST] ' + s + '\\n\\n' + u + ' [/INST]' }}"
      "{{- ' ' + message['content'] + eos_token}}" },
    { "mistral-mixtral", "mistral-v1",
      "{{ bos_token }}{{ '[INST] ' + message['content'] + ' [/INST]' }}{{ message['content'] + eos_token}}" },
    { "mistral-v3", "mistral-v3",
      "{{- bos_token }}{{- \"[AVAILABLE_TOOLS] [\" }}{%- if loop.last and system_message is defined %}"
      "{{- \"[INST] \" + u + \"[/INST]\" }}{{- \" \" + message[\"content\"]|trim + eos_token}}" },
    { "mistral-v3-tekken", "mistral-v3-tekken",
      "{{- bos_token }}{{- \"[AVAILABLE_TOOLS][\" }}{%- if loop.last and system_message is defined %}"
      "{{- \"[INST]\" + u + \"[/INST]\" }}{{- message[\"content\"] + eos_token}}" },
    { "mistral-v7", "mistral-v7",
      "{{ bos_token }}{{ '[INST] ' + u + '[/INST]' }}{{ '[SYSTEM_PROMPT] ' + s + '[/SYSTEM_PROMPT]' }}"
      "{{ ' ' + message['content'] + eos_token }}" },
    { "mistral-v7-tekken", "mistral-v7-tekken",
      "{%- set default_system_message = 'Hello. Today is ' + strftime_now('%Y') %}{{- bos_token }}"
      "{{- '[SYSTEM_PROMPT]' + s + '[/SYSTEM_PROMPT]' }}{{- '[INST]' + u + '[/INST]' }}{{- a + eos_token }}" },
    { "gemma2", "gemma",
      "{{ bos_token }}{{ '<start_of_turn>' + role + '\n' + m['content'] | trim + '<end_of_turn>\n' }}"
      "{{'<start_of_turn>model\n'}}" },
    { "gemma3", "gemma",
      "{{ bos_token }}{{ '<start_of_turn>' + role + '\\n' }}{{ m['content'] | trim }}{{ '<end_of_turn>\\n' }}"
      "{{'<start_of_turn>model\\n'}}" },
    { "phi3", "phi3",
      "{{'<|user|>\n' + u + '<|end|>\n'}}{{'<|assistant|>\n' + a + '<|end|>\n'}}{{ '<|system|>\n' }}" },
};
enum { N_TEMPLATES = sizeof templates / sizeof *templates };

#define SYSTEM { "system", "Be brief. ", SIZE_MAX }
#define ASK { "user", " What is 2+2?", SIZE_MAX }
#define ANSWER { "assistant", "  It is 4. \n", SIZE_MAX }
#define ASK_AGAIN { "user", "And 3+3?", SIZE_MAX }
#define THOUGHT { "assistant", "<think>\nLet me add.\n</think>\n\nIt is 4.", SIZE_MAX }
static const struct { const char *name; size_t n; lever_message m[4]; } talks[] = {
    { "one", 1, { ASK } },
    { "system", 2, { SYSTEM, ASK } },
    { "long", 4, { SYSTEM, ASK, ANSWER, ASK_AGAIN } },
    { "two", 3, { ASK, ANSWER, ASK_AGAIN } },
    { "think", 3, { ASK, THOUGHT, ASK_AGAIN } },
};
enum { N_TALKS = sizeof talks / sizeof *talks };

static int detect(lv_chat_format *f, const char *text, lever_error *err)
{
    return lv_chat_format_detect(f, (lv_str){ text, strlen(text) }, err);
}

/* What a form makes of a talk, with <s> for the begin-of-text token. */
static void write_talk(char *out, size_t cap, const lv_chat_format *f, const lever_message *m, size_t n,
                       bool think)
{
    lv_chat_text t = { 0 };
    lever_error err = { 0 };
    CHECK_OK(lv_chat_write(&t, f, m, n, think, &err), &err);
    snprintf(out, cap, "%s%.*s", f->bos ? "<s>" : "", (int)t.len, t.text ? t.text : "");
    size_t at = 0;
    for (size_t i = 0; i < t.n; i++) { /* pieces are the text, without gaps */
        CHECK_EQ(t.pieces[i].at, at);
        at += t.pieces[i].len;
    }
    CHECK_EQ(at, t.len);
    lv_chat_text_fini(&t);
}

static void unescape(char *s)
{
    char *to = s;
    for (; *s; s++) *to++ = *s != '\\' ? *s : *++s == 'n' ? '\n' : *s;
    *to = '\0';
}

static size_t seen[N_TEMPLATES];

static void check_line(char *line)
{
    char name[32], talk[16], got[1024];
    int think, at = 0;
    line[strcspn(line, "\n")] = '\0';
    CHECK_EQ(sscanf(line, "%31s %15s %d %n", name, talk, &think, &at), 3);
    unescape(line + at);
    size_t i = 0, k = 0;
    while (i < N_TEMPLATES && strcmp(templates[i].name, name)) i++;
    while (k < N_TALKS && strcmp(talks[k].name, talk)) k++;
    CHECK(i < N_TEMPLATES && k < N_TALKS);
    if (i == N_TEMPLATES || k == N_TALKS) return;
    lv_chat_format f;
    lever_error err = { 0 };
    CHECK_OK(detect(&f, templates[i].text, &err), &err);
    write_talk(got, sizeof got, &f, talks[k].m, talks[k].n, think);
    CHECK_STR(got, line + at);
    seen[i]++;
    /* The form of that name writes the same, where it has a name of its own. */
    if (strcmp(templates[i].form, templates[i].name) && strcmp(name, "qwen2.5")) return;
    CHECK_OK(lv_chat_format_named(&f, name, &err), &err);
    write_talk(got, sizeof got, &f, talks[k].m, talks[k].n, think);
    CHECK_STR(got, line + at);
}

static void talks_are_written_as_the_reference_templates_do(void)
{
    char line[1024];
    FILE *f = fopen("tests/golden/chat_forms.txt", "r");
    CHECK(f != NULL);
    while (f && fgets(line, sizeof line, f))
        if (line[0] != '#') check_line(line);
    if (f) fclose(f);
    for (size_t i = 0; i < N_TEMPLATES; i++) CHECK(seen[i] >= 2);
}

static void forms_are_recognised_by_their_marks(void)
{
    for (size_t i = 0; i < N_TEMPLATES; i++) {
        lv_chat_format f;
        lever_error err = { 0 };
        CHECK_OK(detect(&f, templates[i].text, &err), &err);
        CHECK_STR(f.name, templates[i].form);
    }
    lv_chat_format f;
    lever_error err = { 0 };
    CHECK_OK(detect(&f, templates[1].text, &err), &err);
    CHECK(f.note == NULL); /* its date is a literal */
    CHECK_OK(detect(&f, templates[12].text, &err), &err);
    CHECK(f.note && strstr(f.note, "left out") == NULL && strstr(f.note, "leaves it out"));
}

static void look_alikes_are_refused_and_named(void)
{
    static const struct { const char *text, *says; } cases[] = {
        { "'<|im_start|>user<|im_sep|>' + c + '<|im_end|>' '<|im_start|>assistant<|im_sep|>'", "<|im_sep|>" },
        { "'<|im_start|>' + r + '\n' + c + '<|im_end|>\n' <|im_start|>assistant\n ## Metadata", "<|im_start|>" },
        { "<|im_start|>assistant\n<|im_end|>\n You are a function calling model.", "<|im_start|>" },
        { "<|im_start|>assistant\n<|im_end|>\n<|start_header_id|>", "<|start_header_id|>" },
        { "<|im_start|>{{ role }} no line feeds <|im_end|>", "<|im_end|>" },
        { "<|im_start|>assistant\n<|im_end|>\n<|vision_start|>", "<|vision_start|>" },
        { "[INST] <<SYS>>\n [/INST]", "[INST]" },
        { "[INST][/INST][THINK]", "[THINK]" },
        { "'<|' + role + '|>' + c + '<|end|>' '<|assistant|>'", "<|assistant|>" },
        { "<|start_header_id|><|end_header_id|>\n\n<|eot_id|><|image|>", "<|image|>" },
        { "<|start_header_id|><|end_header_id|>\n\n<|eot_id|> Check for unsafe content", "<|eot_id|>" },
        { "<\xef\xbd\x9cUser\xef\xbd\x9c>{{ c }}", "<\xef\xbd\x9cUser\xef\xbd\x9c>" },
        { "### Instruction: {{ c }}", "begins '### Instruction:" },
        { "<start_of_turn>model\n", "<start_of_turn>" },
        { "<|end|>\n<|assistant|>\n<|tool|>", "<|tool|>" },
        { "", "no chat template" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lv_chat_format f;
        lever_error err = { 0 };
        CHECK_EQ(detect(&f, cases[i].text, &err), LEVER_EUNSUP);
        if (!strstr(err.msg, cases[i].says)) CHECK_STR(err.msg, cases[i].says);
        CHECK(strstr(err.msg, "--chat-template") != NULL);
    }
}

static void odd_templates_do_no_harm(void)
{
    static const char *const cases[] = { "<|", "[", "[/", "[/]", "<|x", "|>", "\\", "\\n", "' + '", "' + ' + '",
                                         "<|im_start|>system\n", "<|im_start|>system\nYou are <|im_end|>" };
    lever_error err = { 0 };
    lv_chat_format f;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK_EQ(detect(&f, cases[i], &err), LEVER_EUNSUP);
    CHECK_EQ(lv_chat_format_detect(&f, (lv_str){ "\0\0<|im_start|>", 14 }, &err), LEVER_EUNSUP);
    char many[4096] = "";
    for (int i = 0; i < 200; i++) sprintf(many + strlen(many), "<|mark_%d|>", i);
    CHECK_EQ(detect(&f, many, &err), LEVER_EUNSUP);
}

static void plain_is_a_transcript(void)
{
    lv_chat_format f;
    lever_error err = { 0 };
    char got[1024];
    CHECK_OK(lv_chat_format_named(&f, "plain", &err), &err);
    write_talk(got, sizeof got, &f, talks[2].m, 4, true);
    CHECK_STR(got, "Be brief.\n\nUser: What is 2+2?\n\nAssistant: It is 4.\n\nUser: And 3+3?\n\nAssistant:");
    CHECK_STR(lv_chat_format_stop(&f), "\nUser:");
    CHECK_EQ(lv_chat_format_named(&f, "klingon", &err), LEVER_EINVAL);
    CHECK(strstr(err.msg, "klingon") && strstr(err.msg, "chatml, ") && strstr(err.msg, ", plain"));
    for (size_t i = 0; lv_chat_format_known(i); i++) CHECK_OK(lv_chat_format_named(&f, lv_chat_format_known(i), &err), &err);
}

static void talks_no_form_can_write_are_refused(void)
{
    static const lever_message late[] = { ASK, SYSTEM, ASK_AGAIN }, robot[] = { { "robot", "x", SIZE_MAX }, ASK };
    lv_chat_text t = { 0 };
    lv_chat_format f;
    lever_error err = { 0 };
    CHECK_OK(lv_chat_format_named(&f, "gemma", &err), &err);
    CHECK_EQ(lv_chat_write(&t, &f, late, 3, true, &err), LEVER_EINVAL);
    CHECK(strstr(err.msg, "message 2") != NULL);
    CHECK_EQ(lv_chat_write(&t, &f, robot, 2, true, &err), LEVER_EINVAL);
    CHECK(strstr(err.msg, "robot") != NULL);
    CHECK_EQ(lv_chat_write(&t, &f, talks[2].m, 3, true, &err), LEVER_EINVAL); /* ends with an answer */
    CHECK_EQ(lv_chat_write(&t, &f, talks[2].m, 0, true, &err), LEVER_EINVAL);
    lv_chat_text_fini(&t);
}

int main(void)
{
    RUN(forms_are_recognised_by_their_marks);
    RUN(talks_are_written_as_the_reference_templates_do);
    RUN(look_alikes_are_refused_and_named);
    RUN(odd_templates_do_no_harm);
    RUN(plain_is_a_transcript);
    RUN(talks_no_form_can_write_are_refused);
    return check_done();
}
