/* mkmodel OUT.gguf [--option value]...: write a random model. SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/mkmodel.h"

static const char usage[] =
    "usage: mkmodel OUT.gguf [--arch llama|qwen2|qwen3] [--type Q8_0] [--vocab N] [--ctx N] [--embd N]\n"
    "               [--layers N] [--ff N] [--heads N] [--kv-heads N] [--head-dim N] [--rope-base F]\n"
    "               [--seed N] [--tied | --untied] [--chat-template TEXT]\n";

static int fail(const char *what, const char *arg)
{
    fprintf(stderr, "mkmodel: %s: %s\n%s", what, arg, usage);
    return 2;
}

static int set_number(mk_config *c, const char *name, const char *value)
{
    const struct { const char *name; uint32_t *field; } fields[] = {
        { "--vocab", &c->n_vocab },   { "--ctx", &c->n_ctx },     { "--embd", &c->n_embd },
        { "--layers", &c->n_layers }, { "--ff", &c->n_ff },       { "--heads", &c->n_heads },
        { "--kv-heads", &c->n_kv_heads }, { "--head-dim", &c->head_dim },
    };
    char *end;
    const unsigned long long v = strtoull(value, &end, 10);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        if (strcmp(name, fields[i].name)) continue;
        if (!*value || *end || v > UINT32_MAX) return fail("not a number", value);
        *fields[i].field = (uint32_t)v;
        return 0;
    }
    if (strcmp(name, "--seed")) return fail("unknown option", name);
    if (!*value || *end) return fail("not a number", value);
    c->seed = v;
    return 0;
}

static int set_option(mk_config *c, const char *name, const char *value)
{
    if (!strcmp(name, "--arch")) {
        c->arch = value;
    } else if (!strcmp(name, "--chat-template")) {
        c->chat_template = value;
    } else if (!strcmp(name, "--rope-base")) {
        c->rope_base = strtof(value, NULL);
    } else if (!strcmp(name, "--type")) {
        const int type = lv_type_from_name(value);
        if (type < 0) return fail("unknown type", value);
        c->type = (uint32_t)type;
    } else {
        return set_number(c, name, value);
    }
    return 0;
}

int main(int argc, char **argv)
{
    mk_config c = mk_config_init();
    lever_error err = { 0 };
    if (argc < 2 || argv[1][0] == '-') return fail("no output file", argc < 2 ? "" : argv[1]);
    for (int i = 2; i < argc; i++) {
        if (!strcmp(argv[i], "--tied") || !strcmp(argv[i], "--untied")) {
            c.tied = !strcmp(argv[i], "--tied");
            continue;
        }
        if (i + 1 == argc) return fail("no value for", argv[i]);
        const int rc = set_option(&c, argv[i], argv[i + 1]);
        if (rc) return rc;
        i++;
    }
    if (mk_model_write(argv[1], &c, &err) < 0) {
        fprintf(stderr, "mkmodel: %s\n", err.msg);
        return 1;
    }
    return 0;
}
