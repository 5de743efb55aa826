// SPDX-License-Identifier: MIT
// Draws the token tree of one cycle as SVG. The accepted path runs straight along the top. One tab stop;
// arrow keys move within. Nodes tell their probabilities when they are pointed at or focused.

const space = 'http://www.w3.org/2000/svg';
const row_height = 27, pill_height = 21, dot_row = 14, gap = 22, pad = 8; // pixels
const dot_step = 11, least_scale = 0.78, most_nodes = 1024, most_dots = 10, most_chars = 14;
const states = {
    root: 'text so far',
    accepted: 'accepted',
    rejected: 'rejected',
    pruned: 'pruned half-way',
    shadow: 'looked at, not proposed',
    next: 'chosen by the target itself'
};
const sources = { draft: 'drafted', lookup: 'a free candidate: it followed the same words before' };

/** Without characters that would change how those around them are shown. */
const plain = text => text.replace(/[\u0000-\u001f\u007f\u202a-\u202e\u2066-\u2069]/g, '·');

function shown(text) {
    const s = plain(text.replace(/\n/g, '⏎').replace(/\t/g, '⇥')), trimmed = s.trim();
    if (!trimmed) return '␣'.repeat(Math.min(Math.max(s.length, 1), 4));
    const chars = [...trimmed];
    return chars.length > most_chars ? chars.slice(0, most_chars - 1).join('') + '…' : trimmed;
}

function percent(p) {
    const n = p < 0.01 ? (100 * p).toPrecision(1) : Math.round(100 * p);
    return p >= 0.995 && p < 1 ? 'over 99 %' : `${n} %`;
}

function make(name, attributes, ...children) {
    const e = document.createElementNS(space, name);
    for (const key in attributes) e.setAttribute(key, attributes[key]);
    e.append(...children);
    return e;
}

/** Nodes, shadows and the target's own token as one tree of plain objects; returns its root. A cycle comes
 * from elsewhere: nodes whose parent is not before them are dropped. */
function plant(cycle) {
    const all = [];
    for (const [i, n] of cycle.nodes.slice(0, most_nodes).entries()) {
        const parent = i > 0 ? all[n.parent] : null;
        all.push(i === 0 || parent ? { ...n, parent, children: [], dots: [] } : undefined);
        if (parent) parent.children.push(all[i]);
    }
    const root = all[0];
    if (!root) return null;
    let last = root;
    for (const n of all) if (n?.state === 'accepted') last = n;
    for (const s of cycle.shadows ?? []) {
        const parent = all[s.parent];
        if (parent) parent.dots.push({ ...s, parent, state: 'shadow', children: [], dots: [] });
    }
    if (cycle.next) {
        const text = cycle.next.text ?? '';
        last.children.push({ text, source: 'target', state: 'next', parent: last, children: [], dots: [] });
    }
    const rank = n => (n.state === 'accepted' || n.state === 'next' ? 2 : n.p || n.draft_p || 0);
    for (const n of all) n?.children.sort((a, b) => rank(b) - rank(a));
    return root;
}

/** Labels, depths and widths; returns the left ends of the columns. */
function measureAll(root, measure) {
    const widths = [];
    const visit = (n, depth) => {
        n.depth = depth;
        n.label = shown(n.text);
        n.width = measure(n.label, /accepted|next/.test(n.state)) + (n.state === 'next' ? 24 : 15);
        widths[depth] = Math.max(widths[depth] ?? 0, n.width);
        for (const child of n.children) visit(child, depth + 1);
    };
    visit(root, 0);
    const lefts = [pad];
    for (const w of widths) lefts.push(lefts.at(-1) + w + gap);
    return lefts;
}

/** Place n's part of the tree with n at height 0; returns top[depth] and bottom[depth], the heights it takes
 * in every column. A branch goes as far up as those before it leave room, so wide trees stay low. */
function pack(n, lefts) {
    const top = { [n.depth]: 0 }, bottom = { [n.depth]: row_height };
    let first = true; // it stays in the row of its parent
    const put = (part, children, height) => {
        let at = first ? 0 : row_height;
        for (const d in part.top) if (d in bottom) at = Math.max(at, bottom[d] - part.top[d]);
        for (const d in part.top) {
            top[d] = Math.min(top[d] ?? Infinity, at + part.top[d]);
            bottom[d] = at + part.bottom[d];
        }
        for (const child of children) child.rise = at + height;
        first = false;
    };
    for (const child of n.children) put(pack(child, lefts), [child], 0);
    if (n.dots.length) { // a row of them may reach over several columns
        const tall = first ? row_height : dot_row, middle = (first ? pill_height : dot_row) / 2 - 4;
        const part = { top: {}, bottom: {} }, end = lefts[n.depth + 1] + rowOfDots(n);
        for (let d = n.depth + 1; d === n.depth + 1 || lefts[d] < end; d++) {
            part.top[d] = 0;
            part.bottom[d] = tall;
        }
        put(part, n.dots, middle);
    }
    return { top, bottom };
}

const rowOfDots = n => Math.min(n.dots.length, most_dots) * dot_step + (n.dots.length > most_dots ? 24 : 0);

/** Give every node .x, .y, .width. Returns {nodes, width, height}. */
function place(root, measure) {
    const lefts = measureAll(root, measure), { bottom } = pack(root, lefts), nodes = [];
    const visit = n => {
        n.left = n.x = lefts[n.depth];
        n.y = n.parent ? n.parent.y + n.rise : pad;
        nodes.push(n);
        n.children.forEach(visit);
        const left = lefts[n.depth + 1];
        for (const [index, d] of n.dots.slice(0, most_dots).entries()) {
            const x = left + 4 + index * dot_step, y = n.y + d.rise;
            nodes.push(Object.assign(d, { index, depth: n.depth + 1, left, x, y, width: 8 }));
        }
    };
    visit(root);
    const end = n => Math.max(n.x + n.width, n.dots.length ? lefts[n.depth + 1] + rowOfDots(n) : 0);
    const width = Math.max(...nodes.map(end)) + pad, height = Math.max(...Object.values(bottom)) + 2 * pad;
    return { nodes, width, height };
}

function describe(n) {
    const quoted = plain(JSON.stringify(n.text)).slice(0, 120);
    const lines = [`${quoted}: ${states[n.state] ?? n.state}`];
    if (sources[n.source] && n.state !== 'root') lines.push(sources[n.source]);
    if (n.p) lines.push(`expected to be right: ${percent(n.p)}`);
    if (n.draft_p) lines.push(`draft model gave it: ${percent(n.draft_p)}`);
    return lines.join('\n');
}

function link(n) {
    const x1 = n.parent.x + n.parent.width, y1 = n.parent.y + pill_height / 2, x2 = n.x;
    const y2 = n.y + (n.state === 'shadow' ? 4 : pill_height / 2), bend = gap / 2;
    const kind = n.state === 'accepted' && n.source === 'lookup' ? 'l-lookup' : `l-${n.state}`;
    const down = `H${n.left - gap}c${bend} 0 ${bend * 0.6} ${y2 - y1} ${bend * 2} ${y2 - y1}`;
    const path = `M${x1} ${y1}${y1 === y2 ? '' : down}H${x2}`;
    const likely = n.state === 'shadow' ? 0 : n.p || n.draft_p || 0;
    const wide = /accepted|next/.test(n.state) ? 2.5 : 0.8 + 2 * likely;
    const line = make('path', { class: `link-line ${kind}`, d: path, 'stroke-width': wide.toFixed(2) });
    line.style.setProperty('--depth', n.depth);
    return line;
}

function shape(n) {
    if (n.state === 'shadow') return make('circle', { cx: n.x + 4, cy: n.y + 4, r: 3.5 });
    if (n.state === 'next') {
        const half = pill_height / 2, k = 7, side = n.width - 2 * k;
        const d = `M${n.x + k} ${n.y}h${side}l${k} ${half}l${-k} ${half}h${-side}l${-k} ${-half}z`;
        return make('path', { d });
    }
    const round = n.source === 'lookup' ? 0 : n.state === 'root' ? 5 : pill_height / 2;
    return make('rect', { x: n.x, y: n.y, width: n.width, height: pill_height, rx: round });
}

function draw(n, level) {
    const h = n.state === 'shadow' ? 8 : pill_height;
    const g = make('g', {
        class: `node n-${n.state} s-${n.source ?? 'draft'}`,
        role: 'treeitem',
        tabindex: -1,
        'aria-level': level,
        'aria-label': describe(n).replace(/\n/g, ', '),
    });
    const ring = { class: 'ring', x: n.x - 3, y: n.y - 3, width: n.width + 6, height: h + 6, rx: h / 2 + 3 };
    g.append(shape(n), make('rect', ring));
    if (n.state !== 'shadow') {
        const label = make('text', { x: n.x + n.width / 2, y: n.y + pill_height / 2 + 0.5 });
        label.textContent = n.label;
        g.append(label);
    }
    g.style.setProperty('--depth', n.depth);
    return g;
}

export class TreeView {
    /** stage scrolls; tip is shown beside nodes; onHold(bool) tells that somebody looks closely. */
    constructor(stage, tip, onHold) {
        Object.assign(this, { stage, tip, byElement: new Map(), chosen: null });
        const pen = document.createElement('canvas').getContext('2d');
        const family = getComputedStyle(document.documentElement).getPropertyValue('--mono');
        const known = new Map();
        this.measure = (text, bold) => {
            const key = (bold ? '*' : ' ') + text;
            if (!known.has(key)) {
                if (known.size > 4000) known.clear();
                pen.font = `${bold ? '600 ' : ''}12.5px ${family}`;
                known.set(key, Math.min(pen.measureText(text).width, 150));
            }
            return known.get(key);
        };
        stage.addEventListener('pointerover', e => this.point(this.nodeOf(e.target)));
        stage.addEventListener('pointerenter', e => { if (e.pointerType === 'mouse') onHold(true); });
        stage.addEventListener('pointerleave', () => { onHold(false); this.point(this.focused()); });
        stage.addEventListener('focusin', e => { onHold(true, true); this.point(this.nodeOf(e.target)); });
        stage.addEventListener('focusout', () => this.point(null));
        stage.addEventListener('click', e => this.nodeOf(e.target)?.element.focus());
        stage.addEventListener('scroll', () => this.point(this.pointed), { passive: true });
        stage.addEventListener('keydown', e => this.key(e));
    }

    nodeOf(target) { return this.byElement.get(target.closest?.('.node')); }
    focused() { return this.nodeOf(document.activeElement); }

    show(cycle, grow) {
        const root = plant(cycle);
        if (!root) return;
        const { nodes, width, height } = place(root, this.measure);
        const lines = make('g', { role: 'presentation' }), pills = make('g', { role: 'presentation' });
        this.byElement.clear();
        this.nodes = nodes;
        for (const n of nodes) {
            if (n.parent && !n.index) { // one line for a row of shadows
                if (/accepted|next/.test(n.state)) lines.append(link(n)); // above the others
                else lines.prepend(link(n));
            }
            n.element = draw(n, n.depth + 1);
            this.byElement.set(n.element, n);
            pills.append(n.element);
            if (n.dots.length > most_dots) {
                const dot = n.dots[most_dots - 1];
                const more = make('text', { class: 'more', x: dot.x + 12, y: dot.y + 4 });
                more.textContent = `+${n.dots.length - most_dots}`;
                pills.append(more);
            }
        }
        const { clientWidth, clientHeight } = this.stage; // 0 while it is not shown
        const room = Math.min((clientWidth || width) / width, (clientHeight || height) / height);
        const fit = Math.max(least_scale, Math.min(1, room));
        const svg = make('svg', {
            width: Math.round(width * fit),
            height: Math.round(height * fit),
            viewBox: `0 0 ${width} ${height}`,
            role: 'tree',
            'aria-label': `Token tree of cycle ${cycle.number ?? 0}. Arrow keys move from token to token.`
        }, lines, pills);
        if (grow) svg.classList.add('grow');
        this.stage.replaceChildren(svg);
        this.point(null);
        this.choose(root, false);
    }

    /** Roving tab stop. */
    choose(n, focus) {
        this.chosen?.element.setAttribute('tabindex', -1);
        this.chosen = n;
        n.element.setAttribute('tabindex', 0);
        if (!focus) return;
        n.element.focus({ preventScroll: true });
        n.element.scrollIntoView({ block: 'nearest', inline: 'nearest' });
    }

    key(e) {
        const n = this.nodeOf(e.target);
        if (!n || e.ctrlKey || e.metaKey || e.altKey) return;
        const row = n.state === 'shadow' ? n.parent.dots : [];
        const to = {
            ArrowRight: n.children[0] ?? n.dots[0] ?? row[n.index + 1],
            ArrowLeft: row[n.index - 1] ?? n.parent,
            ArrowDown: this.beside(n, 1),
            ArrowUp: this.beside(n, -1),
            Home: this.nodes[0],
            End: this.nodes.findLast(o => /root|accepted|next/.test(o.state)),
        };
        if (!(e.key in to)) return;
        e.preventDefault();
        if (to[e.key]?.element) this.choose(to[e.key], true);
    }

    /** The nearest node below (way 1) or above (-1): in the same column if there is one. */
    beside(n, way) {
        const far = o => Math.abs(o.y - n.y) + 1000 * Math.abs(o.depth - n.depth);
        return this.nodes.filter(o => (o.y - n.y) * way > 4).sort((a, b) => far(a) - far(b))[0];
    }

    point(n) {
        this.pointed = n;
        this.tip.hidden = !n;
        if (!n) return;
        this.tip.textContent = describe(n);
        const around = [this.tip.offsetParent, n.element, this.stage];
        const [card, box, stage] = around.map(e => e.getBoundingClientRect());
        const wide = this.tip.offsetWidth, high = this.tip.offsetHeight;
        const x = Math.min(Math.max(box.left, stage.left) - card.left, card.width - wide - 8);
        const below = box.bottom - card.top + 6, above = box.top - card.top - high - 6;
        const fits = below + high <= card.height;
        this.tip.style.left = `${Math.max(8, x)}px`;
        this.tip.style.top = `${fits ? below : Math.max(0, above)}px`;
    }
}
