// SPDX-License-Identifier: MIT
// The small instruments: gauges, tokens per pass over the last cycles, the time of one cycle.

const $ = id => document.getElementById(id);
const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export function bytes(n) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let u = 0;
  while (n >= 1000 && u < units.length - 1) { n /= 1024; u++; }
  return `${n < 10 && u ? n.toFixed(2) : n < 100 && u ? n.toFixed(1) : Math.round(n)} ${units[u]}`;
}

const rate = n => n >= 1e9 ? `${(n / 1e9).toFixed(2)} GB/s` : `${Math.round(n / 1e6)} MB/s`;
const short = n => (n >= 100 ? Math.round(n) : n.toFixed(1)).toString();
export const ms = n => n >= 1000 ? `${(n / 1000).toFixed(2)} s` : n >= 100 ? `${Math.round(n)} ms` : `${n.toFixed(n < 10 ? 2 : 1)} ms`;

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
  const most = Math.max(...speeds, 1), step = s.width / 59;
  s.pen.beginPath();
  speeds.forEach((v, i) => s.pen.lineTo(s.width - (speeds.length - 1 - i) * step, s.height - 1.5 - v / most * (s.height - 4)));
  s.pen.strokeStyle = colour('--soft');
  s.pen.lineWidth = 1.5;
  s.pen.stroke();
}

export function showStatus(s) {
  $('model').textContent = String(s.model ?? '').split('/').pop() || 'model';
  $('model').title = [s.model, s.policy && `policy ${s.policy}`, s.ctx && `context ${s.ctx}`].filter(Boolean).join(', ');
  $('load').textContent = s.queued ? `${s.active} answering, ${s.queued} waiting` : s.active > 1 ? `${s.active} answering` : '';
  const limit = s.mem_limit || s.mem_planned || 0;
  if (s.mem_used != null) {
    tell('mem', bytes(s.mem_used), limit ? `of ${bytes(limit)}` : '');
    $('mem-bar').style.width = limit ? `${Math.min(100, 100 * s.mem_used / limit)}%` : '0';
    $('mem-mark').hidden = !(limit && s.mem_planned);
    if (limit && s.mem_planned) $('mem-mark').style.left = `${Math.min(100, 100 * s.mem_planned / limit)}%`;
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
  for (const n of cycle.nodes) if (n.state === 'accepted') c[n.source === 'lookup' ? 'lookup' : 'draft']++;
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
  const unit = Math.min(9, (s.height - 8) / most), paints = ['draft', 'lookup', 'target-mark'].map(n => colour(`--${n}`));
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
    [c.count.target, c.count.draft, c.count.lookup].forEach((n, k) => {
      s.pen.fillStyle = paints[(k + 2) % 3];
      for (let j = 0; j < n; j++, y -= unit) s.pen.fillRect(i * step, y - unit + 1, step - 2, Math.max(unit - 1, 0.8));
    });
  });
}

/** Index of the cycle drawn at offset x of the strip. */
export const stripIndex = x => first_bar + Math.floor(x / bar_step());

/** So wide is the strip of n cycles, at most all of its room: the slider below has the same width. */
export const stripWidth = n => Math.max(60, Math.min($('strip').clientWidth, n * bar_step()));

const lanes = [
  ['Draft model', c => [['t-draft', 0, c.draft_ms]], c => c.draft_ms],
  ['Flash', c => [['t-flash', c.draft_ms, c.flash_ms]], c => c.flash_ms],
  ['Layers', c => [['t-layers', c.draft_ms, c.verify_ms - c.flash_wait_ms - c.prune_ms],
    ['t-prune', c.draft_ms + c.verify_ms - c.flash_wait_ms - c.prune_ms, c.prune_ms]],
    c => Math.max(0, c.verify_ms - c.flash_wait_ms)],
  ['Waiting for flash', c => [['t-wait', c.draft_ms + c.verify_ms - c.flash_wait_ms, c.flash_wait_ms]], c => c.flash_wait_ms],
  ['Projection', c => [['t-project', c.draft_ms + c.verify_ms, c.project_ms]], c => c.project_ms],
];
const lane_rows = [];

function buildLanes() {
  for (const [name] of lanes) {
    const dt = document.createElement('dt'), track = document.createElement('dd'), value = document.createElement('dd');
    dt.textContent = name;
    track.className = 'track';
    track.setAttribute('aria-hidden', 'true');
    value.className = 'ms';
    value.textContent = '–';
    $('lanes').append(dt, track, value);
    lane_rows.push({ track, value });
  }
}

/** Times of one cycle; null: none yet. Reads go on beside the layers; how long, but not when, is known. */
export function showTimes(cycle) {
  if (!lane_rows.length) buildLanes();
  if (!cycle) return;
  const c = {};
  for (const key of ['draft_ms', 'verify_ms', 'project_ms', 'prune_ms', 'flash_wait_ms', 'flash_ms']) c[key] = Number(cycle[key]) || 0;
  const total = Math.max(c.draft_ms + c.verify_ms + c.project_ms, 1e-6);
  lanes.forEach(([, parts, value], i) => {
    lane_rows[i].track.replaceChildren(...parts(c).filter(([, , length]) => length > 0).map(([name, at, length]) => {
      const bar = document.createElement('i');
      bar.className = name;
      bar.style.left = `${100 * at / total}%`;
      bar.style.width = `${100 * length / total}%`;
      return bar;
    }));
    lane_rows[i].value.textContent = ms(value(c));
  });
  $('time-sum').textContent = `${ms(c.draft_ms + c.verify_ms + c.project_ms)}, ${cycle.new} tokens, ${cycle.rows} checked`
    + (cycle.rows_all > cycle.rows ? `, ${cycle.rows_all} with other talks` : '');
}
