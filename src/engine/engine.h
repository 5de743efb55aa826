/* The engine: two models, one pool, one stream, one budget; and sessions that run cycles on them.
 * Owns everything it opens. Does not own: files of the caller. Threading: one owner thread; only
 * session->cancel is touched from elsewhere. SPDX-License-Identifier: MIT */
#ifndef LEVER_ENGINE_ENGINE_H
#define LEVER_ENGINE_ENGINE_H

#include <stdatomic.h>

#include "base/mem.h"
#include "device/cpu/cpu.h"
#include "engine/ahead.h"
#include "flash/io.h"
#include "lever/lever.h"
#include "model/exit_predictor.h"
#include "model/model.h"
#include "os/turns.h"
#include "plan/memory_plan.h"
#include "spec/acceptance.h"
#include "spec/policy.h"
#include "spec/prune.h"
#include "spec/sampler.h"
#include "spec/rules.h"
#include "token/chat.h"
#include "token/vocab.h"

enum {
    LV_DRAFT_LOGIT_ROWS = 16, /* draft nodes expanded at once; each needs a row of logits */
    LV_PROJECT_ROWS = 4,       /* of the target's head at once: reading it takes as long for these as for one */
    LV_EXIT_CANDIDATES = 8,    /* of the draft's at a node, that a score is compared with */
    LV_CONTEXT_DEFAULT = 4096, /* longest context taken without being asked */
    LV_TEXT_SHORT = 256,       /* tokens of the texts that predictions are made for */
    /* Code, libraries, stdio and allocator slack of the lever program. The peak resident set of a run with a
     * tiny model, less its planned lines, is 2.5 MiB with stacks (glibc 2.36, x86-64), that of the demo pair 3.0;
     * the rest is margin. */
    LV_PROGRAM_BYTES = (3 << 20) + (256 << 10),
    LV_SESSIONS_MOST = 64,
    LV_NOTER_TEXT = 128, /* tokens; more than a cycle gives */
    LV_DRAFT_SHARED_ROWS = 32, /* the same for several sessions together: beyond, more rows cost in proportion */
    LV_PROJECT_SESSIONS = 4,   /* whose rows of the target are projected together */
    LV_TURNS_STACK_BYTES = 256 << 10, /* of the thread that grows a session's tree in turns with others */
    LV_VIEW_SHADOWS = 256,
    LV_EVAL_WINDOW = 512,      /* the same for the windows of an evaluation: llama.cpp's default */
    LV_EVAL_LOGIT_ROWS = 32    /* its rows of logits where the head is in memory: enough for fast products */
};

/* The form talks are written in. A form without a name: there is none. */
typedef struct lv_chat_choice {
    lv_chat_format now, own; /* in use; what the model's template was recognised as */
    bool           has_template;
    char           why[512]; /* why there is no own one */
} lv_chat_choice;

/* Where products run beside the CPU. */
typedef struct lv_engine_devices {
    lv_device *target, *draft; /* NULL: the CPU; both may be the same one */
    uint32_t   min_rows, draft_min_rows; /* sweeps, batches of fewer rows run on the CPU */
    char      *note;           /* why one that was asked for is not there; NULL: nothing to say */
    bool       tried;
} lv_engine_devices;

/* Sessions that share a sweep, and how long its parts took. */
typedef struct lv_round {
    lever_session *sessions[LV_SESSIONS_MOST]; /* [n] in the order of their rows; the first n_grow grow trees,
                                                * the others bring parts of prompts */
    uint32_t n, n_grow;
    uint32_t n_rows, n_kept; /* of the sweep; of them, those that went through all layers */
    uint32_t prompt_rows;    /* that are likely to stand beside the trees */
    uint64_t begin_ns, drafted_ns, verified_ns, project_ns;
    lv_model_stats before, drafted, verified; /* of the target */
} lv_round;

/* Memory planned for the caches of all sessions. */
typedef struct lv_loan {
    lv_kv_room room;
    uint64_t   bytes; /* 0: nothing is lent */
    uint64_t   used;  /* of it, by caches */
    bool       open;  /* caches take their memory from it; else they have it from the start */
} lv_loan;

struct lever_engine {
    size_t     charged_bytes; /* to the budget of the process */
    lv_loan    loan;
    enum lv_residency_policy residency;
    lv_engine_devices devices;
    bool       eager;   /* a cycle projects all rows at once */
    lv_cpu    *cpu;
    lv_io     *io;      /* of the target's stream */
    lv_model  *target, *draft; /* draft NULL: no speculation */
    lv_vocab  *vocab;
    lv_chat_choice chat;
    lv_exit   *exit;    /* the predictor that prunes; NULL: no pruning */
    lv_prune_rule prune_rule;
    char       advice[320];    /* why the policy was chosen; empty: it was not */
    char       exit_note[256]; /* why a predictor that lies beside the model is not used */
    lv_policy **policies; /* [n_policies] the first is the default; they learn as long as the engine lives */
    uint32_t   n_policies;
    lv_acceptances acceptances; /* what became of the draft's candidates, in all sessions */
    char      *learnt_rest;  /* [learnt_rest_bytes] what was learnt by policies that this engine does not have */
    size_t     learnt_rest_bytes;
    lever_plan plan;
    uint32_t   max_nodes, grow_nodes, draft_rows; /* the most of any policy, as its getters in spec/policy.h */
    uint32_t   ahead_rows; /* of the draft's cache for drafting beside verification; 0: none */
    bool       ahead_always;
    lv_cpu_config ahead_cpu;
    uint32_t   kv_type, draft_kv_type; /* enum lv_type of the KV caches */
    int        rule;    /* enum lv_rule: how trees are verified at temperatures above 0 */
    uint64_t   target_file_bytes;
    lv_model_id target_id;
    uint64_t   pair_key; /* lv_learnt_pair */
    lv_flash_model flash; /* zeroed: reads are not held back */
    double     target_ratio; /* weights of the target per weight of the draft */
    lever_session *sessions[LV_SESSIONS_MOST]; /* those that are open, in any places; else NULL */
    uint32_t   n_sessions; /* that may be open at once */
    lv_round   round;      /* the one that is going on, or the last */
    lv_row    *rows;       /* [max_rows] of the sweep */
    lv_row    *draft_batch; /* [max_rows] of a batch of the draft */
    float     *logits;     /* [logit_rows][n_vocab] of the target */
    uint32_t   logit_rows; /* a few for each of LV_PROJECT_SESSIONS; all nodes of a sweep when the head is streamed */
    float     *draft_logits; /* [draft_logit_rows][n_vocab of the draft] */
    uint32_t   draft_logit_rows;
    uint32_t  *project_rows; /* [logit_rows] */
    lv_trace   trace;
    lv_affinity affinity; /* of the thread that opened the engine, when it was bound to a core */
};

/* Metadata of both models, the policy, and the settings with every default filled in: what planning
 * needs, before any weight is loaded. */
typedef struct lv_engine_setup {
    lever_config   config;  /* defaults resolved; strings borrowed from the caller's config */
    lv_model      *target, *draft;
    lv_vocab      *vocab;
    lv_chat_choice chat;
    lv_exit       *exit;    /* NULL: no pruning */
    lv_model      *spare_draft; /* open, but not part of this plan: lv_engine_setup_again */
    lv_exit       *spare_exit;
    struct lever_advice *advice; /* what config.policy was chosen by; NULL: it was not */
    lv_prune_rule  prune_rule;
    char           exit_note[256];
    lv_engine_devices devices;
    bool           eager;
    lv_policy    **policies; /* [n_policies] config.policy, then config.more_policies */
    uint32_t       n_policies;
    uint64_t       policy_bytes; /* of all policies */
    lv_flash_model flash;   /* of the target's stream */
    lv_read_fault  io_fault;
    lv_cpu_config  cpu;     /* n_threads, cpu_flags, max_k; rows and context come with the plan */
    uint32_t       kv_type, target_kv_type, draft_kv_type; /* asked for; chosen. enum lv_type */
    bool           kv_any;      /* nothing was asked for */
    uint32_t       max_nodes, grow_nodes, draft_rows; /* the most of any policy */
    uint32_t       ahead_rows;  /* LV_AHEAD_ROWS, or 0 */
    int            rule;        /* enum lv_rule */
    uint32_t       logit_rows;  /* of the target: a few, or max_nodes when the head streams; eval: the most */
    bool           eval;        /* for lever_eval: no session, no policy; a draft is taken if there is one */
    bool           fit;         /* eval for lever_fit: no logits of the target, but fit_row_bytes for each row */
    uint64_t       fit_row_bytes;
    uint64_t       loan_bytes;  /* planned for caches, which may hold weights meanwhile; 0: they may not */
    uint64_t       text_bytes;  /* eval: the text and its tokens */
    uint64_t       target_file_bytes;
    lv_model_id    target_id;   /* not for eval */
    uint64_t       others_bytes; /* what the other engines of this process have planned */
    uint32_t       n_ctx_wanted; /* positions, if there is room */
    lv_plan        plan;
    bool           fits;
} lv_engine_setup;

/* engine/setup.c: read metadata, check that draft and target agree, plan memory and mark the resident
 * weights. On failure everything is released. A limit too small is not an error here: fits tells. */
int  lv_engine_setup_init(lv_engine_setup *o, const lever_config *c, lever_error *err);
/* The two halves of it: metadata; then the plan. After a failed open nothing is left; after a failed plan
 * fini is due. In between, eval sets text_bytes, and fit its fields. */
int  lv_engine_setup_open(lv_engine_setup *o, const lever_config *c, bool eval, lever_error *err);
int  lv_engine_setup_plan(lv_engine_setup *o, lever_error *err);
/* o->cpu for these sizes. */
lv_cpu_config lv_engine_setup_cpu(const lv_engine_setup *o, uint32_t n_ctx, uint32_t max_rows);
/* Rows of logits of the draft. */
uint32_t lv_engine_setup_draft_rows(const lv_engine_setup *o);
void lv_engine_setup_fini(lv_engine_setup *o);
/* Plan the opened models again: with another policy (borrowed), without the draft where that does not need it, and
 * mem_bytes, n_ctx, max_rows of o->config, which the caller may change. As lv_engine_setup_plan; after a failure only
 * fini is due. */
int  lv_engine_setup_again(lv_engine_setup *o, const char *policy, lever_error *err);
/* engine/advise.c: open, choose the policy as c->advise says, and plan. As lv_engine_setup_init. */
int  lv_engine_setup_advised(lv_engine_setup *o, const lever_config *c, lever_error *err);
/* The same for drafting beside verification. */
lv_cpu_config lv_engine_setup_ahead_cpu(const lv_engine_setup *o, uint32_t n_ctx, uint32_t max_rows);
/* The public form of the plan. */
void lv_engine_setup_export(const lv_engine_setup *o, lever_plan *out);
/* engine/engine.c: load what was planned; LEVER_ELIMIT when it did not fit. What the engine needs of o
 * moves to it; o still wants its fini. On failure *out is NULL. */
int  lv_engine_load(lever_engine **out, lv_engine_setup *o, lever_error *err);

/* Nodes that a policy wants evaluated. */
typedef struct lv_draft_request {
    lv_tree *tree;
    const int32_t *ids;  /* [n]; the root is alone */
    uint32_t n;
    uint32_t n_before;   /* tokens before the root to project too, after it, the last first (lv_noter_wants) */
    lv_cost  cost;       /* out: of the whole batch it was part of */
    int      rc;         /* out, with err */
    lever_error err;
} lv_draft_request;

/* The draft model seen through lv_drafter: keeps its cache in step with the text. */
typedef struct lv_draft_run {
    lever_session *session;
    lv_drafter *drafter; /* of the tree being grown */
    lv_draft_request request;
    float   *logits;     /* [request.n + n_before][n_vocab] of the nodes evaluated last; in the engine's draft_logits */
    uint32_t row0;       /* first row of the request in its batch */
    /* [n_known] of nodes of the last expand call that had been evaluated ahead, whose draft_slot is logit_rows + place;
     * the others, which were not. */
    const lv_ahead_list *known[LV_DRAFT_LOGIT_ROWS];
    int32_t  left[LV_DRAFT_LOGIT_ROWS];
    uint32_t n_known;
    float    sharpness;  /* of candidates, as the policy wants */
    int32_t *path;       /* [grow_nodes] tokens from below the root to a node */
    lv_drawn *drawn;     /* [draft_rows + 1] of the root, then by draft_row + 1; NULL for LV_RULE_MATCH */
    uint32_t logit_rows; /* that a request may have */
    size_t   n_vocab;    /* the draft's, which may be padded otherwise than the target's */
} lv_draft_run;

/* Early-exit pruning of one session's trees. */
typedef struct lv_pruner {
    int32_t  *index;        /* [max_nodes] of a node among those that finished the sweep; -1: it was dropped */
    float    *share;        /* [max_nodes] spec/prune.h */
    bool     *keep;         /* [max_nodes] what was decided; a dry run decides and drops nothing */
    int32_t  *candidates;   /* [n_sets][LV_EXIT_CANDIDATES] the draft's best at nodes, by draft row + 1 */
    float    *log_probs;    /* [n_sets][LV_EXIT_CANDIDATES] of them, without sharpness */
    uint8_t  *n_candidates; /* [n_sets] */
    uint32_t  n_sets;
    lv_policy *policy;      /* of the tree being verified */
    bool      active;       /* rows may be dropped from this sweep */
    bool      decided;      /* keep holds a decision on this tree */
    bool      failed;       /* the predictor can not score here: a tied one whose head is streamed */
    uint32_t  n_kept;       /* nodes */
    uint64_t  ns;           /* scores and decision */
} lv_pruner;

/* The draft's candidates at the nodes of one tree, and what the last trees say of the text. */
typedef struct lv_noter {
    int32_t *candidates;    /* [n_sets][LV_ACC_RANKS] by draft row + 1 */
    uint8_t *n_candidates;  /* [n_sets] */
    uint8_t *class;         /* [n_sets] lv_acceptance_class */
    uint32_t n_sets;        /* 0: there is no draft */
    lv_said  text[LV_NOTER_TEXT]; /* [n_text] not in the engine's record yet */
    uint32_t n_text, kind;  /* lv_acceptance_kind */
    uint32_t n_unknown;     /* the last of them, that were not evaluated */
} lv_noter;

/* A session's part of a round: draft + sweep + accept, or some rows of its prompt. */
typedef struct lv_cycle {
    lv_policy *policy;       /* grows for this session only ... */
    lv_policy *learner;      /* ... and what it learns belongs to this one; NULL: to itself */
    bool       grows;        /* else it brings n_pending rows of the prompt */
    uint32_t   n_pending;    /* rows of text, the root included */
    uint32_t   row0;         /* its first row in the sweep */
    uint32_t   most_nodes;   /* of the tree */
    int32_t    at;           /* node whose next token is due; -1: the path has ended */
    uint64_t   grown_ns;     /* when its tree was grown */
    uint32_t   max_new;      /* tokens that may still be added, >= 1 */
    bool       ignore_end;
    lever_on_token on_token; /* nullable */
    void      *user;
    uint32_t   n_new;        /* out: tokens added, by the last cycle */
    uint32_t   n_rows, n_drafted, n_accepted;     /* out */
    uint32_t   n_kept, n_accepted_dropped;        /* out: nodes that were to finish; the target's choices that were
                                                   * not among them */
    uint64_t   prune_ns;     /* out: part of verify_ns */
    uint64_t   draft_model_ns; /* out: part of draft_ns */
    int        stop;         /* out: enum lever_stop, or -1 to go on */
    lv_expectation expected; /* out: zero where the policy does not say */
    lever_on_guess on_guess; /* nullable */
    void      *guess_user;
    lever_on_cycle on_cycle; /* nullable */
    void      *cycle_user;
    uint32_t   n_logprobs;   /* 0: none */
    lv_logprob picked, top[LV_TOP_MOST]; /* of the last token: [n_top]; where n_logprobs is set */
    uint32_t   n_top;
} lv_cycle;

/* engine/view.c: what lever_cycle_view points to. */
typedef struct lv_view {
    lever_node_view *nodes;   /* [max_nodes]; NULL: nobody has asked yet */
    lever_node_view *shadows; /* [LV_VIEW_SHADOWS] */
} lv_view;

/* Tokens of a session being made. */
typedef struct lv_run {
    bool        started;    /* lever_session_finish is due */
    bool        running;    /* there is more to make */
    int         rc;         /* why it ended, with err */
    lever_error err;
    lever_stats stats;
    lv_cycle    cycle;
    lv_policy  *own_policy; /* when params ask for one that is not among the engine's */
    uint32_t    left;       /* tokens that may still be added */
} lv_run;

struct lever_session {
    lever_engine *engine;
    lv_sampler   *sampler;
    lv_sampler_params params;
    lv_kv         kv, draft_kv;
    lv_tree       tree;
    lv_draft_run  draft;
    lv_ahead     *ahead;    /* NULL: nothing is drafted beside verification */
    lv_pruner     prune;
    lv_noter      noter;
    lv_view       view;
    int32_t      *tokens;   /* [n_ctx] the text; the last one is not in kv yet */
    int32_t      *talk;     /* [n_ctx] tokens of a talk while it is compared with the text */
    uint32_t      n_tokens, n_ctx;
    lv_policy   **policies; /* [engine->n_policies] its own, where several sessions may be open; else NULL */
    bool          in_turns; /* its tree grows there */
    bool          waits_for_draft;
    lv_turns     *turns;    /* to grow a tree in turns with other sessions; NULL: there is no draft, or one session */
    float        *logits;   /* of nodes of the tree, in the engine's logits */
    int32_t       projected[LV_PROJECT_ROWS]; /* [n_projected] nodes of this cycle whose logits are there */
    uint32_t      n_projected;
    int32_t      *accepted; /* [max_rows] scratch rows to commit */
    int32_t      *path_nodes; /* [max_nodes] tree nodes that became text, -1 behind the last */
    lv_level     *levels;   /* [lv_rule_levels] of the rule; NULL for LV_RULE_MATCH */
    char         *text;     /* detokenizer output */
    size_t        text_cap;
    lv_detok      detok;
    atomic_bool   cancel;
    lv_run        run;
    uint64_t      n_cycles;   /* of this session, for traces */
};

/* engine/loan.c: before the first session, when what is planned for caches becomes a pool. LEVER_OK, LEVER_ENOMEM. */
int  lv_loan_open(lever_engine *e, lever_error *err);
/* What caches take their memory from; NULL: they have it from the start. */
const lv_kv_room *lv_loan_room(const lever_engine *e);
/* Between sweeps: lend what no text will need soon. */
void lv_loan_update(lever_engine *e);

/* engine/seed.c: tell the engine's policies what config.machine predicts of its models. Does nothing without. */
void lv_engine_seed(lever_engine *e, const lv_engine_setup *o);

/* engine/devices.c: open those that the configuration names, once for a setup; one that can not be had leaves a note.
 * Both models' metadata are there, no threads yet. */
void lv_devices_open(lv_engine_setup *o);
void lv_devices_close(lv_engine_devices *d); /* after the models */
/* For the plan: what drivers take for themselves, measured; buffers for rows, and for slots if the target streams. */
uint64_t lv_devices_driver_bytes(const lv_engine_devices *d);
uint64_t lv_devices_buffer_bytes(const lv_engine_devices *d, bool streams);
/* Are all rows of a cycle projected at once? Then there are logits for each. */
static inline bool lv_engine_projects_all(const lever_engine *e)
{
    return e->eager || lv_model_head_streamed(e->target);
}

/* engine/prune.c */
/* Read the rule, and the predictor if there is one. As lv_exit_open; a predictor that was not asked for and does
 * not fit is left out, with a note. Due before metadata is dropped. */
int  lv_prune_setup(lv_engine_setup *o, lever_error *err);
/* Where the predictor of a model lies: "model.exit.gguf" for "model.gguf". LEVER_OK; LEVER_EINVAL: too long. */
int  lv_exit_path(const char *model, char *buf, size_t cap);
uint64_t lv_pruner_bytes(uint32_t max_nodes, uint32_t draft_rows);
int  lv_pruner_open(lv_pruner *p, const lever_engine *e, lever_error *err); /* LEVER_ENOMEM */
/* Note candidates also without a predictor, for whoever looks at them. LEVER_ENOMEM. */
int  lv_pruner_watch(lv_pruner *p, const lever_engine *e, lever_error *err);
void lv_pruner_close(lv_pruner *p); /* accepts a zeroed one */
/* A new tree: no candidates are known. */
void lv_pruner_forget(lv_pruner *p);
/* The draft's candidates at a node that it has evaluated, best first, with their sharpened probabilities. */
void lv_pruner_note(lv_pruner *p, const lv_tree_node *node, const int32_t *tokens, const float *probs, uint32_t n,
                    float sharpness);
/* What was noted at a node: tokens and ln of probabilities without sharpness, borrowed. Returns how many. */
uint32_t lv_pruner_noted(const lv_pruner *p, const lv_tree_node *node, const int32_t **tokens, const float **log_probs);
/* Before the tree of the session is verified in the round's sweep b. */
void lv_pruner_begin(lever_session *s, lv_batch *b);
/* engine/view.c: memory of a view; it is taken when one is asked for first. */
uint64_t lv_view_bytes(uint32_t max_nodes);
int  lv_view_open(lever_session *s, lever_error *err); /* LEVER_ENOMEM */
void lv_view_close(lv_view *v); /* accepts a zeroed one */
/* Show the cycle that just ended. */
void lv_view_show(lever_session *s);
/* engine/noter.c */
uint64_t lv_noter_bytes(uint32_t draft_rows);
int  lv_noter_open(lv_noter *n, uint32_t draft_rows, lever_error *err); /* LEVER_ENOMEM */
void lv_noter_close(lv_noter *n); /* accepts a zeroed one */
/* A new tree: no candidates are known. */
void lv_noter_forget(lv_noter *n);
/* The draft's candidates at a node that it has evaluated, best first. */
void lv_noter_note(lv_noter *n, const lv_tree_node *node, const int32_t *tokens, const float *probs, uint32_t count);
/* How many tokens before the root should be projected with it, and told by lv_noter_tell. */
uint32_t lv_noter_wants(lever_session *s);
/* The draft's candidates so many tokens before the root. */
void lv_noter_tell(lever_session *s, uint32_t before, const int32_t *tokens, const float *probs, uint32_t count);
/* The cycle is over: record what the text went on with. */
void lv_noter_observe(lever_session *s, const lv_cycle *c);
/* The answer is over. */
void lv_noter_flush(lever_session *s);
/* engine/learnt.c: a number that stands for both models; draft NULL: there is none. */
uint64_t lv_learnt_pair(uint64_t target_file_bytes, lv_model *target, lv_model *draft);
/* Counts of acceptance among bytes of lever_engine_get_learnt. False: there are none, or not of this pair. */
bool lv_learnt_acceptances(const void *in, size_t n, uint64_t pair, lv_acceptances *out);
/* A number for the draft alone; 0: there is none. */
uint64_t lv_learnt_draft(const lever_engine *e);
/* engine/setup.c: close policies [n] and the list itself. */
void lv_policies_close(lv_policy **policies, uint32_t n);

/* engine/eval.c: what the plan asks. Tokens scored of a window; bytes of an evaluation's rows beside models,
 * caches and logits. */
uint32_t lv_eval_scored(uint32_t n_ctx);
uint64_t lv_eval_rows_bytes(uint32_t max_rows);

/* Scratch slots of the draft's cache: nodes of a tree, or rows of text it catches up with. */
static inline uint32_t lv_draft_scratch(uint32_t max_rows, uint32_t draft_rows)
{
    return max_rows > draft_rows ? max_rows : draft_rows;
}

/* engine/session.c */
/* A new text begins, for the session's policies. */
void lv_session_new_text(const lever_session *s);
/* LEVER_OK; LEVER_EINVAL: a token that the vocabulary lacks. */
int  lv_session_check_tokens(const lever_session *s, const int32_t *tokens, size_t n, lever_error *err);

/* engine/drawn.c: verification by one of the rules of spec/rules.h, for trees of true draws. */
/* LEVER_OK; LEVER_EINVAL: the policy chooses after it has seen candidates. */
int lv_rule_check_policy(int rule, const lv_policy *p, lever_error *err);
/* LEVER_OK; LEVER_EINVAL: distributions of more tokens than there is room for. */
int lv_rule_check_sampling(int rule, const lv_sampler_params *p, lever_error *err);
/* What a session needs for a rule beside a draft; 0 for LV_RULE_MATCH. */
uint64_t lv_rule_bytes(int rule, uint32_t max_nodes, uint32_t draft_rows);
uint32_t lv_rule_levels(uint32_t max_nodes);
/* Whether this session drafts by drawing: the engine has a rule, and the temperature is not 0. */
bool lv_session_draws(const lever_session *s);
/* Draw k candidates of an evaluated node, whose logits [n_vocab] are used up, and note them in d->drawn.
 * tokens, probs and what is returned are those of lv_drafter.candidates. */
uint32_t lv_draft_run_draw(lv_draft_run *d, const lv_tree_node *node, const lv_history *h, float *logits,
                           uint32_t k, int32_t *tokens, float *probs);
/* The verdict on the session's tree: path in s->path_nodes [*n_path], and the token after it.
 * LEVER_OK, LEVER_E*. */
int lv_session_decide(lever_session *s, uint32_t *n_path, int32_t *next, lever_error *err);

/* engine/drafter.c */
/* A new tree: forget the scratch rows of the last one, and fill in the draft's part of *out. */
void lv_draft_run_begin(lv_draft_run *d, lv_drafter *out);
/* The text before the token that follows a node, with the node. Uses d->path. */
lv_history lv_draft_run_history(lv_draft_run *d, const lv_tree *t, int32_t id);
/* Nodes of the tree that became text, in order: keep what the draft's cache holds of them. */
void lv_draft_run_accept(lv_draft_run *d, const int32_t *nodes, uint32_t n);

/* engine/draft_batch.c */
/* Serve the requests of runs [n] by one batch of the draft; the results are in them. Those that fail together are
 * tried alone. Together they have at most draft_logit_rows nodes. */
void lv_draft_serve(lever_engine *e, lv_draft_run *const *runs, uint32_t n);
/* Evaluate the text up to token `to`, which is certain. LEVER_OK, LEVER_E*. */
int lv_draft_catch_up(lv_draft_run *d, uint32_t to, lever_error *err);
/* Grow the trees of the round's first n_grow sessions; run.rc of each tells. */
void lv_round_grow(lever_engine *e);
/* Has any session of the round not been cancelled? lv_batch.go_on of its batches; takes the engine. */
bool lv_round_wanted(void *engine);
/* Tell a policy that grows what others bring to the sweep. */
void lv_draft_run_tell_others(lv_draft_run *d);

/* engine/cycle.c */
/* Grow the tree of a session. LEVER_OK, LEVER_E*. */
int lv_cycle_grow(lever_session *s, lever_error *err);
/* Its rows of the sweep: pending text, then the tree; row0 is set. Returns how many. */
uint32_t lv_cycle_put_rows(lever_session *s, lv_row *rows, int32_t seq);
/* Of the round's first n_grow sessions: take what the target made of the trees; run.rc of each tells. */
void lv_round_accept(lever_engine *e);
/* Tell policy and caller what became of the tree. first: of the sessions of the sweep. */
void lv_cycle_observe(lever_session *s, bool first);

/* engine/project.c */
/* Target logits [n_vocab] of a node of the tree that was just verified; the root's first, and each once, as
 * the sampler overwrites them. *logits: borrowed until the next call for another session. LEVER_OK, LEVER_E*. */
int lv_session_node_logits(lever_session *s, int32_t node, float **logits, lever_error *err);
/* The same where they are there already; else NULL. */
float *lv_session_logits_at_hand(const lever_session *s, int32_t node);
/* For each of sessions [n <= LV_PROJECT_SESSIONS] with cycle.at >= 0: project that node, and with it those that will
 * probably be asked for next. */
int lv_project_ahead(lever_engine *e, lever_session *const *sessions, uint32_t n, lever_error *err);
/* A streamed head: project every node of the round. LEVER_OK, LEVER_E*. */
int lv_project_all(lever_engine *e, lever_error *err);

/* engine/round.c */
/* One sweep for sessions [n] that run; notes in each how it went. */
void lv_engine_round(lever_engine *e, lever_session *const *sessions, uint32_t n);
/* Times of the last sweep. */
lv_sweep_took lv_round_sweep_took(const lv_round *r);

#endif
