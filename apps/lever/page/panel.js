// SPDX-License-Identifier: MIT
// The small instruments: gauges, tokens per pass over the last cycles, the time of one cycle.

const $ = id => document.getElementById(id);
const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function bytes(n) {
    const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
    let u = 0;
    for (; n >= 1000 && u < units.length - 1; u++) n /= 1024;
    return `${n < 10 && u ? n.toFixed(2) : n < 100 && u ? n.toFixed(1) : Math.round(n)} ${units[u]}`;
}

const rate = n => n >= 1e9 ? `${(n / 1e9).toFixed(1)} GB/s` : `${Math.round(n / 1e6)} MB/s`;
const short = n => (n >= 100 ? Math.round(n) : n.toFixed(1)).toString();
const ms = n => n >= 1000 ? `${(n / 1000).toFixed(2)} s` : `${n.toFixed(n < 10 ? 2 : n < 100 ? 1 : 0)} ms`;

/** dd with a strong first part: <b>value</b> rest. */
function tell(id, value, rest) {
    const b = document.createElement('b');
    b.textContent = value;
    $(id).replaceChildren(b, ` ${rest}`);
}

/** A canvas as sharp as the screen, cleared; null while it is not shown. */
function surface(canvas) {
    const width = canvas.clientWidth, height = canvas.clientHeight, ratio = devicePixelRatio || 1;
    if (!width || !height) return null;
    if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
    if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
    const pen = canvas.getContext('2d');
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    return { pen, width, height };
}

const speeds = [];
let fastest_flash = 0;

export function drawSpark() {
    const s = surface($('spark'));
    if (!s || speeds.length < 2) return;
    const most = Math.max(...speeds, 1), step = s.width / 59, begin = s.width - (speeds.length - 1) * step;
    s.pen.beginPath();
    speeds.forEach((v, i) => s.pen.lineTo(begin + i * step, s.height - 1.5 - v / most * (s.height - 4)));
    s.pen.strokeStyle = colour('--soft');
    s.pen.lineWidth = 1.5;
    s.pen.stroke();
}

export function showStatus(s) {
    $('model').textContent = String(s.model ?? '').split('/').pop() || 'model';
    $('model').title = `${s.model}, policy ${s.policy}, context ${s.ctx}`;
    const waiting = s.queued ? `, ${s.queued} waiting` : '';
    $('load').textContent = waiting || s.active > 1 ? `${s.active} answering${waiting}` : '';
    const limit = s.mem_limit || s.mem_planned || 0;
    if (s.mem_used != null) {
        tell('mem', bytes(s.mem_used), limit ? `of ${bytes(limit)}` : '');
        $('mem-bar').style.width = limit ? `${Math.min(100, 100 * s.mem_used / limit)}%` : '0';
        $('mem-mark').hidden = !(limit && s.mem_planned);
        if (limit) $('mem-mark').style.left = `${Math.min(100, 100 * (s.mem_planned ?? 0) / limit)}%`;
        $('mem').title = s.mem_planned ? `planned: ${bytes(s.mem_planned)}` : '';
    }
    const now = s.flash_bytes_per_s ?? 0;
    fastest_flash = Math.max(fastest_flash, now);
    const best = s.flash_best_bytes_per_s || fastest_flash;
    tell('flash', rate(now), s.flash_best_bytes_per_s ? `of ${rate(best)}` : '');
    $('flash-bar').style.width = best ? `${Math.min(100, 100 * now / best)}%` : '0';
    speeds.push(s.tokens_per_s ?? 0);
    if (speeds.length > 60) speeds.shift();
    tell('speed', short(s.tokens_per_s ?? 0), 'tokens/s');
    drawSpark();
}

/** Tokens of a cycle by source. */
export function counts(cycle) {
    const c = { draft: 0, lookup: 0, target: cycle.next ? 1 : 0 };
    for (const n of cycle.nodes) {
        if (n.state === 'accepted') c[n.source === 'lookup' ? 'lookup' : 'draft']++;
    }
    return c;
}

const bar_step = () => (innerWidth < 560 ? 6 : 7);
let first_bar = 0; // of the bars that are drawn, so that a click finds its cycle

export function drawStrip(cycles, selected) {
    const s = surface($('strip'));
    if (!s) return;
    const step = bar_step(), room = Math.floor(s.width / step);
    first_bar = Math.max(0, Math.min(cycles.length - room, selected - Math.floor(room / 2)));
    const seen = cycles.slice(first_bar, first_bar + room);
    const most = Math.max(6, ...seen.map(c => c.count.draft + c.count.lookup + c.count.target));
    const unit = Math.min(9, (s.height - 8) / most);
    const paints = { target: colour('--target-mark'), draft: colour('--draft'), lookup: colour('--lookup') };
    s.pen.fillStyle = colour('--line');
    s.pen.fillRect(0, s.height - 1, s.width, 1);
    seen.forEach((c, i) => {
        if (first_bar + i === selected) {
            s.pen.fillStyle = colour('--sunk');
            s.pen.fillRect(i * step - 1.5, 0, step + 1, s.height);
            s.pen.fillStyle = colour('--ink');
            s.pen.fillRect(i * step - 1.5, s.height - 2, step + 1, 2);
        }
        let y = s.height - 3;
        for (const source in paints) {
            s.pen.fillStyle = paints[source];
            for (let j = 0; j < c.count[source]; j++, y -= unit) {
                s.pen.fillRect(i * step, y - unit + 1, step - 2, Math.max(unit - 1, 0.8));
            }
        }
    });
}

/** Index of the cycle drawn at offset x of the strip. */
export const stripIndex = x => first_bar + Math.floor(x / bar_step());

/** So wide is the strip of n cycles, at most all of its room: the slider below has the same width. */
export const stripWidth = n => Math.max(60, Math.min($('strip').clientWidth, n * bar_step()));

/** Parts of a lane: [class, beginning, length]. Within the layers only lengths are known, not moments. */
const lanes = [
    ['Draft model', c => [['t-draft', 0, c.draft]]],
    ['Layers', c => [['t-layers', c.draft, c.layers], ['t-prune', c.draft + c.layers, c.prune],
        ['t-wait', c.draft + c.layers + c.prune, c.flash_wait]]],
    ['Flash reads', c => [['t-flash', c.draft, c.flash]]],
    ['Projection', c => [['t-project', c.draft + c.verify, c.project]]],
];
const lane_rows = [];

function buildLanes() {
    for (const [name] of lanes) {
        const [dt, track, value] = ['dt', 'dd', 'dd'].map(kind => document.createElement(kind));
        dt.textContent = name;
        track.className = 'track';
        track.setAttribute('aria-hidden', 'true');
        value.className = 'ms';
        value.textContent = '–';
        $('lanes').append(dt, track, value);
        lane_rows.push({ track, value });
    }
}

/** Times of one cycle; null: none yet. */
export function showTimes(cycle) {
    if (!lane_rows.length) buildLanes();
    if (!cycle) return;
    const c = {};
    for (const part of ['draft', 'verify', 'project', 'prune', 'flash_wait', 'flash']) {
        c[part] = Number(cycle[`${part}_ms`]) || 0;
    }
    c.layers = Math.max(0, c.verify - c.flash_wait - c.prune);
    const total = Math.max(c.draft + c.verify + c.project, 1e-6);
    lanes.forEach(([, parts], i) => {
        const drawn = parts(c).filter(([, , length]) => length > 0);
        lane_rows[i].track.replaceChildren(...drawn.map(([kind, at, length]) => {
            const bar = document.createElement('i');
            bar.className = kind;
            bar.style.left = `${100 * at / total}%`;
            bar.style.width = `${100 * length / total}%`;
            return bar;
        }));
        lane_rows[i].value.textContent = ms(drawn.reduce((sum, [, , length]) => sum + length, 0));
    });
    const facts = [ms(total)];
    if (c.flash_wait > 0.001 * total) facts.push(`${ms(c.flash_wait)} of them waiting for flash (hatched)`);
    if (cycle.rows_all > cycle.rows) facts.push('shared with other talks');
    $('time-sum').textContent = facts.join(', ');
}
