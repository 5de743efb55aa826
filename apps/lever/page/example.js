// SPDX-License-Identifier: MIT
// A cycle to look at before the first answer. The page says that it is an example.

const node = (parent, text, state, p, draft_p, source = 'draft') =>
    ({ parent, text, p, draft_p, source, state });

export const example = {
    example: true, before: 'Once upon a time there', new: 6, rows: 15, rows_all: 15,
    draft_ms: 6.1, verify_ms: 31, project_ms: 3.2, prune_ms: 0.8, flash_wait_ms: 9.5, flash_ms: 26,
    nodes: [
        node(-1, ' there', 'root', null, null, 'text'),
        node(0, ' was', 'accepted', 0.86, 0.91),
        node(0, ' lived', 'rejected', 0.11, 0.07),
        node(1, ' a', 'accepted', 0.79, 0.88),
        node(1, ' once', 'pruned', 0.03, 0.02),
        node(1, ' an', 'rejected', 0.09, 0.05),
        node(3, ' little', 'accepted', 0.55, 0.6),
        node(3, ' girl', 'rejected', 0.2, 0.17),
        node(3, ' king', 'rejected', 0.08, 0.06),
        node(6, ' boat', 'accepted', 0.31, 0.24, 'lookup'),
        node(6, ' girl', 'rejected', 0.38, 0.42),
        node(9, ' that', 'accepted', 0.44, 0.4, 'lookup'),
        node(9, ' named', 'rejected', 0.15, 0.2),
        node(10, ' named', 'rejected', 0.3, 0.33),
        node(2, ' a', 'rejected', 0.72, 0.8),
    ],
    shadows: [
        { parent: 0, text: ' stood', draft_p: 0.01 },
        { parent: 3, text: ' fox', draft_p: 0.02 },
        { parent: 3, text: ' man', draft_p: 0.015 },
        { parent: 10, text: ' who', draft_p: 0.04 },
    ],
    next: { text: ' wanted' },
};
