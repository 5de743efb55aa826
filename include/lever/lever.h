/* Lever: run language models larger than the memory they may use.
 *
 *   lever_config c;
 *   lever_config_init(&c);
 *   c.model_path = "big.gguf"; c.draft_path = "small.gguf"; c.mem_bytes = 3ull << 30;
 *   lever_engine *engine;
 *   lever_error err;
 *   if (lever_engine_open(&engine, &c, &err) < 0) { ... err.msg ... }
 *   lever_session *session;
 *   lever_session_open(&session, engine, NULL, &err);
 *   lever_session_append_text(session, "Once upon a time", SIZE_MAX, 0, &err);
 *   lever_session_generate(session, NULL, on_token, user, &stats, &err);
 *   lever_session_close(&session);
 *   lever_engine_close(&engine);
 *
 * Threading: an engine and its sessions belong to one thread at a time; lever_session_cancel may be
 * called from any thread and from a signal handler, lever_tokenize, lever_tokenize_bytes, lever_chat_tokenize,
 * lever_token_text and lever_n_vocab from any thread while the engine is open. Different engines are independent.
 * Errors: functions return LEVER_OK or a count (>= 0), or LEVER_E* (< 0) with *err (nullable) filled.
 * The library never prints, exits, or installs signal handlers. SPDX-License-Identifier: MIT */
#ifndef LEVER_LEVER_H
#define LEVER_LEVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lever/error.h"
#include "lever/machine.h"
#include "lever/trace.h"

#ifdef __cplusplus
extern "C" {
#endif

/* "0.1.0"; static storage. */
LEVER_API const char *lever_version(void);

/* ------------------------------------------------------------------ engine */

/* Drafting the next tree while a sweep of the target runs; never with several sessions, with another rule than
 * "match", or where both models share a device. It can not change the text. */
enum lever_draft_ahead {
    LEVER_AHEAD_AUTO, /* where measurements say that cores wait, for flash or a device */
    LEVER_AHEAD_ON,
    LEVER_AHEAD_OFF
};

/* All strings are borrowed during the call only. */
typedef struct lever_config {
    const char *model_path;    /* target GGUF; required */
    const char *draft_path;    /* draft GGUF with the target's tokenizer; NULL = no speculation */
    uint64_t mem_bytes; /* hard limit for the whole process, engines that are open already included; 0 = a
                         * safe share (3/4) of what is available */
    uint64_t caller_bytes; /* memory that the program takes for itself beside the engine, if it is more than a
                            * megabyte: counted within mem_bytes */
    uint32_t    n_ctx;         /* positions of context; 0 = the model's own, at most 4096 */
    uint32_t    n_sessions;    /* texts that may be open at once, at most 64; memory is planned for each; 0 = 1 */
    uint32_t    n_threads;     /* 0 = every core this process may use, or those of cpus */
    const lever_machine *machine; /* what lever_profile measured with the same threads (lever/profile.h), nullable:
                                   * policies that weigh costs begin with what it predicts. Borrowed for the call */
    const char *cpus;   /* cores to bind the threads to, in turn: "0-3,6", or "fast" for the strong ones of
                         * unequal cores; NULL = as the system likes. The calling thread is the first; it
                         * is released by lever_engine_close */
    const char *policy; /* how trees are drafted: "none", "chain:8", "tree:4,2,1", ... (docs/policies.md);
                         * NULL = lever with a draft, or lever:24 or chain:8 where the limit leaves no room for
                         * its trees and the context; none without a draft */
    const struct lever_advise_params *advise; /* lever/plan.h: policy NULL is then the one predicted to be fastest here,
                            * `none` without the draft where speculation does not pay; borrowed during the call; NULL =
                            * as above */
    const char *exit_path; /* exit predictor of the target, made by `lever fit`: LEVER_EINVAL if it is of another model;
                         * NULL = "model.exit.gguf" beside "model.gguf" where that is and fits, as the engine's info
                         * tells */
    const char *prune;  /* which rows of a tree skip the layers above the predictor's (docs/pruning.md): "auto" = NULL =
                         * as policy lever finds worth it, "off", or every one whose share of its parent's candidates
                         * is below a threshold: "0.05"; ",no-shadows" ",no-safeguards" ",dry" for experiments */
    int         draft_ahead; /* enum lever_draft_ahead: does the draft go on beside verification? */
    const char *const *more_policies; /* [n_more_policies] those that lever_generate_params will name: memory is
                                       * planned for each of them, and the draft loaded if one needs it */
    uint32_t    n_more_policies;
    const char *verify; /* rule of verification at temperatures above 0: "match" = NULL, whose text is that
                         * of plain decoding; for comparison "specinfer", "sequoia", "traversal" (docs/
                         * exactness.md). With these the text has the same distribution, but depends on draft
                         * and policy; policies must draw (none, chain, tree, specinfer, sequoia, dyspec), and
                         * lever_sampling.top_k be 1 to 256. Takes up to 9 KiB of memory per drafted token */
    const char *io_backend;    /* "auto", "uring", "pool", "sim"; NULL = auto */
    uint32_t    flash_block_bytes; /* longest streamed read, 64 KiB .. 64 MiB; 0 = 4 MiB. Doubled while
                                   * less than 128 rows of the widest matrix, up to 4 MiB: products of few are slow */
    uint32_t    flash_depth;   /* streamed reads in flight at most, <= 256; 0 = 32 */
    const char *flash_model;   /* hold streamed reads back until this device would have delivered them: "ufs4.0",
                                * "ufs3.1", "emmc5.1", "microsd-a1", "nvme"; NULL = none */
    uint64_t    flash_limit_bytes_per_s; /* hold them back to this speed, also with a flash_model; 0 = none */
    const char *kv_type; /* of the KV caches: "f16", "q8_0" (half the memory); "auto" = NULL = q8_0 where a head
                          * has a multiple of 32 elements, else f16. Each gives a text of its own */
    const char *isa; /* NULL = best; "ref", "avx2", "avx512vnni", "neon", ... forces at most this one */
    const char *device;  /* where matrix products of the target run: "cpu" = NULL; "opencl": a GPU or accelerator;
                          * "opencl:NAME": one with NAME in its name or platform; a path with a '/': a plug-in, loaded
                          * into this process (lever/device_plugin.h, docs/devices.md). The text is the same. One
                          * that can not be used is no error: the CPU does its work, and the engine's info says
                          * why. Drivers are tried in a child process first where this process has a single
                          * thread, so open engines with a device before starting threads */
    const char *draft_device;  /* the same for the draft */
    const char *device_cache_dir; /* existing folder for compiled kernels; NULL = none */
    uint32_t    device_min_rows; /* sweeps of fewer rows run on the CPU; 0 = those that `machine` says are faster there,
                                  * none where it does not say. A device with memory of its own takes all sweeps */
    const char *project; /* which rows of a tree are multiplied with the output head: "demand" = NULL: along the
                          * path that the target takes; "eager": all at once. For comparison: it costs time and
                          * memory, and changes no text */
    bool        project_device; /* the target's output head is multiplied on its device too */
    bool        pin_first_layers; /* resident weights: whole first layers instead of spread evenly */
    bool        no_pin;        /* keep no layer resident: everything streams (baselines, tests) */
    uint32_t    max_rows;      /* rows of one sweep (prefill chunk); 0 = chosen by the memory plan */
    bool        verify_reads;  /* check what is read of the target against its sums file (lever_sums_make)
                                * before it is used: wrong bytes are read once more, then LEVER_EIO. Takes
                                * 1/1024 of the file as memory. The draft can not change the text */
    const char *io_faults;     /* tests: faults of streamed reads, "first=12,count=1,error=EIO" (docs/cli.md);
                                * NULL = none */
    void      (*progress)(void *user, const char *what, uint64_t done, uint64_t total); /* nullable */
    void       *progress_user;
    lever_on_trace on_trace;   /* nullable */
    void       *trace_user;
} lever_config;

LEVER_API void lever_config_init(lever_config *c);

typedef struct lever_engine lever_engine;

/* Open files, plan memory, load what stays resident, start streaming.
 * LEVER_EINVAL (a setting), LEVER_EIO (file missing, unreadable, truncated), LEVER_EFORMAT, LEVER_EUNSUP
 * (type, architecture, tokenizer), LEVER_ELIMIT (limit too small: the text says how much is needed),
 * LEVER_ENOMEM. On failure *out is NULL. Returned: close with lever_engine_close, after its sessions. */
LEVER_API int  lever_engine_open(lever_engine **out, const lever_config *c, lever_error *err);
LEVER_API void lever_engine_close(lever_engine **engine);

/* Tokens of text [len] (SIZE_MAX: up to NUL). Returns the number of tokens, of which at most cap are
 * stored; LEVER_ENOMEM, LEVER_EINVAL. */
enum lever_encode_flags {
    LEVER_ENCODE_NO_BOS = 1,       /* leave out the begin-of-text token the model asks for */
    LEVER_ENCODE_PARSE_SPECIAL = 2 /* names of control tokens in the text become these tokens */
};
LEVER_API int64_t lever_tokenize(const lever_engine *engine, const char *text, size_t len, unsigned flags,
                                 int32_t *tokens, size_t cap, lever_error *err);
/* Memory that lever_tokenize takes while it works on a text of len bytes, at most; 0: next to nothing. */
LEVER_API size_t lever_tokenize_bytes(const lever_engine *engine, size_t len);
LEVER_API int32_t lever_n_vocab(const lever_engine *engine);
/* Text of one token for display, control tokens by their names; may be a part of a UTF-8 character, and hold any
 * byte. Returns its bytes, of which at most cap - 1 are stored with a NUL behind them; 0: no such token. */
LEVER_API size_t lever_token_text(const lever_engine *engine, int32_t token, char *buf, size_t cap);

/* Tree policies. The name of the i-th one known, "chain" of "chain:8"; NULL: there are no more. Static. */
LEVER_API const char *lever_policy_known(size_t i);
/* Rows of the target that one sweep of a policy verifies at most, at least 1: "none" 1, "chain:8" 9.
 * LEVER_EINVAL (names what is wrong and lists the known policies), LEVER_ENOMEM. */
LEVER_API int lever_policy_rows(const char *spec, lever_error *err);

/* What is going on inside; strings are static or live as long as the engine. */
typedef struct lever_engine_info {
    const char *isa, *io_backend, *policy, *verify, *kv_type;
    char        arch[32];
    uint32_t    n_threads, n_ctx, max_rows;
    uint64_t    mem_limit_bytes, planned_bytes; /* planned_bytes <= mem_limit_bytes */
    uint64_t    target_file_bytes;
    uint64_t    target_resident_bytes, target_streamed_bytes; /* per sweep; at this moment: while texts are short, more
                                                               * is in memory than was planned */
    uint64_t    target_read_bytes; /* from flash by sweeps since the engine was opened */
    uint64_t    pair_key;      /* stands for both models: by their sizes and tensors, not by every weight */
    uint32_t    exit_layer;    /* layers before rows may be dropped; 0: there is no exit predictor */
    const char *advice;        /* why the policy was chosen (lever_config.advise); NULL: it was not */
    const char *exit_note;     /* why the predictor that lies beside the model is not used; NULL: nothing to say */
    const char *device, *draft_device; /* names of devices that are in use; "cpu": none; NULL: there is no draft */
    const char *device_note;   /* why a device that was asked for is not, or no longer, in use; NULL: nothing to say */
    uint64_t    device_jobs;   /* started on devices since the engine was opened */
    uint32_t    device_min_rows; /* sweeps of the target with fewer rows run on the CPU; UINT32_MAX: all do */
    const char *flash_model;   /* as configured, or NULL */
    uint64_t    flash_limit_bytes_per_s; /* of the model and the limit, the lower one; 0 = neither is set */
} lever_engine_info;
LEVER_API void lever_engine_get_info(const lever_engine *engine, lever_engine_info *info);

typedef struct lever_plan_line {
    char     label[64];
    uint64_t bytes;
} lever_plan_line;

typedef struct lever_plan {
    uint64_t limit_bytes, total_bytes, needed_bytes; /* needed: the smallest limit that works */
    uint64_t resident_bytes, streamed_bytes;         /* of the target; streamed: read per sweep */
    uint64_t lent_bytes; /* part of streamed_bytes that is in memory while texts are short: some 256 tokens */
    uint32_t n_ctx, max_rows;
    bool     head_resident, fits;
    uint32_t n_lines;
    lever_plan_line lines[24];
} lever_plan;

/* The memory plan lever_engine_open would make; reads metadata only. A plan that does not fit is
 * LEVER_OK with fits = false. */
LEVER_API int lever_plan_memory(const lever_config *c, lever_plan *plan, lever_error *err);

/* What was learnt of these models: how far their probabilities can be trusted, how often the draft is right, and what
 * things cost here. Given to the next engine of the same models it saves that one the first slow answers; the text
 * does not depend on it. For the same build on the same machine: there is no exchange format behind it.
 * get: returns its bytes, which are stored if they fit into cap; 0: nothing was learnt.
 * set, before the first generate: LEVER_OK, also when times were taken under other conditions (memory limit, threads,
 * flash) and are left out; LEVER_EINVAL: of other models; LEVER_EFORMAT: damaged, or of another version. After
 * damage some policies may have taken over their part. */
LEVER_API size_t lever_engine_get_learnt(const lever_engine *engine, void *out, size_t cap);
LEVER_API int    lever_engine_set_learnt(lever_engine *engine, const void *in, size_t n, lever_error *err);

/* ----------------------------------------------------------------- session */

typedef struct lever_sampling {
    float    temperature;    /* 0 = greedy */
    int32_t  top_k;          /* 0 = off */
    float    top_p;          /* 1 = off */
    float    min_p;          /* 0 = off */
    float    repeat_penalty; /* 1 = off */
    int32_t  repeat_last_n;  /* tokens looked back */
    uint64_t seed; /* with temperature > 0 the text is a function of model, prompt, settings and seed */
} lever_sampling;

LEVER_API void lever_sampling_init(lever_sampling *s); /* 0.8, 40, 0.95, 0.05, 1, 64, seed 0 */

typedef struct lever_session lever_session; /* one text: its tokens and both KV caches */

/* sampling NULL = defaults; copied. At most lever_config.n_sessions may be open. LEVER_EINVAL,
 * LEVER_ENOMEM. */
LEVER_API int  lever_session_open(lever_session **out, lever_engine *engine, const lever_sampling *sampling,
                                  lever_error *err);
LEVER_API void lever_session_close(lever_session **session);
/* Forget the text; sampling NULL keeps the settings. LEVER_OK, LEVER_EINVAL. */
LEVER_API int  lever_session_reset(lever_session *session, const lever_sampling *sampling, lever_error *err);

/* Append to the text without generating. LEVER_OK; LEVER_ELIMIT: context full; LEVER_EINVAL: token out of
 * range. */
LEVER_API int lever_session_append(lever_session *session, const int32_t *tokens, size_t n, lever_error *err);
LEVER_API int lever_session_append_text(lever_session *session, const char *text, size_t len, unsigned flags,
                                        lever_error *err);
/* Make the text be tokens [n], n may be 0; what is evaluated of the longest common beginning of the old text
 * and the new is kept. tokens may be what lever_session_tokens gave. Returns the number of tokens that need no
 * evaluation again, at most n - 1; LEVER_ELIMIT: longer than the context; LEVER_EINVAL: token out of range.
 * After a failure the text is as before. lever/chat.h does this for talks. */
LEVER_API int64_t lever_session_set_tokens(lever_session *session, const int32_t *tokens, size_t n,
                                           lever_error *err);
/* Sample what follows with these settings (NULL = defaults; copied). LEVER_OK, LEVER_EINVAL, LEVER_ENOMEM: as
 * before. */
LEVER_API int lever_session_set_sampling(lever_session *session, const lever_sampling *sampling,
                                         lever_error *err);
/* The text so far, prompt included; borrowed until the next call on the session. */
LEVER_API const int32_t *lever_session_tokens(const lever_session *session, size_t *n);

/* Write the text, and what is evaluated of it, to a file: loading that is far quicker than evaluating it again, and
 * what follows is the same. Written beside it first (path.part) and then renamed. Not between start and finish.
 * LEVER_OK; LEVER_EINVAL; LEVER_EIO: the file can not be written; LEVER_ENOMEM. */
LEVER_API int lever_session_save(const lever_session *session, const char *path, lever_error *err);
/* Make the text be that of a file; sampling stays as it is. The file may come from another machine, engine or build of
 * the same version. LEVER_OK; LEVER_EINVAL: made with another target model or another type of KV cache; LEVER_ELIMIT:
 * longer than the context; LEVER_EFORMAT, LEVER_EUNSUP (version): no session file; LEVER_EIO. After these the
 * text is as before. LEVER_EFORMAT or LEVER_EIO in the middle of the file, which is damaged: the text is empty.
 * LEVER_ENOMEM. */
LEVER_API int lever_session_load(lever_session *session, const char *path, lever_error *err);

enum lever_token_source { LEVER_FROM_TARGET, LEVER_FROM_DRAFT, LEVER_FROM_LOOKUP };

typedef struct lever_logprob {
    int32_t token;
    float   logprob; /* natural logarithm, -200 to 0 */
} lever_logprob;

typedef struct lever_token_event {
    int32_t     token;
    uint32_t    position;   /* in the text */
    const char *text;       /* complete UTF-8 characters that became ready; not NUL-ended; may be empty */
    size_t      text_bytes;
    int         source;     /* LEVER_FROM_DRAFT: the draft had proposed it and the target agreed;
                             * LEVER_FROM_LOOKUP: the text itself had, by what followed the same words before */
    float       logprob;    /* where lever_generate_params.n_logprobs is set, else 0: of the token, as the model
                             * alone gives it: softmax at temperature 1, without filters and penalties */
    uint32_t    n_top;      /* the likeliest tokens by the same measure: n_logprobs of them */
    const lever_logprob *top; /* [n_top] best first; borrowed during the call */
} lever_token_event;

/* A proposed token whose parent the target agreed with: did it agree with this one too? For judging how well
 * probabilities are calibrated. */
typedef struct lever_guess {
    double prob;    /* that it would, as the policy believed; never 0 */
    int    source;  /* enum lever_token_source */
    bool   right;
} lever_guess;
typedef void (*lever_on_guess)(void *user, const lever_guess *guess);

/* What one cycle did, for programs that show it. Borrowed during the call. Times in ns; begin_ns by the clock of
 * lever_trace_event. */
enum lever_node_state {
    LEVER_NODE_ROOT,     /* the last token of the text before the cycle */
    LEVER_NODE_ACCEPTED, /* became text */
    LEVER_NODE_REJECTED, /* verified, but the target chose otherwise */
    LEVER_NODE_PRUNED,   /* dropped after a part of the layers */
    LEVER_NODE_SHADOW    /* a candidate of the draft that was not verified */
};
typedef struct lever_node_view {
    int32_t parent;      /* index in nodes; -1: the root, which is the first */
    int32_t token;
    float   prob;        /* that it follows its parent, as the policy believes; 0: it does not say */
    float   draft_prob;  /* the draft's; 0: the draft did not propose it */
    int     source;      /* enum lever_token_source; of the root LEVER_FROM_TARGET */
    int     state;       /* enum lever_node_state */
} lever_node_view;
typedef struct lever_cycle_view {
    uint64_t index;      /* of the session's cycles, from 0 */
    uint64_t begin_ns;
    uint64_t draft_ns, verify_ns, project_ns;
    uint64_t prune_ns, flash_wait_ns, flash_ns; /* parts of verify_ns: scores and decisions; compute waited for
                                                 * flash; reads were under way */
    uint32_t n_rows_all; /* of the sweep: all nodes, text that was pending, and what other sessions brought */
    uint32_t n_nodes;
    const lever_node_view *nodes;   /* [n_nodes] */
    uint32_t n_shadows;
    const lever_node_view *shadows; /* [n_shadows] their parents are among nodes; the likeliest, 256 at most */
    int32_t  next_token; /* the token after the accepted path, which is the target's own; -1: the text ended before */
    uint32_t n_new;      /* tokens of text: the accepted path and the next */
} lever_cycle_view;
typedef void (*lever_on_cycle)(void *user, const lever_cycle_view *view);

typedef struct lever_generate_params {
    lever_on_guess on_guess; /* nullable; called by policies that state probabilities ("lever") */
    void       *guess_user;
    uint32_t    max_tokens;  /* new tokens; 0 = until the end token or the context is full */
    bool        ignore_end;  /* go on after end tokens */
    const char *policy;      /* NULL = the engine's; must not need more memory than those it was opened for */
    uint32_t    n_logprobs;  /* tokens with log-probabilities in lever_token_event.top, at most 20; 0: none, and
                              * none of the token itself. LEVER_EINVAL where another rule than "match" decides */
    lever_on_cycle on_cycle; /* nullable; called after the tokens of each cycle were handed out */
    void       *cycle_user;
} lever_generate_params;

enum lever_stop {
    LEVER_STOP_MAX_TOKENS,
    LEVER_STOP_END_TOKEN,
    LEVER_STOP_CONTEXT,
    LEVER_STOP_CALLBACK,
    LEVER_STOP_CANCEL
};

/* Prefill ends with the cycle that evaluates the last prompt tokens; that cycle proposes and verifies
 * a tree too, so the first tokens come with it. Everything marked [decode] counts only the cycles after it,
 * so that n_decode_tokens / decode_ns is the steady speed. A prompt of one token has no prefill.
 * Rows and tokens are those of the session; what a sweep took counts for every session that shared it. */
typedef struct lever_stats {
    uint32_t n_prompt_tokens, n_new_tokens;
    uint32_t n_prefill_sweeps;
    uint32_t n_decode_tokens;       /* [decode] */
    uint32_t n_cycles;              /* [decode] sweeps; each verified one tree */
    uint64_t n_rows;                /* [decode] rows verified: tree nodes with their roots */
    uint32_t n_drafted, n_accepted; /* [decode] proposed tokens, and those that became text */
    uint64_t n_kept_rows;           /* [decode] of n_rows, those that were to go through all layers */
    uint32_t n_accepted_dropped;    /* [decode] the target's choices that had been dropped; with ",dry" they
                                     * are part of n_accepted */
    uint64_t prefill_ns, decode_ns;
    uint64_t draft_ns, verify_ns, project_ns; /* [decode] parts of decode_ns */
    uint64_t draft_model_ns;        /* [decode] part of draft_ns: the draft model ran; the rest built trees */
    uint64_t prune_ns;              /* [decode] part of verify_ns: scores and decisions */
    uint64_t flash_wait_ns;         /* [decode] part of verify_ns: compute waited for flash */
    uint64_t flash_idle_ns;         /* [decode] nothing was being read, because the ring was full */
    uint64_t bytes_read;            /* [decode] read from flash for the target */
    double   expected_tokens, expected_s; /* [decode] what the policy expected of its trees, summed: tokens, and
                                           * seconds of their cycles; 0: it does not say */
    uint32_t n_ahead, n_ahead_used; /* draft rows evaluated beside sweeps, and those that the next trees began with */
    uint64_t ahead_ns, ahead_wait_ns; /* beside sweeps the draft ran; after them the engine waited for it to stop */
    uint64_t peak_rss_bytes, mem_limit_bytes;
    int      stop;                          /* enum lever_stop */
} lever_stats;

/* Called for every new token, in order; return false to stop after it. The last event of a text may
 * carry only the rest of an unfinished character (token -1). */
typedef bool (*lever_on_token)(void *user, const lever_token_event *event);

/* Continue the text. params, on_token and stats may be NULL. The text needs at least one token.
 * LEVER_OK (stats->stop says why it ended, LEVER_STOP_CANCEL after lever_session_cancel); LEVER_EINVAL;
 * LEVER_EIO, LEVER_ENOMEM: tokens already handed out are right, the session can be continued. */
LEVER_API int lever_session_generate(lever_session *session, const lever_generate_params *params,
                                     lever_on_token on_token, void *user, lever_stats *stats,
                                     lever_error *err);

/* The same in steps, for programs that answer several texts at once:
 *     lever_session_start(a, ...); lever_session_start(b, ...);
 *     while (lever_engine_step(engine) > 0) { ...start others, cancel, finish those that ended... }
 *     lever_session_finish(a, &stats, &err); lever_session_finish(b, ...);
 * The text of each is what lever_session_generate gives it alone. on_token is called from lever_engine_step.
 * Nothing else may be called on a session between start and finish but cancel, tokens and is_running. */

/* As lever_session_generate, but the tokens come with the steps. LEVER_OK; LEVER_EINVAL. */
LEVER_API int lever_session_start(lever_session *session, const lever_generate_params *params,
                                  lever_on_token on_token, void *user, lever_error *err);
/* One cycle, or a part of the prompt, for every session that runs. Returns how many go on after it. What
 * ends a session, or the sweep for all of them, is told by lever_session_finish. */
LEVER_API uint32_t lever_engine_step(lever_engine *engine);
/* False: it has ended, or was never started. */
LEVER_API bool lever_session_is_running(const lever_session *session);
/* End it, also one that still runs (LEVER_STOP_CANCEL), and return what lever_session_generate would. Due
 * after every start that succeeded; may hand a rest of text to on_token. LEVER_EINVAL: not started. */
LEVER_API int lever_session_finish(lever_session *session, lever_stats *stats, lever_error *err);
/* End the running or the next generate as soon as possible. Async-signal-safe. */
LEVER_API void lever_session_cancel(lever_session *session);

#ifdef __cplusplus
}
#endif
#endif
